"""What stands around the lists of integers in JSON, read off the first rows of a block, for the tokenizer.

The rows of a block are lists, or records of one field, that differ in nothing but their integers. What stands around
these, with no integer in it, is JSON itself, and so JSON's own reader says what it is.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

from maskcli.sequences.fast.normalize import remove_blanks
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.fast.tokenizer import Frame, Workspace, tokenize

SEPARATOR = re.compile(rb"[0-9](, ?)-?[0-9]")
SEARCHED = 2**14
"""Bytes in which a separator is looked for."""
COMMA = b","


@dataclasses.dataclass(frozen=True)
class JsonFrame:
    """What stands around the integers of each row, and the field that they are in; None for bare lists."""

    frame: Frame
    field: str | None


def parse_framed(
    block: bytes, framed: Callable[[bytes], JsonFrame | None], line_ends: bool, work: Workspace
) -> FastRows | None:
    """Return the rows of a block, or None in doubt.

    Args:
        block: whole rows.
        framed: tells what stands around the integers of each.
        line_ends: whether a line end is a blank like others.
        work: of this thread.
    """
    found = framed(block)
    if found is None:
        return None
    rows = tokenize(block, found.frame, work)
    if rows is not None:
        return FastRows(rows, found.field)
    close = remove_blanks(block, line_ends)
    even = None if close is None else framed(close)
    rows = None if close is None or even is None else tokenize(close, even.frame, work)
    # What is quoted lost its blanks too, and so the field must be spelled in each row as in the first.
    if rows is None or (found.field is not None and _count(block, found.field) != len(rows)):
        return None
    return FastRows(rows, found.field)


def _count(block: bytes, field: str) -> int:
    """Return how often a field is named."""
    return max(block.count(json.dumps(field, ensure_ascii=ascii_).encode()) for ascii_ in (True, False))


def find_line_frame(block: bytes) -> JsonFrame | None:
    """Return the frame of rows that are a line each, by the first of them."""
    line = block[: block.find(b"\n") + 1]
    opened, closed = line.find(b"[") + 1, line.rfind(b"]")
    if not 0 < opened <= closed:
        return None
    head, suffix = line[:opened], line[closed:]
    return _framed(Frame(head, head, suffix, find_separator(block)), head + suffix)


def find_array_frame(block: bytes) -> JsonFrame | None:
    """Return the frame of rows of an array, each with a comma before it, by the first two of them."""
    opened = block.find(b"[") + 1
    closed = block.find(b"]", opened)
    second = block.find(b"[", closed) + 1
    head = block[:opened]
    if not opened or closed < 0 or not head.lstrip().startswith(COMMA):
        return None
    between = block[closed:second] if second else block[closed:] + head
    suffix, comma, prefix = between.partition(COMMA)
    rows = head.lstrip()[1:] + suffix, prefix + suffix
    return _framed(Frame(head, comma + prefix, suffix, find_separator(block)), *rows)


def find_separator(block: bytes) -> bytes:
    """Return what stands between the first two integers that follow each other, or what may."""
    found = SEPARATOR.search(block, 0, SEARCHED)
    return found[1] if found else COMMA


def _framed(frame: Frame, *rows: bytes) -> JsonFrame | None:
    """Return a frame whose rows, without their integers, are the same list or record of one list, each by itself."""
    try:
        first, *others = [json.loads(row.decode()) for row in rows]
    except (ValueError, RecursionError):
        return None
    if any(other != first for other in others):
        return None
    if first == []:
        return JsonFrame(frame, None)
    if isinstance(first, dict) and list(first.values()) == [[]]:
        return JsonFrame(frame, next(iter(first)))
    return None
