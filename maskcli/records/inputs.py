"""The inputs of a model: their shapes, and arrays for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Ints, Lengths, Mask, Tokens
from maskcli.records.fields import BatchShape, Count, Positive, Shape
from maskcli.records.options import Side, TokenDtype
from maskcli.records.sequences import PaddedBatch
from maskcli.records.validity import NO_SOURCE, Filling, InputKind, InputSummary, Validity


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """An input that a model declares.

    Attributes:
        name: the name of the input.
        shape: with the batch axis first; None is an axis of any length.
        dtype: the name of its dtype.
        is_mask: whether the model uses it as a mask, also if neither the name nor the dtype shows it.
        filling: the default of an input that the data lacks and that is not a mask; None if it has none.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    is_mask: bool = False
    filling: Filling | None = None

    def __str__(self) -> str:
        """Return ``tokens (any, any) int32``."""
        axes = ", ".join("any" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes}) {self.dtype}"


@dataclasses.dataclass(frozen=True, eq=False)
class ModelInput:
    """One array that a model is called with.

    Attributes:
        name: of the model's input, or of the data if the model names no inputs.
        values: ``(batch, ...)``; axis 1 is time unless ``valid`` is None.
        valid: ``(batch, timesteps)``, False at padding; None for an input without timesteps.
        kind: ``ids`` are integers ``(batch, timesteps)``; ``features`` have a vector for each timestep; ``mask`` is a
            mask that the model takes as an input, with True or 1 for valid; ``static`` has no timesteps.
        padding: the value of padding: an id, a number for features, 0 for a mask.
        validity: how it is known which timesteps are padding.
        cells: ``(batch, timesteps, ...)``, False at padding inside timesteps, such as that of words in sentences; a
            timestep is valid if any of its cells is. None where only whole timesteps are padding.
        auxiliary: whether these are segments, types, positions, categories or a constant, whose values are no evidence
            of padding.
        inverted: whether a mask is True or 1 at padding, as its data shows.
        column: the column of the data that feeds the input, where it was chosen by its order; None for others.
        time_axis: the axis of the model's array that is axis 1 of ``values``, such as 2 of ``(batch, channels, time)``.
    """

    name: str
    values: NDArray[Any]
    valid: Bools | None
    kind: InputKind
    padding: int | float = 0
    validity: Validity = NO_SOURCE
    cells: Bools | None = None
    auxiliary: bool = False
    inverted: bool = False
    column: str | None = None
    time_axis: int = 1

    @property
    def array(self) -> NDArray[Any]:
        """The array that the model is called with, whose axes may have another order than those of ``values``."""
        return np.moveaxis(self.values, 1, self.time_axis) if self.time_axis > 1 else self.values

    @property
    def lengths(self) -> Ints | None:
        """``(batch,)``: valid timesteps of each row; None without timesteps."""
        return None if self.valid is None else self.valid.sum(axis=1)

    @property
    def padding_id(self) -> int:
        """The value of padding in an input of ids."""
        return int(self.padding)

    @property
    def counts_up(self) -> bool:
        """Whether every row is the same run of integers, such as the positions of timesteps."""
        values = self.values
        if values.ndim != 2 or values.dtype.kind not in "iu" or values.shape[1] < 2:
            return False
        return bool((values == values[0, 0] + np.arange(values.shape[1])).all())

    @property
    def is_square(self) -> bool:
        """Whether the features of a timestep are those of its pairs with all timesteps, as in an adjacency matrix."""
        values, valid = self.values, self.valid
        if self.kind != "features" or valid is None or values.ndim not in (3, 4) or valid.all():
            return False
        if values.shape[1] != values.shape[2] or valid.ndim != 2:
            return False
        return bool((np.swapaxes(values, 1, 2)[~valid] == self.padding).all())

    @property
    def shape(self) -> Shape:
        """The shape of the values."""
        return self.values.shape

    @property
    def dtype(self) -> str:
        """The dtype of the array."""
        return str(self.values.dtype)

    @property
    def padded_timesteps(self) -> Count | None:
        """The number of padded timesteps; None without timesteps."""
        return None if self.valid is None else int((~self.valid).sum())

    @property
    def padded_places(self) -> Count | None:
        """The number of padded places in valid timesteps, such as after the words of sentences; None without places."""
        if self.cells is None or self.valid is None:
            return None
        padded = ~self.cells.reshape(*self.valid.shape, -1)
        return int(padded[self.valid].sum())

    @property
    def has_padding(self) -> bool:
        """Whether there is padding, of timesteps or inside them."""
        return bool(self.padded_timesteps or self.padded_places)


def summarize_inputs(inputs: Sequence[ModelInput]) -> tuple[InputSummary, ...]:
    """Return the inputs without their values."""
    return tuple(
        InputSummary(
            entry.name,
            entry.kind,
            entry.array.shape,
            entry.dtype,
            entry.padded_timesteps,
            entry.validity,
            entry.column,
            entry.padded_places,
            entry.time_axis,
        )
        for entry in inputs
    )


def is_same_validity(first: Bools | None, second: Bools | None) -> bool:
    """Return whether two validities are equal; None is that of an input without timesteps."""
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def find_primary(inputs: Sequence[ModelInput]) -> ModelInput | None:
    """Return the input whose timesteps are shown: the first of ids, otherwise of features; None without timesteps.

    Segments, positions and the like are only shown if there is nothing else.
    """
    candidates = [entry for entry in inputs if entry.valid is not None and entry.kind != "mask"]
    return min(candidates, key=lambda entry: (entry.auxiliary, entry.kind != "ids"), default=None)


@dataclasses.dataclass(frozen=True, eq=False)
class ShownBatch:
    """The timesteps of the primary input; the fields about padding are None if maskcli did not pad it.

    Attributes:
        shape: ``[batch, timesteps]``.
        padding: the end of a row that was padded.
        truncating: the end of a row that was cut.
        maxlen: timesteps of each row.
        value: the padding id.
        dtype: of the tokens.
        lengths: timesteps of each sequence before truncation and padding; valid timesteps if maskcli did not pad.
        truncated_tokens: the number of tokens that truncation removed.
        tokens: ``(batch, timesteps)``; None for features, which have a vector for each timestep.
        valid: ``(batch, timesteps)``, False at padding that maskcli added, and at runs of the padding value at either
            end of a row.
    """

    shape: BatchShape
    padding: Side | None
    truncating: Side | None
    maxlen: Positive | None
    value: int | None
    dtype: TokenDtype | None
    lengths: Lengths
    truncated_tokens: Count | None
    tokens: Tokens | None
    valid: Mask


def select_shown_batch(inputs: Sequence[ModelInput], batch: PaddedBatch | None) -> ShownBatch | None:
    """Return the timesteps of the primary input; None without timesteps.

    Args:
        inputs: all inputs of the model.
        batch: the sequences that maskcli padded; None if the data came as arrays.
    """
    primary = find_primary(inputs)
    if primary is None or primary.valid is None or primary.lengths is None:
        return None
    rows, timesteps = primary.valid.shape
    tokens = primary.values if primary.kind == "ids" else None
    if batch is None or batch.tokens.shape != primary.values.shape:
        return ShownBatch((rows, timesteps), None, None, None, None, None, primary.lengths, None, tokens, primary.valid)
    return ShownBatch(
        (rows, timesteps),
        batch.layout.padding,
        batch.layout.truncating,
        batch.layout.maxlen,
        batch.layout.padding_id,
        batch.layout.dtype,
        batch.lengths,
        batch.truncated_tokens,
        tokens,
        primary.valid,
    )
