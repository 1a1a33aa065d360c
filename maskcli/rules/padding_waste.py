"""More than half of the batch is padding, and sorting sequences by length would save most of it.

Masked timesteps are computed all the same: a mask says what counts, not what is computed, so time and memory go into
padding. A few long sequences are enough, as all others are padded to their length. Sequences of like length in batches
of their own, called buckets, need little padding and give the same results. With fewer than 16 rows this rule is
silent: that is a sample of data, and says nothing of the rest.

Bad::

    # One long sequence makes all others long.
    sequences = [[5, 6, 7]] * 31 + [[4] * 200]
    options = dict(data_only=True)

Good::

    # The long one went into another batch.
    sequences = [[5, 6, 7]] * 31 + [[4]]
    options = dict(data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.data import Bucket, DataFacts
from maskcli.rules.base import format_exact_share, make_finding, pluralize

CODE = "MSK007"
SEVERITY: Severity = "warning"
ABOUT: Literal["data"] = "data"
FEWEST_ROWS = 16


def judge(examination: Examination) -> Iterator[Finding]:
    """Find batches that are mostly padding, where buckets would save at least half of it."""
    return (_waste(facts) for facts in examination.data if _is_waste(facts))


def _is_waste(facts: DataFacts) -> bool:
    rows, timesteps = facts.shape
    most = 2 * facts.padded_timesteps > rows * timesteps
    worth_it = 2 * facts.bucketed_timesteps <= facts.padded_timesteps
    # Where nothing but padding is, the rows are empty: that is what is wrong, and MSK002 says so.
    return rows >= FEWEST_ROWS and most and worth_it and facts.total_tokens > 0


def _waste(facts: DataFacts) -> Finding:
    padded, left, total = facts.padded_timesteps, facts.bucketed_timesteps, facts.shape[0] * facts.shape[1]
    lengths = ", ".join(f"{bucket.maxlen} ({pluralize(bucket.sequences, 'row')})" for bucket in facts.buckets)
    means = f"Buckets of length {lengths}" if len(facts.buckets) > 1 else f"Length {lengths}"
    return make_finding(
        __name__,
        message=f"{facts.name}: {padded:,} of {pluralize(total, 'timestep')} "
        f"({format_exact_share(padded, total)}) are padding. "
        f"{means} would leave {left:,} and save {format_exact_share(padded - left, padded)} of it.",
        fix=_fix(facts.buckets),
        input=facts.name,
        padded_timesteps=padded,
        total_timesteps=total,
        share=padded / total,
        bucketed_timesteps=left,
        buckets=[{"maxlen": bucket.maxlen, "sequences": bucket.sequences} for bucket in facts.buckets],
    )


def _fix(buckets: tuple[Bucket, ...]) -> str:
    if len(buckets) == 1:
        return f"Use `maxlen={buckets[0].maxlen}`, the longest sequence, or leave maxlen out."
    boundaries = [bucket.maxlen + 1 for bucket in buckets[:-1]]
    return (
        "Batch sequences of like length: `dataset.bucket_by_sequence_length(lambda tokens, *_: tf.size(tokens), "
        f"bucket_boundaries={boundaries}, bucket_batch_sizes={[32] * len(buckets)})`."
    )
