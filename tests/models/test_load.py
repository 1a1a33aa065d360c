"""Models of the user: files, functions and objects, the errors of each, and that no file runs code."""

from __future__ import annotations

import importlib
import io
import itertools
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import ExitCode, ModelError, UsageError
from maskcli.models.custom_objects import collect_custom_objects
from maskcli.models.load import UserModel, classify_spec, load, quiet_stdout, wrap_model
from maskcli.models.load_weights import load_weights, read_weights_file
from tests.conftest import clean_environment

NUMBERS = itertools.count()
LAYERS = """
import keras

class Doubling(keras.layers.Layer):
    def call(self, x):
        return x * 2

@keras.saving.register_keras_serializable("house")
class Registered(keras.layers.Layer):
    def call(self, x):
        return x

class Offset(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype)
    def get_config(self):
        return {}

class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(y_true - y_pred)

def own_loss(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred)

def squash(x):
    return x / 2
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


@pytest.fixture
def module(here: Path) -> Callable[[str], str]:
    """Return a function that writes a module to the working directory and returns its name."""

    def module(source: str) -> str:
        name = f"of_a_user_{next(NUMBERS)}"
        (here / f"{name}.py").write_text(source, encoding="utf-8")
        return name

    return module


@pytest.fixture
def layers(module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import custom layers, as in the script that saves a model."""
    name = module(LAYERS)
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(Path.cwd()))
        yield importlib.import_module(name)


def forget(module: Any) -> None:
    """Remove a module, and its objects in Keras's registry."""
    sys.modules.pop(module.__name__, None)
    registry = keras.saving.get_custom_objects()
    for name in [name for name, value in registry.items() if value.__module__ == module.__name__]:
        del registry[name]


def make_model(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), *layers])


def save(model: Any, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls .h5 legacy, and a lambda unsafe.
        model.save(name)
    return name


def edit_keras(path: str, edit: Callable[[dict[str, Any]], Any], member: str = "config.json") -> str:
    """Change a JSON member of a .keras file, and return the path."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members[member])
    edit(config)
    members[member] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for member_name, content in members.items():
            archive.writestr(member_name, content)
    return path


def edit_hdf5(path: str, edit: Callable[[dict[str, Any]], Any]) -> str:
    """Change the configuration in an .h5 file, and return the path."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def load_failing(spec: str, **options: Any) -> ModelError:
    """Return the error of loading a model, after a check that the error has all parts of a message."""
    with pytest.raises(ModelError) as caught:
        load(spec, **options)
    error = caught.value
    assert error.exit_code == ExitCode.MODEL
    assert "\n" not in error.where + error.expected + error.received + error.fix
    assert error.fix.endswith((".", "?", "*"))
    return error


def assert_same(model: Any, loaded: UserModel) -> None:
    x = np.arange(6, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(loaded.keras_model(x)))


# Values of --model


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("embedding-lstm", "built-in"),
        ("model.keras", "file"),
        ("a/b/model.h5", "file"),
        ("model.hdf5", "file"),
        ("folder", "file"),
        ("build:model", "factory"),
        ("package.module:function", "factory"),
        ("package.module:Class.method", "factory"),
        ("mödule:bauen", "factory"),
        ("train.py:build", "factory"),
        ("a/my folder/train-2.py:build", "factory"),
        ("kerashub:bert", "hub"),
    ],
)
def test_classify_spec_by_form(spec: str, kind: str, here: Path) -> None:
    (here / "folder").mkdir()
    assert classify_spec(spec) == kind


def test_classify_spec_of_existing_file(here: Path) -> None:
    (here / "package.module:function").touch()
    assert classify_spec("package.module:function") == "file"


@pytest.mark.parametrize(
    "spec", ["embeding-lstm", "", "a:b:c", "module:", ":function", "3d:model", "model", "nul\0", "a/b:c"]
)
def test_classify_spec_lists_kinds_in_error(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        classify_spec(spec)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.where == "--model"
    for kind in ("embedding-lstm", ".keras", ".h5", "train.py:function", "package.module:function", "kerashub:NAME"):
        assert kind in caught.value.expected
    assert caught.value.received == repr(spec)
    fix = "Did you mean embedding-lstm?" if spec == "embeding-lstm" else "`maskcli models` lists the built-in models."
    assert caught.value.fix == fix


def test_classify_spec_lists_functions_of_script(here: Path) -> None:
    (here / "train.py").write_text("X = 1\ndef build(): 1 / 0\nmodel = build()\n")
    with pytest.raises(UsageError, match=r"train\.py without a name\.\nIt has: build, model\."):
        classify_spec("train.py")
    with pytest.raises(UsageError, match=r"no\.py:build_model"):
        classify_spec("no.py")
    with pytest.raises(UsageError, match=r"Did you mean \./train\.py:build\?"):
        classify_spec("./train:build")


def test_classify_spec_imports_no_keras() -> None:
    program = (
        "import sys; from maskcli.models.load import classify_spec; classify_spec('m.keras'); classify_spec('a.b:c');"
        "assert not {'keras', 'tensorflow', 'h5py', 'a'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=clean_environment())


# Files that load


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.hdf5"])
def test_load_compiled_model(name: str) -> None:
    model = make_model()
    model.compile(loss="mse", metrics=["mae"])
    loaded = load(save(model, name))
    assert (loaded.name, loaded.source, loaded.notes) == (name, "file", ())
    assert loaded.keras_model.compiled
    assert loaded.keras_model.loss in ("mse", keras.losses.mean_squared_error)
    assert_same(model, loaded)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_load_model_that_was_not_compiled(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = make_model()
    loaded = load(save(model, name))
    assert not loaded.keras_model.compiled
    assert loaded.notes == ()
    assert_same(model, loaded)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("option", ["{}", "{}:Doubling"])
def test_load_custom_layer_by_module(name: str, option: str, layers: Any) -> None:
    model = make_model(layers.Doubling())
    save(model, name)
    forget(layers)
    path = list(sys.path)
    assert_same(model, load(name, custom_objects=[option.format(layers.__name__)]))
    assert sys.path == path


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_load_custom_objects_of_module(name: str, layers: Any) -> None:
    dense = keras.layers.Dense(2, activation=layers.squash, kernel_initializer=layers.Offset())
    model = make_model(layers.Registered(), dense, keras.layers.Lambda(layers.squash))
    model.compile(loss=layers.own_loss, metrics=["mae"])
    save(model, name)
    forget(layers)
    loaded = load(name, custom_objects=[layers.__name__])
    assert loaded.notes == ()
    assert loaded.keras_model.loss.__name__ == "own_loss"
    assert_same(model, loaded)


def test_load_custom_objects_of_package(here: Path, layers: Any) -> None:
    package = f"package_{next(NUMBERS)}"
    (here / package).mkdir()
    (here / package / "layers.py").write_text(LAYERS, encoding="utf-8")
    (here / package / "__init__.py").write_text(
        "from keras.layers import Dense\nfrom .layers import Doubling\n", encoding="utf-8"
    )
    name = save(make_model(layers.Doubling()), "model.keras")
    forget(layers)
    [*_, doubling] = load(name, custom_objects=[package]).keras_model.layers
    assert type(doubling).__module__ == f"{package}.layers"


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("loss", ["own_loss", "OwnLoss"])
def test_load_leaves_out_unknown_loss(name: str, loss: str, layers: Any) -> None:
    model = make_model()
    value = getattr(layers, loss)
    model.compile(loss=value() if isinstance(value, type) else value, metrics=["mae"])
    save(model, name)
    forget(layers)
    loaded = load(name)
    assert not loaded.keras_model.compiled
    (note,) = loaded.notes
    assert note.startswith(f"The compiled loss and metrics of {name} could not be restored")
    assert loss in note
    assert "--custom-objects" in note
    assert_same(model, loaded)
    assert load(name, custom_objects=[layers.__name__]).notes == ()


def test_load_leaves_out_lambda_loss() -> None:
    model = make_model()
    model.compile(loss=lambda y_true, y_pred: y_true - y_pred)
    save(model, "model.keras")
    (note,) = load("model.keras").notes
    assert "--unsafe-load" in note
    assert load("model.keras", unsafe=True).notes == ()


def test_load_leaves_out_invalid_compile_config() -> None:
    model = make_model()
    model.compile(loss="mse")
    save(model, "model.keras")
    edit_keras("model.keras", lambda config: config["compile_config"].update(loss_weights=[1, 2, 3], surprise=1))
    (note,) = load("model.keras").notes
    assert "TypeError" in note
    assert "surprise" in note


def test_load_suppresses_warnings(layers: Any, capfd: pytest.CaptureFixture[str]) -> None:
    save(make_model(layers.Doubling()), "model.keras")
    forget(layers)
    source = Path(f"{layers.__name__}.py")
    noise = "import warnings\nwarnings.warn('at import')\nprint('at import')\n"
    source.write_text(noise + LAYERS.replace("return x * 2", "warnings.warn('in call'); return x * 2"))
    load("model.keras", custom_objects=[layers.__name__])
    assert capfd.readouterr() == ("", "at import\n")


# Files that do not load


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "no/such/model.keras"])
def test_load_missing_file(name: str) -> None:
    error = load_failing(name)
    assert error.where == name
    assert ".keras or .h5" in error.expected
    assert error.received == "a path that does not exist"
    assert "Check the name" in error.fix


def test_load_saved_model_directory() -> None:
    make_model().export("exported", verbose=False)
    error = load_failing("exported")
    assert "SavedModel" in error.received
    assert "Keras 3" in error.received
    assert "model.save('model.keras')" in error.fix
    assert "model.export()" in error.fix
    assert "--weights m.weights.h5" in error.fix


def test_load_directory(here: Path) -> None:
    (here / "folder.keras").mkdir()
    assert load_failing("folder.keras").received == "a directory"
    assert load_failing(".").received == "a directory"


def test_load_unzipped_model_shows_zip_command(here: Path) -> None:
    model = make_model()
    zipfile.ZipFile(save(model, "model.keras")).extractall("unzipped")
    error = load_failing("unzipped")
    assert "unzipped" in error.received
    command = error.fix.removeprefix("Zip it: ").replace("python", sys.executable)
    subprocess.run(["bash", "-c", command], check=True, cwd=here)
    assert_same(model, load("zipped.keras"))


@pytest.mark.parametrize("name", ["model.weights.h5", "model.h5"])
def test_load_weights_without_model(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's tensors do not know NumPy's copy=.
        make_model().save_weights("model.weights.h5")
    Path("model.weights.h5").rename(name)
    error = load_failing(name)
    assert error.where == name
    assert "without a model" in error.received
    assert "only weights" in error.received
    assert "model.save('model.keras')" in error.fix
    assert "--model train.py:function --weights m.weights.h5" in error.fix


@pytest.mark.parametrize(("operation", "name"), [("mask", "NotEqual"), ("sum", "Sum"), ("double", "Multiply")])
def test_load_hdf5_with_operation(operation: str, name: str) -> None:
    """Keras writes operations to .h5 files and cannot read them; some have the name of a metric or a layer."""
    tokens = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(5, 2, mask_zero=operation == "mask")(tokens)
    if operation == "sum":
        embedded = embedded + keras.ops.sum(embedded, axis=1, keepdims=True)
    elif operation == "double":
        embedded = embedded * 2
    model = keras.Model(tokens, keras.layers.LSTM(2)(embedded))
    error = load_failing(save(model, "model.h5"))
    assert f"the operation {name}, which Keras writes" in error.received
    assert ("mask_zero=True" in error.received) is (operation == "mask")
    assert error.fix.startswith("Save the model with model.save('model.keras')")
    load_weights(model, read_weights_file("model.h5"), "model.h5")  # The other way that the error names.


def test_load_hdf5_data() -> None:
    with h5py.File("data.h5", "w") as file:
        file["x"] = [1, 2, 3]
    assert "without a model" in load_failing("data.h5").received


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_load_truncated_file(name: str, share: float) -> None:
    whole = Path(save(make_model(), name)).read_bytes()
    Path(name).write_bytes(whole[: int(len(whole) * share)])
    error = load_failing(name)
    assert error.where == name
    assert "damaged or cut off" in error.received
    assert "again" in error.fix


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_load_empty_file(name: str) -> None:
    Path(name).touch()
    error = load_failing(name)
    assert error.received == "an empty file"
    assert "Save the model again" in error.fix


@pytest.mark.parametrize(
    ("name", "kind"),
    [("model.keras", "not a zip file"), ("model.h5", "not HDF5"), ("model.bin", "neither zip nor HDF5")],
)
def test_load_file_of_another_kind(name: str, kind: str) -> None:
    Path(name).write_text("layers: 3")
    error = load_failing(name)
    assert kind in error.received
    assert "model.save('model.keras')" in error.fix


def test_load_file_with_wrong_suffix(here: Path) -> None:
    (here / save(make_model(), "model.keras")).rename("zip.h5")
    assert "a zip file whose name does not end in .keras" in load_failing("zip.h5").received
    assert "end in .keras" in load_failing("zip.h5").fix
    (here / save(make_model(), "model.h5")).rename("hdf5.keras")
    assert "an HDF5 file whose name does not end in .h5" in load_failing("hdf5.keras").received
    assert "end in .h5" in load_failing("hdf5.keras").fix


def test_load_unreadable_file() -> None:
    Path(save(make_model(), "model.keras")).chmod(0)
    if os.access("model.keras", os.R_OK):
        pytest.skip("root reads everything")
    assert "ermission" in load_failing("model.keras").received


def test_load_pipe_does_not_wait() -> None:
    os.mkfifo("model.keras")
    assert "not a regular file" in load_failing("model.keras").received


def test_load_zip_without_model() -> None:
    with zipfile.ZipFile("model.keras", "w") as archive:
        archive.writestr("readme", "hello")
    assert "without config.json" in load_failing("model.keras").received
    for content in ("{", "[1]", '"text"', "[" * 100_000):
        with zipfile.ZipFile("model.keras", "w") as archive:
            archive.writestr("config.json", content)
        assert "configuration that is not" in load_failing("model.keras").received


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"class_name": "Sequential"},
        {"class_name": 3, "config": {}},
        {"a": [None]},
        {"class_name": "X", "module": ["os"], "registered_name": [1], "config": {"class_name": ["X"]}},
        {"class_name": "X", "config": {}, "compile_config": {"loss": [[["Loss"]]], "optimizer": 1}},
    ],
)
def test_load_invalid_config(config: dict[str, Any]) -> None:
    def edit(whole: dict[str, Any]) -> None:
        whole.clear()
        whole.update(config)

    load_failing(edit_keras(save(make_model(), "model.keras"), edit))
    load_failing(edit_hdf5(save(make_model(), "model.h5"), edit))


def test_load_weights_of_wrong_shape() -> None:
    save(make_model(), "model.keras")
    edit_keras("model.keras", lambda config: config["config"]["layers"][1]["config"].update(units=7))
    error = load_failing("model.keras")
    assert error.where == "model.keras"
    assert "--traceback" in error.fix
    assert error.__cause__ is not None


def test_load_unknown_layer_suggests_module(layers: Any) -> None:
    save(make_model(layers.Doubling(), layers.Registered()), "model.keras")
    forget(layers)
    error = load_failing("model.keras")
    assert error.where == "model.keras"
    assert "custom" in error.expected
    assert error.received == f"Doubling of {layers.__name__}, Registered of {layers.__name__}"
    assert error.fix.startswith("Import the module that defines them, which runs that module")
    assert error.fix.endswith(f" --custom-objects {layers.__name__}.")


def test_load_layer_that_module_lacks(layers: Any) -> None:
    save(make_model(layers.Doubling()), "model.keras")
    forget(layers)
    source = Path(f"{layers.__name__}.py")
    source.write_text(LAYERS.replace("class Doubling", "class Twice"))
    error = load_failing("model.keras", custom_objects=[layers.__name__])
    assert error.received == f"Doubling of {layers.__name__}"
    assert "--custom-objects train.py" in error.fix


def test_load_unknown_layer_in_hdf5(layers: Any) -> None:
    save(make_model(layers.Doubling()), "model.h5")
    forget(layers)
    error = load_failing("model.h5")
    assert error.received == "Doubling"
    assert error.fix.startswith("Import the script that defines it")
    assert error.fix.endswith(" --custom-objects train.py.")


def test_load_unknown_layer_of_script(layers: Any) -> None:
    save(make_model(layers.Doubling()), "model.keras")
    forget(layers)
    edit_keras("model.keras", lambda config: config["config"]["layers"][-1].update(module="__main__"))
    error = load_failing("model.keras")
    assert error.received == "Doubling of __main__"
    assert error.fix.startswith("Import the script that defines it")
    assert error.fix.endswith(" --custom-objects train.py.")


def test_load_unknown_function(layers: Any) -> None:
    save(make_model(keras.layers.Dense(2, activation=layers.squash)), "model.keras")
    forget(layers)
    assert load_failing("model.keras").received == "squash"
    assert load("model.keras", custom_objects=[f"{layers.__name__}:squash"]).notes == ()


def test_load_model_of_keras_2() -> None:
    """tf.keras 2.13 names modules that Keras 3 does not have."""
    save(make_model(), "model.keras")
    edit_keras("model.keras", lambda config: config.update(module="keras.src.engine.sequential"))
    edit_keras("model.keras", lambda config: config.update(keras_version="2.13.1"), "metadata.json")
    error = load_failing("model.keras")
    assert "Keras 2.13.1" in error.received
    assert "keras.src.engine.sequential" in error.received
    assert "Keras 3" in error.fix


def test_load_operation_of_keras_2_in_hdf5() -> None:
    save(make_model(), "model.h5")
    edit_hdf5("model.h5", lambda config: config["config"]["layers"][1].update(class_name="TFOpLambda"))
    with h5py.File("model.h5", "r+") as file:
        file.attrs["keras_version"] = "2.15.0"
    error = load_failing("model.h5")
    assert "Keras 2.15.0" in error.received
    assert "TFOpLambda" in error.received


@pytest.mark.parametrize("spec", ["", "a b", "module.py/x", "a:b:c", "-m", "train.py:", "train.py:a:b"])
def test_custom_objects_with_invalid_spec(spec: str) -> None:
    save(make_model(), "model.keras")
    with pytest.raises(UsageError) as caught:
        load("model.keras", custom_objects=[spec])
    assert caught.value.where == "--custom-objects"
    assert "package.module:Name" in caught.value.expected


@pytest.mark.parametrize("value", [keras.optimizers.SGD(), keras.metrics.MeanSquaredError()])
def test_load_file_of_other_keras_object(value: Any) -> None:
    save(make_model(), "model.keras")
    serialized = keras.saving.serialize_keras_object(value)
    edit_keras("model.keras", lambda config: [config.clear(), config.update(serialized)])
    assert type(value).__name__ in load_failing("model.keras").received


def test_custom_objects_that_do_not_exist(layers: Any) -> None:
    save(make_model(), "model.keras")
    error = load_failing("model.keras", custom_objects=["no_such_module"])
    assert error.where == "--custom-objects no_such_module"
    assert error.received == "no module named no_such_module"
    error = load_failing("model.keras", custom_objects=[f"{layers.__name__}:Doublng"])
    assert error.fix == "Did you mean Doubling?"


# No file runs code


@pytest.fixture
def marker(here: Path) -> Iterator[Path]:
    """Return the path of a file that hostile code would write, and check in the end that it does not exist."""
    path = here / "marker"
    yield path
    assert not path.exists()


def make_hostile_model(marker: Path) -> Any:
    model = make_model(keras.layers.Lambda(lambda x: (open("marker", "w").close(), x)[1]))
    marker.unlink()
    return model


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_load_never_runs_lambda(name: str, marker: Path) -> None:
    save(make_hostile_model(marker), name)
    error = load_failing(name)
    assert error.where == name
    assert error.expected == "a model file that contains no code"  # Keras's own message is another.
    assert error.received == "Python code stored in the file (a Lambda)"
    assert "--unsafe-load" in error.fix
    assert "trust" in error.fix


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_unsafe_load_runs_lambda(name: str, here: Path) -> None:
    save(make_hostile_model(here / "marker"), name)
    loaded = load(name, unsafe=True)
    loaded.keras_model(np.zeros((1, 3), "float32"))
    assert (here / "marker").exists()


def test_load_never_runs_lambda_of_keras_2(marker: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        function = config["config"]["layers"][-1]["config"]["function"]["config"]
        config["config"]["layers"][-1]["config"].update(
            function=[function["code"], function["defaults"], None], function_type="lambda"
        )

    save(make_hostile_model(marker), "model.h5")
    error = load_failing(edit_hdf5("model.h5", edit))
    assert error.received == "Python code stored in the file (a Lambda)"


def test_load_never_runs_nested_lambda(marker: Path) -> None:
    inner = make_hostile_model(marker)
    tokens = keras.Input((4, 3))
    save(keras.Model(tokens, keras.layers.TimeDistributed(inner)(tokens)), "model.keras")
    marker.unlink(missing_ok=True)
    assert load_failing("model.keras").received == "Python code stored in the file (a Lambda)"


@pytest.mark.parametrize("layer", ["TFSMLayer", "TorchModuleWrapper"])
def test_load_refuses_layer_with_program(layer: str) -> None:
    """Keras 3.12 loads a TFSMLayer, and its graph can write files."""
    for name, edit in (("model.keras", edit_keras), ("model.h5", edit_hdf5)):
        save(make_model(), name)
        edit(name, lambda config: config["config"]["layers"][-1].update(class_name=layer, config={"filepath": "x"}))
        error = load_failing(name)
        assert error.received.startswith(f"a {layer}, which runs ")
        assert "--unsafe-load" in error.fix


@pytest.mark.parametrize(
    ("module_name", "function"), [("os", "system"), ("builtins", "exec"), ("subprocess", "run"), ("keras_cv", "layers")]
)
@pytest.mark.parametrize("unsafe", [False, True])
def test_load_never_calls_foreign_function(module_name: str, function: str, unsafe: bool, marker: Path) -> None:
    hostile = {"module": module_name, "class_name": "function", "config": function, "registered_name": function}
    arguments = {"command": f"touch {marker}"}

    def edit(config: dict[str, Any]) -> None:
        config["config"]["layers"][-1]["config"].update(function=hostile, arguments=arguments)

    for name, edits in (("model.keras", edit_keras), ("model.h5", edit_hdf5)):
        model = make_model(keras.layers.Lambda(keras.activations.relu))
        error = load_failing(edits(save(model, name), edit), unsafe=unsafe)
        assert function in error.received
        refused = module_name in ("os", "subprocess") and not unsafe
        assert ("--unsafe-load" if refused else "--custom-objects") in error.fix
        assert "--custom-objects os" not in error.fix
        assert "--custom-objects subprocess" not in error.fix


def test_load_error_is_harmless_to_terminal_and_shell() -> None:
    save(make_model(), "model.keras")
    hostile = {"module": "a; touch marker", "class_name": "\x1b]0;title\x07\u202e" + "x" * 9999}
    edit_keras("model.keras", lambda config: config["config"]["layers"][-1].update(hostile))
    error = load_failing("model.keras")
    assert str(error).replace("\n", "").isprintable()
    assert len(str(error)) < 1000
    assert error.fix.endswith("--custom-objects train.py.")


@pytest.mark.parametrize(
    ("module_name", "function"),
    [
        ("keras.utils", "get_file"),
        ("keras.applications", "ResNet50"),
        ("keras.models", "save_model"),
        ("keras.layers", "deserialize"),
    ],
)
def test_load_refuses_keras_function_for_files(module_name: str, function: str) -> None:
    hostile = {"module": module_name, "class_name": "function", "config": function, "registered_name": function}
    save(make_model(keras.layers.Lambda(keras.activations.relu)), "model.keras")
    edit_keras("model.keras", lambda config: config["config"]["layers"][-1]["config"].update(function=hostile))
    error = load_failing("model.keras")
    assert f"{module_name}.{function}" in error.received
    assert "--unsafe-load" in error.fix


@pytest.mark.parametrize("base", ["keras.layers.Layer", "object"])
def test_load_never_imports_module_of_file(base: str, marker: Path, module: Any) -> None:
    hostile = module(f"import keras\nopen({str(marker)!r}, 'w').close()\nclass Layer({base}): pass\n")
    for name, edit in (("model.keras", edit_keras), ("model.h5", edit_hdf5)):
        save(make_model(), name)
        edit(name, lambda config: config["config"]["layers"][-1].update(module=hostile, class_name="Evil"))
        error = load_failing(name)
        assert error.received == f"Evil of {hostile}"
        assert hostile not in sys.modules


def test_load_never_imports_neighbour_of_model(marker: Path, here: Path) -> None:
    """Keras imports these packages by itself when a file names them."""
    (here / "keras_hub.py").write_text(f"open({str(marker)!r}, 'w').close()")
    save(make_model(), "model.keras")
    edit_keras(
        "model.keras", lambda config: config["config"]["layers"][-1].update(module="keras_hub", class_name="Layer")
    )
    assert load_failing("model.keras").received == "Layer of keras_hub"


def test_load_never_unpickles_weights(marker: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return open, (str(marker), "w")

    weights = io.BytesIO()
    np.savez(weights, dense=np.array([Hostile()], dtype=object))
    save(make_model(), "model.keras")
    with zipfile.ZipFile("model.keras") as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile("model.keras", "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.npz", weights.getvalue())
    load_failing("model.keras")


def test_load_lambda_of_keras_function() -> None:
    model = make_model(keras.layers.Lambda(keras.activations.relu))
    assert_same(model, load(save(model, "model.keras")))


# Functions that build a model

BUILD = """
import keras

def build(units=2):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])

class Models:
    unbuilt = staticmethod(lambda: keras.Sequential([keras.layers.Dense(2)]))

class Subclassed(keras.Model):
    def call(self, x):
        return x

model = build()
number = 3
returns_none = lambda: None
text = lambda: "model.keras"
pair = lambda: (build(), 3)
a_class = lambda: keras.Sequential
a_layer = lambda: keras.layers.Dense(2)
def needs(units, *args, name, **kwargs): return build(units)
def raises(): raise ValueError("units must be positive\\nsee the manual")
def leaves(): raise SystemExit(3)
def interrupted(): raise KeyboardInterrupt
def lazily():
    import of_a_user_imported
    return of_a_user_imported.build()
"""


@pytest.mark.parametrize("name", ["build", "Models.unbuilt", "Subclassed"])
def test_load_builds_model_from_function(name: str, module: Any) -> None:
    spec, path = f"{module(BUILD)}:{name}", list(sys.path)
    loaded = load(spec)
    assert (loaded.name, loaded.source, loaded.notes) == (spec, "factory", ())
    assert isinstance(loaded.keras_model, keras.Model)
    assert sys.path == path


def test_load_function_uses_neighbour_and_custom_layer(module: Any, layers: Any, here: Path) -> None:
    save(make_model(layers.Doubling()), "model.keras")
    forget(layers)
    (here / "of_a_user_imported.py").write_text(
        "import keras\nbuild = lambda: keras.models.load_model('model.keras')\n", encoding="utf-8"
    )
    assert load(f"{module(BUILD)}:lazily", custom_objects=[layers.__name__]).source == "factory"


@pytest.mark.parametrize(
    ("name", "received", "fix"),
    [
        ("text", "a function that returns a value of type str", "keras.models.load_model()"),
        ("biuld", "which has no biuld", "Did you mean build?"),
        ("Models.unbuild", "which has no Models.unbuild", "Did you mean unbuilt?"),
        ("zzz", "which has no zzz", "It has: Models"),
        ("number", "a value of type int, which is neither", "def build()"),
        (
            "needs",
            "needs(units, *args, name, **kwargs) without units, name",
            "--model-arg units=VALUE --model-arg name",
        ),
        ("raises", "ValueError: units must be positive see the manual", "--traceback"),
        ("leaves", "SystemExit: 3", "--traceback"),
        ("returns_none", "a function that returns None", "Return the model"),
        ("pair", "a function that returns a value of type tuple", "Only a model"),
        ("a_class", "a function that returns the class Sequential", "Make an instance: Sequential()"),
        ("a_layer", "a function that returns a value of type keras.src.layers.core.dense.Dense", "Only a model"),
    ],
)
def test_load_function_without_model(name: str, received: str, fix: str, module: Any) -> None:
    spec = f"{module(BUILD)}:{name}"
    error = load_failing(spec)
    assert error.where == spec
    assert error.expected == "a function that returns a keras.Model, or a keras.Model"
    assert received in error.received
    assert fix in error.fix


def test_load_keeps_traceback_of_function(module: Any) -> None:
    cause = load_failing(f"{module(BUILD)}:raises").__cause__
    assert isinstance(cause, ValueError)
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    assert trace.tb_frame.f_code.co_name == "raises"


def test_load_passes_interrupt_on(module: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(f"{module(BUILD)}:interrupted")


@pytest.mark.parametrize("spec", ["no_such_module:build", "no_such_package.module:build", "json.no_such_module:build"])
def test_load_missing_module(spec: str) -> None:
    error = load_failing(spec)
    assert error.where == spec
    assert error.received.startswith("no module named ")
    assert "no_such" in error.received
    assert "directory" in error.fix


@pytest.mark.parametrize(
    ("source", "received", "fix"),
    [
        ("import no_such_dependency.part", "because no_such_dependency is missing", "Install no_such_dependency"),
        ("from json import no_such_name", "ImportError: cannot import name 'no_such_name'", "--traceback"),
        ("def build(:", "SyntaxError: invalid syntax", "--traceback"),
        ("1 / 0", "ZeroDivisionError: division by zero", "--traceback"),
    ],
)
def test_load_failing_module(source: str, received: str, fix: str, module: Any) -> None:
    name = module(source)
    error = load_failing(f"{name}:build")
    assert f"{name}, which cannot be imported" in error.received
    assert received in error.received
    assert fix in error.fix
    assert error.__cause__ is not None


# Output of the user's code


def test_load_redirects_prints_to_stderr(module: Any, capfd: pytest.CaptureFixture[str]) -> None:
    shouting = "import os, sys\nprint('imported')\n" + BUILD.replace(
        "def build(units=2):\n",
        "def build(units=2):\n    print('building'); os.system('echo from a child'); sys.__stdout__.write('late')\n",
    )
    load(f"{module(shouting)}:build")
    captured = capfd.readouterr()
    assert captured.out == ""
    for text in ("imported", "building", "from a child", "late"):
        assert text in captured.err


QUIET = """
import os, sys
from maskcli.models.load import quiet_stdout
out = sys.stdout
if out: out.write('before ')
with quiet_stdout():
    print('printed')
    if out: out.write('by an old name ')
    try: os.write(1, b'written ')
    except OSError: pass
if out: out.write('after')
"""


@pytest.mark.parametrize(
    ("closed", "out", "err"),
    [
        ("", "before after", {"printed", "by an old name", "written"}),
        ("2>&-", "before after", set()),
        ("1>&-", "", set()),
        ("1>&- 2>&-", "", set()),
        ("0<&- 2>&-", "before after", set()),
        ("0<&- 1>&- 2>&-", "", set()),
    ],
)
def test_quiet_stdout_with_closed_descriptors(closed: str, out: str, err: set[str]) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "$1" {closed}', "bash", QUIET],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == out
    assert all(text in done.stderr for text in err)


def test_quiet_stdout_ends_after_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), quiet_stdout():
        raise ValueError
    print("back")
    os.write(1, b"and its descriptor\n")
    assert capfd.readouterr() == ("back\nand its descriptor\n", "")


# Models from Python, and their custom objects


def test_wrap_model_of_keras() -> None:
    model = make_model()
    wrapped = wrap_model(model)
    assert (wrapped.keras_model, wrapped.name, wrapped.source, wrapped.notes) == (model, model.name, "object", ())


@pytest.mark.parametrize(
    ("value", "received", "fix"),
    [
        (None, "None", "Pass a model, or leave model= out"),
        ("model.keras", "type str", "Load a file"),
        (keras.Sequential, "the class Sequential", "Make an instance: Sequential()"),
        (keras.layers.Dense, "the class Dense", "Make an instance"),
        ([1], "type list", "Only a model"),
    ],
)
def test_wrap_model_refuses_other_values(value: object, received: str, fix: str) -> None:
    with pytest.raises(ModelError) as caught:
        wrap_model(value)
    assert caught.value.expected == "a keras.Model"
    assert received in caught.value.received
    assert fix in caught.value.fix


def test_kerashub_without_keras_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'keras-hub>=[0-9.]+'"):
        maskcli.check([[1, 2], [3]], model="kerashub:bert")


def test_load_refuses_built_in_name() -> None:
    with pytest.raises(ValueError, match="built in"):
        load("embedding-lstm")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_collect_custom_objects_restores_model(name: str, layers: Any) -> None:
    dense = keras.layers.Dense(3, activation=layers.squash, kernel_initializer=layers.Offset())
    inner = keras.Sequential([keras.Input((2,)), dense, layers.Registered()])
    model = make_model(inner, layers.Doubling())
    needed = collect_custom_objects(model)
    names = {"Doubling", "Registered", "house>Registered", "squash", "Offset"}
    assert set(needed) == names
    save(model, name)
    forget(layers)
    again = keras.models.load_model(name, custom_objects=needed)
    assert_same(model, UserModel(again, name, "file"))


def test_collect_custom_objects_of_subclass(module: Any) -> None:
    model = load(f"{module(BUILD)}:Subclassed").keras_model
    assert collect_custom_objects(model) == {"Subclassed": type(model)}
    assert collect_custom_objects(make_model()) == {}


@pytest.mark.parametrize(
    ("spec", "fix"),
    [
        ("tools.models.tagger", "Did you mean tools.models:tagger?"),
        ("script.tagger", "Did you mean script:tagger?"),
        ("script", "script:NAME names a part of it: tagger."),
        ("script.tagger.deep", "`maskcli models` lists the built-in models."),
    ],
)
def test_classify_spec_suggests_colon(here: Path, spec: str, fix: str) -> None:
    (here / "tools").mkdir()
    for path in ("script.py", "tools/models.py"):
        (here / path).write_text("def tagger(): pass\n")
    with pytest.raises(UsageError) as caught:
        classify_spec(spec)
    assert caught.value.fix == fix


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl.gz", "data.npz", "data.parquet"])
def test_load_file_of_data(here: Path, name: str) -> None:
    (here / name).write_bytes(b"PK\x03\x04data")
    with pytest.raises(
        ModelError, match=rf"received a file of data\.\nName it without --model.*: maskcli check {name}"
    ):
        load(name)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("missing.keras", {}, "a path that does not exist"),
        ("missing.py:build", {}, "missing.py, which is a path that does not exist"),
        ("no_such_module:build", {}, "no module named no_such_module"),
        ("present.py:build", {"weights": "missing.weights.h5"}, "No such file"),
        ("present.py:build", {"custom_objects": "missing.py"}, "missing.py, which is a path that does not exist"),
        ("present.py:build", {"custom_objects": ["no_such_module"]}, "no module named no_such_module"),
    ],
)
def test_load_finds_missing_files_before_keras(
    here: Path, spec: str, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "present.py").write_text("def build(): pass\n")
    monkeypatch.setattr("maskcli.models.load.load_keras", lambda: pytest.fail("Keras takes seconds"))
    with pytest.raises(ModelError, match=message):
        load(spec, **options)
