"""Read lines of integers separated by blanks, commas or tabs, with the tokenizer."""

from __future__ import annotations

import re

from maskcli.sequences.fast.normalize import find_separator, unify_separators
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.fast.tokenizer import Frame, Workspace, tokenize

_SEPARATOR = re.compile(rb"[0-9]([ ,\t]|, )-?[0-9]")
_UNIFIED = Frame(b"", b"", b"\n", b",", loose=True)
"""The frame of lines that ``unify_separators`` returns."""


def parse_lines(block: bytes, work: Workspace) -> FastRows | None:
    """Return the rows of a block; None if they cannot be verified.

    Args:
        block: whole lines, the last with its line end.
        work: the buffers of this thread.
    """
    rows = tokenize(block, _find_frame(block), work)
    if rows is None:
        # Several blanks in a row and mixed separators are common in text. Normalized, they are read fast, too.
        rows = tokenize(unify_separators(block), _UNIFIED, work)
    return None if rows is None else FastRows(rows)


def _find_frame(block: bytes) -> Frame:
    """Return the frame of the first line of a block."""
    line = block[: block.index(b"\n") + 1]
    indent = line[: len(line) - len(line.lstrip(b" "))] if line.strip() else b""
    suffix = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    return Frame(indent, indent, suffix, find_separator(block, _SEPARATOR, b" "), loose=True)
