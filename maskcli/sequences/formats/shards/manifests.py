"""The manifest of a directory of shards, and the content of the files that it lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Array, Bools
from maskcli.records.layout import Layout
from maskcli.records.manifest import Manifest, Shard, ShardFile, ShardSettings, is_manifest
from maskcli.sequences.formats.shards.columns import (
    LENGTHS,
    MARKS,
    SEGMENTS,
    TOKENS_MASK,
    Columns,
    ShardTable,
)
from maskcli.sequences.formats.shards.numpy_files import make_shard_error
from maskcli.sequences.formats.shards.table import SHARD_FORMATS
from maskcli.sequences.padding import make_validity
from maskcli.sequences.sources import display_name, explain_os_error

MANIFEST = "manifest.json"
HEAD = 64
"""Bytes that show whether a file is a manifest."""


def has_manifest(folder: Path) -> bool:
    """Return whether a directory has the manifest of maskcli."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return is_manifest(file.read(HEAD))
    except OSError:
        return False


def read_manifest(data: bytes, name: str) -> Manifest:
    """Return the manifest of a directory of shards.

    Raises:
        InputError: for a file that is damaged, or names files outside of its directory.
    """
    try:
        from maskcli.render.documents import parse_manifest  # Loaded here, because most inputs are no manifest.

        manifest = parse_manifest(data)
        for file in (file for shard in manifest.shards for file in shard.files):
            if Path(file.name).name != file.name or "\x00" in file.name:
                raise ValueError(f"the file name {file.name!r}")
        if manifest.settings.format not in SHARD_FORMATS:
            raise ValueError(f"the format {manifest.settings.format!r}")
        if any(shard.group >= len(manifest.groups) for shard in manifest.shards):
            raise ValueError("a shard of no group")
        return manifest
    except (ValueError, RecursionError) as error:
        raise InputError(
            where=name,
            expected="the manifest of a directory that maskcli wrote",
            received=f"a damaged one ({error})",
            fix="Remove the directory, and write it again with `maskcli pad --shards`.",
        ) from None


def check_complete(manifest: Manifest, name: str) -> Manifest:
    """Return the manifest of a directory that is written to its end; raise InputError for any other."""
    if not manifest.complete:
        total = sum(group.shards for group in manifest.groups)
        raise InputError(
            where=name,
            expected="a complete directory",
            received=f"{len(manifest.shards)} of {total} shards: the command has not ended, or was killed",
            fix="Run this command again: it continues after the last finished shard.",
        )
    return manifest


def make_layout(settings: ShardSettings, maxlen: int | None) -> Layout:
    """Return the layout of rows with ``maxlen`` timesteps."""
    return Layout(
        padding="pre" if settings.padding == "pre" else "post",
        truncating="pre" if settings.truncating == "pre" else "post",
        maxlen=maxlen,
        value=settings.value,
        dtype=settings.dtype,
        trim=False,
    )


def find_shared_layout(manifest: Manifest) -> Layout:
    """Return the layout of all shards; without ``maxlen`` if they differ in it."""
    lengths = {group.maxlen for group in manifest.groups}
    return make_layout(manifest.settings, lengths.pop() if len(lengths) == 1 else None)


def read_shard(folder: Path, manifest: Manifest, shard: Shard) -> Iterator[Columns]:
    """Yield the rows of a shard in parts, with all its columns.

    Raises:
        InputError: for a file that differs from the manifest.
    """
    layout = make_layout(manifest.settings, manifest.groups[shard.group].maxlen)
    entry = SHARD_FORMATS[manifest.settings.format]
    readers = [
        entry.read(folder / file.name, display_name(str(folder / file.name)), ShardTable(file.columns, layout))
        for file in shard.files
        if _check_size(folder, file)
    ]
    if len(readers) == 1:
        yield from readers[0]
        return
    # The files of the columns are cut at different rows, because their entries have different sizes.
    pending = [_Rows(reader) for reader in readers]
    while rows := pending[0].refill():
        yield {name: column for part in pending for name, column in part.take(rows).items()}


class _Rows:
    """Rows that are read in parts, and taken in other parts."""

    def __init__(self, parts: Iterator[Columns]) -> None:
        self._parts = parts
        self._columns: dict[str, Array] = {}

    def refill(self) -> int:
        """Read the next part if nothing is left, and return the number of rows at hand."""
        if not self._size:
            self._columns = dict(next(self._parts, {}))
        return self._size

    @property
    def _size(self) -> int:
        return len(next(iter(self._columns.values()))) if self._columns else 0

    def take(self, rows: int) -> Columns:
        """Return the next rows."""
        while self._size < rows:
            further = next(self._parts)
            self._columns = {
                name: np.concatenate([self._columns[name], column]) if self._columns else column
                for name, column in further.items()
            }
        taken = {name: column[:rows] for name, column in self._columns.items()}
        self._columns = {name: column[rows:] for name, column in self._columns.items()}
        return taken


def _check_size(folder: Path, file: ShardFile) -> bool:
    """Return True; raise InputError for a file that is missing, or has another size than in the manifest."""
    name = display_name(str(folder / file.name))
    try:
        size = (folder / file.name).stat().st_size
    except OSError as error:
        raise make_shard_error(name, explain_os_error(error)) from None
    if size != file.bytes:
        raise make_shard_error(name, f"{size} bytes instead of {file.bytes}")
    return True


def mark_valid(columns: Columns, layout: Layout) -> Bools:
    """Return ``(rows, maxlen)``, True at tokens: by the mask, the segments or the lengths of a shard."""
    for name in (MARKS, TOKENS_MASK, SEGMENTS):
        if name in columns:
            return columns[name].astype(bool)
    return make_validity(columns[LENGTHS].astype(np.int64), layout)


def load_columns(folder: Path, manifest: Manifest) -> list[dict[str, Array]]:
    """Return all rows of a directory: a part for each shard."""
    parts = []
    for shard in manifest.shards:
        pieces = list(read_shard(folder, manifest, shard))
        joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        if not any(name in joined for name in (MARKS, TOKENS_MASK)):
            layout = make_layout(manifest.settings, manifest.groups[shard.group].maxlen)
            joined[TOKENS_MASK] = mark_valid(joined, layout)
        parts.append(joined)
    return parts


def replace_shards(manifest: Manifest, shards: list[Shard]) -> Manifest:
    """Return the manifest with other finished shards, in the order of their groups."""
    ordered = tuple(sorted(shards, key=lambda shard: (shard.group, shard.index)))
    return dataclasses.replace(
        manifest, shards=ordered, complete=len(ordered) == sum(g.shards for g in manifest.groups)
    )
