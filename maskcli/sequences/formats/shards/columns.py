"""The columns of shards, and the interface of a format that holds them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from maskcli.records.arrays import Array
from maskcli.records.layout import Layout
from maskcli.records.manifest import ShardColumn
from maskcli.sequences.formats.base import MASK

TOKENS, LENGTHS, MARKS, ROW_NUMBERS = "tokens", "lengths", "mask", "row_numbers"
SEGMENTS, POSITIONS = "segment_ids", "position_ids"
TOKENS_MASK = TOKENS + MASK
"""The name of the mask where readers look for it next to several columns."""
PART = 2**22
"""Bytes of tokens that are written or read at once."""

Columns = Mapping[str, Array]
"""Consecutive rows: by name, ``(rows, timesteps)``, or ``(rows,)`` for numbers of rows."""
AddColumns = Callable[[Columns], None]


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """The content of one shard.

    Attributes:
        columns: with their shapes, the tokens first.
        layout: of the tokens, with ``maxlen``.
        compress: whether the format compresses them.
    """

    columns: tuple[ShardColumn, ...]
    layout: Layout
    compress: bool = False

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.columns[0].shape[0]

    @property
    def step(self) -> int:
        """Rows that are written at once: fixed, so that the bytes do not depend on the blocks of the source."""
        row_size = math.prod(self.columns[0].shape[1:]) * np.dtype(self.columns[0].dtype).itemsize
        return max(1, PART // row_size)


Open = Callable[[BinaryIO, ShardTable], contextlib.AbstractContextManager[AddColumns]]
ReadParts = Callable[[Path, str, ShardTable], Iterator[Columns]]


@dataclasses.dataclass(frozen=True)
class ShardFormat:
    """One file format of shards.

    Attributes:
        suffix: of the files.
        open: ``(out, table)`` to a context in which rows are written to a file, in order.
        read: ``(path, name, table)`` to the rows of a file, in parts; raises InputError with ``name``.
        marks: the name of the column with the mask; None for a format that stores lengths only.
        splits: whether each column has a file of its own.
        compresses: whether ``--compress`` applies.
        check_packages: raises UsageError if a package that writes the format is not installed.
    """

    suffix: str
    open: Open
    read: ReadParts
    marks: str | None = None
    splits: bool = False
    compresses: bool = False
    check_packages: Callable[[], object] = lambda: None


def name_column_file(stem: str, suffix: str, column: str) -> str:
    """Return the name of the file with a column, for a format with a file for each."""
    return f"{stem}{suffix}" if column == TOKENS else f"{stem}.{column}{suffix}"


def collect_rows(add: AddColumns, step: int) -> tuple[AddColumns, Callable[[], None]]:
    """Return a function that passes rows on in groups of ``step``, and one that passes on the last group."""
    waiting: list[Columns] = []
    size = 0

    def flush(final: bool = True) -> None:
        nonlocal size
        if not waiting:
            return
        joined = {name: np.concatenate([part[name] for part in waiting]) for name in waiting[0]}
        end = size if final else size - size % step
        for start in range(0, end, step):
            add({name: column[start : min(start + step, end)] for name, column in joined.items()})
        waiting[:] = [{name: column[end:] for name, column in joined.items()}] if end < size else []
        size -= end

    def collect(columns: Columns) -> None:
        nonlocal size
        waiting.append(columns)
        size += len(columns[TOKENS])
        if size >= step:
            flush(final=False)

    return collect, flush
