"""A release has one version, and its package has the entries that indexes require."""

from __future__ import annotations

import re
import tomllib

import pytest

from maskcli.version import __version__
from tests.conftest import ROOT

pytestmark = pytest.mark.quick


def test_version_has_one_source() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "maskcli/version.py"
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == __version__  # type: ignore[index]
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_files_of_ci_services_are_in_the_source_archive() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in (".pre-commit-hooks.yaml", "action.yml", "LICENSE", "CHANGELOG.md"):
        assert name in included and (ROOT / name).is_file()
