"""``maskcli pad``."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from maskcli.commands import options
from maskcli.commands.drawing import PICTURES, check_pictures, drawn
from maskcli.commands.heat import check_heat, heat_option
from maskcli.records import PaddedBatch
from maskcli.render.documents import pad_document
from maskcli.render.parts import Limits, Part
from maskcli.sequences.files import WRITABLE
from maskcli.sequences.padding import pad_ragged


@click.command(short_help="Pad sequences from files; show or write the batch.")
@options.source_options
@heat_option
@options.answer_options(f"Write the batch: {', '.join(WRITABLE)}; or as it is shown: .md, .svg, .png.", also=PICTURES)
@options.json_schema_option("pad")
def pad(source: options.Source, answer: options.Answer, heat: Any) -> None:
    """Read ragged integer sequences, pad and truncate them, and show or write the batch.

    FILE is JSON, JSON Lines, text, CSV, .npy or .npz, plain or .gz; - is standard input. Without FILE the sample is
    padded. Tokens equal those of keras.utils.pad_sequences.
    """
    answer.check_output(also=PICTURES, files=tuple(WRITABLE))
    check_pictures(answer)
    check_heat(heat, answer)
    loaded, layout = source.read()
    with loaded.naming():
        batch = pad_ragged(loaded.ragged, layout)
    files = {suffix: partial(write, batch) for suffix, write in WRITABLE.items()}
    view = partial(_view, batch, heat)
    answer.give(options.Result(partial(pad_document, batch), view, drawn(partial(_picture, batch)), files))


def _view(batch: PaddedBatch, heat: Any, limits: Limits) -> list[Part]:
    if heat is None:
        from maskcli.render.views.pad import view

        return view(batch, limits)
    from maskcli.render.views.heat import of_batch

    return of_batch(batch, heat, limits)


def _picture(batch: PaddedBatch) -> bytes:
    from maskcli.render.figures.batch import of_batch
    from maskcli.render.pictures import to_svg

    return to_svg(of_batch(batch))
