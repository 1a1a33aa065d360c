"""Records as HTML for the output of a notebook's cell."""

from __future__ import annotations

from maskcli.records.check import CheckReport
from maskcli.records.loss import LossReport
from maskcli.records.report import Report
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection
from maskcli.render.html import render_standalone_html
from maskcli.render.parts import Limits, Section
from maskcli.render.views import check, inspect, loss, pad, report
from maskcli.render.views.data import view_data

LIMITS = Limits(rows=24, columns=None, width=110, flows=True)
"""As on a screen, a little wider."""


def render_record(record: object) -> str:
    """Return a record as HTML, with its style.

    Raises:
        TypeError: for a type without a view.
    """
    return render_standalone_html([*view_data(record), *_view_record(record)])


def _view_record(record: object) -> list[Section]:
    match record:
        case PaddedBatch():
            return pad.view(record, LIMITS)
        case Inspection():
            return inspect.view(record, LIMITS)
        case LossReport():
            return loss.view(record, LIMITS)
        case CheckReport():
            return check.view(record, LIMITS)
        case Report():
            return [*report.view(record, LIMITS), *inspect.view(record.inspection, LIMITS)]
    raise TypeError(f"no view of a {type(record).__name__}")
