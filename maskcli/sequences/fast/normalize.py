"""Find the separator of a block, and rewrite blocks with irregular spacing.

The tokenizer needs the same separator between all numbers. Blocks such as ``[ 1 , 2 ]``, or columns aligned with
blanks, are rewritten to the same rows with single separators and no blanks.
"""

from __future__ import annotations

import re

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.sequences.fast.tokenizer import Bytes

_SEARCHED = 2**14
"""Bytes at the start of a block that are searched for a separator."""
BLANK, TAB, RETURN, LINE_END, COMMA, MINUS, ZERO = b" \t\r\n,-0"


def find_separator(block: bytes, pattern: re.Pattern[bytes], default: bytes) -> bytes:
    """Return the separator between the first two adjacent integers of a block.

    Args:
        block: whole rows.
        pattern: two integers, with the separator as its group.
        default: the result if no integers are adjacent at the start of the block.
    """
    match = pattern.search(block, 0, _SEARCHED)
    return match[1] if match else default


def remove_blanks(block: bytes, line_ends: bool) -> bytes | None:
    """Return JSON without blanks; None if that would join two numbers, or a sign and its number.

    Quoted text loses its blanks, too. The caller must check that it matters nowhere.

    Args:
        block: UTF-8 text.
        line_ends: whether line ends are blanks as well.
    """
    raw = np.frombuffer(block, np.uint8)
    is_blank = _is_one_of(raw, (BLANK, TAB, RETURN, LINE_END) if line_ends else (BLANK, TAB, RETURN))
    text = raw[np.flatnonzero(~is_blank)]
    # "1 2" becomes "12": then there is one number less than before.
    return text.tobytes() if _count_numbers(raw) == _count_numbers(text) else None


def unify_separators(block: bytes) -> bytes:
    """Return lines of text with one comma for each separator.

    A separator is a comma or a tab with any blanks around it, or a run of blanks. A carriage return belongs to the end
    of its line. Two commas in a row enclose an empty cell, and stay. So do separators after the last cell, which may
    be empty cells.
    """
    raw = np.frombuffer(block.replace(b"\r\n", b"\n"), np.uint8)
    # Of each run of blanks, keep only the first, and only if it follows a number: it may be a separator.
    keep = raw != BLANK
    keep[1:] |= _is_part_of_number(raw)[:-1]
    text = raw[np.flatnonzero(keep)]
    if b"," in block or b"\t" in block:
        # "1 , 2" is "1 ,2" now: a blank before a comma or a tab is not a separator of its own.
        keep = text != BLANK
        keep[:-1] |= ~_is_one_of(text[1:], (COMMA, TAB))
        text = text[np.flatnonzero(keep)]
    text[_is_one_of(text, (BLANK, TAB))] = COMMA
    return text.tobytes()


def _is_one_of(raw: Bytes, values: tuple[int, ...]) -> Bools:
    result: Bools = raw == values[0]
    for value in values[1:]:
        np.logical_or(result, raw == value, out=result)
    return result


def _is_part_of_number(text: Bytes) -> Bools:
    """Return ``(n,)``, True at digits and signs."""
    # In uint8, ``text - ZERO`` wraps around below "0", so this one comparison checks both limits.
    result: Bools = (text - ZERO) < 10
    result |= text == MINUS
    return result


def _count_numbers(text: Bytes) -> int:
    """Return the number of runs of digits and signs after the first byte."""
    is_part = _is_part_of_number(text)
    return int(np.count_nonzero(is_part[1:] > is_part[:-1]))
