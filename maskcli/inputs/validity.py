"""Fit columns to the inputs of a model: shapes, dtypes, validity, and the masks that the data lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from maskcli.errors import InputError, MaskcliError, ModelError
from maskcli.inputs.columns import ColumnKind, DataColumn, resolve_dtype
from maskcli.inputs.padding import check_values, decide_validity, find_marked_axis
from maskcli.inputs.roles import MASKED_POSITIONS, InputRoles, is_mask_name, match_by_prefix
from maskcli.inputs.tables import DataTable, describe_array, describe_specs, is_mask_input, name_column_errors
from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec, ModelInput, find_primary
from maskcli.records.validity import Filling, Validity

MakeMisfit = Callable[..., ModelError]
FindRoles = Callable[[tuple[ModelInput, ...]], InputRoles]


class SingleArrayError(Exception):
    """A model that declares no inputs takes one array, and cannot be called with all columns."""


def fit_columns(
    columns: Sequence[DataColumn | None],
    specs: Sequence[InputSpec | None],
    table: DataTable,
    find_roles: FindRoles | None = None,
    known: InputRoles | None = None,
) -> tuple[ModelInput, ...]:
    """Return the inputs of a model, in its order, each with the validity of its timesteps.

    Args:
        columns: one for each input; None for a mask or another input with a default.
        specs: the inputs that the model declares.
        table: the data, for messages.
        find_roles: returns the roles of the inputs in the model; None without a model.
        known: the roles of inputs that the data lacks.

    Raises:
        ModelError: for a column that does not fit its input.
        UsageError: for a padding value that the user chose and that the data lacks.
        SingleArrayError: for several columns and a model that takes one.
    """
    pairs = [(column, spec) for column, spec in zip(columns, specs, strict=True) if column is not None]
    misfit = partial(
        _make_misfit, table.noun, [column for column, _ in pairs], [spec for spec in specs if spec is not None]
    )
    if not pairs:
        raise misfit("Each input needs an array or a field.")
    for column, spec in pairs:
        _check_marks(column, misfit)
        if spec is not None:
            _check_shape(column.name, column.values.shape, spec, misfit, is_array=column.framed is None)
    _check_rows([column for column, _ in pairs], misfit)
    inputs: list[ModelInput] = []
    for column, spec in pairs:
        with name_column_errors(table, column.name):
            inputs.append(_make_input(column, spec, misfit))
    used = [column for column, _ in pairs]

    def fit(roles: InputRoles) -> tuple[ModelInput, ...]:
        from_data = decide_validity(inputs, used, roles, has_model=find_roles is not None)
        remaining = iter(from_data)
        return tuple(
            next(remaining) if column is not None else _make_default(spec, from_data, specs, roles, misfit)
            for column, spec in zip(columns, specs, strict=True)
        )

    roles = known or InputRoles()
    if find_roles is not None:
        seen = find_roles(fit(roles))
        if seen.structure == "array":
            raise SingleArrayError
        # A mask of a few full rows may hide that it is one.
        roles = dataclasses.replace(seen, masks={**roles.masks, **seen.masks})
    result = fit(roles)
    of_data = [entry for entry, column in zip(result, columns, strict=True) if column is not None]
    check_values(of_data, used, table)
    return sort_for_dict(result) if roles.structure == "dict" else result


def sort_for_dict(inputs: Sequence[ModelInput]) -> tuple[ModelInput, ...]:
    """Return inputs in the order in which Keras flattens a dict of them, that of their names."""
    return tuple(sorted(inputs, key=lambda model_input: model_input.name))


def match_rank(column: DataColumn, spec: InputSpec | None) -> DataColumn:
    """Return a column of one number per row as ``(batch,)`` or ``(batch, 1)``, like the input of the model."""
    shape, values = spec.shape if spec is not None else (), column.values
    if len(shape) == 2 and shape[1] in (1, None) and values.ndim == 1:
        return dataclasses.replace(column, values=values[:, None], kind="static")
    if len(shape) == 1 and values.ndim == 2 and values.shape[1] == 1:
        return dataclasses.replace(column, values=values[:, 0], kind="static")
    return column


def _make_misfit(
    noun: str,
    columns: Sequence[DataColumn],
    specs: Sequence[InputSpec],
    fix: str,
    *,
    row: int | None = None,
    also: str = "",
) -> ModelError:
    received = ", ".join(map(str, columns)) + also
    plural = noun if noun == "sequences" else f"{noun}s"
    return ModelError(expected=describe_specs(specs), received=f"{plural} {received}", fix=fix, row=row)


# Shapes and rows.


def _check_marks(column: DataColumn, misfit: MakeMisfit) -> None:
    """Raise ModelError for a ``NAME.mask`` that is not ``(batch, timesteps[, ...])`` of booleans."""
    if column.marked is None:
        return
    name, marked, shape = column.marked_by, column.marked, column.values.shape
    if marked.dtype != np.bool_:
        raise misfit(f"Save {name!r} as booleans, with .astype(bool); True is valid.")
    if marked.ndim == 2 and find_marked_axis(shape, marked.shape) > 1 and marked.shape[0] == shape[0]:
        return  # Of channels before time.
    if marked.ndim < 2 or marked.ndim > len(shape) or marked.shape != shape[: marked.ndim]:
        raise misfit(f"{name!r} needs the shape (batch, timesteps) of {column.name!r}: {shape[:2]}.")


def _check_shape(name: str, shape: tuple[int, ...], spec: InputSpec, misfit: MakeMisfit, is_array: bool) -> None:
    """Raise ModelError for another shape; ``is_array`` if the column came as an array, which is not padded."""
    if len(shape) != len(spec.shape):
        raise misfit(f"{name!r} has to be {_describe_axes(spec)}.{_make_rank_hint(shape, spec)}")
    for axis, (size, fixed) in enumerate(zip(shape, spec.shape, strict=True)):
        if fixed is None or size == fixed:
            continue
        if axis == 0:
            raise misfit(f"The model is built for batches of {fixed}; the data needs as many rows.")
        if axis == 1 and is_array and (len(shape) > 2 or "int" in spec.dtype):
            raise misfit(
                f"Pad or truncate {name!r} to {fixed} timesteps before it is saved, or save lists of ids, which "
                f"maskcli pads."
            )
        raise misfit(
            f"{name!r} has size {size} along axis {axis}, where the model needs {fixed}; if it does not belong to the "
            f"input {spec.name!r}, rename it."
        )


def _describe_axes(spec: InputSpec) -> str:
    return "an array of 1 axis" if len(spec.shape) == 1 else f"an array of {len(spec.shape)} axes"


def _make_rank_hint(shape: tuple[int, ...], spec: InputSpec) -> str:
    if len(spec.shape) == 3 and len(shape) == 2:
        also = ", also of one number: x[..., None]" if spec.shape[2] == 1 else ""
        return f" It needs a vector at each timestep{also}."
    return f" If it does not belong to the input {spec.name!r}, rename it."


def _check_rows(columns: Sequence[DataColumn], misfit: MakeMisfit) -> None:
    sizes = {column.values.shape[:1] for column in columns}
    if () in sizes:
        raise misfit("Each input needs a row for each sample.")
    if len(sizes) > 1:
        raise misfit("All inputs need the same number of rows, one for each sample.")
    if sizes == {(0,)}:
        raise misfit("The data needs at least one row.")
    empty = next((column.name for column in columns if not column.values.size), None)
    if empty is not None:
        raise misfit(f"{empty!r} needs at least one number in each row.")


# From a column to an input.


def _make_input(column: DataColumn, spec: InputSpec | None, misfit: MakeMisfit) -> ModelInput:
    """Return an input whose validity is not decided yet: a mask is valid where it is True, others everywhere."""
    name = column.name if spec is None else spec.name
    values = _cast(column, spec, misfit)
    kind = column.kind or _find_kind(name, column, values)
    valid = None if kind == "static" else np.ones(values.shape[:2], np.bool_)
    return ModelInput(name, values, values.astype(bool) if kind == "mask" else valid, kind)


def _find_kind(name: str, column: DataColumn, values: Array) -> ColumnKind:
    """Return the kind of an input, from its data before and after the conversion to the model's dtype."""
    data = column.values
    if data.ndim != 2:
        return "features" if data.ndim > 2 else "static"
    if data.dtype.kind == "b" or values.dtype.kind == "b" or (is_mask_name(name) and np.isin(data, (0, 1)).all()):
        return "mask"
    if "f" not in (data.dtype.kind, values.dtype.kind) or {data.dtype.kind, values.dtype.kind} & {"i", "u"}:
        return "ids"
    return "static" if column.marked is None else "features"


def _cast(column: DataColumn, spec: InputSpec | None, misfit: MakeMisfit) -> Array:
    """Return the values in the model's dtype; numbers change at most by the rounding of floats."""
    values, dtype = column.values, resolve_dtype(spec)
    if values.dtype.kind not in "biuf":
        raise misfit(f"Save {column.name!r} as numbers; maskcli feeds nothing else to a model.")
    if dtype is None or values.dtype == dtype:
        return values
    if dtype.kind == "b":
        _check_all(np.isin(values, (0, 1)), partial(misfit, f"Save {column.name!r} as booleans, or as 0 and 1."))
    elif dtype.kind in "iu":
        _check_integers(column, dtype, misfit)
    with np.errstate(over="ignore"):
        cast: Array = values.astype(dtype)
    _check_overflow(values, cast)
    return cast


def _check_integers(column: DataColumn, dtype: np.dtype[Any], misfit: MakeMisfit) -> None:
    values = column.values
    if values.dtype.kind == "f":
        _check_all(np.isfinite(values), partial(misfit, f"Save {column.name!r} as integers; it has NaN or infinity."))
        fix = f"Save {column.name!r} as integers: map it to ids, or round it yourself; maskcli does not round values."
        _check_all(values == np.floor(values), partial(misfit, fix))
        values = values.astype(np.float64)
    elif values.dtype.kind == "b":
        return
    limits = np.iinfo(dtype)
    past = values >= limits.max + 1.0 if values.dtype.kind == "f" else values > limits.max
    outside = past | (values < limits.min)
    if outside.any():
        at = tuple(np.argwhere(outside)[0])
        raise InputError(
            row=int(at[0]),
            expected=f"an integer that {dtype} holds ({limits.min} to {limits.max})",
            received=str(values[at]),
            fix="Map ids to a smaller range.",
        )


def _check_all(good: Array, error: Callable[..., MaskcliError]) -> None:
    """Raise an error with the first row that has a value which is not ``good``."""
    if not good.all():
        raise error(row=int(np.argwhere(~good)[0][0]))


def _check_overflow(values: Array, cast: Array) -> None:
    """Raise InputError for a finite number that is infinite in the model's dtype."""
    if cast.dtype.kind != "f" or values.dtype.kind != "f":
        return
    lost = np.isfinite(values) & ~np.isfinite(cast)
    if lost.any():
        at = tuple(np.argwhere(lost)[0])
        raise InputError(
            row=int(at[0]),
            expected=f"numbers that {cast.dtype} holds",
            received=f"{values[at]} at {[int(index) for index in at]}",
            fix="Scale the numbers, or use a smaller padding value.",
        )


# Inputs that the data lacks.


def _make_default(
    spec: InputSpec | None,
    inputs: Sequence[ModelInput],
    specs: Sequence[InputSpec | None],
    roles: InputRoles,
    misfit: MakeMisfit,
) -> ModelInput:
    """Return an input that the data lacks: a mask, segments, positions or a copy, made for another input."""
    assert spec is not None  # noqa: S101 - only an input of the model has no data
    masks = [entry.name for entry in specs if entry is not None and is_mask_input(entry)]
    timed = [entry for entry in inputs if entry.kind in ("ids", "features") and entry.valid is not None]
    of_graph = roles.masks.get(spec.name, frozenset())
    timed = [entry for entry in timed if entry.name in of_graph] or timed
    by_prefix = match_by_prefix(spec.name, [entry.name for entry in timed], masks)
    of_width = [entry.name for entry in timed if entry.values.shape[1] == spec.shape[1]]
    # Positions of masked words are integers as well, but no Embedding looks them up.
    for names in (by_prefix, of_width, roles.input_dims):
        timed = [entry for entry in timed if entry.name in names] or timed
    source = find_primary(timed)
    if source is None or source.valid is None:
        raise misfit(_make_mask_fix(spec) if spec.filling is None else f"The data needs {spec.name!r} as well.")
    if spec.filling is not None:
        return _fill_input(spec, spec.filling, source, misfit)
    dtype = resolve_dtype(spec)
    values = source.valid.astype(np.bool_ if dtype is None else dtype)
    also = f", {describe_array(spec.name, values)} made of the valid timesteps of {source.name}"
    _check_shape(spec.name, values.shape, spec, partial(misfit, also=also), is_array=False)
    return ModelInput(spec.name, values, source.valid, "mask", validity=Validity("default", source.name, None, "mask"))


def _fill_input(spec: InputSpec, filling: Filling, source: ModelInput, misfit: MakeMisfit) -> ModelInput:
    """Return segments, positions or a copy for the timesteps of another input."""
    assert source.valid is not None  # noqa: S101 - the caller chose an input with timesteps
    valid = source.valid
    if MASKED_POSITIONS.search(spec.name.lower()):  # Any number of words may be masked; here it is the first.
        valid = np.ones((len(valid), spec.shape[1] or 1), np.bool_)
    dtype = resolve_dtype(spec) or np.dtype(np.int32)
    values: Array = np.zeros(valid.shape, dtype)
    if filling == "copy":
        values = source.values.astype(dtype)
    elif filling == "positions":
        values += np.arange(valid.shape[1], dtype=dtype)
    also = f", {describe_array(spec.name, values)} filled in for {source.name}"
    _check_shape(spec.name, values.shape, spec, partial(misfit, also=also), is_array=False)
    validity = Validity("default", source.name, None, filling)
    padding = source.padding if filling == "copy" else 0
    return ModelInput(spec.name, values, valid, "ids", padding, validity, auxiliary=filling != "copy")


def _make_mask_fix(spec: InputSpec) -> str:
    one, zero = ("True", "False") if spec.dtype == "bool" else ("1", "0")
    return (
        f"The data needs {spec.name!r} as well, (batch, timesteps) with {one} at valid timesteps and {zero} at "
        "padding: no input here has timesteps of which to make a mask."
    )
