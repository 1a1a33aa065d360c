"""Run a model with every mask removed as soon as it appears, eagerly and in graphs."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from maskcli.backends.choice import get_backend
from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.records.arrays import Bools
from maskcli.trace.recorder import (
    PAIR_MASK,
    Recording,
    has_own_code,
    is_mask_argument,
    list_parameters,
)
from maskcli.trace.state import preserve_state


def compute_unmasked_outputs(model: Any, arguments: Any) -> list[Any] | None:
    """Return the output tensors of a model that runs without masks, flattened; None if it raises.

    Nothing is recorded. The inside of Keras's own layers is left as it is: an attention layer passes its causal mask
    to a softmax as that layer's ``mask``.
    """
    import keras

    tensors, backend = keras.tree.map_structure(keras.ops.convert_to_tensor, arguments), get_backend()
    try:
        with (
            preserve_state(model, trained=False),
            backend.run_functions_eagerly(),
            strip_masks(inside_layers=False),
            backend.infer(),
            backend.compile_loops(),
            warnings.catch_warnings(action="ignore"),
        ):
            return list(keras.tree.flatten(model(tensors, training=False)))
    except Exception:  # A layer may need the mask that was removed.
        return None


def may_use_masks(recording: Recording) -> bool:
    """Return whether masks can change the outputs of a recorded model.

    They cannot if no call receives one as an argument, and no code of the user has a tensor that carries one, which it
    could read.
    """
    return any(
        entry.mask_tensors
        or (_is_of_user(entry.operation) and _has_mask(entry.carried))
        or (entry.parent is not None and _is_of_user(entry.parent.operation) and _has_mask(entry.masks_out))
        for entry in recording.entries
    )


def _is_of_user(operation: Any) -> bool:
    """Return whether an operation runs code that Keras does not contain."""
    import keras

    if isinstance(operation, keras.layers.Lambda):
        return True
    return isinstance(operation, keras.Operation) and type(operation).__module__.split(".")[0] != "keras"


def _has_mask(masks: Sequence[Bools | None]) -> bool:
    return any(mask is not None for mask in masks)


@contextlib.contextmanager
def strip_masks(*, inside_layers: bool = True) -> Iterator[None]:
    """Remove every mask as soon as it appears, until this closes; functions must be traced inside.

    Args:
        inside_layers: also between the calls inside Keras's own layers; otherwise only where calls are recorded.
    """
    import keras

    is_eager = get_backend().is_eager
    layer_type, operation_type = keras.layers.Layer, keras.Operation
    call_layer, call_operation = layer_type.__call__, operation_type.__call__
    running: list[Any] = []  # The layers and operations that are running, from the outermost to the innermost.

    def strip(call: Callable[..., Any], operation: Any, args: Any, kwargs: Any) -> Any:
        is_inside = bool(running) and not has_own_code(running[-1])
        if not inside_layers and (is_inside or not is_eager()):
            return call(operation, *args, **kwargs)
        running.append(operation)
        try:
            output = call(operation, *args, **kwargs)
        finally:
            running.pop()
        return _remove_masks(output)

    @functools.wraps(call_layer)
    def strip_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return strip(call_layer, layer, args, kwargs)

    @functools.wraps(call_operation)
    def strip_operation(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, layer_type):
            return strip(call_operation, operation, args, kwargs)
        # A layer arrives here from its own ``Layer.__call__``, after Keras has filled in its mask arguments.
        if inside_layers or (running and running[-1] is operation):
            args, kwargs = _drop_mask_arguments(operation, args, kwargs)
        return call_operation(operation, *args, **kwargs)

    layer_type.__call__, operation_type.__call__ = strip_layer, strip_operation
    try:
        yield
    finally:
        layer_type.__call__, operation_type.__call__ = call_layer, call_operation


def _drop_mask_arguments(operation: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of an operation's ``call`` without the masks that mark padding."""
    names = list_parameters(type(operation).call)
    dropped = {name for name in names if is_mask_argument(name) and name != PAIR_MASK}
    positional = [
        None if name in dropped and not _pairs_scores(operation, argument) else argument
        for name, argument in zip(names, args, strict=False)
    ]
    keywords = {
        name: None if name in dropped and not _pairs_scores(operation, argument) else argument
        for name, argument in kwargs.items()
    }
    return (*positional, *args[len(positional) :]), keywords


def _pairs_scores(operation: Any, mask: Any) -> bool:
    """Return whether a softmax of scores receives a mask of them, which also holds causality.

    Attention combines it from causality, the user's own mask and padding, and the masks of padding have been removed
    by then.
    """
    import keras

    if not isinstance(operation, keras.layers.Softmax):
        return False
    shape = tuple(getattr(mask, "shape", ()))
    return len(shape) > 2 and shape[-1] != 1


def _remove_masks(output: Any) -> Any:
    import keras

    for tensor in keras.tree.flatten(output):
        if get_keras_mask(tensor) is not None:
            set_keras_mask(tensor, None)
    return output
