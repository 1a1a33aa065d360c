"""Data without padding: maskcli adds some, on the side that the user pads on."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.records.options import Side

WORDS = np.random.default_rng(1).integers(1, 9, (4, 6))


@pytest.mark.parametrize(("step", "leaking"), [(0, "pre"), (-1, "post")])
@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("as_lists", [True, False])
def test_side_of_added_padding(step: int, leaking: Side, side: Side, as_lists: bool) -> None:
    """The first timestep is padding with pre-padding only, the last one with post-padding only."""
    keras.utils.set_random_seed(0)
    words = keras.Input((None,), dtype="int32", name="words")
    x: Any = layers.Embedding(9, 3, mask_zero=True)(words)
    with warnings.catch_warnings(action="ignore"):
        model = keras.Model(words, layers.Dense(2)(x[:, step]))
        data = WORDS.tolist() if as_lists else {"words": WORDS}
        report = maskcli.check(data, model=model, padding=side)
    assert report.leak is not None
    assert report.leak.padded_by_maskcli
    assert (report.leak.verdict == "leaks") is (side == leaking)
