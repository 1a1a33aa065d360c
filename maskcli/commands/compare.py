"""``maskcli compare``."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.options import is_set, names_builtin_model, request_options
from maskcli.commands.output import TableOptions, output_options
from maskcli.commands.source import SourceOptions, select_source_options
from maskcli.errors import ExitCode, UsageError
from maskcli.records.options import MODEL
from maskcli.records.requests import CompareRequest
from maskcli.render.forms import CommandResult

if TYPE_CHECKING:
    from maskcli.records.comparison import Comparison
    from maskcli.render.parts import Limits, Section


@click.command(cls=GroupedCommand, examples={MODEL: "--backends tensorflow,jax -m model.keras"})
@select_source_options(metavar="[MODEL MODEL] [FILE]...")
@request_options(CompareRequest)
@output_options("compare", TableOptions)
def compare(source: SourceOptions, arguments: dict[str, Any], output: TableOptions) -> ExitCode:
    """Compare two models, or a model on several backends: masks, outputs, leaks and losses, call by call.

    `maskcli compare a.keras b.keras data.jsonl` compares two models, which each MODEL names as --model does. With
    --backends, --model is run with equal weights on each of them, in a process each, and all arguments are files of
    data. The first call that differs by more than rounding is named, with the reason if measurements show it. Exit code
    1 means that they differ.
    """
    from maskcli.api.compare import compare as compare_models
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_spinner

    output.check()
    if arguments["backends"] is None:
        source, arguments = _take_models(source, arguments)
    models = arguments.get("models") or (arguments["model"],)
    kinds = {names_builtin_model(CompareRequest, {**arguments, "model": model}) for model in models}
    data, layout, naming = source.load_data(True in kinds, *filter(None, [arguments["targets"]]))
    arguments["backends"] = arguments["backends"] or ()
    with naming, show_spinner("Running the models"), quiet_stderr(), quiet_stdout():
        comparison = compare_models(data, **dataclasses.asdict(layout), **arguments)
    output.write(CommandResult(record=comparison, view=partial(_view, comparison)))
    return ExitCode.OK if comparison.equal else ExitCode.DIFFERENT


def _take_models(source: SourceOptions, arguments: dict[str, Any]) -> tuple[SourceOptions, dict[str, Any]]:
    """Return the files without the first two, which name the models."""
    from maskcli.models.builtin import spell_builtin

    models = tuple(map(spell_builtin, source.files[:2]))
    if is_set("model") or len(models) < 2:
        raise UsageError(
            where="--model" if is_set("model") else "MODEL MODEL",
            expected="two models, or --backends with --model",
            received="--model without --backends" if is_set("model") else ("no argument", "one argument")[len(models)],
            fix="maskcli compare a.keras b.keras data.jsonl, or maskcli compare --backends tensorflow,jax --model "
            "m.keras data.jsonl.",
        )
    return dataclasses.replace(source, files=source.files[2:], model=models[0]), {**arguments, "models": models}


def _view(comparison: Comparison, limits: Limits) -> list[Section]:
    from maskcli.render.views.compare import view

    return view(comparison, limits)
