"""The documentation site: it builds without a warning, and has every page, public name and link."""

from __future__ import annotations

import functools
import html.parser
import importlib
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import maskcli
from maskcli import records
from maskcli.records import requests
from tests.conftest import ROOT, clean_environment
from tests.readme import PAGES
from tests.rule_pages import FOLDER

MISSING = [name for name in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the site needs the extra docs, without {', '.join(MISSING)}"),
]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
INTERNAL = ("options", "project", "requests", "rules", "result", "layout")
"""Modules of records that no result contains."""


class Page(html.parser.HTMLParser):
    """A page of the site: its links and images, its anchors, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.anchors |= {values[name] for name in ("id", "name") if name in values}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; warnings are errors, and loading TensorFlow is one, too."""
    folder = tmp_path_factory.mktemp("site")
    blocked = folder / "blocked"
    for name in ("tensorflow", "keras"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ImportError('the documentation needs no {name}')\n")
    output = folder / "html"
    options = ("-W", "--keep-going", "-q", "-b", "html", "-d", "cache")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT / "docs", output],
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean_environment(PYTHONPATH=f"{blocked}:{ROOT}"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_site_has_every_page(site: Path) -> None:
    in_docs = [page.relative_to(ROOT / "docs") for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert len(in_docs) > 40
    for page in (*in_docs, Path("index.rst"), Path("api.rst"), Path("records.rst")):
        assert (site / page.with_suffix(".html")).exists(), page


def test_pages_of_the_root_have_their_text(site: Path) -> None:
    for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG"):
        title = re.search(r"^# (.*)$", (ROOT / f"{name}.md").read_text(), re.M)
        assert title
        assert f"<h1>{title[1]}<" in (site / "project" / f"{name.lower()}.html").read_text(), name


def test_every_rule_is_in_the_sidebar(pages: dict[Path, Page], site: Path) -> None:
    codes = {path.stem for path in FOLDER.glob("MSK*.md")}
    assert len(codes) > 30
    linked = {Path(urlsplit(link).path).stem for link in pages[site / "index.html"].links}
    assert codes <= linked


@functools.cache
def list_records() -> list[str]:
    """Return the public classes of the records that results contain, as ``module.Class``."""
    names = []
    for module in pkgutil.iter_modules(records.__path__, "maskcli.records."):
        if module.name.rpartition(".")[2] not in INTERNAL:
            members = vars(importlib.import_module(module.name)).values()
            names += [
                f"{item.__module__}.{item.__name__}"
                for item in members
                if isinstance(item, type) and item.__module__ == module.name and item.__name__[0] != "_"
            ]
    return names


def test_every_public_name_is_in_the_reference(pages: dict[Path, Page], site: Path) -> None:
    api = pages[site / "api.html"].anchors
    assert {f"maskcli.{name}" for name in maskcli.__all__} <= api
    in_api = {f"{getattr(maskcli, name).__module__}.{name}" for name in maskcli.__all__ if name[0].isupper()}
    in_records = pages[site / "records.html"].anchors
    assert len(list_records()) > 40
    assert [name for name in list_records() if name not in in_api | in_records] == []


@pytest.mark.parametrize("name", ["pad", "inspect", "loss", "check", "report"])
def test_reference_has_types_and_errors(pages: dict[Path, Page], site: Path, name: str) -> None:
    """Each argument has its type, and the errors that a user can cause are listed."""
    text = " ".join("".join(pages[site / "api.html"].texts).split())
    section = text.partition(f" maskcli.{name}(")[2].partition("¶ maskcli.")[0]
    request = getattr(requests, f"{name.capitalize()}Request")
    for argument in inspect.signature(request).parameters:
        assert re.search(rf"\b{argument} \(.+?\) – ", section), argument
    assert "Raises" in section
    assert "UsageError" in section


def test_reference_has_shapes_of_fields(pages: dict[Path, Page], site: Path) -> None:
    text = " ".join("".join(pages[site / "api.html"].texts).split())
    assert re.search(r"row_splits¶ \(n_sequences \+ 1,\) integers; .* Type: Ints", text)
    assert "(batch, timesteps), True = valid." in " ".join("".join(pages[site / "records.html"].texts).split())


def test_links_are_not_dead(pages: dict[Path, Page], site: Path) -> None:
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            aim = (path.parent / unquote(target.path)).resolve() if target.path else path
            assert aim.exists(), f"{path.relative_to(site)}: {link}"
            if target.fragment and aim in pages:
                checked += 1
                assert unquote(target.fragment) in pages[aim].anchors, f"{path.relative_to(site)}: {link}"
    assert checked > 100


def test_site_loads_nothing_from_the_network(pages: dict[Path, Page]) -> None:
    for path in pages:
        assert not re.search(r'<(script|img|link)[^>]*(src|href)="(https?:)?//', path.read_text()), path


def find_code() -> list[str]:
    """Return the Python code of the tutorial."""
    return re.findall(r"^```python\n(.*?)^```$", TUTORIAL, re.M | re.S)


@pytest.mark.parametrize("block", find_code(), ids=lambda block: block.split("\n")[0])
def test_code_of_the_tutorial_is_its_program(block: str) -> None:
    program = (ROOT / "sample_data" / "tutorial.py").read_text()
    lines = [line.strip() for line in block.splitlines()]
    assert "\n".join(lines) in "\n".join(line.strip() for line in program.splitlines())
