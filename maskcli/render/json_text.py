"""Strict JSON, part by part: an array is encoded some rows at a time, never as a whole.

NaN and the infinities, which JSON lacks, become strings. Half and single precision numbers have only the digits that
identify them, up to 9, and not the 17 of the same number in double precision.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Array

BLOCK = 2**15
"""Most numbers that are encoded at once."""
DIGITS = {"float16": range(3, 6), "float32": range(6, 10)}
"""Decimal digits that may identify a number: fewer than the first are never lost, and the last always suffice."""
POWERS = np.array([10.0**power for power in range(23)])
"""The powers of ten that a double represents exactly."""

SelectFields = Callable[[Any], dict[str, Any]]
"""Returns the JSON fields of a record."""


def gather(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in fewer parts, for a stream without a buffer."""
    pieces: list[bytes] = []
    size = 0
    for part in parts:
        pieces.append(part)
        size += len(part)
        if size >= BLOCK:
            yield b"".join(pieces)
            pieces.clear()
            size = 0
    yield b"".join(pieces)


def encode_json(value: Any, select: SelectFields) -> Iterator[bytes]:
    """Yield the JSON of a record, an array, or any nest of them, in UTF-8."""
    if isinstance(value, np.ndarray):
        yield from _encode_array(value)
    elif dataclasses.is_dataclass(value):
        yield from _encode_object(select(value), select)
    elif isinstance(value, dict):
        yield from _encode_object(value, select)
    elif isinstance(value, list | tuple):
        yield from _encode_list(value, select)
    else:
        yield _encode_plain(value, select)


def _encode_object(fields: dict[str, Any], select: SelectFields) -> Iterator[bytes]:
    start = b"{"
    for name, value in fields.items():
        yield start + _encode_plain(str(name), select) + b": "
        yield from encode_json(value, select)
        start = b", "
    yield b"}" if fields else b"{}"


def _encode_list(items: Sequence[Any], select: SelectFields) -> Iterator[bytes]:
    nested = any(isinstance(item, np.ndarray | dict) or dataclasses.is_dataclass(item) for item in items)
    if nested:
        yield from _join(encode_json(item, select) for item in items)
    else:
        starts = range(0, len(items), BLOCK)
        yield from _join([_encode_plain(items[start : start + BLOCK], select)[1:-1]] for start in starts)


def _encode_array(array: Array) -> Iterator[bytes]:
    rows = len(array) if array.ndim else 1
    if array.size <= BLOCK or rows == 0:
        yield _encode_block(array)
    elif array.size // rows > BLOCK:
        yield from _join(_encode_array(row) for row in array)
    else:
        step = BLOCK // (array.size // rows)
        yield from _join([_encode_block(array[start : start + step])[1:-1]] for start in range(0, rows, step))


def _join(parts: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """Yield a list of parts, each of them in pieces."""
    start = b"["
    for part in parts:
        yield start
        yield from part
        start = b", "
    yield b"]" if start == b", " else b"[]"


def _encode_block(array: Array) -> bytes:
    """Return the JSON of a small array."""
    import msgspec  # Loaded here, because most commands write no JSON.

    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        return _encode_plain(array, dict)
    encoded: bytes = msgspec.json.encode(list_numbers(array))
    return encoded.replace(b",", b", ")


def _encode_plain(value: Any, select: SelectFields) -> bytes:
    text = json.dumps(make_plain(value, select), allow_nan=False, ensure_ascii=False)
    # UTF-8 has no surrogates, which file names may contain; a backslash makes them escapes of JSON.
    return text.encode(errors="backslashreplace")


def _list_items(array: Array) -> Any:
    return convert(list_numbers(array), _list_items, dict)


def make_plain(value: Any, select: SelectFields) -> Any:
    """Return a record, an array or any nest of them in JSON's own types, with the numbers that the text has."""
    return convert(value, _list_items, select)


def convert(value: Any, convert_array: Callable[[Array], Any], select: SelectFields) -> Any:
    """Return ``value``, a record, an array or any nest of them, in JSON's own types.

    Args:
        value: the value.
        convert_array: makes JSON from an array.
        select: returns the fields of a record.
    """

    def convert_item(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            return convert_array(item)
        if isinstance(item, np.generic):
            return convert_item(list_numbers(np.asarray(item)))
        if dataclasses.is_dataclass(item):
            item = select(item)
        if isinstance(item, dict):
            return {str(key): convert_item(entry) for key, entry in item.items()}
        if isinstance(item, list | tuple):
            return [convert_item(entry) for entry in item]
        return _convert_float(item) if isinstance(item, float) else item

    return convert_item(value)


def _convert_float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def list_numbers(array: Array) -> Any:
    """Return an array as nested lists; Python prints its floats with no more digits than identify them."""
    if array.dtype.kind == "V":  # Such as bfloat16, which NumPy itself does not know.
        array = array.astype(np.float32)
    if array.dtype.name in DIGITS:
        array = _shorten(array.ravel()).reshape(array.shape)
    return array.tolist()


def _shorten(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return for each number the double whose few digits still identify it, ``(n,)``."""
    doubles: NDArray[np.float64] = values.astype(np.float64)
    pending = np.flatnonzero(np.isfinite(doubles) & (doubles != 0))
    exponents = np.floor(np.log10(np.abs(doubles[pending]))).astype(int)
    for digits in DIGITS[values.dtype.name]:
        # A product or quotient of two exact doubles is the double next to the decimal number, so its text is short.
        powers = digits - 1 - exponents
        scales = POWERS[np.minimum(np.abs(powers), len(POWERS) - 1)]
        exact = doubles[pending]
        integers = np.rint(np.where(powers < 0, exact / scales, exact * scales))
        short = np.where(powers < 0, integers * scales, integers / scales)
        with np.errstate(over="ignore"):
            fits = (np.abs(powers) < len(POWERS)) & (short.astype(values.dtype) == values[pending])
        doubles[pending[fits]] = short[fits]
        pending, exponents = pending[~fits], exponents[~fits]
    # Powers of very large and very small numbers are not exact.
    doubles[pending] = [float(str(value)) for value in values[pending]]
    return doubles
