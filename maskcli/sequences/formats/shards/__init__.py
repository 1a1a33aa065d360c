"""A directory of shards, read by its manifest: all shards, in order, each with the padding that it was written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Array
from maskcli.records.layout import Layout
from maskcli.records.manifest import Manifest, is_manifest
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.bounds import check_memory
from maskcli.sequences.formats.base import Chunk, Field, Format, ParsedRows, locate_error, name_rows, quote_names
from maskcli.sequences.formats.shards.columns import (
    LENGTHS,
    MARKS,
    ROW_NUMBERS,
    SEGMENTS,
    TOKENS,
    TOKENS_MASK,
    Columns,
)
from maskcli.sequences.formats.shards.manifests import (
    MANIFEST,
    check_complete,
    find_shared_layout,
    load_columns,
    make_layout,
    mark_valid,
    read_manifest,
    read_shard,
)
from maskcli.sequences.ragged import check_ragged
from maskcli.sequences.sources import Source, display_name
from maskcli.sequences.splits import make_row_splits

T = TypeVar("T")
Parts = Iterator[Chunk[T]]
ABOUT_ROWS = (LENGTHS, ROW_NUMBERS)
"""Columns with a number for each row, which feed only inputs of their names."""


def refuse_manifest(_data: bytes, name: str, _field: Field) -> ParsedRows:
    """Raise InputError: the content of a manifest does not show its directory."""
    raise InputError(
        where=name,
        expected="the path of a directory of shards",
        received="the content of its manifest, or an option for text",
        fix="Name the directory as FILE, without --tokenizer.",
    )


def _open_directory(source: Source) -> tuple[Path, Manifest]:
    """Return the directory and its manifest."""
    if source.file is None:
        refuse_manifest(b"", source.name, Field())
    assert source.file is not None  # noqa: S101 - checked above
    return source.file.parent, check_complete(read_manifest(source.read(), source.name), source.name)


def read_shard_layout(source: Source) -> Layout | None:
    """Return the layout of all shards; see ``Format.read_layout``."""
    return find_shared_layout(_open_directory(source)[1])


def read_shard_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Parts[T]:
    """Yield the results of ``convert`` for parts of the shards; see ``ReadChunks``."""
    folder, manifest = _open_directory(source)
    shared, size = find_shared_layout(manifest), source.size
    total, rows = sum(shard.rows for shard in manifest.shards), 0
    for shard in manifest.shards:
        layout = make_layout(manifest.settings, manifest.groups[shard.group].maxlen)
        first = 0
        for columns in read_shard(folder, manifest, shard):
            where = name_rows(display_name(str(folder / shard.files[0].name)), first)
            ragged = _select_valid(columns, layout, field, source.name)
            try:
                result = convert(check_ragged(ragged))
            except InputError as error:
                raise locate_error(error, where) from None
            first += len(ragged)
            rows += len(ragged)
            source.place = size * rows // total
            yield Chunk(len(ragged), result, where, shared)


def _select_valid(columns: Columns, layout: Layout, field: Field, name: str) -> RaggedSequences:
    """Return the entries of a column at valid timesteps."""
    chosen = TOKENS if field.name is None else field.name
    if chosen not in columns or columns[chosen].ndim != 2:
        raise InputError(
            where=name,
            expected=f"a column of sequences named {chosen!r}",
            received=f"columns named {quote_names([key for key, column in columns.items() if column.ndim == 2])}",
            fix=f"Name the column with {field.option}, or leave it out.",
        )
    valid = mark_valid(columns, layout)
    marked_by = next(key for key in (MARKS, TOKENS_MASK, SEGMENTS, LENGTHS) if key in columns)
    return RaggedSequences(columns[chosen][valid], make_row_splits(valid.sum(axis=1)), marked_by)


def load_shard_arrays(source: Source, inputs: list[str]) -> tuple[Mapping[str, Array | RaggedSequences], Layout]:
    """Return the columns of all shards for a model whose inputs have these names, and the layout of the tokens.

    Rows of several lengths become sequences. Numbers of rows are left out unless an input has their name.
    """
    folder, manifest = _open_directory(source)
    layout = find_shared_layout(manifest)
    check_memory(sum(file.bytes for shard in manifest.shards for file in shard.files), "all shards", source.name)
    parts = load_columns(folder, manifest)
    for part in parts:
        if MARKS in part:
            part[TOKENS_MASK] = part.pop(MARKS)
    names = [name for name in parts[0] if name not in ABOUT_ROWS or name in inputs]
    if layout.maxlen is not None:
        return {name: np.concatenate([part[name] for part in parts]) for name in names}, layout
    lengths = np.concatenate([part[TOKENS_MASK].sum(axis=1) for part in parts])
    values = np.concatenate([part[TOKENS][part[TOKENS_MASK]] for part in parts])
    arrays: dict[str, Array | RaggedSequences] = {TOKENS: RaggedSequences(values, make_row_splits(lengths))}
    arrays |= {name: np.concatenate([part[name] for part in parts]) for name in names if name in ABOUT_ROWS}
    return arrays, layout


FORMATS = (
    Format(
        "shards",
        (MANIFEST,),
        refuse_manifest,
        is_manifest,
        chunks=read_shard_chunks,
        read_layout=read_shard_layout,
    ),
)
