"""Targets and sample weights: generated, read from a file, or taken from memory, and laid out like the data."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, UsageError
from maskcli.inputs.columns import RowLayout, check_lengths, make_row_array, pad_rows
from maskcli.inputs.ids import LARGEST_GUESS
from maskcli.records.arrays import Array, Ints
from maskcli.records.layout import Layout
from maskcli.records.loss import Targets
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.files import read_rows
from maskcli.sequences.formats.base import Field
from maskcli.sequences.padding import make_validity, truncate_values
from maskcli.sequences.ragged import check_splits, describe_value
from maskcli.sequences.sources import STDIN, Source, display_name

GENERATED_TARGETS = ("arange", "zeros", "ones", "shift")
CLASS_IDS = ("sparse_categorical_crossentropy",)
"""Losses whose targets are class ids."""
ONE_HOT = ("categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge")
"""Losses whose targets are one-hot vectors."""
CLASSES = (*CLASS_IDS, *ONE_HOT)
PROBABILITIES = ("binary_crossentropy", "binary_focal_crossentropy")
"""Losses whose targets are from 0 to 1."""
LARGEST = 2**28
"""Most numbers in one-hot targets, which are 1 GiB."""
DEFAULT_WIDTH = 3
"""Width of generated targets that may have any."""
_MOST_ROWS = 5
"""Most rows that an error lists."""

RowPlace = Callable[[int], str]
"""Returns the place of a row, for messages."""


# Targets that need no file.


def make_targets(
    kind: str,
    loss: str,
    shape: tuple[int | None, ...],
    ragged: RaggedSequences | None,
    batch: PaddedBatch | None,
    input_dim: int | None = None,
) -> Targets:
    """Generate targets for one output.

    Args:
        kind: ``arange`` counts through all numbers of the targets, ``zeros`` and ``ones`` repeat one, ``shift`` is
            the next token of the row, and the padding id at its last timestep.
        loss: name of the loss, which decides the form: class ids, one-hot vectors, or numbers.
        shape: shape of the predictions, ``(batch, timesteps, units)`` or ``(batch, units)``; units may be None, for
            as many as the targets need.
        ragged: the sequences, from which ``shift`` takes the next token even if truncation removed it.
        batch: the same sequences, padded.
        input_dim: vocabulary size of a built-in model, and its number of classes for ``shift``; None for other models.

    Raises:
        UsageError: for targets that do not fit the loss or the units.
    """
    *axes, units = shape
    following = None
    if kind == "shift":
        following = _find_following(shape, ragged, batch)
    if loss in CLASSES:
        if following is None:
            classes = units or DEFAULT_WIDTH
            ids = _fill(kind, axes) % classes
        else:
            classes = units or input_dim or DEFAULT_WIDTH
            ids = following
        _check_classes(ids, classes, loss)
        values = ids if loss in CLASS_IDS else _encode_one_hot(ids, classes, loss)
        return Targets(values, classes, f"{kind}, {classes} classes", following)
    if following is None:
        width = units or DEFAULT_WIDTH
        numbers = _fill(kind, [*axes, width])
    else:
        width = units or 1
        numbers = np.repeat(following[..., None], width, axis=-1)
    _check_probabilities(numbers, loss, kind)
    targets = Targets(numbers.astype("float32"), width, kind, following)
    # A model that exists has outputs of some width; a built-in model gets its width from the targets.
    return targets if input_dim is None else describe_width(targets)


def _fill(kind: str, shape: Iterable[int | None]) -> NDArray[Any]:
    sizes = [int(size or 0) for size in shape]
    if kind == "arange":
        return np.arange(math.prod(sizes)).reshape(sizes)
    return np.full(sizes, 1 if kind == "ones" else 0)


def _find_following(
    shape: tuple[int | None, ...], ragged: RaggedSequences | None, batch: PaddedBatch | None
) -> NDArray[Any]:
    """Return the next token, ``(batch, timesteps)``; the padding id after the last token of a sequence."""
    if ragged is None or batch is None or len(shape) != 3 or shape[:2] != batch.tokens.shape:
        raise UsageError(
            where="--targets shift",
            expected="outputs (batch, timesteps, classes) of sequences of ids, which have a next token",
            received=f"outputs {shape}",
            fix="Pass a file of targets, or use arange, zeros or ones.",
        )
    after = np.append(ragged.values[1:], batch.layout.value)
    ends = ragged.row_splits[1:] - 1
    after[ends[ragged.lengths > 0]] = batch.layout.value
    following = np.full_like(batch.tokens, batch.layout.value)
    following[batch.mask] = truncate_values(after, ragged.row_splits, batch.layout)
    return following


def _encode_one_hot(ids: NDArray[Any], classes: int, loss: str) -> NDArray[Any]:
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


def _check_classes(ids: NDArray[Any], classes: int, loss: str) -> None:
    if int(ids.max()) >= classes or int(ids.min()) < 0:
        raise UsageError(
            where="--units",
            expected=f"at least {int(ids.max()) + 1} classes for these targets",
            received=str(classes),
            fix=f"Omit --units: {loss} then has a class for each id.",
        )


def _check_probabilities(values: NDArray[Any], loss: str, source: str) -> None:
    if loss in PROBABILITIES and (values.min() < 0 or values.max() > 1):
        raise UsageError(
            where="--targets",
            expected=f"targets from 0 to 1 for {loss}",
            received=f"{source}, from {values.min():g} to {values.max():g}",
            fix="Use zeros, ones or a file of such numbers. For class ids use sparse_categorical_crossentropy.",
        )


# Targets and sample weights from a file or from memory.


def load_rows(
    source: object,
    field: str | None,
    rows: int,
    layouts: Sequence[RowLayout],
    noun: str = "targets",
    padding: int | None = None,
) -> Array:
    """Return targets or sample weights as an array, ``(batch, ...)``.

    Args:
        source: the path of a file, or rows or an array in memory.
        field: the field of JSON records, or the array of an ``.npz``.
        rows: number of rows of the data.
        layouts: of the inputs that maskcli padded; empty if the data are arrays.
        noun: ``targets`` or ``sample weights``, for messages.
        padding: the number at padding of rows that are padded here; None for 0.

    Raises:
        InputError: for a file that cannot be read, and for rows that do not fit, with their place.
    """
    content, where, name = _read_source(source, field, noun)
    if len(content) != rows:
        raise _make_rows_error(name, noun, rows, f"{len(content)} rows")
    if isinstance(content, np.ndarray):
        if content.dtype.kind not in "biuf":
            raise _make_rows_error(name, noun, rows, f"shape {content.shape}, dtype {content.dtype}")
        return content
    lengths = layout = None
    chosen = choose_row_layout(count_entries(content), layouts)
    if chosen is not None:
        lengths, layout = chosen.lengths, chosen.layout
    is_padded = lengths is not None and count_entries(content) == lengths.tolist()
    is_file = isinstance(source, str | os.PathLike)
    if is_file and is_padded:
        _check_finite(content, where)
    values = _arrange_content(content, where, lengths, layout, noun)
    if is_file:  # It may mix integers and floats.
        values = values.astype(np.float64)
    return values if padding is None or chosen is None or not is_padded else fill_padding(values, chosen, padding)


def fill_padding(values: Array, rows: RowLayout, padding: int) -> Array:
    """Return padded rows with another number at padding."""
    layout = dataclasses.replace(rows.layout, value=0, maxlen=values.shape[1])
    filled = values.copy()
    filled[~make_validity(rows.lengths, layout)] = padding
    return filled


def choose_row_layout(counts: Sequence[int], layouts: Sequence[RowLayout]) -> RowLayout | None:
    """Return the layout of the input with as many timesteps in each row as ``counts``, or in most rows.

    The targets of a decoder belong to its input, which may come after that of the encoder. Returns None if there are
    no layouts.
    """
    fitting = [rows for rows in layouts if len(rows.lengths) == len(counts)]
    return max(fitting, key=lambda rows: int((rows.lengths == np.array(counts)).sum()), default=None)


def load_timestep_targets(
    source: object, field: str | None, loss: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None
) -> Targets:
    """Return targets for a built-in model: a finite number, class id or vector for each timestep.

    Each row has as many entries as its sequence has timesteps, or all rows have the ``maxlen`` of the batch.

    Args:
        source: the path of a file, or rows or an array in memory.
        field: the field of JSON records, or the array of an ``.npz``.
        loss: name of the loss, which decides the form of the targets.
        ragged: the sequences.
        batch: the same sequences, padded.
        units: width of the outputs; None for the width of the targets.

    Raises:
        InputError: for a file that cannot be read, and for rows that do not fit, with their place.
        UsageError: if ``units`` contradicts the width of the targets.
    """
    content, where, name = _read_source(source, field, "targets")
    if isinstance(content, np.ndarray) and content.ndim not in (2, 3):
        raise InputError(
            where=name,
            expected="targets of shape (batch, timesteps) or (batch, timesteps, units)",
            received=f"shape {content.shape}",
            fix="Pass one row for each sequence.",
        )
    content = list(content)
    _check_finite(content, where)
    _check_counts(count_entries(content), ragged, batch, where, name)
    values = _arrange_content(content, where, ragged.lengths, batch.layout, "targets")
    if values.ndim == 2:
        values = values[..., None]
    if loss in CLASS_IDS:
        return _make_class_targets(values, units, where, name)
    width = values.shape[-1]
    if loss in ONE_HOT and width == 1:
        raise InputError(
            where=name,
            expected="a vector for each timestep, with one number for each class",
            received="one number per timestep",
            fix="For class ids use --loss sparse_categorical_crossentropy.",
        )
    if units not in (None, width):
        raise UsageError(
            where="--units",
            expected=f"{width}, the width of the targets in {name}",
            received=str(units),
            fix="Omit --units.",
        )
    _check_probabilities(values, loss, name)
    return describe_width(Targets(values.astype("float32"), width, name))


def describe_width(targets: Targets) -> Targets:
    """Add the width of targets of timesteps to their description."""
    width = "one number" if targets.units == 1 else f"a vector of {targets.units}"
    return dataclasses.replace(targets, about=f"{targets.about}, {width} per timestep")


def arrange_rows(rows: Sequence[object], lengths: Ints | None, layout: Layout | None, noun: str) -> Array:
    """Return rows of numbers, ``(batch, ...)``, laid out like the sequences of the data.

    Rows with an entry for each token of their sequence are truncated and padded like the sequence. Other rows must all
    have one shape.

    Args:
        rows: numbers, lists of numbers, or lists of vectors.
        lengths: the timesteps of each sequence; None if the data has no sequences.
        layout: how the sequences are padded, or how to pad rows of several lengths if ``lengths`` is None; None refuses
            such rows.
        noun: names the rows in messages.

    Raises:
        InputError: with the index of the row that does not fit.
    """
    arrays = _unify_widths([make_row_array(row, index) for index, row in enumerate(rows)])
    if lengths is not None and layout is not None and count_entries(arrays) == lengths.tolist():
        return pad_rows(arrays, layout)[0]
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    if lengths is not None:
        check_lengths(arrays, lengths, noun)
    if layout is not None:
        return pad_rows(arrays, layout)[0]
    row = next(index for index, array in enumerate(arrays) if array.shape != arrays[0].shape)
    raise InputError(
        row=row,
        expected=f"shape {arrays[0].shape}, as in the first row",
        received=f"shape {arrays[row].shape}",
        fix="All rows need one shape.",
    )


def _unify_widths(arrays: list[Array]) -> list[Array]:
    """Return numbers as vectors of one if other rows hold vectors of one."""
    widths = {array.shape[1:] for array in arrays if array.size}
    if widths != {(), (1,)} or not all(array.ndim for array in arrays):
        return arrays
    return [array.reshape(-1, 1) for array in arrays]


def check_file(source: object, noun: str = "targets") -> None:
    """Raise InputError if ``source`` names a file that does not exist; it is not read, and other sources pass."""
    if isinstance(source, str | os.PathLike) and source not in (*GENERATED_TARGETS, STDIN):
        hint = _describe_sources(noun)
        close = difflib.get_close_matches(os.fspath(source), GENERATED_TARGETS, n=1) if noun == "targets" else []
        Source(os.fspath(source), noun, f"Did you mean {close[0]}? {hint}" if close else hint).check_exists()


def _describe_sources(noun: str) -> str:
    """Return the sources of targets or of sample weights, as a fix."""
    hint = f"{noun.capitalize()} are a file with a row for each row of the data"
    return f"{hint}, or one of {', '.join(GENERATED_TARGETS)}." if noun == "targets" else f"{hint}."


def _read_source(source: object, field: str | None, noun: str) -> tuple[list[Any] | Array, RowPlace, str]:
    """Return rows of a file or of memory, their places, and the name of the source."""
    option, kinds = "--sample-weight-field", f"or rows of {noun}"
    if noun == "targets":
        option, kinds = "--targets-field", f"one of {', '.join(GENERATED_TARGETS)}, {kinds}"
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        parsed = read_rows(path, field=Field(field, option, numbers=True), what=noun, hint=_describe_sources(noun))
        name = display_name(path)
        return _split_rows(parsed.rows, name), parsed.where, name
    if not isinstance(source, Iterable) or getattr(source, "shape", None) == ():
        raise InputError(
            where=noun,
            expected=f"a file, {kinds}",
            received=describe_value(source),
            fix="Pass one row for each sequence.",
        )
    content: Any = np.asarray(source) if hasattr(source, "__array__") else list(source)
    if isinstance(content, np.ndarray) and content.dtype == object and content.ndim:
        content = list(content)  # A column of lists, such as a pandas Series of them.
    return content, lambda row: f"{noun}, row {row + 1}", noun


def _split_rows(rows: list[Any] | Array | RaggedSequences, name: str) -> list[Any] | Array:
    if not isinstance(rows, RaggedSequences):
        return rows
    try:
        ragged = check_splits(rows)
    except InputError as error:
        raise error.at(name) from None
    return [ragged[index] for index in range(len(ragged))]


def _arrange_content(rows: list[Any], where: RowPlace, lengths: Ints | None, layout: Layout | None, noun: str) -> Array:
    """Arrange rows, and name the place of the row in errors."""
    try:
        return arrange_rows(rows, lengths, layout, noun)
    except InputError as error:
        if error.row is None:
            raise
        raise _make_row_error(where, error.row, None, error.expected, error.received) from None


def count_entries(rows: Iterable[object]) -> list[int]:
    """Return the number of entries of each row; -1 for a row that is a number."""
    return [len(row) if isinstance(row, Sized) and getattr(row, "shape", None) != () else -1 for row in rows]


def _check_finite(rows: Iterable[object], where: RowPlace) -> None:
    """Raise InputError for rows other than lists of finite numbers or vectors."""
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple | np.ndarray):
            raise _make_row_error(where, index, None, "a list of targets, one for each timestep", describe_value(row))
        for timestep, target in enumerate(row):
            numbers = _list_numbers(target)
            if not numbers:
                raise _make_row_error(where, index, timestep, "at least one number per timestep", "none")
            for number in numbers:
                if not _is_finite_number(number):
                    expected = "a finite number, or a list of them"
                    raise _make_row_error(where, index, timestep, expected, describe_value(number))


def _list_numbers(target: object) -> list[Any]:
    if isinstance(target, list):
        return target
    return list(np.ravel(target)) if isinstance(target, np.ndarray) else [target]


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond the range of floats.
        return False


def _check_counts(counts: list[int], ragged: RaggedSequences, batch: PaddedBatch, where: RowPlace, name: str) -> None:
    """Raise InputError unless rows match the sequences, and entries their timesteps."""
    if len(counts) != len(ragged):
        raise InputError(
            where=name,
            expected=f"{len(ragged)} rows of targets, one for each sequence",
            received=str(len(counts)),
            fix="An empty sequence has an empty row.",
        )
    timesteps = batch.tokens.shape[1]
    if all(count == timesteps for count in counts):
        return
    lengths = ragged.lengths.tolist()
    wrong = [index for index, (count, length) in enumerate(zip(counts, lengths, strict=True)) if count != length]
    if wrong:
        places = [f"{where(index)} has {counts[index]} for {lengths[index]}" for index in wrong[:_MOST_ROWS]]
        if len(wrong) > _MOST_ROWS:
            places.append(f"and {len(wrong) - _MOST_ROWS} more rows")
        raise InputError(
            where=name,
            expected="as many targets in each row as its sequence has timesteps",
            received="; ".join(places),
            fix=f"Or give every row {timesteps} targets, the timesteps of the padded batch.",
        )


def _make_class_targets(values: Array, units: int | None, where: RowPlace, name: str) -> Targets:
    """Return class ids ``(batch, timesteps)`` from ``(batch, timesteps, 1)``."""
    if values.shape[-1] != 1:
        raise InputError(
            where=name,
            expected="one class id per timestep",
            received=f"vectors of {values.shape[-1]}",
            fix="For vectors with one number for each class use --loss categorical_crossentropy.",
        )
    ids = values[..., 0]
    bad = (ids < 0) | (ids % 1 != 0) | (ids >= (units or LARGEST_GUESS))
    if bad.any():
        row, timestep = np.argwhere(bad)[0]
        expected = f"class ids, which are integers from 0 below {LARGEST_GUESS}"
        if units is not None:
            expected = f"class ids, which are integers from 0 below --units {units}"
        raise _make_row_error(where, int(row), None, expected, f"{ids[row, timestep]:g}")
    classes = units or max(2, int(ids.max()) + 1)
    return Targets(ids.astype("int32"), classes, f"{name}, {classes} classes")


def _make_rows_error(name: str, noun: str, rows: int, received: str) -> InputError:
    return InputError(
        where=name,
        expected=f"{rows} rows of {noun}, as the data has, with an entry for each token or all of one shape",
        received=received,
        fix=f"Pass {noun} with a row for each row of the data.",
    )


def _make_row_error(where: RowPlace, row: int, timestep: int | None, expected: str, received: str) -> InputError:
    place = where(row)
    if timestep is not None:
        place = f"{place}, value {timestep + 1}"
    return InputError(
        where=place,
        expected=expected,
        received=received,
        fix="Each timestep has one number, one class id or one vector.",
    )
