"""Run the loops of Keras's recurrent layers in compiled functions: an eager loop takes milliseconds per timestep.

Nobody looks inside such a loop unless calls inside layers of Keras are recorded. TensorFlow's optimiser of graphs is
switched off for these functions, so that they run the same kernels in the same order as the eager loop does, and
return the same bits.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import weakref
from collections.abc import Iterator
from typing import Any

FORWARD = 32
"""Timesteps that a layer runs eagerly before its loop is compiled, which costs as much as about that many.

Of a model that will run many times, the loops are compiled in their next run; see ``expect_runs``.
"""
TAPED = 64
"""Timesteps of one call from which a loop is compiled under a gradient tape: its derivative is compiled, too."""


@dataclasses.dataclass(eq=False)
class _Loop:
    """The loop of one layer, for one kind of arguments: how far it ran eagerly, and its compiled function."""

    timesteps: int = 0
    function: Any = None
    fails: bool = False


_loops: weakref.WeakKeyDictionary[Any, dict[Any, _Loop]] = weakref.WeakKeyDictionary()
"""The loops of each layer, as long as the layer exists."""


_forward: contextvars.ContextVar[int] = contextvars.ContextVar("forward", default=FORWARD)


@contextlib.contextmanager
def expect_runs() -> Iterator[None]:
    """Compile every loop in its next run while this is open, because more runs will follow than compiling costs."""
    token = _forward.set(0)
    try:
        yield
    finally:
        _forward.reset(token)


@contextlib.contextmanager
def compile_loops(enabled: bool = True) -> Iterator[None]:
    """Let the loops of Keras's recurrent layers run in compiled functions, in inference mode, while this is open."""
    import keras
    import tensorflow as tf

    rnn_type = keras.layers.RNN
    run_eagerly = vars(rnn_type)["inner_loop"]
    if not enabled or hasattr(run_eagerly, "__wrapped__"):
        yield
        return

    @functools.wraps(run_eagerly)
    def run(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        if training or not tf.executing_eagerly():
            return run_eagerly(layer, sequences, initial_state, mask, training)
        # States that a layer keeps from batch to batch are variables.
        initial_state = keras.tree.map_structure(tf.convert_to_tensor, initial_state)
        loop = _find_loop(layer, sequences, initial_state, mask)
        if loop is None:
            return run_eagerly(layer, sequences, initial_state, mask, training)
        if loop.function is None:
            loop.timesteps += int(sequences.shape[1])
            if loop.timesteps < _forward.get():
                return run_eagerly(layer, sequences, initial_state, mask, training)
        result = _run_compiled(loop, run_eagerly, layer, (sequences, initial_state, mask))
        return run_eagerly(layer, sequences, initial_state, mask, training) if result is None else result

    rnn_type.inner_loop = run
    try:
        yield
    finally:
        rnn_type.inner_loop = run_eagerly


def _find_loop(layer: Any, sequences: Any, initial_state: Any, mask: Any) -> _Loop | None:
    """Return the loop of a layer for these arguments; None if it must run eagerly."""
    import keras
    import tensorflow as tf
    from tensorflow.python.eager import record

    parts = list(layer._flatten_layers())
    # The code of other cells may depend on values, or draw numbers of its own, in each timestep.
    if layer.unroll or not all(map(_is_of_keras, (*parts, layer.cell))):
        return None
    tensors = keras.tree.flatten((sequences, initial_state, () if mask is None else mask))
    if not all(isinstance(tensor, tf.Tensor) for tensor in tensors):
        return None
    if sequences.shape[1] < TAPED and record.could_possibly_record():
        return None
    key = (
        tuple((tensor.dtype, len(tensor.shape), tuple(tensor.shape[2:])) for tensor in tensors),
        mask is None,
        tuple(id(variable) for variable in layer.variables),
        tuple(str(part.compute_dtype) for part in parts),
        (layer.go_backwards, layer.return_sequences, layer.zero_output_for_mask),
    )
    loop: _Loop = _loops.setdefault(layer, {}).setdefault(key, _Loop())
    return None if loop.fails else loop


def _is_of_keras(part: Any) -> bool:
    return type(part).__module__.split(".")[0] == "keras"


def _run_compiled(loop: _Loop, run_eagerly: Any, layer: Any, arguments: tuple[Any, Any, Any]) -> Any:
    """Return the result of a compiled loop; None if it fails, as the eager one then does with a clearer message."""
    from tensorflow.python.eager import context

    # The steps of a loop follow each other: an executor of several threads only adds the cost of handing them over.
    with _keep_operations(), context.function_executor_type("SINGLE_THREADED_EXECUTOR"):
        try:
            if loop.function is None:
                loop.function = _compile(run_eagerly, layer, arguments)
            return loop.function(*arguments)
        except Exception:
            loop.fails = True
            return None


def _compile(run_eagerly: Any, layer: Any, arguments: tuple[Any, Any, Any]) -> Any:
    """Return a function for any number of rows and timesteps."""
    import keras
    import tensorflow as tf

    reference = weakref.ref(layer)  # A function that kept its layer would keep it alive as a key of ``_loops``.

    def run(sequences: Any, initial_state: Any, mask: Any) -> Any:
        return run_eagerly(reference(), sequences, initial_state, mask, False)

    sequences, initial_state, mask = arguments
    timed = [tf.TensorSpec([None, None, *x.shape[2:]], x.dtype) for x in (sequences, mask) if x is not None]
    states = keras.tree.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), initial_state)
    function = tf.function(run, autograph=False)
    return function.get_concrete_function(timed[0], states, None if mask is None else timed[1])


@contextlib.contextmanager
def _keep_operations() -> Iterator[None]:
    """Switch off TensorFlow's optimiser of graphs, which may fuse operations, while this is open."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})
