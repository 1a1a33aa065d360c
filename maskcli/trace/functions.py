"""Decide whether the functions that a model compiles with ``tf.function`` may run as Python, so that calls are visible.

A mask is an attribute of a tensor, and the arguments of a compiled function are other tensors, without it. As Python,
such a function would see masks that Keras loses in ``fit`` and ``predict``. A model that then computes something else
is run with its compiled functions, whose inside is not visible.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

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
        with _silence_tracing():
            yield called
        return
    with run_functions_eagerly(), _list_called_functions(called):
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
        with preserve_state(model, trained=False), warnings.catch_warnings(action="ignore"), _silence_tracing():
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


@contextlib.contextmanager
def _silence_tracing() -> Iterator[None]:
    """Drop TensorFlow's warnings that functions are traced again, for each number of rows and timesteps."""
    import tensorflow as tf

    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def run_functions_eagerly() -> Iterator[None]:
    """Let functions that TensorFlow would compile run as Python, so that their calls are visible."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def _list_called_functions(called: list[Any]) -> Iterator[None]:
    """Append to a list each compiled function that is called while this is open."""
    import tensorflow as tf

    function_type = type(tf.function(lambda: None))
    call = function_type.__call__

    @functools.wraps(call)
    def count(function: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(function)
        return call(function, *args, **kwargs)

    function_type.__call__ = count
    try:
        yield
    finally:
        function_type.__call__ = call
