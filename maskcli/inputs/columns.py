"""Lay out a column as an array: sequences and rows are padded, arrays stay unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Literal

import numpy as np

from maskcli.errors import InputError, ModelError
from maskcli.inputs.tables import (
    DataTable,
    RawColumn,
    are_flags,
    describe_array,
    find_column_marks,
    find_types,
    is_mask_input,
    iterate_entries,
    name_column_errors,
    read_marks,
)
from maskcli.records.arrays import Array, Bools, Ints
from maskcli.records.inputs import InputSpec
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences, have_lengths
from maskcli.records.wording import format_count
from maskcli.sequences.formats.base import PADDING_MASKS
from maskcli.sequences.formats.numpy_arrays import unpad_array
from maskcli.sequences.padding import check_layout, make_validity, pad_ragged, resolve_maxlen, truncate_values
from maskcli.sequences.ragged import as_ragged, describe_value, split_matrix

ColumnKind = Literal["ids", "features", "mask", "static"]


@dataclasses.dataclass(frozen=True, eq=False)
class RowLayout:
    """How the rows of one input were padded, which the rows of targets follow.

    Attributes:
        lengths: ``(batch,)``, entries of each row before it was padded.
        layout: of the padded rows.
    """

    lengths: Ints
    layout: Layout


@dataclasses.dataclass(frozen=True, eq=False)
class DataColumn:
    """One column, laid out as an array.

    Attributes:
        name: of the column.
        values: ``(batch, ...)``.
        layout: how it was padded, or is assumed to be.
        marked: ``(batch, timesteps)``, the valid timesteps according to ``NAME.mask``; with more axes, the valid cells
            of each timestep.
        marked_by: the column that ``marked`` is.
        framed: ``(batch, timesteps)``, where ``layout`` put entries of a row; None for an array in the data.
        framed_cells: ``(batch, timesteps, ...)``, the same inside timesteps, such as words in sentences; None if all
            timesteps have one width.
        lengths: ``(batch,)``, entries of each row before it was padded; None for an array in the data.
        kind: if it does not follow from shape and dtype.
        batch: of sequences of integers.
        ragged: the sequences of ``batch``.
    """

    name: str
    values: Array
    layout: Layout
    marked: Array | None = None
    marked_by: str | None = None
    framed: Bools | None = None
    framed_cells: Bools | None = None
    lengths: Ints | None = None
    kind: ColumnKind | None = None
    batch: PaddedBatch | None = None
    ragged: RaggedSequences | None = None

    @property
    def rows(self) -> RowLayout | None:
        """How the rows were padded; None for an array in the data."""
        return None if self.lengths is None or self.framed is None else RowLayout(self.lengths, self.layout)

    @property
    def has_lengths(self) -> bool:
        """Whether the rows differ in length, so that their lengths show which timesteps are padding."""
        return self.lengths is not None and have_lengths(self.lengths)

    def __str__(self) -> str:
        """Return ``tokens (2, 6) int32``, and its mask."""
        texts = [describe_array(self.name, self.values)]
        if self.marked is not None and self.marked_by is not None:
            texts.append(describe_array(self.marked_by, self.marked))
        return ", ".join(texts)


def lay_out_column(
    table: DataTable, name: str, spec: InputSpec | None, layout: Layout, sole: bool, used: Collection[str] = ()
) -> DataColumn:
    """Return a column as an array, with its ``NAME.mask``; a ``sole`` one feeds the only non-mask input.

    The columns ``used`` feed inputs of the model.
    """
    raw = table.column(name)
    marked_by = find_column_marks(table, name, used)
    marks = None if marked_by is None else read_marks(table, marked_by)
    of_file = _overlay_layout(layout, table.layout)
    with name_column_errors(table, name):
        column = _lay_out_raw(name, raw, marks, spec, layout, of_file, sole)
        if marks is None:
            return column
        if marked_by in PADDING_MASKS and not _fits_marks(column, marks):
            return column
        padded_again = isinstance(raw, np.ndarray) and column.framed is not None
        marked = column.framed if padded_again else _lay_out_marks(column, marks)
        return dataclasses.replace(column, marked=marked, marked_by=marked_by)


def _fits_marks(column: DataColumn, marks: RawColumn) -> bool:
    """Return whether marks, which only their name pairs with a column of ids, have its timesteps."""
    if column.values.dtype.kind not in "iu":
        return False
    if isinstance(marks, list):
        sizes = [len(row) if isinstance(row, list) else -1 for row in marks]
        return column.lengths is not None and sizes == column.lengths.tolist()
    return isinstance(marks, np.ndarray) and marks.shape == column.values.shape[:2]


def _lay_out_raw(
    name: str,
    raw: RawColumn,
    marks: RawColumn | None,
    spec: InputSpec | None,
    layout: Layout,
    of_file: Layout,
    sole: bool,
) -> DataColumn:
    if isinstance(raw, list):
        return _lay_out_rows(name, raw, spec, partial(_fix_timesteps, layout, of_file, spec), sole)
    if isinstance(raw, np.ndarray) and raw.ndim == 1 and sole and _takes_timesteps(spec):
        split_matrix(raw)  # One sequence without an axis of rows, or no sequences at all: it raises the error.
    if isinstance(raw, np.ndarray) and not (sole and raw.ndim == 2 and raw.dtype.kind in "iu"):
        return DataColumn(name, raw, of_file)
    if isinstance(marks, np.ndarray) and isinstance(raw, np.ndarray):
        return _lay_out_padded(name, raw, marks, spec, layout)
    dtype = raw.dtype.name if isinstance(raw, np.ndarray) and spec is None else None
    return _lay_out_ids(name, raw, spec, _fix_timesteps(layout, of_file, spec), dtype)


def _takes_timesteps(spec: InputSpec | None) -> bool:
    """Return whether an input has an axis of timesteps, which one number per row lacks."""
    return spec is None or (len(spec.shape) > 1 and spec.shape[1] != 1)


def _overlay_layout(layout: Layout, of_file: Layout | None) -> Layout:
    """Return the layout of the file, overlaid with the options of ``layout`` that are not the default."""
    options = {name: value for name, value in vars(layout).items() if value != getattr(Layout(), name)}
    if layout.sets_value:
        options["value"] = layout.value
    return dataclasses.replace(of_file or Layout(), **options)


def _fix_timesteps(layout: Layout, of_file: Layout, spec: InputSpec | None) -> Layout:
    """Return the layout of the file with the fixed length of the model, if it has one."""
    fixed = spec.shape[1] if spec is not None and len(spec.shape) > 1 else None
    if fixed is not None and layout.maxlen not in (None, fixed):
        raise ModelError(
            expected=f"sequences of {fixed} timesteps, for {spec}",
            received=f"maxlen {layout.maxlen}",
            fix=f"Leave --maxlen out, or use --maxlen {fixed}.",
        )
    if fixed is None:
        return of_file
    return dataclasses.replace(of_file, maxlen=fixed)


def _lay_out_marks(column: DataColumn, marks: RawColumn) -> Array:
    """Return the mask of a column; lists are padded like the column."""
    if not isinstance(marks, list):
        return np.asarray(marks)
    squared, _ = _square_cells(marks)
    rows = [make_row_array(row, index) for index, row in enumerate(squared)]
    if column.lengths is not None:
        check_lengths(rows, column.lengths, "booleans in the mask")
    layout = dataclasses.replace(column.layout, value=0)
    if column.framed is not None:
        layout = dataclasses.replace(layout, maxlen=column.framed.shape[1])
    return pad_rows(rows, layout)[0]


def _lay_out_ids(
    name: str, raw: RawColumn, spec: InputSpec | None, layout: Layout, dtype: str | None = None
) -> DataColumn:
    """Return padded sequences of integers, in the model's dtype if that is one of integers."""
    ragged = as_ragged(raw)
    if not len(ragged.values):
        raise _make_empty_error(len(ragged))
    of_model = resolve_dtype(spec)
    if of_model is not None and of_model.kind in "iu":
        dtype = of_model.name
    batch = pad_ragged(ragged, dataclasses.replace(layout, dtype=dtype or layout.dtype))
    return DataColumn(
        name,
        batch.tokens,
        batch.layout,
        marked=None if batch.marked_by is None else batch.mask,
        marked_by=batch.marked_by,
        framed=batch.mask,
        lengths=batch.lengths,
        kind="ids",
        batch=batch,
        ragged=ragged,
    )


def _lay_out_padded(name: str, tokens: Array, mask: Array, spec: InputSpec | None, layout: Layout) -> DataColumn:
    """Return a padded array as sequences that are padded again; unchanged if no padding leads to this array."""
    unchanged = DataColumn(name, tokens, layout)
    if mask.dtype != np.bool_ or mask.shape != tokens.shape:
        return unchanged
    try:
        parsed = unpad_array(tokens, mask, "")
    except InputError:  # A mask with holes, or padding of several values.
        return unchanged
    of_file = _overlay_layout(layout, parsed.layout)
    dtype = tokens.dtype.name if spec is None else None
    assert isinstance(parsed.rows, RaggedSequences)  # noqa: S101 - the result of unpadding
    return _lay_out_ids(name, parsed.rows, spec, _fix_timesteps(layout, of_file, spec), dtype)


def _lay_out_rows(
    name: str, rows: list[Any], spec: InputSpec | None, layout: Callable[[], Layout], sole: bool
) -> DataColumn:
    """Return a list of rows as an array; ``layout`` is called only if there are timesteps."""
    form = _find_form(name, rows, spec, sole)
    if form == "ids":
        return _lay_out_ids(name, rows, spec, layout())
    if form == "whole":
        whole = [list(map(int, row)) if isinstance(row, list) else row for row in rows]
        return _lay_out_ids(name, whole, spec, layout())
    are_pairs = form == "vectors" and _hold_pairs(rows)
    has_words = form == "vectors" and _takes_ids(spec) and not are_pairs
    squared, cells = _square_cells(rows) if has_words else (rows, None)
    arrays = [make_row_array(row, index) for index, row in enumerate(squared)]
    arrays = _widen_pairs(arrays, layout()) if are_pairs else arrays
    if form == "numbers" and len({row.shape for row in arrays}) == 1:
        return DataColumn(name, _convert_to_defaults(np.stack(arrays), spec), Layout(), kind="static")
    if form == "numbers" and spec is not None and spec.shape[1:] and spec.shape[1] is not None:
        raise _make_uneven_error(arrays, spec, spec.shape[1])
    if form == "series":
        arrays = [row.reshape(-1, 1) for row in arrays]
    kinds: dict[str, ColumnKind] = {"numbers": "features", "flags": "mask"}
    chosen_layout = layout()
    values, framed, lengths, resolved = pad_rows(arrays, chosen_layout)
    return DataColumn(
        name,
        _convert_to_defaults(values, spec),
        resolved,
        framed=framed,
        framed_cells=None if cells is None else pad_rows(cells, chosen_layout)[0],
        lengths=lengths,
        kind=kinds.get(form),
    )


def _convert_to_defaults(values: Array, spec: InputSpec | None) -> Array:
    """Return JSON's floats as float32 and integers as int32, the defaults of Keras, if no model declares a dtype."""
    if spec is None and values.dtype.kind == "f":
        return values.astype(np.float32)
    limits = np.iinfo(np.int32)
    fits = values.dtype == np.int64 and limits.min <= values.min(initial=0) and values.max(initial=0) <= limits.max
    return values.astype(np.int32) if spec is None and fits else values


def _hold_pairs(rows: list[Any]) -> bool:
    """Return whether rows of different lengths hold a number, or a vector, for each pair of their timesteps.

    Such are adjacency matrices of graphs, and distances of atoms.
    """
    sizes = {len(row) for row in rows if isinstance(row, list)}
    if len(sizes) < 2 or 0 in sizes:
        return False
    return all(
        isinstance(row, list) and all(isinstance(entry, list) and len(entry) == len(row) for entry in row)
        for row in rows
    )


def _widen_pairs(arrays: list[Array], layout: Layout) -> list[Array]:
    """Return square rows ``(timesteps, timesteps, ...)``, the second axis of all padded to the longest."""
    widest = max(array.shape[1] for array in arrays)
    widened = []
    for array in arrays:
        more = widest - array.shape[1]
        widths = [(0, 0), (0, more) if layout.padding == "post" else (more, 0), *[(0, 0)] * (array.ndim - 2)]
        widened.append(np.pad(array, widths, constant_values=layout.value))
    return widened


def _make_uneven_error(rows: list[Array], spec: InputSpec, width: int) -> InputError:
    row = next(index for index, array in enumerate(rows) if array.shape != (width,))
    return InputError(
        row=row,
        expected=f"{width} numbers, for {spec}",
        received=f"{rows[row].size}",
        fix="All rows need the same number; token ids need an input of integers.",
    )


def _make_empty_error(rows: int) -> InputError:
    return InputError(
        expected="at least one token",
        received=format_count(rows, "empty sequence"),
        fix="Check the program that wrote this input.",
    )


# The content of rows.


def _find_form(name: str, rows: list[Any], spec: InputSpec | None, sole: bool) -> str:
    """Return the content of rows: ids, whole (floats for ids), vectors, flags, series or numbers."""
    if not rows:
        return "ids"  # Their reader reports the missing rows.
    dtype = resolve_dtype(spec)
    flat = list(iterate_entries(rows))
    types = find_types(flat)
    if not any(isinstance(row, list) for row in rows):
        return "ids" if sole and (dtype is None or dtype.kind != "f") else "numbers"
    if list in types:
        return "vectors"
    is_mask = "mask" in name.lower() if spec is None else is_mask_input(spec)
    if types == {bool} or (is_mask and not sole and are_flags(flat)):
        return "flags" if not sole or (dtype is not None and dtype.kind == "b") else "ids"
    return _find_number_form(flat, types, spec, sole)


def _find_number_form(flat: list[Any], types: set[type], spec: InputSpec | None, sole: bool) -> str:
    dtype = resolve_dtype(spec)
    shape = () if spec is None else spec.shape
    floats = dtype is not None and dtype.kind == "f"
    if len(shape) > 2 and floats and types <= {int, float}:
        return "series"
    if float in types and dtype is not None and dtype.kind in "iu":
        if all(_is_whole(value) for value in flat):  # As of an array, pandas makes such floats of ids.
            return "whole"
        return "ids" if sole else "numbers"  # A file of sequences is read strictly, which reports the floats.
    if float in types:
        return "numbers"
    # Integers for a fixed number of floats are features; a model with one input is assumed to have timesteps.
    if floats and len(shape) == 2 and shape[1] is not None and not sole:
        return "numbers"
    return "ids"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _takes_ids(spec: InputSpec | None) -> bool:
    dtype = resolve_dtype(spec)
    return dtype is None or dtype.kind in "iu"


def _square_cells(rows: list[Any]) -> tuple[list[Any], list[Array] | None]:
    """Return nested rows with cells of one width, and where they had entries; unchanged and None if they have it.

    Words in sentences differ in number, as characters in words do; they are integers. Vectors of features do not.
    """
    widths = _measure_cells(rows)
    if widths is None:
        return rows, None
    squared, cells = [], []
    for row in rows:
        values, filled = np.zeros((len(row), *widths), np.int64), np.zeros((len(row), *widths), np.bool_)
        _fill_cells(row, values, filled)
        squared.append(values)
        cells.append(filled)
    return squared, cells


def _measure_cells(rows: list[Any]) -> tuple[int, ...] | None:
    """Return the largest size along each inner axis; None unless sizes differ, and all entries are integers."""
    widths: list[int] = []
    uneven = False
    level: list[Any] = [entry for row in rows if isinstance(row, list) for entry in row]
    while level and all(isinstance(entry, list) for entry in level):
        sizes = {len(entry) for entry in level}
        uneven = uneven or len(sizes) > 1
        widths.append(max(sizes))
        level = [inner for entry in level for inner in entry]
    limits = np.iinfo(np.int64)
    fits = all(type(entry) in (int, bool) and limits.min <= entry <= limits.max for entry in level)
    return tuple(widths) if uneven and fits and all(isinstance(row, list) for row in rows) else None


def _fill_cells(entries: list[Any], values: Array, filled: Array) -> None:
    for index, entry in enumerate(entries):
        if isinstance(entry, list):
            _fill_cells(entry, values[index], filled[index])
        else:
            values[index], filled[index] = entry, True


def resolve_dtype(spec: InputSpec | None) -> np.dtype[Any] | None:
    """Return the dtype of an input of the model; None if NumPy has no such numbers."""
    if spec is None:
        return None
    try:
        dtype = np.dtype("float32" if spec.dtype in ("bfloat16", "float") else spec.dtype)
    except TypeError:
        return None
    return dtype if dtype.kind in "biuf" else None


# Rows of numbers, padded.


def make_row_array(row: object, index: int) -> Array:
    """Return one row as an array of numbers, ``()``, ``(timesteps,)`` or ``(timesteps, ...)``."""
    try:
        array = np.array(row)
    except (ValueError, OverflowError):
        raise InputError(
            row=index,
            expected="vectors of one width at all timesteps",
            received=describe_value(row),
            fix="Every timestep has the same features.",
        ) from None
    if array.dtype.kind not in "biuf" or (array.ndim > 1 and not array.size):
        raise InputError(
            row=index,
            expected="numbers, a list of them, or a list of vectors",
            received=describe_value(row),
            fix="Inputs and targets are numbers: map classes to 0, 1, ..., and leave out other fields.",
        )
    return array


def pad_rows(rows: list[Array], layout: Layout) -> tuple[Array, Bools, Ints, Layout]:
    """Return rows ``(timesteps, ...)`` padded with zeros.

    Returns:
        Values ``(batch, timesteps, ...)``, where rows are in them ``(batch, timesteps)``, the lengths ``(batch,)``, and
        the layout with its timesteps.
    """
    # The padding value of ids has limits, which those of features lack.
    layout = dataclasses.replace(check_layout(dataclasses.replace(layout, value=0)), value=layout.value)
    for index, row in enumerate(rows):
        if not row.ndim:
            raise InputError(row=index, expected="a list", received=str(row), fix="All rows are lists, or none is.")
    lengths = np.array([len(row) for row in rows], np.int64)
    if not lengths.any():
        raise _make_empty_error(len(rows))
    values = np.concatenate(_check_width(rows))
    resolved = resolve_maxlen(layout, int(lengths.max()))
    try:
        framed = make_validity(lengths, resolved)
        padded = np.zeros((*framed.shape, *values.shape[1:]), values.dtype)
    except (MemoryError, ValueError, OverflowError):
        raise InputError(
            expected="a batch that fits in memory",
            received=f"{len(rows)} rows of {resolved.maxlen} timesteps",
            fix="Choose a smaller maxlen.",
        ) from None
    padded[framed] = truncate_values(values, np.concatenate([[0], np.cumsum(lengths)]), resolved)
    return padded, framed, lengths, resolved


def _check_width(rows: list[Array]) -> list[Array]:
    """Return the non-empty rows, and check that all have one width."""
    full = [(index, row) for index, row in enumerate(rows) if len(row)]
    width = full[0][1].shape[1:]
    for index, row in full:
        if row.shape[1:] != width:
            raise InputError(
                row=index,
                expected=f"{_describe_width(width)} a timestep, as in the rows before",
                received=_describe_width(row.shape[1:]),
                fix="Every timestep has the same features.",
            )
    return [row for _, row in full]


def _describe_width(shape: tuple[int, ...]) -> str:
    return "one number" if not shape else f"a vector of {' x '.join(map(str, shape))}"


def check_lengths(rows: list[Array], lengths: Ints, content: str) -> None:
    """Raise InputError for a row that does not have one entry for each timestep."""
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row.shape[:1] != (length,):
            raise InputError(
                row=index,
                expected=f"{length} {content}, one for each timestep",
                received=str(len(row) if row.ndim else row),
                fix="Count timesteps before padding.",
            )
