"""What a model is called with: what it says of its inputs, and the structure that it takes them in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.records.inputs import InputSpec, ModelInput


def read_input_specs(model: Any) -> tuple[InputSpec, ...]:
    """Return what ``model`` says of its inputs; nothing for a subclassed model that has not been built.

    An input that goes into an Embedding is one of integers, also where it was declared without a dtype, and so as
    floats.
    """
    tensors = getattr(model, "inputs", None) or ()
    return tuple(
        InputSpec(_name(tensor.name, index, len(tensors)), tuple(tensor.shape), _dtype(tensor))
        for index, tensor in enumerate(tensors)
    )


def _dtype(tensor: Any) -> str:
    import keras

    history = getattr(tensor, "_keras_history", None)
    users = getattr(history.operation, "_outbound_nodes", ()) if history is not None else ()
    looked_up = any(isinstance(node.operation, keras.layers.Embedding) for node in users)
    dtype = str(tensor.dtype)
    return "int32" if looked_up and dtype.startswith("float") else dtype


def _name(name: str, index: int, count: int) -> str:
    """Return the name of an input; one that Keras made up, and would make up anew, goes by its position."""
    if not re.fullmatch(r"(keras_tensor|input_layer)(_\d+)?", name):
        return name
    return "input" if count == 1 else f"input_{index + 1}"


def pack_arguments(model: Any, inputs: Sequence[ModelInput]) -> Any:
    """Return the values of ``inputs`` as ``model`` is called with them: one array, a list, a dict or a nest.

    A model that does not say takes a single input as it is, and several in a dict by name.
    """
    import keras

    values = [given.values for given in inputs]
    specs = read_input_specs(model)
    if len(values) == 1 and not isinstance(getattr(model, "input", None), dict):
        return values[0]
    if specs and len(specs) == len(values):
        return keras.tree.pack_sequence_as(model.input, values)
    return {given.name: given.values for given in inputs}


def lengthen(given: ModelInput, columns: int, side: str) -> ModelInput:
    """Return an input with more padding at the ``pre`` or ``post`` side; one without timesteps as it is."""
    if given.valid is None:
        return given
    width = [(0, 0), (columns, 0) if side == "pre" else (0, columns)]
    more = np.pad(given.valid, width)
    if given.counts_up and side == "post":
        first = int(given.values[0, 0])
        values = np.tile(np.arange(first, first + more.shape[1], dtype=given.values.dtype), (len(more), 1))
    else:
        rest = [(0, 0)] * (given.values.ndim - 2)
        values = np.pad(given.values, [*width, *rest], constant_values=given.padding)
        if given.kind == "features" and not given.valid.all():
            values[~more] = given.values[~given.valid][0]  # What padding is made of here need not be zero.
    return dataclasses.replace(given, values=values, valid=more)


def select_rows(given: ModelInput, rows: Any, columns: slice = slice(None)) -> ModelInput:
    """Return some rows of an input, and of these some columns where it has timesteps."""
    if given.valid is None:
        return dataclasses.replace(given, values=given.values[rows])
    return dataclasses.replace(given, values=given.values[rows][:, columns], valid=given.valid[rows][:, columns])


def rebuild_with_free_length(model: Any) -> Any | None:
    """Return a copy of a model of fixed length that takes any, with the same weights; None where that cannot be.

    The copy is made from the configuration of the layers, as ``keras.models.clone_model`` makes it.
    """
    import keras

    tensors = getattr(model, "inputs", None)
    if not tensors or not isinstance(model, (keras.Sequential, keras.src.models.Functional)):
        return None
    free = [
        keras.Input((None, *tensor.shape[2:]), dtype=tensor.dtype, name=tensor.name)
        if len(tensor.shape) > 1 and tensor.shape[1] is not None
        else keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
        for tensor in tensors
    ]
    try:
        if isinstance(model, keras.Sequential):
            copy = keras.Sequential([free[0], *(_copied(layer) for layer in model.layers)], name=model.name)
        else:
            copy = keras.models.clone_model(model, input_tensors=keras.tree.pack_sequence_as(model.input, free))
        copy.set_weights(model.get_weights())
    except Exception:  # Layers raise what they like when their shapes cannot be free.
        return None
    return copy


def _copied(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())
