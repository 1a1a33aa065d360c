"""``maskcli pad``."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maskcli.commands.completers import complete_file
from maskcli.commands.grouped import GroupedCommand, GroupedOption
from maskcli.commands.output import HeatOptions, describe_suffix, output_options
from maskcli.commands.source import SourceOptions, source_options
from maskcli.errors import UsageError
from maskcli.records.options import OUTPUT
from maskcli.records.sequences import Excerpt, Layout, PaddedBatch
from maskcli.render.forms import CommandResult
from maskcli.render.parts import Limits, Resolution, Section
from maskcli.sequences.files import WRITABLE
from maskcli.sequences.padding import pad_ragged

if TYPE_CHECKING:
    from maskcli.sequences.streaming import SequenceFiles

MASK_SUFFIX = ".npy"
WRITES = f"Write the batch: {', '.join(WRITABLE)}; or the rendered view: .md, .svg, .png."


@click.command(cls=GroupedCommand, examples={OUTPUT: "-o batch.npz"})
@source_options
@click.option(
    "--mask-output",
    cls=GroupedOption,
    group=OUTPUT,
    metavar="PATH",
    shell_complete=complete_file,
    help="Write the mask: .npy, of booleans, True at tokens.",
)
@output_options("pad", HeatOptions, WRITES)
def pad(source: SourceOptions, output: HeatOptions, mask_output: str | None) -> None:
    """Read ragged integer sequences, pad and truncate them, and show or write the batch.

    FILE is JSON, JSON Lines, text, CSV, .npy, .npz, Parquet or Arrow, plain, .gz or .zst; a pattern; or a directory
    (matching files, in name order). - is standard input. Without FILE the sample is padded. Tokens equal those of
    keras.utils.pad_sequences. Files of any size are padded to .npy, .npz, .jsonl and .csv in little memory.
    """
    output.check(tuple(WRITABLE))
    _check_mask_output(mask_output, output)
    batch_path = output.output if output.output and Path(output.output).suffix.lower() in WRITABLE else None
    printed = output if batch_path is None else dataclasses.replace(output, output=None)
    if (batch_path or mask_output) and output.heat is None and printed.is_excerpt and _fits_chunks(batch_path):
        files = source.open_chunks()
        if files.in_chunks:
            excerpt = _pad_chunks(files, source.replace_layout(Layout()), batch_path, mask_output, output.max_rows)
            printed.write(_make_result(excerpt, None))
            return
    loaded, layout = source.read()
    with loaded.naming():
        batch = pad_ragged(loaded.ragged, layout)
    if batch_path or mask_output:
        from maskcli.sequences.streaming import write_batch

        write_batch(batch, batch_path, mask_output)
    printed.write(_make_result(batch, output.heat))


def _check_mask_output(mask_output: str | None, output: HeatOptions) -> None:
    if mask_output is None:
        return
    if Path(mask_output).suffix.lower() != MASK_SUFFIX:
        raise UsageError(
            where=f"--mask-output {mask_output}",
            expected=f"a path that ends in {MASK_SUFFIX}",
            received=describe_suffix(mask_output),
            fix="A mask is written as one NumPy array of booleans.",
        )
    if output.output is not None and Path(output.output).resolve() == Path(mask_output).resolve():
        raise UsageError(
            where=f"--mask-output {mask_output}",
            expected="a file of its own",
            received="the file of --output",
            fix="Name another file for the mask.",
        )


def _fits_chunks(path: str | None) -> bool:
    return path is None or WRITABLE[Path(path).suffix.lower()].in_parts


def _pad_chunks(
    files: SequenceFiles, layout: Layout, output: str | None, mask_output: str | None, rows: int
) -> Excerpt:
    from maskcli.render.progress import show_progress
    from maskcli.sequences.streaming import pad_files

    with show_progress("Padding", "%") as progress:
        return pad_files(files, layout, output, mask_output, rows, lambda share: progress(int(100 * share), 100))


def _make_result(batch: PaddedBatch | Excerpt, heat: Resolution | None) -> CommandResult:
    """Return the result; an excerpt has no document and no picture, because it is printed only as text."""
    whole: PaddedBatch = batch if isinstance(batch, PaddedBatch) else batch.first
    return CommandResult(
        record=whole,
        view=partial(_view, batch, heat),
        picture=partial(_draw, whole),
    )


def _view(batch: PaddedBatch | Excerpt, heat: Resolution | None, limits: Limits) -> list[Section]:
    if heat is None or isinstance(batch, Excerpt):
        from maskcli.render.views.pad import view

        return view(batch, limits)
    from maskcli.render.views.heat import view_batch

    return view_batch(batch, heat, limits)


def _draw(batch: PaddedBatch) -> bytes:
    from maskcli.render.charts.batch import make_batch_figure
    from maskcli.render.pictures import render_svg

    return render_svg(make_batch_figure(batch))
