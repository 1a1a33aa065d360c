"""On random models with equal weights, answers are equal wherever outputs are; differences are named here.

The models are those of ``tests.differential``, whose own tests compare answers on each backend with the truth there.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.cases import PARTS, answer_case, measure_difference, write_weights
from tests.backends.conftest import Worker
from tests.differential import models
from tests.differential.generate import generate

pytestmark = [
    pytest.mark.slow(share=1 / 16),
    pytest.mark.filterwarnings("ignore"),  # Keras warns where a layer destroys a mask: some models have faults.
]
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name}"))
    for name in os.environ.get("MASKCLI_BACKENDS", "jax,torch").split(",")
]
SAME = 1e-4
"""The largest difference between equal outputs, relative to the largest output."""
OTHER_OUTPUTS: dict[tuple[str, int], str] = {}
"""By backend and seed, why outputs differ from those on TensorFlow."""
OTHER_ANSWERS: dict[tuple[str, int], tuple[set[str], str]] = {
    ("jax", 26): ({"repairs"}, "a mask that is passed to the attention cures it as well as one inside of its code"),
}
"""By backend and seed, the parts of the answer that differ although outputs are equal, and why."""


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest) -> Iterator[Worker]:
    worker: Worker = request.getfixturevalue(request.param)
    return worker


@pytest.mark.parametrize("seed", [*range(14), 17, 26, 27, 28])
def test_answer_is_equal_where_outputs_are(other: Worker, seed: int, tmp_path: Path) -> None:
    case, weights = generate(seed), tmp_path / "weights.npz"
    write_weights(case, weights)
    ours = answer_case(case, weights)
    theirs = other.ask("answer_case", models.to_json(case), str(weights))
    difference = measure_difference(weights, ("tensorflow", other.backend))
    text = models.describe(case)
    assert (difference > SAME) == ((other.backend, seed) in OTHER_OUTPUTS), (
        f"outputs differ by {difference:.2g}\n{text}"
    )
    if difference > SAME:
        return
    differing = {part for part in PARTS if ours[part] != theirs[part]}
    expected, _ = OTHER_ANSWERS.get((other.backend, seed), (set(), ""))
    assert differing == expected, f"{ours}\n{theirs}\n{text}"
