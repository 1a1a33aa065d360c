"""Check the classes and functions that a model file names, before Keras opens the file.

No code from a file runs, and nothing is imported or called because a file names it. Keras's own safe mode is not
enough: its checks depend on the release of Keras, and it lets a file call most functions of Keras. Therefore maskcli
reads the configuration of a file first, and checks every object in it under the path where Keras would look it up. The
file is refused unless all objects are allowed: each must be a class or function of ``maskcli.models.allowlist``, or a
custom object.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from maskcli.errors import ModelError
from maskcli.models.allowlist import (
    CODE_LAYERS,
    DATA_NAMES,
    is_allowed,
    is_allowed_name,
    is_legacy_function,
    is_operation,
    resolve,
)
from maskcli.models.factories import MODULE, is_module_of
from maskcli.models.files import ModelFile, make_displayable, make_unreadable_error, sanitize_text

_FIX = (
    "--unsafe-load runs code from the file: only for files you trust. "
    "Or name a function that builds the model: --model package.module:function."
)
_KERAS = ("keras", "tf_keras")
_KERAS_2_ONLY = ("TFOpLambda", "SlicingOpLambda")
_IMPORTED_BY_KERAS = ("keras_hub", "keras_cv", "keras_nlp")
"""Packages that Keras imports when a file names them, unless it finds the name among the custom objects."""
_SPECIAL_NAMES = DATA_NAMES | {"__lambda__", "__typespec__"}
_TENSORFLOW_NAMES = ("__typespec__", "TypeSpec", "CompositeTensor")
"""Class names that Keras looks up in TensorFlow, even if a custom object has the same name."""
_LOOKUP_LAYERS = ("IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization")
_MAX_MODULES = 8
"""Maximum number of modules that a message suggests."""


@dataclasses.dataclass(frozen=True)
class NamedObject:
    """A class or function that a configuration names.

    Attributes:
        name: as in the file.
        module: as in the file; empty without a module.
        key: the name under which Keras looks among the custom objects.
        is_function: whether the file describes a function, not an object of a class.
        config: the arguments, as in the file.
    """

    name: str
    module: str
    key: str
    is_function: bool
    config: Any = dataclasses.field(repr=False, compare=False, default=None)

    @property
    def path(self) -> str:
        """The dotted path under which Keras looks the object up."""
        return f"{self.module}.{self.name}" if self.module else self.name

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the object; empty if the file has none."""
        return self.config if isinstance(self.config, dict) else {}

    def __str__(self) -> str:
        """Return the name and the module, for a message."""
        return f"{self.name} of {self.module}" if self.module else self.name


def refuse_code(spec: str, file: ModelFile, custom: Collection[str]) -> None:
    """Check all objects in the configurations of a file.

    Args:
        spec: the path, for errors.
        file: the configurations. An object of ``compile()`` that is unknown or has code is not refused here: the model
            is then loaded without its loss and metrics.
        custom: the names of custom objects.

    Raises:
        ModelError: if Keras would run code from the file, or look up anything except parts of a model.
    """
    for entry in find_objects(file.config):
        if code := _describe_code(entry):
            raise _make_refusal(spec, "a model file that contains no code", code, _FIX)
    for entry in [*find_objects(file.config), *find_objects(file.compile_config)]:
        if violation := _describe_violation(entry, custom):
            expected = "only layers, activations, initializers, losses, metrics and other parts of a model"
            raise _make_refusal(spec, expected, violation, _FIX)


def refuse_vocabulary_paths(spec: str, paths: Sequence[str]) -> None:
    """Raise ModelError for lookup layers that read their vocabulary from a file outside of the model's file."""
    if paths:
        raise _make_refusal(
            spec,
            "a model that has its vocabulary inside its file",
            f"a layer that reads the file {paths[0]}",
            "Save the model again with this Keras, which stores the vocabulary. "
            "--unsafe-load reads the file: only for models you trust.",
        )


def find_vocabulary_settings(config: Any) -> list[dict[str, Any]]:
    """Return the settings of the lookup layers whose vocabulary is a path."""
    return [
        entry.settings
        for entry in find_objects(config)
        if entry.name in _LOOKUP_LAYERS and isinstance(entry.settings.get("vocabulary"), str)
    ]


def find_unknown_objects(config: Any, custom: Collection[str], *, unsafe: bool = False) -> list[NamedObject]:
    """Return the classes and functions that neither Keras nor the custom objects have, without repetition.

    With ``unsafe``, all objects in modules of Keras count as known: Keras raises its own error for missing ones.
    """
    unknown = {
        entry.name: entry
        for entry in find_objects(config)
        if entry.name not in _SPECIAL_NAMES and not _is_known(entry, custom) and not (unsafe and _is_of_keras(entry))
    }
    return list(unknown.values())


def make_unknown_error(spec: str, file: ModelFile, unknown: Sequence[NamedObject]) -> ModelError:
    """Return the ModelError for unknown classes and functions."""
    outdated = [entry for entry in unknown if is_module_of(entry.module, _KERAS) or entry.name in _KERAS_2_ONLY]
    if outdated:
        return make_outdated_error(spec, file, f"it has no {outdated[0].path}")
    if operations := [name for name in find_operations(file) if name in {entry.name for entry in unknown}]:
        return make_operation_error(spec, operations)
    # The names of the modules come from the file: they are only hints, and may be hostile.
    modules = _suggest_modules(unknown)[:_MAX_MODULES]
    home = "module" if modules else "script"  # Classes of a training script are in no module.
    options = " ".join(f"--custom-objects {module}" for module in modules or ["train.py"])
    pronoun = "it" if len(unknown) == 1 else "them"
    return _make_refusal(
        spec,
        "layers of Keras, or custom layers that --custom-objects imports",
        ", ".join(str(entry) for entry in unknown),
        f"Import the {home} that defines {pronoun}, which runs that {home}: {options}.",
    )


def find_operations(file: ModelFile) -> list[str]:
    """Return the names of the operations in an HDF5 file that may be no layers; a .keras file stores them differently.

    Some operations have the name of a layer, such as Multiply.
    """
    if file.path.endswith(".keras"):
        return []
    return [entry.name for entry in find_objects(file.config) if not entry.module and is_operation(entry.name)]


def make_operation_error(spec: str, operations: Sequence[str]) -> ModelError:
    """Return the ModelError for an HDF5 file with operations, such as the one that computes a mask."""
    origin = ""
    if "NotEqual" in operations:
        origin = "; an Embedding with mask_zero=True or a Masking layer adds it where a later layer uses the mask"
    name = operations[0] if "NotEqual" not in operations else "NotEqual"
    return make_unreadable_error(
        spec,
        f"an HDF5 file with the operation {name}, which Keras writes to such files but cannot read back{origin}",
        "Save the model with model.save('model.keras'). If only this file is left: --model train.py:function "
        f"--weights {shlex.quote(make_displayable(spec))}.",
    )


def make_outdated_error(spec: str, file: ModelFile, reason: str) -> ModelError:
    """Return the ModelError for a file of another release of Keras."""
    release = f"Keras {file.keras_version}" if file.keras_version else "another release of Keras"
    if file.is_by_keras_2:
        fix = "Build the model again in Keras 3, load the weights of the old model, and model.save('model.keras')."
    elif file.keras_version:
        fix = f"Load the file with Keras {file.keras_version}, and save the model there again."
    else:
        fix = "Load the file with the release of Keras that wrote it, and save the model there again."
    return make_unreadable_error(spec, f"a file of {release}, which this Keras cannot read ({reason})", fix)


def find_objects(config: Any) -> Iterator[NamedObject]:
    """Yield every object that a configuration describes, at any depth."""
    # A loop, not a recursion: the file decides how deep its objects are nested.
    pending = [config]
    for part in pending:  # The list grows during the loop.
        if isinstance(part, dict):
            if isinstance(part.get("spec_name"), str):  # A __typespec__ has its class name here.
                yield _parse_object({**part, "class_name": part["spec_name"]})
            if isinstance(part.get("class_name"), str):
                yield _parse_object(part)
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _parse_object(part: dict[str, Any]) -> NamedObject:
    name, config = part["class_name"], part.get("config")
    is_function = name == "function" and isinstance(config, str)
    if is_function:
        name = config
    # Keras looks for a class with a module by its registered name, and for all other objects by their name.
    registered = part.get("registered_name", name) if "module" in part and not is_function else name
    key = registered if isinstance(registered, str) else ""
    module = part.get("module")
    if not isinstance(module, str) or module == "builtins":  # Keras looks these up by name.
        module = ""
    return NamedObject(name, module, key, is_function, config)


def _describe_code(entry: NamedObject) -> str:
    """Describe the code that making this object would run; '' if there is none."""
    if entry.name == "__lambda__" or (entry.name == "Lambda" and _is_marshalled(entry.settings)):
        return "Python code stored in the file (a Lambda)"
    if entry.name in CODE_LAYERS:
        return f"a {entry.name}, which runs {CODE_LAYERS[entry.name]}"
    return ""


def _is_marshalled(settings: dict[str, Any]) -> bool:
    """Check whether a Lambda stores its function in the format of Keras 2: [code, defaults, closure]."""
    function = settings.get("function")
    is_tuple = isinstance(function, dict) and function.get("class_name") == "__tuple__"
    return isinstance(function, list) or is_tuple


def _describe_violation(entry: NamedObject, custom: Collection[str]) -> str:
    """Describe how an object reaches outside of the model; '' if it does not.

    Three cases differ. Modules of Keras contain more than parts of models: the function that downloads files, for one.
    Modules of Python never contain a part of a model. Keras imports no other modules, so their objects do no harm: at
    most they are unknown.
    """
    for key, text in entry.settings.items():
        if key != "name" and isinstance(text, str) and is_legacy_function(text):
            return f"keras.layers.{text}, which is not part of a model"
    label = entry.settings.get("name")
    if isinstance(label, str) and ".." in re.split(r"[/\\]", label):  # Keras makes a folder with the name of a layer.
        return f"the layer name {label}, which is a path out of the model"
    if entry.name in _TENSORFLOW_NAMES or (is_legacy_function(entry.name) and not entry.is_function):
        return f"{entry.path}, which is not part of a model"
    if entry.name in _SPECIAL_NAMES or entry.name in CODE_LAYERS or _is_known(entry, custom):
        return ""
    if is_module_of(entry.module, ("keras",)) and resolve(entry.path) is not None:
        return f"{entry.path}, which is not part of a model"
    if _is_of_python(entry.module):
        return f"a call of {entry.path}, which is not part of a model"
    return ""


def _is_known(entry: NamedObject, custom: Collection[str]) -> bool:
    """Check that Keras finds a part of a model, or a custom object, for this entry."""
    if entry.key in custom:
        return True
    if not entry.module:
        is_custom_class = not entry.is_function and entry.name in custom
        return is_custom_class or is_allowed_name(entry.name, is_function=entry.is_function)
    if is_module_of(entry.module, ("keras",)):
        return is_allowed(entry.path, is_function=entry.is_function)
    if is_module_of(entry.module, _IMPORTED_BY_KERAS):
        return False
    # In all other modules, Keras looks a function up by its name only: it finds tf.nn.relu as relu.
    return entry.name in custom or (entry.is_function and is_allowed_name(entry.name, is_function=True))


def _is_of_keras(entry: NamedObject) -> bool:
    return not entry.module or is_module_of(entry.module, _KERAS)


def _is_of_python(module: str) -> bool:
    return is_module_of(module, tuple(sys.stdlib_module_names))


def _suggest_modules(unknown: Sequence[NamedObject]) -> list[str]:
    """Return the modules that may define unknown objects."""
    modules: dict[str, None] = {}  # A set that keeps the order.
    for entry in unknown:
        package = re.split("[.>]", entry.module or entry.name)[0]
        if package not in _IMPORTED_BY_KERAS and _may_define(entry):
            modules[entry.module] = None
        elif package in _IMPORTED_BY_KERAS and package not in sys.modules:
            modules[package] = None  # Its import registers all of its classes.
    return list(modules)


def _may_define(entry: NamedObject) -> bool:
    """Check whether the module of an object may define it: not if it is imported and lacks the object."""
    if not re.fullmatch(MODULE, entry.module) or _is_of_python(entry.module) or is_module_of(entry.module, _KERAS):
        return False
    return entry.module not in sys.modules or hasattr(sys.modules[entry.module], entry.name)


def _make_refusal(spec: str, expected: str, received: str, fix: str) -> ModelError:
    return ModelError(where=make_displayable(spec), expected=expected, received=sanitize_text(received), fix=fix)


# The settings of compile()


def explain_uncompilable(compile_config: Any, custom: Collection[str], *, unsafe: bool) -> str:
    """Explain why the settings of ``compile()`` cannot be restored; '' if they can."""
    if compile_config is None:
        return ""
    if not isinstance(compile_config, dict):
        return "the settings of compile() are not a JSON object"
    codes = [] if unsafe else [code for entry in find_objects(compile_config) if (code := _describe_code(entry))]
    if codes:
        return f"the settings of compile() contain {codes[0]}, which runs only with --unsafe-load"
    unknown = find_unknown_objects(compile_config, custom, unsafe=unsafe)
    names = _list_loss_names(compile_config.get("loss"))
    unknown += [NamedObject(name, "", name, True) for name in names if name not in custom and not _is_keras_loss(name)]
    if not unknown:
        return ""
    modules = _suggest_modules(unknown) or ["package.module"]
    return f"{sanitize_text(unknown[0].name)} is not part of Keras (--custom-objects {modules[0]} imports it)"


def look_up_short_names(file: ModelFile) -> dict[str, Any]:
    """Return the losses for the short names in an HDF5 file, such as mse, which Keras cannot read back."""
    import keras

    if file.path.endswith(".keras") or not isinstance(file.compile_config, dict):
        return {}
    names = [name for name in _list_loss_names(file.compile_config.get("loss")) if _is_keras_loss(name)]
    return {name: keras.losses.get(name) for name in names}


def _list_loss_names(loss: Any) -> list[str]:
    """Return the names in a loss: a name, or a list or dict of names; a serialized object has none."""
    pending = [loss]
    for part in pending:  # The list grows during the loop.
        if isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, dict) and "class_name" not in part:
            pending.extend(part.values())
    return [part for part in pending if isinstance(part, str)]


def _is_keras_loss(name: str) -> bool:
    import keras

    try:
        return callable(keras.losses.get(name))
    except (TypeError, ValueError):
        return False
