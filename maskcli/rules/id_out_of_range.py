"""The Embedding has no vector for an id: it is negative, or not below input_dim.

The effect depends on where the model runs. On a CPU the lookup stops with an error. On a GPU it returns zeros, and code
compiled by XLA returns the vector of the last id. Keras counts a negative id from the end, so it silently looks up -1
as the last id. A padding id of -1 is not padding to an Embedding either: `mask_zero=True` masks only id 0.

Bad::

    sequences = [[5, 6, 70], [8, -1]]
    options = dict(input_dim=50, data_only=True)

Good::

    sequences = [[5, 6, 70], [8, 1]]
    options = dict(input_dim=71, data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts, Occurrence
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding

CODE = "MSK004"
SEVERITY = "error"


def judge(facts: DataFacts, model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield ids below 0 and above input_dim, among the tokens and as padding."""
    if model is not None and facts.input_dim is None:
        return  # No Embedding looks up these ids, so the model may handle negative ones.
    yield from _judge_smallest(facts)
    yield from _judge_largest(facts)
    yield from _judge_padding(facts)


def _judge_smallest(facts: DataFacts) -> Iterator[Finding]:
    place = facts.smallest
    if place is not None and place.value is not None and place.value < 0:
        yield make_finding(
            __name__,
            message=f"{facts.name}: the smallest id is {place.value}, {_describe_place(place)}. Keras counts it from "
            "the end, and looks up the vector of another token.",
            fix="Number the tokens from 1, and keep 0 for padding.",
            **_collect_evidence(facts, place),
        )


def _judge_largest(facts: DataFacts) -> Iterator[Finding]:
    place = facts.largest
    if place is None or place.value is None or facts.input_dim is None:
        return
    # MSK005 reports a largest id that equals input_dim, which has its own cause.
    if place.value > facts.input_dim:
        yield make_finding(
            __name__,
            message=f"{facts.name}: the largest id is {place.value}, {_describe_place(place)}, but "
            f"{_describe_vectors(facts, facts.input_dim)}.",
            fix=f"Use `input_dim={place.value + 1}`, the largest id + 1, or map rare tokens to one id below "
            f"{facts.input_dim}.",
            **_collect_evidence(facts, place),
        )


def _judge_padding(facts: DataFacts) -> Iterator[Finding]:
    if not facts.padded_timesteps:
        return
    if facts.input_dim is not None and facts.value >= facts.input_dim:
        reason = _describe_vectors(facts, facts.input_dim)
    elif facts.value < 0:
        reason = "an Embedding cannot look it up as padding"
    else:
        return
    timesteps = format_count(facts.padded_timesteps, "timestep")
    yield make_finding(
        __name__,
        message=f"{facts.name}: the padding id is {facts.value}, at {timesteps}, but {reason}.",
        fix="Pad with 0, `value=0`, and keep id 0 for padding.",
        input=facts.name,
        value=facts.value,
        count=facts.padded_timesteps,
        input_dim=facts.input_dim,
    )


def _describe_vectors(facts: DataFacts, input_dim: int) -> str:
    source = f" ({facts.input_dim_from})" if facts.input_dim_from else ""
    return f"input_dim {input_dim}{source} has vectors for ids 0 to {input_dim - 1}"


def _describe_place(place: Occurrence) -> str:
    return f"first in sample {place.sample} at timestep {place.timestep}"


def _collect_evidence(facts: DataFacts, place: Occurrence) -> dict[str, Any]:
    return {
        "input": facts.name,
        "value": place.value,
        "count": place.count,
        "sample": place.sample,
        "timestep": place.timestep,
        "input_dim": facts.input_dim,
    }
