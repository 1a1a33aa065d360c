"""Weights are in the model's own file, and not larger than it can hold."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from maskcli.errors import ModelError
from maskcli.models.load import load
from tests.conftest import clean_environment
from tests.models import hostile

SUFFIXES = pytest.mark.parametrize("suffix", [".keras", ".h5"])
Replace = Callable[[h5py.Group, str, Path], Any]


def external_link(group: h5py.Group, name: str, folder: Path) -> None:
    group[name] = h5py.ExternalLink(str(hostile.secret_hdf5(folder)), "/table")


def soft_link(group: h5py.Group, name: str, _folder: Path) -> None:
    group.file["elsewhere"] = np.full((20, 4), 7.0, "float32")
    group[name] = h5py.SoftLink("/elsewhere")


def external_storage(group: h5py.Group, name: str, folder: Path) -> None:
    stored_at = [(str(hostile.secret_file(folder)), 0, 320)]
    group.create_dataset(name, (20, 4), "float32", external=stored_at)


def virtual_dataset(group: h5py.Group, name: str, folder: Path) -> None:
    layout = h5py.VirtualLayout((20, 4), "float32")
    layout[:] = h5py.VirtualSource(str(hostile.secret_hdf5(folder)), "table", (20, 4))
    group.create_virtual_dataset(name, layout)


def virtual_dataset_of_itself(group: h5py.Group, name: str, _folder: Path) -> None:
    layout = h5py.VirtualLayout((20, 4), "float32")
    layout[:] = h5py.VirtualSource(".", "/elsewhere", (20, 4))
    group.create_virtual_dataset(name, layout)


def huge_dataset(group: h5py.Group, name: str, _folder: Path) -> None:
    group.create_dataset(name, (50_000_000, 50_000_000), "float32", chunks=(1024, 1024), compression="gzip")


def refusal(spec: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(spec)
    assert caught.value.exit_code == 4
    return caught.value


@SUFFIXES
@pytest.mark.parametrize(
    ("replace", "received"),
    [
        (external_link, "a link to /table in the file"),
        (soft_link, "a soft link to /elsewhere"),
        (external_storage, "keeps its bytes in the file"),
        (virtual_dataset, "a virtual dataset"),
        (virtual_dataset_of_itself, "a virtual dataset"),
        (huge_dataset, "10,000,000,000,000,000 in memory"),
    ],
)
def test_check_weights_refuses_other_file(suffix: str, replace: Replace, received: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        hostile.swap(hostile.leaf_dataset(file), lambda group, name: replace(group, name, tmp_path))

    error = refusal(hostile.edit_weights(path, edit))
    assert received in error.received
    assert "stored in the model's own file" in error.expected


@SUFFIXES
@pytest.mark.parametrize("is_external", [True, False])
def test_check_weights_refuses_linked_group(suffix: str, is_external: bool, tmp_path: Path) -> None:
    """A group with all weights may be a link."""
    path, source = tmp_path / f"model{suffix}", tmp_path / f"second{suffix}"
    hostile.write_model(path)
    hostile.write_model(source)
    if suffix == ".keras":
        with zipfile.ZipFile(source) as archive:
            weights = archive.read("model.weights.h5")
        source = tmp_path / "weights.h5"
        source.write_bytes(weights)

    def edit(file: h5py.File) -> None:
        group = "model_weights" if suffix == ".h5" else "layers"
        if not is_external:
            file.move(group, "elsewhere")
            file[group] = h5py.SoftLink("/elsewhere")
            return
        del file[group]
        file[group] = h5py.ExternalLink(str(source), group)

    assert "link to" in refusal(hostile.edit_weights(path, edit)).received


@SUFFIXES
def test_refused_weights_never_reach_keras(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        hostile.swap(hostile.leaf_dataset(file), lambda group, name: external_storage(group, name, tmp_path))

    hostile.edit_weights(path, edit)
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras opened the file"))
    refusal(str(path))


@SUFFIXES
def test_check_weights_refuses_hidden_links(suffix: str, tmp_path: Path) -> None:
    """A group may declare zero links, although each can be opened by its name."""
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def rewrite(data: bytes) -> bytes:
        weights = io.BytesIO()
        with h5py.File(io.BytesIO(data)) as source, h5py.File(weights, "w", libver="latest") as target:
            for name, value in source.attrs.items():
                target.attrs[name] = value
            for name in source:
                source.copy(name, target)
            table = hostile.leaf_dataset(target)
            place, name = table.parent.name, table.name.rpartition("/")[2]
            del target[place]
            group = target.create_group(place)
            external_link(group, name, tmp_path)
            for number in range(20):
                group[f"more{number}"] = number
        return hostile.hide_links(weights.getvalue())

    error = refusal(hostile.edit_hdf5(path, rewrite))
    assert "a link to /table in the file" in error.received


def test_check_weights_of_hdf5_that_ends_as_zip(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    hostile.write_model(path)
    hostile.edit_weights(
        path,
        lambda file: hostile.swap(hostile.leaf_dataset(file), lambda group, name: external_link(group, name, tmp_path)),
    )
    path.write_bytes(path.read_bytes() + b"PK\5\6" + bytes(18))
    assert zipfile.is_zipfile(path)
    assert "a link to /table" in refusal(str(path)).received


@SUFFIXES
def test_check_weights_refuses_oversized_chunk(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)
    numbers = np.frombuffer(np.random.default_rng(1).bytes(320), "float32").reshape(20, 4)

    def edit(file: h5py.File) -> None:
        chunked = {"chunks": (20, 4), "compression": "gzip", "data": numbers}
        hostile.swap(
            hostile.leaf_dataset(file), lambda group, name: group.create_dataset(name, (20, 4), "float32", **chunked)
        )

    hostile.edit_weights(path, edit)
    assert load(str(path)).source == "file"
    assert "1,073,741,824 in memory" in refusal(hostile.edit_hdf5(path, hostile.inflate_chunk)).received


@SUFFIXES
def test_check_weights_refuses_deep_groups(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)
    assert load(hostile.edit_weights(path, lambda file: file.create_group("a/" * 90))).source == "file"
    hostile.edit_weights(path, lambda file: file.create_group("b/" * 150))
    assert "more than 100 nested groups" in refusal(str(path)).received


@SUFFIXES
def test_check_weights_accepts_empty_dataset(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        file["nothing"] = h5py.Empty("f")
        file["type"] = np.dtype("f8")

    assert load(hostile.edit_weights(path, edit)).source == "file"


def test_check_weights_reads_only_structure(tmp_path: Path) -> None:
    """The check allocates less than 4 MiB for a file with 40 MB of weights."""
    model = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(100_000, 100)])
    path = hostile.write_model(tmp_path / "model.keras", model=model)
    tracemalloc.start()
    try:
        from maskcli.models.weights import check_weights

        check_weights(path, path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_check_weights_ends_for_cyclic_links(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        file["layers/embedding/again"] = file["layers"]

    assert load(hostile.edit_weights(path, edit)).source == "file"


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "assets/vocabulary.txt", "more"])
def test_check_weights_refuses_expanding_member(member: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    hostile.replace_member(path, member, bytes(70 * 2**20), zipfile.ZIP_DEFLATED)
    error = refusal(str(path))
    assert error.received.startswith(member)
    assert "73,400,320 in memory" in error.received


def test_check_weights_refuses_oversized_array(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    header, arrays = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (2**40,), "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile(arrays, "w") as archive:
        archive.writestr("dense.npy", header.getvalue())
    hostile.replace_member(path, "model.weights.npz", arrays.getvalue())
    assert "dense.npy in model.weights.npz" in refusal(str(path)).received


def test_check_weights_refuses_huge_header(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    arrays = io.BytesIO()
    with zipfile.ZipFile(arrays, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dense.npy", b"\x93NUMPY\2\0" + (80_000_000).to_bytes(4, "little") + b" " * 80_000_000)
    hostile.replace_member(path, "model.weights.npz", arrays.getvalue())
    assert "80,000,012 in memory" in refusal(str(path)).received


def test_check_weights_refuses_overlapping_members(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    hostile.overlap_members(path, 20)
    assert "the archive, which has" in refusal(str(path)).received


@pytest.mark.parametrize("member", ["../escaped", "/escaped", "assets/../../escaped", "a\\..\\b"])
def test_check_weights_refuses_member_outside_file(member: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    hostile.replace_member(path, member, b"x")
    assert "whose path leads out of the file" in refusal(str(path)).received


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_check_weights_of_any_compression(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    hostile.replace_member(path, "model.weights.h5", weights, compression)
    assert load(str(path)).source == "file"
    hostile.edit_weights(
        path,
        lambda file: hostile.swap(hostile.leaf_dataset(file), lambda group, name: soft_link(group, name, tmp_path)),
    )
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    hostile.replace_member(path, "model.weights.h5", weights, compression)
    assert "a soft link" in refusal(str(path)).received


@pytest.mark.parametrize("name", ["model.weights.h5", "model.h5"])
def test_load_refuses_weights_without_reading(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        external_link(file, "layers", tmp_path)
    assert "without a model" in refusal(str(tmp_path / name)).received


def test_check_weights_imports_no_keras(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    hostile.write_model(path)
    with h5py.File(path, "r+") as file:
        external_link(file, "more", tmp_path)
    program = (
        "import sys; from maskcli.models.load import load\n"
        f"try: load({str(path)!r})\n"
        "except Exception as error: print(error)\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert "a link to /table" in done.stdout
