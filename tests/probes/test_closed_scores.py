"""Queries that a mask closes to all keys: their scores of -1e9 must not pass for rounding errors of 100."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import maskcli

pytestmark = pytest.mark.slow(share=1 / 2)

SEQUENCES = [[3, 7, 2, 9, 4, 6], [5, 1, 8], [2, 6, 6, 1]]


class Scores(keras.layers.Layer):
    """Attention in code of one's own, which lets a query attend where ``is_open`` is True of (queries, keys)."""

    def __init__(self, is_open: Any, **options: Any) -> None:
        super().__init__(**options)
        self.is_open = is_open
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        place = ops.arange(ops.shape(inputs)[1])
        is_open = ops.cast(self.is_open(mask, place[None, :, None] >= place[None, None, :]), inputs.dtype)
        scores = ops.matmul(inputs, ops.transpose(inputs, (0, 2, 1))) + (1 - is_open) * -1e9
        return ops.matmul(ops.softmax(scores), inputs)


def make_model(is_open: Any) -> keras.Model:
    keras.utils.set_random_seed(4)
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(12, 6, mask_zero=True)(tokens)
    x = keras.layers.Dense(6, activation="tanh")(x + 0.2 * Scores(is_open)(x))
    return keras.Model(tokens, keras.layers.Dense(2)(x))


def close_earlier(mask: Any, is_earlier: Any) -> Any:
    """Invert a causal mask that hides padding: the last query of a full row may attend to no key."""
    return ops.logical_not(ops.logical_and(mask[:, None, :], is_earlier))


def close_padding(mask: Any, is_earlier: Any) -> Any:
    """Close padded keys, and padded queries to all keys."""
    return ops.logical_and(ops.logical_and(mask[:, None, :], mask[:, :, None]), is_earlier)


def test_small_change_by_later_timesteps_is_found() -> None:
    report = maskcli.check(SEQUENCES, model=make_model(close_earlier), causal=True)
    evidence = report.examination.model
    assert evidence is not None
    (effect,) = evidence.future
    assert effect.looks_ahead
    assert effect.tolerance < 1e-4
    assert "MSK117" in {finding.code for finding in report.findings}


@pytest.mark.parametrize("length", [0, 9])
def test_closed_queries_of_padding_prove_nothing(length: int) -> None:
    data = np.zeros((3, max(6, length)), "int32")
    for row, sequence in zip(data, SEQUENCES, strict=True):
        row[: len(sequence)] = sequence
    report = maskcli.check(data, model=make_model(close_padding), causal=True)
    evidence = report.examination.model
    assert evidence is not None
    assert evidence.leak is not None
    assert evidence.leak.verdict == "clean"
    assert [finding for finding in report.findings if finding.severity == "error"] == []
