"""The JSON document inside a page: embedded, and extracted without running anything."""

from __future__ import annotations

from maskcli.render.page.markup import render_data_script, unshield_json

NAME = "maskcli-report"
_START, _END = render_data_script(NAME, "\0").split("\0")


def embed_document(document: bytes) -> str:
    """Return the script of data that contains a document."""
    return render_data_script(NAME, document.decode())


def extract_document(page: bytes) -> bytes | None:
    """Return the document of a page, or None if there is none.

    A model's name may contain the text of the script tag, but HTML and JSON escape its ``<``. The tag itself occurs
    once in a page.
    """
    _, start, remainder = page.partition(_START.encode())
    document, end, _ = remainder.partition(_END.encode())
    if not start or not end:
        return None
    try:
        return unshield_json(document.decode()).encode()
    except UnicodeDecodeError:
        return None
