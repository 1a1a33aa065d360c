"""Scripts of the user: functions with arguments, models, neighbours, seeds, and scripts that train when imported."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import ExitCode, MaskcliError, ModelError, UsageError
from maskcli.models.load import load
from maskcli.models.model_args import parse_model_args

BUILD = """
import keras
from keras import layers

def build_model(vocab_size, units=3, *, mask=True, **options):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = layers.Embedding(vocab_size, 2, mask_zero=mask)(tokens)
    return keras.Model(tokens, layers.LSTM(units)(embedded), name=options.get("name"))

def positional(vocab_size, units, /):
    return build_model(vocab_size, units)

class Subclassed(keras.Model):
    def __init__(self, units=2):
        super().__init__()
        self.embedding, self.dense = layers.Embedding(9, 2, mask_zero=True), layers.Dense(units)

    def call(self, tokens):
        return self.dense(self.embedding(tokens))

model = build_model(10)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, and restore Python's modules and Keras's registry in the end."""
    modules, registered = set(sys.modules), dict(keras.saving.get_custom_objects())
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(registered)


def write(path: str, source: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(source, encoding="utf-8")
    return path


def count_units(spec: str, **model_args: object) -> int:
    return int(load(spec, model_args=model_args).keras_model.layers[-1].units)


# Finding the model


@pytest.mark.parametrize("folder", ["", "deep/er/", "with space/ünicode/"])
def test_function_of_script(folder: str) -> None:
    loaded = load(f"{write(f'{folder}train.py', BUILD)}:build_model", model_args={"vocab_size": 5})
    assert (loaded.source, loaded.name) == ("factory", f"{folder}train.py:build_model")
    assert loaded.keras_model.layers[1].input_dim == 5


def test_model_of_script() -> None:
    loaded = load(f"{write('train.py', BUILD)}:model")
    assert (loaded.source, loaded.keras_model.layers[1].input_dim) == ("object", 10)
    with pytest.raises(UsageError, match=r"train\.py:model, which is a model, not a function"):
        load("train.py:model", model_args={"units": 2})


def test_script_imports_neighbours_and_working_directory() -> None:
    write("scripts/neighbour_of_script.py", BUILD)
    write("beside_of_cwd.py", "UNITS = 7")
    source = "import beside_of_cwd, neighbour_of_script\ndef build(): return neighbour_of_script.build_model(5, beside_of_cwd.UNITS)"
    path = list(sys.path)
    assert count_units(f"{write('scripts/train.py', source)}:build") == 7
    assert sys.path == path


def test_script_in_package_has_relative_imports() -> None:
    for folder in ("project_of_user", "project_of_user/inner"):
        write(f"src/{folder}/__init__.py", "")
    write("src/project_of_user/layers.py", BUILD)
    source = "from ..layers import build_model\ndef build(): return build_model(5, 6)"
    assert count_units(f"{write('src/project_of_user/inner/train.py', source)}:build") == 6


def test_scripts_of_one_name() -> None:
    write("a/train.py", BUILD)
    write(
        "b/train.py", "from keras import *\nimport keras\ndef build(): return keras.Sequential([keras.layers.Dense(4)])"
    )
    assert count_units("a/train.py:build_model", vocab_size=3) == 3
    assert count_units("b/train.py:build") == 4


def test_script_runs_again_only_after_change() -> None:
    source = "import keras\ndef build(): return keras.Sequential([keras.layers.Dense(4)])\n"
    write("train.py", f"{source}open('runs', 'a').write('x')")
    for _ in range(2):
        assert count_units("train.py:build") == 4
    load("train.py:build", custom_objects="train.py")
    assert Path("runs").read_text() == "x"
    write("train.py", source.replace("4", "5"))
    assert count_units("train.py:build") == 5


def test_missing_script() -> None:
    for spec in ("no/such.py:build", "folder.py:build"):
        Path("folder.py").mkdir(exist_ok=True)
        with pytest.raises(ModelError, match=r"path that does not exist|a directory"):
            load(spec)


# Arguments


def test_arguments_reach_the_function() -> None:
    write("train.py", BUILD)
    model = load(
        "train.py:build_model", model_args={"vocab_size": 5, "units": 4, "mask": False, "name": "own"}
    ).keras_model
    assert (model.name, model.output.shape[-1], model.layers[1].mask_zero) == ("own", 4, False)
    assert count_units("train.py:positional", vocab_size=5, units=6) == 6
    report = maskcli.check([[1, 2], [3]], model="train.py:Subclassed", model_args={"units": 5})
    assert report.examination.model is not None
    assert report.examination.model.trace[-1].shapes_out[0][-1] == 5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {},
            ModelError,
            "build_model.vocab_size, units=3, mask=True, ..options. without vocab_size.\nPass --model-arg",
        ),
        ({"vocab_size": "text"}, ModelError, "TypeError|ValueError"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, object], error: type[MaskcliError], message: str) -> None:
    write("train.py", BUILD)
    with pytest.raises(error, match=message):
        load("train.py:build_model", model_args=arguments)


@pytest.mark.parametrize(
    ("name", "fix"), [("vocabsize", "Did you mean vocab_size?"), ("x", "It takes vocab_size, units.")]
)
def test_unknown_argument(name: str, fix: str) -> None:
    write("train.py", BUILD)
    with pytest.raises(UsageError) as caught:
        load("train.py:positional", model_args={name: 1})
    assert (caught.value.exit_code, caught.value.fix) == (ExitCode.USAGE, fix.replace("vocab_size?", "vocab_size?"))
    assert "positional(vocab_size, units)" in caught.value.expected


def test_parse_model_args() -> None:
    texts = ["a=5", "b=[1, 'x']", "c=bert", "d=true", "e=None", "f=1e-3", "g=", "h=a=b", "i='7'", "j={"]
    expected = {"a": 5, "b": [1, "x"], "c": "bert", "d": True, "e": None, "f": 1e-3, "g": "", "h": "a=b", "i": "7"}
    assert parse_model_args(texts) == {**expected, "j": "{"}
    for texts in (["units"], ["=5"], ["a b=5"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--model-arg"):
            parse_model_args(texts)


# Seeds


def test_seed_is_set_before_the_function_runs() -> None:
    write("train.py", BUILD)

    def read_weights(spec: str, seed: int) -> np.ndarray:
        np.random.default_rng().random(3)
        return np.asarray(load(spec, model_args={"vocab_size": 5}, seed=seed).keras_model.weights[0])

    first, again, other = (read_weights("train.py:build_model", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_seed_of_command_line(run: Callable[..., Any]) -> None:
    """Four runs print the same figure, of a function and of a model that the script makes when it is imported."""
    write("train.py", BUILD)
    write("data.json", "[[1, 2, 3], [4]]")
    for spec in ("train.py:Subclassed", "train.py:model"):
        outputs = [
            run("inspect", "data.json", "--model", spec, "--seed", seed, "--format", "json") for seed in (0, 0, 3)
        ]
        assert [output.stderr for output in outputs] == [""] * 3
        assert outputs[0] == outputs[1]
        assert outputs[0].json["outputs"] != outputs[2].json["outputs"]


# Scripts that do more than define a model


TRAINS = """
import keras, numpy as np
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
try:
    {work}
except Exception:
    pass
def build(): return model
"""


@pytest.mark.parametrize(
    ("source", "received"),
    [
        (TRAINS.format(work="model.fit(np.ones((2, 2)), np.ones((2, 1)))"), "trains a model (Model.fit)"),
        (TRAINS.format(work="model.train_on_batch(np.ones((2, 2)), np.ones((2, 1)))"), "trains a model (Model.train_on_batch)"),
        (TRAINS.format(work="model.optimizer.apply([np.ones(w.shape) for w in model.weights], model.weights)"), "trains a model (Optimizer.apply)"),
        (TRAINS.format(work="input('epochs? ')"), "asks for input"),
        ("\n\n\n\n\nimport argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()", "parses its command line when it is imported (SystemExit: 2)"),
        ("\n\n\n\n\nimport sys; sys.exit('usage: train')", "ends the program when it is imported (SystemExit: usage: train)"),
    ],
)  # fmt: skip
def test_script_that_works_when_imported(source: str, received: str) -> None:
    fit = keras.Model.fit
    spec = f"{write('train.py', source)}:build"
    for options in ({}, {"custom_objects": "train.py"}):
        with pytest.raises(ModelError) as caught:
            load(spec, **options)
        assert f"train.py, which {received}" in caught.value.received.replace(" when it is imported,", " when,")
        assert "at train.py:" in caught.value.received
        assert 'if __name__ == "__main__":' in caught.value.fix
    assert keras.Model.fit is fit
    assert "fit" not in vars(keras.Model)


def test_script_may_parse_arguments_with_defaults_and_train_in_function() -> None:
    source = """
import argparse, sys
import keras, numpy as np
parser = argparse.ArgumentParser()
parser.add_argument("--units", type=int, default=3)
options = parser.parse_args()
assert sys.argv == [__file__]
def build():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(options.units)])
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 2)), np.ones((2, 3)), verbose=0)
    return model
if __name__ == "__main__":
    build().fit()
"""
    assert count_units(f"{write('train.py', source)}:build") == 3


# Custom objects


LAYERS = """
import keras

@keras.saving.register_keras_serializable("house")
class Registered(keras.layers.Layer):
    def call(self, x):
        return x * 2

class Plain(keras.layers.Layer):
    def call(self, x):
        return _halve(x)

def _halve(x):
    return x / 2

def save():
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2, activation=_halve)(Plain()(Registered()(inputs)))
    keras.Model(inputs, outputs).save("model.keras")

if __name__ == "__main__":
    save()
"""


def load_script() -> dict[str, object]:
    """Run the script as Python does, which saves a model, and return its objects; Keras forgets the registered one."""
    names: dict[str, object] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's tensors do not know NumPy's copy=.
        exec(LAYERS, names)  # noqa: S102
    keras.saving.get_custom_objects().clear()
    return names


def test_custom_objects_of_script() -> None:
    """A registered class, a plain one and a function with an underscore, of the script that saved the model."""
    load_script()
    write("deep/train.py", LAYERS)
    for custom_objects in ("deep/train.py", ["deep/train.py"], Path("deep/train.py")):
        layers = load("model.keras", custom_objects).keras_model.layers
        assert [type(layer).__name__ for layer in layers[1:]] == ["Registered", "Plain", "Dense"]
    with pytest.raises(ModelError, match="Plain"):
        load("model.keras", ["deep/train.py:Registered", "deep/train.py:_halve"])
    load("model.keras", [f"deep/train.py:{name}" for name in ("Registered", "Plain", "_halve")])


def test_custom_objects_from_python() -> None:
    names = load_script()
    objects = [names["Registered"], names["Plain"], names["_halve"]]
    by_name = {"house>Registered": names["Registered"], "Plain": names["Plain"], "_halve": names["_halve"]}
    for custom_objects in (by_name, [*objects, by_name["house>Registered"]]):
        keras.saving.get_custom_objects()["house>Registered"] = names["Registered"]
        assert maskcli.check(
            {"x": np.ones((2, 3), "float32")}, model="model.keras", custom_objects=custom_objects
        ).model
    for wrong in ({"Plain": 3}, [3], {3: names["Plain"]}, 5):
        with pytest.raises(UsageError, match="a dict of classes"):
            load("model.keras", wrong)
