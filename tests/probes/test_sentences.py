"""Words in sentences: the validity of timesteps has a further axis."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.check import CheckReport

pytestmark = pytest.mark.slow(share=1 / 2)

DOCUMENTS = np.array(
    [
        [[3, 1, 0], [4, 1, 5], [9, 0, 0], [2, 6, 0]],
        [[5, 3, 5], [8, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[7, 0, 0], [9, 3, 0], [2, 3, 8], [0, 0, 0]],
    ]
)


def encode(shape: tuple[int | None, int | None]) -> tuple[Any, Any]:
    """Return an input of words and a vector for each sentence."""
    keras.utils.set_random_seed(0)
    words = keras.Input((shape[1],), dtype="int32")
    sentence = keras.Model(words, layers.GRU(4)(layers.Embedding(12, 3, mask_zero=True)(words)))
    documents = keras.Input(shape, dtype="int32", name="documents")
    return documents, layers.TimeDistributed(sentence)(documents)


def check(documents: Any, output: Any) -> CheckReport:
    with warnings.catch_warnings(action="ignore"):
        return maskcli.check({"documents": DOCUMENTS}, model=keras.Model(documents, output))


@pytest.mark.parametrize("right", [True, False])
def test_attention_over_sentences(right: bool) -> None:
    documents, x = encode((4, 3))
    valid = ops.any(ops.not_equal(documents, 0), axis=-1)
    hidden = valid if right else ops.logical_not(valid)
    scores = ops.matmul(layers.Dense(4)(x), ops.transpose(layers.Dense(4)(x), (0, 2, 1)))
    x = ops.matmul(layers.Softmax()(scores, mask=ops.expand_dims(hidden, 1)), x)
    weights = ops.expand_dims(ops.cast(valid, x.dtype), -1)
    report = check(documents, layers.Dense(2)(ops.sum(x * weights, axis=1) / ops.sum(weights, axis=1)))
    codes = [finding.code for finding in report.findings if finding.severity == "error"]
    assert codes == ([] if right else ["MSK118"])


def test_sentence_alone_is_too_short_for_a_convolution() -> None:
    """On TensorFlow, a window of two on a single timestep returns memory that nothing has written."""
    documents, x = encode((None, None))
    report = check(documents, layers.Dense(3)(layers.Conv1D(4, 2)(x)))
    assert report.passed
    assert report.leak is not None
    assert report.leak.verdict == "clean"


def pool_words(masked: bool) -> CheckReport:
    """Check a model on documents whose sentences all have words, so that only words are padded."""
    keras.utils.set_random_seed(0)
    words = keras.Input((None,), dtype="int32")
    vectors = layers.Embedding(12, 3, mask_zero=masked)(words)
    sentence = keras.Model(words, layers.GlobalAveragePooling1D()(vectors))
    documents = keras.Input((4, 3), dtype="int32", name="documents")
    output = layers.Dense(2)(layers.Flatten()(layers.TimeDistributed(sentence)(documents)))
    full = np.maximum(DOCUMENTS, np.array([1, 0, 0]))
    return maskcli.check({"documents": full}, model=keras.Model(documents, output))


def test_words_are_judged_where_no_sentence_is_padded() -> None:
    clean, leaking = pool_words(masked=True), pool_words(masked=False)
    assert clean.leak is not None
    assert leaking.leak is not None
    assert (clean.leak.verdict, leaking.leak.verdict) == ("clean", "leaks")
    assert not leaking.passed
    assert "MSK104" in [finding.code for finding in leaking.findings]
    (documents,) = leaking.inputs
    assert (documents.padded_timesteps, documents.padded_places) == (0, 15)
