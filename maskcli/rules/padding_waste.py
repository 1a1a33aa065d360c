"""More than half of the batch is padding, and sorting sequences by length would save most of it.

Masked timesteps are still computed: a mask decides which timesteps count, so time and memory are spent on padding. A
few long sequences are enough, as all sequences are padded to the longest. Batches of sequences with similar length,
called buckets, need little padding and give the same results. The rule needs at least 16 rows, because fewer are only a
sample of the data.

Bad::

    # One long sequence makes the whole batch long.
    sequences = [[5, 6, 7]] * 31 + [[4] * 200]
    options = dict(data_only=True)

Good::

    # The long sequence is in another batch.
    sequences = [[5, 6, 7]] * 31 + [[4]]
    options = dict(data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import Bucket, DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import format_exact_share, make_finding

CODE = "MSK007"
SEVERITY = "warning"
FEWEST_ROWS = 16


def judge(facts: DataFacts, _model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield batches that are mostly padding, if buckets would save at least half of the padding."""
    if not _is_waste(facts):
        return
    padded, left, total = facts.padded_timesteps, facts.bucketed_timesteps, facts.shape[0] * facts.shape[1]
    lengths = ", ".join(f"{bucket.maxlen} ({format_count(bucket.sequences, 'row')})" for bucket in facts.buckets)
    remedy = f"Buckets of length {lengths}" if len(facts.buckets) > 1 else f"Length {lengths}"
    yield make_finding(
        __name__,
        message=f"{facts.name}: {padded:,} of {format_count(total, 'timestep')} "
        f"({format_exact_share(padded, total)}) are padding. "
        f"{remedy} would leave {left:,} and save {format_exact_share(padded - left, padded)} of the padding.",
        fix=_suggest_buckets(facts.buckets),
        input=facts.name,
        padded_timesteps=padded,
        total_timesteps=total,
        share=padded / total,
        bucketed_timesteps=left,
        buckets=[{"maxlen": bucket.maxlen, "sequences": bucket.sequences} for bucket in facts.buckets],
    )


def _is_waste(facts: DataFacts) -> bool:
    rows, timesteps = facts.shape
    is_mostly_padding = 2 * facts.padded_timesteps > rows * timesteps
    buckets_save_half = 2 * facts.bucketed_timesteps <= facts.padded_timesteps
    # Without any token the fault is empty rows, which MSK002 reports.
    return rows >= FEWEST_ROWS and is_mostly_padding and buckets_save_half and facts.total_tokens > 0


def _suggest_buckets(buckets: tuple[Bucket, ...]) -> str:
    if len(buckets) == 1:
        return f"Use `maxlen={buckets[0].maxlen}`, the longest sequence, or leave maxlen out."
    boundaries = [bucket.maxlen + 1 for bucket in buckets[:-1]]
    return (
        "Batch sequences of similar length: `dataset.bucket_by_sequence_length(lambda tokens, *_: tf.size(tokens), "
        f"bucket_boundaries={boundaries}, bucket_batch_sizes={[32] * len(buckets)})`."
    )
