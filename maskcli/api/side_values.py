"""Data and options of a comparison, packed as JSON and arrays for the process of another backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskcli.api.model_data import DataFile
from maskcli.errors import UsageError
from maskcli.inputs.objects import TableRows
from maskcli.records.arrays import Array
from maskcli.records.data import DataOrigin
from maskcli.records.sequences import RaggedSequences
from maskcli.render.stored import read_stored, write_stored
from maskcli.sequences.files import LoadedSequences
from maskcli.sequences.sources import STDIN, Source
from maskcli.sequences.words import Tokenizer, load_tokenizer

KIND = "$kind"
INPUT = "standard-input"
"""The name of a copy of standard input."""
PLAIN = (str, int, float, bool, type(None))


def write_values(path: Path, values: Mapping[str, Any]) -> None:
    """Write the arguments of a function: data, options, and nests of them.

    Raises:
        UsageError: for an argument that only this process has, such as a function.
    """
    packer = _Packer(path.parent)
    content = {}
    for name, value in values.items():
        packer.name = name
        content[name] = packer.pack(value)
    write_stored(path, content, packer.arrays)


def read_values(path: Path) -> dict[str, Any]:
    """Return the arguments of ``write_values``."""
    content, arrays = read_stored(path)
    unpacker = _Unpacker(arrays, path.parent)
    return {name: unpacker.unpack(value) for name, value in content.items()}


def copy_input(data: DataFile, folder: Path) -> DataFile:
    """Return a file that can be read several times: of standard input, a copy in a folder."""
    if data.path != STDIN:
        return data
    path = folder / INPUT
    path.write_bytes(Source(STDIN).read())
    return dataclasses.replace(data, path=str(path))


class _Packer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, Array] = {}
        self.name = ""

    def pack(self, value: Any) -> Any:
        if isinstance(value, PLAIN):
            return value
        for kind, pack in self._packers.items():
            if isinstance(value, kind):
                return pack(self, value)
        if hasattr(value, "__array__"):  # Tensors of any library, and single numbers of NumPy.
            return self.pack_array(np.asarray(value))
        raise UsageError(
            where=self.name,
            expected="a value that other processes can read: numbers, text, arrays, or lists and dicts of these",
            received=f"a value of type {type(value).__name__}",
            fix="Each backend has a process of its own: write data to a file, and name functions by their module.",
        )

    def pack_array(self, array: Array) -> Any:
        if array.dtype.kind == "O":
            return self.pack(array.tolist())
        name = str(len(self.arrays))
        self.arrays[name] = array
        return {KIND: "array", "name": name}

    def pack_dict(self, value: Mapping[Any, Any]) -> Any:
        return {KIND: "dict", "items": [[self.pack(key), self.pack(item)] for key, item in value.items()]}

    def pack_list(self, value: Any) -> Any:
        return {KIND: "tuple" if isinstance(value, tuple) else "list", "items": [self.pack(item) for item in value]}

    def pack_ragged(self, value: RaggedSequences) -> Any:
        arrays = {"values": self.pack(value.values), "row_splits": self.pack(value.row_splits)}
        return {KIND: "ragged", **arrays, "marked_by": value.marked_by}

    def pack_sequences(self, value: LoadedSequences) -> Any:
        # The files have been read, so that errors which know only the row get their place in this process.
        origin = dataclasses.replace(value.origin, words=None)
        words = self.pack(value.origin.words)
        return {KIND: "sequences", "ragged": self.pack(value.ragged), "origin": vars(origin), "words": words}

    def pack_file(self, value: DataFile) -> Any:
        path = copy_input(value, self.folder).path
        fields = {"path": path, "input_format": value.input_format, "field": value.field}
        origin = dataclasses.replace(value.origin, words=None)
        return {KIND: "file", **fields, "origin": vars(origin), "tokenizer": self.pack_tokenizer(value.tokenizer)}

    def pack_table(self, value: TableRows) -> Any:
        tokenizer = self.pack_tokenizer(value.tokenizer)
        return {KIND: "table", "records": self.pack(value.records), "field": value.field, "tokenizer": tokenizer}

    def pack_tokenizer(self, tokenizer: Tokenizer | None) -> str | None:
        return None if tokenizer is None else tokenizer.content

    _packers: Mapping[Any, Callable[[Any, Any], Any]] = {
        np.ndarray: pack_array,
        RaggedSequences: pack_ragged,
        LoadedSequences: pack_sequences,
        DataFile: pack_file,
        TableRows: pack_table,
        Mapping: pack_dict,
        (list, tuple): pack_list,
    }


class _Unpacker:
    def __init__(self, arrays: dict[str, Array], folder: Path) -> None:
        self.arrays = arrays
        self.folder = folder

    def unpack(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return getattr(self, f"unpack_{value[KIND]}")(value)

    def unpack_array(self, value: dict[str, Any]) -> Array:
        return self.arrays[value["name"]]

    def unpack_dict(self, value: dict[str, Any]) -> dict[Any, Any]:
        return {self.unpack(key): self.unpack(item) for key, item in value["items"]}

    def unpack_list(self, value: dict[str, Any]) -> list[Any]:
        return [self.unpack(item) for item in value["items"]]

    def unpack_tuple(self, value: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self.unpack_list(value))

    def unpack_ragged(self, value: dict[str, Any]) -> RaggedSequences:
        return RaggedSequences(self.unpack(value["values"]), self.unpack(value["row_splits"]), value["marked_by"])

    def unpack_sequences(self, value: dict[str, Any]) -> LoadedSequences:
        origin = dataclasses.replace(_make_origin(value["origin"]), words=self.unpack(value["words"]))
        return LoadedSequences(self.unpack(value["ragged"]), None, (), origin)

    def unpack_file(self, value: dict[str, Any]) -> DataFile:
        tokenizer = self.unpack_tokenizer(value["tokenizer"])
        return DataFile(value["path"], value["input_format"], value["field"], _make_origin(value["origin"]), tokenizer)

    def unpack_table(self, value: dict[str, Any]) -> TableRows:
        return TableRows(self.unpack(value["records"]), value["field"], self.unpack_tokenizer(value["tokenizer"]))

    def unpack_tokenizer(self, content: str | None) -> Tokenizer | None:
        if content is None:
            return None
        path = self.folder / f"tokenizer-{id(self)}"
        path.write_text(content, encoding="utf-8")
        return load_tokenizer(str(path))


def _make_origin(fields: dict[str, Any]) -> DataOrigin:
    return DataOrigin(**{**fields, "files": tuple(fields["files"]), "skipped": tuple(fields["skipped"])})
