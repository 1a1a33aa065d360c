"""input_dim is the largest id, and has to be the largest id + 1.

Ids are counted from 0, so an Embedding with `input_dim=50` has vectors for the ids 0 to 49. Set to the size of a
vocabulary that does not count the padding id, it is one too small. The largest id is often a rare word: training on a
CPU then stops with an error after hours, while a GPU trains on with zeros for that word.

Bad::

    sequences = [[5, 6, 50], [8, 9]]
    options = dict(input_dim=50, data_only=True)

Good::

    sequences = [[5, 6, 50], [8, 9]]
    options = dict(input_dim=51, data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding

CODE = "MSK005"
SEVERITY: Severity = "error"
ABOUT: Literal["data"] = "data"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find a largest id that equals input_dim."""
    for facts in examination.data:
        place = facts.largest
        if place is None or place.value is None or place.value != facts.input_dim:
            continue
        source = f" ({facts.input_dim_from})" if facts.input_dim_from else ""
        yield make_finding(
            __name__,
            message=f"{facts.name}: the largest id is {place.value}, first in sample {place.sample} at timestep "
            f"{place.timestep}, and so is input_dim{source}, which has vectors for ids 0 to {place.value - 1} alone.",
            fix=f"Use `input_dim={place.value + 1}`: the largest id + 1, as padding id 0 counts too.",
            input=facts.name,
            value=place.value,
            count=place.count,
            sample=place.sample,
            timestep=place.timestep,
            input_dim=facts.input_dim,
        )
