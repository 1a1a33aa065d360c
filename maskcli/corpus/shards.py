"""Pad a corpus into a directory of shards, and continue after a run that was killed.

The manifest lists the shards that are finished. Each shard is written into temporary files, renamed, and only then
listed, so that a file with the name of a shard that is not listed can be removed and written again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from maskcli.corpus.packing import cut_windows, get_window, pack_window, prepare_sequences
from maskcli.corpus.plan import get_longest, plan_shards, read_sources
from maskcli.errors import InputError, UsageError
from maskcli.records.arrays import Ints
from maskcli.records.layout import Layout
from maskcli.records.manifest import Manifest, Shard, ShardColumn, ShardFile, ShardGroup, ShardSettings
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.render.manifests import render_manifest
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
from maskcli.sequences.formats.shards.manifests import (
    MANIFEST,
    has_manifest,
    make_layout,
    read_manifest,
    replace_shards,
)
from maskcli.sequences.formats.shards.table import SHARD_FORMATS
from maskcli.sequences.padding import pad_in_parts
from maskcli.sequences.sources import Source, display_name, explain_os_error
from maskcli.sequences.splits import make_row_splits
from maskcli.sequences.streaming import Progress
from maskcli.sequences.threads import map_in_order
from maskcli.sequences.writing import lock_directory, remove_dead_temporaries, replace_file
from maskcli.version import __version__

SAVING = 0.05
"""The share of the time that goes into saving the manifest at most, which is long if there are many shards."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """Consecutive rows of one group.

    Attributes:
        group: the index of the group.
        columns: the rows.
        numbers: ``(rows,)``, the positions of their sequences in the corpus; None for packed rows.
    """

    group: int
    columns: Columns
    numbers: Ints | None = None


def pad_to_shards(
    sources: Sequence[Source], folder: Path, settings: ShardSettings, progress: Progress = lambda _share: None
) -> Manifest:
    """Pad the sequences of files into shards in a directory, and return its manifest.

    A directory that a killed run has left is continued.

    Args:
        sources: the files.
        folder: the directory, which is created if it does not exist.
        settings: the options.
        progress: receives the completed share; planning and writing count as a half each.

    Raises:
        InputError: for files that cannot be read, or have changed since the directory was begun, and for a directory
            that cannot be written.
        UsageError: for other options than those that the directory was begun with.
    """
    with _open_folder(folder) as path:
        states = [_read_state(source) for source in sources]
        if has_manifest(path):
            data = (path / MANIFEST).read_bytes()
            manifest = _resume(read_manifest(data, display_name(str(path / MANIFEST))), path, sources, settings)
        else:
            manifest = plan_shards(sources, _name_shards(path), settings, lambda share: progress(share / 2))
            _check_free(path, manifest)
            _save_manifest(path, manifest)
        _remove_leftovers(path, manifest)
        if not manifest.complete:
            manifest = _write_shards(sources, states, path, manifest, lambda share: progress((1 + share) / 2))
    return manifest


def _name_shards(folder: Path) -> str:
    """Return the start of the names of shards: the name of the directory."""
    return folder.name or "shards"


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[Path]:
    """Yield a directory that no other process writes shards into; one that stays empty is removed again."""
    path = folder.resolve()
    is_new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            where=display_name(str(folder)),
            expected="a directory that can be written to",
            received="a file" if isinstance(error, FileExistsError) else explain_os_error(error),
            fix="Choose another path.",
        ) from None
    try:
        with lock_directory(path):
            yield path
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # It is not empty.
                path.rmdir()
        raise


def _read_state(source: Source) -> tuple[int, int]:
    """Return the size of a file and the time of its last change, which show a change while it is read."""
    return source.size, source.file.stat().st_mtime_ns if source.file is not None else 0


# A directory that was begun before.


def _resume(manifest: Manifest, folder: Path, sources: Sequence[Source], settings: ShardSettings) -> Manifest:
    """Return the manifest of a directory with the shards that are still whole.

    Raises:
        UsageError: for other options.
        InputError: for other files.
    """
    name = display_name(str(folder / MANIFEST))
    fix = f"Choose another directory, or remove {display_name(str(folder))} to write it again."
    if manifest.version != __version__:
        raise UsageError(where=name, expected=f"maskcli {manifest.version}", received=f"maskcli {__version__}", fix=fix)
    for field in dataclasses.fields(ShardSettings):
        before, now = getattr(manifest.settings, field.name), getattr(settings, field.name)
        if before != now:
            raise UsageError(
                where=f"--{field.name.replace('_', '-')}",
                expected=f"{_describe_setting(before)}, with which {name} was begun",
                received=_describe_setting(now),
                fix=fix,
            )
    if len(sources) != len(manifest.sources):
        raise InputError(
            where=name, expected=f"the same {len(manifest.sources)} files", received=f"{len(sources)} files", fix=fix
        )
    for source, before in zip(sources, manifest.sources, strict=True):
        if source.size != before.bytes or source.compute_checksum() != before.sha256:
            raise InputError(
                where=source.name,
                expected=f"the content that {name} was begun with ({before.bytes} bytes of {before.name})",
                received=f"other content ({source.size} bytes)",
                fix=fix,
            )
    return replace_shards(manifest, _list_whole_shards(manifest, folder))


def _describe_setting(value: object) -> str:
    return "no such option" if value is None else str(value)


def _list_whole_shards(manifest: Manifest, folder: Path) -> list[Shard]:
    """Return the listed shards of each group up to the first whose files have changed."""
    whole: list[Shard] = []
    for index in range(len(manifest.groups)):
        group = [shard for shard in manifest.shards if shard.group == index]
        for position, shard in enumerate(group):
            if shard.index != position or not all(_is_whole(folder, file) for file in shard.files):
                break
            whole.append(shard)
    return whole


def _is_whole(folder: Path, file: ShardFile) -> bool:
    try:
        return _measure_file(folder / file.name) == (file.bytes, file.sha256)
    except OSError:
        return False


def _measure_file(path: Path) -> tuple[int, str]:
    """Return the size and the checksum of a file."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), checksum


def _check_free(folder: Path, manifest: Manifest) -> None:
    """Raise InputError for files in a new directory that have the names of shards, or of the manifest."""
    taken = {entry.name for entry in folder.iterdir()} & {MANIFEST, *_list_file_names(manifest)}
    if taken:
        raise InputError(
            where=display_name(str(folder)),
            expected="a directory without files of these names, unless maskcli has begun it",
            received=f"{min(taken)!r}, which no manifest of maskcli lists",
            fix="Choose another directory, or remove the file.",
        )


def _remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Remove the shards that the manifest does not list, and temporary files, of a process that was killed.

    Only names that this manifest gives to shards are removed.
    """
    names = _list_file_names(manifest)
    remove_dead_temporaries(folder, [MANIFEST, *names])
    listed = {file.name for shard in manifest.shards for file in shard.files}
    for name in names - listed:
        (folder / name).unlink(missing_ok=True)


def _list_file_names(manifest: Manifest) -> set[str]:
    """Return the names of the files of all shards."""
    return {
        file_name
        for group, shards in enumerate(manifest.groups)
        for index in range(shards.shards)
        for file_name, _ in _list_files(manifest, group, index)
    }


def _list_files(manifest: Manifest, group: int, index: int) -> list[tuple[str, tuple[ShardColumn, ...]]]:
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
    settings, bounds = manifest.settings, _divide_rows(manifest.groups[group])
    rows, maxlen = bounds[index + 1] - bounds[index], manifest.groups[group].maxlen
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


def _divide_rows(group: ShardGroup) -> list[int]:
    """Return the first row of each shard of a group, and the number of all rows."""
    return [index * group.rows // group.shards for index in range(group.shards + 1)]


# Writing.


def _write_shards(
    sources: Sequence[Source], states: list[tuple[int, int]], folder: Path, manifest: Manifest, progress: Progress
) -> Manifest:
    """Write the shards that are not listed yet, and return the manifest of all shards."""
    saver = _ManifestSaver(folder, manifest)
    with contextlib.ExitStack() as stack:
        writers = [_GroupWriter(folder, manifest, group, saver, stack) for group in range(len(manifest.groups))]
        for part in _make_parts(sources, manifest, progress):
            writers[part.group].add(part)
        is_short = any(writer.rows_left for writer in writers)
        if is_short or [_read_state(source) for source in sources] != states:
            raise _make_changed_error(manifest)
    saver.save()
    return saver.manifest


def _make_changed_error(manifest: Manifest) -> InputError:
    return InputError(
        where=", ".join(source.name for source in manifest.sources[:3]),
        expected="files that stay the same while they are read",
        received="a file that has changed",
        fix="Wait until the program that writes it has ended, remove the directory, and run the command again.",
    )


class _ManifestSaver:
    """The manifest, which is saved as often as its length allows."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self.manifest = manifest
        self._next = 0.0

    def add(self, shard: Shard) -> None:
        """List a finished shard. The last one is listed by ``save``, when the files have been compared."""
        self.manifest = replace_shards(self.manifest, [*self.manifest.shards, shard])
        if time.monotonic() >= self._next and not self.manifest.complete:
            self.save()

    def save(self) -> None:
        """Write the manifest."""
        start = time.monotonic()
        _save_manifest(self._folder, self.manifest)
        end = time.monotonic()
        self._next = end + (end - start) / SAVING


def _save_manifest(folder: Path, manifest: Manifest) -> None:
    with replace_file(str(folder / MANIFEST), cleans=False) as out:
        for piece in render_manifest(manifest):
            out.write(piece)


class _GroupWriter:
    """Writes the rows of one group into its shards, in order.

    Attributes:
        rows_left: rows that are not written yet.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, group: int, saver: _ManifestSaver, stack: contextlib.ExitStack
    ) -> None:
        """Continue after the finished shards; ``stack`` closes the files of an unfinished shard after an error."""
        self._folder, self._manifest, self._group, self._saver, self._all_files = folder, manifest, group, saver, stack
        self._bounds = _divide_rows(manifest.groups[group])
        finished = [shard for shard in manifest.shards if shard.group == group]
        self._index, self._row = len(finished), self._bounds[len(finished)]
        self._skipped_rows = self._row
        self._last = next((shard.last_sequence for shard in reversed(finished)), None)
        self._files = contextlib.ExitStack()
        self._adds: list[AddColumns] = []

    @property
    def rows_left(self) -> int:
        """Rows that are not written yet."""
        return self._bounds[-1] - self._row

    def add(self, part: _Part) -> None:
        """Write the rows of a part that are not in a finished shard."""
        columns, numbers = self._skip_finished(part)
        size, start = len(columns[TOKENS]), 0
        if size > self.rows_left:
            raise _make_changed_error(self._manifest)
        while start < size:
            if not self._adds:
                self._open_shard()
            end = min(size, start + self._bounds[self._index + 1] - self._row)
            for add in self._adds:
                add({name: column[start:end] for name, column in columns.items()})
            self._row += end - start
            if self._row == self._bounds[self._index + 1]:
                self._close_shard(None if numbers is None else int(numbers[end - 1]))
            start = end

    def _skip_finished(self, part: _Part) -> tuple[Columns, Ints | None]:
        size = len(part.columns[TOKENS])
        if part.numbers is None:  # Packed rows are counted, because they are always read from the first.
            first = min(self._skipped_rows, size)
            self._skipped_rows -= first
        else:
            first = 0 if self._last is None else int(np.searchsorted(part.numbers, self._last, side="right"))
        columns = {name: column[first:] for name, column in part.columns.items()}
        return columns, None if part.numbers is None else part.numbers[first:]

    def _open_shard(self) -> None:
        settings = self._manifest.settings
        entry = SHARD_FORMATS[settings.format]
        layout = make_layout(settings, self._manifest.groups[self._group].maxlen)
        self._files = contextlib.ExitStack()
        self._all_files.push(self._files)
        for name, columns in _list_files(self._manifest, self._group, self._index):
            raw = self._files.enter_context(replace_file(str(self._folder / name), cleans=False))
            table = ShardTable(columns, layout, settings.compress)
            self._adds.append(self._files.enter_context(entry.open(raw, table)))

    def _close_shard(self, last_sequence: int | None) -> None:
        self._files.close()
        self._adds = []
        files = []
        for name, columns in _list_files(self._manifest, self._group, self._index):
            size, checksum = _measure_file(self._folder / name)
            files.append(ShardFile(name, size, checksum, columns))
        rows = self._bounds[self._index + 1] - self._bounds[self._index]
        self._saver.add(Shard(self._index, self._group, rows, last_sequence, tuple(files)))
        self._index += 1


# The rows of the shards, in the order of the corpus.


def _make_parts(sources: Sequence[Source], manifest: Manifest, progress: Progress) -> Iterator[_Part]:
    if manifest.settings.pack is not None:
        return _make_packed_parts(sources, manifest, progress)
    layouts = [make_layout(manifest.settings, group.maxlen) for group in manifest.groups]
    return _make_padded_parts(sources, manifest, partial(_pad_groups, layouts=layouts), progress)


def _make_padded_parts(
    sources: Sequence[Source],
    manifest: Manifest,
    convert: Callable[[RaggedSequences], Iterable[tuple[int, Ints, Iterable[PaddedBatch]]]],
    progress: Progress,
) -> Iterator[_Part]:
    """Yield the sequences padded to the length of their groups."""
    first_file, row = _find_start(manifest)
    for _, chunk in read_sources(sources, manifest.settings, convert, progress, first_file):
        for group, chosen, batches in chunk.result:
            start = 0
            for batch in batches:
                numbers = row + chosen[start : start + len(batch.tokens)]
                start += len(numbers)
                columns = {
                    TOKENS: batch.tokens,
                    MARKS: batch.mask,
                    TOKENS_MASK: batch.mask,
                    LENGTHS: batch.lengths,
                    ROW_NUMBERS: numbers,
                }
                yield _Part(group, columns, numbers)
        row += chunk.rows


def _find_start(manifest: Manifest) -> tuple[int, int]:
    """Return the first file with sequences that are not in a finished shard, and the position of its first sequence."""
    last = [-1] * len(manifest.groups)
    for shard in manifest.shards:
        if shard.last_sequence is not None:
            last[shard.group] = max(last[shard.group], shard.last_sequence)
    finished = [sum(shard.group == group for shard in manifest.shards) for group in range(len(last))]
    pending = [end for end, done, group in zip(last, finished, manifest.groups, strict=True) if done < group.shards]
    row = 0
    for index, source in enumerate(manifest.sources):
        if row + source.sequences > min(pending) + 1:
            return index, row
        row += source.sequences
    return len(manifest.sources), row


def _pad_groups(ragged: RaggedSequences, layouts: Sequence[Layout]) -> list[tuple[int, Ints, Iterable[PaddedBatch]]]:
    """Return sequences by their groups: the group, their positions among ``ragged``, and the padded batch in parts."""
    if len(layouts) == 1:
        return [(0, np.arange(len(ragged)), pad_in_parts(ragged, layouts[0]))]
    ends = np.array([layout.maxlen for layout in layouts])
    # Sequences longer than the last bucket are truncated.
    groups = np.minimum(np.searchsorted(ends, ragged.lengths), len(ends) - 1)
    result: list[tuple[int, Ints, Iterable[PaddedBatch]]] = []
    for group in np.unique(groups).tolist():
        chosen = np.flatnonzero(groups == group)
        result.append((group, chosen, pad_in_parts(_take_sequences(ragged, chosen), layouts[group])))
    return result


def _take_sequences(ragged: RaggedSequences, chosen: Ints) -> RaggedSequences:
    """Return some of the sequences."""
    lengths = ragged.lengths[chosen]
    splits = make_row_splits(lengths)
    places = np.arange(splits[-1]) + np.repeat(ragged.row_splits[:-1][chosen] - splits[:-1], lengths)
    return dataclasses.replace(ragged, values=ragged.values[places], row_splits=splits)


def _make_packed_parts(sources: Sequence[Source], manifest: Manifest, progress: Progress) -> Iterator[_Part]:
    """Yield the rows that the sequences are packed into."""
    settings, capacity = manifest.settings, manifest.groups[0].maxlen
    layout = make_layout(settings, get_longest(settings))
    chunks = read_sources(sources, settings, partial(prepare_sequences, layout=layout), progress)
    windows = cut_windows((chunk.result for _, chunk in chunks), get_window(capacity))
    for _, columns in map_in_order(partial(_pack_columns, layout=layout, capacity=capacity), windows):
        yield _Part(0, columns)


def _pack_columns(window: RaggedSequences, layout: Layout, capacity: int) -> Columns:
    return pack_window(window, capacity).fill(layout, capacity)
