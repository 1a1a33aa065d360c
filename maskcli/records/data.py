"""Facts about the data, which need no model."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """Where something occurs in a batch: how often, and the first time; ``timestep`` is None for a whole row."""

    count: int
    sample: int
    timestep: int | None
    value: int | None = None


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Sequences of like length, padded to ``maxlen`` on their own."""

    maxlen: int
    sequences: int


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What the data alone says, before any model.

    Attributes:
        name: of the input.
        shape: ``(n_sequences, maxlen)`` of the padded batch.
        padding: ``pre`` or ``post``.
        truncating: ``pre`` or ``post``.
        value: the padding id.
        inner_padding: where ``value`` stands between other tokens of a sequence; None where it does not.
        empty: rows without a token other than padding; None without such a row.
        truncated_tokens: tokens that did not fit.
        truncated_sequences: sequences that were cut.
        total_tokens: tokens of all sequences before truncation.
        smallest: the smallest id and its place; None without ids.
        largest: the largest id and its place.
        input_dim: ids that the Embedding knows; None where nobody said.
        input_dim_from: where that number comes from: ``--input-dim``, or the name of the Embedding.
        padded_timesteps: timesteps of the batch that are padding.
        buckets: lengths to which groups of the sequences could be padded instead.
        bucketed_timesteps: padded timesteps that would be left with these buckets.
    """

    name: str
    shape: tuple[int, int]
    padding: str
    truncating: str
    value: int
    inner_padding: Occurrence | None
    empty: Occurrence | None
    truncated_tokens: int
    truncated_sequences: int
    total_tokens: int
    smallest: Occurrence | None
    largest: Occurrence | None
    input_dim: int | None
    input_dim_from: str | None
    padded_timesteps: int
    buckets: tuple[Bucket, ...]
    bucketed_timesteps: int
