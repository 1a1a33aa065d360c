"""Targets for a padded batch: read from a file, or made, and laid out as the batch is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, UsageError
from maskcli.inputs.ids import LARGEST_GUESS
from maskcli.records.loss import Targets
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.files import read_rows
from maskcli.sequences.formats.base import Field, ParsedRows
from maskcli.sequences.padding import truncate_values
from maskcli.sequences.ragged import check_splits, describe_value
from maskcli.sequences.sources import display_name

GENERATED_TARGETS = ("arange", "zeros", "ones", "shift")
CLASS_IDS = ("sparse_categorical_crossentropy",)
"""Losses whose targets are class ids."""
ONE_HOT = ("categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge")
"""Losses whose targets are one-hot vectors."""
PROBABILITIES = ("binary_crossentropy", "binary_focal_crossentropy")
"""Losses whose targets are from 0 to 1."""
LARGEST = 2**28
"""Numbers in one-hot targets: 1 GiB of them."""
_SHOWN = 5


def make_targets(
    kind: str, loss: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None, input_dim: int
) -> Targets:
    """Return targets that need no file.

    Args:
        kind: ``arange`` counts through all numbers of the targets, ``zeros`` and ``ones`` repeat one, ``shift`` is
            the next token of the row, and the padding id at its last timestep.
        loss: decides the form: class ids, one-hot vectors, or numbers.
        ragged: the sequences, of which ``shift`` takes the next token even where truncation cut it.
        batch: whose shape ``(batch, timesteps)`` the targets take.
        units: width of the model's outputs; None takes what the targets need, 3 where any will do.
        input_dim: number of classes for ``shift``.
    """
    shape = batch.tokens.shape
    following = _following(ragged, batch) if kind == "shift" else None
    if loss in (*CLASS_IDS, *ONE_HOT):
        classes = units or (3 if following is None else input_dim)
        ids = _filled(kind, shape) % classes if following is None else following
        _check_classes(ids, classes, loss)
        values = ids if loss in CLASS_IDS else _one_hot(ids, classes, loss)
        return Targets(values, classes, f"{kind}, {classes} classes", following)
    width = units or (3 if following is None else 1)
    numbers = _filled(kind, (*shape, width)) if following is None else np.repeat(following[..., None], width, axis=-1)
    _check_probabilities(numbers, loss, kind)
    return Targets(numbers.astype("float32"), width, f"{kind}, {_per_timestep(width)}", following)


def make_for_output(
    kind: str,
    loss: str,
    shape: tuple[int, ...],
    ragged: RaggedSequences | None,
    batch: PaddedBatch | None,
) -> Targets:
    """Return targets that need no file for an output of ``shape``, ``(batch, timesteps, units)`` or ``(batch, units)``.

    ``kind`` and ``loss`` are as for ``make_targets``; ``shift`` wants outputs with the timesteps of ``batch``.
    """
    following = None
    if kind == "shift":
        if ragged is None or batch is None or shape[:2] != batch.tokens.shape or len(shape) != 3:
            raise UsageError(
                where="--targets shift",
                expected="outputs (batch, timesteps, classes) of sequences of ids, which have a next token",
                received=f"outputs {shape}",
                fix="Name a file of targets, or let arange, zeros or ones make some.",
            )
        following = _following(ragged, batch)
    if loss in (*CLASS_IDS, *ONE_HOT):
        classes = shape[-1]
        ids = _filled(kind, shape[:-1]) % classes if following is None else following
        _check_classes(ids, classes, loss)
        return Targets(
            ids if loss in CLASS_IDS else _one_hot(ids, classes, loss), classes, f"{kind}, {classes} classes", following
        )
    numbers = _filled(kind, shape) if following is None else np.repeat(following[..., None], shape[-1], axis=-1)
    _check_probabilities(numbers, loss, kind)
    return Targets(numbers.astype("float32"), shape[-1], kind, following)


def read_targets(
    path: str, loss: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None, field: str | None = None
) -> Targets:
    """Return targets from a file: a row for each sequence, a number, class id or vector for each timestep.

    ``field`` names the field of JSON records, or the array of an ``.npz``.

    A row has as many timesteps as its sequence, and is truncated and padded as that is; or all rows have the
    ``maxlen`` of the batch, and are taken as they are.

    Raises:
        InputError: naming every row that does not fit, up to five of them.
        UsageError: when ``units`` contradicts the width of the targets.
    """
    hint = f"Targets are a file, or one of {', '.join(GENERATED_TARGETS)}."
    parsed = read_rows(path, field=Field(field, "--targets-field", numbers=True), what="targets", hint=hint)
    return _fitted(parsed, display_name(path), loss, ragged, batch, units)


def read_target_array(
    path: str,
    field: str | None,
    ragged: RaggedSequences | None,
    batch: PaddedBatch | None,
    rows: int,
    what: str = "targets",
) -> NDArray[Any]:
    """Return targets for any model from a file, as an array with a row for each of the ``rows`` of the data.

    ``what`` they are, such as sample weights, is for messages; ``field`` is that of ``--targets-field``, or of
    ``--sample-weight-field``.

    Rows with a target for each token of their sequence are truncated and padded as that is; others must be of one
    shape.

    Raises:
        InputError: for a file that cannot be read, or rows that do not fit.
    """
    name = display_name(path)
    hint = f"{what.capitalize()} are a file with a row for each row of the data."
    option = f"--{what.removesuffix('s').replace(' ', '-')}-field" if what != "targets" else "--targets-field"
    parsed = read_rows(path, field=Field(field, option, numbers=True), what=what, hint=hint)
    found = _as_rows(parsed, name) if not isinstance(parsed.rows, np.ndarray) else parsed.rows
    if len(found) != rows:
        raise InputError(where=name, expected=f"{rows} rows of {what}", received=str(len(found)), fix=hint)
    if isinstance(found, np.ndarray):
        return found
    if ragged is not None and batch is not None and [_length(row) for row in found] == ragged.lengths.tolist():
        arrays = [_numbers(row, index, parsed) for index, row in enumerate(found)]
        laid_out = _lay_out(arrays, ragged, batch, _common_width(arrays, parsed))
        return laid_out if any(isinstance(value, list) for row in found for value in row) else laid_out[..., 0]
    return _of_one_shape(found, parsed)


def _length(row: object) -> int:
    return len(row) if isinstance(row, list | tuple | np.ndarray) else -1


def _of_one_shape(rows: list[Any], parsed: ParsedRows) -> NDArray[Any]:
    arrays = []
    for index, row in enumerate(rows):
        try:
            arrays.append(np.array(row, dtype=np.float64))
        except (TypeError, ValueError):
            raise _bad(parsed, index, None, "numbers", describe_value(row)) from None
        if arrays[-1].shape != arrays[0].shape:
            shapes = f"shape {arrays[0].shape}, as in the first row", f"shape {arrays[-1].shape}"
            raise _bad(parsed, index, None, *shapes)
    return np.stack(arrays)


def convert_targets(rows: Any, loss: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None) -> Targets:
    """Return targets from rows in memory; see ``read_targets``."""
    if not isinstance(rows, Iterable):
        raise InputError(
            where="targets",
            expected=f"a file, one of {', '.join(GENERATED_TARGETS)}, or rows of targets",
            received=describe_value(rows),
            fix="Give a row for each sequence.",
        )
    parsed = ParsedRows(rows if isinstance(rows, np.ndarray) else list(rows), lambda row: f"targets, row {row + 1}")
    return _fitted(parsed, "targets", loss, ragged, batch, units)


def _fitted(
    parsed: ParsedRows, name: str, loss: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None
) -> Targets:
    rows = [_numbers(row, index, parsed) for index, row in enumerate(_as_rows(parsed, name))]
    width = _common_width(rows, parsed)
    _check_counts(rows, ragged, batch, parsed, name)
    laid_out = _lay_out(rows, ragged, batch, width)
    if loss in CLASS_IDS:
        return _class_targets(laid_out, width, units, parsed, name)
    if loss in ONE_HOT and width == 1:
        raise InputError(
            where=name,
            expected="a vector a timestep, one number for each class",
            received="one number a timestep",
            fix="Class ids want --loss sparse_categorical_crossentropy.",
        )
    if units not in (None, width):
        raise UsageError(
            where="--units",
            expected=f"{width}, the width of the targets in {name}",
            received=str(units),
            fix="Leave --units out.",
        )
    _check_probabilities(laid_out, loss, name)
    return Targets(laid_out.astype("float32"), width, f"{name}, {_per_timestep(width)}")


def _per_timestep(width: int) -> str:
    return "one number a timestep" if width == 1 else f"a vector of {width} a timestep"


def _one_hot(ids: NDArray[Any], classes: int, loss: str) -> NDArray[Any]:
    if ids.size * classes > LARGEST:
        raise UsageError(
            where=f"--loss {loss}",
            expected=f"at most {LARGEST:,} numbers in one-hot targets",
            received=f"{ids.size:,} timesteps of {classes:,} classes",
            fix="Use sparse_categorical_crossentropy, which takes the class ids.",
        )
    one_hot = np.zeros((*ids.shape, classes), "float32")
    np.put_along_axis(one_hot, ids[..., None], 1, axis=-1)
    return one_hot


def _filled(kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if kind == "arange":
        return np.arange(np.prod(shape)).reshape(shape)
    return np.full(shape, 1 if kind == "ones" else 0)


def _following(ragged: RaggedSequences, batch: PaddedBatch) -> NDArray[Any]:
    """Return the token after each, ``(batch, timesteps)``; the padding id after the last one of a sequence."""
    after = np.append(ragged.values[1:], batch.layout.value)
    ends = ragged.row_splits[1:] - 1
    after[ends[ragged.lengths > 0]] = batch.layout.value
    following = np.full_like(batch.tokens, batch.layout.value)
    following[batch.mask] = truncate_values(after, ragged.row_splits, batch.layout)
    return following


def _check_classes(ids: NDArray[Any], classes: int, loss: str) -> None:
    if int(ids.max()) >= classes or int(ids.min()) < 0:
        raise UsageError(
            where="--units",
            expected=f"at least {int(ids.max()) + 1} classes for these targets",
            received=str(classes),
            fix=f"Leave --units out: {loss} then has a class for each id.",
        )


def _check_probabilities(values: NDArray[Any], loss: str, source: str) -> None:
    if loss in PROBABILITIES and (values.min() < 0 or values.max() > 1):
        raise UsageError(
            where="--targets",
            expected=f"targets from 0 to 1 for {loss}",
            received=f"{source}, from {values.min():g} to {values.max():g}",
            fix="Use zeros, ones or a file of such numbers; classes want sparse_categorical_crossentropy.",
        )


def _as_rows(parsed: ParsedRows, path: str) -> list[Any]:
    rows = parsed.rows
    if isinstance(rows, RaggedSequences):
        try:
            ragged = check_splits(rows)
        except InputError as error:
            raise error.at(path) from None
        return [ragged[index] for index in range(len(ragged))]
    if isinstance(rows, np.ndarray) and rows.ndim not in (2, 3):
        raise InputError(
            where=path,
            expected="targets of shape (batch, timesteps) or (batch, timesteps, units)",
            received=f"shape {rows.shape}",
            fix="Give a row for each sequence.",
        )
    return list(rows)


def _numbers(row: object, index: int, parsed: ParsedRows) -> NDArray[Any]:
    """Return one row as ``(timesteps, width)`` float64; raise InputError for anything but finite numbers."""
    if not isinstance(row, list | tuple | np.ndarray):
        raise _bad(parsed, index, None, "a list of targets, one for each timestep", describe_value(row))
    for timestep, target in enumerate(row):
        for value in (
            target if isinstance(target, list) else np.ravel(target) if isinstance(target, np.ndarray) else [target]
        ):
            if not _is_number(value):
                raise _bad(parsed, index, timestep, "a finite number, or a list of them", describe_value(value))
    try:
        array = np.array(row, dtype=np.float64)
    except ValueError:
        raise _bad(
            parsed, index, None, "targets of one width in a row", "numbers beside vectors, or vectors of several widths"
        ) from None
    if len(row) and not array.size:
        raise _bad(parsed, index, 0, "at least one number a timestep", "none")
    return array.reshape(len(row), -1) if len(row) else np.zeros((0, 0))


def _is_number(value: object) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer past the floats.
        return False


def _common_width(rows: list[NDArray[Any]], parsed: ParsedRows) -> int:
    widths = {row.shape[1]: index for index, row in reversed(list(enumerate(rows))) if len(row)}
    if len(widths) > 1:
        (first, _), (other, at) = sorted(widths.items(), key=lambda item: item[1])[:2]
        raise _bad(parsed, at, None, f"{first} number(s) a timestep, as in the rows before", str(other))
    return next(iter(widths), 1)


def _check_counts(
    rows: list[NDArray[Any]], ragged: RaggedSequences, batch: PaddedBatch, parsed: ParsedRows, path: str
) -> None:
    if len(rows) != len(ragged):
        raise InputError(
            where=path,
            expected=f"{len(ragged)} rows of targets, one for each sequence",
            received=str(len(rows)),
            fix="An empty sequence has an empty row.",
        )
    if all(len(row) == batch.tokens.shape[1] for row in rows):
        return
    wrong = [index for index, row in enumerate(rows) if len(row) != ragged.lengths[index]]
    if wrong:
        named = "; ".join(
            f"{parsed.where(index)} has {len(rows[index])} for {ragged.lengths[index]}" for index in wrong[:_SHOWN]
        )
        more = f"; and {len(wrong) - _SHOWN} more rows" if len(wrong) > _SHOWN else ""
        raise InputError(
            where=path,
            expected="as many targets in each row as its sequence has timesteps",
            received=f"{named}{more}",
            fix=f"Or give every row {batch.tokens.shape[1]} targets, the timesteps of the padded batch.",
        )


def _lay_out(rows: list[NDArray[Any]], ragged: RaggedSequences, batch: PaddedBatch, width: int) -> NDArray[Any]:
    if all(len(row) == batch.tokens.shape[1] for row in rows):
        return np.stack(rows)
    values = np.concatenate([row.reshape(-1, width) for row in rows])
    laid_out = np.zeros((*batch.tokens.shape, width))
    laid_out[batch.mask] = truncate_values(values, ragged.row_splits, batch.layout)
    return laid_out


def _class_targets(values: NDArray[Any], width: int, units: int | None, parsed: ParsedRows, path: str) -> Targets:
    if width != 1:
        raise InputError(
            where=path,
            expected="one class id a timestep",
            received=f"vectors of {width}",
            fix="Vectors, one number for each class, want --loss categorical_crossentropy.",
        )
    ids = values[..., 0]
    bad = (ids < 0) | (ids % 1 != 0) | (ids >= (units or LARGEST_GUESS))
    if bad.any():
        row, timestep = np.argwhere(bad)[0]
        top = f" below {LARGEST_GUESS}" if units is None else f" below --units {units}"
        raise _bad(parsed, int(row), None, f"class ids, which are integers from 0{top}", f"{ids[row, timestep]:g}")
    classes = units or max(2, int(ids.max()) + 1)
    return Targets(ids.astype("int32"), classes, f"{path}, {classes} classes")


def _bad(parsed: ParsedRows, row: int, value: int | None, expected: str, received: str) -> InputError:
    return InputError(
        where=parsed.where(row) + ("" if value is None else f", value {value + 1}"),
        expected=expected,
        received=received,
        fix="Targets are one number, one class id or one vector a timestep.",
    )
