"""Judge the classes and functions that a model file names, before Keras opens the file.

No code of a file runs, and nothing is imported or called because a file names it. Keras's own safe mode is not enough:
what it refuses depends on its release, and it lets a file call most functions of Keras. The configuration of a file is
therefore read first, every object in it is judged by the path under which Keras would look it up, and the file is
refused unless all of them are allowed: a class or function of ``maskcli.models.allowlist``, or a custom object.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from maskcli.errors import ModelError
from maskcli.models.allowlist import CODE, DATA, is_allowed, is_allowed_name, is_legacy_function, resolve
from maskcli.models.factories import MODULE, is_module_of
from maskcli.models.files import Saved, display, printable, unreadable

_UNSAFE = "--unsafe-load runs code from the file: only for files you trust."
_FACTORY = "Or name a function that builds the model: --model package.module:function."
_KERAS = ("keras", "tf_keras")
_KERAS_2_ONLY = ("TFOpLambda", "SlicingOpLambda")
_IMPORTED_BY_KERAS = ("keras_hub", "keras_cv", "keras_nlp")
"""Packages that Keras imports when a file names them, unless it finds the name among the custom objects."""
_SPECIAL = DATA | {"__lambda__", "__typespec__"}
_NEVER = ("__typespec__", "TypeSpec", "CompositeTensor")
"""Class names under which Keras looks for classes of TensorFlow, even for a custom object."""
_LOOKUP_LAYERS = ("IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization")


@dataclasses.dataclass(frozen=True)
class NamedObject:
    """A class or function that a configuration names.

    ``name`` and ``module`` are as the file has them, ``module`` is empty without one. ``key`` is what Keras looks for
    among the custom objects.
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


def refuse_code(spec: str, saved: Saved, custom: Collection[str]) -> None:
    """Check everything that the configurations of a file name.

    ``custom`` holds the names of custom objects. Of the objects of ``compile()`` only those that nothing could be
    asked for are refused: a loss that is merely unknown is left out later.

    Raises:
        ModelError: if making the model would run code or resolve anything else than parts of a model.
    """
    for named in named_objects(saved.config):
        if code := _code_in(named):
            raise _refusal(spec, "a model whose file holds no code", code, f"{_UNSAFE} {_FACTORY}")
    for named in [*named_objects(saved.config), *named_objects(saved.compiled)]:
        if trespass := _trespass(named, custom):
            expected = "only layers, activations, initializers, losses, metrics and the like"
            raise _refusal(spec, expected, trespass, f"{_UNSAFE} {_FACTORY}")


def refuse_vocabulary_paths(spec: str, paths: Sequence[str]) -> None:
    """Raise ModelError for a lookup layer that reads its vocabulary from a file outside of the model's file."""
    if paths:
        raise _refusal(
            spec,
            "a model that has its vocabulary inside its file",
            f"a layer that reads the file {paths[0]}",
            f"Save the model again with this Keras, which stores the vocabulary. {_UNSAFE}",
        )


def vocabulary_settings(config: Any) -> list[dict[str, Any]]:
    """Return the settings of the lookup layers whose vocabulary is a path."""
    return [
        named.settings
        for named in named_objects(config)
        if named.name in _LOOKUP_LAYERS and isinstance(named.settings.get("vocabulary"), str)
    ]


def unknown_objects(config: Any, custom: Collection[str], *, unsafe: bool = False) -> list[NamedObject]:
    """Return the classes and functions that neither Keras nor the custom objects have, without repetition.

    With ``unsafe``, whatever names a module of Keras counts as known: Keras decides.
    """
    unknown = {
        named.name: named
        for named in named_objects(config)
        if named.name not in _SPECIAL and not _is_known(named, custom) and not (unsafe and _is_of_keras(named))
    }
    return list(unknown.values())


def unknown_error(spec: str, saved: Saved, unknown: Sequence[NamedObject]) -> ModelError:
    """Return the error for unknown classes; the modules are hints of the file, and may be hostile."""
    outdated = [named for named in unknown if is_module_of(named.module, _KERAS) or named.name in _KERAS_2_ONLY]
    if outdated:
        return outdated_error(spec, saved, f"it has no {outdated[0].path}")
    modules = _modules_to_import(unknown)
    options = " ".join(f"--custom-objects {module}" for module in modules[:8] or ["package.module"])
    them = "it" if len(unknown) == 1 else "them"
    return _refusal(
        spec,
        "layers of Keras, or custom ones that --custom-objects brings",
        ", ".join(f"{named.name} of {named.module}" if named.module else named.name for named in unknown),
        f"Import the module that defines {them}, which runs that module: {options}.",
    )


def outdated_error(spec: str, saved: Saved, reason: str) -> ModelError:
    """Return the error for a file of another release of Keras."""
    release = f"Keras {saved.keras_version}" if saved.keras_version else "another Keras"
    remedy = f"Load it with the Keras that wrote it, {saved.keras_version or 'if you have it'}, and save it from there."
    if saved.by_keras_2:
        remedy = "Build the model again in Keras 3, load the old one's weights into it, and model.save('model.keras')."
    return unreadable(spec, f"one of {release}, which this Keras cannot read ({reason})", remedy)


def named_objects(config: Any) -> Iterator[NamedObject]:
    """Yield every object that a configuration describes, at any depth."""
    pending = [config]
    for part in pending:  # The list grows during the loop.
        if isinstance(part, dict):
            if isinstance(part.get("spec_name"), str):  # Of a __typespec__.
                yield _named_object({**part, "class_name": part["spec_name"]})
            if isinstance(part.get("class_name"), str):
                yield _named_object(part)
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _named_object(part: dict[str, Any]) -> NamedObject:
    name, config = part["class_name"], part.get("config")
    is_function = name == "function" and isinstance(config, str)
    if is_function:
        name = config
    # Functions, and whatever has no module, go by their name only.
    registered = part.get("registered_name", name) if "module" in part and not is_function else name
    key = registered if isinstance(registered, str) else ""
    module = part.get("module")
    if not isinstance(module, str) or module == "builtins":  # Keras looks those up by name.
        module = ""
    return NamedObject(name, module, key, is_function, config)


def _code_in(named: NamedObject) -> str:
    """Describe the code that making this object would run; '' if there is none."""
    if named.name == "__lambda__" or (named.name == "Lambda" and _is_marshalled(named.settings)):
        return "Python code kept in the file (a Lambda)"
    if named.name in CODE:
        return f"a {named.name}, which runs {CODE[named.name]}"
    return ""


def _is_marshalled(settings: dict[str, Any]) -> bool:
    """Check whether a Lambda keeps its function as Keras 2 did: [code, defaults, closure]."""
    function = settings.get("function")
    is_tuple = isinstance(function, dict) and function.get("class_name") == "__tuple__"
    return isinstance(function, list) or is_tuple or settings.get("function_type") == "lambda"


def _trespass(named: NamedObject, custom: Collection[str]) -> str:
    """Describe how an object reaches out of the model; '' if it does not.

    Modules of Keras hold more than models need, and modules of Python never hold a part of one. All other modules
    are harmless, since Keras imports none of them: their objects are unknown at worst.
    """
    for key, text in named.settings.items():
        if key != "name" and isinstance(text, str) and is_legacy_function(text):
            return f"keras.layers.{text}, which is not part of a model"
    label = named.settings.get("name")
    if isinstance(label, str) and ".." in re.split(r"[/\\]", label):  # Keras makes a folder of a layer's name.
        return f"a layer named {label}, which is a path out of the model"
    if named.name in _NEVER or (is_legacy_function(named.name) and not named.is_function):
        return f"{named.path}, which is not part of a model"
    if named.name in _SPECIAL or named.name in CODE or _is_known(named, custom):
        return ""
    if is_module_of(named.module, ("keras",)) and resolve(named.path) is not None:
        return f"{named.path}, which is not part of a model"
    if _is_of_python(named.module):
        return f"a call of {named.path}, which is not part of a model"
    return ""


def _is_known(named: NamedObject, custom: Collection[str]) -> bool:
    """Check that Keras finds a part of a model, or a custom object, under this name."""
    if named.key in custom:
        return True
    if not named.module:
        is_custom_class = not named.is_function and named.name in custom
        return is_custom_class or is_allowed_name(named.name, is_function=named.is_function)
    if is_module_of(named.module, ("keras",)):
        return is_allowed(named.path, is_function=named.is_function)
    if is_module_of(named.module, _IMPORTED_BY_KERAS):
        return False
    # Keras looks these up by name only where it expects an activation or the like: tf.nn.relu is found as relu.
    return named.name in custom or (named.is_function and is_allowed_name(named.name, is_function=True))


def _is_of_keras(named: NamedObject) -> bool:
    return not named.module or is_module_of(named.module, _KERAS)


def _is_of_python(module: str) -> bool:
    return is_module_of(module, tuple(sys.stdlib_module_names))


def _modules_to_import(unknown: Sequence[NamedObject]) -> list[str]:
    """Return the modules that may define unknown classes."""
    modules: dict[str, None] = {}
    for named in unknown:
        package = re.split("[.>]", named.module or named.name)[0]
        if package not in _IMPORTED_BY_KERAS and _may_define(named):
            modules[named.module] = None
        elif package in _IMPORTED_BY_KERAS and package not in sys.modules:
            modules[package] = None  # It registers all of its classes at once.
    return list(modules)


def _may_define(named: NamedObject) -> bool:
    """Check whether to hint at the module of a class; an imported module that lacks the class is not worth it."""
    if not re.fullmatch(MODULE, named.module) or _is_of_python(named.module) or is_module_of(named.module, _KERAS):
        return False
    return named.module not in sys.modules or hasattr(sys.modules[named.module], named.name)


def _refusal(spec: str, expected: str, received: str, fix: str) -> ModelError:
    return ModelError(where=display(spec), expected=expected, received=printable(received), fix=fix)


# The state that compile() left.


def uncompilable(compiled: Any, custom: Collection[str], *, unsafe: bool) -> str:
    """Explain why the state that compile() left cannot be restored; '' if nothing is in the way."""
    if compiled is None:
        return ""
    if not isinstance(compiled, dict):
        return "it is not a JSON object"
    code = "" if unsafe else next(filter(None, map(_code_in, named_objects(compiled))), "")
    if code:
        return f"it has {code}, which only --unsafe-load runs"
    unknown = unknown_objects(compiled, custom, unsafe=unsafe)
    names = [name for name in _names_in(compiled.get("loss")) if name not in custom and not _is_keras_loss(name)]
    unknown += [NamedObject(name, "", name, True) for name in names]
    if not unknown:
        return ""
    module = next(iter(_modules_to_import(unknown)), "package.module")
    return f"{printable(unknown[0].name)} is not of Keras (--custom-objects {module} would bring it)"


def short_names(saved: Saved) -> dict[str, Any]:
    """Return the losses by the short names in the file, such as mse, which Keras cannot read back from HDF5."""
    import keras

    if saved.path.endswith(".keras") or not isinstance(saved.compiled, dict):
        return {}
    names = [name for name in _names_in(saved.compiled.get("loss")) if _is_keras_loss(name)]
    return {name: keras.losses.get(name) for name in names}


def _names_in(loss: Any) -> list[str]:
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
