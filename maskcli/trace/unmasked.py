"""A stretch in which no call of Keras ever sees a mask, eagerly and in graphs alike."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from maskcli.trace.recorder import drop_mask_arguments, list_parameters


@contextlib.contextmanager
def strip_masks() -> Iterator[None]:
    """Take every mask away as soon as it appears, until this closes; functions must be traced inside."""
    import keras

    layer_type, operation_type = keras.layers.Layer, keras.Operation
    call_layer, call_operation = layer_type.__call__, operation_type.__call__

    @functools.wraps(call_layer)
    def bare_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return _bare(call_layer(layer, *args, **kwargs))

    @functools.wraps(call_operation)
    def bare_operation(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, layer_type):
            args, kwargs = drop_mask_arguments(list_parameters(type(operation).call), args, kwargs)
        return _bare(call_operation(operation, *args, **kwargs))

    layer_type.__call__, operation_type.__call__ = bare_layer, bare_operation
    try:
        yield
    finally:
        layer_type.__call__, operation_type.__call__ = call_layer, call_operation


def _bare(output: Any) -> Any:
    import keras

    for tensor in keras.tree.flatten(output):
        if getattr(tensor, "_keras_mask", None) is not None:
            tensor._keras_mask = None
    return output
