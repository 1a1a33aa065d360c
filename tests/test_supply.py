"""The packages that maskcli installs: their licences, and the locked versions of CI with their hashes."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from functools import cache
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

pytestmark = pytest.mark.quick

EXTRAS = ("report", "parquet", "tfrecord", "tokenizers", "remote")
"""The extras that users install; those for tests are not shipped to anybody."""
FAMILIES = {
    "Apache-2.0": r"apache",
    "BSD": r"\bbsd\b|bsd-\d|0bsd",
    "GPL": r"gnu general public|\bgpl",
    "MIT": r"\bmit\b",
    "MPL-2.0": r"mozilla|mpl",
    "PSF-2.0": r"psf|python software foundation",
}
"""Licences by a pattern for the many ways in which packages spell them."""
NOT_IN_METADATA = {"namex": "Apache-2.0"}
"""Licences of packages that only have a file with it."""


@cache
def read_project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def list_dependencies() -> dict[str, tuple[str, ...]]:
    """Return the installed packages that maskcli needs, and the extras that need them; none for all installations."""
    project = read_project()
    pending = [(Requirement(text), "") for text in project["dependencies"]]
    pending += [(Requirement(text), extra) for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    reasons: dict[str, set[str]] = {}
    while pending:
        requirement, extra = pending.pop()
        name = normalize(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if extra in reasons.get(name, ()):
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        reasons.setdefault(name, set()).add(extra)
        pending += [(Requirement(text), extra) for text in requires]
    return {name: () if "" in extras else tuple(sorted(extras)) for name, extras in reasons.items()}


def find_licence(name: str) -> str:
    """Return the licences of an installed package, each as the name of its family."""
    metadata = importlib.metadata.metadata(name)
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    texts = [metadata.get("License-Expression") or "", *classifiers]
    text = " ".join(texts).strip() or (metadata.get("License") or "")[:100]
    families = [family for family, pattern in FAMILIES.items() if re.search(pattern, text, re.IGNORECASE)]
    return ", ".join(families) or NOT_IN_METADATA.get(name, "unknown")


def read_table() -> dict[str, str]:
    """Return the licence of each package in the documentation."""
    text = (ROOT / "docs" / "dependencies.md").read_text()
    return dict(re.findall(r"^\| ([a-z\d-]+) \| ([^|]+?) \|", text, re.MULTILINE))


def test_licences_are_those_of_the_documentation() -> None:
    lock, table = read_lock(), read_table()
    locked = [name for name in list_dependencies() if importlib.metadata.version(name) in lock.get(name, ([], 0))[0]]
    if len(locked) < 20:
        pytest.skip("most packages have other versions than the locked ones")
    licences = {name: find_licence(name) for name in locked}
    assert {name: licence for name, licence in licences.items() if table.get(name) != licence} == {}


def test_only_an_extra_has_a_strong_copyleft() -> None:
    """maskcli itself is under MIT: whoever installs it without extras gets no package under the GPL."""
    of_all = [name for name, extras in list_dependencies().items() if not extras]
    assert {name for name in of_all if "GPL" in find_licence(name) or "unknown" in find_licence(name)} == set()
    assert {name for name, licence in read_table().items() if licence == "GPL"} == {"igraph"}


def read_lock() -> dict[str, tuple[list[str], int]]:
    """Return the versions of each locked package, and the number of hashes."""
    lock: dict[str, tuple[list[str], int]] = {}
    for entry in re.split(r"\n(?=[a-z\d])", (ROOT / ".ci" / "locked.txt").read_text()):
        match = re.match(r"([a-z\d-]+)==(\S+)", entry)
        if match:
            versions, hashes = lock.get(match[1], ([], 0))
            lock[match[1]] = ([*versions, match[2]], hashes + len(re.findall(r"--hash=sha256:[\da-f]{64}\b", entry)))
    return lock


def test_lock_has_all_dependencies_with_hashes() -> None:
    project, lock = read_project(), read_lock()
    extras = project["optional-dependencies"]
    direct = [*project["dependencies"], *(text for name in (*EXTRAS, "test", "lint") for text in extras[name])]
    for requirement in map(Requirement, direct):
        name = normalize(requirement.name)
        if name != "maskcli":
            assert name in lock, f"{name} is missing: CONTRIBUTING.md has the command that locks it"
            assert all(requirement.specifier.contains(version) for version in lock[name][0]), name
    assert {name for name, (_, hashes) in lock.items() if not hashes} == set()
