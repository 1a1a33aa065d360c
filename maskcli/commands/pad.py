"""``maskcli pad``."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

import click

from maskcli.commands.completers import complete_file
from maskcli.commands.grouped import GroupedCommand, GroupedOption
from maskcli.commands.options import list_set_options, record_options
from maskcli.commands.output import ONLY_SHARDS, HeatOptions, describe_suffix, output_options
from maskcli.commands.source import SourceOptions, source_options
from maskcli.errors import InputError, NestedRowsError, UsageError
from maskcli.records.layout import Layout
from maskcli.records.options import OUTPUT, RUNNING, EngineOptions, ShardOptions, read_specs
from maskcli.render.forms import CommandResult
from maskcli.sequences.sources import import_pyarrow
from maskcli.sequences.stdout import STDOUT

if TYPE_CHECKING:
    from maskcli.records.sequences import Excerpt, PaddedBatch
    from maskcli.render.parts import Limits, Resolution, Section
    from maskcli.sequences.streaming import BatchFile, SequenceFiles

MASK_SUFFIX = ".npy"


@click.command(cls=GroupedCommand, examples={OUTPUT: "-o batch.npz", RUNNING: "-o train/ --shards 64 --processes 4"})
@source_options
@click.option(
    "--mask-output",
    cls=GroupedOption,
    group=OUTPUT,
    metavar="PATH",
    shell_complete=complete_file,
    help="Write the mask: .npy, of booleans, True at tokens.",
)
@click.option(
    "--compress",
    cls=GroupedOption,
    group=OUTPUT,
    is_flag=True,
    help="Compress an .npz, which takes ten times as long.",
)
@record_options(ShardOptions, "shards")
@output_options("pad", HeatOptions)
def pad(
    source: SourceOptions, output: HeatOptions, shards: ShardOptions, mask_output: str | None, compress: bool
) -> None:
    """Read ragged integer sequences, pad and truncate them, and show or write the batch.

    FILE is JSON, JSON Lines, text, CSV, .npy, .npz, Parquet, Arrow or TFRecord, plain, .gz or .zst; a pattern; or a
    directory (matching files in name order, or shards by their manifest). - is standard input, which is also read
    without FILE. Tokens equal those of keras.utils.pad_sequences. Files of any size are padded to .npy, .npz, .jsonl,
    .csv, .parquet, .arrow and .tfrecord in little memory; --format writes the same to a pipe.
    """
    from maskcli.records.sequences import PaddedBatch

    if shards.used is not None:
        from maskcli.commands.pad_shards import write_shards

        write_shards(source, output, shards, mask_output, compress)
        return
    for option in list_set_options(*read_specs(EngineOptions)):
        raise UsageError(
            where=option,
            expected="--shards or --buckets, whose files several processes can write",
            received="a single batch",
            fix=f"Leave out {option}, or add --shards 8 --output DIR/.",
        )
    if output.format in ONLY_SHARDS:
        raise UsageError(
            where=f"--format {output.format}",
            expected="--shards, --buckets or --pack",
            received="a single batch",
            fix="Add --shards 1 --output DIR/, or use --format tfrecord.",
        )
    output.check()
    _check_mask_output(mask_output, output)
    batch_file = _make_batch_file(output, compress)
    batch = _pad_source(source, output, batch_file, mask_output)
    if isinstance(batch, PaddedBatch) and (batch_file or mask_output):
        from maskcli.sequences.streaming import write_batch

        write_batch(batch, batch_file, mask_output)
    if batch_file is None:
        output.write(_make_result(batch, output.heat))
    else:
        output.announce()


def _pad_source(
    source: SourceOptions, output: HeatOptions, batch_file: BatchFile | None, mask_output: str | None
) -> PaddedBatch | Excerpt:
    """Return the batch; an excerpt of one that was written while it was read."""
    from maskcli.sequences.padding import pad_ragged

    in_parts = source.tokenizer is None and output.heat is None and (batch_file is not None or output.is_excerpt)
    # A fraction is no id, so that only features can be padded with it.
    if isinstance(source.padding.get("value"), float):
        return _pad_features(source, output, batch_file)
    try:
        files = source.open_chunks()
        if (batch_file or mask_output) and in_parts and files.in_chunks:
            layout = source.replace_layout(files.layout or Layout())
            return _pad_chunks(files, layout, batch_file, mask_output, 0 if batch_file else output.max_rows)
        loaded, layout = source.read()
        with loaded.naming():
            return dataclasses.replace(pad_ragged(loaded.ragged, layout), origin=loaded.origin)
    except NestedRowsError as error:
        return _pad_features(source, output, batch_file, error)


def _pad_features(
    source: SourceOptions, output: HeatOptions, batch_file: BatchFile | None, problem: NestedRowsError | None = None
) -> PaddedBatch:
    """Read and pad rows with a vector at each timestep; raise ``problem`` if all its numbers are integers."""
    from maskcli.inputs.dataset import read_dataset
    from maskcli.inputs.features import has_fractions, list_feature_rows, pad_features
    from maskcli.sequences.padding import check_layout

    rows = []
    for file in source.sources:
        dataset = read_dataset(file, (), Layout(), source.input_format, source.field)
        try:
            rows += list_feature_rows(dataset, source.field)
        except InputError as error:
            if problem is None:  # Ids cannot be padded with the fraction that --value has.
                check_layout(source.replace_layout(Layout()))
            raise error.at(file.name) from None
    if problem is not None and not has_fractions(rows):
        raise problem
    _check_feature_options(batch_file, output)
    return dataclasses.replace(pad_features(rows, source.replace_layout(Layout())), origin=source.origin)


def _check_feature_options(batch_file: BatchFile | None, output: HeatOptions) -> None:
    """Raise UsageError for a format or a view that only ids have."""
    name = output.form.name
    if (batch_file is not None and batch_file.entry.write_features is None) or output.form.kind == "picture":
        raise UsageError(
            where=f"--format {name}" if output.path is None else f"--output {output.path}",
            expected="a form that holds features: table, markdown, json, jsonl, npy or npz",
            received=name,
            fix="Choose one of these.",
        )


def _make_batch_file(output: HeatOptions, compress: bool) -> BatchFile | None:
    """Return the file of a format that holds the batch; None if the result has another form, or is not requested.

    Raises:
        UsageError: for ``--compress`` with another format, and without the package that writes the format.
    """
    from maskcli.sequences.formats import FORMATS

    entry = FORMATS.get(output.form.name)
    if compress and (entry is None or entry.packing_writer is None):
        raise UsageError(
            where="--compress",
            expected="--format npz, or an --output that ends in .npz",
            received=output.form.name,
            fix="Add .gz or .zst to the name of a text file; Parquet is compressed anyway.",
        )
    if entry is None or output.form.kind != "batch" or (output.quiet and output.path is None):
        return None
    from maskcli.sequences.streaming import BatchFile

    if entry.needs_pyarrow:
        import_pyarrow(output.form.name)
    if entry.name == "tfrecord":
        from maskcli.sequences.formats.tfrecord import import_crc32c

        import_crc32c(output.form.name)
    return BatchFile(output.path or STDOUT, entry, compress)


def _check_mask_output(mask_output: str | None, output: HeatOptions) -> None:
    if mask_output is None:
        return
    from pathlib import Path

    if Path(mask_output).suffix.lower() != MASK_SUFFIX:
        raise UsageError(
            where=f"--mask-output {mask_output}",
            expected=f"a path that ends in {MASK_SUFFIX}",
            received=describe_suffix(mask_output),
            fix="A mask is written as one NumPy array of booleans.",
        )
    if output.path is not None and Path(output.path).resolve() == Path(mask_output).resolve():
        raise UsageError(
            where=f"--mask-output {mask_output}",
            expected="a file of its own",
            received="the file of --output",
            fix="Name another file for the mask.",
        )


def _pad_chunks(
    files: SequenceFiles, layout: Layout, output: BatchFile | None, mask_output: str | None, rows: int
) -> Excerpt:
    from maskcli.render.progress import show_progress
    from maskcli.sequences.streaming import pad_files

    with show_progress("Padding", "%") as progress:
        return pad_files(files, layout, output, mask_output, rows, lambda share: progress(int(100 * share), 100))


def _make_result(batch: PaddedBatch | Excerpt, heat: Resolution | None) -> CommandResult:
    """Return the result; an excerpt has no document and no picture, because it is printed only as text."""
    from maskcli.records.sequences import PaddedBatch

    whole: PaddedBatch = batch if isinstance(batch, PaddedBatch) else batch.first
    return CommandResult(
        record=batch,
        view=partial(_view, batch, heat),
        picture=partial(_draw, whole),
    )


def _view(batch: PaddedBatch | Excerpt, heat: Resolution | None, limits: Limits) -> list[Section]:
    from maskcli.records.sequences import Excerpt

    if heat is None or isinstance(batch, Excerpt):
        from maskcli.render.views.pad import view

        return view(batch, limits)
    from maskcli.render.views.heat import view_batch

    return view_batch(batch, heat, limits)


def _draw(batch: PaddedBatch) -> bytes:
    from maskcli.render.charts.batch import make_batch_figure
    from maskcli.render.pictures import render_svg

    return render_svg(make_batch_figure(batch))
