"""A model from ``package.module:function``, which is imported and called, as the user asked."""

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
from maskcli.models.files import TRACEBACK, display, reason

MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
"""A module, or a name in one, as Python writes it."""
FACTORY = re.compile(f"({MODULE}):({MODULE})")
"""``package.module:function``."""
_A_FACTORY = "a function without arguments that returns a keras.Model"


def is_spec(text: str) -> bool:
    """Return whether text is ``package.module:name``."""
    return FACTORY.fullmatch(text) is not None


def named_object(spec: str, what: str) -> Any:
    """Return what ``package.module:name`` names; its module is imported, and its code runs."""
    module_name, _, name = spec.partition(":")
    fault = Fault(spec, what)
    return attribute(imported(module_name, fault), name, fault)


@dataclasses.dataclass(frozen=True)
class Fault:
    """The two parts that all errors of one spec share."""

    where: str
    expected: str

    def __call__(self, received: str, fix: str) -> ModelError:
        """Return the error of what is wrong this time."""
        return ModelError(where=display(self.where), expected=self.expected, received=received, fix=fix)


def built(spec: str, custom: dict[str, Any]) -> Any:
    """Return the model that ``package.module:function`` makes."""
    import keras

    fault = Fault(spec, _A_FACTORY)
    module_name, _, name = spec.partition(":")
    function = attribute(imported(module_name, fault), name, fault)
    if isinstance(function, keras.Model) or not callable(function):
        raise fault(f"{described(function)}, which is no function", "Name one: def build(): return model.")
    if required := _required(function):
        raise fault(
            f"{name}({', '.join(required)}), which needs arguments",
            "Give them defaults, or name a function that calls it with them.",
        )
    try:
        with keras.saving.custom_object_scope(custom), _working_folder_importable():
            model = function()
    except (Exception, SystemExit) as error:
        raise fault(reason(error), TRACEBACK) from error
    if not isinstance(model, keras.Model):
        raise fault(f"one that returns {described(model)}", how_to_get_a_model(model))
    return model


def _required(function: Any) -> list[str]:
    """Return the names of the arguments that a call must give."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # A function of C may not tell.
        return []
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in rest]


def imported(name: str, fault: Fault) -> types.ModuleType:
    """Return a module of the working directory or the environment; its code runs."""
    try:
        with _working_folder_importable():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{name}.".startswith(f"{missing}."):
            raise fault(f"no module named {missing}", _how_to_name_a_module(name)) from error
        raise fault(
            f"{name}, which cannot be imported because {missing or summarize_error(error)} is missing",
            f"Install {missing.partition('.')[0] or 'it'} into the environment of maskcli, or correct the import.",
        ) from error
    except (Exception, SystemExit) as error:
        raise fault(f"{name}, which cannot be imported: {reason(error)}", TRACEBACK) from error


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Put the working directory on sys.path, as ``python -m`` does."""
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove("")


def _how_to_name_a_module(name: str) -> str:
    if name.endswith(".py"):
        return f"Leave .py out: {name.removesuffix('.py')}."
    return "Run maskcli in the directory that holds the module or package, or install it."


def attribute(module: types.ModuleType, name: str, fault: Fault) -> Any:
    """Return what a module has by a name, which may have dots."""
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [one for one in dir(found) if not one.startswith("_")]
            near = difflib.get_close_matches(part, public, n=1)
            fix = f"Did you mean {near[0]}?" if near else f"It has: {_listed(public)}."
            raise fault(f"{module.__name__}, which has no {name}", fix) from None
        except Exception as error:  # A module may load lazily.
            raise fault(f"{module.__name__}.{name}, which cannot be had: {reason(error)}", TRACEBACK) from error
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"


def described(value: object) -> str:
    """Return what a value is that is no model, by its type."""
    kind = type(value)
    if value is None or kind.__module__ == "builtins":
        return "None" if value is None else f"a value of type {kind.__name__}"
    return f"a value of type {kind.__module__}.{kind.__qualname__}"


def how_to_get_a_model(value: object) -> str:
    """Return what to do about a value that is no model."""
    if value is None:
        return "Return the model at the end of the function."
    if isinstance(value, str):
        return "A name is no model: keras.models.load_model() loads a file."
    if isinstance(value, type):
        return f"Make one: {value.__name__}()."
    if is_module_of(type(value).__module__, ("tf_keras",)):
        return "tf_keras is Keras 2: build the model with keras, version 3."
    return "Only the model itself is wanted: a Sequential, a keras.Model or a subclass of it."


def is_module_of(module: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module is of one of the packages."""
    return module.partition(".")[0] in packages
