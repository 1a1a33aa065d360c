"""Read records of several fields, one per line: integers with the tokenizer, all else with JSON's own reader.

The list of the requested field is cut out of each line. The remaining line, such as ``{"label": 3, "ids": []}``, is
short, and equal lines are parsed only once.

Why the list that is cut out of a line is the value of the field:

- the block has no backslash, so the name of the field can be spelled in only one way;
- that name occurs as often as there are lines;
- each remaining record has the field, with an empty list.

So the name occurs exactly once per line, at the field itself, and the list after it is its value.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.sequences.fast.json_frames import COMMA, SEPARATOR
from maskcli.sequences.fast.normalize import find_separator
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.fast.tokenizer import Frame, Places, Workspace, tokenize

OPEN, CLOSE = b"[]"
MARK = '"maskcli: end of a row"'
"""JSON that is put between two records."""


def parse_records(block: bytes, field: str | None, work: Workspace) -> FastRows | None:
    """Return the lists in a field of the records; None if they cannot be verified.

    Args:
        block: whole lines, the last with its line end.
        field: None selects the only field with integers in the first record.
        work: the buffers of this thread.
    """
    name = field if field is not None else _find_only_field(block[: block.find(b"\n")])
    if name is None or b"\\" in block:
        return None
    n_rows, quoted = block.count(b"\n"), json.dumps(name, ensure_ascii=False).encode()
    # The first occurrence shows how all of them are spaced: ``"ids": [`` or ``"ids":[``.
    start = re.search(re.escape(quoted) + rb"[ \t]*:[ \t]*\[", block)
    if start is None or block.count(quoted) != n_rows:
        return None
    lists = _find_lists(np.frombuffer(block, np.uint8), start[0], n_rows)
    if lists is None:
        return None
    integers, remainder = _cut_out(block, *lists)
    # The contents of the lists, one per line, have nothing around them but the line end.
    ragged = tokenize(integers, Frame(b"", b"", b"\n", find_separator(integers, SEPARATOR, COMMA)), work)
    if ragged is None:
        return None
    records = _parse_remainder(remainder, n_rows)
    if records is None or any(record.get(name) != [] for record in records):
        return None
    return FastRows(ragged, name, records)


def _cut_out(block: bytes, begins: Places, ends: Places) -> tuple[bytes, bytes]:
    """Return the text between these places, one line for each, and the remaining text."""
    first, last = begins.tolist(), ends.tolist()
    inside = [block[begin:end] for begin, end in zip(first, last, strict=True)]
    outside = [block[begin:end] for begin, end in zip([0, *last], [*first, len(block)], strict=True)]
    return b"\n".join([*inside, b""]), b"".join(outside)


def _find_only_field(line: bytes) -> str | None:
    """Return the only field of a record with a list of integers; None if there are none or several."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    lists = [key for key, value in record.items() if _is_list_of_integers(value)]
    return lists[0] if len(lists) == 1 else None


def _is_list_of_integers(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _find_lists(raw: NDArray[np.uint8], start: bytes, n_rows: int) -> tuple[Places, Places] | None:
    """Return the begin and the end of each list that ``start`` opens, without its brackets.

    Returns None if there is not one list per row, or if a list does not end.
    """
    begins = np.flatnonzero(raw == OPEN) + 1
    # Keep the brackets with ``start`` before them: compare its bytes from the last to the first. Each comparison
    # leaves fewer places for the next.
    for back, byte in enumerate(reversed(start), 1):
        begins = begins[np.take(raw, begins - back, mode="clip") == byte]
    closing = np.flatnonzero(raw == CLOSE)
    if len(begins) != n_rows or len(closing) < n_rows:
        return None
    ends = np.take(closing, np.searchsorted(closing, begins), mode="clip")
    return (begins, ends) if (begins <= ends).all() else None


def _parse_remainder(remainder: bytes, n_rows: int) -> list[dict[str, Any]] | None:
    """Return the different records among lines; None if not every line is exactly one record.

    All lines are parsed at once, as an array with a mark between each two. A line could hold two records, or a part of
    one. But no line has the mark in it. So if every second entry of the array is a mark, and the number of entries is
    right, then each other entry is exactly one line.
    """
    try:
        text = remainder.decode()
        lines = list(dict.fromkeys(text.removesuffix("\n").split("\n")))
        if MARK in text or text.count("\n") != n_rows:
            return None
        entries = json.loads(f"[{f',{MARK},'.join(lines)}]")
    except (ValueError, RecursionError):
        return None
    records, marks = entries[::2], entries[1::2]
    if len(records) != len(lines) or set(map(type, records)) != {dict}:
        return None
    return records if marks.count(MARK[1:-1]) == len(marks) else None
