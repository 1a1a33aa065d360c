"""Findings on evidence that is written by hand: numbers of one, and the largest difference of two backends."""

from __future__ import annotations

import pytest

from maskcli.records.comparison import OutputDifference, SideDifference
from maskcli.records.evidence import MaskSource, ModelEvidence, Occurrence
from maskcli.rules import backend_differs, masking_hides_data

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("count", "of_parts", "places"),
    [
        (1, True, "1 part of a timestep,"),
        (2, True, "2 parts of timesteps,"),
        (1, False, "1 valid timestep,"),
        (2, False, "2 valid timesteps,"),
    ],
)
def test_hidden_places_are_counted_in_words(count: int, of_parts: bool, places: str) -> None:
    source = MaskSource("masking", "Masking", False, False, None, None, Occurrence(count, 0, 1), 3, of_parts)
    model = ModelEvidence("mine", "Functional", 3, (2, 2), sources=(source,))
    (finding,) = masking_hides_data.judge(model)
    assert f"masks {places} first in sample 0 at timestep 1" in finding.message


@pytest.mark.parametrize("known", [True, False])
def test_difference_of_a_backend_has_the_numbers_of_the_worst_output(known: bool) -> None:
    small = OutputDifference("tags", True, False, 0.25, 1e-6, 0, 1, False, ((2, 3), (2, 3)))
    large = OutputDifference("score", True, False, 0.75, 2e-6, 1, 2, False, ((2, 3), (2, 3)))
    outputs = (small, large) if known else ()
    (finding,) = backend_differs.judge(SideDifference("tensorflow", "jax", ("outputs",), outputs=outputs))
    numbers = [finding.evidence[name] for name in ("max_abs_change", "tolerance", "sample", "timestep")]
    assert numbers == ([0.75, 2e-6, 1, 2] if known else [None] * 4)
