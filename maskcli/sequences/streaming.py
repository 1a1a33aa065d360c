"""Files of any size to a padded batch in a file, in as much memory as a few blocks take.

Without ``maxlen`` the files are read twice: once for the longest sequence, and once to pad.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from maskcli.errors import InputError
from maskcli.records import Excerpt, Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.files import WRITABLE, only_empty, read_chunks, told
from maskcli.sequences.formats.base import Add, Chunk, Field, Format
from maskcli.sequences.formats.numpy_arrays import npy_writer
from maskcli.sequences.padding import check_layout, first_rows, joined, last_rows, pad_in_parts
from maskcli.sequences.sources import Source
from maskcli.sequences.writing import replacing

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Is told how many bytes were read, of how many."""


@dataclasses.dataclass(frozen=True)
class Files:
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
        return all(told(source, self.input_format)[1] for source in self.sources)

    @functools.cached_property
    def size(self) -> int:
        """Bytes of all of them, packed as they are."""
        return sum(source.size for source in self.sources)

    def chunks(self, made: Callable[[RaggedSequences], T], done: Callable[[int], None]) -> Iterator[Chunk[T]]:
        """Yield what ``made`` makes of their sequences, in order; ``done`` is told how many bytes were read."""
        before = 0
        for source in self.sources:
            for chunk in read_chunks(source, self.input_format, Field(self.field), made):
                yield chunk
                done(before + source.place)
            before += source.size
            done(before)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many sequences there are, how many tokens they have, and how many the longest has."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0

    @classmethod
    def of(cls, ragged: RaggedSequences) -> Sizes:
        """Return the sizes of sequences in memory."""
        return cls(len(ragged), len(ragged.values), int(ragged.lengths.max(initial=0)))

    def and_(self, other: Sizes) -> Sizes:
        """Return those of both together."""
        return Sizes(self.rows + other.rows, self.tokens + other.tokens, max(self.longest, other.longest))


def pad_files(
    files: Files,
    layout: Layout,
    output: str | None,
    mask_output: str | None = None,
    shown: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> Excerpt:
    """Pad the sequences of files into files; return ``shown`` rows of the start and of the end, and what there is.

    Args:
        files: to be read in chunks.
        layout: how they are padded; without ``maxlen``, to the longest.
        output: a path whose suffix is one of ``WRITABLE``.
        mask_output: an ``.npy`` for the mask.
        shown: rows.
        progress: is told of what was read.

    Raises:
        InputError: for what cannot be read, padded or written; nothing is written then.
    """
    layout = check_layout(layout)
    twice = layout.maxlen is None or (output is not None and _entry(output).needs_rows)
    total = (1 + twice) * files.size
    sizes = _sizes(files, lambda done: progress(done, total)) if twice else None
    if layout.maxlen is None and sizes is not None:
        layout = dataclasses.replace(layout, maxlen=sizes.longest)
    noted = _Noted(layout, shown)
    with written(output, mask_output, layout, None if sizes is None else sizes.rows) as add:
        made = partial(pad_in_parts, layout=layout)
        for chunk in files.chunks(made, lambda done: progress(total - files.size + done, total)):
            for part in chunk.made:
                add(part)
                noted.add(part)
        _check_tokens(files, noted.rows, noted.tokens + noted.truncated)
        if sizes is not None and sizes != Sizes(noted.rows, noted.tokens + noted.truncated, noted.longest):
            raise _changed(files)
    return noted.excerpt()


def _sizes(files: Files, done: Callable[[int], None]) -> Sizes:
    sizes = Sizes()
    for chunk in files.chunks(Sizes.of, done):
        sizes = sizes.and_(chunk.made)
    _check_tokens(files, sizes.rows, sizes.tokens)
    return sizes


def _check_tokens(files: Files, rows: int, tokens: int) -> None:
    if not tokens:
        raise only_empty(files.sources, rows)


def _changed(files: Files) -> InputError:
    return InputError(
        where=", ".join(source.name for source in files.sources[:3]),
        expected="the same sequences when read again, to be padded",
        received="others",
        fix="Pad files that nobody writes to.",
    )


@contextlib.contextmanager
def written(
    output: str | None, mask_output: str | None, layout: Layout, rows: int | None = None
) -> Iterator[Callable[[PaddedBatch], None]]:
    """Yield what writes parts of a batch to files, which take their places when all is written.

    Args:
        output: a path whose suffix is one of ``WRITABLE``, for the batch.
        mask_output: a path for the mask, as an ``.npy``.
        layout: of the batch, with ``maxlen``.
        rows: of the batch, where that is known.

    Raises:
        InputError: when a file cannot be written; nothing is left of it then.
    """
    with contextlib.ExitStack() as stack:
        adds: list[Add] = []
        if output is not None:
            writer, out = _entry(output).writer, stack.enter_context(replacing(output))
            adds.append(stack.enter_context(writer(out, layout, rows)))  # type: ignore[misc]
        if mask_output is not None:
            mask = stack.enter_context(replacing(mask_output))
            adds.append(stack.enter_context(npy_writer(mask, layout, rows, "mask")))

        def add(part: PaddedBatch) -> None:
            for each in adds:
                each(part)

        yield add


def _entry(output: str) -> Format:
    return WRITABLE[Path(output).suffix.lower()]


class _Noted:
    """What was written: how much, and some rows at either end."""

    def __init__(self, layout: Layout, shown: int) -> None:
        self.rows = self.tokens = self.truncated = self.longest = 0
        self._layout, self._shown = layout, shown
        self._first = self._last = _none(layout)

    def add(self, part: PaddedBatch) -> None:
        self.rows += len(part.tokens)
        self.tokens += int(np.minimum(part.lengths, part.tokens.shape[1]).sum())
        self.truncated += part.truncated_tokens
        self.longest = max(self.longest, int(part.lengths.max(initial=0)))
        if len(self._first.tokens) < self._shown:
            self._first = first_rows(joined([self._first, first_rows(part, self._shown)]), self._shown)
        self._last = last_rows(joined([self._last, last_rows(part, self._shown)]), self._shown)

    def excerpt(self) -> Excerpt:
        maxlen = self._first.tokens.shape[1]
        return Excerpt((self.rows, maxlen), self._layout, self.tokens, self.truncated, self._first, self._last)


def _none(layout: Layout) -> PaddedBatch:
    """Return a batch without rows."""
    shape = (0, layout.maxlen or 0)
    return PaddedBatch(np.zeros(shape, layout.dtype), np.zeros(shape, bool), np.zeros(0, np.int64), layout, 0)
