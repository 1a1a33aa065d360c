"""Records and plain values in two files, JSON and an ``.npz``, which another process of maskcli reads.

Nothing is pickled, so that reading the files runs no code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from maskcli.records.arrays import Array
from maskcli.render.documents import ARRAY, list_fields
from maskcli.render.json_text import convert

Record = TypeVar("Record")


def write_stored(path: Path, content: Any, arrays: dict[str, Array]) -> None:
    """Write JSON to ``PATH.json``, and arrays to ``PATH.npz``."""
    path.with_name(f"{path.name}.json").write_text(json.dumps(content), encoding="utf-8")
    # A keyword named ``file`` is that of NumPy.
    np.savez(path.with_name(f"{path.name}.npz"), **{f"a_{name}": array for name, array in arrays.items()})  # type: ignore[arg-type]


def read_stored(path: Path) -> tuple[Any, dict[str, Array]]:
    """Return the JSON and the arrays of ``write_stored``."""
    content = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    with np.load(path.with_name(f"{path.name}.npz"), allow_pickle=False) as arrays:
        return content, {name.removeprefix("a_"): arrays[name] for name in arrays.files}


def write_record(path: Path, record: object) -> None:
    """Write a record with all its fields."""
    arrays: dict[str, Array] = {}

    def store(array: Array) -> dict[str, str]:
        name = str(len(arrays))
        arrays[name] = array.astype(np.float32) if array.dtype.kind == "V" else array
        return {ARRAY: name}

    write_stored(path, convert(record, store, list_fields), arrays)


def read_record(path: Path, record_class: type[Record]) -> Record:
    """Return a record of ``write_record``; only the dataclasses that ``record_class`` declares are created."""
    import msgspec  # Loaded here, because most commands read no records.

    content, arrays = read_stored(path)

    def find_array(_type: Any, value: Any) -> Any:
        return arrays[value[ARRAY]]

    # strict=False reads "NaN" and "Infinity" as numbers.
    return msgspec.convert(content, record_class, strict=False, str_keys=True, dec_hook=find_array)
