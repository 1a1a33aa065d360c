"""Numbers with their nouns, in the singular and the plural."""

from __future__ import annotations


def format_count(count: int, noun: str) -> str:
    """Return ``1 row`` or ``1,200 rows``."""
    return f"{count:,} {choose_form(count, noun, noun + 's')}"


def choose_form(count: int, singular: str, plural: str) -> str:
    """Return the form of a noun or a verb that goes with a number."""
    return singular if count == 1 else plural
