"""The checks of all models of a project: each check, then a line for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.records.project import ModelCheck, ProjectReport
from maskcli.records.wording import format_count
from maskcli.render.parts import (
    BLANK,
    Cell,
    Cells,
    Heading,
    Limits,
    Part,
    Prose,
    Section,
    make_cell,
    make_sections,
    mark,
)
from maskcli.render.tables import ItemColumn, list_items
from maskcli.render.views import check
from maskcli.render.views.check_answer import RESULTS
from maskcli.render.views.data import view_data


def view(report: ProjectReport, limits: Limits) -> list[Section]:
    """Return the view of each check, and the summary."""
    sections: list[Section] = []
    for entry in report.checks:
        sections += make_sections(("about", _introduce(entry)))
        if entry.check is not None:
            checked = check.view(entry.check, limits)
            # The suggestion of another command is of one check.
            sections += [*view_data(entry.check), *(section for section in checked if section.name != "next")]
    return [*sections, *make_sections(("result", _summarize(report, limits)))]


def _introduce(entry: ModelCheck) -> Iterator[Part]:
    yield Heading(entry.name, "model of the project")
    if entry.error is not None:
        yield Prose((Cell(entry.error),), (mark("error", " "),), hang=2)


def _summarize(report: ProjectReport, limits: Limits) -> Iterator[Part]:
    yield Heading("Summary", f"{report.summarize()}; {format_count(len(report.checks), 'model')}")
    columns: list[ItemColumn[ModelCheck]] = [
        ItemColumn("model", lambda entry: make_cell(entry.name, "label"), "left"),
        ItemColumn("result", _show_result, "left"),
        ItemColumn("errors", lambda entry: _count(entry, "error")),
        ItemColumn("warnings", lambda entry: _count(entry, "warning")),
        ItemColumn("infos", lambda entry: _count(entry, "info")),
    ]
    yield from list_items(columns, report.checks, "model", dataclasses.replace(limits, rows=None))
    yield BLANK


def _show_result(entry: ModelCheck) -> Cells:
    if entry.check is None:
        return (mark("error", " not checked"),)
    role, words = RESULTS[entry.check.status]
    return (mark(role, f" {words}"),)


def _count(entry: ModelCheck, severity: str) -> Cells:
    if entry.check is None:
        return make_cell("–", "muted")
    return make_cell(str(sum(finding.severity == severity for finding in entry.check.findings)))
