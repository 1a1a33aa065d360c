"""input_dim equals the largest id, but must be the largest id + 1.

Ids start at 0, so an Embedding with `input_dim=50` has vectors for ids 0 to 49. If input_dim is the size of a
vocabulary without the padding id, it is one too small. The largest id is often a rare word. Training on a CPU may then
stop with an error after hours, while a GPU continues with zeros for that word.

Bad::

    sequences = [[5, 6, 50], [8, 9]]
    options = dict(input_dim=50, data_only=True)

Good::

    sequences = [[5, 6, 50], [8, 9]]
    options = dict(input_dim=51, data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding

CODE = "MSK005"
SEVERITY = "error"


def judge(facts: DataFacts, _model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield a largest id that equals input_dim."""
    place = facts.largest
    if place is None or place.value is None or place.value != facts.input_dim:
        return
    source = f" ({facts.input_dim_from})" if facts.input_dim_from else ""
    yield make_finding(
        __name__,
        message=f"{facts.name}: the largest id is {place.value}, first in sample {place.sample} at timestep "
        f"{place.timestep}, but input_dim {place.value}{source} has vectors only for ids 0 to {place.value - 1}.",
        fix=f"Use `input_dim={place.value + 1}`: the largest id + 1, as padding id 0 counts too.",
        input=facts.name,
        value=place.value,
        count=place.count,
        sample=place.sample,
        timestep=place.timestep,
        input_dim=facts.input_dim,
    )
