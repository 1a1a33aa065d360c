"""Records to plain JSON and back, whole: what a report page carries, so that it can be read again without the model.

Fields go by their names, and come back by the types that the dataclasses declare. Arrays stand apart, each once,
however many records share it; booleans are a string of 0 and 1. Nothing but these dataclasses is ever made of a file.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Record = TypeVar("Record")
ARRAY = "$array"
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTS, "float16", "float32", "float64")
"""Types of arrays that can be read."""


def encode(record: Any) -> dict[str, Any]:
    """Return ``{"record": ..., "arrays": {...}}`` in JSON's own types."""
    arrays = _Arrays()
    plain = _plain(record, arrays)
    return {"record": plain, "arrays": arrays.known}


def decode(kind: type[Record], document: Any) -> Record:
    """Return the record that ``encode`` was given.

    Raises:
        ValueError: for what it cannot have made, with the place.
    """
    if not isinstance(document, dict) or not isinstance(document.get("arrays"), dict):
        raise ValueError("no arrays")
    arrays = {name: _array(name, given) for name, given in document["arrays"].items()}
    found: Record = _typed(kind, document.get("record"), arrays, kind.__name__)
    return found


class _Arrays:
    """Arrays by name; equal ones share one."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def name(self, array: NDArray[Any]) -> str:
        if array.dtype.name not in DTYPES:  # As bfloat16, which NumPy itself does not know.
            array = array.astype(np.float32)
        key = (array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes())
        if key not in self.names:
            self.names[key] = f"a{len(self.names)}"
            self.known[self.names[key]] = _described(array)
        return self.names[key]


def _described(array: NDArray[Any]) -> dict[str, Any]:
    flat = array.ravel()
    data: Any
    if array.dtype == bool:
        data = "".join("1" if one else "0" for one in flat.tolist())
    elif array.dtype.kind == "f":
        data = [_number(float(str(one))) for one in flat]  # The fewest digits that this dtype is told by.
    else:
        data = flat.tolist()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(value: Any, arrays: _Arrays) -> Any:
    if isinstance(value, np.ndarray):
        return {ARRAY: arrays.name(value)}
    if isinstance(value, np.generic):
        return _plain(value.item(), arrays)
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(one, arrays) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, arrays) for one in value]
    return _number(value) if isinstance(value, float) else value


# And back.


def _array(name: str, given: Any) -> NDArray[Any]:
    try:
        dtype, shape, data = given["dtype"], tuple(given["shape"]), given["data"]
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r}")
        if dtype == "bool":
            ones: NDArray[Any] = np.frombuffer(data.encode("ascii"), np.uint8) == ord("1")
            return ones.reshape(shape)
        return np.array([float(one) if isinstance(one, str) else one for one in data], dtype).reshape(shape)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"array {name}: {error}") from None


def _typed(kind: Any, value: Any, arrays: dict[str, NDArray[Any]], where: str) -> Any:
    """Return a value as the type that it is declared to have."""
    if isinstance(value, dict) and set(value) == {ARRAY}:
        if value[ARRAY] not in arrays:
            raise ValueError(f"{where}: no array {value[ARRAY]!r}")
        return arrays[value[ARRAY]]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, arrays, where)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(typing.get_args(kind), value, arrays, where)
    if origin in (tuple, dict):
        return _collection(origin, typing.get_args(kind), value, arrays, where)
    return _scalar(kind, origin, value, where)


def _dataclass(kind: Any, value: Any, arrays: dict[str, NDArray[Any]], where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {type(value).__name__} instead of {kind.__name__}")
    known = _fields(kind)
    given = {name: one for name, one in value.items() if name in known}  # A later release may have more.
    try:
        return kind(**{name: _typed(known[name], one, arrays, f"{where}.{name}") for name, one in given.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _one_of(kinds: tuple[Any, ...], value: Any, arrays: dict[str, NDArray[Any]], where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    return _typed(next(kind for kind in kinds if kind is not type(None)), value, arrays, where)


def _collection(origin: Any, kinds: tuple[Any, ...], value: Any, arrays: dict[str, NDArray[Any]], where: str) -> Any:
    if origin is dict and isinstance(value, dict):
        key, one = kinds
        return {key(name): _typed(one, entry, arrays, f"{where}.{name}") for name, entry in value.items()}
    if origin is tuple and isinstance(value, list):
        each = (kinds[0],) * len(value) if kinds[1:] == (Ellipsis,) else kinds
        if len(each) == len(value):
            pairs = enumerate(zip(each, value, strict=True))
            return tuple(_typed(one, entry, arrays, f"{where}[{at}]") for at, (one, entry) in pairs)
    raise ValueError(f"{where}: {type(value).__name__} does not fit")


def _scalar(kind: Any, origin: Any, value: Any, where: str) -> Any:
    if kind is Any or (origin is typing.Literal and value in typing.get_args(kind)):
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise ValueError(f"{where}: {type(value).__name__} {str(value)[:40]!r} does not fit")
