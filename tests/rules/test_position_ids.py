"""Ids that only count the timesteps are looked up as well, and may be out of range."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli

WORDS = np.array([[4, 3, 2, 5], [6, 2, 0, 0], [3, 0, 0, 0]])


def build(places: int) -> keras.Model:
    keras.utils.set_random_seed(3)
    words, steps = (keras.Input((None,), dtype="int32", name=name) for name in ("words", "steps"))
    x: Any = layers.Embedding(8, 4, name="word_vectors")(words) + layers.Embedding(places, 4, name="step_vectors")(
        steps
    )
    mask = keras.ops.not_equal(words, 0)
    return keras.Model([words, steps], layers.GRU(3)(x, mask=mask))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("places", "code"), [(3, "MSK004"), (9, None)])
def test_positions_out_of_range(first: int, places: int, code: str | None) -> None:
    steps = np.tile(np.arange(4) + first, (3, 1))
    if code is not None and first == 0:
        code = "MSK005"  # The largest is equal to input_dim.
    report = maskcli.check({"words": WORDS, "steps": steps}, model=build(places))
    assert [finding.code for finding in report.findings] == ([] if code is None else [code])
    assert report.passed is (code is None)
