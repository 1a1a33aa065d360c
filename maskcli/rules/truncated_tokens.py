"""Truncation cuts tokens of sequences that are longer than maxlen.

What is cut is never seen, in training or in use. `keras.utils.pad_sequences` cuts at the start unless it is told
`truncating="post"`, so a first sentence, a marker at the start or a prompt is lost without a word. Targets for each
timestep have to be cut at the same side, or they no longer belong to their tokens. Where the loss of tokens is meant,
ignore this rule.

Bad::

    sequences = [[5, 6, 7, 8, 9], [4, 3]]
    options = dict(maxlen=3, data_only=True)

Good::

    sequences = [[5, 6, 7, 8, 9], [4, 3]]
    options = dict(maxlen=5, data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.data import DataFacts
from maskcli.rules.base import format_exact_share, make_finding, pluralize

CODE = "MSK003"
SEVERITY: Severity = "warning"
ABOUT: Literal["data"] = "data"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find tokens that were cut."""
    return (_cut(facts) for facts in examination.data if facts.truncated_tokens)


def _cut(facts: DataFacts) -> Finding:
    cut, total = facts.truncated_tokens, facts.total_tokens
    side, other = ("start", "post") if facts.truncating == "pre" else ("end", "pre")
    return make_finding(
        __name__,
        message=f"{facts.name}: truncation to {pluralize(facts.shape[1], 'timestep')} cuts {cut:,} of "
        f"{pluralize(total, 'token')} ({format_exact_share(cut, total)}), at the {side} of "
        f"{pluralize(facts.truncated_sequences, 'sequence')}.",
        fix=f'Enlarge maxlen, leave it out to keep every token, or keep the other end with `truncating="{other}"`.',
        input=facts.name,
        maxlen=facts.shape[1],
        truncated_tokens=cut,
        truncated_sequences=facts.truncated_sequences,
        total_tokens=total,
        share=cut / total,
    )
