"""A report to the JSON document of the contract, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

from maskcli.records.report import Report
from maskcli.render.check_document import make_check_document
from maskcli.render.codec import decode, encode

SCHEMA = "maskcli/report/1"
OF_CHECK = ("findings", "checked", "leak", "notes")
"""What is said as ``maskcli check`` says it."""


def make_report_document(report: Report) -> dict[str, Any]:
    """Return ``maskcli/report/1``: what matters, plainly, and behind it the whole record."""
    origin, checked, loss = report.origin, make_check_document(report.check), report.loss
    return {
        "schema": SCHEMA,
        "model": checked["model"],
        "versions": origin.versions,
        "command": origin.command,
        "seed": origin.seed,
        "rows": origin.rows,
        "samples": origin.samples,
        "verdicts": [dataclasses.asdict(verdict) for verdict in report.verdicts],
        **{name: checked[name] for name in OF_CHECK},
        "losses": [] if loss is None else [_loss(output) for output in loss.outputs],
        "keras_evaluate": None if loss is None else loss.keras_evaluate,
        "no_loss": report.no_loss,
        **encode(report),
    }


def _loss(output: Any) -> dict[str, Any]:
    names = ("name", "loss", "masked", "exact", "unmasked", "unmasked_model", "reported")
    return {name: getattr(output, name) for name in names}


def read_report_document(document: Any) -> Report:
    """Return the report that a document was made of.

    Raises:
        ValueError: for what is no such document, with what is wrong.
    """
    if not isinstance(document, dict) or "schema" not in document:
        raise ValueError("no document that maskcli wrote")
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {str(document['schema'])[:80]!r}")
    return decode(Report, document)
