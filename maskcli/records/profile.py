"""The profile of a corpus: its lengths and ids, the cost of padding, and batches that cost less."""

from __future__ import annotations

import dataclasses

from maskcli.records.check import Finding
from maskcli.records.corpus import CorpusState, Histogram
from maskcli.records.data import Bucket, DataOrigin
from maskcli.records.fields import Count, NonEmpty, Positive
from maskcli.records.result import ResultRecord


@dataclasses.dataclass(frozen=True)
class Percentile:
    """The length that a share of the sequences does not exceed.

    Attributes:
        percent: of the sequences.
        length: the smallest length that at least so many do not exceed.
    """

    percent: float
    length: Count


@dataclasses.dataclass(frozen=True, eq=False)
class LengthSummary:
    """The lengths of all sequences.

    Attributes:
        min: the shortest.
        mean: tokens per sequence.
        max: the longest.
        percentiles: ascending.
        histogram: how many sequences have each length; exact.
        padded_to: timesteps of every row, if all rows have one length; then the padding id at both ends of a row is
            padding, and the lengths are those without it. None if rows differ in length.
    """

    min: Count
    mean: float
    max: Count
    percentiles: tuple[Percentile, ...]
    histogram: Histogram
    padded_to: Count | None


@dataclasses.dataclass(frozen=True)
class Occurrences:
    """How often something occurs in a corpus, and where first.

    Attributes:
        tokens: timesteps with it.
        rows: rows with it.
        place: the file and the line or row of the first; None if there are none.
        timestep: the first timestep with it in that row; None if it is a whole row.
    """

    tokens: Count
    rows: Count
    place: NonEmpty | None = None
    timestep: Count | None = None


@dataclasses.dataclass(frozen=True)
class IdPlace:
    """An id at one end of the range.

    Attributes:
        value: the id.
        tokens: timesteps with it.
        place: the file and the line or row of the first.
        timestep: its timestep in that row.
    """

    value: int
    tokens: Count
    place: NonEmpty
    timestep: Count | None


@dataclasses.dataclass(frozen=True)
class IdSummary:
    """The ids of all tokens.

    Attributes:
        smallest: the smallest; None without tokens.
        largest: the largest; None without tokens.
        distinct: how many different ids there are.
        exact: whether ``distinct`` is exact; otherwise it is a lower bound, because memory is bounded.
        outside: ids below 0, or not below ``input_dim``; None without ``--input-dim``.
    """

    smallest: IdPlace | None
    largest: IdPlace | None
    distinct: Count
    exact: bool
    outside: Occurrences | None


@dataclasses.dataclass(frozen=True)
class PaddingIdUse:
    """Where the padding id occurs in the rows as they are.

    Attributes:
        value: the padding id.
        leading: at the start of rows, also of rows that consist of it.
        inner: between other ids.
        trailing: at the end of rows.
        blank: rows that consist of it.
    """

    value: int
    leading: Occurrences
    inner: Occurrences
    trailing: Occurrences
    blank: Occurrences


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Rows that equal an earlier row, by a hash of 64 bits.

    Attributes:
        rows: rows whose hash an earlier row has.
        exact: whether all rows were compared; otherwise ``rows`` is a lower bound: the duplicates in a sample of the
            rows, those with the smallest hashes, because memory is bounded.
        estimate: of all duplicates, from the share of the sample; equals ``rows`` if all were compared.
        compared: rows of the sample.
        most_copies: rows with the most frequent hash of the sample.
    """

    rows: Count
    exact: bool
    estimate: Count
    compared: Count
    most_copies: Count


@dataclasses.dataclass(frozen=True)
class SweepEntry:
    """The cost of one ``maxlen``.

    Attributes:
        maxlen: timesteps of the matrix.
        cut_tokens: tokens that truncation removes.
        cut_token_share: of all tokens.
        cut_sequences: sequences that lose tokens.
        cut_sequence_share: of all sequences.
        padded_timesteps: timesteps of the matrix that are padding.
        padding_share: of all timesteps.
        bytes: of the matrix, for each dtype that holds the ids.
    """

    maxlen: Positive
    cut_tokens: Count
    cut_token_share: float
    cut_sequences: Count
    cut_sequence_share: float
    padded_timesteps: Count
    padding_share: float
    bytes: dict[str, Count]


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The expected cost of one way to make batches.

    Attributes:
        name: ``pad``: all sequences to ``maxlen``; ``random``: batches in random order, each to its longest sequence;
            ``sorted``: batches of neighbours in the order of their lengths; ``buckets``: each sequence to the length of
            its bucket; ``packing``: several sequences in a row of ``maxlen``.
        timesteps: of all batches of one epoch; the expectation for random batches.
        padding_share: of these timesteps.
        speed_up: timesteps of ``pad``, divided by these: the speed-up of a model whose time is proportional to
            timesteps.
        attention_speed_up: the same for a part of a model whose time is proportional to the square of the length.
    """

    name: NonEmpty
    timesteps: float
    padding_share: float
    speed_up: float
    attention_speed_up: float


@dataclasses.dataclass(frozen=True, eq=False)
class CorpusProfile:
    """The profile of all sequences of a corpus, or of a group of them.

    Attributes:
        sequences: their number.
        tokens: their tokens.
        lengths: the lengths.
        empty: sequences without a token.
        ids: the ids of the tokens.
        padding_id: where the padding id occurs.
        duplicates: rows that equal an earlier one.
        maxlen: the length that batches are compared at: ``--maxlen``, or the longest sequence.
        sweep: the cost of several values of ``maxlen``, ascending.
        buckets: at most ``--buckets`` lengths with the least padding, the shortest first; an exact optimum.
        batches: the ways to make batches.
        findings: of the rules about data.
    """

    sequences: Count
    tokens: Count
    lengths: LengthSummary
    empty: Occurrences
    ids: IdSummary
    padding_id: PaddingIdUse
    duplicates: Duplicates
    maxlen: Positive
    sweep: tuple[SweepEntry, ...]
    buckets: tuple[Bucket, ...]
    batches: tuple[BatchPlan, ...]
    findings: tuple[Finding, ...]


@dataclasses.dataclass(frozen=True)
class SkippedBlock:
    """A block that ``--keep-going`` left out.

    Attributes:
        place: the file, and the line, row or range.
        error: the message.
    """

    place: str
    error: NonEmpty


@dataclasses.dataclass(frozen=True)
class BatchCode:
    """Code that makes batches by the buckets, ready to be pasted.

    Attributes:
        tf_data: for ``tf.data``.
        keras: a ``keras.utils.PyDataset``.
        torch: a batch sampler for ``torch.utils.data.DataLoader``.
    """

    tf_data: NonEmpty
    keras: NonEmpty
    torch: NonEmpty


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProfileReport(ResultRecord):
    """The profile of a corpus.

    Attributes:
        data: the files.
        part: ``I/N`` for one of N parts of the blocks; None for all of them.
        batch_size: sequences in a batch.
        input_dim: the vocabulary size to compare ids with; None without one.
        by: the field that divides the rows into groups; None without one.
        corpus: the profile of all rows.
        groups: the profile of the rows of each group, by the value of the field.
        skipped: blocks that ``--keep-going`` left out.
        code: code that makes the batches.
        state: the counts that ``--merge`` needs; None unless this is a part.
    """

    data: DataOrigin
    part: NonEmpty | None
    batch_size: Positive
    input_dim: Positive | None
    by: NonEmpty | None
    corpus: CorpusProfile
    groups: dict[str, CorpusProfile]
    skipped: tuple[SkippedBlock, ...]
    code: BatchCode
    state: CorpusState | None = None

    def summarize(self) -> str:
        """Return the number of sequences and tokens, and the longest."""
        corpus = self.corpus
        return f"{corpus.sequences:,} sequences, {corpus.tokens:,} tokens, longest {corpus.lengths.max:,}"
