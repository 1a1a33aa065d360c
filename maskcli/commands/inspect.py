"""``maskcli inspect``."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.options import names_builtin_model, record_options, request_options
from maskcli.commands.output import HeatOptions, output_options
from maskcli.commands.pictures import InspectionPicture, check_picture, draw_inspection
from maskcli.commands.source import SourceOptions, source_options
from maskcli.errors import ExitCode
from maskcli.records.requests import InspectRequest
from maskcli.render.forms import CommandResult

if TYPE_CHECKING:
    from maskcli.records.trace import Inspection
    from maskcli.render.parts import Limits, Resolution, Section


@click.command(cls=GroupedCommand)
@source_options
@request_options(InspectRequest)
@record_options(InspectionPicture, "picture")
@output_options("inspect", HeatOptions)
def inspect(
    source: SourceOptions, arguments: dict[str, Any], picture: InspectionPicture, output: HeatOptions
) -> ExitCode:
    """Run a model on data and follow the mask: where it is created, used and lost, and its effect on outputs.

    The output has the mask that the model computes, the embedding vector of the padding id, the effect of each call on
    the mask, and the outputs at each timestep, compared with the same weights, mask disabled.

    With a model of your own, FILE may be an .npz with an array, or records with a field, for each input. --input-dim,
    --embedding-dim, --zero-output-for-mask, --seed, --units, --return-sequences and --mask-source apply to built-in
    models only.
    """
    from maskcli.api.inspect import inspect as inspect_model
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.progress import show_spinner

    output.check()
    check_picture(picture, output)
    data, layout, naming = source.load_data(names_builtin_model(InspectRequest, arguments))
    with naming, show_spinner("Loading Keras and running the model"), quiet_stderr(), quiet_stdout():
        inspection = inspect_model(data, **dataclasses.asdict(layout), **arguments)
    output.write(
        CommandResult(
            record=inspection,
            view=partial(_view, inspection, output.heat),
            picture=partial(draw_inspection, inspection, picture),
        )
    )
    return ExitCode.DIFFERENT if inspection.mask_sources_agree is False else ExitCode.OK


def _view(inspection: Inspection, heat: Resolution | None, limits: Limits) -> list[Section]:
    if heat is None:
        from maskcli.render.views.inspect import view

        return view(inspection, limits)
    from maskcli.render.views.heat import view_inspection

    return view_inspection(inspection, heat, limits)
