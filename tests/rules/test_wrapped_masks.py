"""Masks that are made inside a wrapper, which never returns them."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli

pytestmark = pytest.mark.slow(share=1 / 2)

# Sentences of words, padded with 0.
PAGES = [[[3, 4, 5, 0], [6, 7, 0, 0]], [[8, 9, 1, 2], [0, 0, 0, 0]], [[5, 0, 0, 0], [4, 4, 6, 0]]]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("data", [{"pages": np.array(PAGES)}, np.array(PAGES), PAGES, list(map(np.array, PAGES))])
def test_wrapper_that_drops_the_mask_is_the_culprit(data: Any) -> None:
    """``mask_zero`` is set; the mask is lost by the wrapper around the Embedding."""
    keras.utils.set_random_seed(1)
    pages: Any = keras.Input((2, 4), dtype="int32", name="pages")
    x = layers.TimeDistributed(layers.Embedding(12, 5, mask_zero=True), name="words")(pages)
    x = layers.TimeDistributed(layers.GRU(4), name="sentences")(x)
    model = keras.Model(pages, layers.GRU(3, name="page")(x))
    with warnings.catch_warnings(action="ignore"):
        report = maskcli.check(data, model=model)
    errors = [(finding.code, finding.call) for finding in report.findings if finding.severity == "error"]
    assert errors == [("MSK101", "words")]
