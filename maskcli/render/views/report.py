"""A report in a terminal: the verdict, what check found, and what the loss came to."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from maskcli.records.check import Severity
from maskcli.records.report import Report, Verdict
from maskcli.render.parts import Cell, Heading, Limits, Part, Role, Text
from maskcli.render.views import check, loss

NARROWEST = 40
ROLES: dict[Severity | None, Role] = {None: "on", "error": "error", "warning": "warning", "info": "info"}


def view(report: Report, limits: Limits) -> list[Part]:
    """Return the verdict, then the findings and the loss as ``check`` and ``loss`` show them."""
    room = sys.maxsize if limits.flows else max(NARROWEST, limits.width - 5)
    return [
        Heading(f"Report on {report.check.model.name if report.check.model is not None else 'a model'}", _rows(report)),
        *(line for verdict in report.verdicts for line in _verdict(verdict, room)),
        *check.view(report.check, limits),
        *(loss.view(report.loss, limits) if report.loss is not None else ()),
    ]


def _rows(report: Report) -> str:
    origin = report.origin
    many = f"{origin.rows:,} {'row' if origin.rows == 1 else 'rows'}"
    return many if origin.samples == origin.rows else f"{many}, the first {origin.samples:,} shown closely"


def _verdict(verdict: Verdict, width: int) -> Iterator[Part]:
    unknown = verdict.severity is None and not verdict.known
    answer = Cell(verdict.answer, "muted") if unknown else Cell(f" {verdict.answer}", ROLES[verdict.severity])
    yield Text((Cell(f"{verdict.question} "), answer))
    for line in textwrap.wrap(verdict.text, width, break_on_hyphens=False):
        yield Text((Cell(f"    {line}", "muted"),))
