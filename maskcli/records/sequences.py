"""Ragged sequences and padded batches."""

from __future__ import annotations

import dataclasses

import numpy as np

from maskcli.records.arrays import Bools, Ints, Lengths, Mask, TokensOrFeatures
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.fields import BatchShape, Count, Positive
from maskcli.records.layout import Layout
from maskcli.records.result import ResultRecord
from maskcli.records.validity import InputSummary, Validity


@dataclasses.dataclass(frozen=True, eq=False)
class RaggedSequences:
    """Sequences of different lengths, stored end to end.

    Attributes:
        values: ``(n_tokens,)`` integers, the token ids of all sequences.
        row_splits: ``(n_sequences + 1,)`` integers; sequence ``i`` is ``values[row_splits[i]:row_splits[i + 1]]``.
        marked_by: the name of the marks in the data by which all padding was removed; None without marks.
    """

    values: Ints
    row_splits: Ints
    marked_by: str | None = None

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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PaddedBatch(ResultRecord):
    """A padded batch. Fields may be added; existing fields keep their names and meanings.

    Attributes:
        tokens: ``(n_sequences, maxlen)`` of ``layout.dtype``; of features ``(n_sequences, maxlen, ...)``.
        mask: ``(n_sequences, maxlen)``, True at tokens: validity by the lengths, not the mask of a model.
        lengths: ``(n_sequences,)``, timesteps of each sequence before truncation and padding.
        layout: how it was padded; ``layout.maxlen`` is a number here.
        truncated_tokens: the number of tokens that truncation removed.
        origin: where the sequences come from.
        marked_by: the name of the marks in the data that show the padding; None without marks.
    """

    tokens: TokensOrFeatures
    mask: Mask
    lengths: Lengths
    layout: Layout
    truncated_tokens: Count
    origin: DataOrigin = FROM_PYTHON
    marked_by: str | None = None

    @property
    def data(self) -> DataOrigin:
        """Where the rows come from."""
        return self.origin.count(len(self.tokens))

    @property
    def truncated_sequences(self) -> Count:
        """The number of sequences that lost tokens to truncation."""
        return int((self.lengths > self.maxlen).sum())

    @property
    def shape(self) -> BatchShape:
        """``[n_sequences, maxlen]``."""
        rows, timesteps = self.tokens.shape[:2]
        return rows, timesteps

    @property
    def features(self) -> tuple[Count, ...]:
        """The shape of the features at a timestep; empty for ids."""
        return self.tokens.shape[2:]

    @property
    def likely_padding(self) -> float | None:
        """The number that fills the last timestep of several rows of features, none of which is padding; or None."""
        if not self.features or not self.mask.all():
            return None
        ends = self.tokens[:, -1].reshape(len(self.tokens), -1)
        values, counts = np.unique(ends[(ends == ends[:, :1]).all(axis=1), 0], return_counts=True)
        is_likely = len(counts) and 0 < counts.max() < len(ends) and ends.shape[1] > 1
        return float(values[counts.argmax()]) if is_likely else None

    @property
    def value(self) -> float:
        """The number at padding: an id, or for features any number."""
        return self.layout.value if self.features else self.layout.padding_id

    def summarize(self) -> str:
        """Return ``(3, 6) int32, padding post: 4 padded timesteps, 0 truncated tokens``."""
        padded = int(self.mask.size - self.mask.sum())
        about = f"{self.shape} {self.tokens.dtype}, padding {self.layout.padding}"
        return f"{about}: {padded:,} padded timesteps, {self.truncated_tokens:,} truncated tokens"

    @property
    def inputs(self) -> tuple[InputSummary, ...]:
        """The batch as the input of a model, with the source of its mask."""
        padded = int(self.mask.size - self.mask.sum())
        return (describe_batch(self.shape, self.layout, self.lengths, padded, self.features, self.marked_by),)

    @property
    def maxlen(self) -> Positive:
        """Timesteps of each row."""
        return int(self.tokens.shape[1])


def describe_batch(
    shape: BatchShape,
    layout: Layout,
    lengths: Ints,
    padded_timesteps: int,
    features: tuple[int, ...] = (),
    marked_by: str | None = None,
) -> InputSummary:
    """Return a padded batch as the input of a model, with the source of its mask.

    Rows of one length have no padding that their lengths could show.
    """
    is_marked = marked_by is not None or not layout.trim
    validity = Validity("given", marked_by or "mask") if is_marked else Validity("lengths")
    if not is_marked and not padded_timesteps and not have_lengths(lengths):
        validity = Validity()
    if features:
        return InputSummary("features", "features", (*shape, *features), layout.dtype, padded_timesteps, validity)
    return InputSummary("tokens", "ids", shape, layout.dtype, padded_timesteps, validity)


def have_lengths(lengths: Ints) -> bool:
    """Return whether rows differ in length, so that their lengths show which timesteps are padding."""
    return bool(len(lengths)) and bool((lengths != lengths[0]).any())


@dataclasses.dataclass(frozen=True, eq=False)
class Excerpt:
    """The rows of a padded batch that a table shows; the whole batch may not fit in memory.

    Attributes:
        shape: ``(n_sequences, maxlen)`` of the whole batch.
        layout: how it was padded.
        tokens: the number of tokens in the whole batch, without padding.
        truncated_tokens: the number of tokens that truncation removed.
        truncated_sequences: the number of sequences that lost tokens.
        first: the first rows.
        last: the last rows; rows of ``first`` are left out if the two together hold the whole batch.
        origin: where the sequences come from.
        marked_by: the name of the marks in the data that show the padding; None without marks.
    """

    shape: tuple[int, int]
    layout: Layout
    tokens: int
    truncated_tokens: int
    truncated_sequences: int
    first: PaddedBatch
    last: PaddedBatch
    origin: DataOrigin = FROM_PYTHON
    marked_by: str | None = None

    @property
    def data(self) -> DataOrigin:
        """Where the rows come from."""
        return self.origin.count(self.shape[0])

    @property
    def inputs(self) -> tuple[InputSummary, ...]:
        """The batch as the input of a model, with the source of its mask."""
        lengths = np.concatenate([self.first.lengths, self.last.lengths])
        padded = self.shape[0] * self.shape[1] - self.tokens
        return (describe_batch(self.shape, self.layout, lengths, padded, self.first.features, self.marked_by),)

    def find(self, index: int) -> tuple[PaddedBatch, int]:
        """Return the part with a row of the batch, and the index of the row in it."""
        if index < len(self.first.tokens):
            return self.first, index
        return self.last, index - self.shape[0]

    def row(self, index: int) -> tuple[Ints, Bools, int]:
        """Return tokens and mask ``(maxlen,)`` of a row of the excerpt, and its length before padding."""
        part, position = self.find(index)
        return part.tokens[position], part.mask[position], int(part.lengths[position])
