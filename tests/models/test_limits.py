"""Models that claim more memory or time than they may take are refused with the numbers, before it is taken."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import ModelError
from maskcli.models.files import read_model_file
from maskcli.models.limits import check_call
from maskcli.models.load import load
from maskcli.sequences.bounds import set_memory_bound
from tests.conftest import Output
from tests.models import hostile

SCRIPT = """
import keras

def whole():
    tokens = keras.Input((None,), dtype="int32")
    return keras.Model(tokens, keras.layers.Embedding(10**12, 4)(tokens))

class Later(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(10**12, 4)

    def call(self, tokens):
        return self.embedding(tokens)

def later():
    return Later()
"""


@pytest.fixture(autouse=True)
def reset_bound() -> Iterator[None]:
    yield
    set_memory_bound(None)


def set_option(kind: str, name: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return an edit of a configuration: one option of all layers of a class."""

    def edit(config: dict[str, Any]) -> None:
        for layer in config["config"]["layers"]:
            if layer["class_name"] == kind:
                layer["config"][name] = value

    return edit


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_file_with_huge_weights(suffix: str, tmp_path: Path, call: Callable[..., Output]) -> None:
    hostile.write_model(tmp_path / f"model{suffix}", set_option("Embedding", "input_dim", 10**12))
    output = call("inspect", "-", "--model", f"model{suffix}", stdin="[1, 2]\n")
    assert (output.exit_status, output) == (4, "")
    assert output.stderr.startswith(f"Error: model{suffix}: expected at most ")
    assert "received 29.1 TiB, to initialise embeddings of shape (1,000,000,000,000, 4)" in output.stderr
    assert "--max-memory" in output.stderr


def test_file_with_huge_result(tmp_path: Path, call: Callable[..., Output]) -> None:
    tokens = keras.Input((None,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(tokens))
    model = keras.Model(tokens, keras.layers.RepeatVector(7, name="repeat")(pooled))
    hostile.write_model(tmp_path / "model.keras", set_option("RepeatVector", "n", 10**10), model)
    output = call("inspect", "-", "--model", "model.keras", stdin="[1, 2]\n")
    assert (output.exit_status, output) == (4, "")
    assert "--model model.keras, at repeat: expected at most " in output.stderr
    assert "received 149 GiB for repeat (RepeatVector)" in output.stderr


@pytest.mark.parametrize("function", ["whole", "later"])
def test_function_with_huge_weights(function: str, tmp_path: Path, call: Callable[..., Output]) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    output = call("inspect", "-", "--model", f"train.py:{function}", stdin="[1, 2]\n")
    assert (output.exit_status, output) == (4, "")
    assert "received 29.1 TiB, to initialise embeddings" in output.stderr
    assert len(output.stderr.splitlines()) == 2


@pytest.mark.parametrize("option", ["--input-dim", "--embedding-dim", "--units"])
def test_options_of_huge_weights(option: str, call: Callable[..., Output]) -> None:
    output = call("inspect", "--sample", option, 10**12)
    assert (output.exit_status, output) == (4, "")
    assert output.stderr.startswith("Error: --model embedding-lstm: expected at most ")
    assert "iB, to initialise" in output.stderr
    assert option in output.stderr


def test_max_memory_moves_the_bound_of_weights(call: Callable[..., Output]) -> None:
    embedding = ["inspect", "--sample", "--input-dim", 20_000, "--embedding-dim", 16, "--quiet"]  # 1.2 MiB
    refused = call(*embedding, "--max-memory", "2M")
    assert refused.exit_status == 4
    assert "expected at most 2 MiB" in refused.stderr
    assert "received 2.44 MiB" in refused.stderr
    assert call(*embedding, "--max-memory", "3M").exit_status == 0


def test_optimizer_larger_than_the_bound_is_left_out(tmp_path: Path) -> None:
    tokens = keras.Input((None,), dtype="int32")
    model = keras.Model(tokens, keras.layers.Embedding(50_000, 16)(tokens))  # 3.1 MiB, and twice that for Adam
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = hostile.write_model(tmp_path / "model.keras", model=model)
    set_memory_bound(8 * 2**20)
    loaded = load(path)
    assert loaded.keras_model.count_params() == 800_000
    assert len(loaded.notes) == 1
    assert "of memory for the weights of a model" in loaded.notes[0]
    set_memory_bound(None)
    assert load(path).notes == ()


def test_bound_of_weights_leaves_keras_unchanged(tmp_path: Path) -> None:
    initialise = keras.Variable.__init__
    path = hostile.write_model(tmp_path / "model.keras", set_option("Embedding", "input_dim", 10**12))
    with pytest.raises(ModelError):
        load(path)
    assert keras.Variable.__init__ is initialise
    assert "__init__" not in vars(keras.Variable)


def attend(layer: Any) -> Any:
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(20, 4)(tokens)
    return keras.Model(
        tokens, layer([x, x]) if type(layer).__name__ in ("Attention", "AdditiveAttention") else layer(x, x)
    )


@pytest.mark.parametrize(
    ("layer", "needed"),
    [
        (keras.layers.MultiHeadAttention(2, 4, name="attention"), "7.28 TiB"),
        (keras.layers.GroupQueryAttention(4, 2, 1, name="attention"), "7.28 TiB"),
        (keras.layers.Attention(name="attention"), "3.64 TiB"),
        (keras.layers.AdditiveAttention(name="attention"), "14.6 TiB"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scores_of_a_million_timesteps(layer: Any, needed: str) -> None:
    with pytest.raises(ModelError, match=f"at attention: .*received {needed} for attention"):
        maskcli.inspect(np.ones((1, 10**6), np.int32), model=attend(layer))


def make_repeat(times: int) -> Any:
    """Return the operation that a functional model has for ``keras.ops.repeat``."""
    return keras.ops.repeat(keras.Input((8, 4)), times, axis=1)._keras_history.operation


@pytest.mark.parametrize(
    ("layer", "shape", "is_refused"),
    [
        (keras.layers.UpSampling1D(10**6), (2, 8, 4), True),
        (keras.layers.UpSampling1D(10), (2, 8, 4), False),
        (keras.layers.ZeroPadding1D(10**6), (2, 8, 4), True),
        (keras.layers.CategoryEncoding(10**7), (2, 8), True),
        (keras.layers.Conv1DTranspose(1, 3, strides=10**7), (2, 8, 4), True),
        (make_repeat(10**6), (2, 8, 4), True),
        (make_repeat(2), (2, 8, 4), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_check_call(layer: Any, shape: tuple[int, ...], is_refused: bool) -> None:
    set_memory_bound(2**24)
    assert (check_call(layer, (np.zeros(shape, "float32"),), {}) is not None) is is_refused


@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_configuration_of_many_values(member: str, tmp_path: Path) -> None:
    """A megabyte of empty lists takes 24 times as much when it is parsed."""
    path = Path(hostile.write_model(tmp_path / "model.keras"))
    content = json.dumps({"blanks": "x"}).replace('"x"', "[" + "[]," * 300_000 + "[]]").encode()
    hostile.replace_member(path, member, content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    set_memory_bound(2**24)
    with pytest.raises(ModelError, match=r"900,0\d\d characters, which needs .* of 16 MiB for one model"):
        read_model_file(str(path))
    set_memory_bound(2**28)
    read_model_file(str(path))


@pytest.mark.parametrize("wrap", [lambda layer: layer, keras.layers.Bidirectional], ids=["LSTM", "Bidirectional"])
def test_recurrence_of_a_million_timesteps(wrap: Any) -> None:
    tokens = keras.Input((None,), dtype="int32")
    layer = wrap(keras.layers.LSTM(2, name="lstm"))
    model = keras.Model(tokens, layer(keras.layers.Embedding(20, 4, mask_zero=True)(tokens)))
    with pytest.raises(ModelError, match=r"at most 20,000 timesteps for a recurrent layer.*received 1,000,000 for "):
        maskcli.inspect(np.ones((1, 10**6), np.int32), model=model)
