"""Padding inside timesteps, such as after the words of sentences: timesteps as rows of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.recorder import CallRecord

MOST_TIMESTEPS = 16
"""Timesteps with padding inside that are run as rows of their own, at most."""


def isolate_timesteps(inputs: Sequence[ModelInput], relevant: Bools, copies: int = 1) -> tuple[ModelInput, ...] | None:
    """Return rows of a timestep each, such as documents of one sentence; None if no timestep has padding inside.

    Each row repeats its timestep, where ``copies`` is not 1: a convolution needs as many as its window has.

    Of many timesteps, ``MOST_TIMESTEPS`` are chosen, with as many different lengths as there are.
    """
    first = next((model_input for model_input in inputs if model_input.cells is not None), None)
    if first is None or first.valid is None or first.cells is None:
        return None
    if any(other.valid is not None and other.valid.shape != first.valid.shape for other in inputs):
        return None
    rows, timesteps = _choose_timesteps(first.cells, first.valid & relevant[:, None])
    if not len(rows) or first.cells[rows, timesteps].all():
        return None
    return tuple(_take_timesteps(model_input, rows, timesteps, copies) for model_input in inputs)


def _take_timesteps(
    model_input: ModelInput, rows: NDArray[np.intp], timesteps: NDArray[np.intp], copies: int
) -> ModelInput:
    """Return timesteps of rows as rows of copies of it; whole rows of an input without validity."""
    if model_input.valid is None:
        return dataclasses.replace(model_input, values=model_input.values[rows])

    def take(values: NDArray[Any]) -> NDArray[Any]:
        return values[rows, timesteps][:, None].repeat(copies, axis=1)

    return dataclasses.replace(
        model_input,
        values=take(model_input.values),
        valid=take(model_input.valid),
        cells=None if model_input.cells is None else take(model_input.cells),
    )


def take_places(model_input: ModelInput, relevant: Bools) -> ModelInput | None:
    """Return timesteps with padding inside as rows of their places; None if there are none, or places have places."""
    cells, valid = model_input.cells, model_input.valid
    if (
        not model_input.padded_places
        or cells is None
        or valid is None
        or cells.ndim != 3
        or model_input.values.ndim != 3
    ):
        return None
    chosen = _choose_timesteps(cells, valid & relevant[:, None])
    return dataclasses.replace(model_input, values=model_input.values[chosen], valid=cells[chosen], cells=None)


def _choose_timesteps(cells: Bools, valid: Bools) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and timesteps of at most ``MOST_TIMESTEPS`` valid timesteps, of as many lengths as there are."""
    rows, timesteps = np.nonzero(valid)
    lengths = cells[rows, timesteps].reshape(len(rows), -1).sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_TIMESTEPS, len(order))).astype(int))]
    return rows[chosen], timesteps[chosen]


def get_wrapped_model(entry: CallRecord) -> Any | None:
    """Return the model inside of a ``TimeDistributed``; None for other calls."""
    import keras

    inner = entry.operation.layer if isinstance(entry.operation, keras.layers.TimeDistributed) else None
    return inner if isinstance(inner, keras.Model) else None
