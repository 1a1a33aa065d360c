"""``maskcli pad``."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands import options
from maskcli.commands.heat_option import check_heat, heat_option
from maskcli.commands.picture_output import PICTURES, check_pictures, prepare_pictures
from maskcli.errors import UsageError
from maskcli.records.sequences import Excerpt, Layout, PaddedBatch
from maskcli.render.documents import make_pad_document
from maskcli.render.parts import Limits, Section
from maskcli.sequences.files import WRITABLE
from maskcli.sequences.padding import pad_ragged

if TYPE_CHECKING:
    from maskcli.sequences.streaming import SequenceFiles

MASK_SUFFIX = ".npy"


@click.command()
@options.source_options
@heat_option
@click.option("--mask-output", metavar="PATH", help="Write the mask: .npy, of booleans, True where a token stands.")
@options.output_options(f"Write the batch: {', '.join(WRITABLE)}; or as it is shown: .md, .svg, .png.", also=PICTURES)
@options.json_schema_option("pad")
def pad(source: options.SourceOptions, answer: options.OutputOptions, heat: Any, mask_output: str | None) -> None:
    """Read ragged integer sequences, pad and truncate them, and show or write the batch.

    FILE is JSON, JSON Lines, text, CSV, .npy, .npz, Parquet or Arrow, plain, .gz or .zst, a pattern or a directory of
    such; - is standard input. Without FILE the sample is padded. Tokens equal those of keras.utils.pad_sequences. Into
    .npy, .npz, .jsonl and .csv, files of any size are padded in little memory.
    """
    answer.check_output(also=PICTURES, files=tuple(WRITABLE))
    check_pictures(answer)
    check_heat(heat, answer)
    _check_mask_output(mask_output, answer)
    output = answer.output if answer.output and Path(answer.output).suffix.lower() in WRITABLE else None
    printed = answer if output is None else dataclasses.replace(answer, output=None)
    if (output or mask_output) and heat is None and printed.is_excerpt and _in_parts(output):
        files = source.as_files()
        if files.in_chunks:
            shown = _padded_into(files, source.layout_over(Layout()), output, mask_output, answer.max_rows or 0)
            printed.show(partial(_view, shown, None))
            return
    loaded, layout = source.read()
    with loaded.naming():
        batch = pad_ragged(loaded.ragged, layout)
    if output or mask_output:
        from maskcli.sequences.streaming import write_batch

        write_batch(batch, output, mask_output)
    printed.write(
        options.CommandResult(
            partial(make_pad_document, batch), partial(_view, batch, heat), prepare_pictures(partial(_picture, batch))
        )
    )


def _check_mask_output(mask_output: str | None, answer: options.OutputOptions) -> None:
    if mask_output is None:
        return
    if Path(mask_output).suffix.lower() != MASK_SUFFIX:
        raise UsageError(
            where=f"--mask-output {mask_output}",
            expected=f"a path that ends in {MASK_SUFFIX}",
            received=repr(Path(mask_output).suffix) if Path(mask_output).suffix else "no suffix",
            fix="A mask is written as one NumPy array of booleans.",
        )
    if answer.output is not None and Path(answer.output).resolve() == Path(mask_output).resolve():
        raise UsageError(
            where=f"--mask-output {mask_output}",
            expected="a file of its own",
            received="that of --output",
            fix="Name another file for the mask.",
        )


def _in_parts(output: str | None) -> bool:
    return output is None or WRITABLE[Path(output).suffix.lower()].in_parts


def _padded_into(
    files: SequenceFiles, layout: Layout, output: str | None, mask_output: str | None, rows: int
) -> Excerpt:
    from maskcli.render.progress import show_progress
    from maskcli.sequences.streaming import pad_files

    with show_progress("Padding", "%") as progress:
        return pad_files(files, layout, output, mask_output, rows, lambda share: progress(int(100 * share), 100))


def _view(batch: PaddedBatch | Excerpt, heat: Any, limits: Limits) -> list[Section]:
    if heat is None or isinstance(batch, Excerpt):
        from maskcli.render.views.pad import view

        return view(batch, limits)
    from maskcli.render.views.heat import view_batch

    return view_batch(batch, heat, limits)


def _picture(batch: PaddedBatch) -> bytes:
    from maskcli.render.charts.batch import make_batch_figure
    from maskcli.render.pictures import render_svg

    return render_svg(make_batch_figure(batch))
