"""Model files made by hand: each is a small model of Keras with one thing changed, and none does harm."""

from __future__ import annotations

import copy
import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

Edit = Callable[[dict[str, Any]], Any]


def plain_model() -> Any:
    """Return a model that loads: tokens to vectors to two numbers."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    return keras.Model(tokens, keras.layers.Dense(2, name="dense")(keras.layers.Embedding(20, 4)(tokens)))


def write_model(path: Path, edit: Edit | None = None, model: Any = None) -> str:
    """Write a model as its suffix demands, with its configuration changed, and return the path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls .h5 legacy.
        (model or plain_model()).save(path)
    if edit and path.suffix == ".keras":
        edit_member(path, "config.json", edit)
    elif edit:
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            file.attrs["model_config"] = json.dumps(config)
    return str(path)


def edit_member(path: Path, member: str, edit: Edit) -> None:
    """Change a JSON file inside a .keras file."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(member))
    edit(config)
    replace_member(path, member, json.dumps(config).encode())


def replace_member(path: Path, member: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Put other bytes into a .keras file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, member: data}.items():
            archive.writestr(name, content, compression if name == member else zipfile.ZIP_STORED)


def edit_weights(path: Path, edit: Callable[[h5py.File], Any]) -> str:
    """Change the weights in a .keras or .h5 file."""

    def edited(data: bytes) -> bytes:
        weights = io.BytesIO(data)
        with h5py.File(weights, "r+") as file:
            edit(file)
        return weights.getvalue()

    return edit_hdf5(path, edited)


def function(module: str | None, name: str) -> dict[str, Any]:
    """Describe a function as Keras does."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def lambda_layer(target: Any, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Describe a Lambda layer of ``target``, which Keras calls as soon as it rebuilds the model."""
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"name": "f", "function": target},
        "name": "f",
        "inbound_nodes": [{"args": [], "kwargs": arguments or {"inputs": 1}}],
        **more,
    }


def add_layer(layer: dict[str, Any]) -> Edit:
    """Return an edit that appends a layer to a functional model."""
    return lambda config: config["config"]["layers"].append(layer)


def set_dense(**settings: Any) -> Edit:
    """Return an edit that changes the arguments of the Dense layer."""
    return lambda config: config["config"]["layers"][-1]["config"].update(settings)


def leaf_dataset(file: h5py.File) -> h5py.Dataset:
    """Return the embedding table."""
    tables: list[h5py.Dataset] = []
    file.visititems(lambda _, item: tables.append(item) if getattr(item, "shape", None) == (20, 4) else None)
    return tables[0]


def edit_hdf5(path: Path, edit: Callable[[bytes], bytes]) -> str:
    """Change the bytes of the weights in a .keras or .h5 file."""
    if path.suffix == ".h5":
        path.write_bytes(edit(path.read_bytes()))
        return str(path)
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    replace_member(path, "model.weights.h5", edit(weights))
    return str(path)


def swap(dataset: h5py.Dataset, make: Callable[[h5py.Group, str], Any]) -> None:
    """Replace a dataset by something else under its name."""
    group, name = dataset.parent, dataset.name.rpartition("/")[2]
    del group[name]
    make(group, name)


def secret_file(folder: Path) -> Path:
    """Write numbers that no model should show."""
    path = folder / "secret.bin"
    path.write_bytes(np.full(80, 7.0, "float32").tobytes())
    return path


def secret_hdf5(folder: Path) -> Path:
    """Write the same numbers as HDF5."""
    path = folder / "secret.h5"
    with h5py.File(path, "w") as file:
        file["table"] = np.full((20, 4), 7.0, "float32")
    return path


# Bytes that no library writes.


def hide_links(data: bytes) -> bytes:
    """Return an HDF5 file whose groups state that they have no links, although each can be opened by its name.

    The file must have been written with libver="latest", and the groups with more than eight links.
    """
    changed = bytearray(data)
    at = changed.find(b"BTHD")
    while at >= 0:
        if changed[at + 5] == 5:  # An index of names; the count follows after 26 bytes, and the checksum after 34.
            struct.pack_into("<Q", changed, at + 26, 0)
            struct.pack_into("<I", changed, at + 34, _checksum(bytes(changed[at : at + 34])))
        at = changed.find(b"BTHD", at + 1)
    assert bytes(changed) != data
    return bytes(changed)


def _checksum(data: bytes) -> int:
    """Return Jenkins's lookup3 of 25 to 36 bytes, as HDF5 computes it."""

    def rotated(value: int, bits: int) -> int:
        return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF

    def added(state: list[int], words: tuple[int, ...]) -> list[int]:
        return [(x + y) & 0xFFFFFFFF for x, y in zip(state, words, strict=True)]

    state = [(0xDEADBEEF + len(data)) & 0xFFFFFFFF] * 3
    words = struct.unpack("<9I", data.ljust(36, b"\0"))
    for at in (0, 3):
        a, b, c = added(state, words[at : at + 3])
        for bits in (4, 6, 8, 16, 19, 4):
            a, b, c = b, (c + b) & 0xFFFFFFFF, (a - c) & 0xFFFFFFFF ^ rotated(c, bits)
        state = [a, b, c]
    a, b, c = added(state, words[6:])
    for bits in (14, 11, 25, 16, 4, 14, 24):
        a, b, c = b, ((c ^ b) - rotated(b, bits)) & 0xFFFFFFFF, a
    return b


def inflate_chunk(data: bytes) -> bytes:
    """Return an HDF5 file whose table of 20 by 4 declares 16 GiB, of which its one chunk claims to store 2."""
    with h5py.File(io.BytesIO(data)) as file:
        stored = leaf_dataset(file).id.get_chunk_info(0).size
    shape, claimed = struct.pack("<QQ", 20, 4), struct.pack("<QQ", 2**20, 2**12)
    assert data.count(struct.pack("<II", stored, 0)) == 1
    changed = data.replace(shape * 2, claimed * 2)  # The dimensions, and how far each may grow.
    return changed.replace(struct.pack("<II", stored, 0), struct.pack("<II", 2**31 - 1, 0))


def overlap_members(path: Path, count: int) -> None:
    """Add members to a .keras file that share their bytes: 600 kB that unpack to 60 MB each."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/0", os.urandom(600_000) + bytes(59_400_000))
        for number in range(1, count):
            twin = copy.copy(archive.getinfo("assets/0"))
            twin.filename = twin.orig_filename = f"assets/{number}"
            archive.filelist.append(twin)
