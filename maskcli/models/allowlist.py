"""The classes and functions of Keras that a model file may name.

Keras joins a module and a name with a dot and looks the result up in its whole public interface. For example, ``keras``
and ``utils.get_file`` together name a function that downloads files. Therefore this module checks the joined path, and
allows only the kinds of objects that models consist of. Nothing is imported for this check: a path in a module that
is not loaded yet is not part of a model.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

DATA_NAMES = frozenset(
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
"""Class names in a file that mark data, such as a tuple, and are not looked up."""
CODE_LAYERS = {
    "TFSMLayer": "a SavedModel's graph",
    "TorchModuleWrapper": "a pickled PyTorch module",
    "JaxLayer": "a JAX function",
    "FlaxLayer": "a Flax module",
}
"""Layers of Keras that run a program of another library, and the kind of program."""
_FUNCTION_NAMESPACES = ("activations", "initializers", "regularizers", "constraints", "losses", "metrics")
_CLASS_NAMESPACES = (
    "layers",
    "models",
    "optimizers",
    "optimizers.schedules",
    "dtype_policies",
    "quantizers",
    *_FUNCTION_NAMESPACES,
)
_LOOKUPS = ("get", "serialize", "deserialize")
"""Functions in these namespaces that find or make objects by name: never part of a model."""


def resolve(path: str) -> Any:
    """Return the object at a dotted path in a loaded module; None if there is none."""
    module, _, name = path.rpartition(".")
    if module not in sys.modules:
        return None
    # Neither getattr nor import: both could run code of a module that loads its parts lazily.
    return vars(sys.modules[module]).get(name)


def is_allowed(path: str, *, is_function: bool) -> bool:
    """Check that a dotted path names a class or function of Keras that a model may consist of."""
    value = resolve(path)
    if is_function and isinstance(value, type):
        return False  # Keras would call the class as a function, with arguments from the file.
    return _is_part_of_model(value)


def is_allowed_name(name: str, *, is_function: bool) -> bool:
    """Check a name without a module, as in HDF5 files."""
    if is_function:
        return name in _get_function_names()
    return name in _get_class_names() or name.lower() in _get_optimizer_names()


def is_operation(name: str) -> bool:
    """Check for an operation of Keras that is not a layer, such as NotEqual, of the calls in functional models."""
    import keras

    modules = [module for path, module in list(sys.modules.items()) if path.startswith("keras.src.ops.")]
    values = [vars(module).get(name) for module in modules]
    return any(isinstance(value, type) and issubclass(value, keras.Operation) for value in values)


def is_legacy_function(text: str) -> bool:
    """Check for a string that Keras's legacy reader replaces with a function of ``keras.layers``.

    The reader replaces such strings in all settings of a layer. Only the lookup functions do harm there; ``dot`` and
    the other merging functions do not.
    """
    return text in _LOOKUPS and inspect.isfunction(resolve(f"keras.src.layers.{text}"))


def _is_part_of_model(value: Any) -> bool:
    if not isinstance(value, type):
        return inspect.isfunction(value) and value in _get_functions()
    # A class of the user is a custom object, even if it was stored in a module of Keras.
    is_of_keras = value.__module__.startswith("keras.")
    return is_of_keras and value.__name__ not in CODE_LAYERS and issubclass(value, _get_base_classes())


@functools.cache
def _get_base_classes() -> tuple[type, ...]:
    """Return the classes of which all parts of a model are subclasses."""
    import keras

    # Other parts that a file can describe: they share no base class, but have a from_config.
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
def _get_functions() -> frozenset[Any]:
    """Return the activations, losses, metrics and other functions that a model may use."""
    return frozenset(
        value
        for namespace in _FUNCTION_NAMESPACES
        for name, value in vars(sys.modules[f"keras.{namespace}"]).items()
        if inspect.isfunction(value) and name not in _LOOKUPS
    )


@functools.cache
def _get_function_names() -> frozenset[str]:
    """Return their own names and the names under which Keras exports them."""
    names = {function.__name__ for function in _get_functions()}
    aliases = {
        name
        for namespace in _FUNCTION_NAMESPACES
        for name, value in vars(sys.modules[f"keras.{namespace}"]).items()
        if inspect.isfunction(value) and value in _get_functions()
    }
    return frozenset(names | aliases)


@functools.cache
def _get_class_names() -> frozenset[str]:
    exported = {
        name
        for namespace in _CLASS_NAMESPACES
        for name, value in vars(sys.modules[f"keras.{namespace}"]).items()
        if isinstance(value, type) and _is_part_of_model(value)
    }
    return frozenset(exported | {"Functional"})  # Keras writes this name, but does not export it.


@functools.cache
def _get_optimizer_names() -> frozenset[str]:
    """Return the names of optimizers in lower case: Keras ignores their case."""
    return frozenset(name.lower() for name in vars(sys.modules["keras.optimizers"]) if name in _get_class_names())
