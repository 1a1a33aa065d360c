"""``maskcli pad``."""

from __future__ import annotations

from functools import partial

import click

from maskcli.commands import options
from maskcli.render.documents import pad_document
from maskcli.sequences.files import WRITABLE, write_batch
from maskcli.sequences.padding import pad_ragged


@click.command(short_help="Pad sequences from files; show or write the batch.")
@options.source_options
@options.answer_options(f"Write the batch; the suffix says how: {', '.join(WRITABLE)}.")
@options.json_schema_option("pad")
def pad(source: options.Source, answer: options.Answer) -> None:
    """Read ragged integer sequences, pad and truncate them, and show or write the batch.

    FILE is JSON, JSON Lines, text, CSV, .npy or .npz, plain or .gz; - is standard input. Without FILE the sample is
    padded. Tokens equal those of keras.utils.pad_sequences.
    """
    from maskcli.render.views import pad as views

    answer.check_output(tuple(WRITABLE))
    loaded, layout = source.read()
    with loaded.naming():
        batch = pad_ragged(loaded.ragged, layout)
    if answer.output is not None:
        write_batch(batch, answer.output)
    answer.show(pad_document(batch), partial(views.view, batch))
