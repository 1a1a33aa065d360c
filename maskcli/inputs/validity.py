"""Compare columns with the inputs of a model, and derive the validity of timesteps and default masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from maskcli.errors import InputError, MaskcliError, ModelError
from maskcli.inputs.columns import ColumnKind, DataColumn, resolve_dtype
from maskcli.inputs.tables import MASK, DataTable, describe_array, describe_specs, name_column_errors
from maskcli.records.arrays import Array, Bools
from maskcli.records.inputs import InputSpec, ModelInput

MakeMisfit = Callable[..., ModelError]


def fit_columns(
    columns: Sequence[DataColumn | None], specs: Sequence[InputSpec | None], table: DataTable
) -> tuple[ModelInput, ...]:
    """Return the inputs of a model, in its order.

    Raises:
        ModelError: for a column that does not fit its input.
    """
    pairs = [(column, spec) for column, spec in zip(columns, specs, strict=True) if column is not None]
    misfit = partial(
        _make_misfit, table.noun, [column for column, _ in pairs], [spec for spec in specs if spec is not None]
    )
    if not pairs:
        raise misfit("Give an array or a field for each input.")
    for column, spec in pairs:
        _check_marks(column, misfit)
        if spec is not None:
            _check_shape(column.name, column.values.shape, spec, misfit, is_array=column.framed is None)
    _check_rows([column for column, _ in pairs], misfit)
    inputs: list[ModelInput] = []
    for column, spec in pairs:
        with name_column_errors(table, column.name):
            inputs.append(_make_input(column, spec, misfit))
    agreed = _share_validity_of_ids(inputs, [column.marked is not None for column, _ in pairs])
    from_data = iter(_set_mask_validity(agreed))
    first_timed = next((model_input for model_input in inputs if model_input.kind in ("ids", "features")), None)
    return tuple(
        next(from_data) if column is not None else _make_default_mask(spec, first_timed, misfit)
        for column, spec in zip(columns, specs, strict=True)
    )


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
    """Raise ModelError for a ``NAME.mask`` that is not ``(batch, timesteps)`` of booleans."""
    if column.marked is None:
        return
    name = column.name + MASK
    if column.marked.dtype != np.bool_:
        raise misfit(f"Save {name} as booleans, with .astype(bool), True = valid.")
    if column.values.ndim < 2 or column.marked.shape != column.values.shape[:2]:
        raise misfit(f"Give {name} the shape (batch, timesteps) of {column.name}: {column.values.shape[:2]}.")


def _check_shape(name: str, shape: tuple[int, ...], spec: InputSpec, misfit: MakeMisfit, is_array: bool) -> None:
    """Raise ModelError for another shape; ``is_array`` if the column came as an array, which is not padded."""
    if len(shape) != len(spec.shape):
        raise misfit(f"Give {name} as {_describe_axes(spec)}.{_make_rank_hint(name, shape, spec)}")
    for axis, (size, fixed) in enumerate(zip(shape, spec.shape, strict=True)):
        if fixed is None or size == fixed:
            continue
        if axis == 0:
            raise misfit(f"Give {fixed} rows; the model has that batch size.")
        if axis == 1 and is_array and (len(shape) > 2 or "int" in spec.dtype):
            raise misfit(
                f"Pad or truncate {name} to {fixed} timesteps before it is saved, or give lists of ids, which maskcli "
                f"pads, as with --maxlen {fixed}."
            )
        raise misfit(f"Give {name} {fixed} numbers along axis {axis}, or rename it if it is not {spec.name}.")


def _describe_axes(spec: InputSpec) -> str:
    return "an array of 1 axis" if len(spec.shape) == 1 else f"an array of {len(spec.shape)} axes"


def _make_rank_hint(name: str, shape: tuple[int, ...], spec: InputSpec) -> str:
    if len(spec.shape) == 3 and len(shape) == 2:
        return f" {name} needs a vector at each timestep."
    return " Rename it if it is another input's."


def _check_rows(columns: Sequence[DataColumn], misfit: MakeMisfit) -> None:
    sizes = {column.values.shape[:1] for column in columns}
    if () in sizes:
        raise misfit("Give every input a row for each sample.")
    if len(sizes) > 1:
        raise misfit("Give every input as many rows, one for each sample.")
    if sizes == {(0,)}:
        raise misfit("Give at least one row.")
    empty = next((column.name for column in columns if not column.values.size), None)
    if empty is not None:
        raise misfit(f"Give {empty} at least one number in each row.")


# From a column to an input.


def _make_input(column: DataColumn, spec: InputSpec | None, misfit: MakeMisfit) -> ModelInput:
    name = column.name if spec is None else spec.name
    values = _cast(column, spec, misfit)
    kind = column.kind or _find_kind(name, column, values)
    if kind == "static":
        return ModelInput(name, values, None, kind)
    if kind == "mask":
        return ModelInput(name, values, values.astype(bool), kind)
    valid = column.marked
    if valid is None:
        # Features of integers, such as words in sentences, are padded with the value of ids, other features with 0.
        of_ids = kind == "ids" or column.values.dtype.kind in "iu"
        valid = _find_valid(column, column.layout.value if of_ids else 0)
    return ModelInput(name, values, valid, kind, column.layout.value if kind == "ids" else 0)


def _find_kind(name: str, column: DataColumn, values: Array) -> ColumnKind:
    """Return the kind of an input, from its data before and after the conversion to the model's dtype."""
    data = column.values
    if data.ndim != 2:
        return "features" if data.ndim > 2 else "static"
    if data.dtype.kind == "b" or values.dtype.kind == "b" or ("mask" in name.lower() and np.isin(data, (0, 1)).all()):
        return "mask"
    if "f" not in (data.dtype.kind, values.dtype.kind) or {data.dtype.kind, values.dtype.kind} & {"i", "u"}:
        return "ids"
    return "static" if column.marked is None else "features"


def _find_valid(column: DataColumn, padding: int) -> Bools:
    """Return ``(batch, timesteps)``, False at padding: the added timesteps, and runs of ``padding`` at either end."""
    values, framed = column.values, column.framed
    if framed is None:
        framed = np.ones(values.shape[:2], np.bool_)
    if not column.layout.trim:
        return framed
    filled = (values != padding).any(axis=tuple(range(2, values.ndim)))
    from_start = np.logical_or.accumulate(filled, axis=1)
    from_end = np.logical_or.accumulate(filled[:, ::-1], axis=1)[:, ::-1]
    valid: Bools = framed & from_start & from_end
    return valid


def _cast(column: DataColumn, spec: InputSpec | None, misfit: MakeMisfit) -> Array:
    """Return the values in the model's dtype; numbers change at most by the rounding of floats."""
    values, dtype = column.values, resolve_dtype(spec)
    if values.dtype.kind not in "biuf":
        raise misfit(f"Save {column.name} as numbers; maskcli feeds nothing else to a model.")
    _check_finite(values, str(values.dtype))
    if dtype is None or values.dtype == dtype:
        return values
    if dtype.kind == "b":
        _check_all(np.isin(values, (0, 1)), partial(misfit, f"Give {column.name} as booleans, or as 0 and 1."))
    elif dtype.kind in "iu":
        _check_integers(column, dtype, misfit)
    with np.errstate(over="ignore"):
        cast: Array = values.astype(dtype)
    _check_finite(cast, str(dtype))
    return cast


def _check_integers(column: DataColumn, dtype: np.dtype[Any], misfit: MakeMisfit) -> None:
    values = column.values
    if values.dtype.kind == "f":
        fix = f"Give {column.name} as integers: map it to ids, or round it yourself; maskcli does not round values."
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


def _check_finite(values: Array, dtype: str) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    at = tuple(np.argwhere(~np.isfinite(values))[0])
    raise InputError(
        row=int(at[0]),
        expected=f"finite numbers that {dtype} holds",
        received=f"{values[at]} at {[int(index) for index in at]}",
        fix="Replace NaN and infinity; pad with zeros, and mark padding in NAME.mask.",
    )


# Validity, and the masks derived from it.


def _share_validity_of_ids(inputs: Sequence[ModelInput], marked: Sequence[bool]) -> list[ModelInput]:
    """Return the inputs, where positions and segments have the validity of the ids that they belong to.

    Their own values do not mark padding: positions start at 0, and so may the segments of all sentences.
    """
    result = list(inputs)
    for index, model_input in enumerate(inputs):
        first = next((ids for ids in inputs[:index] if _are_of_same_ids(model_input, ids)), None)
        if first is not None and not marked[index] and not _marks_padding(model_input, first):
            result[index] = dataclasses.replace(model_input, valid=first.valid)
    # Positions may also come first, before the ids.
    later = next(
        (model_input for model_input in inputs if model_input.kind == "ids" and not model_input.counts_up), None
    )
    if result and result[0].counts_up and not marked[0] and later is not None and _are_of_same_ids(result[0], later):
        result[0] = dataclasses.replace(result[0], valid=later.valid)
    return result


def _are_of_same_ids(model_input: ModelInput, ids: ModelInput) -> bool:
    """Return whether an input has the same timesteps as another input, of ids."""
    has_timesteps = model_input.kind in ("ids", "features") and ids.kind == "ids"
    return has_timesteps and model_input.values.shape[:2] == ids.values.shape


def _marks_padding(model_input: ModelInput, first: ModelInput) -> bool:
    """Return whether the values of an input mark its padding themselves.

    They do not if they count up, are all padding in a row in which ``first`` has tokens, or have padding on a side
    where ``first`` has none.
    """
    if model_input.valid is None or first.valid is None:
        return True
    is_empty = ~model_input.valid.any(axis=1) & first.valid.any(axis=1)
    before, after = _find_padded_sides(model_input.valid)
    first_before, first_after = _find_padded_sides(first.valid)
    is_elsewhere = (before and first_after and not first_before) or (after and first_before and not first_after)
    return not (model_input.counts_up or is_elsewhere or bool(is_empty.any()))


def _find_padded_sides(valid: Bools) -> tuple[bool, bool]:
    """Return whether any non-empty row has padding before, and after, its tokens."""
    rows = valid[valid.any(axis=1)]
    return bool((~rows[:, 0]).any()), bool((~rows[:, -1]).any())


def _set_mask_validity(inputs: Sequence[ModelInput]) -> list[ModelInput]:
    """Return the inputs, where masks have the validity of the first input with their timesteps."""
    sources = [model_input for model_input in inputs if model_input.kind in ("ids", "features")]
    result = []
    for model_input in inputs:
        if model_input.kind == "mask":
            same = (source for source in sources if model_input.values.shape == source.values.shape[:2])
            first = next(same, model_input)
            result.append(dataclasses.replace(model_input, valid=first.valid))
        else:
            result.append(model_input)
    return result


def _make_default_mask(spec: InputSpec | None, source: ModelInput | None, misfit: MakeMisfit) -> ModelInput:
    """Return the mask that a model needs and the data lacks, from the validity of another input."""
    assert spec is not None  # noqa: S101 - only an input of the model has no data
    if source is None or source.valid is None:
        raise misfit(f"Give {spec.name} as well: no input here has timesteps of which to make a mask.")
    dtype = resolve_dtype(spec)
    values = source.valid.astype(np.bool_ if dtype is None else dtype)
    also = f", {describe_array(spec.name, values)} made of the valid timesteps of {source.name}"
    _check_shape(spec.name, values.shape, spec, partial(misfit, also=also), is_array=False)
    return ModelInput(spec.name, values, source.valid, "mask")
