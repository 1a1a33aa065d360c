"""Pad files of any size into files, with memory for only a few blocks.

Without ``maxlen``, values are spooled to a temporary file until the longest sequence is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

import numpy as np

from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.layout import Layout
from maskcli.records.sequences import Excerpt, PaddedBatch, RaggedSequences
from maskcli.sequences.files import detect_format, make_only_empty_error, read_all
from maskcli.sequences.formats.base import Add, Chunk, Field, Format, Writer
from maskcli.sequences.formats.numpy_arrays import open_mask_writer
from maskcli.sequences.padding import (
    check_fitting_values,
    check_layout,
    join_batches,
    pad_in_parts,
    resolve_maxlen,
    take_first_rows,
    take_last_rows,
)
from maskcli.sequences.ragged import find_common_marks
from maskcli.sequences.sources import Source
from maskcli.sequences.splits import make_row_splits
from maskcli.sequences.stdout import STDOUT
from maskcli.sequences.threads import map_in_order
from maskcli.sequences.writing import open_packed, replace_file

T = TypeVar("T")
IN_MEMORY = 2**24
"""Bytes of spooled sequences that are kept in memory; with more, all go to a file in the output's directory."""
Progress = Callable[[float], None]
"""Receives the completed share of the work, from 0 to 1."""


@dataclasses.dataclass(frozen=True)
class SequenceFiles:
    """Files of sequences that are read in chunks.

    Attributes:
        sources: the files.
        input_format: a name of ``FORMATS``, or ``auto``.
        field: the field with the sequences; None selects the only suitable one.
        origin: the files, for results.
    """

    sources: tuple[Source, ...]
    input_format: str = "auto"
    field: str | None = None
    origin: DataOrigin = FROM_PYTHON

    @property
    def in_chunks(self) -> bool:
        """Whether all files can be read in chunks; raises InputError for a file that cannot be read at all."""
        return all(detect_format(source, self.input_format)[1] for source in self.sources)

    @property
    def layout(self) -> Layout | None:
        """How the rows are padded according to the files; None if the files differ or do not record it."""
        formats = [detect_format(source, self.input_format)[0] for source in self.sources]
        pairs = zip(formats, self.sources, strict=True)
        layouts = {None if entry.read_layout is None else entry.read_layout(source) for entry, source in pairs}
        return layouts.pop() if len(layouts) == 1 else None

    def chunks(self, convert: Callable[[RaggedSequences], T], progress: Progress) -> Iterator[Chunk[T]]:
        """Yield the results of ``convert`` for the chunks of all files, in order."""
        for chunk, share in read_all(self.sources, self.input_format, Field(self.field), convert):
            yield chunk
            progress(share)


@dataclasses.dataclass(frozen=True)
class BatchFile:
    """A file, or standard output, that a batch is written to.

    Attributes:
        path: with a suffix of a compression, the file is compressed; ``-`` is standard output.
        entry: its format, which has a writer.
        packs: whether the format itself compresses the batch.
    """

    path: str
    entry: Format
    packs: bool = False

    @property
    def writer(self) -> Writer:
        """The writer of the format."""
        writer = self.entry.packing_writer if self.packs else self.entry.writer
        assert writer is not None  # noqa: S101 - the command offers no other formats
        return writer

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Yield the file, which replaces its target when the context ends."""
        with replace_file(self.path) as raw, open_packed(raw, self.path) as out:
            yield out


def pad_files(
    files: SequenceFiles,
    layout: Layout,
    output: BatchFile | None,
    mask_output: str | None = None,
    excerpt_rows: int = 0,
    progress: Progress = lambda _share: None,
) -> Excerpt:
    """Pad the sequences of files into files, and return an excerpt of the batch.

    Args:
        files: the sequences.
        layout: how they are padded; without ``maxlen``, to the longest.
        output: the file for the tokens.
        mask_output: an ``.npy`` for the mask.
        excerpt_rows: rows of the excerpt at the start, and also at the end, of the batch.
        progress: receives the completed share; spooling and padding count as a half each.

    Raises:
        InputError: for files that cannot be read, padded or written; then no output file is changed.
    """
    layout, rows = check_layout(layout), None
    near = mask_output if output is None or output.path == STDOUT else output.path
    with _open_outputs(output, mask_output) as outputs, _open_spill_file(near) as spill:
        if layout.maxlen is not None and not (output and output.entry.needs_rows):
            parts = _pad_chunks(files, layout, progress)
        else:
            for chunk in files.chunks(partial(check_fitting_values, layout=layout), lambda share: progress(share / 2)):
                spill.add(chunk.result)
            _check_tokens(files, spill.rows, spill.tokens)
            layout, rows = resolve_maxlen(layout, spill.longest), spill.rows
            parts = spill.pad_all(layout, lambda share: progress((1 + share) / 2))
        summary = _BatchSummary(layout, excerpt_rows)
        with _open_writers(outputs, layout, rows) as add:
            for part in parts:
                add(part)
                summary.add(part)
        _check_tokens(files, summary.rows, summary.tokens + summary.truncated)
    return dataclasses.replace(summary.make_excerpt(), origin=files.origin)


def write_batch(batch: PaddedBatch, output: BatchFile | None, mask_output: str | None) -> None:
    """Write a batch, and its mask, to files; see ``pad_files``."""
    if output is not None and output.entry.write_features is not None and batch.features:
        with output.open() as out, _open_outputs(None, mask_output) as outputs:
            output.entry.write_features(out, batch, output.packs)
            with _open_writers(outputs, batch.layout, len(batch.tokens)) as add:
                add(batch)
        return
    with (
        _open_outputs(output, mask_output) as outputs,
        _open_writers(outputs, batch.layout, len(batch.tokens)) as add,
    ):
        add(batch)


def _pad_chunks(files: SequenceFiles, layout: Layout, progress: Progress) -> Iterator[PaddedBatch]:
    """Yield the parts of the batch while the files are read."""
    for chunk in files.chunks(partial(pad_in_parts, layout=layout), progress):
        yield from chunk.result


def _check_tokens(files: SequenceFiles, rows: int, tokens: int) -> None:
    if not tokens:
        raise make_only_empty_error(files.sources, rows)


@contextlib.contextmanager
def _open_outputs(output: BatchFile | None, mask_output: str | None) -> Iterator[list[tuple[BinaryIO, Writer]]]:
    """Yield the output files and their writers; the files replace their targets when the context ends."""
    with contextlib.ExitStack() as stack:
        outputs: list[tuple[BinaryIO, Writer]] = []
        if output is not None:
            outputs.append((stack.enter_context(output.open()), output.writer))
        if mask_output is not None:
            outputs.append((stack.enter_context(replace_file(mask_output)), open_mask_writer))
        yield outputs


@contextlib.contextmanager
def _open_writers(outputs: Iterable[tuple[BinaryIO, Writer]], layout: Layout, rows: int | None) -> Iterator[Add]:
    """Yield a function that writes a part of a batch to all outputs; ``rows`` of the batch is None if unknown."""
    with contextlib.ExitStack() as stack:
        adds = [stack.enter_context(writer(out, layout, rows)) for out, writer in outputs]

        def add_to_all(part: PaddedBatch) -> None:
            for add in adds:
                add(part)

        yield add_to_all


@contextlib.contextmanager
def _open_spill_file(output: str | None) -> Iterator[_SpillFile]:
    """Yield a temporary file for sequences, in the directory of ``output``, which has room for them."""
    import tempfile

    folder = None if output is None else str(Path(output).resolve().parent)
    with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder) as file:
        yield _SpillFile(file)


class _SpillFile:
    """Sequences in a temporary file, in order.

    Attributes:
        rows: the number of sequences.
        tokens: the number of their tokens.
        longest: tokens of the longest sequence.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.rows = self.tokens = self.longest = 0
        self._file = file
        self._parts: list[tuple[int, int, np.dtype[np.integer], str | None]] = []

    def add(self, ragged: RaggedSequences) -> None:
        """Append sequences: their values in their own dtype, then their lengths in int64."""
        lengths = ragged.lengths
        self._file.write(np.ascontiguousarray(ragged.values).data)
        self._file.write(lengths.astype(np.int64, copy=False).data)
        self._parts.append((len(ragged.values), len(lengths), ragged.values.dtype, ragged.marked_by))
        self.rows += len(lengths)
        self.tokens += len(ragged.values)
        self.longest = max(self.longest, int(lengths.max(initial=0)))

    def pad_all(self, layout: Layout, progress: Progress) -> Iterator[PaddedBatch]:
        """Yield all sequences padded by a layout with ``maxlen``, in parts."""
        n_tokens = 0
        for ragged, parts in map_in_order(partial(pad_in_parts, layout=layout), self._read_all()):
            yield from parts
            n_tokens += len(ragged.values)
            progress(n_tokens / self.tokens)

    def _read_all(self) -> Iterator[RaggedSequences]:
        self._file.seek(0)
        for tokens, rows, dtype, marked_by in self._parts:
            values = np.frombuffer(self._file.read(tokens * dtype.itemsize), dtype)
            lengths = np.frombuffer(self._file.read(rows * np.dtype(np.int64).itemsize), np.int64)
            yield RaggedSequences(values, make_row_splits(lengths), marked_by)


class _BatchSummary:
    """The size of a batch that is written in parts, and some rows at its start and its end.

    Attributes:
        rows: the number of rows so far.
        tokens: the number of tokens in them.
        truncated: the number of tokens that did not fit.
        truncated_sequences: the number of sequences that lost some of them.
    """

    def __init__(self, layout: Layout, excerpt_rows: int) -> None:
        self.rows = self.tokens = self.truncated = self.truncated_sequences = 0
        self._layout, self._excerpt_rows = layout, excerpt_rows
        self._marks: set[str | None] = set()
        shape = (0, layout.maxlen or 0)
        empty = PaddedBatch(np.zeros(shape, layout.dtype), np.zeros(shape, bool), np.zeros(0, np.int64), layout, 0)
        self._first = self._last = empty

    def add(self, part: PaddedBatch) -> None:
        """Count a part, and keep its rows that belong to the excerpt."""
        size = self._excerpt_rows
        self._marks.add(part.marked_by)
        self.rows += len(part.tokens)
        self.tokens += int(part.lengths.sum()) - part.truncated_tokens
        self.truncated += part.truncated_tokens
        self.truncated_sequences += part.truncated_sequences
        if len(self._first.tokens) < size:
            self._first = take_first_rows(join_batches([self._first, take_first_rows(part, size)]), size)
        self._last = take_last_rows(join_batches([self._last, take_last_rows(part, size)]), size)

    def make_excerpt(self) -> Excerpt:
        """Return the excerpt of all parts."""
        maxlen = self._first.tokens.shape[1]
        cut = self.truncated, self.truncated_sequences
        marked_by = find_common_marks(self._marks)
        shape, ends = (self.rows, maxlen), (self._first, self._last)
        return Excerpt(shape, self._layout, self.tokens, *cut, *ends, marked_by=marked_by)
