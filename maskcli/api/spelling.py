"""Spell the options of the command line as the keyword arguments of the library, for the errors of its functions."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from maskcli.records.options import read_specs
from maskcli.records.requests import (
    CheckRequest,
    CompareRequest,
    InspectRequest,
    LossRequest,
    PadRequest,
    ProfileRequest,
    ReportRequest,
)

_REQUESTS: tuple[Any, ...] = (
    PadRequest,
    InspectRequest,
    LossRequest,
    CheckRequest,
    CompareRequest,
    ProfileRequest,
    ReportRequest,
)
_OPTION = re.compile(r"--(?P<option>[a-z][a-z-]*[a-z])\b(?P<next> [^\s,;)]+(?<![.:]))?")
"""An option, and the next word, which may be its value."""
_OF_CODE = re.compile(r".*[A-Z0-9_.:/'\"-].*")
"""A word that is a placeholder, a number, a path or another name of code."""
_LITERAL = re.compile(r"[-+]?\d[\d.]*|[A-Z|]{2,}|['\"].*|True|False")
"""A value that needs no quotes in Python, or has them."""
_BY_NAME = {"model_args", "loss_options", "class_weight"}
"""The arguments that are dicts, of which the command line takes an entry at a time."""


def spell_arguments(text: str) -> str:
    """Return a message with ``maxlen=`` in place of ``--maxlen``; options that only the command line has stay."""
    # The place of an error is an option, or an option and its value, which may be a plain word.
    option, _, value = text.removeprefix("--").partition(" ")
    if text.startswith("--") and option in _list_names() and "=" not in value and " " not in value:
        return f"{_list_names()[option]}={_quote(value)}" if value else _list_names()[option]
    return _OPTION.sub(_spell_option, text.replace("--traceback shows", "The traceback shows"))


def _spell_option(match: re.Match[str]) -> str:
    option, value = match["option"], (match["next"] or "").removeprefix(" ")
    name = _list_names().get(option)
    if name is None:
        return match[0]
    if not _OF_CODE.match(value) and value not in _list_choices():
        return f"{name}={_list_flags().get(option, '')}{match['next'] or ''}"
    key, sign, entry = value.partition("=")
    if name in _BY_NAME and sign:
        return f"{name}={{{_quote(key)}: {_quote(entry)}}}"
    return f"{name}={_quote(value)}"


def _quote(value: str) -> str:
    return value if _LITERAL.fullmatch(value) else repr(value)


@functools.cache
def _list_names() -> dict[str, str]:
    """Return the name of the argument of each option, without the hyphens before it."""
    names = {"field": "field"}
    for request in _REQUESTS:
        for name, spec in read_specs(request).items():
            spellings = (spec.spelling or f"--{name.replace('_', '-')}").split("/")
            names |= {spelling.removeprefix("--"): name for spelling in spellings}
    return names


@functools.cache
def _list_flags() -> dict[str, str]:
    """Return the Python value of each option that takes no value on the command line."""
    flags = {"last-only": "False"}
    for request in _REQUESTS:
        flags |= {
            field.name.replace("_", "-"): "True" for field in dataclasses.fields(request) if field.default is False
        }
    return flags


@functools.cache
def _list_choices() -> frozenset[str]:
    """Return the values of options that are words of the language as well."""
    choices = {"arange", "zeros", "ones", "shift", "mse"}
    for request in _REQUESTS:
        choices.update(*(spec.choices for spec in read_specs(request).values()))
    return frozenset(choices)
