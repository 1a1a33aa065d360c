"""Decide whether the functions that a model compiles with ``tf.function`` may run as Python, so that calls are visible.

A mask is an attribute of a tensor, and the arguments of a compiled function are other tensors, without it. As Python,
such a function would see masks that Keras loses in ``fit`` and ``predict``. A model that then computes something else
is run with its compiled functions, whose inside is not visible.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.tolerance import REPAIR_CHANGE
from maskcli.trace.state import preserve_state
from maskcli.trace.values import as_float64

_DIFFERS: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
"""By model, whether its functions compute something else as Python; only for models that have such functions."""


@contextlib.contextmanager
def run_functions(model: Any) -> Iterator[list[Any]]:
    """Let compiled functions run as Python where that changes no result; yield the list of functions that run."""
    called: list[Any] = []
    if _DIFFERS.get(model, False):
        with get_backend().silence_tracing():
            yield called
        return
    with get_backend().run_functions_eagerly(), get_backend().list_called_functions(called):
        yield called


def differs_compiled(model: Any, called: list[Any], output: Any, run: Callable[[], Any]) -> bool:
    """Return whether a model whose functions ran as Python computes something else with compiled ones.

    The first run of a model decides.

    Args:
        model: the model.
        called: the functions that ran as Python.
        output: the output of that run.
        run: runs the model again.
    """
    if not called or model in _DIFFERS:
        return False
    try:
        with (
            preserve_state(model, trained=False),
            warnings.catch_warnings(action="ignore"),
            get_backend().silence_tracing(),
        ):
            compiled = run()
    except Exception:  # The model only runs as Python.
        _DIFFERS[model] = False
    else:
        _DIFFERS[model] = not _are_close(output, compiled)
    return _DIFFERS[model]


def _are_close(first: Any, second: Any) -> bool:
    import keras

    pairs = [tuple(map(as_float64, pair)) for pair in zip(*map(keras.tree.flatten, (first, second)), strict=True)]
    return all(
        old.shape == new.shape
        and np.allclose(old, new, rtol=REPAIR_CHANGE.value, atol=REPAIR_CHANGE.value * np.abs(old).max(initial=0.0))
        for old, new in pairs
    )
