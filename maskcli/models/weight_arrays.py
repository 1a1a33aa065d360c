"""The weights of a model as plain arrays, so that another model, also on another backend, can take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.errors import ModelError
from maskcli.records.arrays import Array


def read_weight_arrays(model: Any) -> list[tuple[str, Array]]:
    """Return the name and the value of each weight, in order; seeds and states of metrics are no weights."""
    return [(str(weight.path), _read_array(weight)) for weight in model.weights]


def _read_array(weight: Any) -> Array:
    array: Array = as_array(weight.value)
    # NumPy itself does not know bfloat16, whose numbers float32 contains.
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else np.array(array)


def assign_weight_arrays(model: Any, arrays: Sequence[Array], where: str) -> None:
    """Give a model weights of ``read_weight_arrays``.

    Raises:
        ModelError: if the model has other weights.
    """
    weights = list(model.weights)
    shapes = [tuple(weight.shape) for weight in weights]
    others = [array.shape for array in arrays]
    if shapes != others:
        differing = next((pair for pair in zip(shapes, others, strict=False) if pair[0] != pair[1]), None)
        received = f"{len(shapes)} weights" if differing is None else f"a weight of the shape {differing[0]}"
        expected = f"{len(others)} weights" if differing is None else f"a weight of the shape {differing[1]}"
        raise ModelError(
            where=where,
            expected=f"{expected}, as on the first side",
            received=received,
            fix="Build the same layers, in the same order.",
        )
    for weight, array in zip(weights, arrays, strict=True):
        weight.assign(array.astype(str(weight.dtype)) if weight.dtype != "bfloat16" else array)
