"""No file runs code: Keras never opens a file with a hostile configuration."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
from keras.src.api_export import REGISTERED_NAMES_TO_OBJS
from keras.src.saving import object_registration, serialization_lib

from maskcli.errors import ModelError
from maskcli.models.load import load
from maskcli.models.runtime import load_keras
from tests.models import hostile

SUFFIXES = pytest.mark.parametrize("suffix", [".keras", ".h5"])
KINDS = (
    keras.Operation,
    keras.Initializer,
    keras.Regularizer,
    keras.constraints.Constraint,
    keras.Loss,
    keras.Metric,
    keras.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.DTypePolicy,
    keras.random.SeedGenerator,
)
"""Base classes of the parts of a model; on purpose not imported from the guard, which these tests check."""
RUN_CODE = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")


def refusal(spec: str, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(spec, **options)
    assert caught.value.exit_code == 4
    return caught.value


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if Keras opens a file."""
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras opened the file"))


# Functions of Keras, by dotted paths

GADGETS = {
    "keras.datasets.imdb.load_data": {"path": "imdb.npz"},
    "keras.utils.get_file": {"fname": "x", "origin": "http://127.0.0.1:9/x"},
    "keras.utils.set_random_seed": {"inputs": 1},
    "keras.config.set_floatx": {"inputs": "float64"},
    "keras.config.enable_unsafe_deserialization": {"inputs": 1},
    "keras.ops.ones": {"inputs": [100, 100]},
    "keras.saving.get_custom_objects": {"inputs": "x"},
    "keras.saving.load_model": {"inputs": "other.keras"},
    "keras.layers.TFSMLayer": {"inputs": "folder"},
    "keras.layers.Dense": {"inputs": 3},
    "keras.layers.deserialize": {"inputs": {}},
    "keras.activations.get": {"inputs": "relu"},
    "keras.losses.deserialize": {"inputs": {}},
    "keras.metrics.serialize": {"inputs": {}},
    "keras.utils.plot_model": {"inputs": 1},
    "keras.applications.ResNet50": {"inputs": 1},
    "keras.callbacks.CSVLogger": {"inputs": "log.csv"},
}


def spellings(path: str) -> Iterator[dict[str, Any]]:
    """Yield the ways to split a path into a module and a name."""
    parts = path.split(".")
    for at in range(1, len(parts)):
        yield hostile.function(".".join(parts[:at]), ".".join(parts[at:]))


@SUFFIXES
@pytest.mark.parametrize("path", GADGETS)
@pytest.mark.usefixtures("unopened")
def test_guard_refuses_function_of_keras(path: str, suffix: str, tmp_path: Path) -> None:
    for target in spellings(path):
        edit = hostile.add_layer(hostile.lambda_layer(target, GADGETS[path]))
        error = refusal(hostile.write_model(tmp_path / f"model{suffix}", edit))
        assert path in error.received or path.rpartition(".")[2] in error.received
        assert "--unsafe-load" in error.fix


POSITIONS: dict[str, Callable[[dict[str, Any]], hostile.Edit]] = {
    "activation": lambda target: hostile.set_dense(activation=target),
    "initializer": lambda target: hostile.set_dense(kernel_initializer=target),
    "regularizer": lambda target: hostile.set_dense(bias_regularizer=target),
    "dtype": lambda target: hostile.set_dense(dtype=target),
    "nested": lambda target: hostile.set_dense(anything={"deep": [[{"down": target}]]}),
    "argument": lambda target: (
        lambda config: config["config"]["layers"][-1].update(inbound_nodes=[{"args": [target], "kwargs": {}}])
    ),
    "build": lambda target: lambda config: config["config"]["layers"][-1].update(build_config={"input_shape": target}),
    "nested compile": lambda target: hostile.add_layer(
        {
            "module": "keras",
            "class_name": "Sequential",
            "config": {"name": "s", "layers": []},
            "name": "s",
            "compile_config": {"loss": target},
            "inbound_nodes": [],
        }
    ),
    "output shape": lambda target: hostile.add_layer(
        {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"name": "f", "function": "relu", "output_shape": target, "mask": target},
            "name": "f",
            "inbound_nodes": [],
        }
    ),
}


@SUFFIXES
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.usefixtures("unopened")
def test_guard_checks_every_position(position: str, suffix: str, tmp_path: Path) -> None:
    for target in (
        hostile.function("keras", "utils.get_file"),
        hostile.function("os", "system"),
        {"module": "keras", "class_name": "utils.Progbar", "config": {"target": 1}},
        {"class_name": "__lambda__", "config": {"code": "", "defaults": None, "closure": None}},
        {"class_name": "__typespec__", "module": "keras", "spec_name": "utils.Progbar", "config": []},
    ):
        error = refusal(hostile.write_model(tmp_path / f"model{suffix}", POSITIONS[position](target)))
        assert any(name in error.received for name in ("get_file", "system", "Progbar", "Lambda")), error.received


@pytest.mark.parametrize("part", ["optimizer", "loss", "metrics", "weighted_metrics"])
@pytest.mark.usefixtures("unopened")
def test_guard_checks_compile_config(part: str, tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["compile_config"] = {part: hostile.function("keras", "datasets.mnist.load_data")}

    assert "keras.datasets.mnist.load_data" in refusal(hostile.write_model(tmp_path / "model.keras", edit)).received


@pytest.mark.parametrize("module", ["keras_hub.evil", "keras.src.backend.torch.layer"])
def test_load_leaves_out_compile_config_that_is_list(module: str, tmp_path: Path) -> None:
    """Keras would import both modules for the objects in such a list."""
    part = {"module": module, "class_name": "X", "config": {}, "registered_name": None}
    path = hostile.write_model(tmp_path / "model.keras", lambda config: config.update(compile_config=[part]))
    with watch_load() as resolved:
        loaded = load(path)
    assert all(map(is_part_of_model, resolved))
    assert "not a JSON object" in loaded.notes[0]
    assert module not in sys.modules


@SUFFIXES
@pytest.mark.usefixtures("unopened")
def test_guard_refuses_duplicate_key(suffix: str, tmp_path: Path) -> None:
    """Python keeps the last value of a key; Keras's reader of HDF5 also acts on earlier values."""
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path)
    hidden = '"x": {"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []}, "x": 1, '
    if suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            text = archive.read("config.json").decode()
        hostile.replace_member(path, "config.json", text.replace("{", "{" + hidden, 1).encode())
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = file.attrs["model_config"].replace("{", "{" + hidden, 1)
    assert "the same key twice" in refusal(str(path)).received


@SUFFIXES
def test_version_in_message_is_printable(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    hostile.write_model(path, lambda config: config["config"]["layers"][-1].update(class_name="TFOpLambda"))
    if suffix == ".keras":
        hostile.edit_member(path, "metadata.json", lambda about: about.update(keras_version="2.\x1b[2J"))
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["keras_version"] = "9.\x1b[2J"
    error = refusal(str(path))
    assert "[2J" in f"{error.received} {error.fix}"
    assert all(text.isprintable() for text in (error.received, error.fix, error.expected, error.where))


@pytest.mark.parametrize("text", ["deserialize", "serialize"])
@SUFFIXES
@pytest.mark.usefixtures("unopened")
def test_guard_refuses_setting_that_becomes_function(text: str, suffix: str, tmp_path: Path) -> None:
    """Keras's reader of HDF5 replaces any setting by the function of keras.layers of that name."""
    path = hostile.write_model(tmp_path / f"model{suffix}", hostile.set_dense(activation=text))
    assert f"keras.layers.{text}" in refusal(path).received


@SUFFIXES
@pytest.mark.parametrize("name", ["deserialize", "Input", "serialization_lib", "TypeSpec", "CompositeTensor"])
@pytest.mark.usefixtures("unopened")
def test_guard_checks_class_without_module(name: str, suffix: str, tmp_path: Path) -> None:
    """Keras's legacy reader takes any name in keras.layers for a class, and calls the object with the settings."""
    layer = {"class_name": name, "config": {"config": {}}, "name": "f", "inbound_nodes": []}
    assert name in refusal(hostile.write_model(tmp_path / f"model{suffix}", hostile.add_layer(layer))).received


@SUFFIXES
@pytest.mark.parametrize("label", ["..", "../x", "a/../../b", "a\\..\\b"])
@pytest.mark.usefixtures("unopened")
def test_guard_refuses_layer_name_that_is_path(label: str, suffix: str, tmp_path: Path) -> None:
    path = hostile.write_model(tmp_path / f"model{suffix}", hostile.set_dense(name=label))
    assert "a path out of the model" in refusal(path).received


@pytest.mark.parametrize("package", ["keras_hub", "keras_cv", "keras_nlp"])
@pytest.mark.parametrize("name", ["Evil", "relu"])
@pytest.mark.usefixtures("unopened")
def test_guard_stops_imports_by_keras(package: str, name: str, tmp_path: Path) -> None:
    for target in (hostile.function(package, name), {"module": package, "class_name": name, "config": {}}):
        path = hostile.write_model(tmp_path / "model.keras", hostile.set_dense(activation=target))
        assert name in refusal(path).received
        assert package not in sys.modules


def test_unsafe_load_skips_guard(tmp_path: Path) -> None:
    """The guard refuses a call of keras.ops.ones; Keras's safe mode does not."""
    edit = hostile.add_layer(hostile.lambda_layer(hostile.function("keras.ops", "ones"), {"inputs": [2, 3]}))
    path = hostile.write_model(tmp_path / "model.keras", edit)
    assert "keras.ops.ones" in refusal(path).received
    with contextlib.suppress(ModelError):  # Keras 3.12 cannot place the layer.
        load(path, unsafe=True)


# Vocabularies

LOOKUPS = {
    "StringLookup": ("string", {"vocabulary": ["the", "cat"]}),
    "IntegerLookup": ("int64", {"vocabulary": [3, 5]}),
    "TextVectorization": ("string", {"vocabulary": ["the", "cat"]}),
}


def lookup_model(name: str) -> Any:
    dtype, settings = LOOKUPS[name]
    inputs = keras.Input((1,), dtype=dtype)
    return keras.Model(inputs, getattr(keras.layers, name)(**settings)(inputs))


@SUFFIXES
@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("path", ["secret.txt", "/etc/hostname", "gs://example/none"])
@pytest.mark.usefixtures("unopened")
def test_guard_refuses_vocabulary_outside_file(name: str, path: str, suffix: str, tmp_path: Path) -> None:
    file = hostile.write_model(tmp_path / f"model{suffix}", hostile.set_dense(vocabulary=path), lookup_model(name))
    error = refusal(file)
    assert path in error.received
    assert "vocabulary inside its file" in error.expected


@pytest.mark.usefixtures("unopened")
def test_guard_refuses_vocabulary_in_compile_config(tmp_path: Path) -> None:
    layer = {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "secret.txt"}}
    state = {"optimizer": "adam", "loss": "mse", "metrics": [layer]}
    path = hostile.write_model(tmp_path / "model.keras", lambda config: config.update(compile_config=state))
    assert "secret.txt" in refusal(path).received


def test_load_reads_vocabulary_inside_file(tmp_path: Path) -> None:
    """Before 3.12, Keras stored the vocabulary and left the path of the original in the configuration."""
    words = tmp_path / "words.txt"
    words.write_text("the\ncat\nsat\n")
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, keras.layers.StringLookup(vocabulary=str(words))(inputs))
    path = hostile.write_model(tmp_path / "model.keras", hostile.set_dense(vocabulary=str(words)), model)
    words.unlink()
    loaded = load(path)
    assert loaded.notes == ()
    sentence = np.array([["cat"], ["dog"]])
    np.testing.assert_array_equal(
        np.asarray(loaded.keras_model(keras.ops.convert_to_tensor(sentence))),
        np.asarray(model(keras.ops.convert_to_tensor(sentence))),
    )


# Custom objects

REGISTERING = """
import keras
from keras.saving import register_keras_serializable

@register_keras_serializable("package")
class Allowed(keras.layers.Layer):
    def call(self, x):
        return x

@register_keras_serializable("package")
class Hidden(keras.layers.Layer):
    def call(self, x):
        return x

class _Private(keras.layers.Layer):
    def call(self, x):
        return x

register_keras_serializable("package")(_Private)
"""


@pytest.fixture
def registering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write a module that registers layers with Keras, and forget it in the end."""
    name = f"registering_{random.randrange(10**9)}"
    (tmp_path / f"{name}.py").write_text(REGISTERING)
    monkeypatch.chdir(tmp_path)
    registry = dict(keras.saving.get_custom_objects())
    yield name
    sys.modules.pop(name, None)
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(registry)


@pytest.fixture
def importing(registering: str, tmp_path: Path) -> Iterator[str]:
    """Write a module that imports a registered layer, and has functions of its own."""
    name = f"importing_{random.randrange(10**9)}"
    (tmp_path / f"{name}.py").write_text(
        f"from {registering} import Allowed, register_keras_serializable\ndef public(x): return x\ndef _private(x): return x\n"
    )
    yield name
    sys.modules.pop(name, None)


def custom_layer(name: str, module: str, registered: str = "") -> hostile.Edit:
    """Return an edit that puts a custom layer in the place of the Dense layer."""
    layer = {
        "module": module,
        "class_name": name,
        "config": {"name": "dense"},
        "registered_name": registered or f"package>{name}",
    }
    return lambda config: config["config"]["layers"][-1].update(layer)


def test_custom_objects_module_allows_its_registered(registering: str, tmp_path: Path) -> None:
    for name in ("Allowed", "Hidden", "_Private"):
        path = hostile.write_model(tmp_path / "model.keras", custom_layer(name, registering))
        assert name in [type(layer).__name__ for layer in load(path, [registering]).keras_model.layers]


def test_custom_objects_name_allows_only_that_object(registering: str, tmp_path: Path) -> None:
    allowed, hidden = (
        hostile.write_model(tmp_path / f"{name}.keras", custom_layer(name, registering))
        for name in ("Allowed", "Hidden")
    )
    before = dict(keras.saving.get_custom_objects())
    assert load(allowed, [f"{registering}:Allowed"]).source == "file"
    assert f"Hidden of {registering}" in refusal(hidden, custom_objects=[f"{registering}:Allowed"]).received
    assert keras.saving.get_custom_objects().keys() > before.keys()  # The import's registrations stay in the process.
    assert load(hidden, [registering]).source == "file"


def test_custom_objects_module_allows_its_imports(registering: str, importing: str, tmp_path: Path) -> None:
    path = hostile.write_model(tmp_path / "model.keras", custom_layer("Allowed", registering))
    assert "Allowed" in [type(layer).__name__ for layer in load(path, [importing]).keras_model.layers]


def test_custom_objects_allow_functions_of_the_module(importing: str, tmp_path: Path) -> None:
    """Functions that the module only imports cannot be called by a file."""
    for name in ("public", "_private", "register_keras_serializable"):
        edit = hostile.set_dense(activation=hostile.function(importing, name))
        path = hostile.write_model(tmp_path / "model.keras", edit)
        if name != "register_keras_serializable":
            assert load(path, [importing]).source == "file"
        else:
            assert name in refusal(path, custom_objects=[importing]).received


def test_custom_objects_hide_other_registrations(registering: str, tmp_path: Path) -> None:
    """Keras prefers the registered name, even of a layer that has a path of its own."""
    path = hostile.write_model(tmp_path / "model.keras", custom_layer("Dense", "keras.layers", "package>Hidden"))
    with pytest.raises(ModelError):
        load(path, [f"{registering}:Allowed"])
    loaded = load(path, [registering])
    assert "Hidden" in [type(layer).__name__ for layer in loaded.keras_model.layers]


def test_registered_name_allows_no_path_of_keras(registering: str, tmp_path: Path) -> None:
    """The name of a custom class does not allow the class of Keras with the same name."""
    edit = custom_layer("Progbar", "keras.utils", registered="Allowed2")
    path = hostile.write_model(tmp_path / "model.keras", edit)
    with pytest.raises(ModelError, match="Progbar"):
        load(path, [f"{registering}:Allowed"])


DISGUISES: dict[str, dict[str, Any]] = {
    "of the legacy reader": {"class_name": "deserialize", "config": {"config": {}}},
    "of the legacy reader, in a module": {"class_name": "deserialize", "module": "x", "config": {"config": {}}},
    "of TensorFlow": {"class_name": "TypeSpec", "module": "x", "type_spec": "tf.TensorSpec", "serialized": []},
    "of TensorFlow, with tensors": {"class_name": "CompositeTensor", "module": "x", "spec": {}, "tensors": []},
    "without a module": {"class_name": "Input", "config": {"shape": [3]}},
}


@SUFFIXES
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("is_setting", [True, False])
def test_registered_name_is_not_a_disguise(
    disguise: str, is_setting: bool, suffix: str, registering: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras finds these by class name, regardless of the registered name."""
    part = {**DISGUISES[disguise], "registered_name": "package>Allowed", "__passive_serialization__": True}
    edit = hostile.add_layer({**part, "name": "f", "inbound_nodes": []})
    path = hostile.write_model(tmp_path / f"model{suffix}", hostile.set_dense(x=part) if is_setting else edit)
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras opened the file"))
    assert part["class_name"] in refusal(path, custom_objects=[registering]).received


@pytest.mark.parametrize("registered", [None, 3, ["x"]])
def test_invalid_registered_name_allows_no_path(
    registered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a custom class does not allow a class of Keras with the same name that Keras finds by its path."""
    name = f"lending_{random.randrange(10**9)}"
    (tmp_path / f"{name}.py").write_text("import keras\nclass Progbar(keras.layers.Layer): pass\n")
    monkeypatch.chdir(tmp_path)
    layer = {"module": "keras.utils", "class_name": "Progbar", "config": {"target": 1}, "registered_name": registered}
    path = hostile.write_model(tmp_path / "model.keras", hostile.set_dense(activation=layer))
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras opened the file"))
    assert "keras.utils.Progbar" in refusal(path, custom_objects=[name]).received
    sys.modules.pop(name)


# Random configurations: Keras finds only parts of models, and nothing is opened, imported or changed

TARGETS = sorted(REGISTERED_NAMES_TO_OBJS)
PYTHON = ["os.system", "builtins.exec", "subprocess.run", "pickle.loads", "shutil.rmtree", "importlib.import_module"]
WRONG_SPELLINGS = [
    " keras",
    "keras ",
    "Keras",
    "keras.src",
    "keras.",
    ".keras",
    "keras..utils",
    "tf_keras",
    "keras.api",
]


@st.composite
def configurations(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Draw a description of an object, and its position in the configuration."""
    path = draw(st.sampled_from(TARGETS) | st.sampled_from(PYTHON))
    parts = path.split(".")
    at = draw(st.integers(1, len(parts) - 1))
    module, name = ".".join(parts[:at]), ".".join(parts[at:])
    module = draw(st.sampled_from([module, module, module, *WRONG_SPELLINGS, None, "builtins", ""]))
    registered = draw(st.sampled_from([name, None, "package>Thing", "relu", "Dense"]))
    config = draw(st.sampled_from([{}, {"name": "x"}, {"fname": "canary", "origin": "http://127.0.0.1:9/x"}, None]))
    if draw(st.booleans()):
        part = {"module": module, "class_name": "function", "config": name, "registered_name": registered}
    else:
        part = {"module": module, "class_name": name, "config": config, "registered_name": registered}
    if draw(st.booleans()):
        part.pop("registered_name")
    if draw(st.integers(0, 3)) == 0:
        part.pop("module")
    position = draw(st.sampled_from(["lambda", *POSITIONS]))
    return part, position


@functools.cache
def plain_files(folder: str) -> dict[str, str]:
    return {suffix: hostile.write_model(Path(folder) / f"plain{suffix}") for suffix in (".keras", ".h5")}


class Canary:
    """Records the events of a load with an audit hook of Python. The hook cannot be removed, only switched off."""

    watching = False
    events: ClassVar[list[str]] = []

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        """Record events that a harmless load does not cause."""
        if not cls.watching:
            return
        if event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "socket.connect",
            "shutil.rmtree",
            "pickle.find_class",
        ):
            cls.events.append(f"{event}{arguments[:2]}")
        elif event == "open" and isinstance(arguments[0], str) and arguments[1] not in (None, "r", "rb", "rt"):
            cls.events.append(f"open {arguments[0]} for writing")
        elif event == "import" and arguments[0] not in sys.modules:
            cls.events.append(f"import {arguments[0]}")


sys.addaudithook(Canary.hook)


@contextlib.contextmanager
def watch_load() -> Iterator[list[Any]]:
    """Yield a list of the objects that Keras finds by name, and check the effects of the load in the end."""
    resolved: list[Any] = []
    real, real_registered = serialization_lib._retrieve_class_or_fn, object_registration.get_registered_object

    def retrieve(*args: Any, **options: Any) -> Any:
        resolved.append(real(*args, **options))
        return resolved[-1]

    def registered(name: Any, custom_objects: Any = None, module_objects: Any = None) -> Any:
        value = real_registered(name, custom_objects, module_objects)
        resolved.extend([value] if value is not None else [])
        return value

    load_keras()  # Sets variables of the environment, the first time.
    state = random.getstate()
    environment, numbers = dict(os.environ), np.random.get_state()[1].tolist()
    settings = (keras.config.floatx(), keras.config.epsilon(), keras.config.is_traceback_filtering_enabled())
    serialization_lib._retrieve_class_or_fn, object_registration.get_registered_object = retrieve, registered
    Canary.events, Canary.watching = [], True
    try:
        yield resolved
    finally:
        Canary.watching = False
        serialization_lib._retrieve_class_or_fn, object_registration.get_registered_object = real, real_registered
    assert Canary.events == []
    assert dict(os.environ) == environment
    assert settings == (keras.config.floatx(), keras.config.epsilon(), keras.config.is_traceback_filtering_enabled())
    assert serialization_lib.in_safe_mode() is None
    assert np.random.get_state()[1].tolist() == numbers
    random.setstate(state)


def is_part_of_model(thing: Any) -> bool:
    """Check an object by its class or module only."""
    if isinstance(thing, type):
        return issubclass(thing, KINDS) and thing.__name__ not in RUN_CODE
    module = getattr(thing, "__module__", "")
    homes = ("keras.src.activations", "keras.src.losses", "keras.src.metrics", "keras.src.legacy.losses")
    return module.startswith(homes) and thing.__name__ not in ("get", "serialize", "deserialize")


def place(part: dict[str, Any], position: str) -> hostile.Edit:
    if position == "lambda":
        return hostile.add_layer(hostile.lambda_layer(part))
    return POSITIONS[position](part)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(configuration=configurations())
def test_load_resolves_only_parts_of_models(suffix: str, configuration: tuple[dict[str, Any], str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = hostile.write_model(Path(folder) / f"model{suffix}", place(*configuration))
        with watch_load() as resolved:
            with contextlib.suppress(ModelError):
                load(path)
            outside = [thing for thing in resolved if not is_part_of_model(thing)]
        assert outside == []
        assert [file.name for file in Path(folder).iterdir()] == [f"model{suffix}"]


def test_watch_load_notices_violations(tmp_path: Path) -> None:
    """Without the guard, the same checks notice a function that runs."""
    edit = hostile.add_layer(hostile.lambda_layer(hostile.function("keras.config", "set_epsilon"), {"inputs": 1e-7}))
    path = hostile.write_model(tmp_path / "model.keras", edit)
    with watch_load() as resolved, contextlib.suppress(ModelError):
        load(path, unsafe=True)
    assert not all(map(is_part_of_model, resolved))
    with pytest.raises(AssertionError), watch_load():
        (tmp_path / "written").write_text("x")
