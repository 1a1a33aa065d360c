"""Every published advisory on loading Keras models that SECURITY.md lists has a file here, which is refused."""

from __future__ import annotations

import base64
import io
import marshal
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from maskcli.errors import MaskcliError
from maskcli.models.load import classify_spec, load
from tests.conftest import ROOT
from tests.models import hostile

Write = Callable[[Path], str]
CODE = base64.b64encode(marshal.dumps(compile("open('marker', 'w')", "lambda", "eval"))).decode()
LAMBDA = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}
PICKLE = base64.b64encode(b"cbuiltins\nopen\n(S'marker'\nS'w'\ntR.").decode()


def with_layer(name: str, layer: dict[str, Any]) -> Write:
    return lambda folder: hostile.write_model(folder / name, hostile.add_layer(layer))


def with_function(name: str, module: str, function: str, arguments: dict[str, Any] | None = None) -> Write:
    return with_layer(name, hostile.lambda_layer(hostile.function(module, function), arguments))


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": config, "name": "f", "inbound_nodes": []}


def yaml_file(folder: Path) -> str:
    path = folder / "model.yaml"
    path.write_text("!!python/object/apply:os.getcwd []\n")
    return str(path)


def vocabulary(folder: Path) -> str:
    (folder / "secret.txt").write_text("secret\n")
    return with_layer("model.keras", layer("StringLookup", vocabulary=str(folder / "secret.txt")))(folder)


def with_weights(name: str, make: Callable[[h5py.Group, str, Path], Any]) -> Write:
    def write(folder: Path) -> str:
        path = folder / name
        hostile.write_model(path)
        return hostile.edit_weights(
            path,
            lambda file: hostile.swap(hostile.leaf_dataset(file), lambda group, dataset: make(group, dataset, folder)),
        )

    return write


def external_storage(group: h5py.Group, name: str, folder: Path) -> None:
    group.create_dataset(name, (20, 4), "float32", external=[(str(hostile.secret_file(folder)), 0, 320)])


def external_link(group: h5py.Group, name: str, folder: Path) -> None:
    group[name] = h5py.ExternalLink(str(hostile.secret_hdf5(folder)), "/table")


def virtual(group: h5py.Group, name: str, folder: Path) -> None:
    layout = h5py.VirtualLayout((20, 4), "float32")
    layout[:] = h5py.VirtualSource(str(hostile.secret_hdf5(folder)), "table", (20, 4))
    group.create_virtual_dataset(name, layout)


def huge_dataset(group: h5py.Group, name: str, _folder: Path) -> None:
    group.create_dataset(name, (50_000_000, 50_000_000), "float32", chunks=(1024, 1024), compression="gzip")


def linked_group(folder: Path) -> str:
    """Write a name of weights with a slash, whose first part is a link."""
    path = folder / "model.h5"
    hostile.write_model(path)
    with h5py.File(path, "r+") as file:
        file.create_group("model_weights/embedding/real")
        file["model_weights/embedding/link"] = h5py.ExternalLink(str(hostile.secret_hdf5(folder)), "/")
        file["model_weights/embedding"].attrs["weight_names"] = [b"link/table"]
    return str(path)


def with_member(member: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> Write:
    def write(folder: Path) -> str:
        path = folder / "model.keras"
        hostile.write_model(path)
        hostile.replace_member(path, member, data, compression)
        return str(path)

    return write


def pickled_weights() -> bytes:
    class Hostile:
        def __reduce__(self) -> Any:
            return open, ("marker", "w")

    weights = io.BytesIO()
    np.savez(weights, dense=np.array([Hostile()], dtype=object))
    return weights.getvalue()


def pickled_member(folder: Path) -> str:
    path = folder / "model.keras"
    hostile.write_model(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in ("config.json", "metadata.json")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "model.weights.npz": pickled_weights()}.items():
            archive.writestr(name, content)
    return str(path)


def linked_directory(folder: Path) -> str:
    """Write a model as a directory, whose vocabulary is a link of the file system."""
    hostile.write_model(folder / "model.keras")
    zipfile.ZipFile(folder / "model.keras").extractall(folder / "unzipped")
    (folder / "unzipped" / "assets").mkdir()
    (folder / "unzipped" / "assets" / "vocabulary.txt").symlink_to(hostile.secret_file(folder))
    return str(folder / "unzipped")


BOMB = bytes(70 * 2**20)
GET_FILE = {"fname": "canary", "origin": "http://127.0.0.1:9/canary"}
ADVISORIES: dict[str, list[Write]] = {
    "CVE-2021-37678": [yaml_file],
    "CVE-2024-3660": [
        with_layer("model.keras", hostile.lambda_layer(LAMBDA)),
        with_layer("model.h5", layer("Lambda", function=[CODE, None, None])),
        with_layer("model.h5", layer("Lambda", function={"class_name": "__tuple__", "items": [CODE, None, None]})),
    ],
    "CVE-2024-55459": [with_function("model.keras", "keras.utils", "get_file", {**GET_FILE, "untar": True})],
    "CVE-2025-1550": [
        with_function("model.keras", "os", "system", {"inputs": "touch marker"}),
        with_function("model.keras", "builtins", "exec", {"inputs": "open('marker', 'w')"}),
        with_layer("model.keras", layer("Popen", args="touch marker") | {"module": "subprocess"}),
    ],
    "CVE-2025-8747": [
        with_function("model.keras", "keras.utils", "get_file", GET_FILE),
        with_function("model.keras", "keras", "utils.get_file", GET_FILE),
    ],
    "CVE-2025-9906": [
        with_function("model.keras", "keras.config", "enable_unsafe_deserialization"),
        with_function("model.keras", "keras", "config.enable_unsafe_deserialization"),
        with_function("model.keras", "keras.models", "load_model", {"inputs": "other.keras", "safe_mode": False}),
    ],
    "CVE-2025-9905": [with_layer("model.h5", hostile.lambda_layer(LAMBDA))],
    "CVE-2025-49655": [with_layer("model.keras", layer("TorchModuleWrapper", module=PICKLE))],
    "CVE-2025-12058": [vocabulary, with_layer("model.h5", layer("TextVectorization", vocabulary="gs://example/none"))],
    "CVE-2025-12060": [with_function("model.keras", "keras.utils", "get_file", {**GET_FILE, "extract": True})],
    "CVE-2025-12638": [with_function("model.h5", "keras.utils", "get_file", {**GET_FILE, "extract": True})],
    "CVE-2026-0897": [with_weights("model.keras", huge_dataset)],
    "CVE-2026-1669": [
        with_weights("model.keras", external_storage),
        with_weights("model.h5", external_storage),
        with_weights("model.keras", external_link),
        with_weights("model.h5", external_link),
    ],
    "CVE-2026-1462": [
        with_layer("model.keras", layer("TFSMLayer", filepath="folder", call_endpoint="serve")),
        with_layer("model.h5", layer("TFSMLayer", filepath="folder", call_endpoint="serve")),
    ],
    "CVE-2026-11816": [with_member("../escaped", b"x"), with_member("/escaped", b"x")],
    "CVE-2026-12479": [
        lambda folder: hostile.write_model(folder / "model.keras", hostile.set_dense(name="..")),
        with_layer("model.keras", layer("StringLookup", name="../x")),
    ],
    "CVE-2026-12480": [with_weights("model.keras", virtual), with_weights("model.h5", virtual)],
    "CVE-2026-12481": [with_layer("model.keras", layer("TimeDistributed", layer=layer("Lambda", function=LAMBDA)))],
    "CVE-2026-12482": [with_member("link/../escaped", b"x")],
    "CVE-2026-12484": [with_layer("model.h5", layer("TorchModuleWrapper", module=PICKLE))],
    "CVE-2026-9335": [with_weights("model.h5", external_link), linked_group],
    "CVE-2026-12570": [with_weights("model.keras", huge_dataset), with_weights("model.h5", huge_dataset)],
    # Disclosed in pull requests to Keras, without a number of their own.
    "keras#23654": [
        with_function("model.keras", "keras.layers", "TFSMLayer", {"inputs": "folder"}),
        with_function("model.h5", "keras", "layers.TFSMLayer", {"inputs": "folder"}),
    ],
    "keras#23115": [
        with_function("model.keras", "keras.models", "model_from_json", {"inputs": "{}"}),
        with_function("model.keras", "keras.utils", "save_img", {"inputs": "marker"}),
        with_function("model.keras", "keras.utils", "plot_model", {"inputs": 1}),
    ],
    "keras#23010": [
        with_member("config.json", BOMB, zipfile.ZIP_DEFLATED),
        with_member("model.weights.h5", BOMB, zipfile.ZIP_DEFLATED),
    ],
    "keras#23101": [with_member("assets/more", BOMB, zipfile.ZIP_DEFLATED)],
    "keras#23016": [pickled_member],
    "keras#23168": [linked_group],
    "keras#22896": [linked_directory],
}


@pytest.fixture(autouse=True)
def sinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, and fail when Keras calls a function that the advisories use."""
    monkeypatch.chdir(tmp_path)
    for owner, name in ((tf.saved_model, "load"), (keras.utils, "get_file"), (keras.models, "load_model")):
        monkeypatch.setattr(owner, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
    return tmp_path


@pytest.mark.parametrize(
    "write", [pytest.param(write, id=identifier) for identifier, writes in ADVISORIES.items() for write in writes]
)
def test_load_refuses_file_of_advisory(write: Write, sinks: Path) -> None:
    spec = write(sinks)
    before = sorted(sinks.rglob("*"))
    with pytest.raises(MaskcliError) as caught:
        if classify_spec(spec) == "file":
            load(spec)
    assert caught.value.exit_code in (2, 4)
    assert sorted(sinks.rglob("*")) == before
    assert "torch" not in sys.modules


def test_advisories_match_security_md() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert set(re.findall(r"CVE-\d+-\d+|keras#\d+", text)) == set(ADVISORIES)
