"""Where padding becomes numbers: the places at which these can be replaced without changing any mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.movement import VALUELESS
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, get_dtype, is_float


@dataclasses.dataclass(frozen=True, eq=False)
class PaddingSources:
    """Where padding becomes numbers.

    Attributes:
        calls: calls, by index, with the validity of their result.
        inputs: inputs of the model, by position.
        fixed: those of the calls that make a mask of the values that they receive, as ``Masking`` does, or return a
            unit vector of each id, or one that is never trained. Only one value marks padding, so that other values
            after such a call are none that data can lead to.
        complete: whether all padding reaches the outputs through these places.
    """

    calls: dict[int, Bools]
    inputs: frozenset[int]
    fixed: frozenset[int] = frozenset()
    complete: bool = True

    @property
    def is_free(self) -> bool:
        """Whether data can have other values at any of these places."""
        return bool(self.inputs) or len(self.fixed) < len(self.calls)

    def select_free(self) -> PaddingSources:
        """Return only the places where data can have other values."""
        calls = {index: valid for index, valid in self.calls.items() if index not in self.fixed}
        return PaddingSources(calls, self.inputs)


def find_padding_sources(run: Recording, flow: MaskFlow, inputs: Sequence[ModelInput]) -> PaddingSources | str:
    """Return where the values of padding can be replaced without changing any mask, or the reason why nowhere.

    Ids become vectors in a lookup. Features under a ``Masking`` layer may change after it, others where they enter the
    model, unless the model computes its mask from their values.
    """
    pairs = list(zip(run.inputs, inputs, strict=True))
    # Words in sentences are features of integers.
    of_ids = (x for x, model_input in pairs if model_input.kind in ("ids", "features") and _holds_ids(model_input))
    ids = _follow_ids(run, set(map(id, of_ids)))
    features = {
        position: follow_tensors(run, {id(x)})
        for position, (x, model_input) in enumerate(pairs)
        if model_input.kind == "features" and model_input.valid is not None
    }
    calls, fixed = _find_calls(run, flow, ids, features.values())
    direct = [
        position
        for position, tensors in features.items()
        if inputs[position].values.dtype.kind == "f"
        and not _is_mask(inputs[position])
        and not any(_masks_values(entry, tensors, flow) for entry in run.ended if entry.parent is not None)
    ]
    compared = [position for position in direct if _is_compared(run.inputs[position], run, inputs[position])]
    if compared:
        return f"the model computes its mask from the values of {inputs[compared[0]].name}"
    if not calls and not direct and not ids:
        return "no call takes the numbers at padding in the places of their timesteps"
    if not calls and not direct:
        return "no call turns the ids into vectors of the same timesteps"
    sources = PaddingSources(calls, frozenset(direct), frozenset(fixed))
    return dataclasses.replace(sources, complete=not _bypasses(run, sources, inputs))


def _find_calls(
    run: Recording, flow: MaskFlow, ids: set[int], features: Collection[set[int]]
) -> tuple[dict[int, Bools], set[int]]:
    """Return the calls after which padding is replaced, with their validity, and those of which it is fixed."""
    calls: dict[int, Bools] = {}
    fixed = set()
    for entry in run.ended:
        if entry.calls or entry.parent is None or not entry.outputs:
            continue
        valid = flow.valid.get(id(entry.outputs[0]))
        if valid is None or not is_float(entry.outputs[0]) or len(entry.outputs[0].shape) < valid.ndim:
            continue
        has_vectors = len(entry.outputs[0].shape) > valid.ndim
        if has_vectors and _looks_up(entry, ids) and not marks_validity(entry.outputs[0], valid):
            calls[entry.index] = valid
            if _returns_unit_vectors(entry) or _is_frozen(entry):
                fixed.add(entry.index)
        elif any(_masks_values(entry, tensors, flow) for tensors in features):
            calls[entry.index] = valid
            fixed.add(entry.index)
    return calls, fixed


def _holds_ids(model_input: ModelInput) -> bool:
    return model_input.kind == "ids" or model_input.values.dtype.kind in "iu"


def _looks_up(entry: CallRecord, ids: set[int]) -> bool:
    """Return whether a call turns ids into vectors; another dtype or axis of the same numbers is no lookup."""
    received = [tensor for tensor in entry.inputs if id(tensor) in ids]
    output = entry.outputs[0]
    return any(
        tuple(output.shape[: len(tensor.shape)]) == tuple(tensor.shape) and not repeats_numbers(output, tensor)
        for tensor in received
        if len(output.shape) > len(tensor.shape)
    )


def repeats_numbers(vectors: Any, numbers: Any) -> bool:
    """Return whether all vectors, on the last axes, hold the number of their place only, as after a new axis."""
    expanded = as_float64(numbers).reshape(*numbers.shape, *[1] * (len(vectors.shape) - len(numbers.shape)))
    return np.array_equal(np.broadcast_to(expanded, tuple(vectors.shape)), as_float64(vectors))


def _returns_unit_vectors(entry: CallRecord) -> bool:
    """Return whether each vector has a single 1 among zeros, as of ``one_hot``: no weight changes that of padding."""
    vectors = as_float64(entry.outputs[0])
    return bool(vectors.shape[-1] > 1 and ((vectors == 0) | (vectors == 1)).all() and (vectors.sum(axis=-1) == 1).all())


def _is_frozen(entry: CallRecord) -> bool:
    """Return whether a lookup has vectors that are never trained, such as a row of zeros for padding."""
    weights = getattr(entry.operation, "weights", None)
    return bool(weights) and not getattr(entry.operation, "trainable_weights", None)


def _follow_ids(run: Recording, ids: set[int]) -> set[int]:
    """Return the tensors, by ``id``, that hold ids: also in another order, with other ones, or as floats."""
    for entry in run.ended:
        if not any(id(tensor) in ids for tensor in entry.inputs):
            continue
        is_cast = entry.type == "Cast"
        ids.update(id(x) for x in entry.outputs if is_cast or get_dtype(x).startswith(("int", "uint")))
    return ids


def follow_tensors(run: Recording, sources: set[int], barriers: frozenset[int] = frozenset()) -> set[int]:
    """Return the tensors, by ``id``, whose values depend on some tensors; booleans, such as masks, end the way.

    Args:
        run: the run.
        sources: the tensors to start from, by ``id``.
        barriers: calls, by index, whose results do not count.
    """
    followed = set(sources)
    for entry in run.ended:
        # The calls inside a call, where these are recorded, show the way of the values.
        if entry.calls or entry.type in VALUELESS or entry.index in barriers:
            continue
        if any(id(tensor) in followed for tensor in entry.inputs):
            followed.update(id(tensor) for tensor in entry.outputs if get_dtype(tensor) != "bool")
    return followed


def _bypasses(run: Recording, sources: PaddingSources, inputs: Sequence[ModelInput]) -> bool:
    """Return whether the values of padding also reach an output by a way that no source is on."""
    starts = {
        id(tensor)
        for position, (tensor, model_input) in enumerate(zip(run.inputs, inputs, strict=True))
        if position not in sources.inputs
        and model_input.valid is not None
        and model_input.kind in ("ids", "features")
        and not _is_mask(model_input)
    }
    reached = follow_tensors(run, starts, frozenset(sources.calls))
    return any(id(tensor) in reached for _, tensor in list_output_tensors(run.output))


def _is_mask(model_input: ModelInput) -> bool:
    """Return whether features mark the valid timesteps by 1 and 0, or weigh them, padding with 0, as edges do."""
    valid, values = model_input.valid, model_input.values
    if valid is not None and model_input.is_square:
        return bool((values[~valid] == 0).all())
    if valid is None or valid.all() or values.size != valid.size:
        return False
    if (values.reshape(valid.shape) == valid).all():
        return True
    is_weight = values.ndim == 2 and values.dtype.kind == "f"
    return is_weight and bool((values[valid] > 0).all() and (values[~valid] == 0).all())


def _masks_values(entry: CallRecord, features: set[int], flow: MaskFlow) -> bool:
    """Return whether a call computes a mask from features that are an input, as ``Masking`` does."""
    # A mask of rows, or of channels before time, marks no timestep, and stays as it is if it marks nothing.
    is_of_time = any(id(tensor) in flow.valid and len(tensor.shape) > 2 for tensor in entry.inputs)
    marks = any(mask is not None and (is_of_time or not mask.all()) for mask in entry.masks_out)
    return marks and creates_mask(entry) and any(id(tensor) in features for tensor in entry.inputs)


def creates_mask(entry: CallRecord) -> bool:
    """Return whether a call returns a mask, and receives none from another call or a change of the model."""
    receives = bool(entry.mask_tensors) or any(mask is not None for mask in entry.carried)
    masks = [mask for mask in entry.masks_out if mask is not None]
    return bool(masks) and not (receives or entry.keeps or any(_is_passed(mask, entry) for mask in masks))


def _is_passed(mask: Bools, entry: CallRecord) -> bool:
    """Return whether a call with several arguments receives a mask as one of them, whatever its name."""
    alike = [x for x in entry.inputs if tuple(x.shape) == mask.shape and len(entry.inputs) > 1]
    return any(np.array_equal(as_array(x), mask) for x in alike)  # 1 and 0 are equal to True and False; ids are not.


def _is_compared(tensor: Any, run: Recording, model_input: ModelInput) -> bool:
    """Return whether a call of the model makes a mask of a tensor; those of a repair outlast other values."""
    users = (entry for entry in run.ended if not entry.added and any(source is tensor for source in entry.inputs))
    results = [output for entry in users if entry.parent is not None for output in entry.outputs]
    return any(
        not marks_nothing(output, run) if get_dtype(output) == "bool" else marks_validity(output, model_input.valid)
        for output in results
    )


def marks_nothing(flags: Any, run: Recording) -> bool:
    """Return whether booleans only become other ones that are all True, as where a mask is of channels, not of time."""
    users = (entry for entry in run.ended if any(source is flags for source in entry.inputs))
    results = [output for entry in users if entry.parent is not None for output in entry.outputs]
    return bool(results) and all(get_dtype(output) == "bool" and as_array(output).all() for output in results)


def marks_validity(tensor: Any, valid: Bools | None) -> bool:
    """Return whether a result is a mask as numbers: one for all valid timesteps, and another one for all padding."""
    if valid is None or valid.all() or not valid.any() or tuple(tensor.shape[: valid.ndim]) != valid.shape:
        return False
    if int(np.prod(tensor.shape)) != valid.size:
        return False
    values = as_float64(tensor).reshape(valid.shape)
    first, padding = values[valid][0], values[~valid][0]
    same = (values[valid] == first).all() and (values[~valid] == padding).all()
    return bool(same and first != padding and valid.sum() > 1)
