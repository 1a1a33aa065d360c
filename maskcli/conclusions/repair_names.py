"""Name layers, masks and inputs of a model as the code that a repair changes names them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from maskcli.inputs.arguments import read_input_specs
from maskcli.probes.repair_changes import MaskOrigin
from maskcli.probes.repair_masks import ChangedModel, find_maker
from maskcli.records.arrays import Bools
from maskcli.records.inputs import is_same_validity
from maskcli.trace.changes import flatten_arguments, is_graph, is_layer
from maskcli.trace.locations import find_input_names
from maskcli.trace.recorder import CallRecord, convert_mask, get_code, list_parameters
from maskcli.trace.values import get_dtype


def name_layer(entry: CallRecord) -> str:
    """Return the name of a layer in the code that calls it: ``self.encoder`` in a layer or model with own code."""
    parent = None if entry.parent is None else entry.parent.operation
    if entry.code or parent is None or is_graph(parent):
        return _make_identifier(entry.name)
    attribute = _find_attribute(parent, entry.operation)
    return _make_identifier(entry.name) if attribute is None else f"self.{attribute}"


def _make_identifier(name: str) -> str:
    """Return a name as code may have it: that of a layer may be ``embedding-seq-input``."""
    return re.sub(r"\W", "_", name)


def _find_attribute(owner: Any, layer: Any) -> str | None:
    """Return the attribute of an object that holds a layer, ``rnn`` or ``blocks[0]``; None without one."""
    for attribute, value in vars(owner).items():
        if attribute.startswith("_"):
            continue
        if value is layer:
            return str(attribute)
        if isinstance(value, (list, tuple)):
            position = next((index for index, item in enumerate(value) if item is layer), None)
            if position is not None:
                return f"{attribute}[{position}]"
        if isinstance(value, dict):
            name = next((name for name, item in value.items() if item is layer), None)
            if name is not None:
                return f"{attribute}[{name!r}]"
    return None


def label_layer(look: ChangedModel, entry: CallRecord) -> str:
    """Return the name of a layer in the code of the whole model: ``self.body.tok``; its path if there is none."""
    if entry.code or not is_layer(entry) or entry.parent is None:
        return look.path(entry)
    parts: list[str] = []
    item = entry
    while item.parent is not None:
        attribute = _find_attribute_in_code(item, item.parent)
        if attribute is None:
            return look.path(entry)
        parts.insert(0, attribute)
        item = item.parent
    if not is_graph(item.operation):
        parts.insert(0, "self")
    return ".".join(parts)


def _find_attribute_in_code(entry: CallRecord, parent: CallRecord) -> str | None:
    """Return the code that leads from a layer or model to a layer in it."""
    if not is_graph(parent.operation):
        return _find_attribute(parent.operation, entry.operation)
    return entry.name if parent.parent is None else f'get_layer("{entry.name}")'


def name_code(layer: CallRecord, argument: str | None = None) -> str:
    """Return the name of the code of a layer, not of Keras, or of a Lambda; with an argument, its signature with it."""
    signature = "" if argument is None else f"(self, ..., {argument}=None)"
    if layer.type != "Lambda":
        return f"{layer.type}.call{signature}"
    name = getattr(layer.operation.function, "__name__", "function")
    if name == "<lambda>":
        added = "" if argument is None else f", {argument}=None"
        return f"{_make_identifier(layer.name)} = Lambda(lambda ...{added}: ...)"
    return f"{name}{signature.replace('self, ', '')}"


def write_mask(look: ChangedModel, entry: CallRecord, origin: MaskOrigin) -> str:
    """Return the expression of a mask in the code that makes a call."""
    if origin.kind == "input":
        is_inside = entry.parent is not None and entry.parent.parent is not None
        inside = name_input_argument(look, entry.parent, origin.position) if is_inside else None
        return inside or write_input(look, origin.position, entry)
    if origin.kind == "values":
        return _write_values_mask(look, origin, entry)
    if origin.kind == "arriving":
        record = look.by_key[origin.key]
        tensors = [tensor for tensor in record.inputs if id(tensor) in look.flow.valid]
        if origin.argument is not None:
            tensors = flatten_arguments(record.args)[origin.argument :]
        maker = find_maker(look, tensors[0])[0] if tensors else None
        return "mask" if maker is None or maker.kind == "arriving" else write_mask(look, entry, maker)
    source = look.by_key[origin.key]
    tensor = next((x for x in source.inputs if id(x) in look.flow.valid), source.inputs[0])
    return f"{name_layer(source)}.compute_mask({_name_received(entry, tensor) or _write_tensor(look, source, tensor)})"


RECEIVED = "received_"
"""Begins the name of an argument whose own name the code gives to something else before it needs the argument."""


def _name_received(entry: CallRecord, tensor: Any) -> str | None:
    """Return the name that an argument of a layer has where the code of the layer makes a call; None for others."""
    parent = entry.parent
    if parent is None or parent.parent is None or is_graph(parent.operation):
        return None
    name, code = _name_argument(parent, tensor), get_code(parent.operation)
    if name is None or not name.isidentifier() or id(tensor) in entry.names:
        return entry.names.get(id(tensor))
    return f"{RECEIVED}{name}" if rebinds_name(getattr(code, "call", code), name) else None


def name_mask_argument(
    look: ChangedModel,
    owner: CallRecord,
    origin: MaskOrigin,
    valid: Bools | None = None,
    repaired: CallRecord | None = None,
    taken: Collection[str] = (),
) -> tuple[str, str]:
    """Return the argument in which Keras passes a mask to the code of a layer, and the mask as an expression.

    The layer is an ``owner`` in the model, and maybe receives its masks only in the ``repaired`` one. A layer that is
    called with several tensors receives the mask of ``values`` as ``values_mask``; one that is called with a list of
    tensors, a list of masks. A new argument has none of the names that are ``taken``.
    """
    if origin.kind != "arriving":
        return _name_new_argument(owner, taken)
    names = list_parameters(type(owner.operation).call)
    leaves = [flatten_arguments(argument) for argument in owner.args]
    keywords = [flatten_arguments(argument) for name, argument in owner.kwargs.items() if name != "mask"]
    with_tensors = sum(any(hasattr(leaf, "shape") for leaf in flat) for flat in (*leaves, *keywords))
    wanted = origin.argument
    if wanted is None and with_tensors > 1 and "mask" not in owner.mask_tensors:
        flattened = [leaf for flat in leaves for leaf in flat]
        passed = _find_passed_mask(owner, valid) if _find_masked_leaf(owner, flattened) is None else None
        if passed is not None:
            return passed
        wanted = _find_wanted_leaf(look, owner, repaired, flattened)
    if wanted is None:
        return "mask", _name_in_list(look, owner, valid)
    before = 0
    for name, flat in zip(names, leaves, strict=False):
        place = wanted - before
        if place < len(flat):
            argument = "mask" if with_tensors == 1 else f"{name}_mask"
            return argument, argument if len(flat) == 1 else f"{argument}[{place}]"
        before += len(flat)
    return "mask", "mask"


def _find_wanted_leaf(
    look: ChangedModel, owner: CallRecord, repaired: CallRecord | None, leaves: Sequence[Any]
) -> int | None:
    """Return the place of the tensor whose mask a layer needs: the first with a mask, maybe by another repair."""
    wanted = _find_masked_leaf(owner, leaves)
    if wanted is None and repaired is not None:
        wanted = _find_masked_leaf(repaired, flatten_arguments(repaired.args))
    if wanted is not None:
        return wanted
    return next((place for place, leaf in enumerate(leaves) if id(leaf) in look.flow.valid), None)


def _find_masked_leaf(owner: CallRecord, leaves: Sequence[Any]) -> int | None:
    """Return the place of the first tensor that carries a mask to a layer; None if none does."""
    carried = {id(tensor): mask for tensor, mask in zip(owner.inputs, owner.carried, strict=True)}
    return next((place for place, leaf in enumerate(leaves) if carried.get(id(leaf)) is not None), None)


def _name_new_argument(owner: CallRecord, taken: Collection[str]) -> tuple[str, str]:
    """Return the argument in which a layer receives a mask that its caller passes, and the mask as an expression."""
    takes_list = bool(owner.args) and isinstance(owner.args[0], (list, tuple))
    takes_mask = ("mask" in owner.accepts and not takes_list) or owner.type == "Lambda"
    free = next(name for name in ("padding_mask", "timestep_mask", "valid_timesteps") if name not in taken)
    argument = "mask" if takes_mask else free
    return argument, argument


def _find_passed_mask(owner: CallRecord, valid: Bools | None) -> tuple[str, str] | None:
    """Return the argument in which a layer receives the mask with this validity, and the mask as an expression."""
    for name, tensors in owner.mask_tensors.items():
        mask = convert_mask(tensors[0]) if len(tensors) == 1 else None
        if mask is not None and valid is not None and is_same_validity(mask, valid):
            return name, name if get_dtype(tensors[0]) == "bool" else f'keras.ops.cast({name}, "bool")'
    return None


def rebinds_name(function: Any, name: str) -> bool:
    """Return whether the code of a function assigns to a name; False where its code cannot be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return any(node.id == name for node in stored)


def _name_in_list(look: ChangedModel, owner: CallRecord, valid: Bools | None) -> str:
    """Return the mask with this validity in the argument of a layer: one of a list if it is called with a list."""
    first = owner.args[0] if owner.args else None
    if not isinstance(first, (list, tuple)) or len(first) < 2:
        return "mask"
    validity = [look.flow.valid.get(id(tensor)) for tensor in first]
    place = next((place for place, item in enumerate(validity) if is_same_validity(item, valid)), None)
    if place is None:
        place = next((place for place, item in enumerate(validity) if item is not None), 0)
    return f"mask[{place}]"


def _write_values_mask(look: ChangedModel, origin: MaskOrigin, entry: CallRecord) -> str:
    """Return the expression of a mask that is computed from the values of an input."""
    mask = f"keras.ops.not_equal({write_input(look, origin.position, entry)}, {origin.value:g})"
    rank, time_axis = look.context.inputs[origin.position].values.ndim, origin.time_axis
    inner = tuple(axis for axis in range(1, rank) if axis != time_axis and (time_axis > 1 or axis >= origin.axes))
    if not inner:
        return mask
    axis = str(inner)
    if len(inner) == 1:
        axis = "-1" if inner[0] == rank - 1 else str(inner[0])
    return f"keras.ops.any({mask}, axis={axis})"


def write_input(look: ChangedModel, position: int, entry: CallRecord | None = None) -> str:
    """Return the name of an input of the model in its code: of the variable that holds it where a call is made."""
    variables = {} if entry is None else find_input_names(look.context.base).get(entry.index, {})
    if position in variables:
        return variables[position]
    item = look.context.inputs[position]
    parent = look.context.base.entries[0]
    if is_graph(parent.operation):
        specs = read_input_specs(look.context.model)
        return _make_identifier(specs[position].name if position < len(specs) else item.name)
    argument = name_input_argument(look, parent, position)
    if argument is not None:
        return argument
    parameter = next(iter(list_parameters(type(parent.operation).call)), "inputs")
    return parameter if len(look.context.inputs) == 1 else f'{parameter}["{item.name}"]'


def name_input_argument(look: ChangedModel, owner: CallRecord | None, position: int) -> str | None:
    """Return the name of an input of the model in the code of a layer that receives it; None if it does not."""
    return None if owner is None else _name_argument(owner, look.context.base.inputs[position])


def _name_argument(owner: CallRecord, source: Any) -> str | None:
    """Return the name of a tensor in the code of a layer that receives it, maybe in a list; None if it does not."""
    names = list_parameters(type(owner.operation).call)
    for name, argument in (dict(zip(names, owner.args, strict=False)) | owner.kwargs).items():
        if argument is source:
            return name
        items = argument if isinstance(argument, dict) else {}
        if isinstance(argument, (list, tuple)):
            items = dict(enumerate(argument))
        key = next((key for key, item in items.items() if item is source), None)
        if key is not None:
            return f'{name}["{key}"]' if isinstance(key, str) else f"{name}[{key}]"
    return None


def _write_tensor(look: ChangedModel, entry: CallRecord, tensor: Any) -> str:
    """Return the name of an input tensor of a call in the code that makes the call."""
    maker = look.flow.maker.get(id(tensor))
    if maker is not None and maker.type == "Cast" and maker.code and maker.inputs:
        tensor = maker.inputs[0]  # Keras converts ids that are declared as floats.
    for position, source in enumerate(look.context.base.inputs):
        if source is tensor and (entry.parent is None or entry.parent.parent is None):
            return write_input(look, position, entry)
    parent = entry.parent
    if parent is not None and parent.parent is not None:
        if is_graph(parent.operation):
            pairs = zip(parent.inputs, parent.operation.inputs, strict=False)
            return next((str(symbol.name) for source, symbol in pairs if source is tensor), _name_input(entry))
        variable = entry.names.get(id(tensor))
        return variable or _name_argument(parent, tensor) or "x"
    return _name_input(entry)


def _name_input(entry: CallRecord) -> str:
    """Return the symbolic input of a layer that a graph calls once; ``x`` for other calls."""
    is_in_graph = entry.parent is not None and is_graph(entry.parent.operation)
    nodes = getattr(entry.operation, "_inbound_nodes", ())
    return f"{name_layer(entry)}.input" if is_in_graph and is_layer(entry) and len(nodes) == 1 else "x"
