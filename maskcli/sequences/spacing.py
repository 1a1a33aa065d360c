"""Blocks with odd spacing, such as ``[ 1 , 2 ]`` or columns set with several blanks, brought to the spacing that can be
tokenized: the same rows, with single separators and no blanks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskcli.records import Bools

Bytes = NDArray[np.uint8]
BLANK, TAB, RETURN, LINE_END, COMMA, MINUS, ZERO = b" \t\r\n,-0"


def without_blanks(block: bytes, line_ends: bool) -> bytes | None:
    """Return JSON without the blanks between its signs, or None where a blank parts two digits or a sign from them.

    What stands in quotes loses its blanks too, which the caller has to rule out.

    Args:
        block: of UTF-8 text.
        line_ends: whether these are blanks as well.
    """
    raw = np.frombuffer(block, np.uint8)
    blank = _is_one_of(raw, (BLANK, TAB, RETURN, LINE_END) if line_ends else (BLANK, TAB, RETURN))
    kept = np.flatnonzero(~blank)
    text = raw[kept]
    number = _of_number(text)
    parted = (np.diff(kept) > 1) & number[1:] & number[:-1]
    return None if parted.any() else text.tobytes()


def with_single_separators(block: bytes) -> bytes:
    """Return lines of text with a comma for each separator, and none behind the last cell of a line.

    Cells are split by a comma or a tab, with blanks around it, or by blanks alone; a carriage return belongs to the end
    of its line. Between empty cells commas are left side by side.
    """
    raw = np.frombuffer(block.replace(b"\r\n", b"\n"), np.uint8)
    kept = np.flatnonzero(raw != BLANK)
    text = raw[kept]
    number = _of_number(text)
    parted = np.flatnonzero((np.diff(kept) > 1) & number[1:] & number[:-1])
    text = np.insert(text, parted + 1, COMMA)
    text[text == TAB] = COMMA
    return _without_last_commas(text)


def _without_last_commas(text: Bytes) -> bytes:
    rest = np.flatnonzero(text != COMMA)
    commas = np.diff(rest, prepend=-1) - 1  # Before each other byte.
    at_end = text[rest] == LINE_END
    kept = np.ones(len(text), bool)
    kept[_runs(rest[at_end], commas[at_end])] = False
    return text[kept].tobytes()


def _runs(stops: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places in runs of these lengths that end before ``stops``."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(stops - ends, lengths)


def _is_one_of(raw: Bytes, wanted: tuple[int, ...]) -> Bools:
    found = np.zeros(len(raw), bool)
    for byte in wanted:
        found |= raw == byte
    return found


def _of_number(text: Bytes) -> Bools:
    """Return where digits and signs stand."""
    found: Bools = (text - ZERO) < 10
    found |= text == MINUS
    return found
