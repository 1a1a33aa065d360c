"""Lines of integers split by blanks, commas or tabs, for the tokenizer."""

from __future__ import annotations

import re

from maskcli.sequences.fast.normalize import unify_separators
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.fast.tokenizer import Frame, Workspace, tokenize

_FIRST_SEPARATOR = re.compile(rb"[0-9]([ ,\t]|, )-?[0-9]")
SEARCHED = 2**14
"""Bytes in which a separator is looked for."""
EVEN = Frame(b"", b"", b"\n", b",", loose=True)
"""Of lines with single separators."""


def parse_lines(block: bytes, work: Workspace) -> FastRows | None:
    """Return the rows of a block, or None in doubt.

    Args:
        block: whole lines, the last with its end.
        work: of this thread.
    """
    rows = tokenize(block, _frame(block), work)
    if rows is None:
        rows = tokenize(unify_separators(block), EVEN, work)
    return None if rows is None else FastRows(rows)


def _frame(block: bytes) -> Frame:
    """Return what stands around the cells of lines, by the first of them."""
    line = block[: block.index(b"\n") + 1]
    before = line[: len(line) - len(line.lstrip(b" "))] if line.strip() else b""
    found = _FIRST_SEPARATOR.search(block, 0, SEARCHED)
    return Frame(before, before, b"\r\n" if line.endswith(b"\r\n") else b"\n", found[1] if found else b" ", loose=True)
