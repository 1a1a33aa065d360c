"""Restore models and layers: everything that a run changes in them is put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.choice import get_backend
from maskcli.trace.generators import preserve_random_state


@contextlib.contextmanager
def preserve_state(layer: Any, *, trained: bool = True) -> Iterator[None]:
    """Restore the variables that runs change, and the global generators of random numbers, also after an error.

    The variables are states of stateful RNNs, of random generators and of normalisation. States that are created
    meanwhile are set to zero, their initial value.

    Args:
        layer: a layer or a model; an operation that is neither has no state.
        trained: whether trained weights are restored too. Runs in inference mode do not change them, and comparing
            thousands of weights takes time.
    """
    before = {id(variable): (variable, read_value(variable)) for variable in _list_variables(layer, trained)}
    try:
        with preserve_random_state(), get_backend().keep_values(layer):
            yield
    finally:
        for variable, value in before.values():
            if not _is_same(read_value(variable), value):
                variable.assign(value)
        for state in _list_states(layer):
            if id(state) not in before:
                state.assign(np.zeros_like(read_value(state)))


def _is_same(now: NDArray[Any], before: NDArray[Any]) -> bool:
    """Return whether a variable has the value that it had before.

    The backends assign to new memory while a value is in use, so that the same memory holds the same value. Comparing
    the numbers of a large model takes as long as a run on a few rows.
    """
    in_place = now.__array_interface__["data"] == before.__array_interface__["data"]
    return (in_place and now.shape == before.shape and now.dtype == before.dtype) or np.array_equal(now, before)


def read_value(variable: Any) -> Any:
    """Return the value of a variable."""
    return get_backend().read_variable(variable)


def _list_variables(layer: Any, trained: bool) -> Iterator[Any]:
    """Yield the variables of a layer; Keras lists neither the states of RNNs nor variables of the backend."""
    is_variable = get_backend().is_variable
    kinds: dict[type, bool] = {}  # A model has thousands of attributes, of a few dozen types.
    listed = getattr(layer, "variables", ())
    yield from (variable for variable in listed if trained or not variable.trainable)
    yield from _list_states(layer)
    for part in _list_layers(layer):
        for value in vars(part).values():
            kind = type(value)
            if kind not in kinds:
                kinds[kind] = is_variable(value)
            if kinds[kind]:
                yield value


def _list_states(layer: Any) -> Iterator[Any]:
    import keras

    for part in _list_layers(layer):
        states = keras.tree.flatten(getattr(part, "states", None))
        yield from (state for state in states if isinstance(state, keras.Variable))


def _list_layers(layer: Any) -> Iterator[Any]:
    """Yield a layer and all layers inside it."""
    flatten = getattr(layer, "_flatten_layers", None)
    return iter(()) if flatten is None else flatten()
