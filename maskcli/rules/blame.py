"""Who let padding in: the call at which it enters a result, or the one that lost the mask before it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from maskcli.records.arrays import Bools
from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call

BlameKind = Literal["dropped", "widened", "not-given", "no-source", "bad-source", "taken", "mixed", "leaks"]


@dataclasses.dataclass(frozen=True, eq=False)
class Blame:
    """The cause of a leak.

    Attributes:
        kind: ``dropped``: the mask was lost; ``widened``: it calls padding valid since some call; ``not-given``: it
            was there and did not reach the call; ``no-source``: there never was one; ``bad-source``: it was wrong
            from the start; ``taken``: a padded timestep was taken for the last one; ``mixed``: a normalisation took
            padding in; ``leaks``: the call computes with padding, whatever it is told.
        culprit: the call at fault; None where the whole model is.
        at: the call at which padding enters a result.
    """

    kind: BlameKind
    culprit: Call | None
    at: Call | None


def find_blame(model: ModelEvidence) -> Blame | None:
    """Return the cause of the leak where padding first enters a result; None when nothing leaks."""
    return next(iter(find_blames(model)), None)


def find_blames(model: ModelEvidence) -> list[Blame]:
    """Return the causes of a leak, the first one first.

    Others are calls that, tried by themselves, let in the padding among their inputs because a mask was lost, widened
    or not given; in a model that is told nothing, or tells its layers otherwise, that would say nothing.
    """
    if model.leak is None or not model.leak.leaks:
        return []
    first = _cause(model, model.leak.first_call)
    others = [_cause(model, path) for path in model.leak.entries if path != model.leak.first_call]
    told = [first, *(other for other in others if other.kind in ("dropped", "widened", "not-given", first.kind))]
    culprits = [(cause.culprit or cause.at) for cause in told]
    return [cause for index, cause in enumerate(told) if culprits[index] not in culprits[:index]]


def _cause(model: ModelEvidence, path: str | None) -> Blame:
    at = _owner(model, model.call(path))
    if at is None:
        return Blame("leaks", None, None)
    if model.taken is not None and model.taken.call == at.call:
        return Blame("taken", at, at)
    if any(mixing.call == at.call and not mixing.training for mixing in model.mixing):
        return Blame("mixed", at, at)
    if at.mask_in is None:
        lost = find_losing_call(model, at.lost_at)
        if lost is not None:
            return Blame("dropped", lost, at)
        return Blame("bad-source" if any(source.of_ids for source in model.sources) else "no-source", None, at)
    return _with_mask(model, at)


def _owner(model: ModelEvidence, call: Call | None) -> Call | None:
    """Return the layer of the user's own in whose code an operation ran; other calls as they are."""
    owner = model.call(call.call.rpartition("/")[0]) if call is not None and call.code else None
    return call if owner is None or owner.of_model else owner


def find_losing_call(model: ModelEvidence, path: str | None) -> Call | None:
    """Return the call of that path, which lost a mask; for an operation in a layer's own code that layer.

    A layer that passes the mask on in the end lost it inside for its own calls only: then that operation is named.
    """
    call = model.call(path)
    owner = _owner(model, call)
    return owner if owner is not None and owner.mask_out is None else call


def _with_mask(model: ModelEvidence, at: Call) -> Blame:
    """Return the cause of a leak at a call whose input had a mask."""
    if lets_padding_pass(at.mask_in, at.valid):
        wider = find_widening_call(model, at)
        return Blame("bad-source", None, at) if wider is None else Blame("widened", wider, at)
    if at.given:
        return _given(model, at)
    if any(name != "attention_mask" for name in at.mask_arguments):
        return Blame("not-given", at, at)
    return Blame("leaks" if at.mask_out is not None else "dropped", at, at)


def _given(model: ModelEvidence, at: Call) -> Blame:
    """Return the cause at a call that is given a mask: it may be that of one input, and another has none."""
    bare = any(mask is None and len(shape) > 2 for mask, shape in zip(at.masks_in, at.shapes_in, strict=True))
    if not bare or all(mask is None for mask in at.masks_in):
        return Blame("leaks", at, at)
    lost = find_losing_call(model, at.lost_at)
    return Blame("no-source", None, at) if lost is None else Blame("dropped", lost, at)


def find_widening_call(model: ModelEvidence, before: Call | None = None) -> Call | None:
    """Return the first call, up to ``before``, whose output mask calls padding valid though its input mask did not."""
    for call in model.trace:
        if before is not None and call.index > before.index:
            return None
        told = [mask for mask in (call.mask_in, *call.masks_in) if mask is not None]
        narrow = any(mask.shape == _shape(call.mask_out) and not lets_padding_pass(mask, call.valid) for mask in told)
        if narrow and lets_padding_pass(call.mask_out, call.valid):
            return call
    return None


def lets_padding_pass(mask: Bools | None, valid: Bools | None) -> bool:
    """Return whether a mask is True at padding."""
    return mask is not None and valid is not None and mask.shape == valid.shape and bool((mask & ~valid).any())


def _shape(mask: Bools | None) -> tuple[int, ...] | None:
    return None if mask is None else mask.shape


def has_mask(model: ModelEvidence) -> bool:
    """Return whether any call of the model carries or is given a mask."""
    return any(call.mask_in is not None or call.mask_out is not None for call in model.trace)


def describe_largest_place(model: ModelEvidence) -> str:
    """Return by how much results move, and where most: ``by up to 0.33, most in output tags at sample 1``."""
    leak = model.leak
    if leak is None or not leak.max_abs_change:
        return "as their gradient shows"
    several = leak.output is not None and len(model.outputs) > 1
    output = f"in {name_output(model, leak.output)} " if several else ""
    where = f"sample {leak.sample}" + (f", timestep {leak.timestep}" if leak.timestep is not None else "")
    return f"by up to {leak.max_abs_change:.3g}, most {output}at {where}"


def describe_largest_change(model: ModelEvidence, at: Call | None) -> float:
    """Return by how much results move; of a call that is not the first one, its own result when tried by itself."""
    leak = model.leak
    if leak is None:
        return 0.0
    return (
        leak.entries.get(at.call, leak.max_abs_change)
        if at is not None and not _is_first(model, at)
        else leak.max_abs_change
    )


def describe_change(model: ModelEvidence, at: Call | None) -> str:
    """Return by how much results move, in words."""
    if at is None or _is_first(model, at):
        return describe_largest_place(model)
    return f"too, by up to {describe_largest_change(model, at):.3g} when it is tried by itself"


def _is_first(model: ModelEvidence, at: Call) -> bool:
    first = None if model.leak is None else model.leak.first_call
    return first is None or at.call == first or first.startswith(f"{at.call}/")


def name_output(model: ModelEvidence, name: str | None) -> str:
    """Return an output as messages name it: ``the output``, and of several ``output tags``."""
    return f"output {name}" if len(model.outputs) > 1 else "the output"


def name_call(call: Call) -> str:
    """Return a call as messages name it: ``conv1d (Conv1D)``."""
    return f"{call.call} ({call.type})"
