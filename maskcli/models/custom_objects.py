"""Find custom classes and functions: those of ``--custom-objects``, and those in a model."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any

from maskcli.errors import UsageError
from maskcli.models.factories import MODULE, check_home_exists, find_attribute, import_home, is_module_of
from maskcli.models.files import make_displayable
from maskcli.models.scripts import ErrorBuilder

_SPEC = re.compile(rf"(.+\.py|{MODULE})(?::({MODULE}))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class CustomObjects:
    """Classes and functions that a model file may use in addition to those of Keras.

    Attributes:
        defined: by name.
        registered: by the name under which they are registered with Keras.
        modules: the modules of which these are all objects or one.
    """

    defined: Mapping[str, Any]
    registered: Mapping[str, Any]
    modules: tuple[types.ModuleType, ...] = ()

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


def import_custom_objects(entries: object) -> CustomObjects:
    """Return custom classes and functions, which are imported if only their module is named.

    Objects that the calling process registered with Keras before are also returned, since it did so on purpose.

    Args:
        entries: a dict of classes and functions by name; or one of the following, or a list of them: ``train.py`` or
            ``package.module``, for all objects that the script or module, or a module below it, defines or registers;
            ``train.py:Name`` or ``package.module:Name``, for this object only; a class or a function.

    Raises:
        UsageError: for an entry of another form.
        ModelError: for a module that cannot be imported, or that lacks the name.
    """
    import keras

    registered = dict(keras.saving.get_custom_objects())
    defined: dict[str, Any] = {}
    allowed: dict[str, Any] = {}
    modules: list[types.ModuleType] = []
    for name, entry in _list_entries(entries):
        if not isinstance(entry, str | os.PathLike):
            defined[_check_name(name, entry)] = entry
            continue
        module, objects = _import_module(os.fspath(entry))
        # An earlier import may have registered all objects of the module, but ``:Name`` allows only one of them.
        # Therefore take out all of them, and add those that the spec allows.
        registered = {name: value for name, value in registered.items() if not _is_defined_in(value, module)}
        modules.append(module)
        defined |= objects.defined
        allowed |= objects.registered
    return CustomObjects(defined, registered | allowed, tuple(modules))


def check_custom_modules(entries: object) -> None:
    """Raise ModelError for a script or module that does not exist; it is not run, and Keras is not imported."""
    for _, entry in _list_entries(entries):
        match = _SPEC.fullmatch(os.fspath(entry)) if isinstance(entry, str | os.PathLike) else None
        if match is not None:
            check_home_exists(match[1], _make_error_builder(match[0]))


def _make_error_builder(spec: str) -> ErrorBuilder:
    return ErrorBuilder(f"--custom-objects {spec}", "a module that defines custom layers or functions")


def _list_entries(entries: object) -> list[tuple[object, object]]:
    """Return entries with their names; that of a class is its own, that of a module is empty."""
    if isinstance(entries, Mapping):
        return list(entries.items())
    several = entries if isinstance(entries, list | tuple | set | frozenset) else (entries,)
    return [(getattr(entry, "__name__", ""), entry) for entry in several]


def _check_name(name: object, value: object) -> str:
    """Return the name of a custom object.

    Raises:
        UsageError: for a value that is neither a class nor a function, and one without a name.
    """
    if isinstance(name, str) and name and callable(value):
        return name
    text = textwrap.shorten(repr(value), 60, placeholder="…")
    raise UsageError(
        where="custom_objects",
        expected="a module by name, a class, a function, a list of these, or a dict of classes and functions by name",
        received=f"{name!r}: {text}" if name else text,
        fix='For example custom_objects={"MyLayer": MyLayer}.',
    )


def _import_module(spec: str) -> tuple[types.ModuleType, CustomObjects]:
    """Import a script or a module; return it with the custom objects that the spec allows."""
    import keras

    registry = keras.saving.get_custom_objects()
    match = _SPEC.fullmatch(spec)
    if not match:
        raise UsageError(
            where="--custom-objects",
            expected="train.py, train.py:Name, package.module or package.module:Name",
            received=repr(make_displayable(spec)),
            fix="Name a script by its path, or a module as in an import statement.",
        )
    errors = _make_error_builder(spec)
    before = dict(registry)
    module = import_home(match[1], errors)
    if match[2]:
        value = find_attribute(module, match[2], errors)
        registered = {name: entry for name, entry in registry.items() if entry is value}
        return module, CustomObjects({getattr(value, "__name__", match[2]): value}, registered)
    registered = {name: value for name, value in registry.items() if _is_defined_in(value, module)}
    # The import may also register objects of other modules. Only those that the module holds are allowed.
    new = {name: value for name, value in registry.items() if name not in before}
    members = list(vars(module).values())
    registered |= {name: value for name, value in new.items() if any(value is member for member in members)}
    return module, CustomObjects(_find_definitions(module), registered)


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
        elif isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
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
