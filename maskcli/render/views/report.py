"""A report on a terminal: the verdicts, the findings of the check, and the loss."""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.fields import Severity
from maskcli.records.report import Report, Verdict
from maskcli.records.wording import format_count
from maskcli.render.parts import Cell, Heading, Limits, Part, Prose, Role, Section, Text, mark
from maskcli.render.views import check, loss

ROLES: dict[Severity | None, Role] = {None: "on", "error": "error", "warning": "warning", "info": "info"}


def view(report: Report, limits: Limits) -> list[Section]:
    """Return the verdicts, then the findings and the loss as ``check`` and ``loss`` show them."""
    model = report.check.model.name if report.check.model is not None else "a model"
    verdicts = (part for verdict in report.verdicts for part in _view_verdict(verdict))
    checked = check.view(report.check, limits)
    losses = [] if report.loss is None else loss.view(report.loss, limits)
    return [
        Section("verdicts", (Heading(f"Report on {model}", _count_rows(report)), *verdicts)),
        # The verdicts are the answer of the check.
        *(section for section in checked if section.name not in ("about", "answer", "next")),
        *(section for section in losses if section.name not in ("about", "validity", "next")),
        *(section for section in checked if section.name == "next"),
    ]


def _count_rows(report: Report) -> str:
    origin = report.origin
    rows = format_count(origin.rows, "row")
    if origin.samples == origin.rows:
        return rows
    return f"{rows}, the first {origin.samples:,} shown in detail"


def _view_verdict(verdict: Verdict) -> Iterator[Part]:
    answer = mark(ROLES[verdict.severity], f" {verdict.answer}")
    if verdict.severity is None and not verdict.known:
        answer = Cell(verdict.answer, "muted")
    yield Text((Cell(f"{verdict.question} "), answer))
    yield Prose((Cell(verdict.text, "muted"),), indent=4, hang=4)
