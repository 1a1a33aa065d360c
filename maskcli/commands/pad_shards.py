"""``maskcli pad --shards``, ``--buckets`` and ``--pack``: a directory instead of a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maskcli.commands.options import list_set_options
from maskcli.errors import UsageError
from maskcli.records.layout import Layout
from maskcli.records.options import EngineOptions, read_specs, select_options
from maskcli.records.wording import format_count
from maskcli.sequences.sources import display_name

if TYPE_CHECKING:
    from maskcli.commands.output import HeatOptions
    from maskcli.commands.source import SourceOptions
    from maskcli.records.manifest import Manifest, ShardSettings
    from maskcli.records.options import ShardOptions

DEFAULT_FORMAT = "npy"


def write_shards(
    source: SourceOptions, output: HeatOptions, shards: ShardOptions, mask_output: str | None, compress: bool
) -> None:
    """Pad the sequences of FILE into the directory of ``--output``."""
    folder = _check_output(source, output, shards, mask_output)
    form = output.format if output.sets_format else DEFAULT_FORMAT
    _check_format(form, compress)
    from maskcli.corpus.engines.choice import check_engine
    from maskcli.corpus.shards import pad_to_shards
    from maskcli.render.progress import show_progress

    check_engine(shards)
    settings = _make_settings(source, shards, form, compress)
    with show_progress("Padding", "%") as progress:
        manifest = pad_to_shards(
            source.sources,
            folder,
            settings,
            lambda share: progress(int(100 * share), 100),
            select_options(EngineOptions, shards),
        )
    if not output.quiet and sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"Wrote {display_name(str(folder))}: {_summarize(manifest)}", err=True)


def _check_output(source: SourceOptions, output: HeatOptions, shards: ShardOptions, mask_output: str | None) -> Path:
    """Return the directory; raise UsageError for options that apply to a single file or to a table."""
    from maskcli.sequences.writing import split_suffixes

    used = f"--{shards.used}"
    names_file = output.path is not None and not Path(output.path).is_dir() and any(split_suffixes(output.path))
    if output.path is None or names_file:
        raise UsageError(
            where=used,
            expected="a directory for the shards and their manifest",
            received="no --output" if output.path is None else f"--output {display_name(output.path)}",
            fix="Name one: --output train/. --format selects the format of the shards.",
        )
    single = {"--mask-output": mask_output, "--heat": output.heat, "--tokenizer": source.tokenizer}
    option = next((name for name, value in single.items() if value is not None), None)
    if option is not None:
        raise UsageError(
            where=option,
            expected=f"an option that applies to shards, for {used}",
            received="one for a single batch of ids",
            fix="Leave it out: shards have their masks or lengths with them. Text becomes ids before.",
        )
    return Path(output.path)


def _check_format(form: str, compress: bool) -> None:
    from maskcli.sequences.formats.shards.table import SHARD_FORMATS

    if form not in SHARD_FORMATS:
        raise UsageError(
            where=f"--format {form}",
            expected=f"a format of shards: {', '.join(SHARD_FORMATS)}",
            received=form,
            fix="Choose one of these.",
        )
    if compress and not SHARD_FORMATS[form].compresses:
        raise UsageError(
            where="--compress",
            expected="--format npz",
            received=form,
            fix="Leave it out; Parquet is compressed anyway.",
        )
    SHARD_FORMATS[form].check_packages()


def _make_settings(source: SourceOptions, shards: ShardOptions, form: str, compress: bool) -> ShardSettings:
    """Return the settings of the shards; raise UsageError for options that contradict each other."""
    from maskcli.records.manifest import ShardSettings
    from maskcli.sequences.padding import check_layout

    layout = check_layout(source.replace_layout(source.open_chunks().layout or Layout()))
    _check_pack(shards, layout)
    return ShardSettings(
        format=form,
        compress=compress,
        shards=shards.shards or 1,
        buckets=shards.buckets,
        pack=shards.pack,
        maxlen=layout.maxlen,
        padding=layout.padding,
        truncating=layout.truncating,
        value=layout.padding_id,
        dtype=layout.dtype,
        pad_to_multiple_of=layout.pad_to_multiple_of,
        input_format=source.input_format,
        field=source.field,
    )


def _check_pack(shards: ShardOptions, layout: Layout) -> None:
    if shards.pack is None:
        return
    is_longer = layout.maxlen is not None and layout.maxlen > shards.pack
    contradictions = {
        "--buckets": shards.buckets is not None,
        "--pad-to-multiple-of": layout.pad_to_multiple_of is not None,
        f"--maxlen {layout.maxlen}": is_longer,
    }
    contradictions |= dict.fromkeys(list_set_options(*read_specs(EngineOptions)), True)
    option = next((name for name, applies in contradictions.items() if applies), None)
    if option is not None:
        raise UsageError(
            where=option,
            expected=f"options that fit rows of {shards.pack} timesteps, for --pack {shards.pack}",
            received=option,
            fix="Leave out one of the two. With --pack, --maxlen is where a single sequence is cut, and one process "
            "packs all sequences.",
        )


def _summarize(manifest: Manifest) -> str:
    """Return ``4 shards, 4,000 rows, 3 % padding``."""
    from maskcli.render.numbers import format_share

    counts = manifest.counts
    padding = format_share(counts.padded_timesteps, counts.tokens + counts.padded_timesteps)
    rows = format_count(sum(group.rows for group in manifest.groups), "row")
    return f"{format_count(len(manifest.shards), 'shard')}, {rows}, {padding} padding"
