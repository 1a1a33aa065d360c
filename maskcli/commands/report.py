"""``maskcli report``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands.completers import complete_file
from maskcli.commands.config import merge_rule_options
from maskcli.commands.grouped import GroupedCommand, GroupedOption
from maskcli.commands.loss_arguments import list_loss_files, parse_loss_arguments
from maskcli.commands.options import list_set_options, names_builtin_model, record_options, request_options
from maskcli.commands.output import TableOptions, output_options
from maskcli.commands.pictures import ReportPicture, check_picture, draw_report
from maskcli.commands.source import SourceOptions, source_options
from maskcli.errors import InputError, MaskcliError, UsageError
from maskcli.records.options import DATA, OUTPUT, read_specs
from maskcli.records.requests import ReportRequest
from maskcli.render.forms import CommandResult

FOR_SAVED_REPORTS = {"saved", *read_specs(TableOptions), *read_specs(ReportPicture)}
"""Arguments that go with ``--from``."""

if TYPE_CHECKING:
    from maskcli.records.report import Report


@click.command(cls=GroupedCommand, examples={OUTPUT: "-o report.html"})
@source_options
@request_options(ReportRequest)
@click.option(
    "--from",
    "saved",
    cls=GroupedOption,
    group=DATA,
    metavar="REPORT",
    shell_complete=complete_file,
    help="Reload a saved report, .html or .json.",
)
@record_options(ReportPicture, "picture")
@output_options("report")
def report(
    source: SourceOptions, arguments: dict[str, Any], saved: str | None, picture: ReportPicture, output: TableOptions
) -> None:
    """Write a self-contained HTML report: --output report.html.

    The page has a verdict with the findings and their fixes, the padded batch, the mask flow through the model as a
    graph, outputs with and without the mask, the effect of padding on each output, the loss of each timestep, and the
    attention masks. It needs no network, and contains all its data as JSON, which --from reads again.

    A model of your own without targets has no loss; --targets-field and the options of `maskcli loss` give it one.
    """
    from maskcli.render.views.report import view

    output.check()
    check_picture(picture, output)
    if saved is None:
        record = _make_report(source, arguments)
    else:
        _check_saved()
        from maskcli.api.read_report import read_report

        record = read_report(saved)
    with _explain_damage(saved):
        output.write(
            CommandResult(
                record=record,
                view=partial(view, record),
                picture=partial(draw_report, record, picture),
            )
        )


def _make_report(source: SourceOptions, arguments: dict[str, Any]) -> Report:
    from maskcli.api.report import report as make_report
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_progress

    arguments = merge_rule_options(arguments)
    builtin = names_builtin_model(ReportRequest, arguments)
    arguments = parse_loss_arguments(arguments)
    data, layout, naming = source.load_data(builtin, *list_loss_files(arguments))
    command = ("maskcli", *(click.get_current_context().find_root().obj or ()))
    with naming, show_progress("Running the model", "rows") as progress, quiet_stderr(), quiet_stdout():
        return make_report(data, **dataclasses.asdict(layout), **arguments, command=command, progress=progress)


@contextlib.contextmanager
def _explain_damage(path: str | None) -> Iterator[None]:
    """Raise InputError if a saved report cannot be rendered: someone may have edited the file."""
    try:
        yield
    except MaskcliError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if path is None:
            raise
        from maskcli.api.read_report import HINT

        raise InputError(
            where=path,
            expected="a report whose parts fit together",
            received=f"parts that cannot be rendered, {type(error).__name__}: {str(error)[:200]}",
            fix=HINT,
        ) from error


def _check_saved() -> None:
    """Raise UsageError for options that make a report, together with ``--from``."""
    names = (parameter.name for parameter in click.get_current_context().command.params)
    for option in list_set_options(*(name for name in names if name and name not in FOR_SAVED_REPORTS)):
        name = option if option.startswith("-") else "FILE"
        raise UsageError(
            where=name,
            expected="--from with options about the output only",
            received=name,
            fix="A saved report contains its data and its model; leave the option out.",
        )
