"""The Embedding has no vector for an id: it is negative, or past input_dim.

What happens then depends on where the model runs. On a CPU the lookup stops with an error; on a GPU it returns zeros,
and compiled by XLA the vector of the last id. Keras counts a negative id from the end, so that -1 is looked up as the
last id, without a word. A padding id of -1 is no padding to an Embedding either: `mask_zero=True` masks id 0 alone.

Bad::

    sequences = [[5, 6, 70], [8, -1]]
    options = dict(input_dim=50, data_only=True)

Good::

    sequences = [[5, 6, 70], [8, 1]]
    options = dict(input_dim=71, data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.data import DataFacts, Occurrence
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK004"
SEVERITY: Severity = "error"
ABOUT: Literal["data"] = "data"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find ids below 0 and above input_dim, among the tokens and as padding."""
    for facts in examination.data:
        if examination.model is not None and facts.input_dim is None:
            continue  # The model looks up none of these ids, and may well know what a negative one means.
        yield from _negative(facts)
        yield from _past(facts)
        yield from _padding(facts)


def _negative(facts: DataFacts) -> Iterator[Finding]:
    place = facts.smallest
    if place is not None and place.value is not None and place.value < 0:
        yield make_finding(
            __name__,
            message=f"{facts.name}: the smallest id is {place.value}, {_where(place)}. Keras counts it from the "
            "end, and looks up the vector of another token.",
            fix="Map tokens to ids from 1 on, and keep 0 for padding.",
            **_evidence(facts, place),
        )


def _past(facts: DataFacts) -> Iterator[Finding]:
    place = facts.largest
    if place is None or place.value is None or facts.input_dim is None:
        return
    # The largest id that is input_dim itself is a mistake of its own: MSK005.
    if place.value > facts.input_dim:
        yield make_finding(
            __name__,
            message=f"{facts.name}: the largest id is {place.value}, {_where(place)}; {_known(facts)}.",
            fix=f"Use `input_dim={place.value + 1}`, the largest id + 1, or map rare tokens to one id below "
            f"{facts.input_dim}.",
            **_evidence(facts, place),
        )


def _padding(facts: DataFacts) -> Iterator[Finding]:
    past = facts.input_dim is not None and facts.value >= facts.input_dim
    if facts.padded_timesteps and (facts.value < 0 or past):
        yield make_finding(
            __name__,
            message=f"{facts.name}: the padding id is {facts.value}, at "
            f"{pluralize(facts.padded_timesteps, 'timestep')}, which an Embedding cannot look up"
            f"{'; ' + _known(facts) if past else ' as padding'}.",
            fix="Pad with 0, `value=0`, and keep id 0 for padding.",
            input=facts.name,
            value=facts.value,
            count=facts.padded_timesteps,
            input_dim=facts.input_dim,
        )


def _known(facts: DataFacts) -> str:
    assert facts.input_dim is not None  # noqa: S101 - asked for where it is known
    source = f" ({facts.input_dim_from})" if facts.input_dim_from else ""
    return f"input_dim {facts.input_dim}{source} has vectors for ids 0 to {facts.input_dim - 1}"


def _where(place: Occurrence) -> str:
    return f"first in sample {place.sample} at timestep {place.timestep}"


def _evidence(facts: DataFacts, place: Occurrence) -> dict[str, Any]:
    return {
        "input": facts.name,
        "value": place.value,
        "count": place.count,
        "sample": place.sample,
        "timestep": place.timestep,
        "input_dim": facts.input_dim,
    }
