"""Loops over timesteps, timesteps that are joined or ranked, and reversed RNNs: their culprits, and their repairs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.probes.test_public_models import IDS, Case, check, get_verdict, list_errors
from tests.probes.test_public_pairs import list_lines, list_repairs

pytestmark = pytest.mark.slow(share=1 / 2)


class AdditiveAttention(layers.Layer):
    """Attends to an encoded sequence, by one query for each row."""

    def __init__(self) -> None:
        super().__init__(name="attend")
        self.query, self.key, self.score = layers.Dense(3), layers.Dense(3), layers.Dense(1)

    def call(self, query: Any, values: Any) -> Any:
        scores = self.score(ops.tanh(self.query(query)[:, None] + self.key(values)))
        return ops.sum(ops.softmax(scores, axis=1) * values, axis=1)


class MaskedAdditiveAttention(AdditiveAttention):
    def call(self, query: Any, values: Any, values_mask: Any = None) -> Any:
        scores = self.score(ops.tanh(self.query(query)[:, None] + self.key(values)))
        if values_mask is not None:
            scores = keras.ops.where(values_mask[:, :, None], scores, -1e9)
        return ops.sum(ops.softmax(scores, axis=1) * values, axis=1)


class LoopingTranslator(keras.Model):
    """Decodes in a loop of as many calls as the target has timesteps."""

    def __init__(self, attention: layers.Layer) -> None:
        super().__init__()
        self.look, self.look_back = layers.Embedding(12, 4, mask_zero=True), layers.Embedding(12, 4)
        self.encode = layers.GRU(3, return_sequences=True, return_state=True)
        self.attend, self.decode, self.head = attention, layers.GRUCell(3), layers.Dense(5)

    def call(self, inputs: Any) -> Any:
        values, state = self.encode(self.look(inputs["source"]))
        target, results = self.look_back(inputs["target"]), []
        for step in range(inputs["target"].shape[1]):
            context = self.attend(state, values)
            state, _ = self.decode(ops.concatenate([context, target[:, step]], -1), state)
            results.append(self.head(state)[:, None])
        return ops.concatenate(results, 1)


def test_attention_in_a_loop_is_the_culprit() -> None:
    """Rows by themselves have shorter loops, so that only their first calls correspond."""
    data = {"source": IDS, "target": IDS}
    report = check(lambda: (data, LoopingTranslator(AdditiveAttention())))
    assert [call for _, call in list_errors(report)] == ["attend"]
    assert list_lines(report) == [
        "if values_mask is not None:",
        "    scores = keras.ops.where(values_mask[:, :, None], scores, -1e9)",
    ]
    repaired = check(lambda: (data, LoopingTranslator(MaskedAdditiveAttention())))
    assert get_verdict(repaired) == "clean"


class Pyramid(layers.Layer):
    """Joins timesteps two by two."""

    def call(self, x: Any) -> Any:
        return ops.reshape(x, (-1, ops.shape(x)[1] // 2, 2 * x.shape[-1]))


class MaskedPyramid(Pyramid):
    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        del inputs
        return None if mask is None else mask[:, 1::2]


def listen(pyramid: layers.Layer) -> Case:
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(12, 3, mask_zero=True)(ids)
    x = layers.LSTM(3, name="top")(pyramid(layers.LSTM(3, return_sequences=True)(x)))
    return {"ids": np.array([[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0], [9, 1, 2, 3, 0, 0]])}, keras.Model(ids, x)


def test_layer_that_joins_timesteps_keeps_every_second_part_of_the_mask() -> None:
    report = check(lambda: listen(Pyramid(name="pyramid")))
    assert list_repairs(report) == [("keep-mask", "pyramid")]
    assert "return None if mask is None else mask[:, 1::2]" in list_lines(report)[-1]
    assert get_verdict(check(lambda: listen(MaskedPyramid(name="pyramid")))) == "clean"


class SearchUnit(layers.Layer):
    """Chooses the two timesteps with the best scores."""

    def call(self, history: Any, target: Any) -> Any:
        scores = ops.einsum("btd,bd->bt", history, target)
        return ops.take_along_axis(history, ops.top_k(scores, 2)[1][..., None], axis=1)


class MaskedSearchUnit(layers.Layer):
    def call(self, history: Any, target: Any, history_mask: Any = None) -> Any:
        scores = ops.einsum("btd,bd->bt", history, target)
        scores = keras.ops.where(history_mask, scores, -1e9)
        return ops.take_along_axis(history, ops.top_k(scores, 2)[1][..., None], axis=1)


def search(unit: layers.Layer) -> Case:
    history, target = inputs = [
        keras.Input((None,), dtype="int32", name="history"),
        keras.Input((4,), name="target"),
    ]
    chosen = unit(layers.Embedding(12, 4, mask_zero=True)(history), target)
    rng = np.random.default_rng(3)
    data = {"history": IDS, "target": rng.normal(size=(len(IDS), 4)).astype(np.float32)}
    return data, keras.Model(inputs, layers.Dense(1)(layers.Flatten()(chosen)))


def test_scores_are_masked_before_they_are_ranked() -> None:
    """Keras passes the mask of an argument under its name if there are several tensors."""
    report = check(lambda: search(SearchUnit(name="unit")))
    assert [kind for kind, _ in list_repairs(report)] == ["mask-scores"]
    assert list_lines(report) == ["scores = keras.ops.where(history_mask, scores, -1e9)"]
    assert get_verdict(check(lambda: search(MaskedSearchUnit(name="unit")))) == "clean"


class Flipped(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return keras.ops.flip(x, axis=1)


def read_both_ways(repaired: bool) -> Case:
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(12, 4, mask_zero=True)(ids)
    back = layers.LSTM(3, return_sequences=True, go_backwards=True, name="back")(x)
    back = Flipped()(back) if repaired else back
    x = layers.Concatenate()([layers.LSTM(3, return_sequences=True)(x), back])
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


def test_reversed_sequence_is_turned_round_before_it_is_joined() -> None:
    report = check(lambda: read_both_ways(repaired=False))
    assert list_errors(report) == [("MSK106", "back")]
    assert list_repairs(report) == [("flip-result", "back")]
    assert list_lines(report) == ["x = Flipped()(x)"]
    assert get_verdict(check(lambda: read_both_ways(repaired=True))) == "clean"


def read_context() -> Case:
    """Read the words on the left and, from the end, those on the right; a Lambda turns these round, without a mask."""
    left, right = inputs = [keras.Input((None,), dtype="int32", name=name) for name in ("left", "right")]
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    x = layers.LSTM(3, return_sequences=True)(look(left))
    back = layers.LSTM(3, return_sequences=True, go_backwards=True, name="back")(look(right))
    back = layers.Lambda(lambda x: ops.flip(x, axis=1), output_shape=lambda shape: shape)(back)
    x = layers.Concatenate(name="join")([x, back])
    pooled = layers.Lambda(lambda x: ops.max(x, axis=1), output_shape=(6,), name="pool")(x)
    return {"left": IDS, "right": IDS}, keras.Model(inputs, layers.Dense(2)(pooled))


def test_reversed_rnn_whose_mask_goes_no_further_is_not_to_blame() -> None:
    assert "back" not in [call for _, call in list_errors(check(read_context))]


class SteppedAttention(layers.Layer):
    """Weighs timesteps by scores with a number of their own each, and ignores the mask."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1],), initializer="random_normal")
        self.bias = self.add_weight(shape=(shape[1],), initializer="ones")

    def call(self, x: Any) -> Any:
        weights = ops.exp(ops.tanh(ops.sum(x * self.kernel, axis=-1) + self.bias))
        return ops.sum(x * (weights / ops.sum(weights, axis=1, keepdims=True))[..., None], axis=1)


def weigh_steps(features: int) -> Case:
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.LSTM(features, return_sequences=True)(layers.Embedding(12, 4, mask_zero=True)(ids))
    model = keras.Model(ids, layers.Dense(2)(SteppedAttention(name="attend")(x)))
    return {"ids": np.array([[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0], [9, 1, 2, 3, 0, 0]])}, model


@pytest.mark.parametrize("features", [5, 6])
def test_as_many_features_as_timesteps_change_no_verdict(features: int) -> None:
    """Only the weights of timesteps are cut for rows without padding."""
    report = check(lambda: weigh_steps(features))
    assert get_verdict(report) == "leaks"
    assert [call for _, call in list_errors(report)] == ["attend"]


def average_features_first(repaired: bool) -> Case:
    ids = keras.Input((None,), dtype="int32", name="ids")
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    pool = layers.GlobalAveragePooling1D(data_format="channels_first", name="pool")
    options = {"mask": look.compute_mask(ids)} if repaired else {}
    return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(pool(layers.Permute((2, 1))(look(ids)), **options)))


def test_layer_of_features_first_gets_the_mask_of_its_last_axis() -> None:
    report = check(lambda: average_features_first(repaired=False))
    assert list_lines(report) == ["pool(..., mask=look.compute_mask(ids))"]
    assert get_verdict(check(lambda: average_features_first(repaired=True))) == "clean"


class Stack(keras.Model):
    """Adds positions and results three times, each of which loses the mask that only the loss needs."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = layers.Embedding(12, 4, mask_zero=True), layers.Dense(1)
        self.blocks = [layers.Dense(4) for _ in range(3)]

    def call(self, ids: Any) -> Any:
        x = self.look(ids)
        for block in self.blocks:
            x = x * 0.5 + block(x * 2.0)
        return self.head(x)


def test_mask_that_is_lost_many_times_is_put_back_on_the_output() -> None:
    model = Stack()
    model.compile(loss="mse")
    report = check(lambda: ({"ids": IDS}, model))
    finding = next(finding for finding in report.findings if finding.code == "MSK101")
    assert finding.repair is not None
    assert finding.repair.code.count("KeepMask()([y, x])") == 1
    assert "y is the result of self.head in line" in finding.fix
