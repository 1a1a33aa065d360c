"""The document that a page carries: put in, and found again without running anything."""

from __future__ import annotations

from maskcli.render.page.markup import render_data_script, unshield_json

NAME = "maskcli-report"
_START, _, _END = render_data_script(NAME, "\0").partition("\0")


def embed_document(document: bytes) -> str:
    """Return the script of data that holds a document."""
    return render_data_script(NAME, document.decode())


def extract_document(page: bytes) -> bytes | None:
    """Return the document that a page carries, or None where it carries none.

    A name may hold the very text that is looked for: in HTML and in JSON its ``<`` is escaped, so that the text itself
    stands in a page once.
    """
    _, found, rest = page.partition(_START.encode())
    document, ended, _ = rest.partition(_END.encode())
    if not found or not ended:
        return None
    try:
        return unshield_json(document.decode()).encode()
    except UnicodeDecodeError:
        return None
