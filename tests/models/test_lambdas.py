"""The names that the functions of Lambda layers in a file use, which Keras does not store."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.errors import ModelError
from maskcli.models.load import load, reload_model

SCRIPT = """
import keras
from keras import layers, ops
import numpy as np

FACTOR = 3.0

def build():
    x = keras.Input((None, 2))
    return keras.Model(x, layers.Lambda({function}, {options})(x))
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(function: str, options: str = "output_shape=(None, 2)") -> keras.Model:
    """Save the model of a script, whose names exist only there, as model.keras."""
    Path("train.py").write_text(SCRIPT.format(function=function, options=options))
    spec = importlib.util.spec_from_file_location("train_lambdas", "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: keras.Model = module.build()
    model.save("model.keras")
    return model


def compare(loaded: Any, model: keras.Model) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 2)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize(
    "function",
    [
        "lambda x: ops.abs(x)",
        "lambda x: keras.ops.sum(x, axis=-1, keepdims=True) + np.float32(np.pi)",
        "lambda x: keras.tree.map_structure(lambda y: ops.square(y), x)",
    ],
)
def test_lambdas_find_the_usual_names_of_libraries(function: str) -> None:
    model = save(function)
    with pytest.raises(Exception, match=r"is not defined|infer the shape"):
        keras.models.load_model("model.keras", safe_mode=False)(np.zeros((1, 2, 2), "float32"))
    compare(load("model.keras", unsafe=True).keras_model, model)


def test_lambdas_find_the_names_of_custom_objects() -> None:
    model = save("lambda x: x * FACTOR")
    compare(load("model.keras", "train.py", unsafe=True).keras_model, model)


def test_missing_name_is_named() -> None:
    save("lambda x: x * FACTOR", options="")
    with pytest.raises(ModelError) as caught:
        load("model.keras", unsafe=True)
    assert "'FACTOR' is not defined" in caught.value.received
    assert "--custom-objects train.py" in caught.value.fix


def test_name_that_only_a_run_misses_is_named() -> None:
    """With a shape of its own, the function is not called before the model runs."""
    save("lambda x: x * FACTOR if x.shape[0] else x")
    model = load("model.keras", unsafe=True).keras_model
    with pytest.raises(ModelError) as caught:
        maskcli.check([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], model=model)
    assert "uses FACTOR, pass the script that defines it: custom_objects='train.py'" in caught.value.fix


def test_usual_names_need_the_unsafe_mode() -> None:
    save("lambda x: ops.abs(x)")
    with pytest.raises(ModelError, match="unsafe"):
        load("model.keras")


def test_model_is_saved_and_loaded_with_the_names_of_its_lambdas() -> None:
    factor = 5.0
    x = keras.Input((None, 2))
    model = keras.Model(x, layers.Lambda(lambda y: keras.ops.tanh(y) * factor * layers.ReLU()(y))(x))
    compare(reload_model(model), model)
