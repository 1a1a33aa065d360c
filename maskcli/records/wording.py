"""Numbers with their nouns, in the singular and the plural."""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMES = 4
"""Names that a sentence lists, at most."""


METRIC_REMEDY = (
    "Let it return a value for each timestep, of which Keras takes the mean over valid ones, instead of one for "
    "a batch."
)
"""The remedy for a metric that the mask of its output stops."""


def format_count(count: int, noun: str) -> str:
    """Return ``1 row`` or ``1,200 rows``."""
    return f"{count:,} {choose_form(count, noun, noun + 's')}"


def format_padding(timesteps: int, places: int) -> str:
    """Return ``3 padded timesteps``, and the padded places inside others, such as after the words of sentences."""
    inside = f"{format_count(places, 'padded place')} inside timesteps"
    if not places:
        return format_count(timesteps, "padded timestep")
    return f"{format_count(timesteps, 'padded timestep')} and {inside}" if timesteps else inside


def choose_form(count: int, singular: str, plural: str) -> str:
    """Return the form of a noun or a verb that goes with a number."""
    return singular if count == 1 else plural


def list_names(names: Sequence[str]) -> str:
    """Return names with commas; of many, the first ones and the number of the others."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1:,} others"
