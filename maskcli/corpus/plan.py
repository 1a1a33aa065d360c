"""Plan the shards of a corpus: a first pass over its files measures the lengths of all sequences."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from maskcli.corpus.packing import choose_rows_to_pack, cut_windows, get_window
from maskcli.errors import UsageError
from maskcli.records.arrays import Ints
from maskcli.records.layout import Layout
from maskcli.records.manifest import (
    Manifest,
    SequenceCounts,
    ShardGroup,
    ShardSettings,
    SourceFile,
)
from maskcli.records.sequences import RaggedSequences
from maskcli.records.wording import format_count
from maskcli.sequences.buckets import choose_histogram_buckets
from maskcli.sequences.files import make_only_empty_error, read_chunks
from maskcli.sequences.formats.base import Chunk, Field
from maskcli.sequences.formats.shards.manifests import make_layout
from maskcli.sequences.padding import check_fitting_values, resolve_maxlen
from maskcli.sequences.sources import Source
from maskcli.sequences.splits import make_row_splits
from maskcli.sequences.streaming import Progress
from maskcli.version import __version__

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class CorpusLengths:
    """The lengths of all sequences.

    Attributes:
        lengths: ``(n_lengths,)``, the different lengths, ascending.
        counts: ``(n_lengths,)``, how many sequences have each of them.
        per_source: the number of sequences in each file.
        packed_rows: rows that packed sequences fill; 0 unless they are packed.
    """

    lengths: Ints
    counts: Ints
    per_source: tuple[int, ...]
    packed_rows: int = 0

    @property
    def sequences(self) -> int:
        """The number of sequences."""
        return int(self.counts.sum())


def plan_shards(
    sources: Sequence[Source],
    checksums: Sequence[str],
    measured: CorpusLengths,
    name: str,
    settings: ShardSettings,
) -> Manifest:
    """Return the manifest of shards that are not written yet.

    Args:
        sources: the files.
        checksums: of the files.
        measured: the lengths of their sequences.
        name: the start of the names of the shards.
        settings: the options.

    Raises:
        InputError: for files that hold no token.
        UsageError: for more shards than rows.
    """
    if not measured.lengths.any():
        raise make_only_empty_error(sources, measured.sequences)
    groups = _choose_groups(measured, settings)
    files = (
        SourceFile(source.path, source.size, checksum, sequences)
        for source, checksum, sequences in zip(sources, checksums, measured.per_source, strict=True)
    )
    counts = _count_tokens(measured, groups, settings)
    return Manifest(__version__, name, False, settings, counts, tuple(files), groups, ())


def get_longest(settings: ShardSettings) -> int | None:
    """Return the timesteps that a sequence keeps; None for all of them."""
    return settings.pack if settings.maxlen is None else settings.maxlen


def measure_lengths(sources: Sequence[Source], settings: ShardSettings, progress: Progress) -> CorpusLengths:
    """Return the lengths of all sequences, whose values are checked."""
    histogram: Counter[int] = Counter()
    per_source = [0] * len(sources)

    def read_lengths() -> Iterator[Ints]:
        for index, chunk in read_sources(
            sources, settings, partial(check_sequence_values, layout=make_layout(settings, None)), progress
        ):
            lengths, counts = np.unique(chunk.result, return_counts=True)
            histogram.update(dict(zip(lengths.tolist(), counts.tolist(), strict=True)))
            per_source[index] += chunk.rows
            yield chunk.result

    packed_rows = _count_packed_rows(read_lengths(), settings)
    ends = sorted(histogram)
    return CorpusLengths(
        np.array(ends, np.int64), np.array([histogram[end] for end in ends]), tuple(per_source), packed_rows
    )


def check_sequence_values(ragged: RaggedSequences, layout: Layout) -> Ints:
    """Return the lengths of sequences; raise InputError for values that do not fit into the dtype of the layout."""
    return check_fitting_values(ragged, layout).lengths


def read_sources(
    sources: Sequence[Source],
    settings: ShardSettings,
    convert: Callable[[RaggedSequences], T],
    progress: Progress,
    first: int = 0,
) -> Iterator[tuple[int, Chunk[T]]]:
    """Yield the chunks of the files from file ``first`` on, each with the index of its file."""
    sizes = [source.size for source in sources]
    for index in range(first, len(sources)):
        before = sum(sizes[:index])
        for chunk in read_chunks(sources[index], settings.input_format, Field(settings.field), convert):
            yield index, chunk
            progress(min(1.0, (before + sources[index].place) / sum(sizes)))


def _count_packed_rows(parts: Iterator[Ints], settings: ShardSettings) -> int:
    """Consume the lengths of all sequences, and return the rows that they are packed into."""
    if settings.pack is None:
        for _ in parts:
            pass
        return 0
    capacity = settings.pack
    # The tokens do not matter here, so that one zero stands in all their places.
    stubs = (
        RaggedSequences(np.broadcast_to(np.int8(0), int(lengths.sum())), make_row_splits(lengths))
        for lengths in (shorten_lengths(lengths, settings) for lengths in parts)
    )
    windows = cut_windows(stubs, get_window(capacity))
    return sum(int(choose_rows_to_pack(window.lengths, capacity).max()) + 1 for window in windows)


def shorten_lengths(lengths: Ints, settings: ShardSettings) -> Ints:
    """Return the lengths of packed sequences: truncated, without empty ones."""
    longest = get_longest(settings)
    assert longest is not None  # noqa: S101 - the rows of packed sequences have a length
    shortened = np.minimum(lengths, longest)
    return shortened[shortened > 0]


def _choose_groups(measured: CorpusLengths, settings: ShardSettings) -> tuple[ShardGroup, ...]:
    """Return the shards by the length of their rows."""
    if settings.pack is not None:
        return (_make_group(settings.pack, measured.packed_rows, settings),)
    layout = make_layout(settings, settings.maxlen)
    layout = dataclasses.replace(layout, pad_to_multiple_of=settings.pad_to_multiple_of)
    if settings.buckets is None:
        maxlen = resolve_maxlen(layout, int(measured.lengths[-1])).maxlen
        return (_make_group(maxlen or 1, measured.sequences, settings),)
    multiple = settings.pad_to_multiple_of or 1
    # A row has at least one timestep.
    padded = -(-np.maximum(np.minimum(measured.lengths, settings.maxlen or measured.lengths[-1]), 1) // multiple)
    ends, places = np.unique(padded * multiple, return_inverse=True)
    counts = np.bincount(places, measured.counts).astype(np.int64)
    buckets = choose_histogram_buckets(ends, counts, settings.buckets)
    return tuple(
        ShardGroup(bucket.maxlen, bucket.sequences, min(settings.shards, bucket.sequences)) for bucket in buckets
    )


def _make_group(maxlen: int, rows: int, settings: ShardSettings) -> ShardGroup:
    if settings.shards > rows:
        raise UsageError(
            where=f"--shards {settings.shards}",
            expected=f"at most {format_count(rows, 'shard')}, as many as there are rows",
            received=str(settings.shards),
            fix="A shard has at least one row: choose fewer shards.",
        )
    return ShardGroup(maxlen, rows, settings.shards)


def _count_tokens(measured: CorpusLengths, groups: tuple[ShardGroup, ...], settings: ShardSettings) -> SequenceCounts:
    longest = get_longest(settings) or int(measured.lengths[-1])
    kept = int((np.minimum(measured.lengths, longest) * measured.counts).sum())
    return SequenceCounts(
        sequences=measured.sequences,
        empty_sequences=int(measured.counts[measured.lengths == 0].sum()),
        tokens=kept,
        padded_timesteps=sum(group.maxlen * group.rows for group in groups) - kept,
        truncated_tokens=int((measured.lengths * measured.counts).sum()) - kept,
        truncated_sequences=int(measured.counts[measured.lengths > longest].sum()),
    )
