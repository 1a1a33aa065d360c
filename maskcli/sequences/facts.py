"""Collect the facts of padded data that rules check without a model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Ints
from maskcli.records.data import DataFacts, EndRuns, Occurrence
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences, have_lengths
from maskcli.sequences.buckets import choose_buckets
from maskcli.sequences.padding import find_valid_timesteps
from maskcli.tolerance import UNMARKED_DISTANCE

MOST_EDGES = 8
"""Values at the ends of rows that are looked at, the most frequent first."""


def collect_facts(
    ragged: RaggedSequences,
    batch: PaddedBatch,
    *,
    valid: Bools | None = None,
    name: str = "tokens",
    input_dim: int | None = None,
    input_dim_from: str | None = None,
) -> DataFacts:
    """Return the facts of ``batch``, which is ``ragged`` padded.

    Padding that rows already had does not count as tokens, and so not as truncated tokens either.

    Args:
        ragged: the sequences before padding.
        batch: the same sequences padded.
        valid: of the shape of the batch, False at padding; None if the sequences themselves show it.
        name: of the input, for messages.
        input_dim: ids that the Embedding has rows for; None if unknown.
        input_dim_from: where ``input_dim`` comes from.
    """
    truncated = np.zeros(len(ragged), np.int64)
    if batch.truncated_tokens:
        truncated = _count_truncated(ragged, batch)
    return _make_facts(
        batch.tokens,
        find_valid_timesteps(batch) if valid is None else valid,
        layout=batch.layout,
        truncated=truncated,
        name=name,
        input_dim=input_dim,
        input_dim_from=input_dim_from,
    )


def collect_array_facts(
    values: NDArray[Any],
    valid: Bools,
    *,
    name: str = "tokens",
    value: int = 0,
    input_dim: int | None = None,
    input_dim_from: str | None = None,
) -> DataFacts:
    """Return the facts of ids that come as an array ``(batch, timesteps)``, none of which counts as truncated.

    Args:
        values: the ids.
        valid: of the same shape, False at padding.
        name: of the input, for messages.
        value: the padding id.
        input_dim: ids that the Embedding has rows for; None if unknown.
        input_dim_from: where ``input_dim`` comes from.
    """
    return _make_facts(
        values,
        valid,
        layout=Layout(value=value),
        truncated=np.zeros(len(values), np.int64),
        name=name,
        input_dim=input_dim,
        input_dim_from=input_dim_from,
    )


def _make_facts(
    tokens: NDArray[Any],
    valid: Bools,
    *,
    layout: Layout,
    truncated: Ints,
    name: str,
    input_dim: int | None,
    input_dim_from: str | None,
) -> DataFacts:
    rows, timesteps = tokens.shape
    first, end = _find_valid_ends(valid)
    n_valid, n_truncated = int(valid.sum()), int(truncated.sum())
    smallest, largest = _find_extremes(tokens, valid)
    # A row without tokens needs one timestep, too.
    buckets = choose_buckets(np.maximum(end - first, 1)) if timesteps else ()
    return DataFacts(
        name=name,
        shape=(rows, timesteps),
        padding=_find_padded_side(first, end, timesteps, layout),
        truncating=layout.truncating,
        value=layout.padding_id,
        inner_padding=_find_timestep(valid & (tokens == layout.padding_id), layout.padding_id),
        empty=_find_row(end == first),
        truncated_tokens=n_truncated,
        truncated_sequences=int(np.count_nonzero(truncated)),
        total_tokens=n_valid + n_truncated,
        smallest=smallest,
        largest=largest,
        input_dim=input_dim,
        input_dim_from=input_dim_from,
        padded_timesteps=valid.size - n_valid,
        buckets=buckets,
        bucketed_timesteps=sum(bucket.maxlen * bucket.sequences for bucket in buckets) - n_valid,
        unmarked=find_unmarked_padding(tokens, valid),
    )


def find_unmarked_padding(values: NDArray[Any], valid: Bools | None) -> EndRuns | None:
    """Return runs of one value at the ends of full rows that look like padding; None if there are none.

    Args:
        values: ``(batch, timesteps)`` ids, or ``(batch, timesteps, ...)`` features.
        valid: ``(batch, timesteps)``; None without timesteps. Data with known padding is not looked at, unless it is
            the same in each row, as that of a first token with id 0.
    """
    if valid is None or not values.size or values.dtype.kind not in "iuf" or (valid != valid[:1]).any():
        return None
    flat = values.reshape(*valid.shape, -1)
    sides = (_find_end_runs(flat, "post"), _find_end_runs(flat[:, ::-1], "pre"))
    # Data may end alike in a few rows by chance, at the other side than that of the padding.
    return max((runs for runs in sides if runs is not None), key=lambda runs: runs.timesteps, default=None)


def _find_end_runs(values: NDArray[Any], side: str) -> EndRuns | None:
    """Return the runs at the ends of rows ``(batch, timesteps, features)``, which are reversed for ``pre``."""
    # Runs of several timesteps, in several rows: most data ends here, without a look at its other timesteps.
    last = values[:, -2:].reshape(len(values), -1)
    same = last[(last == last[:, :1]).all(axis=1), 0]
    edges, counts = np.unique(same, return_counts=True)
    frequent = edges[counts > 1][np.argsort(-counts[counts > 1], kind="stable")]
    runs = [_measure_end_runs(values, value, side) for value in frequent[:MOST_EDGES]]
    return next((item for item in (*runs, _find_end_vectors(values, side)) if item is not None), None)


def _find_end_vectors(values: NDArray[Any], side: str) -> EndRuns | None:
    """Return the runs of one vector at the ends of rows of fractions, such as that of zeros that were scaled."""
    ends = values[:, -2:]
    if values.dtype.kind != "f" or values.shape[2] < 2 or ends.shape[1] < 2:
        return None
    repeated = ends[(ends[:, 0] == ends[:, 1]).all(axis=1), 1]
    vectors, counts = np.unique(repeated, axis=0, return_counts=True)
    if not len(counts) or counts.max() < 2:
        return None
    vector = vectors[counts.argmax()]
    if (vector == vector[0]).all():
        return None  # Of a single number.
    runs = _measure_end_runs(values, vector, side)
    return None if runs is None else dataclasses.replace(runs, vector=tuple(map(float, vector)))


def _measure_end_runs(values: NDArray[Any], value: Any, side: str) -> EndRuns | None:
    """Return the runs of a value, or of a vector, at the ends of rows; None if they do not look like padding."""
    timesteps, is_vector = values.shape[1], np.ndim(value) > 0
    hits = (values == value).all(axis=2)
    lengths = np.where(hits.all(axis=1), timesteps, hits[:, ::-1].argmin(axis=1))
    # The last token of sentences is alike, too, but a single one, and rows of data may end alike by chance.
    looks_padded = np.count_nonzero(lengths > 1) > 1 and lengths.max() > 2 and len(np.unique(lengths)) > 1
    count, size = (int(hits.sum()), 1) if is_vector else (int((values == value).sum()), values.shape[2])
    occurs_elsewhere = count > int(lengths.sum()) * size
    if not looks_padded or occurs_elsewhere or not (is_vector or _differs_clearly(values, value)):
        return None
    sample = int((lengths > 0).argmax())
    timestep = timesteps - int(lengths[sample]) if side == "post" else 0
    return EndRuns(np.ravel(value)[0].item(), side, int((lengths > 0).sum()), int(lengths.sum()), sample, timestep)


def _differs_clearly(values: NDArray[Any], value: Any) -> bool:
    """Return whether a value is no part of the data around it, unlike the limit that a curve approaches.

    Ids have no distance. A timestep with several features that are all equal is clear enough.
    """
    others = values[values != value]
    if len(np.unique(others)) < 2:
        return False
    if values.dtype.kind != "f" or values.shape[2] > 1 or not np.isfinite(value):
        return True
    others = others[np.isfinite(others)].astype(np.float64)
    spread = float(np.ptp(others)) if len(others) else 0.0
    return bool(np.abs(others - float(value)).min(initial=np.inf) > UNMARKED_DISTANCE.value * spread)


def _find_valid_ends(valid: Bools) -> tuple[Ints, Ints]:
    """Return ``(n_rows,)`` each: the first valid timestep, and the last one plus 1; both 0 for a row without any."""
    if not valid.shape[1]:
        return np.zeros(len(valid), np.int64), np.zeros(len(valid), np.int64)
    end = valid.shape[1] - valid[:, ::-1].argmax(axis=1)
    return valid.argmax(axis=1), np.where(valid.any(axis=1), end, 0)


def _find_padded_side(first: Ints, end: Ints, timesteps: int, layout: Layout) -> str:
    """Return the side with the most padding; the side of ``layout`` if both have the same amount."""
    before = int(first.sum())
    after = int((timesteps - end)[end > first].sum())
    if before == after:
        return layout.padding
    return "pre" if before > after else "post"


def _find_timestep(hits: Bools, value: int) -> Occurrence | None:
    """Return the number of hits ``(n_rows, timesteps)`` and the first of them; None if there are none."""
    count = int(np.count_nonzero(hits))
    if not count:
        return None
    sample, timestep = np.unravel_index(int(hits.argmax()), hits.shape)
    return Occurrence(count, int(sample), int(timestep), value)


def _find_row(hits: Bools) -> Occurrence | None:
    """Return the number of hits ``(n_rows,)`` and the first of them; None if there are none."""
    count = int(np.count_nonzero(hits))
    return Occurrence(count, int(hits.argmax()), None) if count else None


def _find_extremes(tokens: NDArray[Any], valid: Bools) -> tuple[Occurrence | None, Occurrence | None]:
    """Return the smallest and the largest valid id; None for each if there are no valid ids."""
    ids = tokens[valid]
    if not len(ids):
        return None, None
    smallest, largest = (_find_timestep(valid & (tokens == value), int(value)) for value in (ids.min(), ids.max()))
    return smallest, largest


def _count_truncated(ragged: RaggedSequences, batch: PaddedBatch) -> Ints:
    """Return ``(n_sequences,)``: truncated tokens of each sequence, not counting the padding at its ends."""
    lengths, layout = ragged.lengths, batch.layout
    first, end = _find_token_ends(ragged, layout)
    kept = np.minimum(lengths, batch.tokens.shape[1])
    start = np.zeros_like(lengths) if layout.truncating == "post" else lengths - kept
    # Tokens are at first..end, and truncation keeps start..start + kept: the overlap remains.
    remaining = np.minimum(end, start + kept) - np.maximum(first, start)
    truncated: Ints = end - first - np.maximum(remaining, 0)
    return truncated


def _find_token_ends(ragged: RaggedSequences, layout: Layout) -> tuple[Ints, Ints]:
    """Return ``(n_sequences,)`` each: the first token that is not padding, and the last one plus 1."""
    if not layout.trim or have_lengths(ragged.lengths):
        return np.zeros_like(ragged.lengths), ragged.lengths
    tokens = np.flatnonzero(ragged.values != layout.value)
    starts, stops = ragged.row_splits[:-1], ragged.row_splits[1:]
    # The tokens of row i are tokens[first[i]:end[i]].
    first, end = np.searchsorted(tokens, starts), np.searchsorted(tokens, stops)
    has_tokens = end > first
    # Rows without tokens also index into ``tokens``, so it needs an element after the last token.
    tokens = np.append(tokens, 0)
    return np.where(has_tokens, tokens[first] - starts, 0), np.where(has_tokens, tokens[end - 1] + 1 - starts, 0)
