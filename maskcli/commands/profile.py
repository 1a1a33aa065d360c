"""``maskcli profile``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskcli.commands.grouped import GroupedCommand, GroupedOption
from maskcli.commands.options import list_set_options, request_options
from maskcli.commands.output import TableOptions, output_options
from maskcli.commands.source import SourceOptions, select_source_options
from maskcli.errors import ExitCode, UsageError
from maskcli.records.layout import Layout
from maskcli.records.options import BATCHES, OUTPUT, RULES, RUNNING, EngineOptions, read_specs
from maskcli.records.requests import ProfileRequest
from maskcli.render.forms import CommandResult
from maskcli.sequences.stdout import emit

if TYPE_CHECKING:
    from maskcli.records.profile import ProfileReport


@click.command(
    cls=GroupedCommand,
    examples={
        OUTPUT: "-o profile.json",
        RULES: "--select MSK0 --input-dim 30000",
        RUNNING: "--part 3/8 -o part3.json",
    },
)
@select_source_options("tokenizer", "dtype")
@request_options(ProfileRequest)
@click.option(
    "--code",
    "library",
    cls=GroupedOption,
    group=BATCHES,
    type=click.Choice(("tf.data", "keras", "torch")),
    help="Print only code that makes batches by these buckets, ready to be pasted; JSON has it as well.",
)
@click.option(
    "--merge",
    cls=GroupedOption,
    group=RUNNING,
    is_flag=True,
    help="FILES are the JSON of all parts of a profile: show that of the whole.",
)
@output_options("profile", TableOptions)
def profile(
    source: SourceOptions, arguments: dict[str, Any], output: TableOptions, library: str | None, merge: bool
) -> int:
    """Choose maxlen, buckets and batches from the data: lengths, ids, padding and duplicates of a corpus of any size.

    FILE is as for pad: JSON, JSON Lines, text, CSV, .npy, .npz, Parquet or Arrow, plain, .gz or .zst; a pattern; or a
    directory. Files are read in blocks, by several processes if there are many, in bounded memory. The rules of check
    about data judge all rows, and name the file and line of the first offender.

    --scheduler works on a cluster of Dask, --workers on one of this machine. Without Dask, as an array of jobs, each
    job runs --part I/N, and --merge makes the profile of the whole.
    """
    output.check()
    report = _merge(source, arguments) if merge else _profile(source, arguments)
    if library is None or output.path is not None:
        output.write(_make_result(report))
    if library is not None:
        emit([getattr(report.code, library.replace(".", "_")).encode()])
    return ExitCode.DIFFERENT if report.skipped else ExitCode.OK


def _profile(source: SourceOptions, arguments: Mapping[str, Any]) -> ProfileReport:
    from maskcli.api.profile import profile as profile_files
    from maskcli.render.progress import show_bytes

    values = {**arguments, "maxlens": _parse_lengths(arguments["maxlens"])}
    layout = source.replace_layout(Layout())
    with show_bytes("Profiling") as progress:
        return profile_files(source.open_chunks(), **dataclasses.asdict(layout), **values, progress=progress)


def _merge(source: SourceOptions, arguments: Mapping[str, Any]) -> ProfileReport:
    from maskcli.api.profile_parts import merge_profiles

    reading = ("part", *read_specs(EngineOptions), "keep_going", "input_format", "field", "sample", "by")
    for option in list_set_options(*reading):
        raise UsageError(
            where=option,
            expected="no option about reading data",
            received="--merge",
            fix=f"Leave out {option}: the parts have read the data.",
        )
    files = source.files or source.piped
    values = {**arguments, "maxlens": _parse_lengths(arguments["maxlens"])}
    return merge_profiles(files, **dataclasses.asdict(source.replace_layout(Layout())), **values)


def _parse_lengths(text: str | None) -> tuple[int, ...]:
    try:
        lengths = tuple(int(length) for length in text.split(",")) if text else ()
        if all(length > 0 for length in lengths):
            return lengths
    except ValueError:
        pass
    raise UsageError(
        where="--maxlens",
        expected="positive numbers, separated by commas",
        received=repr(text),
        fix="For example --maxlens 64,128,256.",
    )


def _make_result(report: ProfileReport) -> CommandResult:
    from maskcli.render.views.profile import view

    return CommandResult(record=report, view=partial(view, report), picture=partial(_draw, report))


def _draw(report: ProfileReport) -> bytes:
    from maskcli.render.charts.lengths import make_figure
    from maskcli.render.pictures import render_svg

    return render_svg(make_figure(report.corpus))
