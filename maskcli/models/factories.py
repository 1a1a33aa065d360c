"""Import ``package.module:name`` for the user, and build a model with such a function."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.errors import ModelError, summarize_error
from maskcli.models.files import TRACEBACK, explain_error, make_displayable

MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
"""A dotted name of a module, or of an object in a module."""
FACTORY = re.compile(f"({MODULE}):({MODULE})")
"""``package.module:function``."""
_EXPECTED = "a zero-argument function that returns a keras.Model"
_MAX_NAMES = 8
"""Maximum number of names in a message."""


@dataclasses.dataclass(frozen=True)
class ErrorBuilder:
    """Build the errors of one spec, which share their place and the expected value."""

    where: str
    expected: str

    def build(self, received: str, fix: str) -> ModelError:
        """Return a ModelError."""
        return ModelError(where=make_displayable(self.where), expected=self.expected, received=received, fix=fix)


def is_spec(text: str) -> bool:
    """Return whether text is ``package.module:name``."""
    return FACTORY.fullmatch(text) is not None


def import_object(spec: str, expected: str) -> Any:
    """Return the object that ``package.module:name`` names; this runs the code of its module.

    Args:
        spec: ``package.module:name``.
        expected: the kind of object, for errors.

    Raises:
        ModelError: if the module cannot be imported, or lacks the name.
    """
    module_name, _, name = spec.partition(":")
    errors = ErrorBuilder(spec, expected)
    return find_attribute(import_user_module(module_name, errors), name, errors)


def build_from_function(spec: str, custom: dict[str, Any]) -> Any:
    """Return the model that ``package.module:function`` builds.

    Args:
        spec: ``package.module:function``.
        custom: custom objects by name, for a function that loads a model.

    Raises:
        ModelError: for a missing or failing function, and for a result that is not a model.
    """
    import keras

    errors = ErrorBuilder(spec, _EXPECTED)
    function = import_object(spec, _EXPECTED)
    if isinstance(function, keras.Model) or not callable(function):
        raise errors.build(
            f"{describe_type(function)}, which is not a function", "Name a function, such as def build(): return model."
        )
    if required := _list_required_arguments(function):
        name = spec.partition(":")[2]
        raise errors.build(
            f"{name}({', '.join(required)}), which has required arguments",
            "Give the arguments default values, or name a function that calls it with values.",
        )
    try:
        with keras.saving.custom_object_scope(custom), _import_from_working_folder():
            model = function()
    except (Exception, SystemExit) as error:
        raise errors.build(explain_error(error), TRACEBACK) from error
    if not isinstance(model, keras.Model):
        raise errors.build(f"a function that returns {describe_type(model)}", suggest_model(model))
    return model


def _list_required_arguments(function: Any) -> list[str]:
    """Return the names of the arguments without a default value."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # Functions written in C may have no signature.
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in variadic
    ]


def import_user_module(name: str, errors: ErrorBuilder) -> types.ModuleType:
    """Import a module from the working directory or the environment; this runs its code.

    Raises:
        ModelError: if the module, or a module that it imports, is missing or fails.
    """
    try:
        with _import_from_working_folder():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{name}.".startswith(f"{missing}."):  # The module itself is missing, or a package that contains it.
            raise errors.build(f"no module named {missing}", _suggest_module(name)) from error
        raise errors.build(
            f"{name}, which cannot be imported because {missing or summarize_error(error)} is missing",
            f"Install {missing.partition('.')[0] or 'it'} into the environment of maskcli, or correct the import.",
        ) from error
    except (Exception, SystemExit) as error:
        raise errors.build(f"{name}, which cannot be imported: {explain_error(error)}", TRACEBACK) from error


@contextlib.contextmanager
def _import_from_working_folder() -> Iterator[None]:
    """Put the working directory on sys.path, as ``python -m`` does."""
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove("")


def _suggest_module(name: str) -> str:
    if name.endswith(".py"):
        return f"Leave .py out: {name.removesuffix('.py')}."
    return "Run maskcli in the directory with the module or package, or install it."


def find_attribute(module: types.ModuleType, name: str, errors: ErrorBuilder) -> Any:
    """Return an object of a module by its name, which may have dots.

    Raises:
        ModelError: if the module lacks the name; similar names are suggested.
    """
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            public = [attribute for attribute in dir(value) if not attribute.startswith("_")]
            similar = difflib.get_close_matches(part, public, n=1)
            fix = f"Did you mean {similar[0]}?" if similar else f"It has: {_list_names(public)}."
            raise errors.build(f"{module.__name__}, which has no {name}", fix) from None
        except Exception as error:  # A module that loads its parts lazily can fail here.
            received = f"{module.__name__}.{name}, which cannot be read: {explain_error(error)}"
            raise errors.build(received, TRACEBACK) from error
    return value


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_NAMES]) or "nothing"
    hidden = len(names) - _MAX_NAMES
    return f"{listed} and {hidden} more" if hidden > 0 else listed


def describe_type(value: object) -> str:
    """Return the type of a value that is not a model, for a message."""
    if value is None:
        return "None"
    kind = type(value)
    if kind.__module__ == "builtins":
        return f"a value of type {kind.__name__}"
    return f"a value of type {kind.__module__}.{kind.__qualname__}"


def suggest_model(value: object) -> str:
    """Return the fix for a value that is not a model."""
    if value is None:
        return "Return the model at the end of the function."
    if isinstance(value, str):
        return "A string is not a model. Load a file with keras.models.load_model()."
    if isinstance(value, type):
        return f"A class is not a model. Make an instance: {value.__name__}()."
    if is_module_of(type(value).__module__, ("tf_keras",)):
        return "tf_keras is Keras 2. Build the model with Keras 3."
    return "Only a model is accepted: a Sequential, a keras.Model or an instance of a subclass."


def is_module_of(module: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module belongs to one of the packages."""
    return module.partition(".")[0] in packages
