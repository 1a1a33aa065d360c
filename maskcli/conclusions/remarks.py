"""What follows from the evidence, in sentences; each is said only when the numbers beside it say so."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.model import ModelSettings
from maskcli.records.remark import Remark
from maskcli.records.trace import Call, EmbeddingRow, OutputValues, SourceResult, Unmasked


def make_fact(text: str) -> Remark:
    """Return a remark that informs."""
    return Remark("fact", text)


def make_warning(text: str) -> Remark:
    """Return a remark that something is probably not meant."""
    return Remark("warning", text)


def remark_on_mask(given: ModelInput, mask: Bools | None) -> list[Remark]:
    """Return where the mask and the truth about padding disagree."""
    valid = given.valid
    if valid is None or (mask is not None and mask.shape != valid.shape):
        return []
    padding = int((~valid).sum())
    if mask is None:
        return (
            [make_warning(f"No mask: {format_timesteps(padding, 'padded timestep')} will be treated as data.")]
            if padding
            else []
        )
    remarks = (
        [] if mask.any() else [make_warning("Every timestep is masked: nothing is left to compute with or to count.")]
    )
    hidden = valid & ~mask
    if hidden.any():
        remarks.append(
            make_warning(
                f"Id {given.padding} is also a real token, {describe_place(hidden)}, and is masked there: a "
                "mask that is "
                f"made from ids cannot tell it from padding. Keep id {given.padding} for padding alone."
                if given.kind == "ids"
                else f"The mask calls data padding, {describe_place(hidden)}."
            )
        )
    seen = ~valid & mask
    if seen.any():
        remarks.append(make_warning(f"The mask calls padding valid, {describe_place(seen)}."))
    return remarks


def remark_on_notes(notes: tuple[str, ...]) -> list[Remark]:
    """Return what could not be restored with a model."""
    return [make_warning(note) for note in notes]


def remark_on_embedding(row: EmbeddingRow, settings: ModelSettings | None) -> list[Remark]:
    """Return what the vector of the padding id is, and why."""
    if row.set_to_zero:
        return [
            make_fact(
                f"The vector of id {row.padding_id} was set to zero here, since Masking(0.0) looks for zero vectors; "
                "mask_zero does not do that."
            )
        ]
    if not row.padding_vector.any():
        return []
    if settings is None or settings.mask_source not in ("embedding", "all"):
        return [make_fact(f"The vector of padding id {row.padding_id} is not zero.")]
    return [
        make_fact(
            f"The vector of padding id {row.padding_id} is not zero. mask_zero=True makes a mask; it neither zeroes "
            "the vector nor stops a layer from computing with it."
        )
    ]


def remark_on_outputs(outputs: OutputValues, mask: Bools | None, calls: tuple[Call, ...]) -> list[Remark]:
    """Return what the model does at masked timesteps."""
    last = next((call for call in calls if call.call == outputs.call), calls[-1] if calls else None)
    if last is None:
        return []
    if outputs.valid is None:
        gone = f"{last.type} returned one output a sample: its timesteps are gone"
        if last.lost_at is not None:
            return [make_warning(f"{gone}; the mask was lost before that, at {last.lost_at}.")]
        return [make_fact(f"{gone}, and the mask with them." if last.mask_in is not None else f"{gone}.")]
    if mask is not None and outputs.mask is None:
        return _unmasked_output(last, mask)
    mask = outputs.mask
    if mask is None or outputs.repeats_previous is None or mask.shape != outputs.valid.shape or mask.all():
        return []
    masked = outputs.values.reshape(*mask.shape, -1)[~mask]
    zero = int((masked == 0).all(axis=-1).sum())
    repeated = int((outputs.repeats_previous[~mask] & (masked != 0).any(axis=-1)).sum())
    own = len(masked) - zero - repeated
    kinds = (
        (repeated, "repeats the one before", "repeat the one before"),
        (zero, "is zero", "are zero"),
        (own, "is computed from padding like any other", "are computed from padding like any other"),
    )
    said = [f"{count} {one if count == 1 else many}" for count, one, many in kinds if count]
    uses = "is given the mask" if last.given else HOW[last.effect]
    return [make_fact(f"{last.type} {uses}. Of {format_timesteps(len(masked), 'masked output')}, {', '.join(said)}.")]


HOW = {
    "passes": "passes the mask on without looking at it",
    "changes": "returns another mask than came in",
    "creates": "makes the mask",
    "drops": "returns no mask",
    "none": "is followed by a mask",
}


def _unmasked_output(last: Call, mask: Bools) -> list[Remark]:
    """Return that the output has lost a mask which hid something."""
    masked = int((~mask).sum())
    lost = last.lost_at or (last.call if last.effect in ("drops", "uses") else None)
    if not masked or lost is None:
        return []
    return [
        make_warning(
            f"The outputs carry no mask: it was lost at {lost}, and a loss counts "
            f"{format_timesteps(masked, 'masked timestep')}."
        )
    ]


def remark_on_unmasked(unmasked: Unmasked | None, outputs: OutputValues) -> list[Remark]:
    """Return how far the outputs move without the mask."""
    if unmasked is None:
        return []
    if outputs.valid is None:
        return [make_fact(f"Without the mask {_moves('the outputs', unmasked.max_abs_change_valid)}.")]
    return [
        make_fact(f"Without the mask, {_moves('valid timesteps', unmasked.max_abs_change_valid)}{_padding(unmasked)}.")
    ]


def _padding(unmasked: Unmasked) -> str:
    if unmasked.max_abs_change_padding is None:
        return ""
    return f"; {_moves('padded ones', unmasked.max_abs_change_padding)}"


def _moves(what: str, change: float) -> str:
    return f"{what} move by up to {change:.3g}" if change else f"{what} do not move"


def remark_on_sources(results: tuple[SourceResult, ...], agree: bool) -> list[Remark]:
    """Return whether the mask sources gave one result."""
    names = ", ".join(result.mask_source for result in results)
    if agree:
        return [make_fact(f"With equal weights {names} give the same mask and the same outputs.")]
    worst = max(results, key=lambda result: (result.differing_timesteps, result.max_abs_difference))
    return [
        make_warning(
            f"The mask sources differ: {worst.mask_source} and {results[0].mask_source} by "
            ""
            f"{format_timesteps(worst.differing_timesteps, 'timestep')} of the mask and "
            f"{worst.max_abs_difference:.3g} in the "
            "outputs. An explicit mask leaves a padding id between tokens valid; the others look for the id alone."
        )
    ]


def measure_relative_difference(one: float, other: float) -> float:
    """Return how far two numbers are apart, relative to the larger one."""
    largest = max(abs(one), abs(other))
    return abs(one - other) / largest if largest else 0.0


def describe_place(where: Bools) -> str:
    """Return the first True of ``(batch, timesteps)`` in words, and how many more there are."""
    sample, timestep = np.argwhere(where)[0]
    more = int(where.sum()) - 1
    return f"at sample {sample}, timestep {timestep}" + (f" and {more} more" if more else "")


def format_timesteps(count: int, noun: str) -> str:
    """Return ``1 padded timestep``, ``4 padded timesteps``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
