"""The arguments of a function that builds a model: their values from text, and their place in its signature."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from maskcli.errors import UsageError
from maskcli.models.scripts import ErrorBuilder

OPTION = "--model-arg"
_WORDS = {"true": True, "false": False, "null": None}
"""Words of JSON that no one means as text."""
_LONGEST_DEFAULT = 24
"""Characters of a default value in a message."""


def parse_model_args(arguments: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return arguments by name; a sequence has the form ``NAME=VALUE``, a Python literal or text.

    Raises:
        UsageError: for text of another form, and for a name that occurs twice.
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    values: dict[str, Any] = {}
    for text in [arguments] if isinstance(arguments, str) else arguments:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(
                where=OPTION,
                expected="NAME=VALUE",
                received=repr(text),
                fix=f"For example {OPTION} vocab_size=5000.",
            )
        if name in values:
            raise UsageError(
                where=f"{OPTION} {name}", expected="a value", received="two of them", fix="Leave one of them out."
            )
        values[name] = _parse_value(value)
    return values


def _parse_value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def refuse_model_args(arguments: Iterable[str], received: str) -> None:
    """Raise UsageError if there are arguments for a model that no function builds."""
    for name in arguments:
        raise UsageError(
            where=f"{OPTION} {name}",
            expected="a function that builds the model: train.py:function",
            received=received,
            fix=f"Leave {OPTION} out, or name a function.",
        )


def bind_model_args(
    function: Callable[..., Any], name: str, arguments: Mapping[str, Any], errors: ErrorBuilder
) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the keyword arguments of a call of ``function``.

    Raises:
        UsageError: for an argument that the function does not have.
        ModelError: for an argument that it needs.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # Functions written in C may have no signature.
        return [], dict(arguments)
    named = {parameter.name: parameter for parameter in parameters if parameter.kind not in _VARIADIC}
    signature = f"{name}({', '.join(map(_describe_parameter, parameters))})"
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for argument in arguments:
        if argument not in named and not takes_any:
            raise _make_unknown_error(argument, list(named), signature)
    required = [parameter.name for parameter in named.values() if parameter.default is parameter.empty]
    if missing := [argument for argument in required if argument not in arguments]:
        options = " ".join(f"{OPTION} {argument}=VALUE" for argument in missing)
        raise errors.build(
            f"{signature} without {', '.join(missing)}", f"Pass {options}, or give the function default values."
        )
    positional = [
        arguments.get(parameter.name, parameter.default)
        for parameter in named.values()
        if parameter.kind is parameter.POSITIONAL_ONLY
    ]
    keywords = {
        argument: value
        for argument, value in arguments.items()
        if argument not in named or named[argument].kind is not inspect.Parameter.POSITIONAL_ONLY
    }
    return positional, keywords


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _describe_parameter(parameter: inspect.Parameter) -> str:
    """Return ``units=64``."""
    if parameter.default is parameter.empty:
        stars = 2 if parameter.kind is parameter.VAR_KEYWORD else int(parameter.kind is parameter.VAR_POSITIONAL)
        return f"{'*' * stars}{parameter.name}"
    default = textwrap.shorten(repr(parameter.default), _LONGEST_DEFAULT, placeholder="…")
    return f"{parameter.name}={default}"


def _make_unknown_error(argument: str, names: list[str], signature: str) -> UsageError:
    similar = difflib.get_close_matches(argument, names, n=1)
    fix = "The function takes no arguments."
    if similar:
        fix = f"Did you mean {similar[0]}?"
    elif names:
        fix = f"It takes {', '.join(names)}."
    return UsageError(
        where=f"{OPTION} {argument}", expected=f"an argument of {signature}", received=repr(argument), fix=fix
    )
