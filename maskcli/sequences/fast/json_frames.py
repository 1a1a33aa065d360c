"""Read JSON whose rows differ only in their integers, with the tokenizer.

The rows of a block are lists, or records with one field. Their *frame*, the text around the integers, is taken from the
first rows of the block. Without any integer, a frame is a short piece of JSON itself: JSON's own reader decides whether
it is valid, and what it means.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

from maskcli.sequences.fast.normalize import find_separator, remove_blanks
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.fast.tokenizer import Frame, Workspace, tokenize

SEPARATOR = re.compile(rb"[0-9](, ?)-?[0-9]")
COMMA = b","


@dataclasses.dataclass(frozen=True)
class JsonFrame:
    """The text around the integers of each row, and the field that they are in; None for bare lists."""

    frame: Frame
    field: str | None


def parse_framed(
    block: bytes, find_frame: Callable[[bytes], JsonFrame | None], line_ends: bool, work: Workspace
) -> FastRows | None:
    """Return the rows of a block; None if they cannot be verified.

    Args:
        block: whole rows.
        find_frame: returns the frame of the first rows, None if there is none.
        line_ends: whether a line end is a blank like others.
        work: the buffers of this thread.
    """
    json_frame = find_frame(block)
    if json_frame is None:
        return None
    rows = tokenize(block, json_frame.frame, work)
    if rows is not None:
        return FastRows(rows, json_frame.field)
    # Blanks may be at other places in some rows. Without any blanks, all rows have the same frame again.
    dense = remove_blanks(block, line_ends)
    dense_frame = None if dense is None else find_frame(dense)
    if dense is None or dense_frame is None:
        return None
    rows = tokenize(dense, dense_frame.frame, work)
    # The names of fields lost their blanks, too. So in the block as it was, the field must be spelled the same way in
    # every row: "a b" and "ab" are different fields.
    if rows is None or (json_frame.field is not None and _count_name(block, json_frame.field) != len(rows)):
        return None
    return FastRows(rows, json_frame.field)


def _count_name(block: bytes, field: str) -> int:
    """Return how often the name of a field occurs, with its other characters escaped or not."""
    return max(block.count(json.dumps(field, ensure_ascii=escaped).encode()) for escaped in (True, False))


def find_line_frame(block: bytes) -> JsonFrame | None:
    """Return the frame of rows that are one line each, from the first row."""
    line = block[: block.find(b"\n") + 1]
    begin, end = line.find(b"[") + 1, line.rfind(b"]")
    if not 0 < begin <= end:
        return None
    head, suffix = line[:begin], line[end:]
    return _parse_frame(Frame(head, head, suffix, find_separator(block, SEPARATOR, COMMA)), head + suffix)


def find_array_frame(block: bytes) -> JsonFrame | None:
    """Return the frame of rows of an array, each with a comma before it, from the first two rows."""
    begin = block.find(b"[") + 1
    end = block.find(b"]", begin)
    second = block.find(b"[", end) + 1
    head = block[:begin]
    if not begin or end < 0 or not head.lstrip().startswith(COMMA):
        return None
    # Between the integers of two rows: the end of the first, a comma, and the start of the second. If there is only
    # one row, imagine a second one that begins like the first.
    between = block[end:second] if second else block[end:] + head
    suffix, comma, prefix = between.partition(COMMA)
    rows = head.lstrip()[1:] + suffix, prefix + suffix
    return _parse_frame(Frame(head, comma + prefix, suffix, find_separator(block, SEPARATOR, COMMA)), *rows)


def _parse_frame(frame: Frame, *rows: bytes) -> JsonFrame | None:
    """Return a frame with its field; None if ``rows``, which have no integers, are not the same list or record.

    A row must be an empty list, or a record whose only field is an empty list. Each row is parsed by itself, so the
    brackets of a row cannot be closed by another.
    """
    try:
        first, *further = [json.loads(row.decode()) for row in rows]
    except (ValueError, RecursionError):
        return None
    if any(row != first for row in further):
        return None
    if first == []:
        return JsonFrame(frame, None)
    if isinstance(first, dict) and list(first.values()) == [[]]:
        return JsonFrame(frame, next(iter(first)))
    return None
