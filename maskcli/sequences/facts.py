"""What the data alone says: the facts that rules judge before there is a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Ints
from maskcli.records.data import DataFacts, Occurrence
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.buckets import choose_buckets
from maskcli.sequences.padding import find_valid_timesteps


def collect_facts(
    ragged: RaggedSequences,
    batch: PaddedBatch,
    *,
    name: str = "tokens",
    input_dim: int | None = None,
    input_dim_from: str | None = None,
) -> DataFacts:
    """Return the facts of ``batch``, which is ``ragged`` padded.

    Padding that a row came with is padding here: it is no token, and none is lost when it is cut.
    """
    valid = find_valid_timesteps(batch)
    return _facts(
        batch.tokens,
        valid,
        layout=batch.layout,
        lost=_lost(ragged, batch) if batch.truncated_tokens else np.zeros(len(ragged), np.int64),
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
    """Return the facts of ids that came as an array ``(batch, timesteps)``; nobody knows what was cut of them."""
    return _facts(
        values,
        valid,
        layout=Layout(value=value),
        lost=np.zeros(len(values), np.int64),
        name=name,
        input_dim=input_dim,
        input_dim_from=input_dim_from,
    )


def _facts(
    tokens: NDArray[Any],
    valid: Bools,
    *,
    layout: Layout,
    lost: Ints,
    name: str,
    input_dim: int | None,
    input_dim_from: str | None,
) -> DataFacts:
    rows, timesteps = tokens.shape
    first, behind = _ends(valid)
    n_valid, n_lost = int(valid.sum()), int(lost.sum())
    smallest, largest = _extremes(tokens, valid)
    # A row without a token needs a timestep all the same.
    best = choose_buckets(np.maximum(behind - first, 1)) if timesteps else ()
    return DataFacts(
        name=name,
        shape=(rows, timesteps),
        padding=_side(first, behind, timesteps, layout),
        truncating=layout.truncating,
        value=layout.value,
        inner_padding=_place(valid & (tokens == layout.value), layout.value),
        empty=_rows_place(behind == first),
        truncated_tokens=n_lost,
        truncated_sequences=int(np.count_nonzero(lost)),
        total_tokens=n_valid + n_lost,
        smallest=smallest,
        largest=largest,
        input_dim=input_dim,
        input_dim_from=input_dim_from,
        padded_timesteps=valid.size - n_valid,
        buckets=best,
        bucketed_timesteps=sum(bucket.maxlen * bucket.sequences for bucket in best) - n_valid,
    )


def _ends(valid: Bools) -> tuple[Ints, Ints]:
    """Return the first valid timestep of each row and the one behind the last; both 0 for a row without any."""
    if not valid.shape[1]:
        return np.zeros(len(valid), np.int64), np.zeros(len(valid), np.int64)
    any_ = valid.any(axis=1)
    behind = valid.shape[1] - valid[:, ::-1].argmax(axis=1)
    return valid.argmax(axis=1), np.where(any_, behind, 0)


def _side(first: Ints, behind: Ints, timesteps: int, layout: Layout) -> str:
    """Return the side where most padding stands, as rows may come padded; the layout's where neither has more."""
    before = int(first.sum())
    after = int((timesteps - behind)[behind > first].sum())
    if before == after:
        return layout.padding
    return "pre" if before > after else "post"


def _place(hits: Bools, value: int) -> Occurrence | None:
    count = int(np.count_nonzero(hits))
    if not count:
        return None
    sample, timestep = np.unravel_index(int(hits.argmax()), hits.shape)
    return Occurrence(count, int(sample), int(timestep), value)


def _rows_place(hits: Bools) -> Occurrence | None:
    count = int(np.count_nonzero(hits))
    return Occurrence(count, int(hits.argmax()), None) if count else None


def _extremes(tokens: NDArray[Any], valid: Bools) -> tuple[Occurrence | None, Occurrence | None]:
    ids = tokens[valid]
    if not len(ids):
        return None, None
    smallest, largest = (_place(valid & (tokens == value), int(value)) for value in (ids.min(), ids.max()))
    return smallest, largest


def _lost(ragged: RaggedSequences, batch: PaddedBatch) -> Ints:
    """Return ``(n_sequences,)``: the tokens of each sequence that truncation cut, padding at its ends not counted."""
    lengths, layout = ragged.lengths, batch.layout
    first, behind = _token_ends(ragged, layout)
    kept = np.minimum(lengths, batch.tokens.shape[1])
    start = np.zeros_like(lengths) if layout.truncating == "post" else lengths - kept
    inside = np.minimum(behind, start + kept) - np.maximum(first, start)
    lost: Ints = behind - first - np.maximum(inside, 0)
    return lost


def _token_ends(ragged: RaggedSequences, layout: Layout) -> tuple[Ints, Ints]:
    """Return where the tokens of each sequence start and end between the padding that it came with."""
    if not layout.trim:
        return np.zeros_like(ragged.lengths), ragged.lengths
    tokens = np.flatnonzero(ragged.values != layout.value)
    starts, stops = ragged.row_splits[:-1], ragged.row_splits[1:]
    first, behind = np.searchsorted(tokens, starts), np.searchsorted(tokens, stops)
    some = behind > first
    tokens = np.append(tokens, 0)  # A place to look at for rows without a token.
    return np.where(some, tokens[first] - starts, 0), np.where(some, tokens[behind - 1] + 1 - starts, 0)
