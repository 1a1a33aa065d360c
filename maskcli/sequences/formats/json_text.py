"""Shared by JSON and JSON Lines: strict parsing with the place of an error, and the selection of a field."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from maskcli.errors import InputError
from maskcli.sequences.formats.base import DESCRIPTIONS, MASK, PADDING_MASKS, TARGETS, Field, quote_names
from maskcli.sequences.ragged import TEXT_FIX, describe_value, find_common_marks, make_marks_error


class _Whole(Field):
    """All of the record instead of one of its fields."""


WHOLE = _Whole()
"""With this field a reader returns the records themselves. Rows that are not records are returned unchanged."""


def parse_json(text: str, where: Callable[[json.JSONDecodeError], str], fix: str) -> Any:
    """Return the value of a JSON text; raise InputError with the place that ``where`` returns for a decoder's error."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            where=where(error), expected="JSON", received=_describe_text(text, error), fix=fix.format(error=error.msg)
        ) from None
    except (ValueError, RecursionError) as error:
        # Thousands of digits in one number, or thousands of nested brackets.
        raise InputError(
            expected="lists of integers", received=f"other JSON ({error})", fix="Write [[1, 2], [3]]."
        ) from None


class FieldRows(NamedTuple):
    """The rows in one field of records, and the field by which the padding of all of them was removed, if any."""

    rows: list[Any]
    marked_by: str | None = None


def get_field_rows(records: Sequence[Any], field: Field, name: str, where: Callable[[int], str]) -> FieldRows:
    """Return the sequence of each record: that in ``field``, or in the only field with lists of integers."""
    if isinstance(field, _Whole):
        return FieldRows(_check_records(records, where))
    chosen = field.name if field.name is not None else find_only_field(records, field, name)
    return _get_values(chosen, records, field, where)


def is_whole(field: Field) -> bool:
    """Return whether records are requested instead of one of their fields."""
    return isinstance(field, _Whole)


def match_names(name: str, names: Sequence[str]) -> list[str]:
    """Return the names that a field or a pattern of fields, such as ``w*``, selects, in their order."""
    if name in names:
        return [name]
    is_pattern = any(sign in name for sign in "*?[")
    return [other for other in names if is_pattern and fnmatch.fnmatchcase(other, name)]


def _get_values(chosen: str, records: Sequence[Any], field: Field, where: Callable[[int], str]) -> FieldRows:
    """Return the value of a field, or a list of those of several, in each record; raise InputError without it."""
    rows: list[Any] = []
    marks: set[str | None] = set()
    for index, record in enumerate(records):
        if isinstance(record, dict) and chosen not in record:
            names = match_names(chosen, list(record))
            if names:
                rows.append(_join_fields(record, names, where(index)))
                marks.add(None)
                continue
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
                fix=_suggest_field(chosen, list(record), field),
            )
        row = record[chosen]
        marked_by = None if field.numbers else _find_list_of_marks(row, record, chosen)
        rows.append(
            row if marked_by is None else _drop_padding(row, record[marked_by], chosen, marked_by, where, index)
        )
        marks.add(marked_by)
    return FieldRows(rows, find_common_marks(marks))


def _suggest_field(chosen: str, names: list[str], field: Field) -> str:
    """Return the fix for a field that a record lacks."""
    close = difflib.get_close_matches(chosen, names, n=1)
    suggestion = f"Did you mean {field.option} {close[0]}? " if close else ""
    return f"{suggestion}Every record needs the field; an empty sequence is []."


def _join_fields(record: dict[str, Any], names: list[str], where: str) -> list[Any]:
    """Return the numbers of several fields as a sequence; empty fields at its end are not part of it."""
    values = [record[name] for name in names]
    while values and values[-1] is None:
        values.pop()
    if None in values:
        raise InputError(
            where=where,
            expected=f"a number in {names[values.index(None)]!r}",
            received="nothing there, but values after it",
            fix="Only the last of these fields may be empty.",
        )
    return values


def find_marks(names: Iterable[str], chosen: str) -> str | None:
    """Return the field that marks the valid timesteps of the ``chosen`` one; None if there is none."""
    marks = (chosen + MASK, *PADDING_MASKS)
    return None if chosen in PADDING_MASKS else next((name for name in marks if name in names), None)


def is_marks_name(name: str) -> bool:
    """Return whether a field is named like one that marks the valid timesteps of another."""
    return name in PADDING_MASKS or name.endswith(MASK)


def _is_companion(name: str) -> bool:
    """Return whether a field is named like targets, or like segments or positions, next to the ids."""
    return name.lower() in TARGETS or DESCRIPTIONS.search(name.lower()) is not None


def _find_list_of_marks(row: Any, record: Mapping[str, Any], chosen: str) -> str | None:
    """Return the field of a record that marks the valid timesteps of ``row``; None unless both are lists."""
    name = find_marks(record, chosen)
    return name if name is not None and isinstance(row, list) and isinstance(record[name], list) else None


def _drop_padding(
    row: list[Any], marks: list[Any], chosen: str, marked_by: str, where: Callable[[int], str], index: int
) -> list[Any]:
    """Return a sequence without the timesteps that another field of its record marks as padding."""
    flags = [bool(mark) for mark in marks]
    fits = len(marks) == len(row) and all(mark in (0, 1) for mark in marks)
    runs = sum(flag and (position == 0 or not flags[position - 1]) for position, flag in enumerate(flags))
    if not fits or runs > 1:
        raise make_marks_error(index, chosen, len(row), marked_by, marks).at(where(index))
    return [value for value, flag in zip(row, flags, strict=True) if flag]


def _check_records(records: Sequence[Any], where: Callable[[int], str]) -> list[dict[str, Any]]:
    """Return records; raise InputError for an entry that is not one."""
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
    """Return the only field with lists of integers in all records; if there is none, the only one with lists."""
    objects = [record for record in records if isinstance(record, dict)]
    return _select_field(_classify_fields(objects, dict.fromkeys(objects[0], NOTHING)), field, name, objects)


def _suggest_content(records: Sequence[dict[str, Any]], field: Field) -> str:
    """Return the fix for records whose sequences are text, or null in some of them; empty for other records."""
    for name in records[0]:
        values = [record.get(name) for record in records]
        if None in values and all(value is None or isinstance(value, list) for value in values):
            return f"{name!r} is null in some records: write an empty sequence as [], or leave these records out."
        other = next((value for value in values if value is not None and not isinstance(value, list)), None)
        if other is not None and any(isinstance(value, list) for value in values):
            return (
                f"{name!r} is a list in some records, and {describe_value(other)} in others: a list holds numbers only."
            )
    texts = [name for name in records[0] if all(isinstance(record.get(name), str) for record in records)]
    if field.numbers:
        return ""
    if not texts:
        return (
            'No field holds lists. A sequence is a list, as in {"tokens": [1, 2]}, or lies in several fields of '
            f"numbers: {field.option} 'w*'. Of lines that are timesteps, first join those of a sequence into one."
        )
    return f"{texts[0]!r} is text. {TEXT_FIX.removesuffix('.')}; add {field.option} {texts[0]}."


@dataclasses.dataclass(frozen=True)
class _FieldContent:
    """The content of one field in all records so far.

    Attributes:
        lists: whether all values are lists.
        filled: whether any list has an element.
        integers: whether all values are lists of integers.
    """

    lists: bool = True
    filled: bool = False
    integers: bool = True

    def extend(self, values: Sequence[Any]) -> _FieldContent:
        """Return the content with the values of further records."""
        lists = self.lists and all(isinstance(value, list) for value in values)
        integers = self.integers and lists and set(map(type, chain.from_iterable(values))) <= {int}
        return _FieldContent(lists, self.filled or any(values), integers)


NOTHING = _FieldContent()


def _classify_fields(
    objects: Sequence[dict[str, Any]], contents: Mapping[str, _FieldContent]
) -> dict[str, _FieldContent]:
    """Return the content of each field with these further objects; a missing field counts as an empty list."""
    return {key: content.extend([record.get(key, []) for record in objects]) for key, content in contents.items()}


def _select_field(
    contents: Mapping[str, _FieldContent], field: Field, name: str, records: Sequence[dict[str, Any]] = ()
) -> str:
    """Return the only field that can hold the sequences; raise InputError if there are none or several.

    ``records`` show the reason for which there is none.
    """
    lists = [key for key, content in contents.items() if content.lists]
    # A field that is [] in all records may be anything, so fields with elements come first.
    lists = [key for key in lists if contents[key].filled] or lists
    integers = [key for key in lists if contents[key].integers]
    if not field.numbers:  # The mask of another field holds integers as well.
        integers = [key for key in integers if not is_marks_name(key)] or integers
        integers = [key for key in integers if not _is_companion(key)] or integers
    candidates = lists if field.numbers else integers or lists
    if len(candidates) == 1:
        return candidates[0]
    content = "numbers" if field.numbers else "integers"
    raise InputError(
        where=name,
        expected=f"one field that holds a list of {content} in every record",
        received=f"{quote_names(candidates)} among the fields {quote_names(list(contents))}",
        fix=(_suggest_content(records, field) if records and not candidates else "")
        or f"Name the field with {field.option}.",
    )


class Entries:
    """Checks entries that are read block by block: all bare lists, or all records with one field for the sequences."""

    def __init__(self, field: Field, name: str) -> None:
        """Begin without entries.

        Args:
            field: the requested field.
            name: of the file.
        """
        self._field, self._name = field, name
        self._bare = field.bare
        self._contents: dict[str, _FieldContent] | None = None
        self._chosen = field.name

    @property
    def field(self) -> Field:
        """The requested field, or else the field with the sequences so far, if any."""
        return dataclasses.replace(self._field, name=self._chosen, bare=self._bare)

    def accept(self, field: str | None, records: Sequence[dict[str, Any]] | None = None, filled: bool = True) -> bool:
        """Return whether lists of integers match all entries before, and count them as entries if they do.

        Args:
            field: the field that the lists are in; None for bare lists.
            records: the different records, with an empty list in ``field``; None if they have no other field.
            filled: whether any list has an element.
        """
        if field is not None and any(find_marks(record, field) for record in records or ()):
            return False  # The strict reader applies the mask.
        if field is None:
            self._bare = self._bare or (self._contents is None and self._chosen is None)
            return self._bare
        if self._bare or self._chosen not in (None, field):
            return False
        if self._field.name is None:
            names = records[0] if records else (field,)
            contents = _classify_fields(records or (), self._contents or dict.fromkeys(names, NOTHING))
            contents[field] = dataclasses.replace(contents[field], filled=filled or contents[field].filled)
            if not self._is_only(field, contents):
                return False
            self._contents = contents
        self._chosen = field
        return True

    def _is_only(self, field: str, contents: Mapping[str, _FieldContent]) -> bool:
        try:
            return _select_field(contents, self._field, self._name) == field
        except InputError:
            return False

    def get_rows(self, entries: Sequence[Any], where: Callable[[int], str]) -> FieldRows:
        """Return the sequences of entries; ``where`` returns the place of entry ``i``.

        Raises:
            InputError: for entries of another kind than those before, and for records without the field.
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
            return FieldRows(list(entries))
        return _get_values(self._choose_field(objects), entries, self._field, where)

    def _choose_field(self, objects: Sequence[dict[str, Any]]) -> str:
        """Return the field with the sequences; raise InputError if these objects would change it."""
        if self._field.name is not None:
            return self._field.name
        if not objects:
            return str(self._chosen)
        self._contents = _classify_fields(objects, self._contents or dict.fromkeys(objects[0], NOTHING))
        chosen = _select_field(self._contents, self._field, self._name, objects)
        if self._chosen not in (None, chosen):
            raise InputError(
                where=self._name,
                expected=f"sequences in the field {self._chosen!r} of all records, as in those at the start",
                received=f"lists of integers only in {chosen!r}",
                fix=f"Name the field with {self._field.option}.",
            )
        self._chosen = chosen
        return chosen


def _describe_text(text: str, error: json.JSONDecodeError) -> str:
    """Describe the text at a decoding error, for its message."""
    if error.pos >= len(text.rstrip()):
        return "the end, with a bracket or quote still open"
    return f"{text[error.pos : error.pos + 20].splitlines()[0]!r} ({error.msg.lower()})"
