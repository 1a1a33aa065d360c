"""What JSON and JSON Lines share: a strict parse whose errors name the place, and the choice of a field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from maskcli.errors import InputError
from maskcli.sequences.formats.base import Field, quote_names
from maskcli.sequences.ragged import describe_value


class _Whole(Field):
    """The whole record instead of one of its fields."""


WHOLE = _Whole()
"""Given to a reader, this field makes its rows the records themselves; rows that are no records stay what they are."""


def parse_json(text: str, where: Callable[[json.JSONDecodeError], str], fix: str) -> Any:
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


def get_field_rows(records: Sequence[Any], field: Field, name: str, where: Callable[[int], str]) -> list[Any]:
    """Return the sequence that each record holds in ``field``, or in the only field with lists of integers."""
    if isinstance(field, _Whole):
        return _whole_records(records, where)
    chosen = field.name if field.name is not None else find_only_field(records, field, name)
    return _held_in(chosen, records, field, where)


def _held_in(chosen: str, records: Sequence[Any], field: Field, where: Callable[[int], str]) -> list[Any]:
    rows = []
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(
                where=where(index),
                expected=f"an object with the field {chosen!r}",
                received=describe_value(record),
                fix=f"Write all entries as objects, or all as bare lists (and leave {field.option} out).",
            )
        if chosen not in record:
            raise InputError(
                where=where(index),
                expected=f"the field {chosen!r}",
                received=f"the fields {quote_names(list(record))}",
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
                received=describe_value(record),
                fix="Write all entries as objects, or all as bare lists.",
            )
    return list(records)


def find_only_field(records: Sequence[Any], field: Field, name: str) -> str:
    """Return the one field that can hold the sequences: of integers in every record, or, where none is, of lists."""
    objects = [record for record in records if isinstance(record, dict)]
    return _only(_kinds(objects, dict.fromkeys(objects[0], NOTHING)), field, name)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What a field holds in the records seen: lists in each, anything in some, integers alone."""

    lists: bool = True
    filled: bool = False
    integers: bool = True

    def and_(self, values: Sequence[Any]) -> _Kind:
        lists = self.lists and all(isinstance(value, list) for value in values)
        integers = self.integers and lists and set(map(type, chain.from_iterable(values))) <= {int}
        return _Kind(lists, self.filled or any(values), integers)


NOTHING = _Kind()


def _kinds(objects: Sequence[dict[str, Any]], kinds: Mapping[str, _Kind]) -> dict[str, _Kind]:
    """Return what the fields hold, these objects taken in; a field that one lacks is an empty list there."""
    return {key: kind.and_([record.get(key, []) for record in objects]) for key, kind in kinds.items()}


def _only(kinds: Mapping[str, _Kind], field: Field, name: str) -> str:
    lists = [key for key, kind in kinds.items() if kind.lists]
    # A field that is [] everywhere says nothing.
    lists = [key for key in lists if kinds[key].filled] or lists
    integers = [key for key in lists if kinds[key].integers]
    found = lists if field.numbers else integers or lists
    if len(found) == 1:
        return found[0]
    raise InputError(
        where=name,
        expected=f"one field that holds a list of {'numbers' if field.numbers else 'integers'} in every record",
        received=f"{quote_names(found)} among the fields {quote_names(list(kinds))}",
        fix=f"Name the field with {field.option}.",
    )


class Entries:
    """Entries of a file, bare lists or records, that come block by block: all of one kind, and records of one field."""

    def __init__(self, field: Field, name: str) -> None:
        """Have seen none; ``name`` is of the file."""
        self._field, self._name = field, name
        self._bare = False
        self._kinds: dict[str, _Kind] | None = None
        self._chosen = field.name

    @property
    def field(self) -> Field:
        """The field that was asked for, or else the one that holds the sequences so far, if any does."""
        return dataclasses.replace(self._field, name=self._chosen)

    def take(self, field: str | None, records: Sequence[dict[str, Any]] | None = None, filled: bool = True) -> bool:
        """Return whether lists of integers go with all before.

        Args:
            field: that they are in; None for bare lists.
            records: with nothing in ``field``; None where they have no other field.
            filled: whether there is an integer.
        """
        if field is None:
            self._bare = self._bare or (self._kinds is None and self._chosen is None)
            return self._bare
        if self._bare or self._chosen not in (None, field):
            return False
        if self._field.name is None:
            kinds = _kinds(records or (), self._kinds or dict.fromkeys(records[0] if records else (field,), NOTHING))
            kinds[field] = dataclasses.replace(kinds[field], filled=filled or kinds[field].filled)
            if not self._is_only(field, kinds):
                return False
            self._kinds = kinds
        self._chosen = field
        return True

    def _is_only(self, field: str, kinds: Mapping[str, _Kind]) -> bool:
        try:
            return _only(kinds, self._field, self._name) == field
        except InputError:
            return False

    def rows(self, entries: Sequence[Any], where: Callable[[int], str]) -> list[Any]:
        """Return the sequences of entries; ``where`` names the place of each of them.

        Raises:
            InputError: for entries of another kind than those before, and records without their field.
        """
        objects = [entry for entry in entries if isinstance(entry, dict)]
        if self._bare and objects:
            index = next(index for index, entry in enumerate(entries) if isinstance(entry, dict))
            raise InputError(
                where=where(index),
                expected="a list, as on the rows before",
                received=describe_value(entries[index]),
                fix="Write all entries as objects, or all as bare lists.",
            )
        if not objects and self._chosen is None:
            self._bare = self._bare or bool(entries)
            return list(entries)
        return _held_in(self._choice(objects), entries, self._field, where)

    def _choice(self, objects: Sequence[dict[str, Any]]) -> str:
        """Return the field that holds the sequences, which what comes later must not change."""
        if self._field.name is not None:
            return self._field.name
        if not objects:
            return str(self._chosen)
        self._kinds = _kinds(objects, self._kinds or dict.fromkeys(objects[0], NOTHING))
        found = _only(self._kinds, self._field, self._name)
        if self._chosen not in (None, found):
            raise InputError(
                where=self._name,
                expected=f"sequences in the field {self._chosen!r} of all records, as in those at the start",
                received=f"lists of integers in {found!r} alone",
                fix=f"Name the field with {self._field.option}.",
            )
        self._chosen = found
        return found


def _received(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()):
        return "the end, with a bracket or quote still open"
    return f"{text[error.pos : error.pos + 20].splitlines()[0]!r} ({error.msg.lower()})"
