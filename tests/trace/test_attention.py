"""Attention masks, as the layers of Keras combine them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from maskcli.records.inputs import ModelInput
from maskcli.records.trace import AttentionMask
from maskcli.render.charts.attention import make_figure
from maskcli.trace import attention
from maskcli.trace.attention import record_attention_masks
from maskcli.trace.run import trace_model

TOKENS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], "int32")
VALID = TOKENS != 0
CAUSAL = np.tril(np.ones((5, 5), bool))
BOTH = VALID[:, :, None] & VALID[:, None, :]


def record_attention(attend: Any, mask_zero: bool = True) -> AttentionMask:
    keras.utils.set_random_seed(2)
    ids = keras.Input((5,), name="tokens", dtype="int32")
    model = keras.Model(ids, attend(layers.Embedding(10, 4, mask_zero=mask_zero)(ids)))
    inputs = (ModelInput("tokens", TOKENS, VALID, "ids"),)
    (result,) = record_attention_masks(trace_model(model, inputs))
    return result


def multi_head(**options: Any) -> Any:
    return lambda x: layers.MultiHeadAttention(2, 3)(x, x, **options)


@pytest.mark.parametrize(
    ("attend", "expected"),
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
def test_mask_combines_padding_and_causality(attend: Any, expected: Any) -> None:
    result = record_attention(attend)
    assert np.array_equal(result.mask, expected)
    assert result.causal == (not expected[1].all())
    assert np.array_equal(result.queries, VALID)
    assert np.array_equal(result.keys, VALID)


def test_unmasked_query_attends_to_padding() -> None:
    result = record_attention(multi_head(), mask_zero=False)
    assert result.mask.all()
    assert result.to_padding == pytest.approx(result.weights[0, :3, 3:].sum(axis=1).max(), rel=0.5)
    assert result.to_padding > 0.3
    causal = record_attention(multi_head(use_causal_mask=True), mask_zero=False)
    assert np.array_equal(causal.mask, np.broadcast_to(CAUSAL, (2, 5, 5)))
    assert causal.to_padding == 0


def test_mask_includes_attention_mask_argument() -> None:
    window = np.abs(np.subtract.outer(np.arange(5), np.arange(5))) < 2
    result = record_attention(multi_head(attention_mask=window[None]))
    assert np.array_equal(result.mask, BOTH & window)


def test_weights_are_zero_where_masked() -> None:
    """All source_vectors rows of weights add up to 1."""
    result = record_attention(multi_head(use_causal_mask=True))
    assert (result.weights[~result.mask] == 0).all()
    rows = result.mask.any(axis=2)
    assert result.weights.sum(axis=2)[rows] == pytest.approx(1.0, abs=3e-4)
    assert result.heads == 2


def test_weights_equal_those_of_keras() -> None:
    keras.utils.set_random_seed(2)
    layer, hidden = layers.MultiHeadAttention(2, 3), keras.random.normal((2, 5, 4), seed=1)
    _, scores = layer(hidden, hidden, return_attention_scores=True)
    model = keras.Sequential([keras.Input((5, 4))])
    x = keras.Input((5, 4), name="x")
    model = keras.Model(x, layer(x, x))
    values = np.asarray(hidden)
    (result,) = record_attention_masks(
        trace_model(model, (ModelInput("x", values, np.ones((2, 5), bool), "features"),))
    )
    assert result.weights == pytest.approx(np.asarray(scores).mean(axis=1), abs=5.1e-5)


def test_mask_of_cross_attention() -> None:
    source, target = (keras.Input((None,), name=name, dtype="int32") for name in ("source", "target"))
    target_vectors, source_vectors = (layers.Embedding(10, 4, mask_zero=True)(ids) for ids in (target, source))
    model = keras.Model([source, target], layers.MultiHeadAttention(1, 2)(target_vectors, source_vectors))
    sources, targets = np.array([[1, 2, 0]], "int32"), np.array([[3, 4, 5, 0]], "int32")
    inputs = (
        ModelInput("source", sources, sources != 0, "ids"),
        ModelInput("target", targets, targets != 0, "ids"),
    )
    (result,) = record_attention_masks(trace_model(model, inputs))
    assert np.array_equal(result.mask, (targets != 0)[:, :, None] & (sources != 0)[:, None, :])
    assert np.array_equal(result.queries, targets != 0)
    assert np.array_equal(result.keys, sources != 0)


def test_recording_restores_keras_classes() -> None:
    kinds = (layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention, layers.AdditiveAttention)
    before = [dict(vars(kind)) for kind in kinds]
    for attend in (multi_head(), lambda x: layers.Attention()([x, x]), lambda x: layers.AdditiveAttention()([x, x])):
        record_attention(attend)
    assert [dict(vars(kind)) for kind in kinds] == before


def test_no_mask_without_attention() -> None:
    ids = keras.Input((5,), name="tokens", dtype="int32")
    model = keras.Model(ids, layers.LSTM(2)(layers.Embedding(10, 4)(ids)))
    assert not record_attention_masks(trace_model(model, (ModelInput("tokens", TOKENS, VALID, "ids"),)))


def test_long_sequences_keep_fewer_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attention to padding is still that of all samples."""
    whole = record_attention(multi_head(), mask_zero=False)
    monkeypatch.setattr(attention, "PAIRS", 30)
    few = record_attention(multi_head(), mask_zero=False)
    assert (len(whole.mask), len(few.mask), len(few.weights), len(few.keys)) == (2, 1, 1, 1)
    assert few.to_padding == whole.to_padding
    monkeypatch.setattr(attention, "PAIRS", 10)
    short = record_attention(multi_head(), mask_zero=False)
    assert (short.mask.shape, short.weights.shape, short.keys.shape, short.all_pairs) == (
        (1, 3, 3),
        (1, 3, 3),
        (1, 3),
        (5, 5),
    )
    assert np.array_equal(short.weights, whole.weights[:1, :3, :3])
    assert (short.to_padding, few.all_pairs, whole.all_pairs) == (whole.to_padding, None, None)
    note = make_figure(short).spec["title"]["text"]
    assert note == "… the first 3 of 5 queries and 3 of 5 keys"


class Attending(layers.Layer):
    """Attention of one's own, with two heads, a causal mask, and a mask of padded keys."""

    def call(self, x: Any, mask: Any) -> Any:
        heads = keras.ops.transpose(keras.ops.reshape(x, (-1, 5, 2, 2)), (0, 2, 1, 3))
        scores = keras.ops.einsum("bhqd,bhkd->bhqk", heads, heads)
        allowed = keras.ops.logical_and(mask[:, None, None, :], CAUSAL)
        return keras.ops.softmax(keras.ops.where(allowed, scores, -1e9))


def test_masks_of_own_layers_are_read_from_scores() -> None:
    ids = keras.Input((5,), name="tokens", dtype="int32")
    model = keras.Model(ids, Attending(name="own")(layers.Embedding(10, 4)(ids), keras.ops.not_equal(ids, 0)))
    run = trace_model(model, (ModelInput("tokens", TOKENS, VALID, "ids"),))
    (result,) = record_attention_masks(run)
    assert (result.call, result.type, result.heads, result.causal) == ("own", "Attending", 2, True)
    assert np.array_equal(result.mask, VALID[:, None, :] & CAUSAL)
    assert np.array_equal(result.queries, VALID)
    assert np.array_equal(result.keys, VALID)
    assert result.to_padding == 0
    assert np.allclose(result.weights, np.asarray(run.output).mean(axis=1), atol=1e-4)
