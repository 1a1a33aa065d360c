"""``maskcli check``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click

from maskcli.commands.config import merge_check_options, read_project
from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.options import list_set_options, names_builtin_model, request_options
from maskcli.commands.output import OutputOptions, output_options
from maskcli.commands.source import SourceOptions, source_options
from maskcli.errors import ExitCode, UsageError
from maskcli.records.options import ModelOptions, read_specs
from maskcli.records.requests import CheckRequest
from maskcli.render.forms import CommandResult

OF_MODELS = {*read_specs(ModelOptions), "targets", "targets_field", "loss", "batch_size", "causal"} - {"input_dim"}
"""Arguments that need a model."""


@click.command(cls=GroupedCommand)
@source_options
@request_options(CheckRequest)
@output_options("check", OutputOptions)
def check(source: SourceOptions, arguments: dict[str, Any], output: OutputOptions) -> ExitCode:
    """Check a model and its data against the rules: is the mask lost, does padding leak into results, and where?

    Each rule judges by measurements of the model on this data. A finding names the call at fault and a fix; run
    `maskcli explain CODE` for details. Exit code 1 means findings at or above --fail-on. Targets, one --targets-field
    for each output, let rules judge the losses and the metrics.

    FILE may be an .npz with an array, or records with a field, for each input of the model. [tool.maskcli] of a
    pyproject.toml may set the model, the data, the rules and other options.
    """
    from maskcli.api.check import check as check_model
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_steps
    from maskcli.render.views.check import view

    output.check()
    defaults, _ = read_project()
    without = frozenset(OF_MODELS) if arguments["data_only"] else frozenset()
    arguments, source = merge_check_options(arguments, source, defaults, without)
    builtin = _names_builtin(arguments)
    _check_targets(source, builtin, arguments["targets"], arguments["targets_field"])
    data, layout, naming = source.load_data(builtin, *filter(None, [arguments["targets"]]))
    message = "Checking the data" if arguments["data_only"] else "Running the model"
    with naming, show_steps(message, "calls") as progress, quiet_stderr(), quiet_stdout():
        report = check_model(data, **dataclasses.asdict(layout), **arguments, progress=progress)
    output.write(CommandResult(record=report, view=partial(view, report)))
    return ExitCode.OK if report.passed else ExitCode.FINDINGS


def _names_builtin(arguments: Mapping[str, Any]) -> bool:
    if not arguments["data_only"]:
        return names_builtin_model(CheckRequest, arguments)
    for option in list_set_options(*OF_MODELS):
        raise UsageError(
            where=option,
            expected="a model to check",
            received="--data-only",
            fix=f"Leave out {option}, or --data-only.",
        )
    return False


def _check_targets(source: SourceOptions, builtin: bool, targets: str | None, fields: Sequence[str]) -> None:
    """Raise UsageError for fields of data of which only the sequences are read."""
    if not fields or targets is not None or (not builtin and len(source.files) == 1):
        return
    expected, received = "--targets FILE, or one FILE of data that has the field", f"{len(source.files)} files of data"
    if builtin:
        expected = "--targets FILE"
    if builtin or not source.files:
        received = "none"
    raise UsageError(
        where=f"--targets-field {fields[0]}",
        expected=expected,
        received=received,
        fix="Name the file that contains the targets.",
    )
