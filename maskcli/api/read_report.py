"""Read a saved report; no model is loaded, and no code in it runs."""

from __future__ import annotations

import json

from maskcli.errors import InputError
from maskcli.records.report import Report
from maskcli.sequences.sources import Source

HINT = "Name a page or a JSON document that `maskcli report` wrote."


def read_report(path: str) -> Report:
    """Read the report in an HTML page or a JSON document.

    Args:
        path: a file that ``maskcli report`` wrote; ``-`` is standard input.

    Raises:
        InputError: for a file that cannot be read, or is not a report.
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
            received=_summarize(error),
            fix=HINT,
        ) from None


def _summarize(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
