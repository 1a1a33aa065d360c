"""The page: it takes the tables of the views by the names of their sections."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

import maskcli
from maskcli.records.check import Finding, Repair
from maskcli.records.remark import Remark
from maskcli.records.report import Report
from maskcli.render import views
from maskcli.render.page.charts import compare_specs
from maskcli.render.page.fixes import render_fix
from maskcli.render.page.headline import make_headline
from maskcli.render.page.sections import render_page_sections
from maskcli.render.page.tables import LIMITS, render_folded, select_sections
from maskcli.render.page.verdict import render_findings
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


# The beginning of the page.


def change_leak(report: Report, answer: str, **fields: Any) -> Report:
    """Return the report with another verdict: yes, no, unproven, or None if the model did not run."""
    evidence = report.check.examination.model
    assert evidence is not None
    assert evidence.leak is not None
    leaks = {"yes": True, "no": False}.get(answer)
    leak = dataclasses.replace(evidence.leak, leaks=leaks, **fields) if answer != "not run" else None
    examination = dataclasses.replace(report.check.examination, model=dataclasses.replace(evidence, leak=leak))
    return dataclasses.replace(report, check=dataclasses.replace(report.check, examination=examination))


def make_fault(code: str, severity: str = "error", fix: str = "Do `x = 1`.", **fields: Any) -> Finding:
    return Finding(code, "rule", severity, None, None, "It is wrong.", fix, {}, **fields)  # type: ignore[arg-type]


def add_findings(report: Report, *findings: Finding) -> Report:
    return dataclasses.replace(report, check=dataclasses.replace(report.check, findings=findings))


@pytest.mark.parametrize(
    ("answer", "codes", "expected"),
    [
        ("yes", (), "This model lets padding change its predictions"),
        ("yes", ("MSK301",), "This model lets padding change its predictions"),
        ("no", (), "Padding does not change the predictions of this model"),
        ("no", ("MSK301",), "Padding does not change the predictions of this model, but its loss counts padding"),
        ("no", ("MSK101",), "Padding does not change the predictions of this model, but 1 finding needs attention"),
        ("unproven", (), "It is unproven whether padding changes the predictions of this model"),
        ("not run", (), "This model does not run on this data"),
    ],
)
def test_heading_is_the_result(report: Report, answer: str, codes: tuple[str, ...], expected: str) -> None:
    changed = add_findings(change_leak(report, answer), *map(make_fault, codes))
    assert make_headline(changed) == expected


def test_heading_of_a_leak_after_training(report: Report) -> None:
    assert make_headline(change_leak(report, "yes", weights="noisy")).startswith("Once trained, ")


def test_notes_do_not_change_the_heading(report: Report) -> None:
    clean = add_findings(change_leak(report, "no"), make_fault("MSK302", "info"))
    assert make_headline(clean) == "Padding does not change the predictions of this model"


def test_page_with_a_warning_is_not_green(report: Report) -> None:
    """A warning of the loss is at the top, and nothing above it claims that all is well."""
    assert report.loss is not None
    clean = add_findings(change_leak(report, "no"))
    warned = dataclasses.replace(clean, loss=dataclasses.replace(report.loss, remarks=(Remark("warning", "Careful."),)))
    quiet = dataclasses.replace(
        clean,
        loss=dataclasses.replace(report.loss, remarks=()),
        inspection=dataclasses.replace(report.inspection, remarks=()),
    )
    top = {name: render_findings(item, []) for name, item in (("warned", warned), ("quiet", quiet))}
    assert "none found a fault" in top["quiet"]
    assert "none found a fault" not in top["warned"]
    assert "Careful." in top["warned"]
    assert "Careful." in render_page_sections(warned)[0].partition('id="batch"')[0]


@pytest.mark.parametrize(
    ("fix", "code", "expected"),
    [
        ("Do `x = f(1)`. Then rest.", None, ["<p>Do</p>", "x = f(1)", "<p>Then rest.</p>"]),
        ("Use `f(1)` in `g`.", None, ["<p>Use <code>f(1)</code> in <code>g</code>.</p>"]),
        ("Not tried: `f(x)`; or not.", None, ["<p>Not tried:</p>", "f(x)", "<p>Or not.</p>"]),
        (
            "Do `y = A()(x)`. Tried: good.",
            "class A: ...",
            ["<p>Do</p>", "class A: ...\n\ny = A()(x)", "<p>Tried: good.</p>"],
        ),
        (
            "Use `A()`, which keeps it.",
            "class A: ...",
            ["<p>Use <code>A()</code>, which keeps it.</p>", "class A: ..."],
        ),
        ("Do `y = A()(x)`.", "class A: ...\ny = A()(x)", ["<p>Do</p>", "class A: ...\ny = A()(x)"]),
    ],
)
def test_code_of_a_fix_is_a_block(fix: str, code: str | None, expected: list[str]) -> None:
    repair = Repair("keep-mask", None, code, 0.0) if code else None
    html = render_fix(make_fault("MSK101", fix=fix, repair=repair))
    parts = re.findall(r"<p>.*?</p>|(?<=<code class=\"language-python\">).*?(?=</code></pre>)", html, re.DOTALL)
    assert parts == expected
    assert re.findall(r'data-copy="(.*?)"', html, re.DOTALL) == [part for part in parts if not part.startswith("<p>")]


def test_narrow_chart_is_a_change_of_the_wide_one() -> None:
    old = {"a": [1, {"b": 2, "c": [3, 4]}], "d": {"e": 1}}
    new = {"a": [1, {"b": 5, "c": [3]}], "d": {"f": 1}}
    changes = list(compare_specs(old, new))
    assert changes == [(("a", 1, "b"), 5), (("a", 1, "c"), [3]), (("d",), {"f": 1})]
    assert list(compare_specs(old, old)) == []


def test_select_sections_by_name() -> None:
    sections = [Section("batch", (Heading("a"),)), Section("leak", (Heading("b"),)), Section("batch", ())]
    assert select_sections(sections, "batch") == [sections[0], sections[2]]
    assert select_sections(sections, "metrics", "leak") == [sections[1]]
    assert render_folded([], "nothing") == ""
