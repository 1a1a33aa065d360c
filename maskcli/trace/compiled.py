"""Run a model as a compiled function, as ``fit`` and ``predict`` do, and note which calls receive a mask."""

from __future__ import annotations

import collections
import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from maskcli.backends.choice import get_backend
from maskcli.backends.masks import get_keras_mask
from maskcli.errors import summarize_error
from maskcli.trace.recorder import Recording, has_own_code, is_mask_argument
from maskcli.trace.state import preserve_state

ArgumentShapes = tuple[tuple[int | None, ...], ...]
"""The shape of each argument that a compiled function takes; None for an axis of any size."""


class CompiledModel:
    """A model as a compiled function, in inference mode."""

    def __init__(self, model: Any, shapes: ArgumentShapes | None = None) -> None:
        """Compile nothing yet: the first run does.

        Args:
            model: a Keras model.
            shapes: of the arguments; None compiles each shape by itself.
        """
        self.model: Any = model
        self.shapes: ArgumentShapes | None = shapes
        self.function: Callable[[Any], Any] = get_backend().compile_model(model, shapes)

    def run(self, arguments: Any) -> Recording:
        """Return the output for some arguments; no call is recorded."""
        return _run(self.model, self.function, arguments)


def run_eagerly(model: Any, arguments: Any) -> Recording:
    """Return the output of a model that runs as a call does, in inference mode; no call is recorded."""
    with get_backend().compile_loops():
        return _run(model, functools.partial(model, training=False), arguments)


def _run(model: Any, function: Callable[[Any], Any], arguments: Any) -> Recording:
    output, error = None, None
    try:
        with _prepare(model):
            output = function(_convert(arguments))
    except Exception as exception:
        error = exception
    return Recording([], [], output, error, [])


def _convert(arguments: Any) -> Any:
    import keras

    return keras.tree.map_structure(keras.ops.convert_to_tensor, arguments)


def describe_failure(recording: Recording, steps: Sequence[str]) -> str:
    """Return the reason why a model does not run as a compiled function, in these methods."""
    error = recording.error
    verb = "compile" if "predict" in steps else "run in fit"
    return "" if error is None else f"the model does not {verb} ({type(error).__name__}: {summarize_error(error)})"


def find_unequal_mask(model: Any, arguments: Any, shapes: ArgumentShapes | None = None) -> str | None:
    """Return the path of the first call that receives a mask only eagerly, or only compiled; None if there is none."""
    with _note_masks() as eager:
        run_eagerly(model, arguments)
    with _note_masks() as compiled:
        CompiledModel(model, shapes).run(arguments)
    return next((path for path, has_mask in eager.items() if compiled.get(path, has_mask) != has_mask), None)


@contextlib.contextmanager
def _prepare(model: Any) -> Iterator[None]:
    """Leave the model as it is, and silence warnings that its eager run has shown already."""
    silence, infer = get_backend().silence_tracing(), get_backend().infer()
    with preserve_state(model, trained=False), warnings.catch_warnings(action="ignore"), silence, infer:
        yield


@contextlib.contextmanager
def _note_masks() -> Iterator[dict[str, bool]]:
    """Collect, by the path of a call, whether a mask arrives at it; not inside layers of Keras."""
    import keras

    notes: dict[str, bool] = {}
    counts: collections.Counter[str] = collections.Counter()
    running: list[tuple[Any, str]] = []
    layer_type = keras.layers.Layer
    call_layer = layer_type.__call__

    @functools.wraps(call_layer)
    def note_and_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if running and not has_own_code(running[-1][0]):
            return call_layer(layer, *args, **kwargs)
        path = ""
        if running:
            above = running[-1][1]
            path = f"{above}/{layer.name}" if above else str(layer.name)
            counts[path] += 1
            path = path if counts[path] == 1 else f"{path}#{counts[path]}"
            notes[path] = _has_mask(args, kwargs)
        running.append((layer, path))
        try:
            return call_layer(layer, *args, **kwargs)
        finally:
            running.pop()

    layer_type.__call__ = note_and_call
    try:
        yield notes
    finally:
        layer_type.__call__ = call_layer


def _has_mask(args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a mask is among the arguments of a call, or carried by one of its tensors."""
    import keras

    passed = [value for name, value in kwargs.items() if is_mask_argument(name)]
    others = {name: value for name, value in kwargs.items() if not is_mask_argument(name)}
    carried = (get_keras_mask(leaf) for leaf in keras.tree.flatten((args, others)) if hasattr(leaf, "shape"))
    return any(mask is not None for mask in (*passed, *carried))
