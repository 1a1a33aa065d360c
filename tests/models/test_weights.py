"""Weights come from the model's own file, and are no larger than it."""

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


def huge(group: h5py.Group, name: str, _folder: Path) -> None:
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
        (huge, "10,000,000,000,000,000 in memory"),
    ],
)
def test_weights_from_elsewhere_are_refused(suffix: str, replace: Replace, received: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        hostile.swap(hostile.leaf_dataset(file), lambda group, name: replace(group, name, tmp_path))

    error = refusal(hostile.edit_weights(path, edit))
    assert received in error.received
    assert "stored in the model's own file" in error.expected


@SUFFIXES
@pytest.mark.parametrize("is_external", [True, False])
def test_a_linked_group_is_refused(suffix: str, is_external: bool, tmp_path: Path) -> None:
    """The whole tree may be a link, at the root or on the way to a dataset."""
    path, other = tmp_path / f"model{suffix}", tmp_path / f"other{suffix}"
    hostile.write_model(path)
    hostile.write_model(other)
    source = other
    if suffix == ".keras":
        source = tmp_path / "other.h5"
        with zipfile.ZipFile(other) as archive:
            source.write_bytes(archive.read("model.weights.h5"))

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
def test_a_refused_file_is_not_read_by_keras(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        hostile.swap(hostile.leaf_dataset(file), lambda group, name: external_storage(group, name, tmp_path))

    hostile.edit_weights(path, edit)
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras opened the file"))
    refusal(str(path))


@SUFFIXES
def test_hidden_links_are_refused(suffix: str, tmp_path: Path) -> None:
    """A group may state that it has no links; each can be opened by its name all the same."""
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def rewritten(data: bytes) -> bytes:
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

    error = refusal(hostile.edit_hdf5(path, rewritten))
    assert "a link to /table in the file" in error.received


def test_an_hdf5_file_that_ends_as_a_zip_file(tmp_path: Path) -> None:
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
def test_a_chunk_larger_than_the_file_is_refused(suffix: str, tmp_path: Path) -> None:
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
    assert "17,179,869,184 in memory" in refusal(hostile.edit_hdf5(path, hostile.inflate_chunk)).received


@SUFFIXES
def test_deep_groups_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)
    assert load(hostile.edit_weights(path, lambda file: file.create_group("a/" * 90))).source == "file"
    hostile.edit_weights(path, lambda file: file.create_group("b/" * 150))
    assert "more than 100 nested groups" in refusal(str(path)).received


@SUFFIXES
def test_an_empty_dataset_is_harmless(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        file["nothing"] = h5py.Empty("f")
        file["type"] = np.dtype("f8")

    assert load(hostile.edit_weights(path, edit)).source == "file"


def test_the_check_reads_no_weights(tmp_path: Path) -> None:
    """Only the structure is read, in a process of its own and from one that holds 40 MB."""
    model = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(100_000, 100)])
    path = hostile.write_model(tmp_path / "model.keras", model=model)
    tracemalloc.start()
    try:
        from maskcli.models.weights import check_weights

        check_weights(path, path)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_hard_links_in_a_circle_end(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)

    def edit(file: h5py.File) -> None:
        file["layers/embedding/again"] = file["layers"]

    assert load(hostile.edit_weights(path, edit)).source == "file"


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "assets/vocabulary.txt", "more"])
def test_a_member_that_unpacks_to_much_more_is_refused(member: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    hostile.replace_member(path, member, bytes(70 * 2**20), zipfile.ZIP_DEFLATED)
    error = refusal(str(path))
    assert error.received.startswith(member)
    assert "73,400,320 in memory" in error.received


def test_an_array_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    header, arrays = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (2**40,), "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile(arrays, "w") as archive:
        archive.writestr("dense.npy", header.getvalue())
    hostile.replace_member(path, "model.weights.npz", arrays.getvalue())
    assert "dense.npy in model.weights.npz" in refusal(str(path)).received


def test_an_array_with_a_huge_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    arrays = io.BytesIO()
    with zipfile.ZipFile(arrays, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dense.npy", b"\x93NUMPY\2\0" + (80_000_000).to_bytes(4, "little") + b" " * 80_000_000)
    hostile.replace_member(path, "model.weights.npz", arrays.getvalue())
    assert "80,000,012 in memory" in refusal(str(path)).received


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    hostile.overlap_members(path, 20)
    assert "the archive, which holds" in refusal(str(path)).received


@pytest.mark.parametrize("member", ["../escaped", "/escaped", "assets/../../escaped", "a\\..\\b"])
def test_a_member_with_a_path_out_of_the_file_is_refused(member: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    hostile.write_model(path)
    hostile.replace_member(path, member, b"x")
    assert "a path out of the file" in refusal(str(path)).received


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_of_any_compression_are_checked_and_load(compression: int, tmp_path: Path) -> None:
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
def test_weights_without_a_model_are_refused_unread(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        external_link(file, "layers", tmp_path)
    assert "without a model" in refusal(str(tmp_path / name)).received


def test_the_check_needs_no_keras(tmp_path: Path) -> None:
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
