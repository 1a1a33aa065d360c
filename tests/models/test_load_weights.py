"""Files of weights: loaded into models that scripts build, and refused where they belong to another model."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import maskcli
from maskcli.errors import ModelError, UsageError
from tests.conftest import Output

pytestmark = pytest.mark.slow(share=1 / 3)

DATA = [[1, 2, 3], [4]]
SCRIPT = """
import keras
from keras import layers

class Tagger(keras.Model):
    def __init__(self, units=2):
        super().__init__()
        self.embedding, self.dense = layers.Embedding(9, 2, mask_zero=True), layers.Dense(units)

    def call(self, tokens):
        return self.dense(self.embedding(tokens))

def functional(units=2, more=0):
    tokens = keras.Input((None,), dtype="int32")
    outputs = layers.LSTM(units)(layers.Dropout(0.5)(layers.Embedding(9, 2, mask_zero=True)(tokens)))
    for _ in range(more):
        outputs = layers.Dense(units)(outputs)
    return keras.Model(tokens, outputs)
"""


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write ``train.py`` into an empty working folder, and return its functions."""
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT)
    names: dict[str, Any] = {}
    exec(SCRIPT, names)  # noqa: S102
    return names


def save(model: Any, name: str) -> np.ndarray:
    """Train a model for a step, save its weights or all of it, and return its outputs."""
    model.compile("adam", "mse", metrics=["mae"])
    tokens = np.array([[1, 2, 3], [4, 0, 0]], "int32")
    outputs = model(tokens)
    model.fit(tokens, np.ones(outputs.shape), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls .h5 legacy.
        (model.save_weights if ".weights" in name else model.save)(name)
    return np.asarray(model(tokens))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("functional", "m.weights.h5"),
        ("functional", "m.h5"),
        ("functional", "m.keras"),
        ("Tagger", "m.weights.h5"),
    ],
)
def test_weights_reach_the_model(function: str, name: str, script: dict[str, Any]) -> None:
    outputs = save(script[function](), name)
    inspection = maskcli.inspect(DATA, model=f"train.py:{function}", weights=Path(name))
    np.testing.assert_array_equal(inspection.outputs[0].values, outputs)


def test_command_takes_arguments_and_weights(script: dict[str, Any], call: Callable[..., Output]) -> None:
    """A training script with arguments and a file of weights, as a new user has them."""
    outputs = save(script["functional"](units=3, more=1), "m.weights.h5")
    Path("data.jsonl").write_text("[1, 2, 3]\n[4]\n")
    model = ("--model", "train.py:functional", "--model-arg", "units=3", "--model-arg", "more=1")
    result = call("inspect", "data.jsonl", *model, "--weights", "m.weights.h5", "--format", "json")
    np.testing.assert_allclose(result.json["outputs"]["values"], outputs, rtol=1e-5)
    failed = call("inspect", "data.jsonl", *model[:4], "--weights", "m.weights.h5")
    assert (failed, failed.exit_status) == ("", 4)
    assert "the model lacks layers/dense/vars/0 (3, 3)" in failed.stderr
    failed = call("inspect", "data.jsonl", *model, "--model-arg", "units")
    assert (failed, failed.exit_status) == ("", 2)
    assert "--model-arg: expected NAME=VALUE; received 'units'" in failed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 3}, "layers/lstm/cell/vars/0 has the shape (2, 8), and (2, 12) in the model"),
        ({"more": 1}, "the file lacks layers/dense/vars/0 (2, 2)"),
    ],
)
def test_weights_of_another_model(options: dict[str, int], message: str, script: dict[str, Any]) -> None:
    save(script["functional"](), "m.weights.h5")
    with pytest.raises(ModelError) as caught:
        maskcli.check(DATA, model="train.py:functional", model_args=options, weights="m.weights.h5")
    assert caught.value.where == "weights='m.weights.h5'"
    assert message in caught.value.received
    assert "model_args={NAME: VALUE}" in caught.value.fix


def test_weights_that_keras_would_ignore(script: dict[str, Any]) -> None:
    """Keras loads a file with more layers silently."""
    save(script["functional"](more=2), "m.weights.h5")
    script["functional"](more=1).load_weights("m.weights.h5")
    with pytest.raises(ModelError, match="the model lacks layers/dense_1/vars/0"):
        maskcli.check(DATA, model="train.py:functional", model_args={"more": 1}, weights="m.weights.h5")


def test_weights_outside_of_their_file(script: dict[str, Any]) -> None:
    save(script["functional"](), "m.weights.h5")
    with h5py.File("m.weights.h5", "r+") as file:
        del file["layers/lstm/cell/vars/0"]
        file["layers/lstm/cell/vars/0"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(ModelError, match="a link to x in the file /etc/passwd"):
        maskcli.check(DATA, model="train.py:functional", weights="m.weights.h5")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.weights.h5", "No such file"),
        ("folder", "a directory"),
        ("m.index", "a TensorFlow checkpoint"),
        ("checkpoint", "a TensorFlow checkpoint"),
        ("m.weights.json", "the index of weights in several files"),
        ("text.weights.h5", "not HDF5"),
        ("zip.weights.h5", "a zip file"),
        ("m.npz", "not end in .weights.h5"),
    ],
)
def test_weights_of_another_kind(name: str, message: str) -> None:
    Path("folder").mkdir()
    for text in ("m.index", "checkpoint.index", "text.weights.h5", "m.npz"):
        Path(text).write_text("text")
    zipfile.ZipFile("zip.weights.h5", "w").close()
    with pytest.raises(ModelError, match=message) as caught:
        maskcli.check(DATA, model="train.py:functional", weights=name)
    assert caught.value.where == f"weights={name!r}"


def test_weights_and_arguments_of_other_models(script: dict[str, Any]) -> None:
    model = script["functional"]()
    with pytest.raises(UsageError, match=r"model\.load_weights"):
        maskcli.check(DATA, model=model, weights="m.weights.h5")
    with pytest.raises(UsageError, match="a model from Python"):
        maskcli.check(DATA, model=model, model_args={"units": 2})
    save(model, "m.keras")
    assert maskcli.check(DATA, model=Path("m.keras")).model is not None
    with pytest.raises(UsageError, match=r"the model file m\.keras"):
        maskcli.check(DATA, model="m.keras", model_args={"units": 2})
