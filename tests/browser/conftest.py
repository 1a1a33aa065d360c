"""Pages of reports in a real browser: each is made once and opened from disk."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import maskcli
from maskcli.render.documents import dumps, make_document
from tests.browser import models

NEEDED = ("playwright", "axe_playwright_python", "vl_convert", "igraph")
MUST = os.environ.get("MASKCLI_BROWSER") == "1"
"""Whether a missing browser is a failure."""


def need(*modules: str, chromium: bool = False) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    missing += ["chromium"] if chromium and shutil.which("chromium") is None else []
    if missing and MUST:
        pytest.fail(f"MASKCLI_BROWSER=1, and there is no {', '.join(missing)}")
    if missing:
        pytest.skip(f"no {', '.join(missing)}")


@dataclasses.dataclass(frozen=True)
class Made:
    """A report, its document, and the page of both on disk."""

    report: maskcli.Report
    document: bytes
    path: Path

    @property
    def url(self) -> str:
        return self.path.as_uri()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return a report by the name of a function of ``models``; each is made once."""
    need("vl_convert", "igraph")
    from maskcli.render.page import render_page

    folder = tmp_path_factory.mktemp("pages")

    @functools.cache
    def make(name: str) -> Made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's, of masks that get lost: what the page is to show.
            report = maskcli.report(**getattr(models, name)())
        document = dumps(make_document(report))
        path = folder / f"{name}.html"
        path.write_bytes(render_page(report, document))
        return Made(report, document, path)

    return make


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    need(*NEEDED, chromium=True)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def until(page: Any, expression: str, argument: Any = None, seconds: float = 10) -> None:
    """Wait until an expression is true on a page; Playwright's own wait needs ``eval``, which the page forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, argument):
        if time.monotonic() > end:
            pytest.fail(f"never true: {expression}")
        page.wait_for_timeout(20)


class Faults(list[str]):
    """Errors of a page, and requests that it made."""


@pytest.fixture
def visit(chromium: Any, reports: Callable[[str], Made]) -> Iterator[Callable[..., Any]]:
    """Open the page of a report; an error or a request of the page fails the test."""
    contexts: list[Any] = []
    faults = Faults()

    def visit(name: str, *, width: int = 1280, height: int = 900, at: str = "", **context: Any) -> Any:
        size = {"width": width, "height": height}
        opened = chromium.new_context(viewport=size, reduced_motion="reduce", **context)
        contexts.append(opened)
        page, url = opened.new_page(), reports(name).url
        page.set_default_timeout(10_000)
        page.on("console", lambda text: faults.append(f"console {text.type}: {text.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        opened.on(
            "request",
            lambda options: None if options.url.partition("#")[0] == url else faults.append(f"request: {options.url}"),
        )
        page.goto(url + at)
        if context.get("java_script_enabled", True):
            page.wait_for_selector("html[data-charts=drawn]", state="attached")
        return page

    yield visit
    for opened in contexts:
        opened.close()
    assert faults == []
