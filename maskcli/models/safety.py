"""What the configuration of a file may name, and what is refused.

By default no code of a file runs: ``refuse_code`` reads the file's configuration before Keras does, because what
Keras's own safe mode refuses depends on its release (3.12 lets a TFSMLayer pass). What ``--custom-objects`` names is
imported, as the user asked.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.errors import ModelError, UsageError
from maskcli.models.factories import MODULE, Fault, attribute, imported, is_module_of
from maskcli.models.files import Saved, display, printable

_CUSTOM = re.compile(f"({MODULE})(?::({MODULE}))?")
_UNSAFE = "--unsafe-load runs code from the file: only for files you trust."
_FOREIGN_CODE = {"TFSMLayer": "a SavedModel's graph", "TorchModuleWrapper": "a pickled PyTorch module"}
_LOOKED_UP = ("layers", "activations", "initializers", "regularizers", "constraints", "losses", "metrics", "optimizers")
_HARMLESS = {"", "src", *_LOOKED_UP, "ops", "random"}
_KERAS_2_ONLY = ("TFOpLambda", "SlicingOpLambda")


@dataclasses.dataclass(frozen=True)
class Stranger:
    """A class or function that a file names and that neither Keras nor the custom objects have."""

    name: str
    module: str


# Code that comes with a file.


def refuse_code(spec: str, config: Any) -> None:
    """Raise ModelError where making the layers of ``config`` would run code that comes with the file."""
    for part in _objects(config):
        if what := _code_in(part):
            raise ModelError(
                where=display(spec),
                expected="a model whose file holds no code",
                received=printable(what),
                fix=f"{_UNSAFE} Or name a function that builds the model: --model package.module:function.",
            )


def _code_in(part: dict[str, Any]) -> str:
    """Return what code making this object would run, or ''."""
    name, module = _name(part), _module(part)
    settings = part.get("config")
    function = settings.get("function") if isinstance(settings, dict) else None
    if name == "__lambda__" or (name == "Lambda" and _is_marshalled(function)):
        return "Python code kept in the file (a Lambda)"
    if name in _FOREIGN_CODE:
        return f"a {name}, which runs {_FOREIGN_CODE[name]}"
    namespace = module.partition(".")[2].partition(".")[0]
    is_function = part["class_name"] == "function" or name[:1].islower() or namespace == "applications"
    reaches_out = name in ("deserialize", "get") or (namespace not in _HARMLESS and name != "preprocess_input")
    if _is_of_python(module) or (is_function and reaches_out and is_module_of(module, ("keras",))):
        return f"a call of {module}.{name}, which is no layer"
    return ""


def _is_marshalled(function: Any) -> bool:
    """Return whether a Lambda's function is kept as Keras 2 keeps code: [code, defaults, closure]."""
    return isinstance(function, list) or (isinstance(function, dict) and function.get("class_name") == "__tuple__")


def _is_of_python(module: str) -> bool:
    """Return whether a module is Python's own: subprocess.run in a Lambda layer runs when the model does."""
    return module != "builtins" and is_module_of(module, tuple(sys.stdlib_module_names))


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every object that a configuration describes, however deep."""
    pending = [config]
    for part in pending:  # It grows meanwhile.
        if isinstance(part, dict):
            if isinstance(part.get("class_name"), str):
                yield part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _name(part: dict[str, Any]) -> str:
    is_function = part["class_name"] == "function" and isinstance(part.get("config"), str)
    return str(part["config"] if is_function else part["class_name"])


def _module(part: dict[str, Any]) -> str:
    module = part.get("module")
    return module if isinstance(module, str) else ""


# Classes and functions that a file names.


def strangers_in(config: Any, known: dict[str, Any]) -> list[Stranger]:
    """Return the classes and functions of ``config`` that nobody has, each once.

    One with a module is certain: Keras looks for it nowhere but in the custom objects, which is what keeps a file from
    having modules imported. One without may yet be found by Keras.
    """
    found = {}
    for part in _objects(config):
        name, module = _name(part), _module(part)
        registered = name if part["class_name"] == "function" else str(part.get("registered_name") or name)
        if name in known or registered in known or is_module_of(module, ("keras", "tf_keras")):
            continue
        if module in ("", "builtins"):
            if name.startswith("__") or name in _KERAS_2_ONLY or _is_keras_name(name):
                continue
            module = ""
        found[name] = Stranger(name, module)
    return list(found.values())


def _is_keras_name(name: str) -> bool:
    import keras

    return any(hasattr(place, name) for place in (keras, *(getattr(keras, one) for one in _LOOKED_UP)))


def unknown(spec: str, strangers: Sequence[Stranger]) -> ModelError:
    """Return what to say of classes that nobody has; the modules that the file names are hints, and may be hostile."""
    modules = dict.fromkeys(one.module for one in strangers if _may_have(one))
    options = " ".join(f"--custom-objects {module}" for module in modules or ["package.module"])
    it = "it" if len(strangers) == 1 else "them"
    return ModelError(
        where=display(spec),
        expected="layers of Keras, or custom ones that --custom-objects brings",
        received=printable(", ".join(f"{one.name} of {one.module}" if one.module else one.name for one in strangers)),
        fix=f"Import the module that defines {it}, which runs that module: {options}.",
    )


def _may_have(one: Stranger) -> bool:
    """Return whether to hint at the module that the file names; one that is imported and lacks the class is none."""
    if not re.fullmatch(MODULE, one.module) or _is_of_python(one.module):
        return False
    return one.module not in sys.modules or hasattr(sys.modules[one.module], one.name)


# What compile() left.


def not_restorable(compiled: Any, known: dict[str, Any], unsafe: bool) -> str:
    """Return why the state that compile() left cannot be restored, as far as the file tells, or ''."""
    if not isinstance(compiled, dict):
        return ""
    if not unsafe and (code := next(filter(None, map(_code_in, _objects(compiled))), "")):
        return f"it has {code}, which only --unsafe-load runs"
    strangers = strangers_in(compiled, known)
    strangers += [
        Stranger(name, "") for name in _texts(compiled.get("loss")) if name not in known and not _is_keras_loss(name)
    ]
    if not strangers:
        return ""
    module = next((one.module for one in strangers if _may_have(one)), "package.module")
    return f"{printable(strangers[0].name)} is not of Keras (--custom-objects {module} would bring it)"


def short_names(saved: Saved) -> dict[str, Any]:
    """Return the losses that the file calls by a short name such as mse, which Keras cannot read back from HDF5."""
    import keras

    if saved.path.endswith(".keras") or not isinstance(saved.compiled, dict):
        return {}
    names = [name for name in _texts(saved.compiled.get("loss")) if _is_keras_loss(name)]
    return {name: keras.losses.get(name) for name in names}


def _texts(loss: Any) -> list[str]:
    """Return the names in a loss: one, or a list or dict of them; a serialized object has none."""
    pending = [loss]
    for part in pending:
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


# Custom objects.


def custom_objects_from(specs: Sequence[str]) -> dict[str, Any]:
    """Return what the modules define, by name; what they register with Keras, Keras knows by itself."""
    found: dict[str, Any] = {}
    for spec in specs:
        match = _CUSTOM.fullmatch(spec)
        if not match:
            raise UsageError(
                where="--custom-objects",
                expected="package.module or package.module:Name",
                received=repr(display(spec)),
                fix="Name a module as an import statement does, without .py.",
            )
        fault = Fault(f"--custom-objects {spec}", "a module that defines custom layers or functions")
        module = imported(match[1], fault)
        if match[2]:
            one = attribute(module, match[2], fault)
            found[getattr(one, "__name__", match[2])] = one
        else:
            found.update(_defined_in(module))
    return found


def _defined_in(module: types.ModuleType) -> dict[str, Any]:
    """Return the functions a module defines and the Keras classes that it, or a module below it, does."""
    import keras

    kinds = (
        keras.layers.Layer,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
    )
    found: dict[str, Any] = {}
    for name, one in vars(module).items():
        if isinstance(one, type) and issubclass(one, kinds):
            if f"{one.__module__}.".startswith(f"{module.__name__}."):
                found[one.__name__] = one
        elif isinstance(one, types.FunctionType) and not name.startswith("_") and one.__module__ == module.__name__:
            found[name] = one
    return found


def custom_objects_of(model: Any) -> dict[str, Any]:
    """Return what re-loading ``model`` needs: its layers' classes, and what they hold, that Keras does not define.

    Each is there by its own name and by the name it is registered by.
    """
    import keras

    found = {}
    for layer in model._flatten_layers():
        for one in (type(layer), *_held_by(layer)):
            if not is_module_of(str(one.__module__), ("keras", "builtins")):
                found[one.__name__] = found[keras.saving.get_registered_name(one)] = one
    return found


def _held_by(layer: Any) -> Iterator[Any]:
    """Yield the functions that a layer has, an activation for one, and the classes of its initializers and the like."""
    for value in vars(layer).values():
        if isinstance(value, types.FunctionType):
            yield value
        elif hasattr(value, "get_config"):
            yield type(value)
