"""Where padding becomes numbers: the places at which it can be replaced without a change of any mask."""

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
    """Return where the values of padding can be replaced without a change of any mask, or why nowhere.

    Ids become vectors in a lookup; features under a ``Masking`` layer may change behind it, others where they come in,
    unless the model makes its mask of their values.
    """
    calls: dict[int, Bools] = {}
    above: set[int] = set()
    for entry in run.ended:
        if entry.index in above or not entry.outputs or not entry.returned:
            continue
        valid = flow.valid.get(id(entry.outputs[0]))
        if valid is None or not is_float(entry.outputs[0]) or len(entry.outputs[0].shape) < 3:
            continue
        if _looks_up(entry, flow, inputs, run) or _masks_values(entry, flow, inputs, run):
            calls[entry.index] = valid
            parent = entry.parent
            while parent is not None:
                above.add(parent.index)
                parent = parent.parent
    direct = {
        position
        for position, (given, tensor) in enumerate(zip(inputs, run.inputs, strict=True))
        if given.kind == "features" and given.values.dtype.kind == "f" and not _is_masked_by_value(tensor, run)
    }
    judged = [at for at in direct if _is_compared(run.inputs[at], run)]
    if judged:
        return f"the model makes its mask of the values of {inputs[judged[0]].name}"
    if not calls and not direct:
        return "no call was seen that turns the ids into vectors of the same timesteps"
    return PaddingSources(calls, frozenset(direct))


def _looks_up(entry: CallRecord, flow: MaskFlow, inputs: Sequence[ModelInput], run: Recording) -> bool:
    """Return whether a call is given ids; an ``Input`` that names no dtype makes floats of them."""
    handed = {id(tensor) for tensor, given in zip(run.inputs, inputs, strict=True) if given.kind == "ids"}
    return any(
        id(tensor) in flow.valid
        and (get_dtype(tensor).startswith(("int", "uint")) or _comes_from(tensor, handed, flow))
        for tensor in entry.inputs
    )


def _masks_values(entry: CallRecord, flow: MaskFlow, inputs: Sequence[ModelInput], run: Recording) -> bool:
    """Return whether a call makes a mask of the features that the model was given, as ``Masking`` does."""
    made = any(mask is not None for mask in entry.masks_out) and all(mask is None for mask in entry.carried)
    handed = {id(tensor) for tensor, given in zip(run.inputs, inputs, strict=True) if given.kind == "features"}
    return made and not entry.given and any(_comes_from(tensor, handed, flow) for tensor in entry.inputs)


def _comes_from(tensor: Any, handed: set[int], flow: MaskFlow) -> bool:
    maker = flow.maker.get(id(tensor))
    if id(tensor) in handed or maker is None:
        return id(tensor) in handed
    return maker.type == "Cast" and any(id(each) in handed for each in maker.inputs)


def _is_masked_by_value(tensor: Any, run: Recording) -> bool:
    return any(
        any(mask is not None for mask in entry.masks_out) and any(each is tensor for each in entry.inputs)
        for entry in run.ended
        if not entry.given and all(mask is None for mask in entry.carried) and entry.parent is not None
    )


def _is_compared(tensor: Any, run: Recording) -> bool:
    return any(
        any(each is tensor for each in entry.inputs) and any(get_dtype(out) == "bool" for out in entry.outputs)
        for entry in run.ended
    )
