"""The page: it takes the tables of the views by the names of their sections."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator
from typing import get_args

import pytest

import maskcli
from maskcli.records.report import Report
from maskcli.render import views
from maskcli.render.page.sections import render_page_sections
from maskcli.render.page.tables import LIMITS, render_folded, select_sections
from maskcli.render.parts import Heading, Part, Section, SectionName, Table, iterate_parts
from maskcli.render.views import check, inspect, loss

NAMES = get_args(SectionName)


@pytest.fixture(scope="module")
def report() -> Report:
    """Return a report that has every section of its three views, apart from the inputs of several."""
    data = [[1, 2, 3, 4, 5, 6, 7], [1, 2, 3], [4, 5, 6], [7, 8, 9, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    return maskcli.report(data, mask_source="all", metrics=["mae"])


def view_sections(report: Report) -> list[Section]:
    assert report.loss is not None
    return [
        *inspect.view(report.inspection, LIMITS),
        *check.view(report.check, LIMITS),
        *loss.view(report.loss, LIMITS),
    ]


def list_cells(page: str) -> list[str]:
    """Return the content of every cell of every table."""
    return re.findall(r"<t[dh][ >].*?</t[dh]>", page)


def rename_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace every heading of every view by a meaningless one."""
    numbers = itertools.count()

    def make_heading(_title: str, _detail: str = "") -> Heading:
        return Heading(f"Renamed {next(numbers)}")

    for module in pkgutil.iter_modules(views.__path__, f"{views.__name__}."):
        if hasattr(importlib.import_module(module.name), "Heading"):
            monkeypatch.setattr(f"{module.name}.Heading", make_heading)


def find_tables(parts: Iterator[Part]) -> list[Table]:
    return [part for part in parts if isinstance(part, Table)]


def test_page_survives_renamed_headings(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """No table depends on the text of a heading."""
    before, _ = render_page_sections(report)
    rename_headings(monkeypatch)
    after, _ = render_page_sections(report)
    assert "Path of the mask" in before
    assert "<h3>Path of the mask" not in after
    assert after.count("<h3>Renamed ") > 10
    assert list_cells(after) == list_cells(before)


def test_page_has_every_table(report: Report) -> None:
    """The page has as many tables as the views."""
    sections = [section for section in view_sections(report) if section.name != "inputs"]
    assert len(find_tables(iterate_parts(sections))) > 10
    # The leak probes are part of the check, and have a place of their own.
    tables = sum(2 if section.name == "leak" else 1 for section in sections for _ in find_tables(iter(section.parts)))
    assert render_page_sections(report)[0].count("<table>") == tables


def test_views_use_known_names(report: Report) -> None:
    """Every section has a name of ``SectionName``, and each of its parts is in a section."""
    sections = view_sections(report)
    assert {section.name for section in sections} <= set(NAMES)
    assert {"batch", "mask-path", "outputs", "mask-sources", "leak", "losses", "reductions"} <= {
        section.name for section in sections
    }


def test_select_sections_by_name() -> None:
    sections = [Section("batch", (Heading("a"),)), Section("leak", (Heading("b"),)), Section("batch", ())]
    assert select_sections(sections, "batch") == [sections[0], sections[2]]
    assert select_sections(sections, "metrics", "leak") == [sections[1]]
    assert render_folded([], "nothing") == ""
