"""The user's own classes and functions, which ``--custom-objects`` names or a saved model needs."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskcli.errors import UsageError
from maskcli.models.factories import MODULE, Fault, attribute, imported, is_module_of
from maskcli.models.files import display

_SPEC = re.compile(f"({MODULE})(?::({MODULE}))?")


@dataclasses.dataclass(frozen=True)
class CustomObjects:
    """What a model file may use besides Keras: ``defined`` by name, ``registered`` by Keras's registered name."""

    defined: Mapping[str, Any]
    registered: Mapping[str, Any]

    @property
    def names(self) -> frozenset[str]:
        """Return all names under which Keras finds one of them."""
        return frozenset((*self.defined, *self.registered))

    @contextlib.contextmanager
    def only_these_registered(self) -> Iterator[None]:
        """Hide from Keras whatever else was registered by the modules that were imported."""
        import keras

        registry = keras.saving.get_custom_objects()
        everything = dict(registry)
        registry.clear()
        registry.update(self.registered)
        try:
            yield
        finally:
            registered_meanwhile = dict(registry)
            registry.clear()
            registry.update(everything | registered_meanwhile)


def custom_objects_from(specs: Sequence[str]) -> CustomObjects:
    """Import the modules of ``--custom-objects`` and return their classes and functions.

    ``package.module`` means everything that the module, or one below it, defines or registers;
    ``package.module:Name`` for that object only. What the calling process registered otherwise is kept.

    Raises:
        UsageError: for a spec that is neither of the two.
        ModelError: for a module that cannot be imported, or that lacks the name.
    """
    import keras

    registry = keras.saving.get_custom_objects()
    defined: dict[str, Any] = {}
    registered = dict(registry)
    allowed: dict[str, Any] = {}
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if not match:
            raise UsageError(
                where="--custom-objects",
                expected="package.module or package.module:Name",
                received=repr(display(spec)),
                fix="Name a module as an import statement does, without .py.",
            )
        fault = Fault(f"--custom-objects {spec}", "a module that defines custom layers or functions")
        before = dict(registry)
        module = imported(match[1], fault)
        new = {name: value for name, value in registry.items() if name not in before}
        registered = {name: value for name, value in registered.items() if not _is_defined_in(value, module)}
        if match[2]:
            value = attribute(module, match[2], fault)
            defined[getattr(value, "__name__", match[2])] = value
            allowed |= {name: entry for name, entry in registry.items() if entry is value}
        else:
            defined |= _defined_in(module)
            allowed |= {name: value for name, value in registry.items() if _is_defined_in(value, module)}
            held = list(vars(module).values())
            allowed |= {name: value for name, value in new.items() if any(value is entry for entry in held)}
    return CustomObjects(defined, registered | allowed)


def _defined_in(module: types.ModuleType) -> dict[str, Any]:
    """Return the functions a module defines, and the Keras classes that it or a module below it does, by name."""
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
    defined: dict[str, Any] = {}
    for name, value in vars(module).items():
        if isinstance(value, type) and issubclass(value, kinds):
            if _is_defined_in(value, module):
                defined[value.__name__] = value
        elif isinstance(value, types.FunctionType) and not name.startswith("_") and value.__module__ == module.__name__:
            defined[name] = value
    return defined


def _is_defined_in(value: Any, module: types.ModuleType) -> bool:
    return f"{value.__module__}.".startswith(f"{module.__name__}.")


def custom_objects_of(model: Any) -> dict[str, Any]:
    """Return the custom classes and functions that re-loading ``model`` needs, by name and by registered name."""
    import keras

    needed: dict[str, Any] = {}
    for layer in model._flatten_layers():
        for value in (type(layer), *_settings_of(layer)):
            if not is_module_of(str(value.__module__), ("keras", "builtins")):
                needed[value.__name__] = needed[keras.saving.get_registered_name(value)] = value
    return needed


def _settings_of(layer: Any) -> Iterator[Any]:
    """Yield the functions that a layer holds, such as an activation, and the classes of its initializers and so on."""
    for value in vars(layer).values():
        if isinstance(value, types.FunctionType):
            yield value
        elif hasattr(value, "get_config"):
            yield type(value)
