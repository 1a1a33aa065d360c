"""Read the value of a field of each row of a block, by which rows are divided into groups."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from maskcli.corpus.blocks import BlockTask, open_part, shift_line
from maskcli.errors import InputError
from maskcli.records.arrays import Ints
from maskcli.sequences.blocks import split_lines
from maskcli.sequences.files import detect_format
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.arrow import read_column
from maskcli.sequences.formats.base import quote_names
from maskcli.sequences.sources import Source

_LIST = re.compile(rb'(:[ \t]*)\[[^\[\]"\n]*\]')
"""The list of a field: it is left out, so that a line is short, and mostly equal to others."""
WITH_FIELDS = ("json", "jsonl", "parquet", "arrow", "csv")
OPTION = "--by"


class LabelReader:
    """The labels of a block, taken in the order of the rows.

    Attributes:
        names: the different labels so far; a code is an index of them.
    """

    def __init__(self, task: BlockTask, field: str) -> None:
        """Begin before the first row."""
        self.names: list[str] = []
        self._name = task.where
        self._codes: dict[str, int] = {}
        self._pieces = _read_labels(task, field)
        self._left: list[str] = []

    def take(self, rows: int) -> Ints:
        """Return the codes of the next rows ``(rows,)``; raises InputError for a row without the field."""
        while len(self._left) < rows:
            piece = next(self._pieces, None)
            if piece is None:
                raise InputError(
                    where=self._name,
                    expected="as many rows as when the sequences were read",
                    received="fewer",
                    fix="Another program changes the file; wait for it.",
                )
            self._left += piece
        labels, self._left = self._left[:rows], self._left[rows:]
        for label in labels:
            if label not in self._codes:
                self._codes[label] = len(self.names)
                self.names.append(label)
        return np.fromiter((self._codes[label] for label in labels), np.int64, rows)


def _read_labels(task: BlockTask, field: str) -> Iterator[list[str]]:
    """Yield the labels of a block, some rows at a time."""
    source = task.source or open_part(task)
    entry, _ = detect_format(Source(task.file) if task.source is None else task.source, task.format)
    if entry.name == "jsonl":
        yield from _read_lines(source, task, field)
    elif entry.needs_pyarrow:
        for values in read_column(source, field, OPTION):
            yield [_spell_label(value, source.name) for value in values]
    elif entry.name in WITH_FIELDS:
        parsed = entry.read(source.read(entry.expansion), source.name, json_text.WHOLE)
        yield [_get_label(parsed.rows[row], field, partial(parsed.where, row)) for row in range(len(parsed.rows))]
    else:
        raise _make_format_error(source.name, entry.name)


def _read_lines(source: Source, task: BlockTask, field: str) -> Iterator[list[str]]:
    """Yield the labels of blocks of lines."""
    labels: dict[bytes, str] = {}
    row = 0
    with source.open() as stream:
        for block in split_lines(stream, blank=False):
            lines = block.data.split(b"\n")
            shortened = _LIST.sub(rb"\1[]", block.data).split(b"\n")
            pieces: list[str] = []
            for line, short in zip(lines, shortened, strict=True):
                if not short.strip():
                    continue  # Blank lines at the end of the file; the reader of sequences reports others.
                label = labels.get(short)
                if label is None:
                    where = _make_place(source.name, row + len(pieces), task)
                    label = labels[short] = _get_label(_parse(short), field, where)
                # A list in the text of the label was left out as well.
                pieces.append(_get_label(_parse(line), field, str) if "[]" in label else label)
            row += len(pieces)
            yield pieces
            if len(labels) > _MOST_LINES:
                labels.clear()


_MOST_LINES = 2**16
"""Different shortened lines that are kept."""


def _make_place(name: str, row: int, task: BlockTask) -> Callable[[], str]:
    return lambda: shift_line(f"{name}:{row + 1}", task, name)


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _get_label(record: Any, field: str, where: Callable[[], str]) -> str:
    if not isinstance(record, dict) or field not in record:
        received = f"the fields {quote_names(list(record))}" if isinstance(record, dict) else "a row without fields"
        raise InputError(
            where=where(),
            expected=f"a record with the field {field!r} of {OPTION}",
            received=received,
            fix="Name a field that every record has.",
        )
    return _spell_label(record[field], where)


def _spell_label(value: Any, where: Callable[[], str] | str) -> str:
    """Return a text, a number, true, false or null as text."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    raise InputError(
        where=where if isinstance(where, str) else where(),
        expected=f"a text or a number in the field of {OPTION}",
        received=type(value).__name__,
        fix="Name a field with a label or a source.",
    )


def _make_format_error(name: str, received: str) -> InputError:
    return InputError(
        where=name,
        expected=f"a format with fields, for {OPTION}: {', '.join(WITH_FIELDS)}",
        received=received,
        fix=f"Leave {OPTION} out.",
    )


def group_rows(codes: Ints, n_groups: int) -> Iterator[tuple[int, Ints]]:
    """Yield the code of each group that occurs, and the places of its rows, ascending."""
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=n_groups))
    start = 0
    for code, end in enumerate(ends.tolist()):
        if end > start:
            yield code, order[start:end]
        start = end
