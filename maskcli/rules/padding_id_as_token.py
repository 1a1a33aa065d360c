"""The padding id is also a real token, between other tokens of a sequence.

`Embedding(mask_zero=True)` compares every id with 0 and knows nothing of lengths. A real token 0 is masked as padding
is: an LSTM skips it, attention cannot see it and the loss does not count it, and nothing warns. The same token at the
end of a sequence cannot even be told from padding. It mostly comes from a tokenizer whose first word has id 0.

Bad::

    sequences = [[4, 0, 7, 2], [5, 3]]
    options = dict(data_only=True)

Good::

    # Each id is one larger, so that 0 is padding alone.
    sequences = [[5, 1, 8, 3], [6, 4]]
    options = dict(data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.data import DataFacts
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK001"
SEVERITY: Severity = "error"
ABOUT: Literal["data"] = "data"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the padding id inside sequences."""
    for facts in examination.data:
        place = facts.inner_padding
        if place is None or not _hides(examination, facts):
            continue
        yield make_finding(
            __name__,
            message=f"{facts.name}: the padding id {facts.value} is also a token inside the sequences, at "
            f"{pluralize(place.count, 'timestep')}, first in sample {place.sample} at timestep {place.timestep}. "
            "A mask made from ids hides it.",
            fix="Shift all ids by one, `tokens + 1`, before padding; input_dim grows by one, and 0 is padding alone."
            if facts.value == 0
            else "Pad with an id that no token has; Embedding(mask_zero=True) wants 0 for that.",
            input=facts.name,
            value=facts.value,
            count=place.count,
            sample=place.sample,
            timestep=place.timestep,
        )


def _hides(examination: Examination, facts: DataFacts) -> bool:
    """Return whether a model masks that token: one that is told its mask otherwise, or has none, does not."""
    model = examination.model
    if model is None or not model.trace:
        return True
    some_rows = model.rows[0] < facts.shape[0]
    return any(source.hidden is not None or (source.looks_up and some_rows) for source in model.sources)
