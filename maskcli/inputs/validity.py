"""Arrays held against what the model says of its inputs, what of them is valid, and the masks made of that."""

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
    """Return the inputs of a model, in its order; raise ModelError where a column does not fit its input."""
    pairs = [(column, spec) for column, spec in zip(columns, specs, strict=True) if column is not None]
    misfit = partial(_misfit, table.noun, [column for column, _ in pairs], [spec for spec in specs if spec is not None])
    if not pairs:
        raise misfit("Give an array or a field for each input.")
    for column, spec in pairs:
        _check_marks(column, misfit)
        if spec is not None:
            _check_shape(column.name, column.values.shape, spec, misfit, own=column.framed is None)
    _check_rows([column for column, _ in pairs], misfit)
    given: list[ModelInput] = []
    for column, spec in pairs:
        with name_column_errors(table, column.name):
            given.append(_input(column, spec, misfit))
    ready = iter(_with_validity(_agreed(given, [column.marked is not None for column, _ in pairs])))
    timed = next((one for one in given if one.kind in ("ids", "features")), None)
    return tuple(
        next(ready) if column is not None else _made(spec, timed, misfit)
        for column, spec in zip(columns, specs, strict=True)
    )


def match_rank(column: DataColumn, spec: InputSpec | None) -> DataColumn:
    """Return a column of one number a row as ``(batch,)`` or ``(batch, 1)``, as the model has it."""
    shape, values = spec.shape if spec is not None else (), column.values
    if len(shape) == 2 and shape[1] in (1, None) and values.ndim == 1:
        return dataclasses.replace(column, values=values[:, None], kind="static")
    if len(shape) == 1 and values.ndim == 2 and values.shape[1] == 1:
        return dataclasses.replace(column, values=values[:, 0], kind="static")
    return column


def _misfit(
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
    """Raise ModelError for a ``NAME.mask`` that is not booleans ``(batch, timesteps)``."""
    if column.marked is None:
        return
    name = column.name + MASK
    if column.marked.dtype != np.bool_:
        raise misfit(f"Save {name} as booleans, with .astype(bool), True = valid.")
    if column.values.ndim < 2 or column.marked.shape != column.values.shape[:2]:
        raise misfit(f"Give {name} the shape (batch, timesteps) of {column.name}: {column.values.shape[:2]}.")


def _check_shape(name: str, shape: tuple[int, ...], spec: InputSpec, misfit: MakeMisfit, own: bool) -> None:
    if len(shape) != len(spec.shape):
        raise misfit(f"Give {name} as {_axes(spec)}.{_rank_hint(name, shape, spec)}")
    for axis, (size, fixed) in enumerate(zip(shape, spec.shape, strict=True)):
        if fixed is None or size == fixed:
            continue
        if axis == 0:
            raise misfit(f"Give {fixed} rows; the model has that batch size.")
        if axis == 1 and own and (len(shape) > 2 or "int" in spec.dtype):
            raise misfit(
                f"Pad or cut {name} to {fixed} timesteps before it is saved; lists of ids maskcli pads itself, "
                f"as with --maxlen {fixed}."
            )
        raise misfit(f"Give {name} {fixed} numbers along axis {axis}, or rename it if it is not {spec.name}.")


def _axes(spec: InputSpec) -> str:
    return f"an array of {len(spec.shape)} {'axis' if len(spec.shape) == 1 else 'axes'}"


def _rank_hint(name: str, shape: tuple[int, ...], spec: InputSpec) -> str:
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


# A column as an input.


def _input(column: DataColumn, spec: InputSpec | None, misfit: MakeMisfit) -> ModelInput:
    name = column.name if spec is None else spec.name
    values = _cast(column, spec, misfit)
    kind = column.kind or _kind(name, column, values)
    padding = column.layout.value if kind == "ids" else 0
    if kind == "static":
        return ModelInput(name, values, None, kind)
    if kind == "mask":
        return ModelInput(name, values, values.astype(bool), kind)
    of_ids = kind == "ids" or column.values.dtype.kind in "iu"
    valid = column.marked if column.marked is not None else _valid(column, column.layout.value if of_ids else 0)
    return ModelInput(name, values, valid, kind, padding)


def _kind(name: str, column: DataColumn, values: Array) -> ColumnKind:
    """Return what an input is, from its data as it came and as the model gets it."""
    data = column.values
    if data.ndim != 2:
        return "features" if data.ndim > 2 else "static"
    if data.dtype.kind == "b" or values.dtype.kind == "b" or ("mask" in name.lower() and np.isin(data, (0, 1)).all()):
        return "mask"
    if "f" not in (data.dtype.kind, values.dtype.kind) or {data.dtype.kind, values.dtype.kind} & {"i", "u"}:
        return "ids"
    return "static" if column.marked is None else "features"


def _valid(column: DataColumn, padding: int) -> Bools:
    """Return ``(batch, timesteps)``, False at padding: what was added, and runs of it at either end of a row."""
    values = column.values
    framed = np.ones(values.shape[:2], np.bool_) if column.framed is None else column.framed
    if not column.layout.trim:
        return framed
    filled = (values != padding).any(axis=tuple(range(2, values.ndim)))
    from_start = np.logical_or.accumulate(filled, axis=1)
    from_end = np.logical_or.accumulate(filled[:, ::-1], axis=1)[:, ::-1]
    valid: Bools = framed & from_start & from_end
    return valid


def _cast(column: DataColumn, spec: InputSpec | None, misfit: MakeMisfit) -> Array:
    """Return the values in the model's dtype; no number is changed by more than a float's precision."""
    values, dtype = column.values, resolve_dtype(spec)
    if values.dtype.kind not in "biuf":
        raise misfit(f"Save {column.name} as numbers; maskcli feeds a model nothing else.")
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
        fix = f"Give {column.name} as integers: map it to ids, or round it yourself; maskcli does not cut numbers."
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
    """Raise an error with the first row that holds a value which is not ``good``."""
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
        fix="Replace NaN and infinity; padding is made of zeros, and NAME.mask says where it is.",
    )


# Validity, and masks made of it.


def _agreed(inputs: Sequence[ModelInput], marked: Sequence[bool]) -> list[ModelInput]:
    """Return inputs of which positions and segments are valid where the ids beside them are.

    Their own values say nothing of padding: positions start at 0, and so may the segments of all sentences.
    """
    result = list(inputs)
    for index, one in enumerate(inputs):
        first = next((other for other in inputs[:index] if _same_ids(one, other)), None)
        if first is not None and not marked[index] and _says_nothing(one, first):
            result[index] = dataclasses.replace(one, valid=first.valid)
    later = next((one for one in inputs if one.kind == "ids" and not one.counts_up), None)
    if result and result[0].counts_up and not marked[0] and later is not None and _same_ids(result[0], later):
        result[0] = dataclasses.replace(result[0], valid=later.valid)
    return result


def _same_ids(one: ModelInput, other: ModelInput) -> bool:
    """Return whether both have the same timesteps, and those of ``other`` are ids."""
    timed = one.kind in ("ids", "features") and other.kind == "ids"
    return timed and one.values.shape[:2] == other.values.shape


def _says_nothing(one: ModelInput, first: ModelInput) -> bool:
    """Return whether ``one`` counts up, is all padding where ``first`` is not, or has it where ``first`` has none."""
    if one.valid is None or first.valid is None:
        return False
    empty = ~one.valid.any(axis=1) & first.valid.any(axis=1)
    (front, behind), (of_first, behind_first) = _sides(one.valid), _sides(first.valid)
    elsewhere = (front and behind_first and not of_first) or (behind and of_first and not behind_first)
    return one.counts_up or elsewhere or bool(empty.any())


def _sides(valid: Bools) -> tuple[bool, bool]:
    """Return whether any row that is not empty has padding in front, and behind."""
    rows = valid[valid.any(axis=1)]
    return bool((~rows[:, 0]).any()), bool((~rows[:, -1]).any())


def _with_validity(inputs: Sequence[ModelInput]) -> list[ModelInput]:
    """Return inputs of which masks are valid where the first input with their timesteps is."""
    timed = [one for one in inputs if one.kind in ("ids", "features")]
    result = []
    for one in inputs:
        valid = next((other.valid for other in timed if _same_timesteps(one, other)), one.valid)
        result.append(dataclasses.replace(one, valid=valid) if one.kind == "mask" else one)
    return result


def _same_timesteps(mask: ModelInput, other: ModelInput) -> bool:
    return mask.values.shape == other.values.shape[:2]


def _made(spec: InputSpec | None, timed: ModelInput | None, misfit: MakeMisfit) -> ModelInput:
    """Return the mask that a model wants and the data lacks, from the timesteps of ``timed``."""
    assert spec is not None  # noqa: S101 - only an input of the model is without data
    if timed is None or timed.valid is None:
        raise misfit(f"Give {spec.name} as well: no input here has timesteps of which to make a mask.")
    dtype = resolve_dtype(spec)
    values = timed.valid.astype(np.bool_ if dtype is None else dtype)
    also = f", {describe_array(spec.name, values)} made of what is valid in {timed.name}"
    _check_shape(spec.name, values.shape, spec, partial(misfit, also=also), own=False)
    return ModelInput(spec.name, values, timed.valid, "mask")
