"""``maskcli inspect``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.commands.heat_option import check_heat, heat_option
from maskcli.commands.picture_output import PICTURES as FORMS
from maskcli.commands.picture_output import check_pictures, prepare_pictures
from maskcli.commands.pictures import INSPECTION_PICTURES, check_choice, draw_inspection, picture_options
from maskcli.errors import ExitCode
from maskcli.models.mask_sources import ALL, MASK_SOURCES
from maskcli.records.trace import Inspection
from maskcli.render.parts import Limits, Section

ONLY_BUILTIN = (
    "mask_source", "input_dim", "embedding_dim", "units", "return_sequences", "zero_output_for_mask", "seed",
)  # fmt: skip
"""Arguments that make a built-in model."""


def _view(inspection: Inspection, heat: Any, limits: Limits) -> list[Section]:
    if heat is None:
        from maskcli.render.views.inspect import view

        return view(inspection, limits)
    from maskcli.render.views.heat import view_inspection

    return view_inspection(inspection, heat, limits)


def _mermaid(inspection: Inspection) -> bytes:
    from maskcli.render.graph.mermaid import render_mermaid

    return render_mermaid(inspection).encode()


@click.command()
@options.source_options
@options.any_model_options
@click.option("--units", type=options.AT_LEAST_1, default=3, show_default=True, help="Width of the outputs.")
@click.option(
    "--return-sequences/--last-only",
    default=True,
    show_default=True,
    help="An output for each timestep, or the last one alone (LSTM).",
)
@options.mask_source_option([*MASK_SOURCES, ALL], "; all sets the three ways side by side, exit 1 if they differ")
@click.option("--unfold", is_flag=True, help="Also show calls inside Keras's own layers.")
@heat_option
@click.option(
    "--picture", type=click.Choice(INSPECTION_PICTURES), default="mask", show_default=True, help="What to draw."
)
@picture_options
@options.output_options(also=(*FORMS, "mermaid"))
@options.json_schema_option("inspect")
def inspect(
    source: options.SourceOptions,
    answer: options.OutputOptions,
    heat: Any,
    picture: str,
    sample: int,
    feature: int,
    **model: Any,
) -> int:
    """Run a model on data and show the mask: where it is made, used and lost, and what it does.

    Shown are the mask that the model's own mask source computed, the embedding vector of the padding id, what each
    call does to the mask, the outputs timestep by timestep, and beside them the same weights run without any mask.

    With a model of your own, FILE may be an .npz with an array, or records with a field, for each input. --input-dim,
    --embedding-dim, --zero-output-for-mask, --seed, --units, --return-sequences and --mask-source make a built-in
    model and go with no other.
    """
    from maskcli.api.inspect import inspect as inspect_model
    from maskcli.models.runtime import quiet_stderr, quiet_stdout
    from maskcli.render.documents import make_inspect_document
    from maskcli.render.progress import show_spinner

    answer.check_output(also=(*FORMS, "mermaid"))
    check_pictures(answer, "picture", "sample", "feature")
    if picture != "outputs":
        check_choice(picture, options.list_set_options("sample", "feature"), ["outputs"])
    check_heat(heat, answer)
    data, layout, naming = source.load_data(options.is_builtin_model(model["model"], *ONLY_BUILTIN))
    with naming, show_spinner("Loading TensorFlow and running the model"), quiet_stderr(), quiet_stdout():
        inspection = inspect_model(data, **dataclasses.asdict(layout), **model)
    view = partial(_view, inspection, heat)
    svg = partial(draw_inspection, inspection, picture, sample, feature)
    others: dict[options.Form, Callable[[], bytes]] = {
        **prepare_pictures(svg),
        "mermaid": partial(_mermaid, inspection),
    }
    answer.write(options.CommandResult(partial(make_inspect_document, inspection), view, others))
    return ExitCode.DIFFERENT if inspection.mask_sources_agree is False else ExitCode.OK
