"""``maskcli loss``."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.commands.heat_option import check_heat, heat_option
from maskcli.commands.inspect import ONLY_BUILTIN
from maskcli.commands.loss_options import LossArguments, loss_options
from maskcli.commands.picture_output import PICTURES, check_pictures, prepare_pictures
from maskcli.commands.pictures import draw_loss
from maskcli.models.mask_sources import MASK_SOURCES
from maskcli.records.loss import LossReport
from maskcli.render.parts import Limits, Section


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
@heat_option
@options.output_options(also=PICTURES)
@options.json_schema_option("loss")
def loss(
    source: options.SourceOptions,
    answer: options.OutputOptions,
    heat: Any,
    judging: LossArguments,
    **model: Any,
) -> None:
    """Show what a loss came to, masked and unmasked, and what each timestep has to do with it.

    Masked counts the timesteps that the mask calls valid; unmasked is the same predictions with every timestep
    counted, which is what the loss of model.predict gives; unmasked model is the same weights run without any mask.
    Keras evaluate is Keras's own number, which also depends on the batch size.

    With a model of your own, FILE may be an .npz with an array, or records with a field, for each input, and
    --targets-field names the one that holds the targets. --input-dim, --embedding-dim, --zero-output-for-mask, --seed,
    --units and --mask-source make a built-in model and go with no other.
    """
    from maskcli.api.loss import loss as explain_loss
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.documents import make_loss_document
    from maskcli.render.progress import show_progress

    answer.check_output(also=PICTURES)
    check_pictures(answer)
    check_heat(heat, answer)
    builtin = options.is_builtin_model(model["model"], *(name for name in ONLY_BUILTIN if name != "return_sequences"))
    asked = judging.asked()
    data, layout, naming = source.load_data(builtin, *judging.files)
    with naming, show_progress("Running the model", "rows") as progress, quiet_stderr(), quiet_stdout():
        report = explain_loss(data, **asked, **dataclasses.asdict(layout), **model, progress=progress)
    view = partial(_view, report, heat)
    answer.write(
        options.CommandResult(
            partial(make_loss_document, report), view, prepare_pictures(partial(draw_loss, report.first))
        )
    )


def _view(report: LossReport, heat: Any, limits: Limits) -> list[Section]:
    if heat is None:
        from maskcli.render.views.loss import view

        return view(report, limits)
    from maskcli.render.views.heat import view_loss

    return view_loss(report, heat, limits)
