"""``maskcli loss``."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.loss_arguments import list_loss_files, parse_loss_arguments
from maskcli.commands.options import names_builtin_model, request_options
from maskcli.commands.output import HeatOptions, output_options
from maskcli.commands.pictures import draw_loss
from maskcli.commands.source import SourceOptions, source_options
from maskcli.records.requests import LossRequest
from maskcli.render.forms import CommandResult

if TYPE_CHECKING:
    from maskcli.records.loss import LossReport
    from maskcli.render.parts import Limits, Resolution, Section


@click.command(cls=GroupedCommand)
@source_options
@request_options(LossRequest)
@output_options("loss", HeatOptions)
def loss(source: SourceOptions, arguments: dict[str, Any], output: HeatOptions) -> None:
    """Show the masked and unmasked loss, and each timestep's contribution.

    Masked: the mean over the timesteps that the mask calls valid. Unmasked: the same predictions, averaged over all
    timesteps, as a loss of model.predict does. Unmasked model: the same weights with masking disabled. Keras evaluate:
    the number that Keras reports, which also depends on the batch size.

    With a model of your own, FILE may be an .npz with an array, or records with a field, for each input, and
    --targets-field names the field of the targets. --input-dim, --embedding-dim, --zero-output-for-mask, --seed,
    --units and --mask-source apply to built-in models only.
    """
    from maskcli.api.loss import loss as explain_loss
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_progress

    output.check()
    builtin = names_builtin_model(LossRequest, arguments)
    arguments = parse_loss_arguments(arguments)
    data, layout, naming = source.load_data(builtin, *list_loss_files(arguments))
    with naming, show_progress("Running the model", "rows") as progress, quiet_stderr(), quiet_stdout():
        report = explain_loss(data, **dataclasses.asdict(layout), **arguments, progress=progress)
    output.write(
        CommandResult(
            record=report,
            view=partial(_view, report, output.heat),
            picture=partial(draw_loss, report.first),
        )
    )


def _view(report: LossReport, heat: Resolution | None, limits: Limits) -> list[Section]:
    if heat is None:
        from maskcli.render.views.loss import view

        return view(report, limits)
    from maskcli.render.views.heat import view_loss

    return view_loss(report, heat, limits)
