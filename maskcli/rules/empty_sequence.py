"""A row is empty: it has no token, or nothing but padding.

All of its timesteps are masked, so that there is nothing to compute with. `GlobalAveragePooling1D` divides by zero and
returns NaN, which a loss carries to all other rows; attention weighs all padding alike; an LSTM returns its initial
state. On a GPU cuDNN takes no such row, and Keras stops `fit` with an error. Such rows mostly come from blank lines, or
from texts of which a tokenizer knows no word.

Bad::

    sequences = [[5, 6, 7], [], [8, 9]]
    options = dict(data_only=True)

Good::

    sequences = [[5, 6, 7], [8, 9]]
    options = dict(data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK002"
SEVERITY: Severity = "warning"
ABOUT: Literal["data"] = "data"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find rows without a token."""
    for facts in examination.data:
        place = facts.empty
        if place is None:
            continue
        rows = facts.shape[0]
        yield make_finding(
            __name__,
            message=f"{facts.name}: {place.count:,} of {pluralize(rows, 'row')} "
            f"{'has' if place.count == 1 else 'have'} no token, first sample {place.sample}.",
            fix="Leave such rows out before padding: `sequences = [row for row in sequences if len(row)]`; or give "
            "them a token of their own, such as the id of an unknown word.",
            input=facts.name,
            count=place.count,
            sample=place.sample,
            rows=rows,
        )
