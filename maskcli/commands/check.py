"""``maskcli check``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands.config import merge_check_options, read_project
from maskcli.commands.grouped import GroupedCommand, GroupedOption
from maskcli.commands.options import is_set, list_set_options, names_builtin_model, request_options
from maskcli.commands.output import OutputOptions, SeveralOutputOptions, output_options
from maskcli.commands.source import SourceOptions, source_options
from maskcli.errors import ExitCode, MaskcliError, UsageError
from maskcli.records.options import RULES, ModelOptions, read_specs
from maskcli.records.requests import CheckRequest
from maskcli.render.forms import CommandResult

if TYPE_CHECKING:
    from maskcli.api.project import ProjectCheck
    from maskcli.records.check import CheckReport
    from maskcli.records.project import ModelCheck, ProjectReport

OF_MODELS = {*read_specs(ModelOptions), "targets", "targets_field", "loss", "batch_size", "causal"} - {"input_dim"}
"""Arguments that need a model."""


@click.command(cls=GroupedCommand)
@source_options
@request_options(CheckRequest)
@click.option(
    "--write-baseline",
    cls=GroupedOption,
    group=RULES,
    metavar="FILE",
    help="Write the findings to this file, as a baseline, and exit with 0.",
)
@click.option(
    "--exit-zero", cls=GroupedOption, group=RULES, is_flag=True, help="Report findings only, like --fail-on never."
)
@output_options("check", SeveralOutputOptions)
def check(
    source: SourceOptions,
    arguments: dict[str, Any],
    output: SeveralOutputOptions,
    write_baseline: str | None,
    exit_zero: bool,
) -> int:
    """Check a model and its data against the rules: is the mask lost, does padding leak into results, and where?

    Each rule judges by measurements of the model on this data. A finding names the call at fault, its line of code and
    a fix; run `maskcli explain CODE` for details. Exit code 1 means findings at or above --fail-on. Targets, one
    --targets-field for each output, let rules judge the losses and the metrics.

    FILE may be an .npz with an array, or records with a field, for each input of the model. [tool.maskcli] of a
    pyproject.toml may set the model, the data, the rules and other options. [tool.maskcli.models.NAME] may set them for
    several models: `maskcli check` checks all of them, and --model NAME one.
    """
    output.check()
    defaults, models = read_project()
    if exit_zero:
        arguments = _let_pass(arguments)
    project = next((entry for entry in models if entry.name == arguments["model"] and is_set("model")), defaults)
    if models and not (is_set("model") or source.files or source.sample or arguments["data_only"]):
        result = _check_all(source, arguments, models)
        reports, code = result.reports, result.exit_code
        # The entries of a model that could not be checked stay: they may not be stale.
        keeps_others = len(reports) < len(models)
        output.write(_make_project_result(result))
    else:
        report = _check_one(source, arguments, project)
        reports, code = (report,), ExitCode.OK if report.passed else ExitCode.FINDINGS
        keeps_others = project.name is not None
        output.write(_make_result(report))
    if write_baseline is None:
        return code
    _write_baseline(write_baseline, reports, keeps_others=keeps_others, output=output)
    return ExitCode.OK if code == ExitCode.FINDINGS else code


def _let_pass(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with which no finding fails the check, for ``--exit-zero``."""
    if is_set("fail_on") and arguments["fail_on"] != "never":
        raise UsageError(
            where="--exit-zero",
            expected="no --fail-on",
            received=f"--fail-on {arguments['fail_on']}",
            fix="Leave out one of the two.",
        )
    return {**arguments, "fail_on": "never"}


def _check_one(source: SourceOptions, arguments: dict[str, Any], project: ProjectCheck) -> CheckReport:
    """Return the check that the command line and the project describe."""
    from maskcli.api.check import check as check_model
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_steps

    without = frozenset(OF_MODELS) if arguments["data_only"] else frozenset()
    arguments, source = merge_check_options(arguments, source, project, without)
    builtin = _names_builtin(arguments)
    _check_targets(source, builtin, arguments["targets"], arguments["targets_field"])
    with project.importing():
        data, layout, naming = source.load_data(builtin, *filter(None, [arguments["targets"]]))
        message = "Checking the data" if arguments["data_only"] else "Running the model"
        with naming, show_steps(message, "calls") as progress, quiet_stderr(), quiet_stdout():
            return check_model(
                data, **dataclasses.asdict(layout), **arguments, check_name=project.name, progress=progress
            )


def _check_all(source: SourceOptions, arguments: dict[str, Any], models: Sequence[ProjectCheck]) -> ProjectReport:
    """Return the checks of all models of a project; one that fails does not keep the others from being checked."""
    from maskcli.records.project import ProjectReport

    return ProjectReport(tuple(_try_check(source, arguments, entry) for entry in models))


def _try_check(source: SourceOptions, arguments: dict[str, Any], entry: ProjectCheck) -> ModelCheck:
    from maskcli.records.project import ModelCheck

    name = str(entry.name)
    try:
        report = _check_one(source, arguments, entry)
    except MaskcliError as error:
        click.echo(f"Error: {name}: {error}", err=True)
        return ModelCheck(name, None, str(error), int(error.exit_code))
    return ModelCheck(name, report, None, int(ExitCode.OK if report.passed else ExitCode.FINDINGS))


def _make_result(report: CheckReport) -> CommandResult:
    from maskcli.render.views.check import view

    return CommandResult(record=report, view=partial(view, report), explain=_explain_rules, folder=_find_folder())


def _make_project_result(report: ProjectReport) -> CommandResult:
    from maskcli.render.views.project import view

    return CommandResult(record=report, view=partial(view, report), explain=_explain_rules, folder=_find_folder())


def _find_folder() -> str:
    """Return the working directory, from the root of the repository that a CI service checked out."""
    from pathlib import Path

    here = Path.cwd()
    roots = (os.environ.get(name) for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"))
    inside = (root for root in roots if root and here.is_relative_to(root))
    return next((here.relative_to(root).as_posix() for root in inside), "")


def _explain_rules() -> tuple[Any, ...]:
    """Return the explanations of all rules, for forms that contain them."""
    from maskcli.records.rules import explain_rule
    from maskcli.rules import RULES as ALL_RULES

    return tuple(map(explain_rule, ALL_RULES))


def _write_baseline(path: str, reports: Sequence[CheckReport], *, keeps_others: bool, output: OutputOptions) -> None:
    from pathlib import Path

    from maskcli.api.acceptance import write_baseline

    count = write_baseline(path, reports, keeps_others=keeps_others and Path(path).exists())
    if not output.quiet:
        click.echo(f"Wrote {path}: {count} accepted", err=True)


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
