"""The inputs of a model: their shapes, and arrays for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Ints


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What a model says of one of its inputs.

    Attributes:
        name: the name of the input.
        shape: with the batch axis first; None is an axis of any length.
        dtype: the name of its dtype.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        """Return ``tokens (any, any) int32``."""
        axes = ", ".join("any" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes}) {self.dtype}"


@dataclasses.dataclass(frozen=True, eq=False)
class ModelInput:
    """One array that a model is called with.

    Attributes:
        name: of the model's input, or of the data where the model names none.
        values: ``(batch, ...)``; axis 1 is time unless ``valid`` is None.
        valid: ``(batch, timesteps)``, False at padding; None for an input without timesteps.
        kind: ``ids`` are integers ``(batch, timesteps)``; ``features`` have a vector a timestep; ``mask`` is a mask
            that the model takes as an input, with True or 1 for valid; ``static`` has no timesteps.
        padding: what padding is made of: an id, 0 for features, False or 0 for a mask.
    """

    name: str
    values: NDArray[Any]
    valid: Bools | None
    kind: Literal["ids", "features", "mask", "static"]
    padding: int = 0

    @property
    def lengths(self) -> Ints | None:
        """``(batch,)``: valid timesteps of each row; None without timesteps."""
        return None if self.valid is None else self.valid.sum(axis=1)

    @property
    def counts_up(self) -> bool:
        """Whether every row is the same run of integers, as the positions of timesteps are."""
        values = self.values
        if values.ndim != 2 or values.dtype.kind not in "iu" or values.shape[1] < 2:
            return False
        return bool((values == values[0, 0] + np.arange(values.shape[1])).all())


def find_primary(inputs: Sequence[ModelInput]) -> ModelInput | None:
    """Return the input that timesteps are shown of: the first of ids, or else of features; None without timesteps."""
    timed = [given for given in inputs if given.valid is not None and given.kind != "mask"]
    return next((given for given in timed if given.kind == "ids"), timed[0] if timed else None)
