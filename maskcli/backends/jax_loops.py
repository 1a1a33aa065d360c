"""Compile the loops of Keras's recurrent layers once: JAX would compile them again in each run.

Keras passes a new function to ``jax.lax.scan`` in each call of a layer, and JAX keeps compiled loops by their function.
Here each layer has one function, which JAX compiles once for each shape.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

_loops: weakref.WeakKeyDictionary[Any, dict[Any, Callable[..., Any] | None]] = weakref.WeakKeyDictionary()
"""The compiled loops of each layer, by its settings; None for a loop that cannot be compiled."""


@contextlib.contextmanager
def compile_scans(enabled: bool = True) -> Iterator[None]:
    """Let the loops of Keras's recurrent layers run in functions that are compiled once, in inference mode."""
    import keras

    rnn_type = keras.layers.RNN
    run_loop = vars(rnn_type)["inner_loop"]
    if not enabled or hasattr(run_loop, "__wrapped__"):
        yield
        return

    @functools.wraps(run_loop)
    def run(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        loops = _loops.setdefault(layer, {})
        key = None if training or not _is_compilable(layer) else _describe(layer, mask)
        if key is not None and key not in loops:
            loops[key] = _compile(run_loop, layer)
        function = loops.get(key)
        if function is not None:
            values = [variable.value for variable in layer.variables]
            try:
                return function(values, sequences, initial_state, mask)
            except Exception:  # The loop itself fails with a clearer message.
                loops[key] = None
        return run_loop(layer, sequences, initial_state, mask, training)

    rnn_type.inner_loop = run
    try:
        yield
    finally:
        rnn_type.inner_loop = run_loop


def _is_compilable(layer: Any) -> bool:
    """Return whether a layer has a loop, and only cells of Keras: those of the user may depend on values."""
    parts = (*layer._flatten_layers(), layer.cell)
    return not layer.unroll and all(type(part).__module__.split(".")[0] == "keras" for part in parts)


def _describe(layer: Any, mask: Any) -> tuple[Any, ...]:
    """Return everything but shapes, dtypes and values that a loop depends on."""
    return (
        mask is None,
        tuple(id(variable) for variable in layer.variables),
        tuple(str(part.compute_dtype) for part in layer._flatten_layers()),
        (layer.go_backwards, layer.return_sequences, layer.zero_output_for_mask),
    )


def _compile(run_loop: Callable[..., Any], layer: Any) -> Callable[..., Any]:
    """Return the compiled loop of a layer, with the values of its variables as its first argument."""
    import jax
    import keras

    reference = weakref.ref(layer)  # A function that kept its layer would keep it alive as a key of ``_loops``.

    def run(values: Any, sequences: Any, initial_state: Any, mask: Any) -> Any:
        layer = reference()
        assert layer is not None  # noqa: S101 - the layer calls this
        with keras.StatelessScope(state_mapping=zip(layer.variables, values, strict=True)):
            return run_loop(layer, sequences, initial_state, mask, False)

    compiled: Callable[..., Any] = jax.jit(run)
    return compiled
