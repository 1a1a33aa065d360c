"""The user's own models: files, functions and objects; what goes wrong with each, and that no file runs code."""

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

from maskcli.errors import ExitCode, ModelError, UsageError
from maskcli.models.custom_objects import custom_objects_of
from maskcli.models.load import UserModel, given, kind_of, load, quiet_stdout
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
    """Work in an empty folder, and leave Python's modules and Keras's registry as they were."""
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
    """Write a module that can be imported from the working directory, and return its name."""

    def module(source: str) -> str:
        name = f"of_a_user_{next(NUMBERS)}"
        (here / f"{name}.py").write_text(source, encoding="utf-8")
        return name

    return module


@pytest.fixture
def layers(module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import the user's layers, as the script that saves a model would."""
    name = module(LAYERS)
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(Path.cwd()))
        yield importlib.import_module(name)


def forget(module: Any) -> None:
    """Make a module, and what it registered, unknown again."""
    sys.modules.pop(module.__name__, None)
    for name in [name for name, one in keras.saving.get_custom_objects().items() if one.__module__ == module.__name__]:
        del keras.saving.get_custom_objects()[name]


def sequential(*more: Any) -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), *more])


def saved(model: Any, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls .h5 legacy, and a lambda unsafe.
        model.save(name)
    return name


def edited(name: str, edit: Callable[[dict[str, Any]], Any], member: str = "config.json") -> str:
    """Write a .keras file again with one member changed by hand."""
    with zipfile.ZipFile(name) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    config = json.loads(members[member])
    edit(config)
    with zipfile.ZipFile(name, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, json.dumps(config) if one == member else content)
    return name


def edited_hdf5(name: str, edit: Callable[[dict[str, Any]], Any]) -> str:
    with h5py.File(name, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return name


def failure(spec: str, **options: Any) -> ModelError:
    """Load what cannot be loaded; a person can act on every part of what it says."""
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


# What --model names


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
    ],
)
def test_kinds(spec: str, kind: str, here: Path) -> None:
    (here / "folder").mkdir()
    assert kind_of(spec) == kind


def test_a_file_is_a_file_whatever_its_name(here: Path) -> None:
    (here / "package.module:function").touch()
    assert kind_of("package.module:function") == "file"


@pytest.mark.parametrize("spec", ["embeding-lstm", "", "a:b:c", "module:", ":function", "3d:model", "model", "nul\0"])
def test_what_is_no_model_says_what_is(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind_of(spec)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.where == "--model"
    for one in ("embedding-lstm", "embedding-dense", ".keras", ".h5", "package.module:function"):
        assert one in caught.value.expected
    assert caught.value.received == repr(spec)
    fix = "Did you mean embedding-lstm?" if spec == "embeding-lstm" else "`maskcli models` lists the built-in models."
    assert caught.value.fix == fix


def test_telling_the_kind_needs_no_keras() -> None:
    program = (
        "import sys; from maskcli.models.load import kind_of; kind_of('m.keras'); kind_of('a.b:c');"
        "assert not {'keras', 'tensorflow', 'h5py', 'a'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=clean_environment())


# Files that load


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.hdf5"])
def test_a_compiled_model_comes_back_as_it_was(name: str) -> None:
    model = sequential()
    model.compile(loss="mse", metrics=["mae"])
    loaded = load(saved(model, name))
    assert (loaded.name, loaded.source, loaded.notes) == (name, "file", ())
    assert loaded.keras_model.compiled
    assert loaded.keras_model.loss in ("mse", keras.losses.mean_squared_error)
    assert_same(model, loaded)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_model_that_was_not_compiled(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = sequential()
    loaded = load(saved(model, name))
    assert not loaded.keras_model.compiled
    assert loaded.notes == ()
    assert_same(model, loaded)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("option", ["{}", "{}:Doubling"])
def test_custom_layers_by_their_module(name: str, option: str, layers: Any) -> None:
    model = sequential(layers.Doubling())
    saved(model, name)
    forget(layers)
    path = list(sys.path)
    assert_same(model, load(name, custom_objects=[option.format(layers.__name__)]))
    assert sys.path == path


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_all_that_a_module_defines_or_registers(name: str, layers: Any) -> None:
    dense = keras.layers.Dense(2, activation=layers.squash, kernel_initializer=layers.Offset())
    model = sequential(layers.Registered(), dense, keras.layers.Lambda(layers.squash))
    model.compile(loss=layers.own_loss, metrics=["mae"])
    saved(model, name)
    forget(layers)
    loaded = load(name, custom_objects=[layers.__name__])
    assert loaded.notes == ()
    assert loaded.keras_model.loss.__name__ == "own_loss"
    assert_same(model, loaded)


def test_a_package_gives_what_its_modules_define(here: Path, layers: Any) -> None:
    package = f"package_{next(NUMBERS)}"
    (here / package).mkdir()
    (here / package / "layers.py").write_text(LAYERS, encoding="utf-8")
    (here / package / "__init__.py").write_text(
        "from keras.layers import Dense\nfrom .layers import Doubling\n", encoding="utf-8"
    )
    name = saved(sequential(layers.Doubling()), "model.keras")
    forget(layers)
    [*_, doubling] = load(name, custom_objects=[package]).keras_model.layers
    assert type(doubling).__module__ == f"{package}.layers"


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("loss", ["own_loss", "OwnLoss"])
def test_a_loss_that_cannot_be_restored_is_left_out_and_said(name: str, loss: str, layers: Any) -> None:
    model = sequential()
    one = getattr(layers, loss)
    model.compile(loss=one() if isinstance(one, type) else one, metrics=["mae"])
    saved(model, name)
    forget(layers)
    loaded = load(name)
    assert not loaded.keras_model.compiled
    (note,) = loaded.notes
    assert note.startswith(f"The compiled loss and metrics of {name} could not be restored")
    assert loss in note
    assert "--custom-objects" in note
    assert_same(model, loaded)
    assert load(name, custom_objects=[layers.__name__]).notes == ()


def test_a_lambda_as_loss_is_not_run_but_left_out() -> None:
    model = sequential()
    model.compile(loss=lambda y_true, y_pred: y_true - y_pred)
    saved(model, "model.keras")
    (note,) = load("model.keras").notes
    assert "--unsafe-load" in note
    assert load("model.keras", unsafe=True).notes == ()


def test_a_compile_state_that_keras_refuses_is_left_out_and_said() -> None:
    model = sequential()
    model.compile(loss="mse")
    saved(model, "model.keras")
    edited("model.keras", lambda config: config["compile_config"].update(loss_weights=[1, 2, 3], surprise=1))
    (note,) = load("model.keras").notes
    assert "TypeError" in note
    assert "surprise" in note


def test_warnings_while_loading_reach_nobody(layers: Any, capfd: pytest.CaptureFixture[str]) -> None:
    saved(sequential(layers.Doubling()), "model.keras")
    forget(layers)
    source = Path(f"{layers.__name__}.py")
    noise = "import warnings\nwarnings.warn('at import')\nprint('at import')\n"
    source.write_text(noise + LAYERS.replace("return x * 2", "warnings.warn('in call'); return x * 2"))
    load("model.keras", custom_objects=[layers.__name__])
    assert capfd.readouterr() == ("", "at import\n")


# Files that do not load


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "no/such/model.keras"])
def test_no_such_file(name: str) -> None:
    error = failure(name)
    assert error.where == name
    assert ".keras or .h5" in error.expected
    assert error.received == "no such file"
    assert "Check the name" in error.fix


def test_a_saved_model() -> None:
    sequential().export("exported", verbose=False)
    error = failure("exported")
    assert "SavedModel" in error.received
    assert "Keras 3" in error.received
    assert "model.save('model.keras')" in error.fix
    assert "version that wrote it" in error.fix


def test_a_directory(here: Path) -> None:
    (here / "folder.keras").mkdir()
    assert failure("folder.keras").received == "a directory"
    assert failure(".").received == "a directory"


def test_an_unzipped_model_can_be_zipped_as_the_message_says(here: Path) -> None:
    model = sequential()
    zipfile.ZipFile(saved(model, "model.keras")).extractall("unzipped")
    error = failure("unzipped")
    assert "unzipped" in error.received
    command = error.fix.removeprefix("Zip it: ").replace("python", sys.executable)
    subprocess.run(["bash", "-c", command], check=True, cwd=here)
    assert_same(model, load("zipped.keras"))


@pytest.mark.parametrize("name", ["model.weights.h5", "model.h5"])
def test_weights_without_a_model(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's tensors do not know NumPy's copy=.
        sequential().save_weights("model.weights.h5")
    Path("model.weights.h5").rename(name)
    error = failure(name)
    assert error.where == name
    assert "without a model" in error.received
    assert "weights alone" in error.received
    assert "model.save('model.keras')" in error.fix
    assert "package.module:function" in error.fix


def test_some_other_hdf5_file() -> None:
    with h5py.File("data.h5", "w") as file:
        file["x"] = [1, 2, 3]
    assert "without a model" in failure("data.h5").received


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_off(name: str, kept: float) -> None:
    whole = Path(saved(sequential(), name)).read_bytes()
    Path(name).write_bytes(whole[: int(len(whole) * kept)])
    error = failure(name)
    assert error.where == name
    assert "damaged or cut off" in error.received
    assert "again" in error.fix


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_an_empty_file(name: str) -> None:
    Path(name).touch()
    error = failure(name)
    assert error.received == "an empty file"
    assert "Save the model again" in error.fix


@pytest.mark.parametrize(
    ("name", "what"), [("model.keras", "zip"), ("model.h5", "HDF5"), ("model.bin", "another kind")]
)
def test_a_file_that_is_something_else(name: str, what: str) -> None:
    Path(name).write_text("layers: 3")
    error = failure(name)
    assert what in error.received
    assert "model.save('model.keras')" in error.fix


def test_a_model_by_another_name(here: Path) -> None:
    (here / saved(sequential(), "model.keras")).rename("zip.h5")
    assert "a zip file" in failure("zip.h5").received
    assert "end in .keras" in failure("zip.h5").fix
    (here / saved(sequential(), "model.h5")).rename("hdf5.keras")
    assert "an HDF5 file" in failure("hdf5.keras").received
    assert "end in .h5" in failure("hdf5.keras").fix


def test_a_file_that_may_not_be_read() -> None:
    Path(saved(sequential(), "model.keras")).chmod(0)
    if os.access("model.keras", os.R_OK):
        pytest.skip("root reads everything")
    assert "ermission" in failure("model.keras").received


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("model.keras")
    assert "not a regular file" in failure("model.keras").received


def test_zip_files_that_hold_no_model() -> None:
    with zipfile.ZipFile("model.keras", "w") as archive:
        archive.writestr("readme", "hello")
    assert "without config.json" in failure("model.keras").received
    for content in ("{", "[1]", '"text"', "[" * 100_000):
        with zipfile.ZipFile("model.keras", "w") as archive:
            archive.writestr("config.json", content)
        assert "configuration that is not" in failure("model.keras").received


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
def test_configurations_that_describe_no_model(config: dict[str, Any]) -> None:
    def edit(whole: dict[str, Any]) -> None:
        whole.clear()
        whole.update(config)

    failure(edited(saved(sequential(), "model.keras"), edit))
    failure(edited_hdf5(saved(sequential(), "model.h5"), edit))


def test_weights_that_do_not_fit() -> None:
    saved(sequential(), "model.keras")
    edited("model.keras", lambda config: config["config"]["layers"][1]["config"].update(units=7))
    error = failure("model.keras")
    assert error.where == "model.keras"
    assert "--traceback" in error.fix
    assert error.__cause__ is not None


def test_a_custom_layer_that_nobody_named(layers: Any) -> None:
    saved(sequential(layers.Doubling(), layers.Registered()), "model.keras")
    forget(layers)
    error = failure("model.keras")
    assert error.where == "model.keras"
    assert "custom" in error.expected
    assert error.received == f"Doubling of {layers.__name__}, Registered of {layers.__name__}"
    assert error.fix.startswith("Import the module that defines them, which runs that module")
    assert error.fix.endswith(f" --custom-objects {layers.__name__}.")


def test_a_custom_layer_that_its_module_no_longer_has(layers: Any) -> None:
    saved(sequential(layers.Doubling()), "model.keras")
    forget(layers)
    source = Path(f"{layers.__name__}.py")
    source.write_text(LAYERS.replace("class Doubling", "class Twice"))
    error = failure("model.keras", custom_objects=[layers.__name__])
    assert error.received == f"Doubling of {layers.__name__}"
    assert "--custom-objects package.module" in error.fix


def test_a_custom_layer_in_hdf5_that_nobody_named(layers: Any) -> None:
    saved(sequential(layers.Doubling()), "model.h5")
    forget(layers)
    error = failure("model.h5")
    assert error.received == "Doubling"
    assert error.fix.startswith("Import the module that defines it")
    assert error.fix.endswith(" --custom-objects package.module.")


def test_a_custom_layer_of_a_script(layers: Any) -> None:
    saved(sequential(layers.Doubling()), "model.keras")
    forget(layers)
    edited("model.keras", lambda config: config["config"]["layers"][-1].update(module="__main__"))
    error = failure("model.keras")
    assert error.received == "Doubling of __main__"
    assert error.fix.startswith("Import the module that defines it")
    assert error.fix.endswith(" --custom-objects package.module.")


def test_a_custom_function_that_nobody_named(layers: Any) -> None:
    saved(sequential(keras.layers.Dense(2, activation=layers.squash)), "model.keras")
    forget(layers)
    assert failure("model.keras").received == "squash"
    assert load("model.keras", custom_objects=[f"{layers.__name__}:squash"]).notes == ()


def test_a_model_of_keras_2() -> None:
    """tf.keras 2.13 names modules that Keras 3 does not have."""
    saved(sequential(), "model.keras")
    edited("model.keras", lambda config: config.update(module="keras.src.engine.sequential"))
    edited("model.keras", lambda config: config.update(keras_version="2.13.1"), "metadata.json")
    error = failure("model.keras")
    assert "Keras 2.13.1" in error.received
    assert "keras.src.engine.sequential" in error.received
    assert "Keras 3" in error.fix


def test_an_operation_of_keras_2_in_hdf5() -> None:
    saved(sequential(), "model.h5")
    edited_hdf5("model.h5", lambda config: config["config"]["layers"][1].update(class_name="TFOpLambda"))
    with h5py.File("model.h5", "r+") as file:
        file.attrs["keras_version"] = "2.15.0"
    error = failure("model.h5")
    assert "Keras 2.15.0" in error.received
    assert "TFOpLambda" in error.received


@pytest.mark.parametrize("spec", ["", "a b", "module.py/x", "a:b:c", "-m"])
def test_custom_objects_that_name_nothing(spec: str) -> None:
    saved(sequential(), "model.keras")
    with pytest.raises(UsageError) as caught:
        load("model.keras", custom_objects=[spec])
    assert caught.value.where == "--custom-objects"
    assert "package.module:Name" in caught.value.expected


@pytest.mark.parametrize("thing", [keras.optimizers.SGD(), keras.metrics.MeanSquaredError()])
def test_a_file_that_holds_no_model(thing: Any) -> None:
    saved(sequential(), "model.keras")
    serialized = keras.saving.serialize_keras_object(thing)
    edited("model.keras", lambda config: [config.clear(), config.update(serialized)])
    assert type(thing).__name__ in failure("model.keras").received


def test_custom_objects_that_are_not_there(layers: Any) -> None:
    saved(sequential(), "model.keras")
    error = failure("model.keras", custom_objects=["no_such_module"])
    assert error.where == "--custom-objects no_such_module"
    assert error.received == "no module named no_such_module"
    error = failure("model.keras", custom_objects=[f"{layers.__name__}:Doublng"])
    assert error.fix == "Did you mean Doubling?"


# No file runs code


@pytest.fixture
def marker(here: Path) -> Iterator[Path]:
    """Return a file that hostile code would make; it must not be there in the end."""
    path = here / "marker"
    yield path
    assert not path.exists()


def hostile_lambda(marker: Path) -> Any:
    model = sequential(keras.layers.Lambda(lambda x: (open("marker", "w").close(), x)[1]))
    marker.unlink()
    return model


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_lambda_does_not_run(name: str, marker: Path) -> None:
    saved(hostile_lambda(marker), name)
    error = failure(name)
    assert error.where == name
    assert "no code" in error.expected
    assert "Lambda" in error.received
    assert "--unsafe-load" in error.fix
    assert "trust" in error.fix


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_lambda_runs_when_it_may(name: str, here: Path) -> None:
    saved(hostile_lambda(here / "marker"), name)
    loaded = load(name, unsafe=True)
    loaded.keras_model(np.zeros((1, 3), "float32"))
    assert (here / "marker").exists()


def test_a_lambda_as_keras_2_keeps_it_does_not_run(marker: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        function = config["config"]["layers"][-1]["config"]["function"]["config"]
        config["config"]["layers"][-1]["config"].update(
            function=[function["code"], function["defaults"], None], function_type="lambda"
        )

    saved(hostile_lambda(marker), "model.h5")
    assert "Lambda" in failure(edited_hdf5("model.h5", edit)).received


def test_a_lambda_deep_in_a_model_does_not_run(marker: Path) -> None:
    inner = hostile_lambda(marker)
    tokens = keras.Input((4, 3))
    saved(keras.Model(tokens, keras.layers.TimeDistributed(inner)(tokens)), "model.keras")
    marker.unlink(missing_ok=True)
    assert "Lambda" in failure("model.keras").received


@pytest.mark.parametrize("layer", ["TFSMLayer", "TorchModuleWrapper"])
def test_layers_that_bring_another_program_are_refused(layer: str) -> None:
    """Keras 3.12 loads a TFSMLayer, and its graph can write files."""
    for name, edit in (("model.keras", edited), ("model.h5", edited_hdf5)):
        saved(sequential(), name)
        edit(name, lambda config: config["config"]["layers"][-1].update(class_name=layer, config={"filepath": "x"}))
        error = failure(name)
        assert layer in error.received
        assert "--unsafe-load" in error.fix


@pytest.mark.parametrize(
    ("module_name", "function"), [("os", "system"), ("builtins", "exec"), ("subprocess", "run"), ("keras_cv", "layers")]
)
@pytest.mark.parametrize("unsafe", [False, True])
def test_a_function_of_another_module_is_not_called(
    module_name: str, function: str, unsafe: bool, marker: Path
) -> None:
    hostile = {"module": module_name, "class_name": "function", "config": function, "registered_name": function}
    arguments = {"command": f"touch {marker}"}

    def edit(config: dict[str, Any]) -> None:
        config["config"]["layers"][-1]["config"].update(function=hostile, arguments=arguments)

    for name, edits in (("model.keras", edited), ("model.h5", edited_hdf5)):
        model = sequential(keras.layers.Lambda(keras.activations.relu))
        error = failure(edits(saved(model, name), edit), unsafe=unsafe)
        assert function in error.received
        refused = module_name in ("os", "subprocess") and not unsafe
        assert ("--unsafe-load" if refused else "--custom-objects") in error.fix
        assert "--custom-objects os" not in error.fix
        assert "--custom-objects subprocess" not in error.fix


def test_what_a_file_says_is_not_obeyed_by_a_terminal_or_a_shell() -> None:
    saved(sequential(), "model.keras")
    hostile = {"module": "a; touch marker", "class_name": "\x1b]0;title\x07\u202e" + "x" * 9999}
    edited("model.keras", lambda config: config["config"]["layers"][-1].update(hostile))
    error = failure("model.keras")
    assert str(error).replace("\n", "").isprintable()
    assert len(str(error)) < 1000
    assert error.fix.endswith("--custom-objects package.module.")


@pytest.mark.parametrize(
    ("module_name", "function"),
    [
        ("keras.utils", "get_file"),
        ("keras.applications", "ResNet50"),
        ("keras.models", "save_model"),
        ("keras.layers", "deserialize"),
    ],
)
def test_a_function_of_keras_that_reaches_for_files_is_refused(module_name: str, function: str) -> None:
    hostile = {"module": module_name, "class_name": "function", "config": function, "registered_name": function}
    saved(sequential(keras.layers.Lambda(keras.activations.relu)), "model.keras")
    edited("model.keras", lambda config: config["config"]["layers"][-1]["config"].update(function=hostile))
    error = failure("model.keras")
    assert f"{module_name}.{function}" in error.received
    assert "--unsafe-load" in error.fix


@pytest.mark.parametrize("base", ["keras.layers.Layer", "object"])
def test_a_module_that_only_the_file_names_is_not_imported(base: str, marker: Path, module: Any) -> None:
    hostile = module(f"import keras\nopen({str(marker)!r}, 'w').close()\nclass Layer({base}): pass\n")
    for name, edit in (("model.keras", edited), ("model.h5", edited_hdf5)):
        saved(sequential(), name)
        edit(name, lambda config: config["config"]["layers"][-1].update(module=hostile, class_name="Evil"))
        error = failure(name)
        assert error.received == f"Evil of {hostile}"
        assert hostile not in sys.modules


def test_a_file_beside_the_model_is_not_imported(marker: Path, here: Path) -> None:
    """Keras imports these packages by itself when a file names them."""
    (here / "keras_hub.py").write_text(f"open({str(marker)!r}, 'w').close()")
    saved(sequential(), "model.keras")
    edited("model.keras", lambda config: config["config"]["layers"][-1].update(module="keras_hub", class_name="Layer"))
    assert failure("model.keras").received == "Layer of keras_hub"


def test_weights_that_are_pickled_are_not_unpickled(marker: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return open, (str(marker), "w")

    weights = io.BytesIO()
    np.savez(weights, dense=np.array([Hostile()], dtype=object))
    saved(sequential(), "model.keras")
    with zipfile.ZipFile("model.keras") as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile("model.keras", "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.npz", weights.getvalue())
    failure("model.keras")


def test_named_functions_in_a_lambda_are_no_code() -> None:
    model = sequential(keras.layers.Lambda(keras.activations.relu))
    assert_same(model, load(saved(model, "model.keras")))


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
no_model = lambda: None
text = lambda: "model.keras"
pair = lambda: (build(), 3)
a_class = lambda: keras.Sequential
a_layer = lambda: keras.layers.Dense(2)
def needs(units, *rest, name, **more): return build(units)
def raises(): raise ValueError("units must be positive\\nsee the manual")
def leaves(): raise SystemExit(3)
def interrupted(): raise KeyboardInterrupt
def lazily():
    import of_a_user_beside
    return of_a_user_beside.build()
"""


@pytest.mark.parametrize("name", ["build", "Models.unbuilt", "Subclassed"])
def test_a_function_that_builds_a_model(name: str, module: Any) -> None:
    spec, path = f"{module(BUILD)}:{name}", list(sys.path)
    loaded = load(spec)
    assert (loaded.name, loaded.source, loaded.notes) == (spec, "factory", ())
    assert isinstance(loaded.keras_model, keras.Model)
    assert sys.path == path


def test_a_function_finds_its_neighbours_and_the_custom_objects(module: Any, layers: Any, here: Path) -> None:
    saved(sequential(layers.Doubling()), "model.keras")
    forget(layers)
    (here / "of_a_user_beside.py").write_text(
        "import keras\nbuild = lambda: keras.models.load_model('model.keras')\n", encoding="utf-8"
    )
    assert load(f"{module(BUILD)}:lazily", custom_objects=[layers.__name__]).source == "factory"


@pytest.mark.parametrize(
    ("name", "received", "fix"),
    [
        ("text", "one that returns a value of type str", "keras.models.load_model()"),
        ("biuld", "which has no biuld", "Did you mean build?"),
        ("Models.unbuild", "which has no Models.unbuild", "Did you mean unbuilt?"),
        ("zzz", "which has no zzz", "It has: Models"),
        ("number", "a value of type int, which is no function", "def build()"),
        ("model", "Sequential, which is no function", "def build()"),
        ("needs", "needs(units, name), which needs arguments", "Give them defaults"),
        ("raises", "ValueError: units must be positive see the manual", "--traceback"),
        ("leaves", "SystemExit: 3", "--traceback"),
        ("no_model", "one that returns None", "Return the model"),
        ("pair", "one that returns a value of type tuple", "Only the model"),
        ("a_class", "one that returns a value of type", "Make one: Sequential()"),
        ("a_layer", "one that returns a value of type keras.src.layers.core.dense.Dense", "Only the model"),
    ],
)
def test_functions_that_build_no_model(name: str, received: str, fix: str, module: Any) -> None:
    spec = f"{module(BUILD)}:{name}"
    error = failure(spec)
    assert error.where == spec
    assert error.expected == "a function without arguments that returns a keras.Model"
    assert received in error.received
    assert fix in error.fix


def test_the_traceback_of_a_function_is_kept(module: Any) -> None:
    cause = failure(f"{module(BUILD)}:raises").__cause__
    assert isinstance(cause, ValueError)
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    assert trace.tb_frame.f_code.co_name == "raises"


def test_an_interrupt_passes(module: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(f"{module(BUILD)}:interrupted")


@pytest.mark.parametrize("spec", ["no_such_module:build", "no_such_package.module:build", "json.no_such_module:build"])
def test_a_module_that_does_not_exist(spec: str) -> None:
    error = failure(spec)
    assert error.where == spec
    assert error.received.startswith("no module named ")
    assert "no_such" in error.received
    assert "directory" in error.fix


def test_a_module_named_as_a_file(module: Any) -> None:
    name = module(BUILD)
    error = failure(f"{name}.py:build")
    assert error.received == f"no module named {name}.py"
    assert error.fix == f"Leave .py out: {name}."


@pytest.mark.parametrize(
    ("source", "received", "fix"),
    [
        ("import no_such_dependency.part", "because no_such_dependency is missing", "Install no_such_dependency"),
        ("from json import no_such_name", "ImportError: cannot import name 'no_such_name'", "--traceback"),
        ("def build(:", "SyntaxError: invalid syntax", "--traceback"),
        ("1 / 0", "ZeroDivisionError: division by zero", "--traceback"),
        ("import sys; sys.exit('usage: train')", "SystemExit: usage: train", "--traceback"),
    ],
)
def test_a_module_that_cannot_be_imported(source: str, received: str, fix: str, module: Any) -> None:
    name = module(source)
    error = failure(f"{name}:build")
    assert f"{name}, which cannot be imported" in error.received
    assert received in error.received
    assert fix in error.fix
    assert error.__cause__ is not None


# What the user's code prints


def test_what_a_function_prints_goes_to_stderr(module: Any, capfd: pytest.CaptureFixture[str]) -> None:
    shouting = "import os, sys\nprint('imported')\n" + BUILD.replace(
        "def build(units=2):\n",
        "def build(units=2):\n    print('building'); os.system('echo from a child'); sys.__stdout__.write('late')\n",
    )
    load(f"{module(shouting)}:build")
    said = capfd.readouterr()
    assert said.out == ""
    for text in ("imported", "building", "from a child", "late"):
        assert text in said.err


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
def test_descriptors_may_be_closed(closed: str, out: str, err: set[str]) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "$1" {closed}', "bash", QUIET],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == out
    assert all(text in done.stderr for text in err)


def test_stdout_is_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), quiet_stdout():
        raise ValueError
    print("back")
    os.write(1, b"and its descriptor\n")
    assert capfd.readouterr() == ("back\nand its descriptor\n", "")


# Models handed over, and what a saved one needs


def test_a_model_handed_over() -> None:
    model = sequential()
    one = given(model)
    assert (one.keras_model, one.name, one.source, one.notes) == (model, model.name, "object", ())


@pytest.mark.parametrize(
    ("value", "received", "fix"),
    [
        (None, "None", "Return the model"),
        ("model.keras", "type str", "loads a file"),
        (keras.Sequential, "the class Sequential", "Make one: Sequential()"),
        (keras.layers.Dense, "the class Dense", "Make one"),
        ([1], "type list", "Only the model"),
    ],
)
def test_what_is_handed_over_must_be_a_model(value: object, received: str, fix: str) -> None:
    with pytest.raises(ModelError) as caught:
        given(value)
    assert caught.value.expected == "a keras.Model"
    assert received in caught.value.received
    assert fix in caught.value.fix


def test_a_built_in_model_is_built_elsewhere() -> None:
    with pytest.raises(ValueError, match="built in"):
        load("embedding-lstm")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_what_a_model_just_saved_needs(name: str, layers: Any) -> None:
    dense = keras.layers.Dense(3, activation=layers.squash, kernel_initializer=layers.Offset())
    inner = keras.Sequential([keras.Input((2,)), dense, layers.Registered()])
    model = sequential(inner, layers.Doubling())
    needed = custom_objects_of(model)
    own = {"Doubling", "Registered", "house>Registered", "squash", "Offset"}
    assert set(needed) == own
    saved(model, name)
    forget(layers)
    again = keras.models.load_model(name, custom_objects=needed)
    assert_same(model, UserModel(again, name, "file"))


def test_a_subclassed_model_is_needed_itself(module: Any) -> None:
    model = load(f"{module(BUILD)}:Subclassed").keras_model
    assert custom_objects_of(model) == {"Subclassed": type(model)}
    assert custom_objects_of(sequential()) == {}
