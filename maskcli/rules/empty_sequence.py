"""A row is empty: it has no token, or only padding.

All of its timesteps are masked, so nothing is left to compute with. `GlobalAveragePooling1D` divides by zero and
returns NaN, which the loss spreads to all rows of the batch. Attention gives all padding the same weight. An LSTM
returns its initial state. On a GPU cuDNN rejects such rows, and `fit` stops with an error. Empty rows mostly come from
blank lines, or from texts without any word that the tokenizer knows.

Bad::

    sequences = [[5, 6, 7], [], [8, 9]]
    options = dict(data_only=True)

Good::

    sequences = [[5, 6, 7], [8, 9]]
    options = dict(data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding

CODE = "MSK002"
SEVERITY = "warning"


def judge(facts: DataFacts, _model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield the rows without a token."""
    empty = facts.empty
    if empty is None:
        return
    rows = facts.shape[0]
    verb = "has" if empty.count == 1 else "have"
    yield make_finding(
        __name__,
        message=f"{facts.name}: {empty.count:,} of {format_count(rows, 'row')} {verb} no token, first sample "
        f"{empty.sample}.",
        fix="Remove such rows before padding, `sequences = [row for row in sequences if len(row)]`, or give each one "
        "a token, such as the id of an unknown word.",
        input=facts.name,
        count=empty.count,
        sample=empty.sample,
        rows=rows,
    )
