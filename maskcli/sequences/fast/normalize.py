"""Blocks with odd spacing, such as ``[ 1 , 2 ]`` or columns set with several blanks, brought to the spacing that can be
tokenized: the same rows, with single separators and no blanks.
"""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.sequences.fast.tokenizer import Bytes

BLANK, TAB, RETURN, LINE_END, COMMA, MINUS, ZERO = b" \t\r\n,-0"


def remove_blanks(block: bytes, line_ends: bool) -> bytes | None:
    """Return JSON without the blanks between its signs, or None where a blank parts two digits or a sign from them.

    What stands in quotes loses its blanks too, which the caller has to rule out.

    Args:
        block: of UTF-8 text.
        line_ends: whether these are blanks as well.
    """
    raw = np.frombuffer(block, np.uint8)
    blank = _is_one_of(raw, (BLANK, TAB, RETURN, LINE_END) if line_ends else (BLANK, TAB, RETURN))
    text = raw[np.flatnonzero(~blank)]
    # Numbers that a blank had parted would be one now.
    return text.tobytes() if _numbers(raw) == _numbers(text) else None


def unify_separators(block: bytes) -> bytes:
    """Return lines of text with a comma for each separator.

    Cells are split by a comma or a tab, with blanks around it, or by blanks alone; a carriage return belongs to the end
    of its line. Commas stand side by side where a cell is empty, and behind the last cell as separators do.
    """
    raw = np.frombuffer(block.replace(b"\r\n", b"\n"), np.uint8)
    keep = raw != BLANK
    keep[1:] |= _of_number(raw)[:-1]  # The first blank behind a cell parts it from the next,
    text = raw[np.flatnonzero(keep)]
    if b"," in block or b"\t" in block:
        keep = text != BLANK
        keep[:-1] |= ~_is_one_of(text[1:], (COMMA, TAB))  # unless a comma or a tab does.
        text = text[np.flatnonzero(keep)]
    text[_is_one_of(text, (BLANK, TAB))] = COMMA
    return text.tobytes()


def _is_one_of(raw: Bytes, wanted: tuple[int, ...]) -> Bools:
    found = raw == wanted[0]
    for byte in wanted[1:]:
        np.logical_or(found, raw == byte, out=found)
    return found  # type: ignore[no-any-return]


def _of_number(text: Bytes) -> Bools:
    """Return where digits and signs stand."""
    found: Bools = (text - ZERO) < 10
    found |= text == MINUS
    return found


def _numbers(text: Bytes) -> int:
    """Return how many runs of digits and signs begin after another byte."""
    found = _of_number(text)
    return int(np.count_nonzero(found[1:] > found[:-1]))
