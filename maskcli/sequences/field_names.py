"""The fields of a file, read from its beginning: suggestions for a shell, which must be quick and never fail."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAD = 2**18
"""Bytes in which the first record has to end."""


def list_field_names(path: str) -> list[str]:
    """Return the names of the fields, columns or arrays of a file; none if it has none or cannot be read."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    read = _READERS.get(next((suffix for suffix in reversed(suffixes) if suffix in _READERS), ""))
    if read is None:
        return []
    try:
        return [name for name in read(path) if isinstance(name, str)]
    except Exception:  # A suggestion that fails must not break the command line that is typed.
        return []


def _read_head(path: str) -> str:
    opener: Callable[..., Any] = gzip.open if path.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        head: bytes = file.read(HEAD)
    return head.decode(errors="ignore").lstrip("\ufeff")


def _read_json(path: str) -> list[str]:
    """Return the keys of the first object, which is a record, or has a column for each key."""
    head = _read_head(path)
    record, _ = json.JSONDecoder().raw_decode(head, head.index("{"))
    return list(record)


def _read_csv(path: str) -> list[str]:
    first = next(csv.reader(_read_head(path).splitlines()))
    return first if any(cell.strip() and not _is_number(cell) for cell in first) else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npz(path: str) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _read_parquet(path: str) -> list[str]:
    from pyarrow.parquet import read_schema

    return list(read_schema(path).names)


def _read_arrow(path: str) -> list[str]:
    from pyarrow import ipc, memory_map

    with memory_map(path) as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        reader = ipc.open_file(file) if is_file else ipc.open_stream(file)
        return list(reader.schema.names)


_READERS: dict[str, Callable[[str], list[str]]] = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _read_json),
    **dict.fromkeys((".csv", ".tsv"), _read_csv),
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    **dict.fromkeys((".arrow", ".feather"), _read_arrow),
}
"""By suffix; the last known suffix of a name decides, so that ``a.jsonl.gz`` is JSON Lines."""
