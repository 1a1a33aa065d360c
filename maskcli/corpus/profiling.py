"""The profile of a corpus, from its counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskcli.corpus.batches import compare_batches, cut_lengths, sweep_maxlen
from maskcli.records.check import Examination, Finding
from maskcli.records.corpus import Extreme, GroupState, Histogram, Hits, RowHashes, Spot
from maskcli.records.data import Bucket, DataFacts, Occurrence
from maskcli.records.layout import Layout
from maskcli.records.options import TOKEN_DTYPES
from maskcli.records.profile import (
    CorpusProfile,
    Duplicates,
    IdPlace,
    IdSummary,
    LengthSummary,
    Occurrences,
    PaddingIdUse,
    Percentile,
)
from maskcli.rules.rule import Rule
from maskcli.rules.selection import judge_all
from maskcli.sequences.buckets import choose_histogram_buckets

PERCENTS = (1.0, 5.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
SWEPT = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
"""Percentiles of the lengths that are compared as ``maxlen``, unless the user names values."""
NAME = "tokens"
"""The name of the sequences in findings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """The options of a profile that do not change the counts.

    Attributes:
        layout: its padding id, the sides, and ``maxlen``.
        maxlens: values of ``maxlen`` to compare; empty for percentiles of the lengths.
        buckets: most buckets.
        batch_size: sequences in a batch.
        input_dim: the vocabulary size; None if unknown.
        rules: about data.
    """

    layout: Layout
    maxlens: Sequence[int] = ()
    buckets: int
    batch_size: int
    input_dim: int | None
    rules: tuple[Rule, ...]


def is_full_array(state: GroupState) -> bool:
    """Return whether all rows have one length, so that they are a full array."""
    return len(state.lengths.lengths) == 1 and bool(state.lengths.lengths[0])


def make_profile(state: GroupState, options: ProfileOptions, full: bool) -> CorpusProfile:
    """Return the profile of a group, or of all groups merged; ``full`` is whether all of them are a full array."""
    view = _Rows(state, options.layout, full)
    histogram = view.histogram
    longest = int(histogram.lengths.max(initial=0))
    multiple = options.layout.pad_to_multiple_of or 1
    maxlen = options.layout.maxlen or max(1, -(-longest // multiple) * multiple)
    needed = cut_lengths(histogram, maxlen)
    buckets = choose_histogram_buckets(needed.lengths, needed.counts, options.buckets)
    maxlens = (*(options.maxlens or [_find_percentile(histogram, percent) for percent in SWEPT]), maxlen)
    return CorpusProfile(
        sequences=histogram.rows,
        tokens=histogram.tokens,
        lengths=_summarize_lengths(histogram, view.padded_to),
        empty=_locate(view.empty),
        ids=view.summarize_ids(options.input_dim),
        padding_id=PaddingIdUse(
            options.layout.padding_id,
            *(_locate(hits) for hits in (state.leading, state.inner, state.trailing, state.blank)),
        ),
        duplicates=_count_duplicates(state.hashes),
        maxlen=maxlen,
        sweep=sweep_maxlen(histogram, [max(1, length) for length in maxlens], view.list_dtypes()),
        buckets=buckets,
        batches=compare_batches(histogram, maxlen, options.batch_size, buckets),
        findings=_judge(view, options, maxlen, buckets),
    )


class _Rows:
    """The rows of a group, and whether they come padded.

    Rows that differ in length have lengths: the padding id in them is a token. Rows of one length are a full array, in
    which the padding id at both ends is padding, as for all commands.
    """

    def __init__(self, state: GroupState, layout: Layout, full: bool) -> None:
        self.state, self.layout = state, layout
        self.padded_to = int(state.lengths.lengths[0]) if full and layout.trim else None
        self.histogram: Histogram = state.trimmed if self.padded_to is not None else state.lengths

    @property
    def empty(self) -> Hits:
        """The rows without a token."""
        return self.state.blank if self.padded_to is not None else self.state.empty

    @property
    def padding_tokens(self) -> Hits:
        """The padding id as a token."""
        inner, leading, trailing = self.state.inner, self.state.leading, self.state.trailing
        if self.padded_to is not None:
            return inner
        spots = [hits.first for hits in (leading, inner, trailing) if hits.first is not None]
        first = min(spots, key=lambda spot: (spot.sample, spot.timestep or 0), default=None)
        # A row may have it in several places, so that the number of rows is unknown.
        return Hits(leading.tokens + inner.tokens + trailing.tokens, 0, first)

    @property
    def smallest(self) -> Extreme | None:
        """The smallest id of a token."""
        return self._choose(self.state.smallest, -1)

    @property
    def largest(self) -> Extreme | None:
        """The largest id of a token."""
        return self._choose(self.state.largest, 1)

    def _choose(self, extreme: Extreme | None, sign: int) -> Extreme | None:
        hits, value = self.padding_tokens, self.layout.padding_id
        if hits.first is None or (extreme is not None and sign * extreme.value > sign * value):
            return extreme
        return Extreme(value, hits.tokens, hits.first)

    def summarize_ids(self, input_dim: int | None) -> IdSummary:
        """Return the range and the number of ids."""
        ids = self.state.ids
        distinct = int((ids.ends - ids.starts + 1).sum()) + bool(self.padding_tokens.tokens)
        smallest, largest = (_locate_id(extreme) for extreme in (self.smallest, self.largest))
        outside = None if input_dim is None else _locate(self.state.outside)
        return IdSummary(smallest, largest, distinct, ids.complete, outside)

    def list_dtypes(self) -> dict[str, int]:
        """Return the bytes of a token, for each dtype that holds all ids and the padding id."""
        held = [extreme.value for extreme in (self.smallest, self.largest) if extreme is not None]
        smallest, largest = min(*held, self.layout.padding_id, 0), max(*held, self.layout.padding_id, 0)
        limits = {name: np.iinfo(name) for name in TOKEN_DTYPES}
        fitting = (name for name, limit in limits.items() if limit.min <= smallest and largest <= limit.max)
        return {name: np.dtype(name).itemsize for name in fitting}

    @property
    def padded_side(self) -> str:
        """The side of rows that has the padding."""
        before, after = self.state.leading.tokens - self.state.blank.tokens, self.state.trailing.tokens
        if self.padded_to is None or before == after:
            return self.layout.padding
        return "pre" if before > after else "post"


def _summarize_lengths(histogram: Histogram, padded_to: int | None) -> LengthSummary:
    return LengthSummary(
        min=int(histogram.lengths[0]),
        mean=histogram.tokens / histogram.rows,
        max=int(histogram.lengths[-1]),
        percentiles=tuple(Percentile(percent, _find_percentile(histogram, percent)) for percent in PERCENTS),
        histogram=histogram,
        padded_to=padded_to,
    )


def _find_percentile(histogram: Histogram, percent: float) -> int:
    """Return the smallest length that at least ``percent`` of the sequences do not exceed."""
    # In thousandths of a percent, because 99.9 is no exact double.
    reached = np.cumsum(histogram.counts).astype(object) * 100_000 >= histogram.rows * round(1000 * percent)
    return int(histogram.lengths[int(np.argmax(reached))])


def _locate(hits: Hits) -> Occurrences:
    if hits.first is None:
        return Occurrences(hits.tokens, hits.rows)
    return Occurrences(hits.tokens, hits.rows, hits.first.place, hits.first.timestep)


def _locate_id(extreme: Extreme | None) -> IdPlace | None:
    if extreme is None:
        return None
    return IdPlace(extreme.value, extreme.count, extreme.first.place, extreme.first.timestep)


def _count_duplicates(hashes: RowHashes) -> Duplicates:
    copies = int(hashes.counts.sum()) - len(hashes.counts)
    return Duplicates(
        rows=copies,
        exact=not hashes.level,
        estimate=copies * 2**hashes.level,
        compared=len(hashes.hashes) + copies,
        most_copies=int(hashes.counts.max(initial=min(1, len(hashes.hashes)))),
    )


def _judge(view: _Rows, options: ProfileOptions, maxlen: int, buckets: tuple[Bucket, ...]) -> tuple[Finding, ...]:
    """Return the findings of the rules about data, each with the file and line of its first place."""
    facts = _collect_facts(view, options, maxlen, buckets)
    spots = _list_spots(view)
    findings = judge_all(options.rules, Examination((facts,), None))
    return tuple(_add_place(finding, spots) for finding in findings)


def _collect_facts(view: _Rows, options: ProfileOptions, maxlen: int, buckets: tuple[Bucket, ...]) -> DataFacts:
    histogram = view.histogram
    kept = int((np.minimum(histogram.lengths, maxlen) * histogram.counts).sum())
    timesteps = histogram.rows * maxlen
    return DataFacts(
        name=NAME,
        shape=(histogram.rows, maxlen),
        padding=view.padded_side,
        truncating=options.layout.truncating,
        value=options.layout.padding_id,
        inner_padding=_make_occurrence(view.padding_tokens, options.layout.padding_id),
        empty=_make_occurrence(view.empty, None),
        truncated_tokens=histogram.tokens - kept,
        truncated_sequences=int(histogram.counts[histogram.lengths > maxlen].sum()),
        total_tokens=histogram.tokens,
        smallest=_make_extreme_occurrence(view.smallest),
        largest=_make_extreme_occurrence(view.largest),
        input_dim=options.input_dim,
        input_dim_from=None if options.input_dim is None else "--input-dim",
        padded_timesteps=timesteps - kept,
        buckets=buckets,
        bucketed_timesteps=sum(bucket.maxlen * bucket.sequences for bucket in buckets) - kept,
    )


def _make_occurrence(hits: Hits, value: int | None) -> Occurrence | None:
    if hits.first is None:
        return None
    count = hits.rows if value is None else hits.tokens
    return Occurrence(count, hits.first.sample, None if value is None else hits.first.timestep, value)


def _make_extreme_occurrence(extreme: Extreme | None) -> Occurrence | None:
    if extreme is None:
        return None
    return Occurrence(extreme.count, extreme.first.sample, extreme.first.timestep, extreme.value)


def _list_spots(view: _Rows) -> dict[int, Spot]:
    """Return the places that findings may name, by the number of their row."""
    spots = [hits.first for hits in (view.empty, view.padding_tokens)]
    spots += [extreme.first for extreme in (view.smallest, view.largest) if extreme is not None]
    return {spot.sample: spot for spot in spots if spot is not None}


def _add_place(finding: Finding, spots: dict[int, Spot]) -> Finding:
    spot = spots.get(finding.evidence.get("sample", -1))
    if spot is None:
        return finding
    return dataclasses.replace(finding, evidence={**finding.evidence, "place": spot.place})
