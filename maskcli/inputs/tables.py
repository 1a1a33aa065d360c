"""Read files and arrays as a table of named columns, and match the inputs of a model with these."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from maskcli.errors import ON_COMMAND_LINE, InputError, MaskcliError, ModelError
from maskcli.inputs.roles import is_mask_name
from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.files import get_text_layout, parse_texts, read_bytes
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import MASK, PADDING_MASKS, TARGETS, Field, locate_error, name_rows, quote_names
from maskcli.sequences.formats.json_text import find_marks
from maskcli.sequences.formats.numpy_arrays import load_arrays
from maskcli.sequences.formats.shards import load_shard_arrays
from maskcli.sequences.sources import Source
from maskcli.sequences.words import Tokenizer, encode_rows

RawColumn = Array | RaggedSequences | list[Any]
PLAIN = "tokens"
"""The name of the only column of a file of sequences."""
INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""Names of the index of a table that pandas saved, in CSV, in CSV that was read and saved again, and in Parquet."""


@dataclasses.dataclass(frozen=True, eq=False)
class DataTable:
    """Named columns.

    Attributes:
        names: the columns that inputs can be matched with, in order.
        columns: all columns, including ``NAME.mask``.
        column: returns one of ``columns``.
        where: names the place of a row.
        noun: the word for a column in messages.
        layout: the padding that the file states for itself.
        records: the records whose fields the columns are; None for other data.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    column: Callable[[str], RawColumn]
    where: Callable[[int], str]
    noun: Literal["array", "field", "sequences"]
    layout: Layout | None = None
    records: list[dict[str, Any]] | None = None


# Files and arrays to a table of columns.


def read_table(
    path: str | Source, input_format: str, field: str | None, inputs: list[str], tokenizer: Tokenizer | None = None
) -> DataTable:
    """Return the data of a file as columns; ``inputs`` are the names of the model's inputs.

    With a tokenizer, lines and fields of text become ids.
    """
    source = path if isinstance(path, Source) else Source(path)
    if tokenizer is not None:
        return _read_text_table(source, input_format, field, tokenizer)
    entry, data = read_bytes(source, input_format)
    name = source.name
    if entry.name == "shards":
        arrays, layout = load_shard_arrays(source, inputs)
        return dataclasses.replace(make_table(arrays, name_rows(name), inputs), layout=layout)
    if entry.name == "npz":
        return make_table(load_arrays(data, name), name_rows(name), inputs)
    parsed = entry.read(data, name, json_text.WHOLE)
    rows = parsed.rows
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        return make_record_table(rows, parsed.where, name, field)
    if field is not None:
        parsed = entry.read(data, name, Field(field))  # The reader reports why no field can be selected here.
    return make_single_column(rows, parsed.where, parsed.layout)


def _read_text_table(source: Source, input_format: str, field: str | None, tokenizer: Tokenizer) -> DataTable:
    parsed = parse_texts(source, input_format, json_text.WHOLE)
    rows: list[Any] = [parsed.rows[index] for index in range(len(parsed.rows))]
    layout = get_text_layout(tokenizer)
    if rows and isinstance(rows[0], dict):
        return encode_columns(make_record_table(rows, parsed.where, source.name, field), tokenizer)
    encoded = _encode_column(rows, tokenizer, parsed.where)
    return make_single_column(encoded, parsed.where, layout)


def encode_columns(table: DataTable, tokenizer: Tokenizer) -> DataTable:
    """Return a table whose columns of text become ids when they are read."""
    return dataclasses.replace(
        table,
        column=lambda name: _encode_column(table.column(name), tokenizer, table.where),
        layout=get_text_layout(tokenizer),
    )


def _encode_column(raw: RawColumn, tokenizer: Tokenizer, where: Callable[[int], str]) -> RawColumn:
    if not isinstance(raw, list):
        return raw
    try:
        return encode_rows(raw, tokenizer)
    except InputError as error:
        raise locate_error(error, where) from None


def make_single_column(rows: RawColumn, where: Callable[[int], str], layout: Layout | None = None) -> DataTable:
    """Return sequences, or the rows of one array, as the only column."""
    noun: Literal["array", "sequences"] = "array" if isinstance(rows, np.ndarray) else "sequences"
    return DataTable((PLAIN,), (PLAIN,), lambda _: rows, where, noun, layout)


def make_record_table(
    records: list[dict[str, Any]], where: Callable[[int], str], name: str, chosen: str | None = None
) -> DataTable:
    """Return records as columns, one for each field; a pattern of fields that is ``chosen`` takes their place.

    ``name`` is that of the data, for messages.
    """
    fields = tuple(dict.fromkeys(chain.from_iterable(records)))
    if chosen is not None and chosen not in fields:
        joined = json_text.match_names(chosen, fields)
        if joined:
            fields = (chosen, *(field for field in fields if field not in joined))

    def column(key: str) -> RawColumn:
        # As for targets, the values are those of the field, also where a mask marks them as padding.
        return json_text.get_field_rows(records, Field(key, numbers=True), name, where).rows

    return DataTable(_list_candidates(fields), fields, column, where, "field", records=records)


def make_table(
    arrays: Mapping[str, Array | RaggedSequences], where: Callable[[int], str], inputs: list[str]
) -> DataTable:
    """Return arrays as columns; ``values`` and ``row_splits`` together are a column of sequences."""
    columns: dict[str, RawColumn] = dict(arrays)
    for name, array in columns.items():
        if isinstance(array, np.ndarray) and array.dtype == object:
            raise InputError(
                where=name,
                expected="an array of numbers",
                received="an array of objects",
                fix="Pad its rows first, or give them as RaggedSequences.",
            )
    arrays_in_order = tuple(columns)
    if {"values", "row_splits"} <= columns.keys() and not {"values", "row_splits"} & set(inputs):
        ragged = RaggedSequences(np.asarray(arrays["values"]), np.asarray(arrays["row_splits"]))
        columns.setdefault(PLAIN, ragged)
        return DataTable((PLAIN,), tuple(columns), columns.__getitem__, where, "array")
    hidden = _add_mask_of_pad(columns, inputs)
    names = tuple(name for name in _list_candidates(arrays_in_order) if name not in hidden)
    return DataTable(names, tuple(columns), columns.__getitem__, where, "array")


def _add_mask_of_pad(columns: dict[str, RawColumn], inputs: list[str]) -> set[str]:
    """Make the mask in a file of ``maskcli pad --output`` that of its tokens; return the columns that feed no input."""
    mask, whole = columns.get("mask"), {PLAIN, "mask", "lengths"} <= columns.keys()
    if PLAIN not in columns or not isinstance(mask, np.ndarray) or not (whole or inputs):
        return set()
    if len(inputs) < 2:
        columns.setdefault(PLAIN + MASK, mask)
        return {"mask", "lengths"} - set(inputs)
    if whole:  # Otherwise the mask is an input of the model, which may differ from the validity.
        columns.setdefault(PLAIN + MASK, mask)
    return {"lengths"} - set(inputs) if whole else set()


def _list_candidates(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that are neither the mask of another one nor the numbers of the rows, as pandas saves them."""
    return tuple(
        name
        for name in columns
        if not (name.endswith(MASK) and name.removesuffix(MASK) in columns) and not INDEX.fullmatch(name)
    )


def find_column_marks(table: DataTable, name: str, inputs: Collection[str]) -> str | None:
    """Return the column that marks the valid timesteps of column ``name``; None if there is none.

    A column such as ``attention_mask`` counts unless the model takes it as an input.
    """
    if name.endswith(MASK):
        return None
    return find_marks([column for column in table.columns if column not in inputs or column == name + MASK], name)


def read_marks(table: DataTable, name: str) -> RawColumn | None:
    """Return a column of marks as booleans; of other values, only ``NAME.mask`` itself, and None for the others."""
    raw = table.column(name)
    other = None if name in PADDING_MASKS else raw
    if isinstance(raw, RaggedSequences):
        return raw
    if isinstance(raw, np.ndarray):
        return raw.astype(np.bool_) if np.isin(raw, (0, 1)).all() else other
    if not are_flags(list(iterate_entries(raw))):
        return other
    return [list(map(bool, row)) if isinstance(row, list) else row for row in raw]


# Matching the inputs of the model with columns.


def is_mask_input(spec: InputSpec) -> bool:
    """Return whether an input of the model is a mask: by its shape, dtype and name, or because the model uses it so."""
    return len(spec.shape) == 2 and (spec.is_mask or spec.dtype == "bool" or is_mask_name(spec.name))


def find_leading_inputs(specs: Sequence[InputSpec]) -> list[InputSpec]:
    """Return the inputs that only data can feed: those without a default, or else the first."""
    return [spec for spec in specs if not is_mask_input(spec) and spec.filling is None] or list(specs[:1])


def list_unnamed_inputs(
    table: DataTable, specs: Sequence[InputSpec], field: str | None, also: Collection[str] = ()
) -> set[str]:
    """Return the inputs that no column is named as; none if there are columns for all inputs in order.

    The column ``field`` may feed any of them.
    """
    usable = _leave_out_targets([name for name in table.names if name not in also], specs)
    missing = {spec.name for spec in specs if spec.name not in usable}
    if len(missing) == len(specs) and len(usable) >= len(specs) and field is None:
        return set()
    return missing


def match_columns(
    table: DataTable,
    specs: Sequence[InputSpec],
    field: str | None,
    also: Collection[str] = (),
    takes_one: bool = False,
) -> list[str]:
    """Return the name of a column for each input, ``""`` for a default mask; the columns ``also`` feed no input.

    Without specs, ``takes_one`` is whether the model takes a single array.
    """
    if field is not None and field not in table.columns:
        raise make_unknown_column_error(table, field, "--field")
    usable = [name for name in table.names if name not in also]
    if not specs:
        return [field] if field is not None else _choose_undeclared(table, usable, takes_one)
    taken = {spec.name: spec.name for spec in specs if spec.name in table.names}
    if field is not None:
        taken[find_leading_inputs(specs)[0].name] = field
    left = [spec for spec in specs if spec.name not in taken]
    usable = _leave_out_targets([name for name in usable if name not in taken.values()], left)
    if any(name not in PADDING_MASKS for name in usable):
        usable = [name for name in usable if name not in PADDING_MASKS or any(map(is_mask_input, left))]
    if left:
        taken |= _match_by_order(table, specs, left, usable)
    return [taken.get(spec.name, "") for spec in specs]


def _choose_undeclared(table: DataTable, usable: list[str], takes_one: bool) -> list[str]:
    """Return the columns for a model that declares no inputs: those of numbers, or the only one of ids."""
    kept = [name for name in usable if not _is_text(table, name)] or usable
    if not takes_one or len(kept) == 1:
        return kept
    kept = [name for name in kept if name.lower() not in TARGETS] or kept
    kept = [name for name in kept if name not in PADDING_MASKS] or kept
    if len(kept) > 1 and table.records is not None:
        return [_find_only_column(table, kept)]
    if len(kept) > 1 and PLAIN in kept:
        return [PLAIN]
    if len(kept) > 1:
        raise ModelError(
            expected=f"the {table.noun} of the only input of the model",
            received=_describe_columns(table),
            fix="Name it with --field NAME.",
        )
    return kept


def _is_text(table: DataTable, name: str) -> bool:
    return table.records is not None and any(isinstance(record.get(name), str) for record in table.records[:1])


def _find_only_column(table: DataTable, names: Sequence[str]) -> str:
    """Return the only one of these fields with lists of integers."""
    kept = [{name: record[name] for name in names if name in record} for record in table.records or ()]
    return json_text.find_only_field(kept, Field(), "")


def _leave_out_targets(names: list[str], specs: Sequence[InputSpec]) -> list[str]:
    """Return the columns that are not named like targets or weights, if there are enough for the inputs ``specs``."""
    inputs = {spec.name for spec in specs}
    kept = [name for name in names if name in inputs or name.lower() not in TARGETS]
    return kept if len(kept) >= len(find_leading_inputs(specs)) else names


def _match_by_order(
    table: DataTable, specs: Sequence[InputSpec], left: list[InputSpec], usable: list[str]
) -> Mapping[str, str]:
    """Return columns for the inputs whose name no column has; as many of both, since names cannot be compared."""
    nameless = len(left) == len(specs)
    data = [spec for spec in left if spec in find_leading_inputs(specs)]
    if len(usable) == len(left) and all(
        spec in data
        or (spec.filling is not None and _has_timesteps(table.column(name)))
        or _looks_like_mask(name, table.column(name), nameless or spec.is_mask)
        for spec, name in zip(left, usable, strict=True)
    ):
        return _pair_names(left, usable)
    if len(usable) == len(data):
        return _pair_names(data, usable)
    if not data:
        return {}
    if len(find_leading_inputs(specs)) == 1 and table.records is not None and usable:
        return {data[0].name: _find_only_column(table, usable)}
    if len(find_leading_inputs(specs)) == 1 and PLAIN in usable:
        return {data[0].name: PLAIN}
    raise ModelError(
        expected=describe_specs(specs),
        received=_describe_columns(table),
        fix=_make_naming_fix(table, [spec.name for spec in data], has_others=bool(usable) or nameless),
    )


def _has_timesteps(raw: RawColumn) -> bool:
    """Return whether a column may hold integers for each timestep."""
    if isinstance(raw, np.ndarray):
        return raw.ndim == 2
    return isinstance(raw, RaggedSequences) or any(isinstance(row, list) for row in raw)


def _pair_names(specs: Sequence[InputSpec], names: Sequence[str]) -> dict[str, str]:
    return {spec.name: name for spec, name in zip(specs, names, strict=True)}


def _looks_like_mask(name: str, raw: RawColumn, by_values: bool) -> bool:
    """Return whether a column holds booleans or is named a mask; or with ``by_values``, holds only 0 and 1."""
    if isinstance(raw, RaggedSequences):
        return False
    if isinstance(raw, np.ndarray):
        is_declared = raw.dtype == np.bool_ or "mask" in name.lower()
        return raw.ndim == 2 and (is_declared or (by_values and bool(np.isin(raw, (0, 1)).all())))
    values = list(iterate_entries(raw))
    return "mask" in name.lower() or (are_flags(values) and (by_values or find_types(values) == {bool}))


# The content of rows of JSON.


def iterate_entries(rows: list[Any]) -> Iterator[Any]:
    """Yield the entries of the rows; a row may be a number itself."""
    return chain.from_iterable(row if isinstance(row, list) else [row] for row in rows)


def find_types(values: list[Any]) -> set[type]:
    """Return the types of values."""
    return set(map(type, values))


def are_flags(values: list[Any]) -> bool:
    """Return whether all values are true, false, 0 or 1."""
    return find_types(values) <= {bool, int, float} and set(values) <= {0, 1}


# Errors.


@contextlib.contextmanager
def name_column_errors(table: DataTable, name: str) -> Iterator[None]:
    """Add the name of the column to the place of an error, if there are several columns."""
    try:
        yield
    except MaskcliError as error:
        if error.row is not None and len(table.names) > 1:
            error.at(f"{table.where(error.row)}, {table.noun} {name!r}")
        raise


def _describe_columns(table: DataTable) -> str:
    if table.noun == "sequences":
        return "sequences for one input"
    if not table.names:
        return f"no {table.noun}s"
    texts = []
    for name in table.names[:8]:
        raw = table.column(name)
        texts.append(describe_array(name, raw) if isinstance(raw, np.ndarray) else f"{name} ({_describe_content(raw)})")
    more = f" and {len(table.names) - 8} more" if len(table.names) > 8 else ""
    return f"{table.noun}s {', '.join(texts)}{more}"


def _describe_content(raw: RaggedSequences | list[Any]) -> str:
    if isinstance(raw, RaggedSequences):
        return "lists of integers"
    types = find_types(list(iterate_entries(raw)))
    noun = "numbers"
    if list in types:
        noun = "vectors"
    elif types == {int}:
        noun = "integers"
    elif str in types:
        noun = "text"
    return f"lists of {noun}" if any(isinstance(row, list) for row in raw) else noun


def _make_naming_fix(table: DataTable, missing: list[str], has_others: bool) -> str:
    if table.noun == "sequences":
        in_file = (
            "The data needs a field of records, or an array of an .npz, for each input, with the name of the input."
        )
        if ON_COMMAND_LINE.get():
            return in_file
        return f"{in_file} In Python it is a dict by these names, or a list of arrays in the order of the inputs."
    if not has_others:
        return f"Add the {table.noun} {', '.join(missing)} to the data; maskcli itself makes only masks."
    return (
        f"Name the {table.noun}s as the model's inputs are named ({', '.join(missing)}), "
        f"or leave exactly as many, in that order; a model of one input also takes --field NAME."
    )


def make_unknown_column_error(table: DataTable, name: str, option: str) -> InputError:
    """Return the error of an option that names no column."""
    if table.noun == "sequences":
        return InputError(
            expected=f"records or an .npz for {option}",
            received="sequences without names",
            fix=f"Leave {option} out.",
        )
    close = difflib.get_close_matches(name, table.columns, n=1)
    return InputError(
        expected=f"the {table.noun} {name!r}",
        received=f"the {table.noun}s {quote_names(table.columns)}",
        fix=f"Did you mean {option} {close[0]}?" if close else f"Name one of these with {option}.",
    )


def describe_specs(specs: Sequence[InputSpec]) -> str:
    """Return the inputs of a model, for messages."""
    return "; ".join(map(str, specs)) or "arrays of numbers with a row for each sample"


def describe_array(name: str, array: Array) -> str:
    """Return ``tokens (2, 6) int32``."""
    return f"{name} {array.shape} {array.dtype}"
