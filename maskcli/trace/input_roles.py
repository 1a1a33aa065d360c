"""Find the parts that the inputs of a model play, from one recorded run on a few rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.inputs.arguments import (
    forget_structure,
    pack_arguments,
    read_input_specs,
    read_structure,
    select_rows,
    set_structure,
)
from maskcli.inputs.roles import (
    InputRoles,
    MaskedValue,
    Structure,
    holds_flags,
    holds_whole_numbers,
    is_row_of_numbers,
    looks_like_padding,
)
from maskcli.inputs.validity import sort_for_dict
from maskcli.records.inputs import InputSpec, ModelInput, find_primary
from maskcli.trace.outputs import choose_rows, choose_short_rows, list_feature_sizes
from maskcli.trace.recorder import (
    CallRecord,
    Recording,
    has_own_code,
    is_attention,
    list_parameters,
    name_paths,
    record_run,
)
from maskcli.trace.run import FEWEST_ROWS, RunCache, is_large_run
from maskcli.trace.values import as_float64, is_float

_Names = frozenset[str]
NO_NAMES: _Names = frozenset()

SELECTING = frozenset(
    {"mul", "multiply", "where", "select", "selectv2", "matmul", "batchmatmul", "batchmatmulv2", "batchmatmulv3"}
    | {"einsum", "dot", "tensordot"}
)
"""Calls that remove the timesteps of one tensor where another one is 0."""
PRODUCTS = frozenset({"matmul", "batchmatmul", "batchmatmulv2", "batchmatmulv3"})
ADDING = frozenset({"add", "addv2", "addn", "sub", "subtract", "addv3"})
LOOKUPS = ("gather", "resourcegather", "take", "onehot", "embedding")
"""Calls whose result is no mask although they receive only 0 and 1: they look up vectors."""
BIAS = 1e3
"""A number that is added to scores to hide keys is at least this far below zero."""


@dataclasses.dataclass(eq=False)
class _Origins:
    """The inputs that the tensors of a run come from, by ``id``.

    Attributes:
        data: inputs whose values are in a tensor.
        masks: inputs of 0 and 1 of which a tensor is only a form, such as a bias made of a mask.
        uses: for each mask the inputs of the data that it was used on, one set for each use.
        like_padding: the masks whose values alone could mark padding; others must reach a mask argument or scores.
        steps: inputs of the data whose timesteps a tensor has, such as those of the queries after attention.
    """

    data: dict[int, _Names]
    masks: dict[int, _Names]
    uses: dict[str, list[_Names]]
    like_padding: _Names
    steps: dict[int, _Names] = dataclasses.field(default_factory=dict)

    def add_input(self, tensor: Any, name: str, is_candidate: bool) -> None:
        """Enter an input of the model, which may be a mask."""
        if is_candidate:
            self.masks[id(tensor)] = frozenset({name})
        else:
            self.data[id(tensor)] = self.steps[id(tensor)] = frozenset({name})

    def collect(self, tensors: Iterable[Any]) -> tuple[_Names, _Names]:
        """Return the data and the masks that tensors come from."""
        listed = list(tensors)
        data = (self.data.get(id(tensor), NO_NAMES) for tensor in listed)
        masks = (self.masks.get(id(tensor), NO_NAMES) for tensor in listed)
        return NO_NAMES.union(*data), NO_NAMES.union(*masks)

    def collect_steps(self, tensors: Iterable[Any]) -> _Names:
        """Return the data whose timesteps tensors have; where that is unknown, the data that they come from."""
        listed = list(tensors)
        tensors_only = [item for item in listed if hasattr(item, "shape")]
        timed = [tensor for tensor in tensors_only if len(tensor.shape) > 2 or not is_float(tensor)]
        steps = NO_NAMES.union(*(self.steps.get(id(tensor), NO_NAMES) for tensor in timed))
        return steps or self.collect(listed)[0]

    def add_use(self, masks: _Names, data: _Names) -> None:
        """Count the use of masks on data."""
        for mask in masks:
            if data - {mask}:
                self.uses.setdefault(mask, []).append(data - {mask})


STRUCTURES: tuple[Structure, ...] = ("dict", "list", "tuple")


def examine_inputs(runs: RunCache, inputs: Sequence[ModelInput]) -> InputRoles:
    """Return the roles of the inputs of a model, from a run on a few rows where they are not plain.

    A run that fails shows the roles up to the error.
    """
    model = runs.model
    declared = read_input_specs(model)
    if len(inputs) == 1 and not declared and read_structure(model) is None:
        _find_single_structure(model, inputs[0])
    if len(inputs) == 1 and not _has_masking(model) and not _may_be_timesteps(inputs[0], declared):
        return InputRoles()
    fixed = next((spec.shape[0] for spec in declared if spec.shape and spec.shape[0] is not None), None)
    rows = _choose_rows(inputs) if fixed is None else np.arange(min(fixed, len(inputs[0].values)))
    short = _select_short_rows(runs, inputs, declared)
    some = [select_rows(model_input, rows) for model_input in inputs] if short is None else short
    structure = None if declared or len(inputs) < 2 else _find_structure(model, some)
    if structure == "array":
        return InputRoles(structure=structure)
    if structure == "dict":
        some = list(sort_for_dict(some))
    recording = runs.record_first(some)
    if recording.error is not None and short is not None:
        runs.takes_short_rows = False
        return examine_inputs(runs, inputs)
    if recording.error is not None:  # Ids may be out of range, which the rules report.
        small = [
            dataclasses.replace(entry, values=entry.values % 2) if entry.kind == "ids" else entry for entry in some
        ]
        recording = record_run(model, pack_arguments(model, small))
    return dataclasses.replace(find_input_roles(recording, some), structure=structure)


def _choose_rows(inputs: Sequence[ModelInput]) -> NDArray[np.intp]:
    """Return the rows that a probe of a large model will run on, as far as masks among the inputs show them."""
    masks = _list_padding_masks(inputs)
    return choose_rows(masks, FEWEST_ROWS) if masks else np.arange(min(FEWEST_ROWS, len(inputs[0].values)))


def _list_padding_masks(inputs: Sequence[ModelInput]) -> list[ModelInput]:
    masks = [entry for entry in inputs if holds_flags(entry) and looks_like_padding(entry)]
    return [dataclasses.replace(entry, valid=entry.values.astype(bool)) for entry in masks]


def _select_short_rows(
    runs: RunCache, inputs: Sequence[ModelInput], declared: Sequence[InputSpec]
) -> list[ModelInput] | None:
    """Return the short rows that a probe of a large model will run on, as far as masks among the inputs show them."""
    masks = _list_padding_masks(inputs)
    shapes = {entry.values.shape for entry in masks}
    is_any_length = all(spec.shape[1:2] == (None,) for spec in declared)
    if len(shapes) != 1 or not is_any_length or not runs.takes_short_rows or not is_large_run(runs.model, masks):
        return None
    short = choose_short_rows(masks, avoided=list_feature_sizes(runs.model))
    if short is None or any(entry.values.shape[:2] != masks[0].values.shape for entry in inputs):
        return None
    rows, columns = short
    return [
        dataclasses.replace(
            entry,
            values=entry.values[rows][:, columns],
            valid=None if entry.valid is None else entry.valid[rows][:, columns],
            cells=None if entry.cells is None else entry.cells[rows][:, columns],
        )
        for entry in inputs
    ]


def _has_masking(model: Any) -> bool:
    """Return whether a layer may mask a number in its input: ``Masking``, or one with its own ``compute_mask``."""
    import keras

    plain = keras.layers.Layer.compute_mask
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            has_code = layer.mask is not None
        else:
            has_code = has_own_code(layer) and not isinstance(layer, keras.Model)
            has_code = has_code and type(layer).compute_mask is not plain
        if has_code or isinstance(layer, keras.layers.Masking):
            return True
    return False


def _find_single_structure(model: Any, model_input: ModelInput) -> None:
    """Let a subclassed model be called with a dict of its only input if it takes that, and no array."""
    import keras

    if model.built or isinstance(model, keras.Sequential):
        return
    row = [select_rows(model_input, slice(0, 1))]
    if record_run(model, pack_arguments(model, row)).error is None:
        return
    set_structure(model, "dict")
    if record_run(model, pack_arguments(model, row)).error is not None:
        forget_structure(model)


def _find_structure(model: Any, inputs: Sequence[ModelInput]) -> Structure:
    """Return the nest in which a subclassed model takes its inputs: that of its first call, or the first that works."""
    built = read_structure(model)
    if built is not None:
        return built
    for structure in STRUCTURES:
        set_structure(model, structure)
        in_order = sort_for_dict(inputs) if structure == "dict" else inputs
        if record_run(model, pack_arguments(model, in_order)).error is None:
            return structure
    primary = find_primary(inputs)
    if primary is not None and record_run(model, primary.values).error is None:
        return "array"
    set_structure(model, "dict")
    return "dict"


def _may_be_timesteps(model_input: ModelInput, declared: Sequence[InputSpec]) -> bool:
    """Return whether only the model shows the timesteps: of ids as floats, of a row of numbers, or on another axis."""
    is_full = model_input.kind == "features" and model_input.valid is not None and bool(model_input.valid.all())
    return is_full or is_row_of_numbers(model_input) or (not declared and holds_whole_numbers(model_input))


def find_input_roles(recording: Recording, inputs: Sequence[ModelInput]) -> InputRoles:
    """Return the roles of the inputs of a recorded run, which may have failed.

    A functional model shows the masks in the arguments of its calls, a subclassed one in the operations of its code.
    """
    import keras

    flags = [entry for entry in inputs if holds_flags(entry)]
    origins = _Origins({}, {}, {}, frozenset(entry.name for entry in flags if looks_like_padding(entry)))
    masked_values: dict[str, MaskedValue] = {}
    input_dims: dict[str, int] = {}
    by_name = {model_input.name: model_input for model_input in inputs}
    for tensor, model_input in zip(recording.inputs, inputs, strict=False):
        # A mask of zeros would mark everything as padding; segments are all 0 where there is only one of them.
        origins.add_input(tensor, model_input.name, holds_flags(model_input) and bool(model_input.values.any()))
    names = name_paths([entry for entry in recording.entries if not entry.code])
    for entry in recording.ended:
        if isinstance(entry.operation, keras.layers.Embedding):
            for name in _find_only(origins, entry.inputs[:1]):
                input_dims[name] = max(input_dims.get(name, 0), int(entry.operation.input_dim))
        inside = _find_value_inside(entry)
        value = _find_masked_value(entry) if inside is None else inside
        if value is not None:
            rows = len(entry.inputs[0].shape) == 2
            for name in _find_only(origins, entry.inputs[:1]):
                if _is_unchanged(entry.inputs[0], by_name[name]) or (rows and is_row_of_numbers(by_name[name])):
                    masked = MaskedValue(names[entry.index], float(value), inside is not None, rows)
                    masked_values.setdefault(name, masked)
        _follow_call(origins, entry)
    series = {name for entry in recording.ended for name in _find_series(origins, entry, by_name)}
    return InputRoles(
        masked_values,
        _resolve_uses(origins.uses),
        input_dims,
        _find_columns(recording, inputs),
        frozenset(series),
        dict(axis for entry in recording.ended for axis in _find_time_axis(origins, entry, by_name)),
    )


def _find_time_axis(
    origins: _Origins, entry: CallRecord, inputs: Mapping[str, ModelInput]
) -> Iterator[tuple[str, int]]:
    """Yield the input whose axis a call moves to axis 1, or takes as time with the channels before it."""
    if entry.calls or not entry.inputs or not entry.outputs:
        return
    source, result = entry.inputs[0], entry.outputs[0]
    for name in _find_only(origins, [source]):
        values = inputs[name].values
        if inputs[name].kind != "features" or tuple(source.shape) != values.shape:
            continue
        if getattr(entry.operation, "data_format", None) == "channels_first" and values.ndim == 3:
            yield name, 2
            continue
        moved = (axis for axis in range(2, values.ndim) if _holds(result, np.swapaxes(values, 1, axis)))
        yield from ((name, axis) for axis in moved)


def _holds(tensor: Any, values: NDArray[Any]) -> bool:
    """Return whether a tensor has these numbers, in this order, with the rows and the axis of time that they have."""
    shape = tuple(tensor.shape)
    if shape[:2] != values.shape[:2] or np.prod(shape) != values.size:
        return False
    return np.array_equal(as_float64(tensor).ravel(), values.astype(np.float64).ravel(), equal_nan=True)


def _find_series(origins: _Origins, entry: CallRecord, inputs: Mapping[str, ModelInput]) -> Iterator[str]:
    """Yield the input of numbers ``(batch, timesteps)`` that a layer takes as one feature at each timestep."""
    import keras

    layers = keras.layers
    timed = (layers.RNN, layers.Bidirectional, layers.TimeDistributed, layers.Conv1D, layers.SeparableConv1D)
    pooling = (layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)
    if not entry.inputs or not (isinstance(entry.operation, (*timed, *pooling)) or is_attention(entry)):
        return
    tensor = entry.inputs[0]
    for name in _find_only(origins, [tensor]):
        if is_row_of_numbers(inputs[name]) and _is_unchanged(tensor, inputs[name]):
            yield name


def _find_value_inside(entry: CallRecord) -> float | None:
    """Return the number that a ``Masking`` layer in a ``TimeDistributed`` masks in features of places inside timesteps.

    The mask that it makes goes no further in Keras.
    """
    import keras

    layer = entry.operation
    if not isinstance(layer, keras.layers.TimeDistributed) or not isinstance(layer.layer, keras.layers.Masking):
        return None
    number = layer.layer.mask_value
    return None if np.ndim(number) or not entry.inputs or len(entry.inputs[0].shape) != 4 else float(number)


def _find_masked_value(entry: CallRecord) -> float | None:
    """Return the number that a call masks, if all features of a timestep are that; None if it masks something else.

    A subclass of ``Masking`` may take its mask from other values, and another layer may do as ``Masking`` does.
    """
    import keras

    layer, mask = entry.operation, entry.masks_out[0] if entry.masks_out else None
    if mask is None or entry.code or not entry.inputs or any(carried is not None for carried in entry.carried):
        return None
    values = as_array(entry.inputs[0])
    if mask.shape != values.shape[: mask.ndim]:
        return None
    if isinstance(layer, keras.layers.Masking):
        number = None if np.ndim(layer.mask_value) else layer.mask_value
    else:
        hidden = values[~mask]
        number = hidden.flat[0] if hidden.size and mask.ndim > 1 and has_own_code(layer) else None
    if number is None:
        return None
    # The layer compares in the dtype of the features, in which -99999.99 is another number.
    differs = np.isnan(number) | (values != np.asarray(number).astype(values.dtype))
    return number if np.array_equal(mask, differs.any(axis=tuple(range(mask.ndim, values.ndim)))) else None


def _find_columns(recording: Recording, inputs: Sequence[ModelInput]) -> dict[str, bool]:
    """Return the inputs of ids that the model takes column by column, and whether columns have their own layers."""
    ids = ((tensor, item) for tensor, item in zip(recording.inputs, inputs, strict=False) if item.kind == "ids")
    taken = {item.name: _list_taken_columns(recording, tensor) for tensor, item in ids}
    return {name: _have_own_layers(recording, columns) for name, columns in taken.items() if columns}


def _list_taken_columns(recording: Recording, ids: Any) -> list[Any]:
    """Return the columns of ids ``(batch, columns)`` as the model takes each of them; empty if it does not."""
    if len(ids.shape) != 2 or ids.shape[1] < 2:
        return []
    uses = [entry for entry in recording.ended if not entry.calls and any(x is ids for x in entry.inputs)]
    taken = [tensor for entry in uses for tensor in entry.outputs]
    rows, width = int(ids.shape[0]), int(ids.shape[1])
    if len(taken) < width or any(tuple(x.shape) not in ((rows,), (rows, 1)) for x in taken):
        return []
    values = as_float64(ids)
    same = np.array([(as_float64(x).reshape(rows, 1) == values).all(axis=0) for x in taken])
    return taken if same.any(axis=0).all() and same.any(axis=1).all() else []


def _have_own_layers(recording: Recording, columns: Sequence[Any]) -> bool:
    """Return whether two columns go into different layers, as those of a hand-written loop over timesteps do not."""
    import keras

    layers = [entry for entry in recording.ended if isinstance(entry.operation, keras.layers.Layer)]
    users = [
        frozenset(id(entry.operation) for entry in layers if any(x is column for x in entry.inputs))
        for column in columns
    ]
    return any(first.isdisjoint(second) for first in users for second in users if first and second)


def _find_only(origins: _Origins, tensors: Sequence[Any]) -> Iterable[str]:
    """Return the only input that tensors come from; none if there are several."""
    data, masks = origins.collect(tensors)
    return data | masks if len(data | masks) == 1 else NO_NAMES


def _is_unchanged(tensor: Any, model_input: ModelInput) -> bool:
    """Return whether a tensor has the numbers of an input and its timesteps, for instance reshaped."""
    shape, values = tuple(tensor.shape), model_input.values
    axes = 2 if model_input.kind == "ids" else 3
    return len(shape) >= axes and _holds(tensor, values)


def _follow_call(origins: _Origins, entry: CallRecord) -> None:
    data, masks = origins.collect(entry.inputs)
    for argument, tensors in entry.mask_tensors.items():
        _, passed = origins.collect(tensors)
        if passed:
            origins.add_use(passed, _find_masked_data(origins, entry, argument))
    is_use = bool(data and masks) and _uses_mask(origins, entry)
    if is_use:
        used = masks & origins.like_padding if entry.type.lower() in SELECTING else masks
        origins.add_use(used, origins.collect_steps(entry.inputs))
    if entry.calls:
        new = [tensor for tensor in entry.outputs if id(tensor) not in origins.data and id(tensor) not in origins.masks]
    else:
        new = list(entry.outputs)
    for tensor in new:
        if data or _makes_data(entry):
            origins.data[id(tensor)] = data if is_use else data | masks
        elif masks:
            origins.masks[id(tensor)] = masks
    _follow_steps(origins, entry)


def _follow_steps(origins: _Origins, entry: CallRecord) -> None:
    """Note whose timesteps the results of a call have: after attention, and a product, those of its first input."""
    first = is_attention(entry) or entry.type.lower() in PRODUCTS
    steps = origins.collect_steps(entry.inputs[:1] if first else entry.inputs)
    for tensor in entry.outputs:
        if steps and (first or not entry.calls or id(tensor) not in origins.steps):
            origins.steps[id(tensor)] = steps


def _find_masked_data(origins: _Origins, entry: CallRecord, argument: str) -> _Names:
    """Return the inputs whose timesteps a mask argument marks: of attention, those of the keys."""
    tensors = entry.inputs
    if is_attention(entry):
        tensors = entry.inputs[:1] if argument == "query_mask" else entry.inputs[1:] or entry.inputs
    by_argument = dict(zip(_list_arguments(entry), entry.args, strict=False)) | entry.kwargs
    named = [name for name in by_argument if _share_start(name, argument)]
    if named:  # ``decoder_padding_mask`` belongs to ``decoder_sequence``.
        tensors = [by_argument[name] for name in named]
    return origins.collect_steps(tensors)


def _list_arguments(entry: CallRecord) -> tuple[str, ...]:
    return () if entry.code else list_parameters(type(entry.operation).call)


def _share_start(name: str, argument: str) -> bool:
    start = argument.split("_")[0]
    return start not in ("mask", "attention", "padding") and name != argument and name.split("_")[0] == start


def _uses_mask(origins: _Origins, entry: CallRecord) -> bool:
    kind = entry.type.lower()
    if kind in SELECTING:
        return True
    if kind in ADDING:
        forms = [tensor for tensor in entry.inputs if id(tensor) in origins.masks]
        return any(np.abs(as_float64(tensor)).max(initial=0.0) >= BIAS for tensor in forms)
    return False


def _makes_data(entry: CallRecord) -> bool:
    """Return whether a call makes more of 0 and 1 than another form of a mask: it has weights, or looks up vectors."""
    return entry.type.lower().startswith(LOOKUPS) or bool(getattr(entry.operation, "weights", ()))


def _resolve_uses(uses: dict[str, list[_Names]]) -> dict[str, frozenset[str]]:
    """Return the inputs that each mask is for.

    A mask of a decoder is also used where the data of the encoder has joined. So of several masks, each is for the
    inputs in all of its uses, and for others that no other mask is used on.
    """
    if len(uses) < 2:
        return {mask: NO_NAMES.union(*sets) for mask, sets in uses.items()}
    core = {mask: sets[0].intersection(*sets) or NO_NAMES.union(*sets) for mask, sets in uses.items()}
    claimed = NO_NAMES.union(*core.values())
    return {
        mask: core[mask]
        | {
            name
            for name in NO_NAMES.union(*sets) - claimed
            if all(name not in NO_NAMES.union(*others) for other, others in uses.items() if other != mask)
        }
        for mask, sets in uses.items()
    }
