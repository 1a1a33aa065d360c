"""``maskcli report``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.commands.config import merge_rule_options as rules_of
from maskcli.commands.config import rule_options
from maskcli.commands.inspect import ONLY_BUILTIN
from maskcli.commands.loss_options import LossArguments, loss_options
from maskcli.commands.picture_output import PICTURES, check_pictures, prepare_pictures
from maskcli.commands.pictures import (
    REPORT_PICTURES,
    WITH_NAME,
    WITH_SAMPLE,
    check_choice,
    draw_report,
    picture_options,
)
from maskcli.errors import InputError, MaskcliError, UsageError
from maskcli.records.options import MASK_SOURCES
from maskcli.records.report import Report

FORMS: tuple[options.Form, ...] = ("html", "mermaid", *PICTURES)
ABOUT_PICTURES = ("picture", "sample", "feature", "of")
ABOUT_THE_ANSWER = ("from_", "format_", "output", "quiet", "max_rows", "max_cols", "all_", *ABOUT_PICTURES)
"""Arguments that go with ``--from``."""


@click.command()
@options.source_options
@loss_options
@options.any_model_options
@click.option(
    "--units",
    type=options.AT_LEAST_1,
    help="Width of the outputs, or of the LSTM before logits.  [default: what the targets need, or 3]",
)
@options.mask_source_option(MASK_SOURCES, " of a built-in model")
@rule_options
@click.option(
    "--samples",
    type=options.AT_LEAST_1,
    default=32,
    show_default=True,
    help="Rows, the first ones, that pictures show; findings and losses are of all rows.",
)
@click.option("--from", "from_", metavar="REPORT", help="Show a report anew that was written before, .html or .json.")
@click.option(
    "--picture",
    type=click.Choice(REPORT_PICTURES),
    default="graph",
    show_default=True,
    help="What --format svg or png draws.",
)
@picture_options
@click.option("--of", metavar="NAME", help="Output, or call of attention, in a picture of one.  [default: the first]")
@options.output_options(also=FORMS)
@options.json_schema_option("report")
def report(
    source: options.SourceOptions,
    answer: options.OutputOptions,
    judging: LossArguments,
    select: Sequence[str],
    ignore: Sequence[str],
    from_: str | None,
    picture: str,
    sample: int,
    feature: int,
    of: str | None,
    **model: Any,
) -> None:
    """Show a colleague what happened to the mask, in one page that opens from disk: --output report.html.

    The page has a verdict with the findings and their fixes, the padded batch, the model as a graph through which the
    mask flows, outputs with and without the mask, which padding moves which output, the loss timestep by timestep, and
    who attends to whom. It asks nothing of the network, and carries all its data as JSON: --from reads it again.

    A model of your own without targets has no loss; --targets-field and the options of `maskcli loss` give it one.
    """
    from maskcli.render.report_document import make_report_document
    from maskcli.render.views import report as views

    answer.check_output(also=FORMS)
    _check_pictures(answer, picture)
    if from_ is not None:
        _check_alone()
        from maskcli.api.read_report import read_report

        made = read_report(from_)
    else:
        made = _made(source, judging, rules_of(select, ignore), model)
    others = {**_pages(made), **prepare_pictures(partial(draw_report, made, picture, sample, feature, of))}
    with _fitting_together(from_):
        answer.write(options.CommandResult(partial(make_report_document, made), partial(views.view, made), others))


@contextlib.contextmanager
def _fitting_together(path: str | None) -> Iterator[None]:
    """Raise InputError where what cannot be shown is of a file: one that someone changed may hold anything."""
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
            received=f"what cannot be shown, {type(error).__name__}: {str(error)[:200]}",
            fix=HINT,
        ) from error


def _made(
    source: options.SourceOptions, judging: LossArguments, rules: dict[str, Any], model: dict[str, Any]
) -> Report:
    from maskcli.api.report import report as make_report
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_progress

    builtin = options.is_builtin_model(model["model"], *(name for name in ONLY_BUILTIN if name != "return_sequences"))
    asked, command = judging.asked(), click.get_current_context().find_root().obj or ()
    data, layout, naming = source.load_data(builtin, *judging.files)
    asked.update(select=rules["select"], ignore=rules["ignore"], command=("maskcli", *command))
    with naming, show_progress("Running the model", "rows") as progress, quiet_stderr(), quiet_stdout():
        return make_report(data, **asked, **dataclasses.asdict(layout), **model, progress=progress)


def _pages(made: Report) -> dict[options.Form, Any]:
    def html() -> bytes:
        from maskcli.render.documents import dumps
        from maskcli.render.page import render_page
        from maskcli.render.report_document import make_report_document

        return render_page(made, dumps(make_report_document(made)))

    def mermaid() -> bytes:
        from maskcli.render.graph.mermaid import render_mermaid

        return render_mermaid(made.inspection).encode()

    return {"html": html, "mermaid": mermaid}


def _check_pictures(answer: options.OutputOptions, picture: str) -> None:
    """Raise UsageError, before any work is done, for a picture or a page that cannot be drawn, or says nothing."""
    check_pictures(answer, *ABOUT_PICTURES)
    if picture not in WITH_SAMPLE:
        check_choice(picture, options.list_set_options("sample"), WITH_SAMPLE)
    if picture != "outputs":
        check_choice(picture, options.list_set_options("feature"), ["outputs"])
    if picture not in WITH_NAME:
        check_choice(picture, options.list_set_options("of"), WITH_NAME)


def _check_alone() -> None:
    """Raise UsageError for options that say how to make a report, beside one that is made."""
    names = (parameter.name for parameter in click.get_current_context().command.params)
    for option in options.list_set_options(*(name for name in names if name and name not in ABOUT_THE_ANSWER)):
        name = option if option.startswith("-") else "FILE"
        raise UsageError(
            where=name,
            expected="--from with options on what is shown alone",
            received=name,
            fix="A report that was written before has its data and its model; leave it out.",
        )
