"""Who may look at whom, as the layers of Keras combine it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from maskcli.records.inputs import ModelInput
from maskcli.records.trace import AttentionMask
from maskcli.trace import attention
from maskcli.trace.attention import record_attention_masks
from maskcli.trace.run import trace_model

TOKENS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], "int32")
VALID = TOKENS != 0
CAUSAL = np.tril(np.ones((5, 5), bool))
BOTH = VALID[:, :, None] & VALID[:, None, :]


def seen(attend: Any, mask_zero: bool = True) -> AttentionMask:
    keras.utils.set_random_seed(2)
    ids = keras.Input((5,), name="tokens", dtype="int32")
    model = keras.Model(ids, attend(layers.Embedding(10, 4, mask_zero=mask_zero)(ids)))
    inputs = (ModelInput("tokens", TOKENS, VALID, "ids"),)
    (found,) = record_attention_masks(trace_model(model, TOKENS, inputs))
    return found


def multi_head(**options: Any) -> Any:
    return lambda x: layers.MultiHeadAttention(2, 3)(x, x, **options)


@pytest.mark.parametrize(
    ("attend", "wanted"),
    [
        (multi_head(), BOTH),
        (multi_head(use_causal_mask=True), BOTH & CAUSAL),
        (lambda x: layers.GroupQueryAttention(4, 2, 1)(x, x), BOTH),
        (lambda x: layers.GroupQueryAttention(4, 2, 1)(x, x, use_causal_mask=True), BOTH & CAUSAL),
        (lambda x: layers.Attention()([x, x]), np.broadcast_to(VALID[:, None, :], (2, 5, 5))),
        (lambda x: layers.Attention()([x, x], use_causal_mask=True), VALID[:, None, :] & CAUSAL),
        (lambda x: layers.AdditiveAttention()([x, x]), np.broadcast_to(VALID[:, None, :], (2, 5, 5))),
        (lambda x: layers.AdditiveAttention()([x, x], use_causal_mask=True), VALID[:, None, :] & CAUSAL),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_padding_and_causality_are_combined(attend: Any, wanted: Any) -> None:
    found = seen(attend)
    assert np.array_equal(found.mask, wanted)
    assert found.causal == (not wanted[1].all())
    assert np.array_equal(found.queries, VALID)
    assert np.array_equal(found.keys, VALID)


def test_without_a_mask_a_query_looks_at_padding_too() -> None:
    found = seen(multi_head(), mask_zero=False)
    assert found.mask.all()
    assert found.to_padding == pytest.approx(found.weights[0, :3, 3:].sum(axis=1).max(), rel=0.5)
    assert found.to_padding > 0.3
    causal = seen(multi_head(use_causal_mask=True), mask_zero=False)
    assert np.array_equal(causal.mask, np.broadcast_to(CAUSAL, (2, 5, 5)))
    assert causal.to_padding == 0


def test_an_attention_mask_of_the_users_own_is_part_of_it() -> None:
    window = np.abs(np.subtract.outer(np.arange(5), np.arange(5))) < 2
    found = seen(multi_head(attention_mask=window[None]))
    assert np.array_equal(found.mask, BOTH & window)


def test_where_nothing_may_be_looked_at_no_weight_is_and_each_row_of_the_rest_adds_up_to_1() -> None:
    found = seen(multi_head(use_causal_mask=True))
    assert (found.weights[~found.mask] == 0).all()
    rows = found.mask.any(axis=2)
    assert found.weights.sum(axis=2)[rows] == pytest.approx(1.0, abs=3e-4)
    assert found.heads == 2


def test_the_weights_are_those_that_keras_returns() -> None:
    keras.utils.set_random_seed(2)
    layer, hidden = layers.MultiHeadAttention(2, 3), keras.random.normal((2, 5, 4), seed=1)
    _, scores = layer(hidden, hidden, return_attention_scores=True)
    model = keras.Sequential([keras.Input((5, 4))])
    given = keras.Input((5, 4), name="x")
    model = keras.Model(given, layer(given, given))
    values = np.asarray(hidden)
    (found,) = record_attention_masks(
        trace_model(model, values, (ModelInput("x", values, np.ones((2, 5), bool), "features"),))
    )
    assert found.weights == pytest.approx(np.asarray(scores).mean(axis=1), abs=5.1e-5)


def test_from_a_decoder_to_an_encoder() -> None:
    source, target = (keras.Input((None,), name=name, dtype="int32") for name in ("source", "target"))
    own, other = (layers.Embedding(10, 4, mask_zero=True)(ids) for ids in (target, source))
    model = keras.Model([source, target], layers.MultiHeadAttention(1, 2)(own, other))
    sources, targets = np.array([[1, 2, 0]], "int32"), np.array([[3, 4, 5, 0]], "int32")
    inputs = (
        ModelInput("source", sources, sources != 0, "ids"),
        ModelInput("target", targets, targets != 0, "ids"),
    )
    (found,) = record_attention_masks(trace_model(model, [sources, targets], inputs))
    assert np.array_equal(found.mask, (targets != 0)[:, :, None] & (sources != 0)[:, None, :])
    assert np.array_equal(found.queries, targets != 0)
    assert np.array_equal(found.keys, sources != 0)


def test_keras_is_left_as_it_was() -> None:
    kinds = (layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention, layers.AdditiveAttention)
    before = [dict(vars(kind)) for kind in kinds]
    for attend in (multi_head(), lambda x: layers.Attention()([x, x]), lambda x: layers.AdditiveAttention()([x, x])):
        seen(attend)
    assert [dict(vars(kind)) for kind in kinds] == before


def test_a_model_without_attention_has_none() -> None:
    ids = keras.Input((5,), name="tokens", dtype="int32")
    model = keras.Model(ids, layers.LSTM(2)(layers.Embedding(10, 4)(ids)))
    assert not record_attention_masks(trace_model(model, TOKENS, (ModelInput("tokens", TOKENS, VALID, "ids"),)))


def test_of_long_sequences_there_are_fewer_samples_and_what_is_said_of_padding_is_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = seen(multi_head(), mask_zero=False)
    monkeypatch.setattr(attention, "PAIRS", 30)
    few = seen(multi_head(), mask_zero=False)
    assert (len(whole.mask), len(few.mask), len(few.weights), len(few.keys)) == (2, 1, 1, 1)
    assert few.to_padding == whole.to_padding
