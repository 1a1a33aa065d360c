"""Pack several sequences into each row, so that rows have little padding.

Sequences are packed in windows of consecutive ones, so that memory does not grow with the corpus. In a window, the
longest sequences come first, and each goes to the row that it leaves the least room in (best fit, decreasing). Rows
with the same room are interchangeable, so that all sequences of one length are placed together: the time grows with the
number of different lengths, not with the number of sequences.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Ints
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.fast import get_maxlen
from maskcli.sequences.formats.shards.columns import POSITIONS, SEGMENTS, TOKENS, TOKENS_MASK, Columns
from maskcli.sequences.padding import truncate_values
from maskcli.sequences.splits import make_row_splits

WINDOW = 2**20
"""Tokens of a window."""
FEWEST_ROWS = 64
"""Rows that a window has at least, however long they are."""


def get_window(capacity: int) -> int:
    """Return the tokens at which a window of rows of ``capacity`` timesteps ends."""
    return max(WINDOW, FEWEST_ROWS * capacity)


def choose_rows_to_pack(lengths: Ints, capacity: int) -> NDArray[np.int64]:
    """Return the row of each sequence, ``(n_sequences,)``; rows are in the order of their first sequences.

    Args:
        lengths: from 1 to ``capacity``.
        capacity: timesteps of a row.
    """
    rows = np.zeros(len(lengths), np.int64)
    order = np.argsort(-lengths, kind="stable")
    sizes, starts = np.unique(-lengths[order], return_index=True)
    room = _Room(capacity)
    for size, group in zip((-sizes).tolist(), np.split(order, starts[1:]), strict=True):
        rows[group] = room.place(size, len(group))
    # The rows are numbered as they were opened: the longest sequences first.
    _, firsts, numbers = np.unique(rows, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.argsort(firsts, kind="stable")] = np.arange(len(firsts))
    return ranks[numbers]


class _Room:
    """The rows of a window by the room that is left in them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows = 0
        self._by_room: dict[int, deque[NDArray[np.int64]]] = {}
        self._sorted: list[int] = []

    def place(self, size: int, count: int) -> NDArray[np.int64]:
        """Return the rows that ``count`` sequences of one size go to."""
        placed: list[NDArray[np.int64]] = []
        while count:
            index = bisect.bisect_left(self._sorted, size)
            if index == len(self._sorted):
                opened = -(-count // (self._capacity // size))
                self._put(self._capacity, np.arange(self._rows, self._rows + opened))
                self._rows += opened
                continue
            room = self._sorted[index]
            rows = self._by_room[room].popleft()
            if not self._by_room[room]:
                del self._by_room[room], self._sorted[index]
            # A row with the least room keeps being the best fit until it is full for this size.
            per_row = room // size
            needed = min(len(rows), -(-count // per_row))
            fully = min(len(rows), count // per_row)
            placed.append(np.repeat(rows[:fully], per_row))
            self._put(room - per_row * size, rows[:fully])
            count -= fully * per_row
            if needed > fully:
                placed.append(np.repeat(rows[fully:needed], count))
                self._put(room - count * size, rows[fully:needed])
                count = 0
            self._put(room, rows[needed:])
        return np.concatenate(placed)

    def _put(self, room: int, rows: NDArray[np.int64]) -> None:
        if not room or not len(rows):
            return
        if room not in self._by_room:
            bisect.insort(self._sorted, room)
            self._by_room[room] = deque()
        self._by_room[room].append(rows)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedWindow:
    """Sequences that share rows.

    Attributes:
        ragged: the sequences, without empty ones, truncated.
        rows: ``(n_sequences,)``, the row of each of them.
    """

    ragged: RaggedSequences
    rows: NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.rows.max()) + 1 if len(self.rows) else 0

    def fill(self, layout: Layout, capacity: int) -> Columns:
        """Return the columns of all rows: tokens, segments from 1 and positions from 0, and the mask."""
        order = np.argsort(self.rows, kind="stable")
        rows, lengths = self.rows[order], self.ragged.lengths[order]
        splits = make_row_splits(lengths)
        firsts = np.searchsorted(rows, np.arange(self.n_rows))  # The first sequence of each row.
        in_row = splits[:-1] - splits[firsts][rows]
        used = np.bincount(rows, lengths, self.n_rows).astype(np.int64)
        if layout.padding == "pre":
            in_row = in_row + (capacity - used)[rows]
        position = np.arange(splits[-1]) - np.repeat(splits[:-1], lengths)
        source = np.repeat(self.ragged.row_splits[:-1][order], lengths) + position
        target = np.repeat(rows * capacity + in_row, lengths) + position
        shape = (self.n_rows, capacity)
        tokens = np.full(shape, layout.value, layout.dtype)
        segments, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        tokens.reshape(-1)[target] = self.ragged.values[source]
        segments.reshape(-1)[target] = np.repeat(np.arange(len(rows)) - firsts[rows] + 1, lengths)
        positions.reshape(-1)[target] = position
        return {TOKENS: tokens, TOKENS_MASK: segments > 0, SEGMENTS: segments, POSITIONS: positions}


def pack_window(ragged: RaggedSequences, capacity: int) -> PackedWindow:
    """Return sequences with the rows that they are packed into."""
    return PackedWindow(ragged, choose_rows_to_pack(ragged.lengths, capacity))


def cut_windows(chunks: Iterable[RaggedSequences], window: int) -> Iterator[RaggedSequences]:
    """Yield the same sequences in windows, each of which ends with the sequence that fills it.

    The windows do not depend on the chunks.
    """
    waiting: list[RaggedSequences] = []
    size = 0
    for chunk in chunks:
        totals = size + chunk.row_splits
        while len(chunk) and totals[-1] >= window:
            end = int(np.searchsorted(totals, window))
            waiting.append(_slice_sequences(chunk, 0, end))
            yield _join_sequences(waiting)
            waiting, chunk = [], _slice_sequences(chunk, end, len(chunk))
            totals = chunk.row_splits
        waiting.append(chunk)
        size = int(totals[-1])
    if any(map(len, waiting)):
        yield _join_sequences(waiting)


def prepare_sequences(ragged: RaggedSequences, layout: Layout) -> RaggedSequences:
    """Return sequences truncated to the layout's ``maxlen``, without empty ones."""
    lengths = np.minimum(ragged.lengths, get_maxlen(layout))
    values = truncate_values(ragged.values, ragged.row_splits, layout)
    return RaggedSequences(values, make_row_splits(lengths[lengths > 0]))


def _slice_sequences(ragged: RaggedSequences, start: int, end: int) -> RaggedSequences:
    splits = ragged.row_splits[start : end + 1]
    return RaggedSequences(ragged.values[splits[0] : splits[-1]], splits - splits[0])


def _join_sequences(parts: list[RaggedSequences]) -> RaggedSequences:
    lengths = np.concatenate([part.lengths for part in parts])
    return RaggedSequences(np.concatenate([part.values for part in parts]), make_row_splits(lengths))
