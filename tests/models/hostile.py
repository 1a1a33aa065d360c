"""Model files made by hand: each is a small model of Keras with one thing changed, and none does harm."""

from __future__ import annotations

import json
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
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            edit(file)
        return str(path)
    weights = path.with_suffix(".weights.h5")
    with zipfile.ZipFile(path) as archive:
        weights.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        edit(file)
    replace_member(path, "model.weights.h5", weights.read_bytes())
    weights.unlink()
    return str(path)


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
