"""A column laid out as an array: sequences and rows padded, arrays as they are."""

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
        layout: how it was padded, or is taken to be.
        marked: ``(batch, timesteps)``, what ``NAME.mask`` says is valid.
        framed: ``(batch, timesteps)``, where ``layout`` put entries of a row; None for an array as it came.
        lengths: ``(batch,)``, entries of each row before it was padded; None for an array as it came.
        kind: where the shape and dtype do not tell it.
        batch: of sequences of integers.
        ragged: of which ``batch`` was made.
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
        said = describe_array(self.name, self.values)
        return said if self.marked is None else f"{said}, {describe_array(self.name + MASK, self.marked)}"


def lay_out_column(table: DataTable, name: str, spec: InputSpec | None, layout: Layout, sole: bool) -> DataColumn:
    """Return a column as an array, with its ``NAME.mask``; a ``sole`` one feeds the only input that is no mask."""
    raw = table.column(name)
    marks = table.column(name + MASK) if name + MASK in table.known else None
    own = _own_layout(layout, table.layout)
    with name_column_errors(table, name):
        if isinstance(raw, list):
            return _marked(_of_rows(name, raw, spec, partial(_timesteps, layout, own, spec), sole), marks)
        if isinstance(raw, np.ndarray) and not (sole and raw.ndim == 2 and raw.dtype.kind in "iu"):
            return _marked(DataColumn(name, raw, own), marks)
        if isinstance(marks, np.ndarray) and isinstance(raw, np.ndarray):
            return _of_padded(name, raw, marks, spec, layout)
        dtype = raw.dtype.name if isinstance(raw, np.ndarray) and spec is None else None
        return _marked(_of_ids(name, raw, spec, _timesteps(layout, own, spec), dtype), marks)


def _own_layout(layout: Layout, of_file: Layout | None) -> Layout:
    """Return the layout of the file, but for what ``layout`` says otherwise than by default."""
    asked = {name: value for name, value in vars(layout).items() if value != getattr(Layout(), name)}
    return dataclasses.replace(of_file or Layout(), **asked)


def _timesteps(layout: Layout, own: Layout, spec: InputSpec | None) -> Layout:
    """Return ``own`` with the timesteps that were asked for, or that the model has."""
    fixed = spec.shape[1] if spec is not None and len(spec.shape) > 1 else None
    if fixed is not None and layout.maxlen not in (None, fixed):
        raise ModelError(
            expected=f"sequences of {fixed} timesteps, for {spec}",
            received=f"maxlen {layout.maxlen}",
            fix=f"Leave --maxlen out, or use --maxlen {fixed}.",
        )
    return own if fixed is None else dataclasses.replace(own, maxlen=fixed)


def _marked(column: DataColumn, marks: RawColumn | None) -> DataColumn:
    """Return the column with its ``NAME.mask``; lists are padded as the column is."""
    if isinstance(marks, list):
        rows = [make_row_array(row, index) for index, row in enumerate(marks)]
        if column.lengths is not None:
            check_lengths(rows, column.lengths, "booleans in the mask")
        marks = pad_rows(rows, column.layout)[0]
    return column if marks is None else dataclasses.replace(column, marked=np.asarray(marks))


def _of_ids(name: str, raw: RawColumn, spec: InputSpec | None, layout: Layout, dtype: str | None = None) -> DataColumn:
    """Return sequences of integers, padded; integers of the model's dtype where it has one of integers."""
    ragged = as_ragged(raw)
    if not len(ragged.values):
        raise _empty(len(ragged))
    of_model = resolve_dtype(spec)
    if of_model is not None and of_model.kind in "iu":
        dtype = of_model.name
    batch = pad_ragged(ragged, dataclasses.replace(layout, dtype=dtype or layout.dtype))
    return DataColumn(
        name, batch.tokens, batch.layout, None, batch.mask, batch.lengths, "ids", batch=batch, ragged=ragged
    )


def _of_padded(name: str, tokens: Array, mask: Array, spec: InputSpec | None, layout: Layout) -> DataColumn:
    """Return a padded array as sequences that are padded again, or as it is where no padding makes it."""
    as_it_is = DataColumn(name, tokens, layout, mask)
    if mask.dtype != np.bool_ or mask.shape != tokens.shape:
        return as_it_is
    try:
        parsed = unpad_array(tokens, mask, "")
    except InputError:  # A mask with holes, or padding of several values.
        return as_it_is
    own = _own_layout(layout, parsed.layout)
    dtype = tokens.dtype.name if spec is None else None
    assert isinstance(parsed.rows, RaggedSequences)  # noqa: S101 - what unpadding returns
    return _of_ids(name, parsed.rows, spec, _timesteps(layout, own, spec), dtype)


def _of_rows(
    name: str, rows: list[Any], spec: InputSpec | None, layout: Callable[[], Layout], sole: bool
) -> DataColumn:
    """Return a list of rows as an array; ``layout`` is asked only where there are timesteps."""
    form = _form_of(rows, spec, sole)
    if form == "ids":
        return _of_ids(name, rows, spec, layout())
    if form == "whole":
        whole = [list(map(int, row)) if isinstance(row, list) else row for row in rows]
        return _of_ids(name, whole, spec, layout())
    arrays = [make_row_array(row, index) for index, row in enumerate(rows)]
    if form == "numbers" and len({row.shape for row in arrays}) == 1:
        return DataColumn(name, _float32(np.stack(arrays), spec), Layout(), kind="static")
    if form == "numbers" and spec is not None and spec.shape[1:] and spec.shape[1] is not None:
        raise _uneven(arrays, spec, spec.shape[1])
    if form == "series":
        arrays = [row.reshape(-1, 1) for row in arrays]
    kind: ColumnKind | None = "features" if form == "numbers" else "mask" if form == "flags" else None
    fills = form == "vectors" and _holds_ids(arrays, spec)
    values, framed, lengths, resolved = pad_rows(arrays, layout(), fills)
    return DataColumn(name, _float32(values, spec), resolved, None, framed, lengths, kind)


def _float32(values: Array, spec: InputSpec | None) -> Array:
    """Return JSON's floats as Keras has floats, where no model says otherwise."""
    return values.astype(np.float32) if spec is None and values.dtype.kind == "f" else values


def _uneven(rows: list[Array], spec: InputSpec, width: int) -> InputError:
    row = next(index for index, array in enumerate(rows) if array.shape != (width,))
    return InputError(
        row=row,
        expected=f"{width} numbers, for {spec}",
        received=f"{rows[row].size}",
        fix="Give every row as many; token ids want an input of integers.",
    )


def _empty(rows: int) -> InputError:
    return InputError(
        expected="at least one token",
        received=f"{rows} empty sequence{'s' if rows > 1 else ''}",
        fix="Check what wrote this input.",
    )


# What rows hold.


def _form_of(rows: list[Any], spec: InputSpec | None, sole: bool) -> str:
    """Return what rows hold: ``ids``, ``whole`` floats for ids, ``vectors``, ``flags``, ``series`` or ``numbers``."""
    if not rows:
        return "ids"  # Which says that there are none.
    dtype = resolve_dtype(spec)
    flat = list(iterate_entries(rows))
    types = find_types(flat)
    if not any(isinstance(row, list) for row in rows):
        return "ids" if sole and (dtype is None or dtype.kind != "f") else "numbers"
    if list in types:
        return "vectors"
    if types == {bool} or (spec is not None and is_mask_input(spec) and not sole and are_flags(flat)):
        return "flags" if not sole or (dtype is not None and dtype.kind == "b") else "ids"
    return _form_of_numbers(flat, types, spec, sole)


def _form_of_numbers(flat: list[Any], types: set[type], spec: InputSpec | None, sole: bool) -> str:
    dtype, shape = resolve_dtype(spec), spec.shape if spec is not None else ()
    floats = dtype is not None and dtype.kind == "f"
    if len(shape) > 2 and floats and types <= {int, float}:
        return "series"
    if float in types and dtype is not None and dtype.kind in "iu":
        # A file of sequences is read as ever, which is strict.
        return "ids" if sole else "whole" if all(_is_whole(value) for value in flat) else "numbers"
    if float in types:
        return "numbers"
    # Integers for a fixed number of floats are features; a model of one input is taken to have timesteps.
    return "numbers" if floats and len(shape) == 2 and shape[1] is not None and not sole else "ids"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _holds_ids(rows: list[Array], spec: InputSpec | None) -> bool:
    """Return whether vectors are of ids, such as words in sentences, which padding ids pad."""
    dtype = resolve_dtype(spec)
    return all(row.dtype.kind in "iu" for row in rows if row.size) and (dtype is None or dtype.kind in "iu")


def resolve_dtype(spec: InputSpec | None) -> np.dtype[Any] | None:
    """Return the dtype that the model has; None where it is none of NumPy's numbers."""
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
            fix="An input is made of numbers; name the fields that are none of them, or leave them out.",
        )
    return array


def pad_rows(rows: list[Array], layout: Layout, fills: bool = False) -> tuple[Array, Bools, Ints, Layout]:
    """Return rows ``(timesteps, ...)`` padded with zeros, or with ``layout.value`` where it ``fills``.

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
        raise _empty(len(rows))
    values = np.concatenate(_of_one_width(rows))
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


def _of_one_width(rows: list[Array]) -> list[Array]:
    """Return the rows that are not empty, all of one width."""
    full = [(index, row) for index, row in enumerate(rows) if len(row)]
    width = full[0][1].shape[1:]
    for index, row in full:
        if row.shape[1:] != width:
            raise InputError(
                row=index,
                expected=f"{_units(width)} a timestep, as in the rows before",
                received=_units(row.shape[1:]),
                fix="Every timestep has the same features.",
            )
    return [row for _, row in full]


def _units(shape: tuple[int, ...]) -> str:
    return "one number" if not shape else f"a vector of {' x '.join(map(str, shape))}"


def check_lengths(rows: list[Array], lengths: Ints, what: str) -> None:
    """Raise InputError for a row that has not one entry for each timestep."""
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row.shape[:1] != (length,):
            raise InputError(
                row=index,
                expected=f"{length} {what}, one for each timestep",
                received=str(len(row) if row.ndim else row),
                fix="Count timesteps before padding.",
            )
