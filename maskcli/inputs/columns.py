"""Lay out a column as an array: sequences and rows are padded, arrays stay unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from maskcli.errors import InputError, ModelError
from maskcli.inputs.tables import (
    MASK,
    DataTable,
    RawColumn,
    are_flags,
    describe_array,
    find_types,
    is_mask_input,
    iterate_entries,
    name_column_errors,
)
from maskcli.records.arrays import Array, Bools, Ints
from maskcli.records.inputs import InputSpec
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.formats.numpy_arrays import unpad_array
from maskcli.sequences.padding import check_layout, make_validity, pad_ragged, truncate_values
from maskcli.sequences.ragged import as_ragged, describe_value

ColumnKind = Literal["ids", "features", "mask", "static"]


@dataclasses.dataclass(frozen=True, eq=False)
class DataColumn:
    """One column, laid out as an array.

    Attributes:
        name: of the column.
        values: ``(batch, ...)``.
        layout: how it was padded, or is assumed to be.
        marked: ``(batch, timesteps)``, the valid timesteps according to ``NAME.mask``.
        framed: ``(batch, timesteps)``, where ``layout`` put entries of a row; None for an array in the data.
        lengths: ``(batch,)``, entries of each row before it was padded; None for an array in the data.
        kind: if it does not follow from shape and dtype.
        batch: of sequences of integers.
        ragged: the sequences of ``batch``.
    """

    name: str
    values: Array
    layout: Layout
    marked: Array | None = None
    framed: Bools | None = None
    lengths: Ints | None = None
    kind: ColumnKind | None = None
    batch: PaddedBatch | None = None
    ragged: RaggedSequences | None = None

    def __str__(self) -> str:
        """Return ``tokens (2, 6) int32``, and its mask."""
        texts = [describe_array(self.name, self.values)]
        if self.marked is not None:
            texts.append(describe_array(self.name + MASK, self.marked))
        return ", ".join(texts)


def lay_out_column(table: DataTable, name: str, spec: InputSpec | None, layout: Layout, sole: bool) -> DataColumn:
    """Return a column as an array, with its ``NAME.mask``; a ``sole`` one feeds the only non-mask input."""
    raw = table.column(name)
    marks = table.column(name + MASK) if name + MASK in table.columns else None
    of_file = _overlay_layout(layout, table.layout)
    with name_column_errors(table, name):
        if isinstance(raw, list):
            make_layout = partial(_fix_timesteps, layout, of_file, spec)
            return _add_marks(_lay_out_rows(name, raw, spec, make_layout, sole), marks)
        if isinstance(raw, np.ndarray) and not (sole and raw.ndim == 2 and raw.dtype.kind in "iu"):
            return _add_marks(DataColumn(name, raw, of_file), marks)
        if isinstance(marks, np.ndarray) and isinstance(raw, np.ndarray):
            return _lay_out_padded(name, raw, marks, spec, layout)
        dtype = raw.dtype.name if isinstance(raw, np.ndarray) and spec is None else None
        return _add_marks(_lay_out_ids(name, raw, spec, _fix_timesteps(layout, of_file, spec), dtype), marks)


def _overlay_layout(layout: Layout, of_file: Layout | None) -> Layout:
    """Return the layout of the file, overlaid with the options of ``layout`` that are not the default."""
    options = {name: value for name, value in vars(layout).items() if value != getattr(Layout(), name)}
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


def _add_marks(column: DataColumn, marks: RawColumn | None) -> DataColumn:
    """Return the column with its ``NAME.mask``; lists are padded like the column."""
    if isinstance(marks, list):
        rows = [make_row_array(row, index) for index, row in enumerate(marks)]
        if column.lengths is not None:
            check_lengths(rows, column.lengths, "booleans in the mask")
        marks = pad_rows(rows, column.layout)[0]
    if marks is None:
        return column
    return dataclasses.replace(column, marked=np.asarray(marks))


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
        name, batch.tokens, batch.layout, None, batch.mask, batch.lengths, "ids", batch=batch, ragged=ragged
    )


def _lay_out_padded(name: str, tokens: Array, mask: Array, spec: InputSpec | None, layout: Layout) -> DataColumn:
    """Return a padded array as sequences that are padded again; unchanged if no padding leads to this array."""
    unchanged = DataColumn(name, tokens, layout, mask)
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
    form = _find_form(rows, spec, sole)
    if form == "ids":
        return _lay_out_ids(name, rows, spec, layout())
    if form == "whole":
        whole = [list(map(int, row)) if isinstance(row, list) else row for row in rows]
        return _lay_out_ids(name, whole, spec, layout())
    arrays = [make_row_array(row, index) for index, row in enumerate(rows)]
    if form == "numbers" and len({row.shape for row in arrays}) == 1:
        return DataColumn(name, _convert_to_float32(np.stack(arrays), spec), Layout(), kind="static")
    if form == "numbers" and spec is not None and spec.shape[1:] and spec.shape[1] is not None:
        raise _make_uneven_error(arrays, spec, spec.shape[1])
    if form == "series":
        arrays = [row.reshape(-1, 1) for row in arrays]
    kinds: dict[str, ColumnKind] = {"numbers": "features", "flags": "mask"}
    fills = form == "vectors" and _holds_ids(arrays, spec)
    values, framed, lengths, resolved = pad_rows(arrays, layout(), fills)
    return DataColumn(name, _convert_to_float32(values, spec), resolved, None, framed, lengths, kinds.get(form))


def _convert_to_float32(values: Array, spec: InputSpec | None) -> Array:
    """Return JSON's floats as float32, the default of Keras, if no model declares a dtype."""
    if spec is None and values.dtype.kind == "f":
        return values.astype(np.float32)
    return values


def _make_uneven_error(rows: list[Array], spec: InputSpec, width: int) -> InputError:
    row = next(index for index, array in enumerate(rows) if array.shape != (width,))
    return InputError(
        row=row,
        expected=f"{width} numbers, for {spec}",
        received=f"{rows[row].size}",
        fix="Give every row as many; token ids need an input of integers.",
    )


def _make_empty_error(rows: int) -> InputError:
    return InputError(
        expected="at least one token",
        received="1 empty sequence" if rows == 1 else f"{rows} empty sequences",
        fix="Check what wrote this input.",
    )


# The content of rows.


def _find_form(rows: list[Any], spec: InputSpec | None, sole: bool) -> str:
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
    if types == {bool} or (spec is not None and is_mask_input(spec) and not sole and are_flags(flat)):
        return "flags" if not sole or (dtype is not None and dtype.kind == "b") else "ids"
    return _find_number_form(flat, types, spec, sole)


def _find_number_form(flat: list[Any], types: set[type], spec: InputSpec | None, sole: bool) -> str:
    dtype = resolve_dtype(spec)
    shape = () if spec is None else spec.shape
    floats = dtype is not None and dtype.kind == "f"
    if len(shape) > 2 and floats and types <= {int, float}:
        return "series"
    if float in types and dtype is not None and dtype.kind in "iu":
        if sole:
            return "ids"  # A file of sequences is read strictly, which reports the floats.
        return "whole" if all(_is_whole(value) for value in flat) else "numbers"
    if float in types:
        return "numbers"
    # Integers for a fixed number of floats are features; a model with one input is assumed to have timesteps.
    if floats and len(shape) == 2 and shape[1] is not None and not sole:
        return "numbers"
    return "ids"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _holds_ids(rows: list[Array], spec: InputSpec | None) -> bool:
    """Return whether vectors hold ids, such as words in sentences, which are padded with padding ids."""
    dtype = resolve_dtype(spec)
    return all(row.dtype.kind in "iu" for row in rows if row.size) and (dtype is None or dtype.kind in "iu")


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
            fix="An input consists of numbers; leave out fields of another kind.",
        )
    return array


def pad_rows(rows: list[Array], layout: Layout, fills: bool = False) -> tuple[Array, Bools, Ints, Layout]:
    """Return rows ``(timesteps, ...)`` padded with zeros, or with ``layout.value`` if it ``fills``.

    Returns:
        Values ``(batch, timesteps, ...)``, where rows are in them ``(batch, timesteps)``, the lengths ``(batch,)``, and
        the layout with its timesteps.
    """
    layout = check_layout(layout)
    for index, row in enumerate(rows):
        if not row.ndim:
            raise InputError(row=index, expected="a list", received=str(row), fix="All rows are lists, or none is.")
    lengths = np.array([len(row) for row in rows], np.int64)
    if not lengths.any():
        raise _make_empty_error(len(rows))
    values = np.concatenate(_check_width(rows))
    resolved = dataclasses.replace(layout, maxlen=layout.maxlen or int(lengths.max()))
    try:
        framed = make_validity(lengths, resolved)
        padded = np.full((*framed.shape, *values.shape[1:]), layout.value if fills else 0, values.dtype)
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
