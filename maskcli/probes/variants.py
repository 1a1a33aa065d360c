"""Run a model in another way for a while: at any length, in float32, or with other weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Ints
from maskcli.tolerance import WEIGHT_NOISE, ZERO_NOISE, ZEROS
from maskcli.trace.state import preserve_state, read_value

HALF = ("float16", "bfloat16")
MOST_MOVED_WEIGHTS = 2_000_000
"""Numbers of a model all of whose weights are moved."""


@contextlib.contextmanager
def allow_any_length() -> Iterator[None]:
    """Let functional models take inputs of any length while this is open.

    A functional model compares its inputs with the shapes that it was built with. The calls in it compute with the
    shapes that they receive, unless a shape is an argument of theirs, as of ``Reshape``; these raise.
    """
    import keras

    # The class has a property, which also holds for models inside a model.
    functional = keras.src.models.Functional
    checked = vars(functional)["input_spec"]
    functional.input_spec = property(lambda _: None)
    try:
        yield
    finally:
        functional.input_spec = checked


SHAPES = ("n", "repeats", "target_shape", "newshape", "shape")
"""Attributes of layers and operations that hold a shape: of ``RepeatVector``, ``Repeat``, ``Reshape`` and the like."""


@contextlib.contextmanager
def resize_shapes(model: Any, timesteps: Mapping[int, int]) -> Iterator[None]:
    """Replace the number of timesteps in shapes that are arguments of calls while this is open.

    ``timesteps`` has the new number by the old one. A shape in which the old one occurs twice is left as it is.
    """
    before: list[tuple[Any, str, Any]] = []
    try:
        for operation in _list_operations(model):
            if not str(type(operation).call.__module__).startswith("keras."):  # A subclass may only keep the mask.
                continue
            for name in SHAPES:
                shape = vars(operation).get(name)
                if isinstance(shape, int) and type(operation).__name__ in ("RepeatVector", "Repeat"):
                    resized: Any = timesteps.get(shape, shape)
                elif isinstance(shape, (tuple, list)) and sum(size in timesteps for size in shape) == 1:
                    resized = tuple(timesteps.get(size, size) for size in shape)
                else:
                    continue
                before.append((operation, name, shape))
                setattr(operation, name, resized)
        yield
    finally:
        for operation, name, shape in reversed(before):
            setattr(operation, name, shape)


def _list_operations(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and the operations between them in functional models."""
    for layer in model._flatten_layers():
        yield layer
        yield from (operation for operation in getattr(layer, "_operations", ()) if operation is not layer)


def _list_inner_inputs(model: Any) -> Iterator[Any]:
    """Yield the symbolic inputs of the models inside of a model, which cast their inputs to the dtypes of these."""
    for layer in model._flatten_layers(include_self=False):
        yield from getattr(getattr(layer, "_functional", None) or layer, "_inputs", ())


def compute_in_float32(model: Any) -> contextlib.AbstractContextManager[None]:
    """Let the layers of a model of half precision compute in float32 while this is open."""
    return _compute_in(model, "float32", HALF)


def compute_in_float64(model: Any) -> contextlib.AbstractContextManager[None]:
    """Let the layers of a model compute in float64 while this is open, where their code allows that."""
    return _compute_in(model, "float64", (*HALF, "float32"))


@contextlib.contextmanager
def _compute_in(model: Any, dtype: str, coarser: Sequence[str]) -> Iterator[None]:
    """Let layers compute in a dtype instead of ``coarser`` ones while this is open; their weights stay as they are."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, value in _list_dtype_changes(model, dtype, coarser):
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def _list_dtype_changes(model: Any, dtype: str, coarser: Sequence[str]) -> Iterator[tuple[Any, str, Any]]:
    """Yield the attributes that let the layers and operations of a model compute in a dtype, with their values."""
    import keras

    for tensor in _list_inner_inputs(model):
        if vars(tensor).get("_dtype") in coarser:
            yield tensor, "_dtype", dtype
    for operation in _list_operations(model):
        if isinstance(operation, keras.layers.Layer):
            policy = operation.dtype_policy
            if getattr(policy, "compute_dtype", None) in coarser:
                # Keras casts weights to the dtype of the computation where these differ.
                full = keras.DTypePolicy("mixed_float16")
                full._compute_dtype, full._variable_dtype = dtype, policy.variable_dtype
                yield operation, "_dtype_policy", full
        elif type(operation).__name__ == "Cast" and str(operation.dtype) in coarser:
            yield operation, "dtype", dtype


@contextlib.contextmanager
def move_weights(
    model: Any, weights: Sequence[Any], sign: int = 1, kept: Mapping[int, Ints] | None = None
) -> Iterator[None]:
    """Add a little seeded noise to some weights of a model while this is open.

    Args:
        model: a Keras model.
        weights: of the model.
        sign: 1 or -1, a factor of the noise.
        kept: the rows of weights, by ``id``, that stay as they are.
    """
    rng = np.random.default_rng(6)
    before = [(weight, read_value(weight)) for weight in weights]
    with preserve_state(model, trained=False):
        try:
            for weight, old in before:
                values = old.astype(np.float64)
                size = float(np.sqrt(np.mean(np.square(values))))
                noise = rng.standard_normal(values.shape) * (WEIGHT_NOISE.value * size or ZERO_NOISE.value)
                if kept and id(weight) in kept:
                    noise[kept[id(weight)]] = 0
                weight.assign((values + sign * noise).astype(old.dtype))
            yield
        finally:
            for weight, old in before:
                weight.assign(old)


def choose_moved_weights(model: Any) -> list[Any]:
    """Return the trainable weights that noise moves: all of them, or the special ones of a large model.

    Special weights hide leaks: zeros, as biases have before training, and equal numbers. A few random ones may hide a
    leak too, as those of a maximum that valid timesteps win, so that they are spared only where moving them is slow.
    """
    floats = [weight for weight in model.trainable_weights if "float" in str(weight.dtype)]
    if sum(int(np.prod(weight.shape)) for weight in floats) <= MOST_MOVED_WEIGHTS:
        return floats
    return [weight for weight in floats if _is_special(read_value(weight))]


def _is_special(values: NDArray[Any]) -> bool:
    if not values.size or values.size == 1:
        return bool(values.size)
    rows = values.reshape(-1, values.shape[-1])
    if rows[0, 0] == rows[-1, -1] and (rows == rows[0, 0]).all():
        return True
    # Of millions of random numbers, a few are zero by chance.
    zeros = np.flatnonzero(rows == 0)
    if not len(zeros):
        return False
    if values.ndim < 2 or len(zeros) > ZEROS.value * rows.size:
        return True
    counts = (np.bincount(places).max() for places in np.divmod(zeros, rows.shape[1]))
    return any(count == rows.shape[1 - axis] for axis, count in enumerate(counts))
