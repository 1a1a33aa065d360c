"""Files of any size to a padded batch in a file, in as much memory as a few blocks take.

Without ``maxlen`` the sequences are set aside in a file, as numbers, till the longest is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

import numpy as np

from maskcli.records.sequences import Excerpt, Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.files import WRITABLE, detect_format, make_only_empty_error, read_all
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, Writer
from maskcli.sequences.formats.numpy_arrays import open_mask_writer
from maskcli.sequences.padding import (
    check_fitting_values,
    check_layout,
    join_batches,
    pad_in_parts,
    take_first_rows,
    take_last_rows,
)
from maskcli.sequences.sources import Source
from maskcli.sequences.threads import map_in_order
from maskcli.sequences.writing import replacing

T = TypeVar("T")
IN_MEMORY = 2**24
"""Bytes of sequences that are set aside in memory; more go to a file, beside the one that is written."""
Progress = Callable[[float], None]
"""Is told what share is done, from 0 to 1."""


@dataclasses.dataclass(frozen=True)
class SequenceFiles:
    """Files of sequences, to be read in chunks.

    Attributes:
        sources: the files.
        input_format: a name of ``FORMATS``, or ``auto``.
        field: that holds the sequences.
    """

    sources: tuple[Source, ...]
    input_format: str = "auto"
    field: str | None = None

    @property
    def in_chunks(self) -> bool:
        """Whether each of them can be read in chunks; raise InputError for one that cannot be read at all."""
        return all(detect_format(source, self.input_format)[1] for source in self.sources)

    def chunks(self, made: Callable[[RaggedSequences], T], progress: Progress) -> Iterator[Chunk[T]]:
        """Yield what ``made`` makes of their sequences, in order."""
        for chunk, share in read_all(self.sources, self.input_format, Field(self.field), made):
            yield chunk
            progress(share)


def pad_files(
    files: SequenceFiles,
    layout: Layout,
    output: str | None,
    mask_output: str | None = None,
    shown: int = 0,
    progress: Progress = lambda _share: None,
) -> Excerpt:
    """Pad the sequences of files into files; return ``shown`` rows of the start and of the end, and what there is.

    Args:
        files: to be read in chunks.
        layout: how they are padded; without ``maxlen``, to the longest.
        output: a path whose suffix is one of ``WRITABLE``.
        mask_output: an ``.npy`` for the mask.
        shown: rows.
        progress: is told how far it is, in halves where sequences are set aside.

    Raises:
        InputError: for what cannot be read, padded or written; nothing is written then.
    """
    layout, rows = check_layout(layout), None
    with _targets(output, mask_output) as targets, _aside(output or mask_output or "") as aside:
        if layout.maxlen is not None and not (output and _entry(output).needs_rows):
            parts = _parts(files, layout, progress)
        else:
            for chunk in files.chunks(partial(check_fitting_values, layout=layout), lambda share: progress(share / 2)):
                aside.add(chunk.made)
            _check_tokens(files, aside.rows, aside.tokens)
            layout, rows = dataclasses.replace(layout, maxlen=layout.maxlen or aside.longest), aside.rows
            parts = aside.padded(layout, lambda share: progress((1 + share) / 2))
        noted = _Noted(layout, shown)
        with _writing(targets, layout, rows) as add:
            for part in parts:
                add(part)
                noted.add(part)
        _check_tokens(files, noted.rows, noted.tokens + noted.truncated)
    return noted.excerpt()


def write_batch(batch: PaddedBatch, output: str | None, mask_output: str | None) -> None:
    """Write a batch, and its mask, to files; see ``pad_files``."""
    with (
        _targets(output, mask_output) as targets,
        _writing(targets, batch.layout, len(batch.tokens)) as add,
    ):
        add(batch)


def _parts(files: SequenceFiles, layout: Layout, progress: Progress) -> Iterator[PaddedBatch]:
    """Yield the batch as its sequences are read."""
    for chunk in files.chunks(partial(pad_in_parts, layout=layout), progress):
        yield from chunk.made


def _check_tokens(files: SequenceFiles, rows: int, tokens: int) -> None:
    if not tokens:
        raise make_only_empty_error(files.sources, rows)


@contextlib.contextmanager
def _targets(output: str | None, mask_output: str | None) -> Iterator[list[tuple[BinaryIO, Writer]]]:
    """Yield the files that are written, with what writes each; they take their places when all is written."""
    with contextlib.ExitStack() as stack:
        targets: list[tuple[BinaryIO, Writer]] = []
        if output is not None:
            writer = _entry(output).writer
            assert writer is not None  # noqa: S101 - of a format that is written
            targets.append((stack.enter_context(replacing(output)), writer))
        if mask_output is not None:
            targets.append((stack.enter_context(replacing(mask_output)), open_mask_writer))
        yield targets


@contextlib.contextmanager
def _writing(targets: Iterable[tuple[BinaryIO, Writer]], layout: Layout, rows: int | None) -> Iterator[Add]:
    """Yield what writes a part of a batch to all targets; ``rows`` are those of the batch, where that is known."""
    with contextlib.ExitStack() as stack:
        adds = [stack.enter_context(writer(out, layout, rows)) for out, writer in targets]

        def add(part: PaddedBatch) -> None:
            for each in adds:
                each(part)

        yield add


def _entry(output: str) -> Format:
    return WRITABLE[Path(output).suffix.lower()]


@contextlib.contextmanager
def _aside(beside: str) -> Iterator[_Aside]:
    """Yield a place for sequences: memory, or a file without a name in the folder of ``beside``, which has the room."""
    import tempfile

    with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(Path(beside).resolve().parent)) as file:
        yield _Aside(file)


class _Aside:
    """Sequences set aside, in the order they came.

    Attributes:
        rows: how many sequences there are.
        tokens: how many tokens they have.
        longest: how many the longest has.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.rows = self.tokens = self.longest = 0
        self._file = file
        self._parts: list[tuple[int, int, np.dtype[np.integer]]] = []

    def add(self, ragged: RaggedSequences) -> None:
        lengths = ragged.lengths
        self._file.write(np.ascontiguousarray(ragged.values).data)
        self._file.write(lengths.astype(np.int64, copy=False).data)
        self._parts.append((len(ragged.values), len(lengths), ragged.values.dtype))
        self.rows += len(lengths)
        self.tokens += len(ragged.values)
        self.longest = max(self.longest, int(lengths.max(initial=0)))

    def padded(self, layout: Layout, progress: Progress) -> Iterator[PaddedBatch]:
        """Yield them padded by a layout with ``maxlen``."""
        read = 0
        for ragged, parts in map_in_order(partial(pad_in_parts, layout=layout), self._read()):
            yield from parts
            read += len(ragged.values)
            progress(read / self.tokens)

    def _read(self) -> Iterator[RaggedSequences]:
        self._file.seek(0)
        for tokens, rows, dtype in self._parts:
            values = np.frombuffer(self._file.read(tokens * dtype.itemsize), dtype)
            splits = np.zeros(rows + 1, np.int64)
            np.cumsum(np.frombuffer(self._file.read(rows * 8), np.int64), out=splits[1:])
            yield RaggedSequences(values, splits)


class _Noted:
    """What was written: how much, and some rows at either end."""

    def __init__(self, layout: Layout, shown: int) -> None:
        self.rows = self.tokens = self.truncated = 0
        self._layout, self._shown = layout, shown
        self._first = self._last = _none(layout)

    def add(self, part: PaddedBatch) -> None:
        self.rows += len(part.tokens)
        self.tokens += int(part.lengths.sum()) - part.truncated_tokens
        self.truncated += part.truncated_tokens
        if len(self._first.tokens) < self._shown:
            self._first = take_first_rows(join_batches([self._first, take_first_rows(part, self._shown)]), self._shown)
        self._last = take_last_rows(join_batches([self._last, take_last_rows(part, self._shown)]), self._shown)

    def excerpt(self) -> Excerpt:
        maxlen = self._first.tokens.shape[1]
        return Excerpt((self.rows, maxlen), self._layout, self.tokens, self.truncated, self._first, self._last)


def _none(layout: Layout) -> PaddedBatch:
    """Return a batch without rows."""
    shape = (0, layout.maxlen or 0)
    return PaddedBatch(np.zeros(shape, layout.dtype), np.zeros(shape, bool), np.zeros(0, np.int64), layout, 0)
