"""The source of the validity of each input: one line for inputs that have the same."""

from __future__ import annotations

from collections.abc import Sequence

from maskcli.records.inputs import ModelInput
from maskcli.records.validity import InputSummary, Validity
from maskcli.render.parts import Part
from maskcli.render.tables import LONGEST_NAME, make_note, shorten_middle


def view_validity(inputs: Sequence[InputSummary | ModelInput]) -> list[Part]:
    """Return the columns that feed the inputs by order, and how it is known which timesteps are padding.

    A mask that the model takes as an input appears where it is the source, and where maskcli made it.
    """
    names: dict[str, list[str]] = {}
    for entry in inputs:
        has_source = entry.validity.source == "default" if entry.kind == "mask" else entry.padded_timesteps is not None
        if has_source:
            text = _describe_source(entry.validity, entry.padded_places is not None)
            text += f"; time is axis {entry.time_axis}" if entry.time_axis > 1 else ""
            names.setdefault(text, []).append(shorten_middle(entry.name, LONGEST_NAME))
    notes = [make_note(f"{', '.join(listed)}: {text}") for text, listed in names.items()]
    return [*_view_order(inputs), *notes]


def _view_order(inputs: Sequence[InputSummary | ModelInput]) -> list[Part]:
    """Return the columns that feed inputs of other names, which only their order pairs with these."""
    pairs = [
        f"{shorten_middle(entry.name, LONGEST_NAME)} from {shorten_middle(entry.column, LONGEST_NAME)}"
        for entry in inputs
        if entry.column is not None
    ]
    return [make_note(f"inputs by order, as no names agree: {', '.join(pairs)}")] if pairs else []


def _describe_source(validity: Validity, has_places: bool) -> str:
    of = "" if validity.of is None else shorten_middle(validity.of, LONGEST_NAME)
    match validity.source:
        case "given":
            return f"padding as marked in {of}"
        case "mask-input":
            return f"padding by the mask input {of}"
        case "masking-layer":
            return f"padding is {validity.value:.9g}, the mask_value of {of}"
        case "default":
            return _describe_filling(validity, of)
        case "none":
            return "no padding"
        case _ if of:
            return f"padding as in {of}"
        case "lengths":
            return "padding by the lengths of the rows"
        case _:
            ends = "the ends of rows and of their timesteps" if has_places else "the ends of rows"
            return f"padding is {validity.value:.9g} at {ends}"


def _describe_filling(validity: Validity, of: str) -> str:
    """Return the content of an input that the data lacks."""
    match validity.filled_with:
        case "zeros":
            return "not in the data, filled in with 0"
        case "positions":
            return "not in the data, filled in with 0, 1, 2, … along the timesteps"
        case "copy":
            return f"not in the data, filled in with those of {of}"
        case _:
            return f"filled in, from the padding of {of}"
