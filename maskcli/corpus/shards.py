"""Pad a corpus into a directory of shards, and continue after a run that was killed.

The manifest lists the shards that are finished. Each shard is written into temporary files, renamed, and only then
listed, so that a file with the name of a shard that is not listed can be removed and written again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from maskcli.corpus.blocks import BLOCK_SIZE, cut_files
from maskcli.corpus.engines.choice import open_engine
from maskcli.corpus.engines.inline import InlineEngine
from maskcli.corpus.packing import cut_windows, get_window, pack_window, prepare_sequences
from maskcli.corpus.plan import CorpusLengths, get_longest, measure_lengths, plan_shards, read_sources
from maskcli.corpus.shard_files import (
    GroupFiller,
    find_groups,
    list_file_names,
    make_changed_error,
    make_columns,
    measure_file,
    take_sequences,
)
from maskcli.corpus.shard_tasks import DistributedWork
from maskcli.errors import InputError, UsageError
from maskcli.records.arrays import Ints
from maskcli.records.layout import Layout
from maskcli.records.manifest import Manifest, Shard, ShardFile, ShardSettings
from maskcli.records.options import EngineOptions
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.render.documents import iterate_json, make_document
from maskcli.sequences.formats.shards.columns import Columns
from maskcli.sequences.formats.shards.manifests import (
    MANIFEST,
    has_manifest,
    make_layout,
    read_manifest,
    replace_shards,
)
from maskcli.sequences.padding import pad_in_parts
from maskcli.sequences.sources import Source, display_name, explain_os_error
from maskcli.sequences.streaming import Progress
from maskcli.sequences.threads import map_in_order
from maskcli.sequences.writing import lock_directory, remove_dead_temporaries, replace_file
from maskcli.version import __version__

IN_THIS_PROCESS = EngineOptions(processes=1)
"""The engine of a call from Python that names none."""
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
    sources: Sequence[Source],
    folder: Path,
    settings: ShardSettings,
    progress: Progress = lambda _share: None,
    options: EngineOptions = IN_THIS_PROCESS,
    block_size: int = BLOCK_SIZE,
) -> Manifest:
    """Pad the sequences of files into shards in a directory, and return its manifest.

    A directory that a killed run has left is continued. The bytes are the same for every engine.

    Args:
        sources: the files.
        folder: the directory, which is created if it does not exist.
        settings: the options that decide the bytes.
        progress: receives the completed share; planning and writing count as a half each.
        options: the engine; packed sequences are always written in this process.
        block_size: bytes of a block that a worker reads.

    Raises:
        InputError: for files that cannot be read, or have changed since the directory was begun, for a directory that
            cannot be written, and for a cluster that does not work.
        UsageError: for other options than those that the directory was begun with.
    """
    with _open_folder(folder) as path, _open_work(sources, settings, options, block_size) as work:
        states = [_read_state(source) for source in sources]
        checksums = work.compute_checksums()
        if has_manifest(path):
            data = (path / MANIFEST).read_bytes()
            manifest = read_manifest(data, display_name(str(path / MANIFEST)))
            manifest = _resume(manifest, path, sources, checksums, settings)
        else:
            measured = work.measure_lengths(lambda share: progress(share / 2))
            manifest = plan_shards(sources, checksums, measured, _name_shards(path), settings)
            _check_free(path, manifest)
            _save_manifest(path, manifest)
        _remove_leftovers(path, manifest)
        if not manifest.complete:
            saver = _ManifestSaver(path, manifest)
            with saver.keep_finished(), _notice_changes(sources, states, manifest):
                work.write(path, manifest, saver.add, lambda share: progress((1 + share) / 2))
            manifest = saver.save()
            # Of workers that died, while others have finished their work.
            remove_dead_temporaries(path, list_file_names(manifest))
    return manifest


class _Work(Protocol):
    """The reading and writing, in this process or by an engine."""

    def compute_checksums(self) -> list[str]:
        """Return the checksum of each file."""

    def measure_lengths(self, progress: Progress) -> CorpusLengths:
        """Return the lengths of all sequences."""

    def write(self, folder: Path, manifest: Manifest, on_shard: Callable[[Shard], None], progress: Progress) -> None:
        """Write the shards that the manifest does not list; ``on_shard`` receives each when it is finished."""


@contextlib.contextmanager
def _open_work(
    sources: Sequence[Source], settings: ShardSettings, options: EngineOptions, block_size: int
) -> Iterator[_Work]:
    # The rows of packed sequences depend on all sequences before them.
    if settings.pack is not None or options is IN_THIS_PROCESS:
        yield _InThisProcess(sources, settings)
        return
    tasks = list(cut_files(sources, settings.input_format, settings.field, block_size))
    with open_engine(tasks, options) as engine:
        if isinstance(engine, InlineEngine):
            yield _InThisProcess(sources, settings)
        else:
            yield DistributedWork(engine, sources, tasks, settings)


@contextlib.contextmanager
def _notice_changes(sources: Sequence[Source], states: list[tuple[int, int]], manifest: Manifest) -> Iterator[None]:
    """Raise InputError for files that have changed, also instead of an error about their new content."""
    try:
        yield
    except InputError:
        if [_read_state(source) for source in sources] == states:
            raise
        raise make_changed_error(manifest) from None
    if [_read_state(source) for source in sources] != states:
        raise make_changed_error(manifest)


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


def _resume(
    manifest: Manifest, folder: Path, sources: Sequence[Source], checksums: Sequence[str], settings: ShardSettings
) -> Manifest:
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
    for source, checksum, before in zip(sources, checksums, manifest.sources, strict=True):
        if source.size != before.bytes or checksum != before.sha256:
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
    """Return the listed shards whose files have not changed."""
    return [shard for shard in manifest.shards if all(_is_whole(folder, file) for file in shard.files)]


def _is_whole(folder: Path, file: ShardFile) -> bool:
    try:
        return measure_file(folder / file.name) == (file.bytes, file.sha256)
    except OSError:
        return False


def _check_free(folder: Path, manifest: Manifest) -> None:
    """Raise InputError for files in a new directory that have the names of shards, or of the manifest."""
    taken = {entry.name for entry in folder.iterdir()} & {MANIFEST, *list_file_names(manifest)}
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
    names = list_file_names(manifest)
    remove_dead_temporaries(folder, [MANIFEST, *names])
    listed = {file.name for shard in manifest.shards for file in shard.files}
    for name in names - listed:
        (folder / name).unlink(missing_ok=True)


# Writing.


class _InThisProcess:
    """The work of one process and its two threads."""

    def __init__(self, sources: Sequence[Source], settings: ShardSettings) -> None:
        self._sources, self._settings = sources, settings

    def compute_checksums(self) -> list[str]:
        """Return the checksum of each file."""
        return [source.compute_checksum() for source in self._sources]

    def measure_lengths(self, progress: Progress) -> CorpusLengths:
        """Return the lengths of all sequences."""
        return measure_lengths(self._sources, self._settings, progress)

    def write(self, folder: Path, manifest: Manifest, on_shard: Callable[[Shard], None], progress: Progress) -> None:
        """Write the shards that the manifest does not list."""
        with contextlib.ExitStack() as stack:
            groups = range(len(manifest.groups))
            fillers = [GroupFiller(folder, manifest, group, on_shard, stack) for group in groups]
            for part in _make_parts(self._sources, manifest, progress):
                fillers[part.group].add(part.columns, part.numbers)
            if any(filler.is_short for filler in fillers):
                raise make_changed_error(manifest)


class _ManifestSaver:
    """The manifest, which is saved as often as its length allows."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._shards = {(shard.group, shard.index): shard for shard in manifest.shards}
        self._total = sum(group.shards for group in manifest.groups)
        self._next = 0.0

    def add(self, shard: Shard) -> None:
        """List a finished shard. The last one is listed by ``save``, when the files have been compared."""
        self._shards[shard.group, shard.index] = shard
        if time.monotonic() >= self._next and len(self._shards) < self._total:
            self.save()

    @contextlib.contextmanager
    def keep_finished(self) -> Iterator[None]:
        """After an error, list the shards that are finished, if there is room for it."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(InputError):
                if len(self._shards) < self._total:
                    self.save()
            raise

    def save(self) -> Manifest:
        """Write the manifest and return it."""
        start = time.monotonic()
        manifest = replace_shards(self._manifest, list(self._shards.values()))
        _save_manifest(self._folder, manifest)
        end = time.monotonic()
        self._next = end + (end - start) / SAVING
        return manifest


def _save_manifest(folder: Path, manifest: Manifest) -> None:
    with replace_file(str(folder / MANIFEST), cleans=False) as out:
        for piece in iterate_json(make_document(manifest)):
            out.write(piece)


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
                yield _Part(group, make_columns(batch, numbers), numbers)
        row += chunk.rows


def _find_start(manifest: Manifest) -> tuple[int, int]:
    """Return the first file with sequences that are not in a finished shard, and the position of its first sequence."""
    before: list[int] = []  # The last sequences before the first missing shard of each group.
    for index, group in enumerate(manifest.groups):
        last = [shard.last_sequence for shard in manifest.shards if shard.group == index]
        indices = [shard.index for shard in manifest.shards if shard.group == index]
        n_first = next((place for place, found in enumerate(indices) if place != found), len(indices))
        if n_first < group.shards:
            before.append(-1 if not n_first or last[n_first - 1] is None else int(last[n_first - 1] or 0))
    row = 0
    for index, source in enumerate(manifest.sources):
        if row + source.sequences > min(before, default=-1) + 1:
            return index, row
        row += source.sequences
    return len(manifest.sources), row


def _pad_groups(ragged: RaggedSequences, layouts: Sequence[Layout]) -> list[tuple[int, Ints, Iterable[PaddedBatch]]]:
    """Return sequences by their groups: the group, their positions among ``ragged``, and the padded batch in parts."""
    if len(layouts) == 1:
        return [(0, np.arange(len(ragged)), pad_in_parts(ragged, layouts[0]))]
    groups = find_groups(ragged.lengths, [layout.maxlen or 1 for layout in layouts])
    result: list[tuple[int, Ints, Iterable[PaddedBatch]]] = []
    for group in np.unique(groups).tolist():
        chosen = np.flatnonzero(groups == group)
        result.append((group, chosen, pad_in_parts(take_sequences(ragged, chosen), layouts[group])))
    return result


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
