"""Find ``train.py:name`` and ``package.module:name`` of the user, and build a model with such a function."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from maskcli.errors import UsageError
from maskcli.models.build_sites import record_build_sites
from maskcli.models.files import TRACEBACK, explain_error
from maskcli.models.model_args import bind_model_args, refuse_model_args
from maskcli.models.runtime import seed_generators
from maskcli.models.scripts import (
    ErrorBuilder,
    allow_user_imports,
    check_module,
    check_script,
    import_script,
    import_user_module,
)

MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
"""A dotted name of a module, or of an object in a module."""
FACTORY = re.compile(f"({MODULE}):({MODULE})")
"""``package.module:name``."""
SCRIPT = re.compile(rf"(.+\.py):({MODULE})", re.DOTALL)
"""``path/to/train.py:name``."""
EXPECTED = "a function that returns a keras.Model, or a keras.Model"
_MAX_NAMES = 8
"""Maximum number of names in a message."""


def is_spec(text: str) -> bool:
    """Return whether text is ``train.py:name`` or ``package.module:name``."""
    return SCRIPT.fullmatch(text) is not None or FACTORY.fullmatch(text) is not None


def import_object(spec: str, expected: str) -> Any:
    """Return the object that a spec names; this runs the code of its script or module.

    Args:
        spec: ``train.py:name`` or ``package.module:name``.
        expected: the kind of object, for errors.

    Raises:
        ModelError: if the module cannot be imported, or lacks the name.
    """
    home, _, name = spec.rpartition(":")
    errors = ErrorBuilder(spec, expected)
    return find_attribute(import_home(home, errors), name, errors)


def check_home(spec: str) -> None:
    """Raise ModelError if the script or module of a spec does not exist; neither is run, and Keras is not imported."""
    errors = ErrorBuilder(spec, EXPECTED)
    home = spec.rpartition(":")[0]
    check_home_exists(home, errors)


def check_home_exists(home: str, errors: ErrorBuilder) -> None:
    """Raise ModelError if ``train.py``, or the outermost package of ``package.module``, does not exist."""
    if home.endswith(".py"):
        check_script(Path(home), errors)
    else:
        check_module(home, errors)


def import_home(home: str, errors: ErrorBuilder) -> types.ModuleType:
    """Import ``train.py`` or ``package.module``.

    Raises:
        ModelError: if it cannot be imported.
    """
    return import_script(Path(home), errors) if home.endswith(".py") else import_user_module(home, errors)


def build_from_function(
    spec: str, custom: dict[str, Any], model_args: Mapping[str, Any], seed: int
) -> tuple[Any, Literal["factory", "object"]]:
    """Return the model that a spec names or that its function builds, and which of the two it is.

    Args:
        spec: ``train.py:name`` or ``package.module:name``.
        custom: custom objects by name, for a function that loads a model.
        model_args: the arguments of the function, by name.
        seed: of all random generators when the module is imported, and again when the function is called.

    Raises:
        UsageError: for arguments that the function does not have.
        ModelError: for a missing or failing function, and for a result that is not a model.
    """
    import keras

    errors = ErrorBuilder(spec, EXPECTED)
    seed_generators(seed)
    with record_build_sites():
        function = import_object(spec, EXPECTED)
    if isinstance(function, keras.Model):
        refuse_model_args(model_args, f"{spec}, which is a model, not a function")
        return function, "object"
    if not callable(function):
        raise errors.build(
            f"{describe_type(function)}, which is neither", "Name a function, such as def build(): return model."
        )
    home, _, name = spec.rpartition(":")
    args, kwargs = bind_model_args(function, name, model_args, errors)
    seed_generators(seed)
    script = Path(home) if home.endswith(".py") else None
    try:
        with keras.saving.custom_object_scope(custom), allow_user_imports(script), record_build_sites():
            model = function(*args, **kwargs)
    except (Exception, SystemExit) as error:
        raise errors.build(explain_error(error), TRACEBACK) from error
    if not isinstance(model, keras.Model):
        raise errors.build(f"a function that returns {describe_type(model)}", suggest_model(model))
    return model, "factory"


def suggest_colon(spec: str) -> str | None:
    """Return ``models:tagger`` for ``models.tagger`` if there is such a module; None for other text."""
    home, _, name = spec.rpartition(".")
    if not FACTORY.fullmatch(f"{home}:{name}"):
        return None
    folder = Path(*home.split("."))
    exists = folder.with_suffix(".py").is_file() or (folder / "__init__.py").is_file()
    return f"{home}:{name}" if exists else None


def make_script_error(path: str) -> UsageError:
    """Return the error of a script without the name of a function; its functions are read, not run."""
    names = _list_functions(Path(path))
    return UsageError(
        where="--model",
        expected=f"{path}:NAME, a function in the script that returns a Keras model, or a model",
        received=f"{path} without a name",
        fix=f"It has: {_list_names(names)}."
        if names
        else f"Add a function that returns the model: {path}:build_model.",
    )


def _list_functions(path: Path) -> list[str]:
    """Return the public functions and variables at the top of a script; none for a script that is not readable."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assigned = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    names = [*functions, *(target.id for target in assigned if isinstance(target, ast.Name))]
    return [name for name in dict.fromkeys(names) if not name.startswith("_") and not name.isupper()]


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
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', 'without a name')}"
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
