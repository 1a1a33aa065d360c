"""The files of shards: their names, columns and checksums, and a writer of consecutive shards."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Ints
from maskcli.records.manifest import Manifest, Shard, ShardColumn, ShardFile, ShardGroup
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.formats.shards.columns import (
    LENGTHS,
    MARKS,
    POSITIONS,
    ROW_NUMBERS,
    SEGMENTS,
    TOKENS,
    TOKENS_MASK,
    AddColumns,
    Columns,
    ShardTable,
    name_column_file,
)
from maskcli.sequences.formats.shards.manifests import make_layout
from maskcli.sequences.formats.shards.table import SHARD_FORMATS
from maskcli.sequences.splits import make_row_splits
from maskcli.sequences.writing import replace_file


def list_file_names(manifest: Manifest) -> set[str]:
    """Return the names of the files of all shards."""
    return {
        file_name
        for group, shards in enumerate(manifest.groups)
        for index in range(shards.shards)
        for file_name, _ in list_files(manifest, group, index)
    }


def list_files(manifest: Manifest, group: int, index: int) -> list[tuple[str, tuple[ShardColumn, ...]]]:
    """Return the names of the files of a shard, each with its columns."""
    entry, stem = SHARD_FORMATS[manifest.settings.format], _name_shard(manifest, group, index)
    columns = _list_columns(manifest, group, index)
    if not entry.splits:
        return [(f"{stem}{entry.suffix}", columns)]
    return [(name_column_file(stem, entry.suffix, column.name), (column,)) for column in columns]


def _name_shard(manifest: Manifest, group: int, index: int) -> str:
    total = manifest.groups[group].shards
    bucket = "" if manifest.settings.buckets is None else f"-len-{manifest.groups[group].maxlen}"
    return f"{manifest.name}{bucket}-{index:05d}-of-{total:05d}"


def _list_columns(manifest: Manifest, group: int, index: int) -> tuple[ShardColumn, ...]:
    """Return the columns of a shard."""
    settings, maxlen = manifest.settings, manifest.groups[group].maxlen
    rows = get_first_row(manifest.groups[group], index + 1) - get_first_row(manifest.groups[group], index)
    marks = SHARD_FORMATS[settings.format].marks
    matrix = (rows, maxlen)
    columns = [ShardColumn(TOKENS, settings.dtype, matrix)]
    if settings.pack is not None:
        columns += [ShardColumn(name, "int32", matrix) for name in (SEGMENTS, POSITIONS)]
        return (*columns, *([] if marks is None else [ShardColumn(TOKENS_MASK, "bool", matrix)]))
    if marks is not None:
        columns.append(ShardColumn(marks, "bool", matrix))
    columns.append(ShardColumn(LENGTHS, "int64", (rows,)))
    if settings.buckets is not None:
        columns.append(ShardColumn(ROW_NUMBERS, "int64", (rows,)))
    return tuple(columns)


def get_first_row(group: ShardGroup, index: int) -> int:
    """Return the first row of a shard; after the last shard, the number of all rows."""
    return index * group.rows // group.shards


def measure_file(path: Path) -> tuple[int, str]:
    """Return the size and the checksum of a file."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), checksum


def find_groups(lengths: Ints, ends: Sequence[int]) -> Ints:
    """Return the group of sequences with these lengths: the first whose rows hold them; longer ones are truncated."""
    groups: Ints = np.minimum(np.searchsorted(np.array(ends), lengths), len(ends) - 1)
    return groups


def take_sequences(ragged: RaggedSequences, chosen: Ints) -> RaggedSequences:
    """Return some of the sequences."""
    lengths = ragged.lengths[chosen]
    splits = make_row_splits(lengths)
    places = np.arange(splits[-1]) + np.repeat(ragged.row_splits[:-1][chosen] - splits[:-1], lengths)
    return dataclasses.replace(ragged, values=ragged.values[places], row_splits=splits)


def make_columns(batch: PaddedBatch, numbers: Ints) -> Columns:
    """Return all columns that padded rows may have; ``numbers`` are the positions of their sequences."""
    return {
        TOKENS: batch.tokens,
        MARKS: batch.mask,
        TOKENS_MASK: batch.mask,
        LENGTHS: batch.lengths,
        ROW_NUMBERS: numbers,
    }


def make_changed_error(manifest: Manifest) -> InputError:
    """Return the error of source files that other programs write meanwhile."""
    return InputError(
        where=", ".join(source.name for source in manifest.sources[:3]),
        expected="files that stay the same while they are read",
        received="a file that has changed",
        fix="Wait until the program that writes it has ended, remove the directory, and run the command again.",
    )


class GroupWriter:
    """Writes the rows of one group into consecutive shards, in order.

    Attributes:
        row: the first row of the group that is not written yet.
        end: the first row after the shards.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        group: int,
        shards: range,
        on_shard: Callable[[Shard], None],
        stack: contextlib.ExitStack,
    ) -> None:
        """Begin before the first shard.

        Args:
            folder: the directory.
            manifest: of all shards.
            group: the index of the group.
            shards: the indices of the shards that are written.
            on_shard: receives each finished shard.
            stack: closes the files of an unfinished shard after an error.
        """
        self._folder, self._manifest, self._group = folder, manifest, group
        self._on_shard, self._all_files = on_shard, stack
        self._index = shards.start
        self.row: int = self._get_first_row(shards.start)
        self.end: int = self._get_first_row(shards.stop)
        self._files = contextlib.ExitStack()
        self._adds: list[AddColumns] = []

    def _get_first_row(self, index: int) -> int:
        return get_first_row(self._manifest.groups[self._group], index)

    @property
    def rows_left(self) -> int:
        """Rows that are not written yet."""
        return self.end - self.row

    def add(self, columns: Columns, numbers: Ints | None) -> None:
        """Write rows; ``numbers`` are the positions of their sequences in the corpus, None for packed rows."""
        size, start = len(columns[TOKENS]), 0
        if size > self.rows_left:
            raise make_changed_error(self._manifest)
        while start < size:
            if not self._adds:
                self._open_shard()
            end = min(size, start + self._get_first_row(self._index + 1) - self.row)
            for add in self._adds:
                add({name: column[start:end] for name, column in columns.items()})
            self.row += end - start
            if self.row == self._get_first_row(self._index + 1):
                self._close_shard(None if numbers is None else int(numbers[end - 1]))
            start = end

    def _open_shard(self) -> None:
        settings = self._manifest.settings
        entry = SHARD_FORMATS[settings.format]
        layout = make_layout(settings, self._manifest.groups[self._group].maxlen)
        self._files = contextlib.ExitStack()
        self._all_files.push(self._files)
        for name, columns in list_files(self._manifest, self._group, self._index):
            raw = self._files.enter_context(replace_file(str(self._folder / name), cleans=False))
            table = ShardTable(columns, layout, settings.compress)
            self._adds.append(self._files.enter_context(entry.open(raw, table)))

    def _close_shard(self, last_sequence: int | None) -> None:
        self._files.close()
        self._adds = []
        files = []
        for name, columns in list_files(self._manifest, self._group, self._index):
            size, checksum = measure_file(self._folder / name)
            files.append(ShardFile(name, size, checksum, columns))
        rows = self._get_first_row(self._index + 1) - self._get_first_row(self._index)
        self._on_shard(Shard(self._index, self._group, rows, last_sequence, tuple(files)))
        self._index += 1


class GroupFiller:
    """Writes the rows of one group that are not in a finished shard."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        group: int,
        on_shard: Callable[[Shard], None],
        stack: contextlib.ExitStack,
    ) -> None:
        """Begin before the first row; ``stack`` closes the files of an unfinished shard after an error."""
        self._manifest = manifest
        self._runs: deque[_Finished | GroupWriter] = deque()
        finished = {shard.index: shard for shard in manifest.shards if shard.group == group}
        for is_finished, run in itertools.groupby(range(manifest.groups[group].shards), finished.__contains__):
            indices = list(run)
            if is_finished:
                rows = sum(finished[index].rows for index in indices)
                self._runs.append(_Finished(rows, finished[indices[-1]].last_sequence))
            else:
                shards = range(indices[0], indices[-1] + 1)
                self._runs.append(GroupWriter(folder, manifest, group, shards, on_shard, stack))

    @property
    def is_short(self) -> bool:
        """Whether rows are missing."""
        return any(isinstance(run, GroupWriter) and run.rows_left for run in self._runs)

    def add(self, columns: Columns, numbers: Ints | None) -> None:
        """Write the rows that are not in a finished shard; see ``GroupWriter``."""
        start, size = 0, len(columns[TOKENS])
        while start < size:
            if not self._runs:
                raise make_changed_error(self._manifest)
            run = self._runs[0]
            following = None if numbers is None else numbers[start:]
            if isinstance(run, _Finished):
                end = start + run.skip(size - start, following)
            else:
                end = min(size, start + run.rows_left)
                rows = {name: column[start:end] for name, column in columns.items()}
                run.add(rows, None if following is None else following[: end - start])
            if end < size or not run.rows_left:
                self._runs.popleft()
            start = end


class _Finished:
    """Consecutive rows that are in finished shards.

    Attributes:
        rows_left: rows that were not skipped yet.
    """

    def __init__(self, rows: int, last_sequence: int | None) -> None:
        """Begin before the first row; ``last_sequence`` is the position of the last one, None for packed rows."""
        self.rows_left = rows
        self._last = last_sequence

    def skip(self, size: int, numbers: Ints | None) -> int:
        """Return how many of the next rows belong to the finished shards."""
        # Reading may begin after some of these rows, but packed rows are always read from the first.
        last = self._last
        skipped = min(self.rows_left, size) if numbers is None or last is None else int((numbers <= last).sum())
        self.rows_left = max(0, self.rows_left - skipped)
        return skipped
