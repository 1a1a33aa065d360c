"""Scores of pairs of timesteps, of two sequences or of one: which softmax is at fault, and the code that masks it."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers, ops

from maskcli.records.check import CheckReport
from tests.probes.test_public_models import IDS, Case, check, get_verdict, list_errors, look_up, make_series

pytestmark = pytest.mark.slow(share=1 / 2)


def list_repairs(report: CheckReport) -> list[tuple[str, str | None]]:
    return [(repair.kind, repair.call) for repair in report.repairs]


def list_lines(report: CheckReport) -> list[str]:
    """Return the lines of the code of all repairs without comments and the code of classes."""
    blocks = [block for repair in report.repairs for block in repair.code.split("\n\n\n")]
    lines = [line for block in blocks if not block.startswith("class ") for line in block.splitlines()]
    return [line.partition("  # ")[0] for line in lines]


# Two sequences.


def align(repaired: bool) -> Case:
    """Attend between two sequences, with two softmaxes of the same scores, over the axes of both."""
    first, second = inputs = [keras.Input((None,), dtype="int32", name=name) for name in ("first", "second")]
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    x, y = look(first), look(second)
    scores = layers.Dot((2, 2), name="scores")([x, y])
    if repaired:
        weights = keras.ops.softmax(keras.ops.where(look.compute_mask(first)[:, :, None], scores, -1e9), axis=1)
    else:
        weights = layers.Softmax(axis=1, name="over_first")(scores)
    x = layers.Dot((1, 1))([weights, x])
    if repaired:
        weights = keras.layers.Softmax(axis=-1)(scores, mask=look.compute_mask(second)[:, None, :])
    else:
        weights = layers.Softmax(axis=2, name="over_second")(scores)
    y = layers.Dot((2, 1))([weights, y])
    mean_x = layers.GlobalAveragePooling1D()(x, mask=look.compute_mask(second))
    mean_y = layers.GlobalAveragePooling1D()(y, mask=look.compute_mask(first))
    data = {"first": IDS, "second": IDS[::-1]}
    return data, keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([mean_x, mean_y])))


def test_two_softmaxes_of_the_same_scores_are_masked_together() -> None:
    """The dot product only compares pairs."""
    report = check(lambda: align(repaired=False))
    assert report.leak is not None
    assert report.leak.first_call == "over_second"
    assert sorted(list_repairs(report)) == [
        ("mask-before-softmax", "over_first"),
        ("mask-before-softmax", "over_second"),
    ]
    assert sorted(list_lines(report)) == [
        "weights = keras.layers.Softmax(axis=-1)(scores, mask=look.compute_mask(second)[:, None, :])",
        "weights = keras.ops.softmax(keras.ops.where(look.compute_mask(first)[:, :, None], scores, -1e9), axis=1)",
    ]
    assert get_verdict(check(lambda: align(repaired=True))) == "clean"


class Similarity(layers.Layer):
    """Scores all pairs of timesteps of two sequences by their features, side by side."""

    def build(self, shapes: Any) -> None:
        self.kernel = self.add_weight(shape=(3 * shapes[0][-1], 1))
        self.bias = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs: Any) -> Any:
        context, query = inputs
        context = ops.tile(context[:, :, None], (1, 1, ops.shape(query)[1], 1))
        query = ops.tile(query[:, None], (1, ops.shape(context)[1], 1, 1))
        pairs = ops.concatenate([context, query, context * query], axis=-1)
        return ops.squeeze(ops.matmul(pairs, self.kernel), -1) + self.bias

    def compute_output_shape(self, shapes: Any) -> Any:
        return *shapes[0][:2], shapes[1][1]


class ToQuery(layers.Layer):
    """Attends to the query from all timesteps of the context, with a layer that it makes in ``call``."""

    def call(self, inputs: Any) -> Any:
        scores, query = inputs
        return ops.matmul(layers.Softmax(axis=-1)(scores), query)

    def compute_output_shape(self, shapes: Any) -> Any:
        return *shapes[0][:2], shapes[1][2]


class ToContext(layers.Layer):
    """Attends to the timesteps of the context that resemble some timestep of the query."""

    def call(self, inputs: Any) -> Any:
        scores, context = inputs
        return self.weigh(ops.max(scores, axis=-1), context)

    def weigh(self, scores: Any, context: Any) -> Any:
        weights = layers.Softmax()(scores)
        return context * ops.sum(weights[..., None] * context, axis=1, keepdims=True)

    def compute_output_shape(self, shapes: Any) -> Any:
        return shapes[1]


class ToMaskedContext(ToContext):
    """Leaves padding out as the printed code does."""

    def call(self, inputs: Any, padding_mask: Any = None) -> Any:
        scores, context = inputs
        scores = ops.max(scores, axis=-1)
        scores = keras.ops.where(padding_mask, scores, -1e9)
        return self.weigh(scores, context)


def answer(repaired: bool) -> Case:
    context, query = inputs = [keras.Input((None, 3), name=name) for name in ("context", "query")]
    scores = Similarity(name="similarity")([context, query])
    if repaired:
        scores = keras.ops.where(keras.ops.any(keras.ops.not_equal(query, 0), axis=-1)[:, None, :], scores, -1e9)
    x = ToQuery(name="to_query")([scores, query])
    if repaired:
        to_context = ToMaskedContext(name="to_context")
        y = to_context([scores, context], padding_mask=keras.ops.any(keras.ops.not_equal(context, 0), axis=-1))
    else:
        y = ToContext(name="to_context")([scores, context])
    data = {"context": make_series(3), "query": make_series(3, seed=1)[::-1]}
    return data, keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([context, x, y])))


def test_scores_of_pairs_side_by_side_are_masked() -> None:
    report = check(lambda: answer(repaired=False))
    assert list_lines(report) == [
        "scores = keras.ops.where(keras.ops.any(keras.ops.not_equal(query, 0), axis=-1)[:, None, :], scores, -1e9)",
        "scores = keras.ops.where(padding_mask, scores, -1e9)",
        "to_context(..., padding_mask=keras.ops.any(keras.ops.not_equal(context, 0), axis=-1))",
    ]
    assert get_verdict(check(lambda: answer(repaired=True))) == "clean"


# One sequence.


class AdditiveAttention(layers.Layer):
    """Masks queries instead of keys."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.query, self.key = (self.add_weight(shape=(shape[-1], 3)) for _ in range(2))
        self.score = self.add_weight(shape=(3, 1))

    def score_pairs(self, inputs: Any) -> Any:
        rows, timesteps = ops.shape(inputs)[0], ops.shape(inputs)[1]
        both = ops.matmul(inputs, self.query)[:, :, None] + ops.matmul(inputs, self.key)[:, None]
        scores = ops.reshape(ops.matmul(ops.tanh(both), self.score), (rows, timesteps, timesteps))
        return scores - ops.max(scores, axis=-1, keepdims=True)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        x = ops.exp(self.score_pairs(inputs))
        x = x * ops.cast(mask, "float32")[..., None]
        return ops.matmul(x / (ops.sum(x, axis=-1, keepdims=True) + 1e-7), inputs)


class RepairedAdditiveAttention(AdditiveAttention):
    def call(self, inputs: Any, mask: Any = None) -> Any:
        x = ops.exp(self.score_pairs(inputs))
        x = keras.ops.where(mask[:, None, :], x, 0.0)
        x = x * ops.cast(mask, "float32")[..., None]
        return ops.matmul(x / (ops.sum(x, axis=-1, keepdims=True) + 1e-7), inputs)


class RebindingAttention(AdditiveAttention):
    """Masks pairs of which neither timestep is valid, and gives the mask more axes under its name."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        mask = ops.cast(mask, "float32")[..., None]
        scores = self.score_pairs(inputs) - 1e4 * (1.0 - mask) * (1.0 - ops.transpose(mask, (0, 2, 1)))
        x = ops.exp(scores)
        return ops.matmul(x / ops.sum(x, axis=-1, keepdims=True), inputs)


class RepairedRebindingAttention(AdditiveAttention):
    def call(self, inputs: Any, mask: Any = None) -> Any:
        received_mask = mask
        mask = ops.cast(mask, "float32")[..., None]
        scores = self.score_pairs(inputs) - 1e4 * (1.0 - mask) * (1.0 - ops.transpose(mask, (0, 2, 1)))
        x = ops.exp(scores)
        x = keras.ops.where(received_mask[:, None, :], x, 0.0)
        return ops.matmul(x / ops.sum(x, axis=-1, keepdims=True), inputs)


def attend_to_itself(kind: type[AdditiveAttention]) -> Case:
    ids, x = look_up()
    x = layers.LSTM(4, return_sequences=True)(x)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(kind(name="attend")(x)))


def test_keys_are_masked_where_the_code_masks_queries() -> None:
    report = check(lambda: attend_to_itself(AdditiveAttention))
    assert list_errors(report) == [("MSK107", "attend")]
    assert list_repairs(report) == [("zero-padding", "attend/exp")]
    assert list_lines(report) == ["x = keras.ops.where(mask[:, None, :], x, 0.0)"]
    assert get_verdict(check(lambda: attend_to_itself(RepairedAdditiveAttention))) == "clean"


def test_printed_code_keeps_a_mask_whose_name_the_code_uses_again() -> None:
    report = check(lambda: attend_to_itself(RebindingAttention))
    assert list_repairs(report) == [("zero-padding", "attend/exp")]
    assert list_lines(report) == ["received_mask = mask", "x = keras.ops.where(received_mask[:, None, :], x, 0.0)"]
    assert "# first line of RebindingAttention.call(self, ..., mask=None)" in report.repairs[0].code
    assert get_verdict(check(lambda: attend_to_itself(RepairedRebindingAttention))) == "clean"


# Layers that are called with and without a mask.


class BiasedAttention(layers.Layer):
    """Attends to its second argument, with a third that may mask scores."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = layers.Dense(4), layers.Dense(4)

    def call(self, x: Any, keys: Any, bias: Any) -> Any:
        return x + ops.matmul(ops.softmax(self.score_pairs(x, keys, bias)), keys)

    def score_pairs(self, x: Any, keys: Any, bias: Any) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(keys), (0, 2, 1)))
        return scores if bias is None else scores + bias


class RepairedBiasedAttention(BiasedAttention):
    def call(self, x: Any, keys: Any, bias: Any, padding_mask: Any = None) -> Any:
        scores = self.score_pairs(x, keys, bias)
        if padding_mask is not None:
            scores = keras.ops.where(padding_mask[:, None, :], scores, -1e9)
        return x + ops.matmul(ops.softmax(scores), keys)


class Translator(keras.Model):
    """Masks padding in the attention of the encoder, but not in that of the decoder to the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = layers.Embedding(12, 4), layers.Dense(5)
        self.encode, self.decode = BiasedAttention(), BiasedAttention()

    def call(self, inputs: Any) -> Any:
        padding = ops.where(ops.not_equal(inputs["source"], 0), 0.0, -1e9)[:, None, :]
        x = self.look(inputs["source"])
        x = self.encode(x, x, padding)
        return self.head(self.decode(self.look(inputs["target"]), x, None))


class RepairedTranslator(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = keras.layers.Embedding(12, 4, mask_zero=True), layers.Dense(5)
        self.encode, self.decode = RepairedBiasedAttention(), RepairedBiasedAttention()

    def call(self, inputs: Any) -> Any:
        padding = ops.where(ops.not_equal(inputs["source"], 0), 0.0, -1e9)[:, None, :]
        x = self.look(inputs["source"])
        x = self.encode(x, x, padding)
        y = self.look(inputs["target"])
        return self.head(self.decode(y, x, None, padding_mask=self.look.compute_mask(inputs["source"])))


def test_new_argument_for_a_mask_may_be_left_out_by_calls_that_need_none() -> None:
    data = {"source": IDS, "target": IDS[::-1]}
    report = check(lambda: (data, Translator()))
    assert list_lines(report) == [
        "keras.layers.Embedding(..., mask_zero=True)",
        "if padding_mask is not None:",
        "    scores = keras.ops.where(padding_mask[:, None, :], scores, -1e9)",
        'self.decode(..., padding_mask=self.look.compute_mask(inputs["source"]))',
    ]
    assert get_verdict(check(lambda: (data, RepairedTranslator()))) == "clean"
