"""Results of the library as text and as HTML for the output of a notebook's cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maskcli.records.check import CheckReport
from maskcli.records.comparison import Comparison
from maskcli.records.loss import LossReport
from maskcli.records.profile import ProfileReport
from maskcli.records.project import ProjectReport
from maskcli.records.report import Report
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection
from maskcli.render.documents import make_document, make_strict
from maskcli.render.html import render_standalone_html
from maskcli.render.parts import Limits, Section
from maskcli.render.terminal import make_text_console, render_bytes
from maskcli.render.views import check, compare, inspect, loss, pad, profile, project, report
from maskcli.render.views.data import view_data

ROWS = 24
"""Rows of a table, as in a terminal."""
LIMITS = Limits(rows=ROWS, columns=None, width=110, flows=True)
"""Of a notebook: as on a screen, a little wider."""

VIEWS: dict[type[Any], Callable[[Any, Limits], list[Section]]] = {
    PaddedBatch: pad.view,
    Inspection: inspect.view,
    LossReport: loss.view,
    CheckReport: check.view,
    Comparison: compare.view,
    ProfileReport: profile.view,
    ProjectReport: project.view,
}
"""By the class of a result."""


def render_text_of(record: object) -> str:
    """Return a result as its command prints it, without colour, as wide as the terminal.

    Raises:
        TypeError: for a type without a view.
    """
    console = make_text_console()
    return render_bytes(_view_record(record, Limits(ROWS, None, console.width)), console).decode().rstrip("\n")


def render_html_of(record: object) -> str:
    """Return a result as HTML, with its style.

    Raises:
        TypeError: for a type without a view.
    """
    return render_standalone_html(_view_record(record, LIMITS))


def make_plain_document(record: object) -> dict[str, Any]:
    """Return the JSON document of a result, in JSON's own types."""
    document: dict[str, Any] = make_strict(make_document(record))
    return document


def _view_record(record: object, limits: Limits) -> list[Section]:
    return [*view_data(record), *_view_result(record, limits)]


def _view_result(record: object, limits: Limits) -> list[Section]:
    if isinstance(record, Report):
        return [*report.view(record, limits), *inspect.view(record.inspection, limits)]
    view = next((view for kind, view in VIEWS.items() if isinstance(record, kind)), None)
    if view is None:
        raise TypeError(f"no view of a {type(record).__name__}")
    return view(record, limits)
