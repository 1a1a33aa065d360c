"""Find custom classes and functions: those of ``--custom-objects``, and those in a model."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskcli.errors import UsageError
from maskcli.models.factories import MODULE, ErrorBuilder, find_attribute, import_user_module, is_module_of
from maskcli.models.files import make_displayable

_SPEC = re.compile(f"({MODULE})(?::({MODULE}))?")


@dataclasses.dataclass(frozen=True)
class CustomObjects:
    """Classes and functions that a model file may use in addition to those of Keras.

    Attributes:
        defined: by name.
        registered: by the name under which they are registered with Keras.
    """

    defined: Mapping[str, Any]
    registered: Mapping[str, Any]

    @property
    def names(self) -> frozenset[str]:
        """All names under which Keras finds a custom object."""
        return frozenset((*self.defined, *self.registered))

    @contextlib.contextmanager
    def register_only_these(self) -> Iterator[None]:
        """Hide all other objects in Keras's registry, such as those that an import registered in passing."""
        import keras

        registry = keras.saving.get_custom_objects()
        before = dict(registry)
        registry.clear()
        registry.update(self.registered)
        try:
            yield
        finally:
            after = dict(registry)  # Loading the model may have registered more objects.
            registry.clear()
            registry.update(before | after)


def import_custom_objects(specs: Sequence[str]) -> CustomObjects:
    """Import the modules of ``--custom-objects`` and return their classes and functions.

    Objects that the calling process registered with Keras before are also returned, since it did so on purpose.

    Args:
        specs: each ``package.module``, for all objects that the module, or a module below it, defines or registers, or
            ``package.module:Name``, for this object only.

    Raises:
        UsageError: for a spec of another form.
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
                received=repr(make_displayable(spec)),
                fix="Name a module as in an import statement, without .py.",
            )
        errors = ErrorBuilder(f"--custom-objects {spec}", "a module that defines custom layers or functions")
        before = dict(registry)
        module = import_user_module(match[1], errors)
        new = {name: value for name, value in registry.items() if name not in before}
        # An earlier import may have registered all objects of the module, but ``:Name`` allows only one of them.
        # Therefore take out all of them, and add those that the spec allows.
        registered = {name: value for name, value in registered.items() if not _is_defined_in(value, module)}
        if match[2]:
            value = find_attribute(module, match[2], errors)
            defined[getattr(value, "__name__", match[2])] = value
            allowed |= {name: entry for name, entry in registry.items() if entry is value}
        else:
            defined |= _find_definitions(module)
            allowed |= {name: value for name, value in registry.items() if _is_defined_in(value, module)}
            # The import may also register objects of other modules. Only those that the module holds are allowed.
            members = list(vars(module).values())
            allowed |= {name: value for name, value in new.items() if any(value is member for member in members)}
    return CustomObjects(defined, registered | allowed)


def _find_definitions(module: types.ModuleType) -> dict[str, Any]:
    """Return, by name, the functions that a module defines, and its Keras classes, also from modules below it."""
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


def collect_custom_objects(model: Any) -> dict[str, Any]:
    """Return the custom classes and functions in a model, by name and by registered name."""
    import keras

    needed: dict[str, Any] = {}
    for layer in model._flatten_layers():
        for value in (type(layer), *_iterate_settings(layer)):
            if not is_module_of(str(value.__module__), ("keras", "builtins")):
                needed[value.__name__] = needed[keras.saving.get_registered_name(value)] = value
    return needed


def _iterate_settings(layer: Any) -> Iterator[Any]:
    """Yield the functions that a layer holds, such as its activation, and the classes of its initializers and so on."""
    for value in vars(layer).values():
        if isinstance(value, types.FunctionType):
            yield value
        elif hasattr(value, "get_config"):
            yield type(value)
