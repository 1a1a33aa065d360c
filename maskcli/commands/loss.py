"""``maskcli loss``."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.inspection.losses import LOSSES
from maskcli.models.mask_sources import MASK_SOURCES


@click.command(short_help="Compare masked and unmasked loss.")
@options.source_options
@click.option(
    "--targets",
    metavar="FILE|arange|zeros|ones|shift",
    default="arange",
    show_default=True,
    help="A file with a number, class id or vector for each timestep, or targets to make; shift is the next token.",
)
@click.option("--targets-field", metavar="NAME", help="Field of JSON records, or array of an .npz, with the targets.")
@click.option(
    "--loss",
    type=click.Choice(list(LOSSES)),
    default="mse",
    show_default=True,
    help="Cross-entropies take the outputs as logits, those of an LSTM through a Dense layer.",
)
@click.option("--batch-size", type=options.AT_LEAST_1, help="Of Keras's evaluate.  [default: all sequences]")
@options.model_options
@click.option(
    "--units",
    type=options.AT_LEAST_1,
    help="Width of the outputs, or of the LSTM before logits.  [default: what the targets need, or 3]",
)
@options.mask_source_option(MASK_SOURCES)
@options.answer_options("Write the result: .json, or .txt for the tables.")
@options.json_schema_option("loss")
def loss(source: options.Source, answer: options.Answer, **model: Any) -> None:
    """Show masked against unmasked loss, timestep by timestep, and check Keras's evaluate by hand.

    Masked counts the timesteps that the mask calls valid; unmasked is the same predictions with every timestep
    counted; unmasked model is the same weights run without any mask.
    """
    from maskcli import verbs
    from maskcli.models.runtime import quiet_stderr
    from maskcli.render.documents import loss_document
    from maskcli.render.progress import working
    from maskcli.render.views import loss as views

    answer.check_output()
    loaded, layout = source.read(model["targets"])
    with loaded.naming(), working("Loading TensorFlow and running the model"), quiet_stderr():
        report = verbs.loss(loaded.ragged, **dataclasses.asdict(layout), **model)
    document, view = loss_document(report), partial(views.view, report)
    answer.write(document, view)
    answer.show(document, view)
