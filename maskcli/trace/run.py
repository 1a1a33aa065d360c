"""The calls of a model as they really ran, each with the masks that came in, reached it and went out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Call
from maskcli.trace.mask_flow import MaskFlow, follow_masks
from maskcli.trace.recorder import WHO_SEES_WHOM, CallRecord, Recording, name_paths, record_run


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A traced run: its calls in order, and the output with whatever masks its tensors carry.

    ``names`` has the path of each watched entry by its index, and ``calls_of`` the record of those that are shown.
    """

    calls: tuple[Call, ...]
    output: Any
    watched: Recording
    flow: MaskFlow
    names: dict[int, str]
    calls_of: dict[int, Call]


def trace_model(model: Any, arguments: Any, inputs: Sequence[ModelInput] = (), unfold: bool = False) -> Run:
    """Run ``model`` once, eagerly and in inference mode, and return what its calls did to the mask.

    Args:
        model: a Keras model.
        arguments: what it is called with: the values of ``inputs`` in the structure that it takes.
        inputs: the same with the truth about padding; nothing where that is not known.
        unfold: also look into layers of Keras that call others.

    Raises:
        RaisedInCall: with whatever the model raises.
    """
    watched = record_run(model, arguments, unfold=unfold)
    if watched.error is not None:
        raise watched.raised()
    return trace_recording(watched, inputs)


def trace_recording(
    watched: Recording, inputs: Sequence[ModelInput], also: Sequence[CallRecord] = (), flow: MaskFlow | None = None
) -> Run:
    """Return the calls of a watched run.

    Args:
        watched: the run.
        inputs: what it ran on.
        also: operations of nobody's code to show beside those that matter.
        flow: what flows through it, where that is known already.
    """
    flow = follow_masks(watched, inputs) if flow is None else flow
    before = [flow.before[entry.index] for entry in also if entry.index in flow.before]
    losing = {id(loss.at) for loss in (*_losses_that_matter(watched, flow), *before)} | {id(entry) for entry in also}
    names = name_paths([entry for entry in watched.entries if not entry.code or id(entry) in losing])
    shown = [
        entry
        for entry in watched.entries
        if entry.parent is not None and entry.returned and (not entry.code or id(entry) in losing)
    ]
    calls_of = {
        entry.index: _record(entry, position, names, flow, entry.index in flow.computing)
        for position, entry in enumerate(shown)
    }
    return Run(tuple(calls_of.values()), watched.output, watched, flow, names, calls_of)


def find_first_mask(calls: Iterable[Call]) -> Bools | None:
    """Return the first mask that appears in a run: what the model's mask source computed."""
    masks = (mask for call in calls for mask in (call.mask_in, call.mask_out) if not call.computes_mask)
    return next((mask for mask in masks if mask is not None), None)


def list_output_tensors(output: Any) -> list[tuple[str, Any]]:
    """Return the tensors of a model's output, each with its name in the nest: ``logits``, ``states/0``, ``output``."""
    import keras

    flat = keras.tree.flatten_with_path(output)
    return [("/".join(map(str, path)) or "output", tensor) for path, tensor in flat]


def _losses_that_matter(watched: Recording, flow: MaskFlow) -> list[Any]:
    """Return the losses of masks that a later call of a layer, or the output, would have carried."""
    import keras

    reached = [tensor for entry in watched.entries if not entry.code for tensor in entry.inputs]
    reached += keras.tree.flatten(watched.output)
    return [flow.lost[id(tensor)] for tensor in reached if id(tensor) in flow.lost]


def _record(entry: CallRecord, index: int, names: dict[int, str], flow: MaskFlow, computes_mask: bool) -> Call:
    import keras

    handed = [
        mask for name, masks in entry.given_masks.items() if name != WHO_SEES_WHOM for mask in masks if mask is not None
    ]
    mask_in = next((mask for mask in (*handed, *entry.carried) if mask is not None), None)
    mask_out = next(iter(entry.masks_out), None)
    before, source = flow.before.get(entry.index), flow.last_with(entry)
    return Call(
        call=names[entry.index],
        index=index,
        type=entry.type,
        effect=_effect(mask_in, mask_out, bool(handed)),
        mask_in=mask_in,
        mask_out=mask_out,
        given=bool(handed),
        computes_mask=computes_mask,
        warning="\n".join(entry.warnings) or None,
        masks_in=tuple(entry.carried),
        masks_out=tuple(entry.masks_out),
        mask_arguments={name: tuple(entry.given_masks.get(name, ())) for name in entry.accepts},
        shapes_in=tuple(tuple(tensor.shape) for tensor in entry.inputs),
        shapes_out=tuple(tuple(tensor.shape) for tensor in entry.outputs),
        code=entry.code,
        contains=entry.calls,
        of_model=isinstance(entry.operation, keras.Model),
        lost_at=names.get(before.at.index) if before is not None else None,
        lost_after=names.get(before.after.index) if before is not None and before.after is not None else None,
        takes_off=any(entry.taken_off),
        mask_from=names.get(source.index) if source is not None else None,
        valid=_truth(entry, flow),
    )


def _truth(entry: CallRecord, flow: MaskFlow) -> Bools | None:
    """Return which timesteps are padding; None where they are others than those of the data, and that is a guess."""
    known = (flow.valid.get(id(tensor)) for tensor in (*entry.outputs[:1], *entry.inputs))
    first = next((valid for valid in known if valid is not None), None)
    return first if any(first is truth for truth in flow.truths) else None


def _effect(mask_in: Bools | None, mask_out: Bools | None, given: bool) -> str:
    if given:
        return "uses"
    if mask_in is None:
        return "none" if mask_out is None else "creates"
    if mask_out is None:
        return "drops"
    return "passes" if np.array_equal(mask_in, mask_out) else "changes"
