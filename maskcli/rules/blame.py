"""Find the cause of a leak: the call where padding enters a result, or the call that lost the mask before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from maskcli.records.arrays import Bools
from maskcli.records.evidence import AttentionFault, LossEvidence, ModelEvidence
from maskcli.records.inputs import is_same_validity
from maskcli.records.trace import Call

BlameKind = Literal[
    "dropped",
    "widened",
    "misaligned",
    "not-given",
    "no-source",
    "bad-source",
    "taken",
    "mixed",
    "leaks",
    "attention",
    "rows",
]
SEPARATE_FAULTS = ("dropped", "widened", "misaligned", "not-given", "attention", "rows")
"""Causes that count wherever padding enters; those of other kinds depend on the first call."""


@dataclasses.dataclass(frozen=True, eq=False)
class Blame:
    """The cause of a leak.

    Attributes:
        kind: ``dropped``: a call lost the mask; ``widened``: a call made a mask that marks padding as valid;
            ``misaligned``: a call moved timesteps and not their mask;
            ``not-given``: a call did not receive the mask of its input; ``no-source``: no call creates a mask;
            ``bad-source``: the mask was wrong from the start; ``taken``: a call takes a padded timestep as the last
            one; ``mixed``: a normalisation includes padding; ``leaks``: a call computes with padding in spite of the
            mask; ``attention``: an attention mask leaves padding open, and ``rows``: rows of the batch mix, which rules
            of their own report.
        culprit: the call at fault; None if the whole model is.
        at: the call where padding enters a result.
    """

    kind: BlameKind
    culprit: Call | None
    at: Call | None


def find_blames(model: ModelEvidence) -> list[Blame]:
    """Return all causes of a leak in the order of their culprits, each culprit once.

    A later call was tested separately. It counts only if a mask was lost, widened or not given there, if it ignores a
    mask that it receives, or if its cause is that of the first call. In a model without any mask, every later call
    leaks too, which adds nothing.
    """
    if model.leak is None or not model.leak.leaks:
        return []
    if model.leak.late_masks:
        at = _find_owner(model, model.call(model.leak.first_call))
        return [Blame("bad-source", model.call(path), at) for path in model.leak.late_masks]
    first = _find_cause(model, model.leak.first_call)
    causes = [first, *(cause for cause in _find_later_causes(model) if _is_separate(cause, first))]
    by_culprit: dict[Call | None, Blame] = {}
    for cause in causes:
        by_culprit.setdefault(cause.culprit or cause.at, cause)
    return [by_culprit[call] for call in sorted(by_culprit, key=lambda call: -1 if call is None else call.index)]


def _find_later_causes(model: ModelEvidence) -> Iterator[Blame]:
    assert model.leak is not None  # noqa: S101 - the caller checked it
    for path in model.leak.entries:
        call = model.call(path)
        # An operation that only computes a mask gets no other results through padding, but another mask.
        if path != model.leak.first_call and not (call is not None and call.computes_mask):
            yield _find_cause(model, path)


def _is_separate(cause: Blame, first: Blame) -> bool:
    if cause.kind in (*SEPARATE_FAULTS, first.kind):
        return True
    if cause.kind == "no-source" and cause.at is not None and first.at is not None and cause.at.index < first.at.index:
        return True  # Padding enters there before it does at the first call.
    return cause.kind == "leaks" and cause.at is not None and cause.at.given


def find_suspects(model: ModelEvidence) -> list[Blame]:
    """Return the calls that lost a mask, or did not receive it, in a model whose leak is neither proved nor excluded.

    Each has a later call that would use the mask, and each culprit counts once.
    """
    if model.leak is None or model.leak.leaks is not None:
        return []
    suspects: dict[Call, Blame] = {}
    for at in model.trace:
        if at.given or at.computes_mask or at.contains or not list_padding_arguments(at):
            continue
        if at.mask_in is not None:
            suspects.setdefault(at, Blame("not-given", at, at))
            continue
        loser = find_losing_call(model, at.lost_at, at)
        if loser is not None:
            suspects.setdefault(loser, Blame("dropped", loser, at))
    return list(suspects.values())


def list_padding_arguments(call: Call) -> list[str]:
    """Return the mask arguments of a call for masks of padding, without those that pair queries with keys."""
    return [name for name in call.mask_arguments if name not in ("attention_mask", *call.attention_arguments)]


def _find_cause(model: ModelEvidence, path: str | None) -> Blame:
    """Return the cause of a leak that enters at the call ``path``."""
    at = _find_owner(model, model.call(path))
    if at is None:
        return Blame("leaks", None, None)
    if find_attention_fault(model, at) is not None:
        return Blame("attention", at, at)
    if mixes_rows(model, at):
        return Blame("rows", at, at)
    # No mask helps against a taken timestep or a mixing normalisation, so these come before a lost mask.
    if model.taken is not None and model.taken.call == at.call:
        return Blame("taken", at, at)
    if any(mixing.call == at.call and not mixing.training for mixing in model.mixing):
        return Blame("mixed", at, at)
    if at.mask_in is not None:
        return _find_cause_with_mask(model, at)
    return _find_cause_without_mask(model, at)


def _find_cause_without_mask(model: ModelEvidence, at: Call) -> Blame:
    """Return the cause of a leak at a call whose input has no mask."""
    if at.call in model.bare:
        return Blame("no-source", None, at)
    loser = find_losing_call(model, at.lost_at, at)
    if loser is not None:
        return Blame("dropped", loser, at)
    return Blame("bad-source" if any(source.of_ids for source in model.sources) else "no-source", None, at)


def find_attention_fault(model: ModelEvidence, call: Call) -> AttentionFault | None:
    """Return the fault of an attention mask that a call computes with; a layer computes with that of a call inside."""
    return next(
        (
            fault
            for fault in model.attention
            for path in (fault.call, *fault.also, *fault.calls)
            if path == call.call or (path.startswith(f"{call.call}/") and not call.of_model)
        ),
        None,
    )


def mixes_rows(model: ModelEvidence, call: Call) -> bool:
    """Return whether rows of the batch mix at a call, or at one inside it."""
    first = None if model.mixed_rows is None else model.mixed_rows.first_call
    return first is not None and (first == call.call or (first.startswith(f"{call.call}/") and not call.of_model))


def _find_owner(model: ModelEvidence, call: Call | None) -> Call | None:
    """Return the user's own layer whose code ran an operation; other calls unchanged."""
    if call is None or not call.code:
        return call
    owner = model.call(call.call.rpartition("/")[0])
    return call if owner is None or owner.of_model else owner


def find_losing_call(model: ModelEvidence, path: str | None, at: Call | None = None) -> Call | None:
    """Return the call ``path``, which lost a mask that the call ``at`` needs, or the layer whose code ran it.

    A layer that returns a mask in spite of that lost it only for its inner calls. Then the inner operation is at fault.
    """
    call = model.call(path)
    if call is not None and call.takes_off:
        return _find_layer_around(model, call, at) or call
    owner = _find_owner(model, call)
    return owner if owner is not None and owner.mask_out is None else call


def _find_layer_around(model: ModelEvidence, call: Call, at: Call | None) -> Call | None:
    """Return the outermost layer around a call, and not around ``at``, that receives a mask and returns none.

    An attention inside it takes the mask off its inputs, but it is the layer that returns a result without one.
    """
    around, path = None, call.call
    while "/" in path:
        path = path.rpartition("/")[0]
        owner = model.call(path)
        if owner is None or owner.of_model or (at is not None and at.call.startswith(f"{path}/")):
            break
        if owner.mask_out is None and owner.mask_in is not None:
            around = owner
    return around


def _find_cause_with_mask(model: ModelEvidence, at: Call) -> Blame:
    """Return the cause of a leak at a call whose input has a mask."""
    loser = find_losing_call(model, at.lost_at, at) if _lacks_mask_of_keys(at) else None
    if loser is not None:
        return Blame("dropped", loser, at)
    # The call obeys its mask, but the mask marks padding as valid: find the call that made it so.
    if lets_padding_pass(at.mask_in, at.valid_in if at.valid_in is not None else at.valid):
        wider = find_widening_call(model, at, _list_mask_makers(model, at.call))
        # A merge of masks that all arrive does not widen them; one of these was wrong before.
        if wider is None or _has_all_masks(wider):
            wider = find_widening_call(model, at)
        if wider is not None:
            return Blame("misaligned" if misaligns_mask(wider) else "widened", wider, at)
        loser = _find_loser_before_merge(model, at)
        return Blame("bad-source", None, at) if loser is None else Blame("dropped", loser, at)
    # A merge of a sequence with a reversed one has a mask that fits only one of them.
    earlier = (call for call in model.trace if call.index < at.index and misaligns_mask(call))
    moved = next((call for call in earlier if _reaches(call, at)), None)
    if moved is not None and len(at.masks_in) > 1 and not list_padding_arguments(at):
        return Blame("misaligned", moved, at)
    if at.given:
        return _find_cause_with_given_mask(model, at)
    if list_padding_arguments(at):
        return Blame("not-given", at, at)
    return Blame("leaks" if at.mask_out is not None else "dropped", at, at)


def _find_loser_before_merge(model: ModelEvidence, at: Call) -> Call | None:
    """Return the call that lost the mask of an input of a merge, which then takes all its timesteps for valid."""
    makers = _list_mask_makers(model, at.call)
    for call in model.trace:
        is_merge = call.call in makers and call.index < at.index and len(call.masks_in) > 1
        if is_merge and call.lost_at is not None and call.mask_out is not None and not _has_all_masks(call):
            return find_losing_call(model, call.lost_at, call)
    return None


def _has_all_masks(call: Call) -> bool:
    return all(mask is not None for mask in call.masks_in)


def _find_cause_with_given_mask(model: ModelEvidence, at: Call) -> Blame:
    """Return the cause at a call that receives a mask, perhaps of only one of its inputs."""
    has_bare_input = any(mask is None and len(shape) > 2 for mask, shape in zip(at.masks_in, at.shapes_in, strict=True))
    if not has_bare_input or all(mask is None for mask in at.masks_in):
        return Blame("leaks", at, at)
    loser = find_losing_call(model, at.lost_at, at)
    return Blame("no-source", None, at) if loser is None else Blame("dropped", loser, at)


def _lacks_mask_of_keys(at: Call) -> bool:
    """Return whether a call receives only the mask of its queries, which hides no keys of another input."""
    given = [name for name in list_padding_arguments(at) if any(mask is not None for mask in at.mask_arguments[name])]
    return given == ["query_mask"] and all(mask is None for mask in at.masks_in)


def find_output_widening_call(model: ModelEvidence) -> tuple[Call | None, str | None]:
    """Return the call because of which the mask of an output marks padding as valid, and the output; None without it.

    A call counts first whose mask reached the output: another one may have lost its wrong mask without harm.
    """
    for output in model.outputs:
        if lets_padding_pass(output.mask, output.valid):
            among = _list_mask_makers(model, output.call)
            return find_widening_call(model, among=among) or find_widening_call(model), output.name
    return None, None


def _list_mask_makers(model: ModelEvidence, path: str | None) -> set[str]:
    """Return the calls, from one back to the first, each of which received its mask from the one before."""
    makers: set[str] = set()
    while path is not None and path not in makers:
        makers.add(path)
        call = model.call(path)
        path = None if call is None else call.mask_from
    return makers


def find_widening_call(model: ModelEvidence, before: Call | None = None, among: set[str] | None = None) -> Call | None:
    """Return the first call, up to ``before``, that marks padding as valid though an input mask does not."""
    for call in model.trace:
        if before is not None and call.index > before.index:
            return None
        if among is not None and call.call not in among:
            continue
        valid_in = call.valid if call.valid_in is None else call.valid_in
        if valid_in is None or not lets_padding_pass(call.mask_out, call.valid):
            continue
        masks = [mask for mask in (call.mask_in, *call.masks_in) if mask is not None]
        if any(mask.shape == valid_in.shape and not lets_padding_pass(mask, valid_in) for mask in masks):
            return call
    return None


def misaligns_mask(call: Call) -> bool:
    """Return whether a call moves timesteps and not their mask, which then marks the wrong ones."""
    mask, valid, before = call.mask_out, call.valid, call.mask_in
    if mask is None or valid is None or before is None or mask.shape != valid.shape:
        return False
    # A wider mask only marks more timesteps as valid.
    return bool((mask & ~valid).any() and (valid & ~mask).any()) and is_same_validity(mask, before)


def _reaches(call: Call, at: Call) -> bool:
    """Return whether the mask that a call returns may be part of one that arrives at a later call."""
    arriving = (mask for mask in (at.mask_in, *at.masks_in) if mask is not None)
    mask = call.mask_out
    return mask is not None and any(item.shape == mask.shape and not (item & ~mask).any() for item in arriving)


def lets_padding_pass(mask: Bools | None, valid: Bools | None) -> bool:
    """Return whether a mask is True at padding."""
    return mask is not None and valid is not None and mask.shape == valid.shape and bool((mask & ~valid).any())


def has_mask(model: ModelEvidence) -> bool:
    """Return whether any call of the model carries or receives a mask."""
    return model.has_mask


def describe_largest_place(model: ModelEvidence) -> str:
    """Return the largest change of a result and its place: ``by up to 0.33 (worst: output tags, sample 1)``."""
    leak = model.leak
    if leak is None or not leak.max_abs_change:
        return "as their gradient shows"
    places = [f"sample {leak.sample}"]
    if leak.output is not None and len(model.outputs) > 1:
        places.insert(0, name_output(model, leak.output))
    if leak.timestep is not None:
        places.append(f"timestep {leak.timestep}")
    return f"by up to {leak.max_abs_change:.3g} (worst: {', '.join(places)})"


def compute_largest_change(model: ModelEvidence, at: Call | None) -> float:
    """Return the largest change of the results; for a later call, the change of its own result, tested separately."""
    if model.leak is None:
        return 0.0
    if at is None or _is_first(model, at):
        return model.leak.max_abs_change
    return model.leak.entries.get(at.call, model.leak.max_abs_change)


def describe_change(model: ModelEvidence, at: Call | None) -> str:
    """Return the largest change of the results, in words."""
    if at is None or _is_first(model, at):
        return describe_largest_place(model)
    return f"by up to {compute_largest_change(model, at):.3g} (tested separately)"


def _is_first(model: ModelEvidence, at: Call) -> bool:
    first = None if model.leak is None else model.leak.first_call
    return first is None or at.call == first or first.startswith(f"{at.call}/")


def name_output(model: ModelEvidence, name: str | None) -> str:
    """Return the name of an output in messages: ``the output``, or ``output tags`` if there are several."""
    return f"output {name}" if len(model.outputs) > 1 else "the output"


def name_call(call: Call) -> str:
    """Return the name of a call in messages: ``conv1d (Conv1D)``."""
    return f"{call.call} ({call.type})"


def describe_probed_rows(model: ModelEvidence) -> str:
    """Return ``, in 16 of 40 rows`` for counts and figures of the probed rows; empty if these are all rows."""
    probed, total = model.rows
    return "" if probed >= total else f", in {probed:,} of {total:,} rows"


def name_loss(model: ModelEvidence, loss: LossEvidence) -> str:
    """Return the name of a loss in messages, with its output if there are several."""
    return f"The loss {loss.name} of output {loss.output}" if len(model.outputs) > 1 else f"The loss {loss.name}"


def describe_loss_rows(loss: LossEvidence) -> str:
    """Return the same for the figures of a loss."""
    if loss.rows is None or loss.rows[0] >= loss.rows[1]:
        return ""
    return f", in {loss.rows[0]:,} of {loss.rows[1]:,} rows"
