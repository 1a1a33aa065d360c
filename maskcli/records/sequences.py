"""Ragged sequences and padded batches."""

from __future__ import annotations

import dataclasses

import numpy as np

from maskcli.records.arrays import Bools, Ints
from maskcli.records.html import HtmlRecord
from maskcli.records.options import PaddingOptions, option


@dataclasses.dataclass(frozen=True, eq=False)
class RaggedSequences:
    """Sequences of different lengths, end to end.

    Attributes:
        values: ``(n_tokens,)`` integers, the token ids of all sequences.
        row_splits: ``(n_sequences + 1,)`` integers; sequence ``i`` is ``values[row_splits[i]:row_splits[i + 1]]``.
    """

    values: Ints
    row_splits: Ints

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.row_splits) - 1

    @property
    def lengths(self) -> Ints:
        """``(n_sequences,)``: the timesteps of each sequence."""
        return np.diff(self.row_splits)

    def __getitem__(self, row: int) -> Ints:
        """Return the token ids of sequence ``row``."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"sequence {row} of {len(self)}")
        row %= len(self)
        return self.values[self.row_splits[row] : self.row_splits[row + 1]]

    def place(self, index: int) -> tuple[int, int]:
        """Return the sequence that ``values[index]`` belongs to, and its position there."""
        row = int(np.searchsorted(self.row_splits, index, side="right")) - 1
        return row, index - int(self.row_splits[row])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout(PaddingOptions):
    """The layout of ragged sequences as a matrix.

    A file that contains a mask sets ``trim`` to False: its mask already marks the padding of each row.
    """

    trim: bool = option(True, "Treat runs of the padding id at either end of a row as padding.", only_python=True)


@dataclasses.dataclass(frozen=True, eq=False)
class PaddedBatch(HtmlRecord):
    """A padded batch.

    Attributes:
        tokens: ``(n_sequences, maxlen)`` of ``layout.dtype``.
        mask: ``(n_sequences, maxlen)`` booleans, True where a token of the sequence stands: validity told by the
            lengths, not what any model was told.
        lengths: ``(n_sequences,)`` timesteps of each sequence before it was truncated or padded.
        layout: how it was padded; ``layout.maxlen`` is a number here.
        truncated_tokens: how many tokens did not fit.
    """

    tokens: Ints
    mask: Bools
    lengths: Ints
    layout: Layout
    truncated_tokens: int


@dataclasses.dataclass(frozen=True, eq=False)
class Excerpt:
    """A padded batch as far as a table shows it; the batch may be larger than memory.

    Attributes:
        shape: ``(n_sequences, maxlen)`` of the whole.
        layout: how it was padded.
        tokens: how many of it are tokens of sequences.
        truncated_tokens: how many did not fit.
        first: some rows at the start.
        last: some rows at the end; what ``first`` leaves out, where the two together are all.
    """

    shape: tuple[int, int]
    layout: Layout
    tokens: int
    truncated_tokens: int
    first: PaddedBatch
    last: PaddedBatch

    def row(self, index: int) -> tuple[Ints, Bools, int]:
        """Return tokens and mask ``(maxlen,)`` of a row that it has, and its length before padding."""
        part, at = self.first, index
        if index >= len(part.tokens):
            part, at = self.last, index - self.shape[0]
        return part.tokens[at], part.mask[at], int(part.lengths[at])
