"""Files and arrays as a table of named columns, and the inputs of a model matched with these."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from maskcli.errors import InputError, MaskcliError, ModelError
from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec
from maskcli.records.sequences import Layout, RaggedSequences
from maskcli.sequences.files import read_bytes
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import Field, quote_names
from maskcli.sequences.formats.numpy_arrays import load_arrays
from maskcli.sequences.sources import display_name

RawColumn = Array | RaggedSequences | list[Any]
MASK = ".mask"
"""What follows the name of a column in that of its own mask."""
PLAIN = "tokens"
"""The name of the one column of a file of sequences."""


@dataclasses.dataclass(frozen=True, eq=False)
class DataTable:
    """Named columns.

    Attributes:
        names: the columns that inputs can be matched with, in order.
        known: all columns, ``NAME.mask`` among them.
        column: returns one of ``known``.
        where: names the place of a row.
        noun: what a column is called in messages.
        layout: how the file says that it is padded.
        records: whose fields the columns are, if they are that.
    """

    names: tuple[str, ...]
    known: tuple[str, ...]
    column: Callable[[str], RawColumn]
    where: Callable[[int], str]
    noun: Literal["array", "field", "sequences"]
    layout: Layout | None = None
    records: list[dict[str, Any]] | None = None


# Files and arrays to a table of columns.


def read_table(path: str, input_format: str, field: str | None, wanted: list[str]) -> DataTable:
    """Return the data of a file as columns; ``wanted`` are the inputs of the model."""
    entry, data = read_bytes(path, input_format)
    name = display_name(path)
    if entry.name == "npz":
        return make_table(load_arrays(data, name), lambda row: f"{name}, row {row + 1}", wanted)
    parsed = entry.read(data, name, json_text.WHOLE)
    rows = parsed.rows
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        return _table_of_records(rows, parsed.where, name)
    if field is not None:
        parsed = entry.read(data, name, Field(field))  # The reader says what is wrong with naming a field here.
    return make_single_column(rows, parsed.where, parsed.layout)


def make_single_column(rows: RawColumn, where: Callable[[int], str], layout: Layout | None = None) -> DataTable:
    """Return sequences, or the rows of one array, as the one column."""
    noun: Literal["array", "sequences"] = "array" if isinstance(rows, np.ndarray) else "sequences"
    return DataTable((PLAIN,), (PLAIN,), lambda _: rows, where, noun, layout)


def _table_of_records(records: list[dict[str, Any]], where: Callable[[int], str], name: str) -> DataTable:
    known = tuple(dict.fromkeys(chain.from_iterable(records)))

    def column(key: str) -> RawColumn:
        return json_text.get_field_rows(records, Field(key), name, where)

    return DataTable(_candidates(known), known, column, where, "field", records=records)


def make_table(arrays: Mapping[str, Array], where: Callable[[int], str], wanted: list[str]) -> DataTable:
    """Return arrays as columns; ``values`` and ``row_splits`` together are one of sequences."""
    columns: dict[str, RawColumn] = dict(arrays)
    for name, array in columns.items():
        if isinstance(array, np.ndarray) and array.dtype == object:
            raise InputError(
                where=name,
                expected="an array of numbers",
                received="an array of objects",
                fix="Pad its rows first, or give them as RaggedSequences.",
            )
    known = tuple(columns)
    if {"values", "row_splits"} <= columns.keys() and not {"values", "row_splits"} & set(wanted):
        ragged = RaggedSequences(np.asarray(arrays["values"]), np.asarray(arrays["row_splits"]))
        columns.setdefault(PLAIN, ragged)
        return DataTable((PLAIN,), tuple(columns), columns.__getitem__, where, "array")
    hidden = _own_mask(columns, wanted)
    names = tuple(name for name in _candidates(known) if name not in hidden)
    return DataTable(names, tuple(columns), columns.__getitem__, where, "array")


def _own_mask(columns: dict[str, RawColumn], wanted: list[str]) -> set[str]:
    """Add the mask in what ``maskcli pad --output`` writes as that of its tokens; return what feeds no input then."""
    mask, whole = columns.get("mask"), {PLAIN, "mask", "lengths"} <= columns.keys()
    if PLAIN not in columns or not isinstance(mask, np.ndarray) or not (whole or wanted):
        return set()
    if len(wanted) < 2:
        columns.setdefault(PLAIN + MASK, mask)
        return {"mask", "lengths"} - set(wanted)
    if whole:  # Otherwise the mask is only what the model is told, which may differ from what is valid.
        columns.setdefault(PLAIN + MASK, mask)
    return {"lengths"} - set(wanted) if whole else set()


def _candidates(known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in known if not (name.endswith(MASK) and name.removesuffix(MASK) in known))


# Inputs of the model matched with columns.


def is_mask_input(spec: InputSpec) -> bool:
    """Return whether an input of the model is a mask, by its shape, dtype and name."""
    return len(spec.shape) == 2 and (spec.dtype == "bool" or "mask" in spec.name.lower())


def find_leading_inputs(specs: Sequence[InputSpec]) -> list[InputSpec]:
    """Return the inputs that only data can feed: those that are no masks, or else the first."""
    return [spec for spec in specs if not is_mask_input(spec)] or list(specs[:1])


def match_columns(
    table: DataTable, specs: Sequence[InputSpec], field: str | None, others: Collection[str] = ()
) -> list[str]:
    """Return the name of a column for each input, ``""`` for a mask that is to be made; ``others`` feed none."""
    if field is not None and field not in table.known:
        raise make_unknown_column_error(table, field, "--field")
    usable = [name for name in table.names if name not in others]
    if not specs:
        return [field] if field is not None else usable
    taken = {spec.name: spec.name for spec in specs if spec.name in table.names}
    if field is not None:
        taken[find_leading_inputs(specs)[0].name] = field
    left = [spec for spec in specs if spec.name not in taken]
    usable = [name for name in usable if name not in taken.values()]
    if left:
        taken |= _by_order(table, specs, left, usable)
    return [taken.get(spec.name, "") for spec in specs]


def _by_order(
    table: DataTable, specs: Sequence[InputSpec], left: list[InputSpec], usable: list[str]
) -> Mapping[str, str]:
    """Return columns for the inputs whose name no column has; counts must agree, for names would not show a slip."""
    nameless = len(left) == len(specs)
    data = [spec for spec in left if spec in find_leading_inputs(specs)]
    if len(usable) == len(left) and all(
        spec in data or _looks_like_mask(name, table.column(name), nameless)
        for spec, name in zip(left, usable, strict=True)
    ):
        return _names(left, usable)
    if len(usable) == len(data):
        return _names(data, usable)
    if not data:
        return {}
    if len(find_leading_inputs(specs)) == 1 and table.records is not None and usable:
        kept = [{name: record[name] for name in usable if name in record} for record in table.records]
        return {data[0].name: json_text.find_only_field(kept, Field(), "")}
    if len(find_leading_inputs(specs)) == 1 and PLAIN in usable:
        return {data[0].name: PLAIN}
    raise ModelError(
        expected=describe_specs(specs), received=_unmatched(table), fix=_naming_fix(table, [spec.name for spec in data])
    )


def _names(specs: Sequence[InputSpec], names: Sequence[str]) -> dict[str, str]:
    return {spec.name: name for spec, name in zip(specs, names, strict=True)}


def _looks_like_mask(name: str, raw: RawColumn, by_values: bool) -> bool:
    """Return whether a column is booleans or named a mask, or ``by_values`` holds 0 and 1 alone."""
    if isinstance(raw, RaggedSequences):
        return False
    if isinstance(raw, np.ndarray):
        told = raw.dtype == np.bool_ or "mask" in name.lower()
        return raw.ndim == 2 and (told or (by_values and bool(np.isin(raw, (0, 1)).all())))
    values = list(iterate_entries(raw))
    return "mask" in name.lower() or (are_flags(values) and (by_values or find_types(values) == {bool}))


# What JSON's rows hold.


def iterate_entries(rows: list[Any]) -> Iterator[Any]:
    """Yield what the rows hold, a row that is a number included."""
    return chain.from_iterable(row if isinstance(row, list) else [row] for row in rows)


def find_types(values: list[Any]) -> set[type]:
    """Return the types of values."""
    return set(map(type, values))


def are_flags(values: list[Any]) -> bool:
    """Return whether values are true, false, 0 and 1 alone."""
    return find_types(values) <= {bool, int, float} and set(values) <= {0, 1}


# What errors say.


@contextlib.contextmanager
def name_column_errors(table: DataTable, name: str) -> Iterator[None]:
    """Give errors in one column of several its name as well as the place of their row."""
    try:
        yield
    except MaskcliError as error:
        if error.row is not None and len(table.names) > 1:
            error.at(f"{table.where(error.row)}, {table.noun} {name!r}")
        raise


def _unmatched(table: DataTable) -> str:
    if table.noun == "sequences":
        return "one file of sequences"
    said = []
    for name in table.names[:8]:
        raw = table.column(name)
        said.append(describe_array(name, raw) if isinstance(raw, np.ndarray) else f"{name} ({_content(raw)})")
    more = f" and {len(table.names) - 8} more" if len(table.names) > 8 else ""
    return f"{table.noun}s {', '.join(said)}{more}" if said else f"no {table.noun}s"


def _content(raw: RaggedSequences | list[Any]) -> str:
    if isinstance(raw, RaggedSequences):
        return "lists of integers"
    types = find_types(list(iterate_entries(raw)))
    what = "vectors" if list in types else "integers" if types == {int} else "text" if str in types else "numbers"
    return f"lists of {what}" if any(isinstance(row, list) for row in raw) else what


def _naming_fix(table: DataTable, missing: list[str]) -> str:
    if table.noun == "sequences":
        return "Give records with a field for each input, or an .npz with an array for each, named as the inputs are."
    return (
        f"Name the {table.noun}s as the model's inputs are named ({', '.join(missing)}), "
        f"or give exactly as many, in that order; a model of one input also takes --field NAME."
    )


def make_unknown_column_error(table: DataTable, name: str, option: str) -> InputError:
    """Return the error of an option that names no column."""
    if table.noun == "sequences":
        return InputError(
            expected=f"records or an .npz for {option}",
            received="sequences without names",
            fix=f"Leave {option} out.",
        )
    return InputError(
        expected=f"the {table.noun} {name!r}",
        received=f"the {table.noun}s {quote_names(table.known)}",
        fix=f"Name one of these with {option}.",
    )


def describe_specs(specs: Sequence[InputSpec]) -> str:
    """Return the inputs of a model, for messages."""
    return "; ".join(map(str, specs)) or "arrays of numbers with a row for each sample"


def describe_array(name: str, array: Array) -> str:
    """Return ``tokens (2, 6) int32``."""
    return f"{name} {array.shape} {array.dtype}"
