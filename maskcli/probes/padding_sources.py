"""Where padding becomes numbers: the places at which these can be replaced without changing any mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.values import get_dtype, is_float


@dataclasses.dataclass(frozen=True, eq=False)
class PaddingSources:
    """Where padding becomes numbers: calls, by index, with the validity of their result, and inputs, by position."""

    calls: dict[int, Bools]
    inputs: frozenset[int]


def find_padding_sources(run: Recording, flow: MaskFlow, inputs: Sequence[ModelInput]) -> PaddingSources | str:
    """Return where the values of padding can be replaced without changing any mask, or the reason why nowhere.

    Ids become vectors in a lookup. Features under a ``Masking`` layer may change after it, others where they enter the
    model, unless the model computes its mask from their values.
    """
    calls: dict[int, Bools] = {}
    around: set[int] = set()
    for entry in run.ended:
        if entry.index in around or not entry.outputs or not entry.returned:
            continue
        valid = flow.valid.get(id(entry.outputs[0]))
        if valid is None or not is_float(entry.outputs[0]) or len(entry.outputs[0].shape) < 3:
            continue
        if _looks_up(entry, flow, inputs, run) or _masks_values(entry, flow, inputs, run):
            calls[entry.index] = valid
            parent = entry.parent
            while parent is not None:
                around.add(parent.index)
                parent = parent.parent
    direct = {
        position
        for position, (model_input, tensor) in enumerate(zip(inputs, run.inputs, strict=True))
        if model_input.kind == "features" and model_input.values.dtype.kind == "f" and not _is_masked(tensor, run)
    }
    compared = [position for position in direct if _is_compared(run.inputs[position], run)]
    if compared:
        return f"the model computes its mask from the values of {inputs[compared[0]].name}"
    if not calls and not direct:
        return "no call turns the ids into vectors of the same timesteps"
    return PaddingSources(calls, frozenset(direct))


def _looks_up(entry: CallRecord, flow: MaskFlow, inputs: Sequence[ModelInput], run: Recording) -> bool:
    """Return whether a call receives ids; these are floats where an ``Input`` has no dtype."""
    ids = {id(tensor) for tensor, model_input in zip(run.inputs, inputs, strict=True) if model_input.kind == "ids"}
    return any(
        id(tensor) in flow.valid and (get_dtype(tensor).startswith(("int", "uint")) or _comes_from(tensor, ids, flow))
        for tensor in entry.inputs
    )


def _masks_values(entry: CallRecord, flow: MaskFlow, inputs: Sequence[ModelInput], run: Recording) -> bool:
    """Return whether a call computes a mask from features that are an input, as ``Masking`` does."""
    pairs = zip(run.inputs, inputs, strict=True)
    features = {id(tensor) for tensor, model_input in pairs if model_input.kind == "features"}
    return _creates_mask(entry) and any(_comes_from(tensor, features, flow) for tensor in entry.inputs)


def _creates_mask(entry: CallRecord) -> bool:
    """Return whether a call returns a mask and receives none."""
    receives = bool(entry.mask_tensors) or any(mask is not None for mask in entry.carried)
    return not receives and any(mask is not None for mask in entry.masks_out)


def _comes_from(tensor: Any, sources: set[int], flow: MaskFlow) -> bool:
    """Return whether a tensor is one of these, by ``id``, unchanged or cast to another dtype."""
    maker = flow.maker.get(id(tensor))
    if id(tensor) in sources or maker is None:
        return id(tensor) in sources
    return maker.type == "Cast" and any(id(source) in sources for source in maker.inputs)


def _is_masked(tensor: Any, run: Recording) -> bool:
    """Return whether a call inside the model computes a mask from a tensor."""
    return any(
        _creates_mask(entry) and any(source is tensor for source in entry.inputs)
        for entry in run.ended
        if entry.parent is not None
    )


def _is_compared(tensor: Any, run: Recording) -> bool:
    """Return whether a call makes booleans of a tensor."""
    users = (entry for entry in run.ended if any(source is tensor for source in entry.inputs))
    return any(get_dtype(output) == "bool" for entry in users for output in entry.outputs)
