"""Options: each is declared once, and appears in the signature, the docstring and ``--help``."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import click
import pytest

import maskcli
from maskcli.cli import cli
from maskcli.records.options import PaddingOptions, read_specs
from maskcli.records.requests import (
    CheckRequest,
    InspectRequest,
    LossRequest,
    PadRequest,
    ReportRequest,
)

pytestmark = pytest.mark.quick
REQUESTS = {
    "pad": PadRequest,
    "inspect": InspectRequest,
    "loss": LossRequest,
    "check": CheckRequest,
    "report": ReportRequest,
}
ONLY_COMMAND_LINE = {
    "files", "input_format", "field", "format", "output", "quiet", "max_rows", "max_cols", "all", "heat", "mask_output",
    "picture", "row", "sample", "tokenizer", "compress", "feature", "of", "saved", "traceback", "json_schema", "max_memory", "color",
    "also", "exit_zero", "write_baseline", "shards", "buckets", "pack", "processes", "scheduler", "workers",
}  # fmt: skip


def parameters(command: str) -> dict[str, click.Parameter]:
    function = cli.get_command(click.Context(cli), command)
    assert function is not None
    return {parameter.name: parameter for parameter in function.params if parameter.name}


def docstring_arguments(command: str) -> dict[str, str]:
    """Return the text of each argument in the ``Args`` section of a function."""
    section = re.search(r"\nArgs:\n(.*?)\n\n", getattr(maskcli, command).__doc__, re.S)
    assert section is not None
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", section[1] + "\n", re.S | re.M)
    return {name: " ".join(text.split()) for name, text in entries}


@pytest.mark.parametrize("command", REQUESTS)
def test_option_names_agree(command: str) -> None:
    specs = read_specs(REQUESTS[command])
    signature = inspect.signature(getattr(maskcli, command)).parameters
    assert list(specs) == list(signature) == list(docstring_arguments(command))
    offered = {name for name, spec in specs.items() if not spec.only_python}
    assert parameters(command).keys() - ONLY_COMMAND_LINE == offered


@pytest.mark.parametrize("command", REQUESTS)
def test_option_text_is_shared(command: str) -> None:
    described, options = docstring_arguments(command), parameters(command)
    for name, spec in read_specs(REQUESTS[command]).items():
        text = re.sub("--([a-z-]+)", lambda match: match[1].replace("-", "_"), spec.text)
        assert described[name].startswith(" ".join(text.split()))
        if not spec.only_python:
            assert str(getattr(options[name], "help", "")).startswith(spec.text)


@pytest.mark.parametrize("command", REQUESTS)
def test_option_defaults_agree(command: str) -> None:
    signature, options = inspect.signature(getattr(maskcli, command)).parameters, parameters(command)
    fields = dataclasses.fields(REQUESTS[command])
    positional = [field.name for field in fields if field.default is dataclasses.MISSING]
    assert positional == ["sequences" if command == "pad" else "data"]
    assert signature[positional[0]].default is inspect.Parameter.empty
    for field in fields:
        if field.name in positional:
            continue
        assert signature[field.name].default == field.default
        assert signature[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        if field.name in options and field.default:
            assert options[field.name].default == field.default


def test_pad_signature_is_public() -> None:
    options = ["maxlen", "padding", "truncating", "value", "dtype"]
    signature = inspect.signature(maskcli.pad)
    defaults = {name: signature.parameters[name].default for name in options}
    assert defaults == {"maxlen": None, "padding": "post", "truncating": "post", "value": 0, "dtype": "int32"}
    assert [*read_specs(PaddingOptions)] == [
        name for name in signature.parameters if name not in ("sequences", "tokenizer")
    ]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1]],), {"max_len": 3}, "pad() got an unexpected keyword argument 'max_len'"),
        (([[1]], "pre"), {}, "pad() takes one argument without a name, sequences, and received 2."),
        ((), {}, "pad() missing 1 required positional argument: 'sequences'"),
    ],
)
def test_wrong_call_names_the_function(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        maskcli.pad(*arguments, **options)


def test_sequences_may_be_a_keyword() -> None:
    assert maskcli.pad(sequences=[[1], [2, 3]], maxlen=1).tokens.tolist() == [[1], [2]]
