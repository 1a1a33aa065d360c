"""The classes and functions of Keras that a model file may name.

Keras joins a module and a name with a dot and looks the result up in its whole public interface, where
``keras`` and ``utils.get_file`` together are a function that downloads files. Therefore the joined path is judged, and
only the kinds of objects that a model consists of are allowed. Nothing is imported to find out: a path whose module is
not loaded yet is not part of a model.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

DATA = frozenset(
    (
        "__keras_tensor__",
        "__tensor__",
        "__numpy__",
        "__bytes__",
        "__ellipsis__",
        "__slice__",
        "__tuple__",
        "TensorShape",
    )
)
"""Class names that Keras reads as data rather than as a class."""
CODE = {
    "TFSMLayer": "a SavedModel's graph",
    "TorchModuleWrapper": "a pickled PyTorch module",
    "JaxLayer": "a JAX function",
    "FlaxLayer": "a Flax module",
}
"""Layers of Keras that run a program of another library."""
_FUNCTIONS = ("activations", "initializers", "regularizers", "constraints", "losses", "metrics")
_CLASSES = ("layers", "models", "optimizers", "optimizers.schedules", "dtype_policies", "quantizers", *_FUNCTIONS)
_LOOKUPS = ("get", "serialize", "deserialize")


def resolve(path: str) -> Any:
    """Return the object that a dotted path names in a loaded module, or None."""
    module, _, name = path.rpartition(".")
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def is_allowed(path: str, *, is_function: bool) -> bool:
    """Check that a dotted path names a class or function of Keras that a model may consist of.

    A class where a function is expected would be called with the arguments in the file.
    """
    thing = resolve(path)
    if is_function and isinstance(thing, type):
        return False
    return _is_part_of_a_model(thing)


def is_allowed_name(name: str, *, is_function: bool) -> bool:
    """Check a name without a module, as HDF5 files have it."""
    if is_function:
        return name in _function_names()
    return name in _class_names() or name.lower() in _optimizer_names()


def is_legacy_function(text: str) -> bool:
    """Check for a string that Keras's legacy reader replaces by a function of ``keras.layers``.

    It does so with every setting of a layer; ``dot`` and the other merging functions are harmless there.
    """
    return text in _LOOKUPS and inspect.isfunction(resolve(f"keras.src.layers.{text}"))


def _is_part_of_a_model(thing: Any) -> bool:
    if isinstance(thing, type):
        # A class that the user defined is a custom object, even where a module of Keras holds it.
        return thing.__module__.startswith("keras.") and thing.__name__ not in CODE and issubclass(thing, _kinds())
    return inspect.isfunction(thing) and thing in _functions()


@functools.cache
def _kinds() -> tuple[type, ...]:
    import keras

    settings = (
        value
        for namespace in ("quantizers", "optimizers", "distillation")
        for value in vars(sys.modules[f"keras.{namespace}"]).values()
        if isinstance(value, type) and hasattr(value, "from_config")
    )
    return (
        keras.Operation,  # Layers and models are operations too.
        keras.Initializer,
        keras.Regularizer,
        keras.constraints.Constraint,
        keras.Loss,
        keras.Metric,
        keras.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.DTypePolicy,
        keras.dtype_policies.DTypePolicyMap,
        keras.random.SeedGenerator,
        keras.InputSpec,
        *settings,
    )


@functools.cache
def _functions() -> frozenset[Any]:
    return frozenset(
        value
        for namespace in _FUNCTIONS
        for name, value in vars(sys.modules[f"keras.{namespace}"]).items()
        if inspect.isfunction(value) and name not in _LOOKUPS
    )


@functools.cache
def _function_names() -> frozenset[str]:
    names = {function.__name__ for function in _functions()}
    aliases = {
        name
        for namespace in _FUNCTIONS
        for name, value in vars(sys.modules[f"keras.{namespace}"]).items()
        if inspect.isfunction(value) and value in _functions()
    }
    return frozenset(names | aliases)


@functools.cache
def _class_names() -> frozenset[str]:
    exported = {
        name
        for namespace in _CLASSES
        for name, value in vars(sys.modules[f"keras.{namespace}"]).items()
        if isinstance(value, type) and _is_part_of_a_model(value)
    }
    return frozenset(exported | {"Functional"})


@functools.cache
def _optimizer_names() -> frozenset[str]:
    """Return the names that Keras looks up in lower case."""
    return frozenset(name.lower() for name in vars(sys.modules["keras.optimizers"]) if name in _class_names())
