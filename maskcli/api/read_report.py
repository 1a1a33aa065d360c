"""A report that was written before, read again; no model is loaded, and nothing in it is run."""

from __future__ import annotations

import json

from maskcli.errors import InputError
from maskcli.records.report import Report
from maskcli.sequences.sources import Source

HINT = "Name a page or a JSON document that `maskcli report` wrote."


def read_report(path: str) -> Report:
    """Return the report that a page, or a JSON document, was made of.

    Args:
        path: of a file that ``maskcli report`` wrote; ``-`` is standard input.

    Raises:
        InputError: for a file that cannot be read, or is no such report.
    """
    from maskcli.render.documents import read_report_document
    from maskcli.render.page.embedding import extract_document

    source = Source(path, "a report", HINT)
    data = source.read()
    try:
        document = json.loads(data if data.lstrip().startswith(b"{") else extract_document(data) or b"null")
        return read_report_document(document)
    except (ValueError, RecursionError) as error:
        raise InputError(
            where=source.name,
            expected="a report, .html or .json, that this release of maskcli can read",
            received=_said(error),
            fix=HINT,
        ) from None


def _said(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
