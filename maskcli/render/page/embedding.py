"""The document that a page carries: put in, and found again without running anything."""

from __future__ import annotations

from maskcli.render.page.markup import data_script, unshielded

NAME = "maskcli-report"
_START, _, _END = data_script(NAME, "\0").partition("\0")


def carrying(document: bytes) -> str:
    """Return the script of data that holds a document."""
    return data_script(NAME, document.decode())


def embedded(page: bytes) -> bytes | None:
    """Return the document that a page carries, or None where it carries none.

    A name may hold the very text that is looked for: in HTML and in JSON its ``<`` is escaped, so that the text itself
    stands in a page once.
    """
    _, found, rest = page.partition(_START.encode())
    document, ended, _ = rest.partition(_END.encode())
    if not found or not ended:
        return None
    try:
        return unshielded(document.decode()).encode()
    except UnicodeDecodeError:
        return None
