"""Build the arguments of a model from its inputs, in the structure that the model takes."""

from __future__ import annotations

import dataclasses
import re
import weakref
from collections.abc import Sequence
from typing import Any

from maskcli.inputs.roles import Structure
from maskcli.records.inputs import InputSpec, ModelInput

_KEEPS_NUMBERS = frozenset(
    {"Masking", "Reshape", "Permute", "Flatten", "Cast", "ExpandDims", "Squeeze", "Transpose", "Identity"}
)
"""Layers and operations that return all numbers of their input, perhaps on other axes."""


def read_input_specs(model: Any) -> tuple[InputSpec, ...]:
    """Return the inputs that ``model`` declares; empty for a subclassed model that has not been built.

    An input that goes into an Embedding counts as one of integers, also if it was declared without a dtype, which
    makes it one of floats.
    """
    tensors = getattr(model, "inputs", None) or ()
    return tuple(
        InputSpec(_choose_name(tensor.name, index, len(tensors)), _find_shape(model, tensor), _find_dtype(tensor))
        for index, tensor in enumerate(tensors)
    )


def _find_shape(model: Any, tensor: Any) -> tuple[int | None, ...]:
    """Return the shape of an input; a Sequential that was built by a call still takes batches of any size."""
    import keras

    shape = tuple(tensor.shape)
    return (None, *shape[1:]) if shape and isinstance(model, keras.Sequential) else shape


def _find_dtype(tensor: Any) -> str:
    dtype = str(tensor.dtype)
    operation = getattr(getattr(tensor, "_keras_history", None), "operation", None)
    return "int32" if dtype.startswith("float") and _is_looked_up(operation) else dtype


def _is_looked_up(operation: Any) -> bool:
    """Return whether all numbers that an operation returns go into an Embedding, also after another axis or a mask."""
    users = [node.operation for node in getattr(operation, "_outbound_nodes", ())]
    if any(_begins_with_lookup(user) for user in users):
        return True
    return any(_is_looked_up(user) for user in users if type(user).__name__ in _KEEPS_NUMBERS)


def _begins_with_lookup(layer: Any) -> bool:
    """Return whether a layer looks up ids, or the layer in a ``TimeDistributed`` or the first one of a model does."""
    import keras

    if isinstance(layer, keras.layers.TimeDistributed):
        return _begins_with_lookup(layer.layer)
    if isinstance(layer, keras.Sequential) and layer.layers:
        return _begins_with_lookup(layer.layers[0])
    if isinstance(layer, keras.Model) and len(getattr(layer, "inputs", None) or ()) == 1:
        return _is_looked_up(layer.inputs[0]._keras_history.operation)
    return isinstance(layer, keras.layers.Embedding)


def _choose_name(name: str, index: int, count: int) -> str:
    """Return the name of an input; a name that Keras generated is replaced by the position."""
    if not re.fullmatch(r"(keras_tensor|input_layer)(_\d+)?", name):
        return name
    return "input" if count == 1 else f"input_{index + 1}"


def takes_one_array(model: Any) -> bool:
    """Return whether ``model``, which declares no inputs, takes a single array: a Sequential, or one saved as built."""
    import keras

    if isinstance(model, keras.Sequential):
        return True
    shapes = list((model.get_build_config() or {}).values()) if model.built else []
    return (
        len(shapes) == 1 and isinstance(shapes[0], list | tuple) and {type(s) for s in shapes[0]} <= {int, type(None)}
    )


def pack_arguments(model: Any, inputs: Sequence[ModelInput]) -> Any:
    """Return the values of ``inputs`` in the structure that ``model`` takes: one array, a list, a dict or a nest.

    If the model declares no structure, a single input is passed by itself, unless it was called with a dict before, and
    several in a dict by name.
    """
    import keras

    values = [model_input.array for model_input in inputs]
    specs = read_input_specs(model)
    takes_dict = isinstance(getattr(model, "input", None), dict) or (not specs and read_structure(model) == "dict")
    if len(values) == 1 and not takes_dict:
        return values[0]
    if specs and len(specs) == len(values):
        return keras.tree.pack_sequence_as(model.input, values)
    structure = None if specs else read_structure(model)
    if structure in ("list", "tuple"):
        return values if structure == "list" else tuple(values)
    return {model_input.name: model_input.array for model_input in inputs}


_STRUCTURES: weakref.WeakKeyDictionary[Any, Structure] = weakref.WeakKeyDictionary()
"""The nests in which subclassed models take several inputs, of models that do not know it themselves."""


def read_structure(model: Any) -> Structure | None:
    """Return the nest in which a subclassed model takes several inputs; None if it has not been called with any."""
    if model in _STRUCTURES:
        return _STRUCTURES[model]
    config = model.get_build_config() if model.built else None
    shapes = list((config or {}).values())
    if len(shapes) != 1:
        return None
    if isinstance(shapes[0], dict):
        return "dict"
    if isinstance(shapes[0], list | tuple) and all(isinstance(shape, list | tuple) for shape in shapes[0]):
        return "list" if isinstance(shapes[0], list) else "tuple"
    return None


def set_structure(model: Any, structure: Structure) -> None:
    """Let a subclassed model be called with its inputs in this nest."""
    _STRUCTURES[model] = structure


def forget_structure(model: Any) -> None:
    """Let a subclassed model be called as if no nest of its inputs were known."""
    _STRUCTURES.pop(model, None)


def select_rows(model_input: ModelInput, rows: Any, columns: slice = slice(None)) -> ModelInput:
    """Return some rows of an input; of these some columns, if it has timesteps."""
    if model_input.valid is None:
        return dataclasses.replace(model_input, values=model_input.values[rows])
    values, valid = model_input.values[rows][:, columns], model_input.valid[rows][:, columns]
    if columns != slice(None) and model_input.is_square:
        values = values[:, :, columns]
    cells = None if model_input.cells is None else model_input.cells[rows][:, columns]
    return dataclasses.replace(model_input, values=values, valid=valid, cells=cells)
