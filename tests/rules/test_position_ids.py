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


def test_smaller_of_two_embeddings_of_an_input() -> None:
    words = keras.Input((None,), dtype="int32", name="words")
    large, small = (layers.Embedding(size, 4, mask_zero=True, name=f"of_{size}")(words) for size in (50, 20))
    model = keras.Model(words, layers.GRU(3)(large + small))
    report = maskcli.check([[1, 2, 30], [4, 5]], model=model, select=["MSK004", "MSK005"])
    (finding,) = report.findings
    assert (finding.code, finding.evidence["input_dim"], finding.evidence["value"]) == ("MSK004", 20, 30)
    assert "input_dim 20 (of_20) has vectors for ids 0 to 19" in finding.message


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("places", "code"), [(3, "MSK004"), (9, None)])
def test_positions_out_of_range(first: int, places: int, code: str | None) -> None:
    steps = np.tile(np.arange(4) + first, (3, 1))
    if code is not None and first == 0:
        code = "MSK005"  # The largest is equal to input_dim.
    report = maskcli.check({"words": WORDS, "steps": steps}, model=build(places))
    assert [finding.code for finding in report.findings] == ([] if code is None else [code])
    assert report.passed is (code is None)
