"""Models and layers are left as they were: all that runs change in them is put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def preserve_state(layer: Any, *, trained: bool = True) -> Iterator[None]:
    """Put back what runs change: states of stateful RNNs, of random generators, of normalisation; also after an error.

    States that are made meanwhile are set to zero, with which they start.

    Args:
        layer: a layer or a model; an operation that is neither keeps nothing.
        trained: whether weights that are trained are put back too. Runs in inference mode leave them alone, and to look
            at thousands takes time.
    """
    before = {id(variable): (variable, _value(variable)) for variable in _kept(layer, trained)}
    try:
        yield
    finally:
        for variable, value in before.values():
            if not np.array_equal(_value(variable), value):
                variable.assign(value)
        for state in _states(layer):
            if id(state) not in before:
                state.assign(np.zeros_like(_value(state)))


def _value(variable: Any) -> Any:
    """Return what a variable holds now; TensorFlow writes elsewhere while somebody reads it, so nothing is copied."""
    import keras

    return np.asarray(keras.ops.convert_to_tensor(variable))


def _kept(layer: Any, trained: bool) -> Iterator[Any]:
    """Yield all that a layer keeps; Keras lists the states of RNNs apart, and variables of TensorFlow nowhere."""
    import tensorflow as tf

    listed = getattr(layer, "variables", ())
    yield from (variable for variable in listed if trained or not variable.trainable)
    yield from _states(layer)
    for each in _layers(layer):
        yield from (value for value in vars(each).values() if isinstance(value, tf.Variable))


def _states(layer: Any) -> Iterator[Any]:
    import keras

    for each in _layers(layer):
        states = keras.tree.flatten(getattr(each, "states", None))
        yield from (state for state in states if isinstance(state, keras.Variable))


def _layers(layer: Any) -> Iterator[Any]:
    """Yield a layer and all inside it."""
    flatten = getattr(layer, "_flatten_layers", None)
    return iter(()) if flatten is None else flatten()
