"""Give the functions of Lambda layers in a model file the names that they use.

Keras stores only the code of such a function. Names like ``ops``, which a script imported or defined, are missing when
Keras loads it, and its first call raises NameError.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

USUAL_NAMES: Mapping[str, Sequence[str]] = {
    "K": ("keras._tf_keras.keras.backend", "keras.backend"),  # With the functions of Keras 2, such as K.sum.
    "activations": ("keras.activations",),
    "jnp": ("jax.numpy",),
    "keras": ("keras",),
    "layers": ("keras.layers",),
    "math": ("math",),
    "np": ("numpy",),
    "numpy": ("numpy",),
    "ops": ("keras.ops",),
    "tensorflow": ("tensorflow",),
    "tf": ("tensorflow",),
    "torch": ("torch",),
}
"""The modules that scripts import under a name; the first one that exists is taken."""


@contextlib.contextmanager
def supply_names(modules: Sequence[Mapping[str, Any]] = ()) -> Iterator[None]:
    """Let Lambda layers that Keras reads use the names in some modules, and the usual ones of libraries."""
    from keras.src.utils import python_utils

    load = python_utils.func_load

    def load_function(code: Any, defaults: Any = None, closure: Any = None, globs: Any = None) -> Any:
        function = load(code, defaults, closure, globs)
        if globs is not None:
            return function
        names = {**function.__globals__, **_find_names(function.__code__, modules)}
        return types.FunctionType(
            function.__code__, names, function.__name__, function.__defaults__, function.__closure__
        )

    python_utils.func_load = load_function
    try:
        yield
    finally:
        python_utils.func_load = load


def list_lambda_names(model: Any) -> list[Mapping[str, Any]]:
    """Return the names that the functions of the Lambda layers in a model may use, by function."""
    import keras

    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Lambda)]
    return [getattr(layer.function, "__globals__", {}) for layer in layers]


def _find_names(code: types.CodeType, modules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of the names that code uses, as far as they exist."""
    values = {}
    for name in _list_names(code):
        module = next((module for module in modules if name in module), None)
        value = _import_usual(name) if module is None else module[name]
        if value is not None and not hasattr(builtins, name):
            values[name] = value
    return values


def _list_names(code: types.CodeType) -> Iterator[str]:
    """Yield the global names and attributes of code and of the functions in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _list_names(constant)


def _import_usual(name: str) -> types.ModuleType | None:
    """Return the module that scripts import under a name; None without one."""
    for path in USUAL_NAMES.get(name, ()):
        with contextlib.suppress(ImportError):
            return importlib.import_module(path)
    return None


def find_missing_name(error: BaseException | None) -> str | None:
    """Return the name that code lacked when an error was raised; None if the error has another cause."""
    while error is not None:
        if isinstance(error, NameError):
            # Keras raises a copy of an error, which holds only its message.
            message = re.search(r"name '(\w+)' is not defined", str(error))
            return error.name or (message and message[1])
        error = error.__cause__ or error.__context__
    return None
