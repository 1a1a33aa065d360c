"""Remarks on an inspection: measurements turned into sentences."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.model import ModelSettings
from maskcli.records.remark import Remark, RemarkTopic
from maskcli.records.trace import Call, EmbeddingRow, OutputValues, SourceResult, Unmasked
from maskcli.records.wording import choose_form, format_count

EFFECTS = {
    "passes": "passes the mask on without using it",
    "changes": "returns another mask than it received",
    "creates": "creates the mask",
    "drops": "returns no mask",
    "none": "is followed by a mask",
}
"""Description of a call by its effect on the mask."""


def make_fact(text: str, topic: RemarkTopic = "") -> Remark:
    """Return a remark that informs."""
    return Remark("fact", text, topic)


def make_warning(text: str, topic: RemarkTopic = "") -> Remark:
    """Return a remark about something that is probably a mistake."""
    return Remark("warning", text, topic)


def remark_on_mask(model_input: ModelInput, mask: Bools | None) -> list[Remark]:
    """Return the differences between the mask and the valid timesteps of an input."""
    valid = model_input.valid
    if valid is None or (mask is not None and mask.shape != valid.shape):
        return []
    if mask is None:
        if valid.all():
            return []
        if model_input.validity.source == "mask-input":
            text = f"No call creates a mask of Keras: the model takes the mask as its input {model_input.validity.of}."
            return [make_fact(text, "no-mask")]
        padding = format_count(int((~valid).sum()), "padded timestep")
        return [make_warning(f"No mask: the model treats {padding} as data.", "no-mask")]
    remarks = []
    if not mask.any():
        remarks.append(make_warning("Every timestep is masked: nothing is left to compute with or to count."))
    hidden = valid & ~mask
    if hidden.any():
        remarks.append(make_warning(_describe_hidden(model_input, hidden)))
    unmasked = ~valid & mask
    if unmasked.any():
        remarks.append(make_warning(f"The mask marks padding as valid, {describe_place(unmasked)}."))
    return remarks


def _describe_hidden(model_input: ModelInput, hidden: Bools) -> str:
    """Describe valid timesteps that the mask hides."""
    place, padding_id = describe_place(hidden), model_input.padding
    if model_input.kind != "ids":
        return f"The mask marks data as padding, {place}."
    return (
        f"Id {padding_id} is also a real token, {place}, and is masked there: a mask that is computed from ids cannot "
        f"distinguish it from padding. Use id {padding_id} only for padding."
    )


def remark_on_notes(notes: tuple[str, ...]) -> list[Remark]:
    """Return the parts of a model that could not be restored."""
    return [make_warning(note) for note in notes]


def remark_on_embedding(row: EmbeddingRow, settings: ModelSettings | None) -> list[Remark]:
    """Return whether the vector of the padding id is zero, and why."""
    if row.set_to_zero:
        text = f"The vector of id {row.padding_id} was set to zero here, because Masking(0.0) looks for zero vectors. "
        return [make_fact(f"{text}mask_zero does not set it to zero.")]
    if not row.padding_vector.any():
        return []
    text = f"The vector of padding id {row.padding_id} is not zero."
    if settings is not None and settings.mask_source in ("embedding", "all"):
        text += (
            " mask_zero=True only creates a mask. It does not zero the vector, and layers that ignore the mask still "
            "compute with it."
        )
    return [make_fact(text)]


def remark_on_outputs(outputs: OutputValues, mask: Bools | None, calls: tuple[Call, ...]) -> list[Remark]:
    """Return the values of the model at masked timesteps, and its treatment of the mask."""
    if not calls:
        return []
    last = next((call for call in calls if call.call == outputs.call), calls[-1])
    if outputs.valid is None:
        return [_remark_on_pooling(last)]
    if mask is not None and outputs.mask is None:
        return _remark_on_lost_mask(last, mask)
    mask = outputs.mask
    if mask is None or outputs.repeats_previous is None or mask.shape != outputs.valid.shape or mask.all():
        return []
    values = outputs.values.reshape(*mask.shape, -1)[~mask]
    zero = int((values == 0).all(axis=-1).sum())
    repeated = int((outputs.repeats_previous[~mask] & (values != 0).any(axis=-1)).sum())
    # An RNN repeats its last output at masked timesteps, or returns zeros; other layers compute as everywhere.
    kinds = (
        (repeated, "repeats the previous output", "repeat the previous output"),
        (zero, "is zero", "are zero"),
        (len(values) - zero - repeated, "is still computed from padding", "are still computed from padding"),
    )
    effect = EFFECTS.get(last.effect, "receives the mask")
    if last.given:
        effect = "receives the mask"
    return [make_fact(f"{last.type} {effect}; {_describe_masked_outputs(len(values), kinds)}.", "mask-end")]


def _remark_on_pooling(last: Call) -> Remark:
    text = f"{last.type} returns one output per sample, without timesteps"
    if last.lost_at is not None:
        return make_warning(f"{text}. The mask was already lost at {last.lost_at}.", "mask-end")
    if last.mask_in is None:
        return make_fact(f"{text}.", "mask-end")
    return make_fact(f"{text}, so the mask ends here.", "mask-end")


def _describe_masked_outputs(count: int, kinds: tuple[tuple[int, str, str], ...]) -> str:
    """Describe masked outputs by ``(count, singular, plural)`` of each kind."""
    parts = [(part, choose_form(part, singular, plural)) for part, singular, plural in kinds if part]
    if len(parts) == 1:
        subject = choose_form(count, "the masked output", f"all {count} masked outputs")
        return f"{subject} {parts[0][1]}"
    listing = ", ".join(f"{part} {verb}" for part, verb in parts)
    return f"of {count} masked outputs, {listing}"


def _remark_on_lost_mask(last: Call, mask: Bools) -> list[Remark]:
    """Return that the output has lost a mask, if the mask hid a timestep."""
    masked = int((~mask).sum())
    lost_at = last.lost_at
    if lost_at is None and last.effect in ("drops", "uses"):
        lost_at = last.call
    if not masked or lost_at is None:
        return []
    return [
        make_warning(
            f"The outputs carry no mask: it was lost at {lost_at}. A loss therefore counts "
            f"{format_count(masked, 'masked timestep')}.",
            "mask-end",
        )
    ]


def remark_on_unmasked(unmasked: Unmasked | None, outputs: OutputValues) -> list[Remark]:
    """Return by how much the outputs change without the mask."""
    if unmasked is None:
        return []
    if outputs.valid is None:
        return [
            make_fact(f"Disabling the mask {_describe_change('the outputs', unmasked.max_abs_change_valid)}.", "change")
        ]
    change = _describe_change("outputs at valid timesteps", unmasked.max_abs_change_valid)
    at_padding = unmasked.max_abs_change_padding
    if at_padding is None:
        return [make_fact(f"Disabling the mask {change}.", "change")]
    if not at_padding and not unmasked.max_abs_change_valid:
        return [make_fact("Disabling the mask changes no output.", "change")]
    if not at_padding:
        return [make_fact(f"Disabling the mask {change}; at padding they do not change.", "change")]
    return [make_fact(f"Disabling the mask {change}; at padding they change by up to {at_padding:.3g}.", "change")]


def _describe_change(subject: str, change: float) -> str:
    return f"changes {subject} by up to {change:.3g}" if change else f"leaves {subject} unchanged"


def remark_on_sources(results: tuple[SourceResult, ...], agree: bool) -> list[Remark]:
    """Return whether the mask sources gave the same result."""
    names = ", ".join(result.mask_source for result in results)
    if agree:
        return [make_fact(f"With equal weights, the mask sources {names} give the same mask and the same outputs.")]
    worst = max(results, key=lambda result: (result.differing_timesteps, result.max_abs_difference))
    return [
        make_warning(
            f"The mask sources differ: {worst.mask_source} and {results[0].mask_source} by "
            f"{format_count(worst.differing_timesteps, 'timestep')} of the mask and "
            f"{worst.max_abs_difference:.3g} in the outputs. An explicit mask leaves a padding id between tokens "
            "valid; the others look only at the id."
        )
    ]


def measure_relative_difference(first: float, second: float) -> float:
    """Return the difference of two numbers, relative to the larger one."""
    largest = max(abs(first), abs(second))
    return abs(first - second) / largest if largest else 0.0


def describe_place(mask: Bools) -> str:
    """Describe the first True of ``(batch, timesteps)``, and the number of further ones."""
    sample, timestep = np.argwhere(mask)[0]
    more = int(mask.sum()) - 1
    place = f"at sample {sample}, timestep {timestep}"
    return f"{place} and {more} more" if more else place
