"""``maskcli check``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.commands.config import merge_rule_options, rule_options
from maskcli.errors import ExitCode, UsageError
from maskcli.records.options import FAIL_ON, MASK_SOURCES, FailOn

OF_MODELS = ("model", "mask_source", *options.LOADING, "targets", "targets_field", "loss")
"""Arguments that say nothing of the data alone."""


@click.command()
@options.source_options
@options.any_model_option
@options.loading_options
@options.mask_source_option(MASK_SOURCES, " of a built-in model")
@click.option(
    "--input-dim",
    type=options.AT_LEAST_1,
    help="Ids that the Embedding is to know.  [default: what the model's own knows]",
)
@click.option("--data-only", is_flag=True, help="Judge the data alone; loads no TensorFlow.")
@rule_options
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    help="Exit 1 for findings as bad as this, or worse.  [default: warning]",
)
@click.option("--targets", metavar="FILE", help="Targets, a row for each row of FILE, for the loss and the metrics.")
@click.option("--targets-field", metavar="NAME", help="Field or array of the data, or of --targets, that holds them.")
@click.option("--loss", metavar="NAME", help="A Keras loss, such as mse.  [default: what the model is compiled with]")
@options.output_options(large=False)
@options.json_schema_option("check")
def check(
    source: options.SourceOptions,
    answer: options.OutputOptions,
    select: Sequence[str],
    ignore: Sequence[str],
    fail_on: FailOn | None,
    data_only: bool,
    **model: Any,
) -> int:
    """Judge a model with its data by rules: does it lose the mask, does padding leak into results, and where?

    Each rule decides by what was seen when the model ran on this data. A finding names the call at fault and what to
    do; `maskcli explain CODE` tells more. Exit code 1 says that there are findings as bad as --fail-on.

    FILE may be an .npz with an array, or records with a field, for each input of the model. [tool.maskcli] in a
    pyproject.toml may set select, ignore and fail-on.
    """
    from maskcli.api.check import check as check_model
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.check_document import make_check_document
    from maskcli.render.progress import show_spinner
    from maskcli.render.views import check as views

    answer.check_output()
    rules = merge_rule_options(select, ignore, fail_on)
    builtin = _is_builtin(data_only, model["model"])
    _check_targets(source, builtin, model["targets"], model["targets_field"])
    data, layout, naming = source.load_data(builtin, *filter(None, [model["targets"]]))
    doing = "Judging the data" if data_only else "Loading TensorFlow and running the model"
    with naming, show_spinner(doing), quiet_stderr(), quiet_stdout():
        report = check_model(data, data_only=data_only, **rules, **dataclasses.asdict(layout), **model)
    answer.write(options.CommandResult(partial(make_check_document, report), partial(views.view, report)))
    return ExitCode.OK if report.passed else ExitCode.FINDINGS


def _is_builtin(data_only: bool, model: str) -> bool:
    if not data_only:
        return options.is_builtin_model(model, "mask_source")
    for option in options.list_set_options(*OF_MODELS):
        raise UsageError(
            where=option,
            expected="a model to judge",
            received="--data-only",
            fix=f"Leave out {option}, or --data-only.",
        )
    return False


def _check_targets(source: options.SourceOptions, builtin: bool, targets: str | None, field: str | None) -> None:
    """Raise UsageError for a field of data of which only the sequences are read."""
    if field is not None and targets is None and (builtin or len(source.files) != 1):
        raise UsageError(
            where=f"--targets-field {field}",
            expected="--targets FILE" if builtin else "--targets FILE, or one FILE of data that has the field",
            received="none" if builtin or not source.files else f"{len(source.files)} files of data",
            fix="Name the file that holds the targets.",
        )
