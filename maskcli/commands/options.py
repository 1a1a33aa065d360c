"""Click options from options records."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from maskcli.commands.completers import COMPLETERS
from maskcli.commands.grouped import GroupedOption
from maskcli.errors import UsageError
from maskcli.records.options import OptionSpec, PaddingOptions, find_group, read_specs
from maskcli.sequences.sources import display_name

Command = Callable[..., Any]


def request_options(request: type[Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of a request, which reach the command as the dict ``arguments``.

    Padding options are part of ``SourceOptions``: files may set those that the command line does not.
    """
    padding = read_specs(PaddingOptions)
    names = [name for name, spec in read_specs(request).items() if name not in padding and not spec.only_python]
    return lambda command: add_options(bundle_options(command, "arguments", names, dict), request, names)


def record_options(record: type[Any], argument: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of a record, which reach the command as this record, ``argument``."""
    names = list(read_specs(record))
    return lambda command: add_options(bundle_options(command, argument, names, record), record, names)


def bundle_options(command: Command, argument: str, names: Sequence[str], bundle: Callable[..., Any]) -> Command:
    """Let the options ``names`` reach a command as one argument, made by ``bundle``."""

    @functools.wraps(command)
    def call(*args: Any, **kwargs: Any) -> Any:
        options = {name: kwargs.pop(name) for name in names}
        return command(*args, **{argument: bundle(**options)}, **kwargs)

    return call


def add_options(command: Command, record: type[Any], names: Sequence[str], **changes: Mapping[str, Any]) -> Command:
    """Add a click option for each of the fields ``names`` of a record; ``changes`` adapt the spec of a field."""
    defaults = {field.name: field.default for field in dataclasses.fields(record)}
    specs = read_specs(record)
    for name in reversed(names):
        spec = dataclasses.replace(specs[name], **{"group": find_group(record, name), **changes.get(name, {})})
        command = _make_option(name, defaults[name], spec)(command)
    return command


def _make_option(name: str, default: Any, spec: OptionSpec) -> Callable[[Command], Command]:
    text = f"{spec.text} Repeatable." if spec.repeatable else spec.text
    if spec.default_text:
        text = f"{text}  [default: {spec.default_text}]"
    details: dict[str, Any] = {"default": None if default == () else default, "help": text, "metavar": spec.metavar}
    details.update(cls=GroupedOption, group=spec.group, shell_complete=COMPLETERS[spec.completes])
    details["show_default"] = not spec.default_text and default is not False and default not in (None, ())
    details.update(_choose_type(default, spec))
    if spec.completes == "model":
        details["callback"] = _spell_model
    if spec.repeatable:
        details.update(multiple=True, default=())
    spellings = (spec.short, spec.spelling or f"--{name.replace('_', '-')}")
    return click.option(*filter(None, spellings), name, **details)


def _choose_type(default: Any, spec: OptionSpec) -> dict[str, Any]:
    """Return the type of an option for click, or that it is a flag; nothing for text."""
    if spec.choices:
        return {"type": click.Choice(spec.choices)}
    if isinstance(default, bool):
        return {"is_flag": True}
    if spec.minimum is not None:
        return {"type": click.IntRange(spec.minimum, spec.maximum)}
    if spec.number:
        return {"type": _Number()}
    return {"type": int} if isinstance(default, int) else {}


def _spell_model(_ctx: click.Context, _parameter: click.Parameter, spec: str) -> str:
    """Return a model; the words of a built-in one may be joined by underscores."""
    from maskcli.models.builtin import spell_builtin

    return spell_builtin(spec)


class _Number(click.ParamType):  # type: ignore[type-arg]
    """Any number; one that is written as an integer is an integer."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        if isinstance(value, int | float):
            return value
        try:
            return int(value)
        except ValueError:
            pass
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is not a valid number.", param, ctx)


def list_set_options(*names: str) -> tuple[str, ...]:
    """Return those of these arguments that the command line sets, each as its option is spelled at length."""
    context = click.get_current_context()
    return tuple(
        "/".join((parameter.opts[-1], *parameter.secondary_opts))
        for parameter in context.command.params
        if parameter.name in names and is_set(parameter.name)
    )


def is_set(name: str) -> bool:
    """Return whether the command line sets an argument."""
    context = click.get_current_context()
    # Older versions of click count an empty FILE as set.
    is_empty = context.params.get(name) == ()
    return not is_empty and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def names_builtin_model(request: type[Any], arguments: Mapping[str, Any]) -> bool:
    """Return whether ``--model`` names a built-in model; nothing is imported or read.

    Raises:
        UsageError: for text that cannot name a model, and for options that apply only to the other kind of models.
    """
    from maskcli.models.load import classify_spec

    model = arguments["model"]
    builtin = classify_spec(model) == "built-in"
    kind = "own" if builtin else "built-in"
    for option in list_set_options(*(name for name, spec in read_specs(request).items() if spec.for_models == kind)):
        if builtin:
            expected, reason = "a model of your own, from a file or a function", "built-in models need no loading"
        else:
            expected, reason = "a built-in model", "it applies to built-in models only"
        raise UsageError(
            where=option,
            expected=expected,
            received=f"--model {display_name(model)}",
            fix=f"Leave it out: {reason}.",
        )
    return builtin
