"""Facts about the data, which need no model."""

from __future__ import annotations

import dataclasses

from maskcli.records.fields import Count


@dataclasses.dataclass(frozen=True)
class DataOrigin:
    """Where the rows of a result come from.

    Attributes:
        files: in the order in which they were read; ``-`` is standard input. Empty for data from Python, and for the
            sample.
        sample: whether it is the built-in sample.
        rows: the number of rows.
        skipped: files of a directory that were not read, because their suffix is not that of a format.
        words: the words of the ids that occur, from ``--tokenizer``; None without a tokenizer.
    """

    files: tuple[str, ...] = ()
    sample: bool = False
    rows: Count = 0
    skipped: tuple[str, ...] = ()
    words: dict[int, str] | None = None

    def count(self, rows: int) -> DataOrigin:
        """Return the same origin with the number of rows."""
        return dataclasses.replace(self, rows=rows)


FROM_PYTHON = DataOrigin()
"""The origin of data that no file contains."""


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """How often something occurs in a batch, and where it occurs first.

    Attributes:
        count: how often it occurs.
        sample: the first row with it.
        timestep: the first timestep with it in that row; None if it is a whole row.
        value: the id there; None if no id is meant.
    """

    count: int
    sample: int
    timestep: int | None
    value: int | None = None


@dataclasses.dataclass(frozen=True)
class EndRuns:
    """Runs of one value at the ends of rows, which look like padding.

    Attributes:
        value: an id, or the value of all features of these timesteps.
        side: ``post`` for the ends of rows, ``pre`` for their starts.
        rows: the rows with a run.
        timesteps: the timesteps of all runs.
        sample: the first row with a run.
        timestep: the first timestep of its run.
        vector: the features of these timesteps, where they are not all ``value``; None where they are.
    """

    value: int | float
    side: str
    rows: int
    timesteps: int
    sample: int
    timestep: int
    vector: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Sequences of similar length, padded to ``maxlen`` separately from the others.

    Attributes:
        maxlen: the longest of them.
        sequences: their number.
    """

    maxlen: int
    sequences: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Facts about one input, without a model. Of features, only ``unmarked`` is known.

    A fact that a new rule needs is a field with a default here, and one line in ``sequences/facts.py``.

    Attributes:
        name: of the input.
        shape: ``(n_sequences, maxlen)`` of the padded batch.
        padding: ``pre`` or ``post``.
        truncating: ``pre`` or ``post``.
        value: the padding id.
        inner_padding: the first ``value`` between other tokens of a sequence; None if there is none.
        empty: rows that hold only padding; None if there are none.
        truncated_tokens: number of tokens that truncation removed.
        truncated_sequences: number of sequences that lost tokens.
        total_tokens: tokens of all sequences before truncation.
        smallest: the smallest id and its place; None without ids.
        largest: the largest id and its place; None without ids.
        input_dim: the number of ids that the Embedding has vectors for; None if unknown.
        input_dim_from: the source of that number: ``--input-dim``, or the name of the Embedding.
        padded_timesteps: timesteps of the batch that are padding.
        buckets: lengths to which groups of the sequences could be padded instead.
        bucketed_timesteps: padded timesteps that these buckets would leave.
        unmarked: runs of a value at the ends of rows that look like padding and are not; None if there are none.
    """

    name: str
    shape: tuple[int, int]
    padding: str = "post"
    truncating: str = "post"
    value: int = 0
    inner_padding: Occurrence | None = None
    empty: Occurrence | None = None
    truncated_tokens: int = 0
    truncated_sequences: int = 0
    total_tokens: int = 0
    smallest: Occurrence | None = None
    largest: Occurrence | None = None
    input_dim: int | None = None
    input_dim_from: str | None = None
    padded_timesteps: int = 0
    buckets: tuple[Bucket, ...] = ()
    bucketed_timesteps: int = 0
    unmarked: EndRuns | None = None
