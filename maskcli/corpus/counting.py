"""Count the rows of a block: lengths, ids, the padding id, and hashes, in arrays that do not grow with the rows."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from maskcli.corpus.blocks import BlockTask, read_block
from maskcli.corpus.hashing import HashBuffers
from maskcli.corpus.labels import LabelReader, group_rows
from maskcli.corpus.merging import (
    HITS,
    check_groups,
    count_hashes,
    make_histogram,
    make_id_ranges,
    merge_hashes,
    merge_histograms,
    merge_hits,
    merge_ids,
)
from maskcli.records.arrays import Hashes, Ints
from maskcli.records.corpus import CorpusState, Extreme, GroupState, Histogram, Hits, IdRanges, RowHashes, Spot
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.sources import display_name
from maskcli.sequences.splits import make_row_splits

TABLE_IDS = 2**22
"""Ids from 0 that have a place in a table of 8 bytes each; chunks with further ids are sorted."""
HASHES_AT_ONCE = 2**20
"""Hashes of chunks that are kept before they are counted."""


@dataclasses.dataclass(frozen=True)
class CountOptions:
    """The options of counting.

    Attributes:
        value: the padding id.
        input_dim: the number of ids that the Embedding has vectors for; None if unknown.
        most_hashes: hashes of rows that memory allows.
        by: the field that divides the rows into groups; None for a single group.
        name: of the file, in places; None for its path.
    """

    value: int = 0
    input_dim: int | None = None
    most_hashes: int = 2**20
    by: str | None = None
    name: str | None = None


def count_block(task: BlockTask, options: CountOptions) -> CorpusState:
    """Return the state of a block; raises InputError for content that cannot be read."""
    if options.by is not None:
        return _count_groups(task, options, options.by)
    counter, rows = _Counter(task, options), 0
    for chunk in read_block(task, counter.count_chunk):
        counter.add(chunk.result, chunk.where, rows)
        rows += chunk.rows
    return _make_state(task, rows, {"": counter})


def _count_groups(task: BlockTask, options: CountOptions, field: str) -> CorpusState:
    """Return the state of a block whose rows a field divides."""
    labels, counters, rows = LabelReader(task, field), dict[str, _Counter](), 0
    for chunk in read_block(task, lambda ragged: ragged):
        codes = labels.take(chunk.rows)
        check_groups(labels.names)
        for code, places in group_rows(codes, len(labels.names)):
            name = labels.names[code]
            if name not in counters:
                counters[name] = _Counter(task, options)
            counter = counters[name]
            counter.add(counter.count_chunk(_take_rows(chunk.result, places)), chunk.where, rows, places)
        rows += chunk.rows
    return _make_state(task, rows, counters)


def _take_rows(ragged: RaggedSequences, places: Ints) -> RaggedSequences:
    """Return the rows at these places."""
    splits = make_row_splits(ragged.lengths[places])
    # Each value moves by as much as its row does.
    shifts = np.repeat(ragged.row_splits[places] - splits[:-1], np.diff(splits))
    return RaggedSequences(ragged.values[np.arange(splits[-1]) + shifts], splits)


def _make_state(task: BlockTask, rows: int, counters: dict[str, _Counter]) -> CorpusState:
    groups = {name: counter.finish() for name, counter in counters.items()} if rows else {}
    return CorpusState(rows, task.file_index, task.file_index, rows, groups)


def count_sequences(ragged: RaggedSequences, options: CountOptions) -> CorpusState:
    """Return the state of sequences in memory."""
    task = BlockTask("", "auto", "file", 0, 0, 0)
    counter = _Counter(task, options)
    counter.add(counter.count_chunk(ragged), lambda row: f"row {row + 1}", 0)
    return _make_state(task, len(ragged), {"": counter})


class _Hit(NamedTuple):
    """How often something occurs in a chunk, with the row and the timestep of the first."""

    tokens: int
    rows: int
    row: int
    timestep: int | None


class _ChunkCounts(NamedTuple):
    """The counts of a chunk, which any thread can make.

    Attributes:
        rows: their number.
        lengths: the histogram of their lengths.
        trimmed: the same without the padding id at both ends.
        hits: by the name of a field of ``GroupState``, for those that occur.
        smallest: the smallest id but the padding id, with its hit; None without ids.
        largest: the largest one.
        hashes: ``(rows,)``.
    """

    rows: int
    lengths: Histogram
    trimmed: Histogram
    hits: dict[str, _Hit]
    smallest: tuple[int, _Hit] | None
    largest: tuple[int, _Hit] | None
    hashes: Hashes


class _Counter:
    """The counts of the chunks of a block."""

    def __init__(self, task: BlockTask, options: CountOptions) -> None:
        self._task, self._options = task, options
        self._path = display_name(task.file)
        self._name = self._path if options.name is None else options.name
        self._ids = _Ids(options.value)
        self._lengths: list[Histogram] = []
        self._trimmed: list[Histogram] = []
        self._hits: dict[str, list[Hits]] = {}
        self._smallest: Extreme | None = None
        self._largest: Extreme | None = None
        self._hashes: list[Hashes] = []
        self._n_hashes = 0
        # Each group has a sample of its own, but the blocks before only show the level of a single one.
        self._level = task.hash_level if options.by is None else 0
        self._counted = self._count_all([])
        self._local = threading.local()

    def count_chunk(self, ragged: RaggedSequences) -> _ChunkCounts:
        """Return the counts of a chunk; called in any thread."""
        values, lengths = ragged.values, ragged.lengths
        histogram = make_histogram(lengths)
        positions = np.flatnonzero(values == self._options.value)
        hits, trimmed = _count_padding_ids(ragged, positions)
        empty = np.flatnonzero(lengths == 0)
        if len(empty):
            hits["empty"] = _Hit(0, len(empty), int(empty[0]), None)
        ids = _without(values, positions)
        ends = (int(ids.min()), int(ids.max())) if len(ids) else None
        smallest, largest = (None, None) if ends is None else (_find_id(ragged, value) for value in ends)
        if smallest is not None and largest is not None and self._is_outside(smallest[0], largest[0]):
            hits["outside"] = self._count_outside(ragged)
        return _ChunkCounts(
            len(lengths),
            histogram,
            histogram if trimmed is None else make_histogram(trimmed),
            hits,
            smallest,
            largest,
            self._get_buffers().hash_rows(values, ragged.row_splits, self._ids.find_table(ids, ends)),
        )

    def _get_buffers(self) -> HashBuffers:
        """Return the buffers of this thread."""
        buffers: HashBuffers | None = getattr(self._local, "buffers", None)
        if buffers is None:
            buffers = self._local.buffers = HashBuffers()
        return buffers

    def _is_outside(self, smallest: int, largest: int) -> bool:
        return self._options.input_dim is not None and (smallest < 0 or largest >= self._options.input_dim)

    def _count_outside(self, ragged: RaggedSequences) -> _Hit:
        values, input_dim = ragged.values, self._options.input_dim
        assert input_dim is not None  # noqa: S101 - checked by the caller
        return _make_hit(
            ragged, np.flatnonzero(((values < 0) | (values >= input_dim)) & (values != self._options.value))
        )

    def add(
        self, chunk: _ChunkCounts, where: Callable[[int], str], rows_before: int, places: Ints | None = None
    ) -> None:
        """Add the counts of the next chunk.

        Args:
            chunk: its counts.
            where: returns the place of row ``i`` of the chunk.
            rows_before: rows of the block before the chunk.
            places: the rows of the chunk that were counted; None for all of them.
        """

        def locate(hit: _Hit) -> Spot:
            return self._make_spot(hit, where, rows_before, hit.row if places is None else int(places[hit.row]))

        self._lengths = _compact([*self._lengths, chunk.lengths])
        self._trimmed = _compact([*self._trimmed, chunk.trimmed])
        for name, hit in chunk.hits.items():
            earlier = self._hits.setdefault(name, [])
            # Only the first place is needed: another one would have to be looked up in the file.
            spot = earlier[0].first if earlier else locate(hit)
            earlier.append(Hits(hit.tokens, hit.rows, spot))
        self._smallest = _extend(self._smallest, chunk.smallest, locate, -1)
        self._largest = _extend(self._largest, chunk.largest, locate, 1)
        self._hashes.append(chunk.hashes)
        self._n_hashes += chunk.rows
        if self._n_hashes > HASHES_AT_ONCE:
            self._count_hashes()

    def _make_spot(self, hit: _Hit, where: Callable[[int], str], rows_before: int, row: int) -> Spot:
        counts_lines = self._task.unit == "lines"
        # The line is only known when the rows of the blocks before are.
        place = None if counts_lines else where(row).replace(self._path, self._name, 1)
        sample = rows_before + row
        in_file = sample + (0 if counts_lines else self._task.first_row or 0)
        return Spot(sample, hit.timestep, self._name, self._task.file_index, in_file, place)

    def _count_hashes(self) -> None:
        self._counted = merge_hashes([self._counted, self._count_all(self._hashes)])
        self._hashes, self._n_hashes = [], 0

    def _count_all(self, hashes: list[Hashes]) -> RowHashes:
        joined = np.concatenate([np.zeros(0, np.uint64), *hashes])
        return count_hashes(joined, None, self._level, self._options.most_hashes)

    def finish(self) -> GroupState:
        """Return the state of all chunks."""
        self._count_hashes()
        return GroupState(
            lengths=merge_histograms(self._lengths),
            trimmed=merge_histograms(self._trimmed),
            smallest=self._smallest,
            largest=self._largest,
            ids=self._ids.list_ranges(),
            hashes=self._counted,
            **{name: merge_hits(self._hits.get(name, [])) for name in HITS},
        )


def _extend(
    extreme: Extreme | None, latest: tuple[int, _Hit] | None, locate: Callable[[_Hit], Spot], sign: int
) -> Extreme | None:
    """Return the smallest or largest id so far, with that of a further chunk."""
    if latest is None or (extreme is not None and sign * latest[0] < sign * extreme.value):
        return extreme
    value, hit = latest
    if extreme is not None and value == extreme.value:
        return dataclasses.replace(extreme, count=extreme.count + hit.tokens)
    return Extreme(value, hit.tokens, locate(hit))


def _compact(parts: list[Histogram]) -> list[Histogram]:
    """Return a few histograms for many, so that they take no more room than their lengths."""
    return [merge_histograms(parts)] if len(parts) > 64 else parts


def _without(values: Ints, positions: Ints) -> Ints:
    """Return the ids that are not at these positions."""
    return np.delete(values, positions) if len(positions) else values


def _find_id(ragged: RaggedSequences, value: int) -> tuple[int, _Hit]:
    """Return an id that occurs, with its hit."""
    equal = ragged.values == value
    row, timestep = ragged.place(int(equal.argmax()))
    return value, _Hit(int(np.count_nonzero(equal)), 0, row, timestep)


def _make_hit(ragged: RaggedSequences, positions: Ints) -> _Hit:
    """Return the hit of ids at these positions, of which there is at least one."""
    row, timestep = ragged.place(int(positions[0]))
    n_rows = len(np.unique(np.searchsorted(ragged.row_splits, positions, side="right")))
    return _Hit(len(positions), n_rows, row, timestep)


def _count_padding_ids(ragged: RaggedSequences, positions: Ints) -> tuple[dict[str, _Hit], Ints | None]:
    """Return where the padding id is in its rows, and the lengths of all rows without it at both ends.

    Args:
        ragged: the rows.
        positions: of the padding id, ascending.

    Returns:
        The hits by name, and the lengths; None if they are those of the rows.
    """
    if not len(positions):
        return {}, None
    rows = np.searchsorted(ragged.row_splits, positions, side="right") - 1
    timesteps = positions - ragged.row_splits[rows]
    lengths = ragged.lengths
    # In its row the hit has ``rank`` others before it. It belongs to the run at the start if nothing else is before it.
    counts = np.bincount(rows, minlength=len(lengths))
    ranks = np.arange(len(rows)) - make_row_splits(counts)[rows]
    leading = ranks == timesteps
    trailing = ~leading & (counts[rows] - ranks == lengths[rows] - timesteps)
    blank = (counts == lengths) & (lengths > 0)
    hits = {
        name: _make_hit(ragged, positions[where])
        for name, where in (("leading", leading), ("inner", ~leading & ~trailing), ("trailing", trailing))
        if where.any()
    }
    if blank.any():
        hits["blank"] = _Hit(int(lengths[blank].sum()), int(blank.sum()), int(blank.argmax()), None)
    trimmed: Ints = lengths - np.bincount(rows, leading | trailing, len(lengths)).astype(np.int64)
    return hits, trimmed


class _Ids:
    """The different ids of a block, in a table of each thread."""

    def __init__(self, value: int) -> None:
        self._value = value
        self._local = threading.local()
        self._tables: list[list[Hashes]] = []
        self._ranges: list[IdRanges] = []

    def find_table(self, ids: Ints, ends: tuple[int, int] | None) -> Hashes | None:
        """Return the table to which ``hash_rows`` adds the ids of a chunk; None if they have been counted already.

        Args:
            ids: of the chunk, without the padding id.
            ends: the smallest and the largest of them; None without ids.
        """
        smallest, largest = (0, 0) if ends is None else ends
        if min(smallest, self._value) >= 0 and max(largest, self._value) < TABLE_IDS:
            return self._get_table(max(largest, self._value))
        self._ranges.append(make_id_ranges(np.unique(ids)))
        if len(self._ranges) > 64:
            self._ranges = [merge_ids(self._ranges)]
        return None

    def _get_table(self, largest: int) -> Hashes:
        """Return the table of this thread, with room for the largest id."""
        held: list[Hashes] | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = [np.zeros(2**16, np.uint64)]
            self._tables.append(held)
        while largest >= len(held[0]):
            held[0] = np.concatenate([held[0], np.zeros_like(held[0])])
        return held[0]

    def list_ranges(self) -> IdRanges:
        """Return the ranges of all ids but the padding id."""
        in_tables = [make_id_ranges(_drop_id(np.flatnonzero(held[0]), self._value)) for held in self._tables]
        ranges = [*in_tables, *self._ranges]
        return merge_ids(ranges) if ranges else make_id_ranges(np.zeros(0, np.int64))


def _drop_id(ids: Ints, value: int) -> Ints:
    kept: Ints = ids[ids != value]
    return kept
