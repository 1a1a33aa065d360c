"""What JSON and JSON Lines share: a strict parse whose errors name the place, and the choice of a field."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from maskcli.errors import InputError
from maskcli.sequences.formats.base import Field, quoted
from maskcli.sequences.ragged import describe


class _Whole(Field):
    """The whole record instead of one of its fields."""


WHOLE = _Whole()
"""Given to a reader, this field makes its rows the records themselves; rows that are no records stay what they are."""


def parse(text: str, where: Callable[[json.JSONDecodeError], str], fix: str) -> Any:
    """Return the value of a JSON text; raise InputError with the place that ``where`` makes of a decoder's error."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            where=where(error), expected="JSON", received=_received(text, error), fix=fix.format(error=error.msg)
        ) from None
    except (ValueError, RecursionError) as error:
        # Thousands of digits in one number, or thousands of brackets in each other.
        raise InputError(
            expected="lists of integers", received=f"JSON that is no such thing ({error})", fix="Write [[1, 2], [3]]."
        ) from None


def field_rows(records: Sequence[Any], field: Field, name: str, where: Callable[[int], str]) -> list[Any]:
    """Return the sequence that each record holds in ``field``, or in the only field with lists of integers."""
    if isinstance(field, _Whole):
        return _whole_records(records, where)
    chosen = field.name if field.name is not None else only_field(records, field, name)
    rows = []
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(
                where=where(index),
                expected=f"an object with the field {chosen!r}",
                received=describe(record),
                fix=f"Write all entries as objects, or all as bare lists (and leave {field.option} out).",
            )
        if chosen not in record:
            raise InputError(
                where=where(index),
                expected=f"the field {chosen!r}",
                received=f"the fields {quoted(list(record))}",
                fix="Every record needs it; an empty sequence is [].",
            )
        rows.append(record[chosen])
    return rows


def _whole_records(records: Sequence[Any], where: Callable[[int], str]) -> list[dict[str, Any]]:
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(
                where=where(index),
                expected="an object, as on the other rows",
                received=describe(record),
                fix="Write all entries as objects, or all as bare lists.",
            )
    return list(records)


def only_field(records: Sequence[Any], field: Field, name: str) -> str:
    """Return the one field that can hold the sequences: of integers in every record, or, where none is, of lists."""
    objects = [record for record in records if isinstance(record, dict)]
    keys: list[str] = list(objects[0])
    lists = [key for key in keys if all(isinstance(record.get(key, []), list) for record in objects)]
    # A field that is [] everywhere says nothing.
    lists = [key for key in lists if any(record.get(key) for record in objects)] or lists
    integers = [key for key in lists if all(_holds_integers(record.get(key, [])) for record in objects)]
    found = lists if field.numbers else integers or lists
    if len(found) == 1:
        return found[0]
    raise InputError(
        where=name,
        expected=f"one field that holds a list of {'numbers' if field.numbers else 'integers'} in every record",
        received=f"{quoted(found)} among the fields {quoted(keys)}",
        fix=f"Name the field with {field.option}.",
    )


def _holds_integers(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _received(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()):
        return "the end, with a bracket or quote still open"
    return f"{text[error.pos : error.pos + 20].splitlines()[0]!r} ({error.msg.lower()})"
