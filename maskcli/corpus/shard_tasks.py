"""Shards that the workers of an engine write: small records of blocks and shards, and the functions that work on them.

Shards with the same index, of all groups, are a *stripe*: their rows come from the same blocks, as far as the lengths
of sequences are mixed. A worker writes consecutive stripes, of about as many bytes of input as a block has. It reads
only the blocks that hold rows of them, and a block at the edge of two stripes is read by two workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from maskcli.corpus.blocks import BlockTask, divide_evenly, read_block
from maskcli.corpus.engines.base import Engine
from maskcli.corpus.plan import CorpusLengths, check_sequence_values
from maskcli.corpus.shard_files import (
    GroupWriter,
    find_groups,
    get_first_row,
    make_changed_error,
    make_columns,
    take_sequences,
)
from maskcli.errors import InputError
from maskcli.records.arrays import Ints
from maskcli.records.manifest import Manifest, Shard, ShardGroup, ShardSettings
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.formats.shards.manifests import has_manifest, make_layout
from maskcli.sequences.padding import pad_in_parts
from maskcli.sequences.sources import Source, display_name
from maskcli.sequences.streaming import Progress

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class FileTask:
    """A file whose checksum is computed.

    Attributes:
        file: its path.
        size: bytes.
    """

    file: str
    size: int

    @property
    def where(self) -> str:
        """The file, for messages."""
        return display_name(self.file)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockLengths:
    """The lengths of the sequences of a block.

    Attributes:
        rows: the number of sequences.
        lengths: ``(n_lengths,)``, the different lengths, ascending.
        counts: ``(n_lengths,)``, how many sequences have each of them.
    """

    rows: int
    lengths: Ints
    counts: Ints


@dataclasses.dataclass(frozen=True, slots=True)
class BlockRows:
    """A block, and the rows before it.

    Attributes:
        block: a range of a file.
        first_row: sequences of the corpus before it.
        ranks: sequences of each group before it.
    """

    block: BlockTask
    first_row: int
    ranks: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class StripesTask:
    """Consecutive stripes that a worker writes.

    Attributes:
        folder: the directory.
        start: the first index of their shards.
        stop: the last index plus 1.
        blocks: those that hold rows of the stripes.
        size: bytes of the blocks.
    """

    folder: str
    start: int
    stop: int
    blocks: tuple[BlockRows, ...]
    size: int

    @property
    def where(self) -> str:
        """The shards and the first and last range of their input, for messages."""
        places = dict.fromkeys(part.block.where for part in (self.blocks[0], self.blocks[-1]))
        return f"shards {self.start + 1} to {self.stop} of {display_name(self.folder)}, from {' to '.join(places)}"


class DistributedWork:
    """The work of padding a corpus into shards, by the workers of an engine."""

    def __init__(
        self, engine: Engine, sources: Sequence[Source], blocks: Sequence[BlockTask], settings: ShardSettings
    ) -> None:
        """Keep the engine and the blocks of the files."""
        self._engine, self._sources, self._blocks, self._settings = engine, sources, blocks, settings
        self._total = max(1, sum(block.size for block in blocks))
        self._lengths: list[BlockLengths] = []

    def compute_checksums(self) -> list[str]:
        """Return the checksum of each file."""
        tasks = [FileTask(source.path, source.size) for source in self._sources]
        return self._engine.map_reduce(tasks, compute_checksum, join_lists).result or []

    def measure_lengths(self, progress: Progress) -> CorpusLengths:
        """Return the lengths of all sequences."""
        self._measure(progress)
        per_source = [0] * len(self._sources)
        for block, measured in zip(self._blocks, self._lengths, strict=True):
            per_source[block.file_index] += measured.rows
        # A file without rows has no lengths.
        lengths = np.concatenate([np.zeros(0, np.int64), *(measured.lengths for measured in self._lengths)])
        different, places = np.unique(lengths, return_inverse=True)
        counts = np.concatenate([np.zeros(0, np.int64), *(measured.counts for measured in self._lengths)])
        sums = np.bincount(places, counts, len(different)).astype(np.int64)
        return CorpusLengths(different.astype(np.int64), sums, tuple(per_source))

    def _measure(self, progress: Progress) -> None:
        done = 0

        def report(block: BlockTask) -> None:
            nonlocal done
            done += block.size
            progress(min(1.0, done / self._total))

        work = partial(measure_block, settings=self._settings)
        self._lengths = self._engine.map_reduce(self._blocks, work, join_lists, on_done=report).result or []

    def write(self, folder: Path, manifest: Manifest, on_shard: Callable[[Shard], None], progress: Progress) -> None:
        """Write the shards that the manifest does not list."""
        measures = not self._lengths  # A run that continues knows the rows of shards, not those of blocks.
        if measures:
            self._measure(lambda share: progress(share / 2))
        tasks = list(_plan_stripes(self._list_blocks(manifest), folder, manifest))
        total, done = max(1, sum(task.size for task in tasks)), 0

        def report(task: StripesTask) -> None:
            nonlocal done
            done += task.size
            progress((measures + done / total) / (1 + measures))

        def add(shards: list[Shard]) -> None:
            for shard in shards:
                on_shard(shard)

        # A worker needs neither the sources nor the finished shards.
        plan = dataclasses.replace(manifest, sources=manifest.sources[:3], shards=())
        work = partial(write_stripes, manifest=plan)
        self._engine.map_reduce(tasks, work, join_lists, on_done=report, on_result=add)

    def _list_blocks(self, manifest: Manifest) -> list[BlockRows]:
        """Return the blocks with the rows before them, and after the last block all rows."""
        ends = [group.maxlen for group in manifest.groups]
        first_row, ranks = 0, np.zeros(len(ends), np.int64)
        parts = []
        for block, measured in zip(self._blocks, self._lengths, strict=True):
            parts.append(BlockRows(block, first_row, tuple(ranks.tolist())))
            groups = find_groups(measured.lengths, ends)
            first_row += measured.rows
            ranks = ranks + np.bincount(groups, measured.counts, len(ends)).astype(np.int64)
        if ranks.tolist() != [group.rows for group in manifest.groups]:
            raise make_changed_error(manifest)
        return parts


def _plan_stripes(blocks: Sequence[BlockRows], folder: Path, manifest: Manifest) -> Iterator[StripesTask]:
    """Yield the tasks that write all shards that the manifest does not list."""
    groups = manifest.groups
    finished = {(shard.group, shard.index) for shard in manifest.shards}
    total = max(group.shards for group in groups)
    after = [part.ranks for part in blocks[1:]] + [tuple(group.rows for group in groups)]
    for start, length in divide_evenly(total, min(total, len(blocks))):
        missing = [
            index
            for index in range(start, start + length)
            if any(index < group.shards and (number, index) not in finished for number, group in enumerate(groups))
        ]
        for stripes in _find_runs(missing):
            shards = [_find_shards(group, stripes) for group in groups]
            rows = [
                (get_first_row(group, indices.start), get_first_row(group, indices.stop))
                for group, indices in zip(groups, shards, strict=True)
            ]
            needed = tuple(
                part for part, stops in zip(blocks, after, strict=True) if _overlaps(rows, part.ranks, stops)
            )
            yield StripesTask(str(folder), stripes.start, stripes.stop, needed, sum(part.block.size for part in needed))


def _find_shards(group: ShardGroup, stripes: range) -> range:
    """Return the shards of a group in stripes; a small group has fewer shards."""
    return range(min(stripes.start, group.shards), min(stripes.stop, group.shards))


def _overlaps(shards: Sequence[tuple[int, int]], starts: Sequence[int], stops: Sequence[int]) -> bool:
    """Return whether a block has rows of shards, in any group."""
    pairs = zip(shards, starts, stops, strict=True)
    return any(max(first, start) < min(last, stop) for (first, last), start, stop in pairs)


def _find_runs(indices: Sequence[int]) -> Iterator[range]:
    """Yield the ranges of consecutive numbers among ascending ones."""
    for _, run in itertools.groupby(enumerate(indices), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        yield range(numbers[0], numbers[-1] + 1)


# The functions that workers call.


def join_lists(parts: list[list[T]]) -> list[T]:
    """Return the entries of all lists."""
    return list(itertools.chain.from_iterable(parts))


def compute_checksum(task: FileTask) -> list[str]:
    """Return the checksum of a file."""
    return [Source(task.file).compute_checksum()]


def measure_block(task: BlockTask, settings: ShardSettings) -> list[BlockLengths]:
    """Return the lengths of the sequences of a block, whose values are checked."""
    check = partial(check_sequence_values, layout=make_layout(settings, None))
    lengths = np.concatenate([np.zeros(0, np.int64), *(chunk.result for chunk in read_block(task, check))])
    different, counts = np.unique(lengths, return_counts=True)
    # As small as possible: the process of the user keeps those of all blocks.
    return [BlockLengths(len(lengths), different.astype(np.uint32), counts.astype(np.uint32))]


def write_stripes(task: StripesTask, manifest: Manifest) -> list[Shard]:
    """Write shards and return them; raise InputError for a directory that cannot be written to."""
    folder = Path(task.folder)
    if not has_manifest(folder):
        raise InputError(
            where=display_name(task.folder),
            expected="a directory that all workers and this machine share",
            received=f"a worker on {socket.gethostname()} that does not see its manifest",
            fix="Name a directory on a shared file system.",
        )
    shards: list[Shard] = []
    with contextlib.ExitStack() as stack:
        writers = [
            GroupWriter(
                folder, manifest, index, _find_shards(group, range(task.start, task.stop)), shards.append, stack
            )
            for index, group in enumerate(manifest.groups)
        ]
        for part in task.blocks:
            _write_block(part, manifest, writers)
        if any(writer.rows_left for writer in writers):
            raise make_changed_error(manifest)
    return shards


def _write_block(part: BlockRows, manifest: Manifest, writers: Sequence[GroupWriter]) -> None:
    """Write the rows of a block that are in the shards of the writers."""
    ends = [group.maxlen for group in manifest.groups]
    layouts = [make_layout(manifest.settings, end) for end in ends]
    first_row, ranks = part.first_row, list(part.ranks)
    for chunk in read_block(part.block, _keep):
        groups = find_groups(chunk.result.lengths, ends)
        for group, writer in enumerate(writers):
            rows = np.flatnonzero(groups == group)
            # The rows before are in earlier shards, those after in later ones.
            chosen = rows[max(0, writer.row - ranks[group]) : max(0, writer.end - ranks[group])]
            ranks[group] += len(rows)
            start = 0
            for batch in pad_in_parts(take_sequences(chunk.result, chosen), layouts[group]) if len(chosen) else ():
                numbers = first_row + chosen[start : start + len(batch.tokens)]
                start += len(numbers)
                writer.add(make_columns(batch, numbers), numbers)
        first_row += chunk.rows
        if not any(writer.rows_left for writer in writers):
            return


def _keep(ragged: RaggedSequences) -> RaggedSequences:
    return ragged
