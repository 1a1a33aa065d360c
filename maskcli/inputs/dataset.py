"""Read data for models with one or several inputs, of any dtype and rank: from a file, or from arrays in memory.

Data is a table of named columns. Each input of the model is matched with a column, each column is laid out as an array,
and each array is compared with the specification of its input. The padding of each input is found, for which the
caller may look at the model. If the model needs a mask and the data has none, the mask is made of the valid timesteps
of the inputs that it masks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maskcli.errors import InputError, ModelError
from maskcli.inputs.columns import DataColumn, RowLayout, lay_out_column
from maskcli.inputs.missing import examine_missing
from maskcli.inputs.objects import TableRows
from maskcli.inputs.roles import PACKED_SEGMENTS, InputRoles, find_filling, holds_segments
from maskcli.inputs.tables import (
    DataTable,
    RawColumn,
    encode_columns,
    find_leading_inputs,
    is_mask_input,
    list_unnamed_inputs,
    make_record_table,
    make_single_column,
    make_table,
    make_unknown_column_error,
    match_columns,
    read_table,
)
from maskcli.inputs.targets import arrange_rows, choose_row_layout, count_entries
from maskcli.inputs.validity import FindRoles, SingleArrayError, fit_columns, match_rank
from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec, ModelInput
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.records.validity import Filling
from maskcli.sequences.files import load_texts
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import MASK, PADDING_MASKS, Field, quote_names
from maskcli.sequences.ragged import join_rows
from maskcli.sequences.sources import Source, display_name
from maskcli.sequences.words import Tokenizer

EMPTY: Mapping[str, str] = types.MappingProxyType({})
CONTENT = {"--targets-field": "targets", "--sample-weight-field": "weights"}
"""The content of a column that feeds no input, by the option that named it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The inputs of a model, and where their rows come from.

    Attributes:
        inputs: in the order of the model's inputs, or of the data where the model names none.
        more: arrays that feed no input, such as targets and weights, by the name of their column: ``(batch,)``,
            ``(batch, units)`` or ``(batch, timesteps[, units])``.
        where: names the place of row ``i``, for messages.
        batch: the first input that maskcli padded itself from sequences of integers; None when there is none.
        ragged: the sequences of ``batch``.
        layouts: of all inputs that maskcli padded.
        segments: ``(batch, timesteps)``, a column with the segments of packed rows that feeds no input; None without.
        spare: the columns that feed no input, and that nothing else needs.
        more_layouts: of those of ``more`` that maskcli padded like an input.
    """

    inputs: tuple[ModelInput, ...]
    more: dict[str, Array]
    where: Callable[[int], str]
    batch: PaddedBatch | None
    ragged: RaggedSequences | None
    layouts: tuple[RowLayout, ...] = ()
    segments: Array | None = None
    spare: tuple[str, ...] = ()
    more_layouts: Mapping[str, RowLayout] = dataclasses.field(default_factory=dict)


def read_dataset(
    path: str | Source,
    specs: Sequence[InputSpec],
    layout: Layout,
    input_format: str = "auto",
    field: str | None = None,
    also: Mapping[str, str] = EMPTY,
    find_roles: FindRoles | None = None,
    tokenizer: Tokenizer | None = None,
    takes_one: bool = False,
) -> Dataset:
    """Return the data of one file as the inputs of a model.

    Args:
        path: an ``.npz`` with an array for each input, records with a field for each, or any file of sequences for a
            model with one input; ``-`` is standard input.
        specs: the inputs that the model declares; if empty, all columns of the data but text become inputs.
        layout: how sequences are padded; where it is the default, the layout that a file states for itself applies.
        input_format: a name of ``FORMATS``, or ``auto``.
        field: the array or field that feeds the first input that is not a mask.
        also: arrays or fields that feed no input, such as the targets, with the options that named them.
        find_roles: returns the roles of the inputs in the model; None without a model.
        tokenizer: maps columns of text to ids; None for data without text.
        takes_one: whether a model without ``specs`` takes a single array.

    Raises:
        InputError: for a file, or a value in it, that cannot be used, with its place.
        ModelError: for data that does not fit the model, with the shapes of both.
    """
    table = read_table(path, input_format, field, [spec.name for spec in specs], tokenizer)
    with _add_place(table.where, path.name if isinstance(path, Source) else display_name(path)):
        return _make_dataset(table, specs, layout, field, also, find_roles, takes_one)


def make_dataset(
    data: Mapping[str, Array] | TableRows,
    specs: Sequence[InputSpec],
    layout: Layout,
    find_roles: FindRoles | None = None,
    also: Mapping[str, str] = EMPTY,
    takes_one: bool = False,
) -> Dataset:
    """Return arrays in memory, ``{"tokens": ..., "tokens.mask": ...}``, or a table, as the inputs of a model."""
    with _add_place(_name_row):
        if isinstance(data, TableRows):
            table = make_record_table(data.records, _name_row, "")
            if data.tokenizer is not None:
                table = encode_columns(table, data.tokenizer)
        else:
            table = make_table(data, _name_row, [spec.name for spec in specs])
        field = data.field if isinstance(data, TableRows) else None
        return _make_dataset(table, specs, layout, field, also, find_roles, takes_one)


def _name_row(row: int) -> str:
    return f"row {row + 1}"


def select_sequences(data: object) -> object:
    """Return the only column of a table that holds lists of integers, or text for its tokenizer; other data unchanged.

    Raises:
        InputError: for a table with no such column, or several.
    """
    if not isinstance(data, TableRows):
        return data
    if data.tokenizer is not None:
        return load_texts(_select_texts(data), data.tokenizer)
    selected = json_text.get_field_rows(data.records, Field(data.field, option="data[NAME]"), "the table", _name_row)
    if selected.marked_by is None:
        return selected.rows
    return dataclasses.replace(join_rows(selected.rows), marked_by=selected.marked_by)


def _select_texts(data: TableRows) -> list[Any]:
    """Return the chosen column of a table, or its only column of text."""
    texts = [name for name in data.records[0] if isinstance(data.records[0][name], str)]
    if data.field is None and len(texts) != 1:
        raise InputError(
            expected="one column of text",
            received=f"the columns {quote_names(texts)}",
            fix="Name the column with --field.",
        )
    return [record.get(data.field or texts[0]) for record in data.records]


def read_nested_rows(data: object, has_model: bool = False) -> RawColumn | None:
    """Return an array of at least 3 axes, or rows with a list at each timestep; None for other data.

    For a model also return an array of 2 axes of floats: features of each sample, or a number at each timestep.
    """
    if isinstance(data, np.ndarray):
        is_matrix = has_model and data.ndim == 2 and data.dtype.kind == "f"
        return data if is_matrix or (data.ndim > 2 and data.dtype != object) else None
    if not isinstance(data, list | tuple):
        return None
    first = next((row[0] for row in data if isinstance(row, list | tuple | np.ndarray) and len(row)), None)
    return _list_entries(data) if isinstance(first, list | tuple | np.ndarray) else None


def _list_entries(value: Any) -> Any:
    """Return nested tuples and arrays as lists."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_list_entries(entry) for entry in value] if isinstance(value, list | tuple) else value


def make_ragged_dataset(
    rows: RawColumn, specs: Sequence[InputSpec], layout: Layout, find_roles: FindRoles | None = None
) -> Dataset:
    """Return sequences, or nested rows, as the only input of a model that is not a mask; see ``read_dataset``."""
    table = make_single_column(rows, _name_row)
    with _add_place(table.where):
        return _make_dataset(table, specs, layout, find_roles=find_roles)


def _make_dataset(
    table: DataTable,
    specs: Sequence[InputSpec],
    layout: Layout,
    field: str | None = None,
    also: Mapping[str, str] = EMPTY,
    find_roles: FindRoles | None = None,
    takes_one: bool = False,
) -> Dataset:
    for name, option in also.items():
        if name not in table.columns:
            raise make_unknown_column_error(table, name, option)
    missing = list_unnamed_inputs(table, specs, field, also)
    roles = InputRoles() if find_roles is None or not missing else examine_missing(specs, missing, find_roles)
    specs = [
        dataclasses.replace(spec, is_mask=spec.name in roles.masks, filling=_choose_filling(spec, missing, roles))
        for spec in specs
    ]
    names = match_columns(table, specs, field, also, takes_one)
    targets: list[InputSpec | None] = list(specs) or [None] * len(names)
    leading = find_leading_inputs(specs)
    sole = leading[0] if len(leading) == 1 else None
    columns: list[DataColumn | None] = []
    for name, spec in zip(names, targets, strict=True):
        leads = spec is sole if specs else len(names) == 1
        columns.append(lay_out_column(table, name, spec, layout, leads, names) if name else None)
    try:
        inputs = fit_columns(
            [column and match_rank(column, spec) for column, spec in zip(columns, targets, strict=True)],
            targets,
            table,
            find_roles,
            roles,
        )
    except SingleArrayError:
        return _make_dataset(table, specs, layout, field, also, find_roles, takes_one=True)
    inputs = _note_order(inputs, specs, names, field)
    layouts = tuple(column.rows for column in columns if column is not None and column.rows is not None)
    padded = next((column for column in columns if column is not None and column.batch is not None), None)
    further = {name: _lay_out_further(table, name, CONTENT.get(option, name), layouts) for name, option in also.items()}
    more = {name: array for name, (array, _) in further.items()}
    more_layouts = {name: rows for name, (_, rows) in further.items() if rows is not None}
    batch, ragged = (None, None) if padded is None else (padded.batch, padded.ragged)
    segments = _find_spare_segments(table, names)
    spare = tuple(name for name in table.columns if name not in (*names, *also) and not _marks_timesteps(name))
    return Dataset(inputs, more, table.where, batch, ragged, layouts, segments, spare, more_layouts)


def _marks_timesteps(name: str) -> bool:
    return name.endswith(MASK) or name in PADDING_MASKS


def _find_spare_segments(table: DataTable, used: Collection[str]) -> Array | None:
    """Return an array with the segments of packed rows that feeds no input."""
    for name in table.columns:
        if name not in used and PACKED_SEGMENTS.search(name.lower()):
            values = table.column(name)
            if isinstance(values, np.ndarray) and holds_segments(name, values):
                return values
    return None


def _note_order(
    inputs: tuple[ModelInput, ...], specs: Sequence[InputSpec], names: Sequence[str], field: str | None
) -> tuple[ModelInput, ...]:
    """Return the inputs, those with their column that only its order chose among several."""
    if len(list(filter(None, names))) < 2:
        return inputs
    by_order = {spec.name: name for spec, name in zip(specs, names, strict=False) if name not in ("", spec.name, field)}
    return tuple(dataclasses.replace(entry, column=by_order.get(entry.name)) for entry in inputs)


def _choose_filling(spec: InputSpec, missing: Collection[str], known: InputRoles) -> Filling | None:
    """Return the default of an input that the data lacks, unless it is a mask."""
    if spec.name not in missing or spec.name in known.masks or is_mask_input(spec):
        return None
    return spec.filling or find_filling(spec)


def _lay_out_further(
    table: DataTable, name: str, content: str, layouts: Sequence[RowLayout]
) -> tuple[Array, RowLayout | None]:
    """Return a column that feeds no input: an array unchanged, or rows laid out like a padded input, and its layout."""
    raw = table.column(name)
    if isinstance(raw, np.ndarray):
        return raw, None
    rows = [raw[index] for index in range(len(raw))]
    chosen = choose_row_layout(count_entries(rows), layouts)
    with _add_place(lambda row: f"{table.where(row)}, {table.noun} {name!r}"):
        if chosen is None:
            return arrange_rows(rows, None, Layout(), content), None
        is_padded = count_entries(rows) == chosen.lengths.tolist()
        return arrange_rows(rows, chosen.lengths, chosen.layout, content), chosen if is_padded else None


@contextlib.contextmanager
def _add_place(where: Callable[[int], str], name: str = "") -> Iterator[None]:
    """Add the place of the row, or else the name of the file, to errors."""
    try:
        yield
    except (InputError, ModelError) as error:
        raise error.at(name if error.row is None else where(error.row)) from None
