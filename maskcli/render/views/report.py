"""A report on a terminal: the verdicts, the findings of the check, and the loss."""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Severity
from maskcli.records.report import Report, Verdict
from maskcli.render.numbers import format_count
from maskcli.render.parts import Cell, Heading, Limits, Part, Prose, Role, Section, Text
from maskcli.render.views import check, loss

ROLES: dict[Severity | None, Role] = {None: "on", "error": "error", "warning": "warning", "info": "info"}


def view(report: Report, limits: Limits) -> list[Section]:
    """Return the verdicts, then the findings and the loss as ``check`` and ``loss`` show them."""
    model = "a model" if report.check.model is None else report.check.model.name
    verdicts = (part for verdict in report.verdicts for part in _view_verdict(verdict))
    return [
        Section("verdicts", (Heading(f"Report on {model}", _count_rows(report)), *verdicts)),
        *check.view(report.check, limits),
        *([] if report.loss is None else loss.view(report.loss, limits)),
    ]


def _count_rows(report: Report) -> str:
    origin = report.origin
    rows = format_count(origin.rows, "row")
    return rows if origin.samples == origin.rows else f"{rows}, the first {origin.samples:,} shown in detail"


def _view_verdict(verdict: Verdict) -> Iterator[Part]:
    is_unknown = verdict.severity is None and not verdict.known
    answer = Cell(verdict.answer, "muted") if is_unknown else Cell(f" {verdict.answer}", ROLES[verdict.severity])
    yield Text((Cell(f"{verdict.question} "), answer))
    yield Prose((Cell(verdict.text, "muted"),), indent=4, hang=4)
