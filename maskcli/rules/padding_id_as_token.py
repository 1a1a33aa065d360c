"""The padding id is also a real token, between other tokens of a sequence.

`Embedding(mask_zero=True)` compares every id with 0 and ignores lengths. A real token 0 is masked like padding: an LSTM
skips it, attention cannot see it, the loss does not count it, and no warning appears. At the end of a sequence the same
token even looks like padding. The usual cause is a tokenizer whose first word has id 0.

Bad::

    sequences = [[4, 0, 7, 2], [5, 3]]
    options = dict(data_only=True)

Good::

    # Each id is one larger, so that 0 is only padding.
    sequences = [[5, 1, 8, 3], [6, 4]]
    options = dict(data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding

CODE = "MSK001"
SEVERITY = "error"


def judge(facts: DataFacts, model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield the padding id inside sequences."""
    place = facts.inner_padding
    if place is None or not _is_hidden(facts, model):
        return
    if facts.value == 0:
        fix = "Add 1 to all ids before padding, `tokens + 1`, and to input_dim. Then 0 is only padding."
    else:
        fix = "Pad with an id that no token has. Embedding(mask_zero=True) requires 0 as that id."
    yield make_finding(
        __name__,
        message=f"{facts.name}: the padding id {facts.value} is also a token inside the sequences, at "
        f"{format_count(place.count, 'timestep')}, first in sample {place.sample} at timestep {place.timestep}. "
        "A mask made from ids hides it.",
        fix=fix,
        input=facts.name,
        value=facts.value,
        count=place.count,
        sample=place.sample,
        timestep=place.timestep,
    )


def _is_hidden(facts: DataFacts, model: ModelEvidence | None) -> bool:
    """Return whether the model masks that token; without a model it may."""
    if model is None or not model.trace:
        return True
    # The probes ran on some rows only, so an Embedding may hide the token in a row that was not probed.
    has_more_rows = model.rows[0] < facts.shape[0]
    return any(source.hidden is not None or (source.looks_up and has_more_rows) for source in model.sources)
