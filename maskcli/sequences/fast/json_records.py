"""Records of several fields, a line each: their lists of integers by the tokenizer, the rest by JSON's own reader.

The list of the wanted field is cut out of each line. What is left, ``{"label": 3, "ids": []}``, is short, and where
many lines say the same, it is read once. Where each record has the field, and it is named as often as there are lines,
and no backslash can spell it in another way, it is named once in each; then the list that was cut out is its value,
and what is left is the rest.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.sequences.fast.json_frames import find_separator
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.fast.tokenizer import Frame, Places, Workspace, tokenize

OPEN, CLOSE = b"[]"
MARK = '"maskcli: end of a row"'
"""JSON that is read between two records."""


def parse_records(block: bytes, wanted: str | None, work: Workspace) -> FastRows | None:
    """Return the lists in the field ``wanted``, or in the only one that holds integers in the first record.

    None in doubt.

    Args:
        block: whole lines, the last with its end.
        wanted: None leaves the choice to what is there.
        work: of this thread.
    """
    name = wanted if wanted is not None else _field_of(block[: block.find(b"\n")])
    if name is None or b"\\" in block:
        return None
    rows, quoted = block.count(b"\n"), json.dumps(name, ensure_ascii=False).encode()
    start = re.search(re.escape(quoted) + rb"[ \t]*:[ \t]*\[", block)
    if start is None or block.count(quoted) != rows:
        return None
    raw = np.frombuffer(block, np.uint8)
    lists = _lists(raw, start[0], rows)
    if lists is None:
        return None
    integers, rest = _apart(block, *lists)
    ragged = tokenize(integers, Frame(b"", b"", b"\n", find_separator(integers)), work)
    records = None if ragged is None else _records(rest, rows)
    if records is None or ragged is None or any(record.get(name) != [] for record in records):
        return None
    return FastRows(ragged, name, records)


def _apart(block: bytes, begins: Places, ends: Places) -> tuple[bytes, bytes]:
    """Return what stands between these places, a line each, and all else."""
    first, last = begins.tolist(), ends.tolist()
    inside = [block[begin:end] for begin, end in zip(first, last, strict=True)]
    outside = [block[begin:end] for begin, end in zip([0, *last], [*first, len(block)], strict=True)]
    return b"\n".join([*inside, b""]), b"".join(outside)


def _field_of(line: bytes) -> str | None:
    """Return the field of a record that holds integers, if one alone does."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    lists = [key for key, value in record.items() if _is_integers(value)] if isinstance(record, dict) else []
    return lists[0] if len(lists) == 1 else None


def _is_integers(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _lists(raw: NDArray[np.uint8], start: bytes, rows: int) -> tuple[Places, Places] | None:
    """Return where the lists begin that ``start`` opens, behind the bracket, and where they end; None for too few."""
    begins = np.flatnonzero(raw == OPEN) + 1
    for back, byte in enumerate(reversed(start), 1):
        begins = begins[np.take(raw, begins - back, mode="clip") == byte]
    closed = np.flatnonzero(raw == CLOSE)
    if len(begins) != rows or len(closed) < rows:
        return None
    ends = np.take(closed, np.searchsorted(closed, begins), mode="clip")
    return (begins, ends) if (begins <= ends).all() else None


def _records(rest: bytes, rows: int) -> list[dict[str, Any]] | None:
    """Return the different records among lines, one each; None if there are others, or anything else.

    All are read at once, with a mark between each two. No line has the mark in it, so it can stand nowhere else: where
    all marks are found, every other entry is what one line says.
    """
    try:
        text = rest.decode()
        lines = list(dict.fromkeys(text.removesuffix("\n").split("\n")))
        if MARK in text or text.count("\n") != rows:
            return None
        found = json.loads(f"[{f',{MARK},'.join(lines)}]")
    except (ValueError, RecursionError):
        return None
    records, marks = found[::2], found[1::2]
    alone = len(records) == len(lines) and set(map(type, records)) == {dict} and marks.count(MARK[1:-1]) == len(marks)
    return records if alone else None
