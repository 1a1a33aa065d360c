"""Keyword arguments and docstrings of library functions, from the request that each takes."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from maskcli.api.spelling import spell_arguments
from maskcli.api.texts import encode_texts
from maskcli.errors import ON_COMMAND_LINE, MaskcliError
from maskcli.records.options import OptionSpec, read_specs

Parameters = ParamSpec("Parameters")
Request = TypeVar("Request")
Result = TypeVar("Result")
WIDTH = 112
INDENT = " " * 4
OPTION = re.compile(r"--([a-z-]+)")
"""An option of the command line, which the documentation of a keyword argument names without hyphens."""


def take_keywords(
    request: Callable[Parameters, Request],
) -> Callable[[Callable[[Request], Result]], Callable[Parameters, Result]]:
    """Return a decorator that gives a function of a request the keyword arguments of the request.

    Type checkers see the names, types and defaults of the request; ``inspect.signature`` and ``help`` do as well.
    """

    def decorate(function: Callable[[Request], Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            if len(args) > 1:
                raise TypeError(_describe_positional(function.__name__, read_specs(request), len(args)))
            try:
                return function(encode_texts(request(*args, **kwargs)))
            except MaskcliError as error:
                if not ON_COMMAND_LINE.get():
                    error.respell(spell_arguments)
                    error.where = error.where.replace("= ", "=")
                raise

        # Python names this function in the errors of a call with wrong arguments.
        vars(request)["__init__"].__qualname__ = function.__name__
        signature = inspect.signature(request)
        result = inspect.signature(function).return_annotation
        vars(call).update(__signature__=signature.replace(return_annotation=result))
        call.__doc__ = _add_arguments(function.__doc__ or "", request)
        return call

    return decorate


def _describe_positional(function: str, names: Mapping[str, object], received: int) -> str:
    """Return the message for a call such as ``check(model, ids)``."""
    first = next(iter(names))
    example = "model=model" if "model" in names else "NAME=VALUE"
    return (
        f"{function}() takes one argument without a name, {first}, and received {received}. "
        f"Name the others: maskcli.{function}({first}, {example})."
    )


def _add_arguments(docstring: str, request: Any) -> str:
    """Insert the ``Args`` section before the sections of a docstring, or at its end."""
    text = inspect.cleandoc(docstring)
    start = min(text.find(heading) % len(text) for heading in ("Returns:\n", "Raises:\n"))
    arguments = "\n".join(_describe(name, spec) for name, spec in read_specs(request).items())
    return f"{text[:start]}Args:\n{arguments}\n\n{text[start:]}\n"


def _describe(name: str, spec: OptionSpec) -> str:
    sentences = [spec.text]
    if spec.choices:
        sentences.append(f"One of {', '.join(spec.choices)}.")
    if spec.python:
        sentences.append(spec.python)
    if spec.default_text:
        sentences.append(f"Default: {spec.default_text}.")
    text = OPTION.sub(lambda match: match[1].replace("-", "_"), f"{name}: {' '.join(sentences)}")
    return textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=2 * INDENT)
