"""Truncation cuts tokens of sequences that are longer than maxlen.

The model never sees these tokens, in training or in use. `keras.utils.pad_sequences` cuts at the start by default
(`truncating="pre"`), so a first sentence, a start marker or a prompt is lost silently. Targets for each timestep must
be cut at the same side, or they no longer match their tokens. If the cut is intended, ignore this rule.

Bad::

    sequences = [[5, 6, 7, 8, 9], [4, 3]]
    options = dict(maxlen=3, data_only=True)

Good::

    sequences = [[5, 6, 7, 8, 9], [4, 3]]
    options = dict(maxlen=5, data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import format_exact_share, make_finding

CODE = "MSK003"
SEVERITY = "warning"


def judge(facts: DataFacts, _model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield the tokens that were cut."""
    cut, total = facts.truncated_tokens, facts.total_tokens
    if not cut:
        return
    side, opposite = ("start", "post") if facts.truncating == "pre" else ("end", "pre")
    yield make_finding(
        __name__,
        message=f"{facts.name}: truncation to {format_count(facts.shape[1], 'timestep')} cuts {cut:,} of "
        f"{format_count(total, 'token')} ({format_exact_share(cut, total)}), at the {side} of "
        f"{format_count(facts.truncated_sequences, 'sequence')}.",
        fix=f'Enlarge maxlen, leave it out to keep every token, or keep the other end with `truncating="{opposite}"`.',
        input=facts.name,
        maxlen=facts.shape[1],
        truncated_tokens=cut,
        truncated_sequences=facts.truncated_sequences,
        total_tokens=total,
        share=cut / total,
    )
