"""Masks that the data lacks: which inputs are masks, and of which input each is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.api.model_data import load_user_model
from maskcli.errors import ModelError
from maskcli.records.inputs import ModelInput
from maskcli.records.layout import Layout
from maskcli.records.options import ModelOptions

pytestmark = pytest.mark.slow(share=1 / 2)

WORDS = np.array([[4, 3, 2, 5, 1], [6, 2, 0, 0, 0], [3, 3, 1, 0, 0]])
TOPICS = np.array([[1, 2], [3, 0], [4, 1]])


def load(model: keras.Model, data: Any) -> dict[str, ModelInput]:
    case = load_user_model(data, Layout(), ModelOptions(model=model))
    return {model_input.name: model_input for model_input in case.inputs}


def take(name: str, dtype: str = "int32", size: int | None = None) -> Any:
    return keras.Input((size,), dtype=dtype, name=name)


def build_flipped(dtype: str) -> keras.Model:
    words, good = take("words"), take("valid", dtype)
    x, mask = layers.Embedding(9, 3)(words), ops.cast(good, "bool")
    x = layers.Attention()([x, x], mask=[mask, mask])
    return keras.Model([words, good], layers.GRU(2)(x[:, ::-1], mask=mask[:, ::-1]))


def build_weighted(dtype: str) -> keras.Model:
    words, good = take("words"), take("valid", dtype)
    weights = ops.cast(good, "float32")[:, :, None]
    return keras.Model([words, good], ops.sum(layers.Embedding(9, 3)(words) * weights, 1) / ops.sum(weights, 1))


def build_biased(dtype: str) -> keras.Model:
    words, good = take("words"), take("valid", dtype)
    x = layers.Embedding(9, 3)(words)
    hidden = (1.0 - ops.cast(good, "float32"))[:, None, :] * -1e9
    return keras.Model([words, good], ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) + hidden) @ x)


@pytest.mark.parametrize("build", [build_flipped, build_weighted, build_biased])
@pytest.mark.parametrize("dtype", ["int32", "bool", "float32"])
@pytest.mark.parametrize("data", [{"words": WORDS}, {"other": WORDS}, WORDS.tolist()], ids=["name", "order", "bare"])
def test_use_shows_that_an_input_is_a_mask(build: Callable[[str], keras.Model], dtype: str, data: Any) -> None:
    inputs = load(build(dtype), data)
    assert inputs["valid"].kind == "mask"
    assert inputs["valid"].values.dtype == dtype
    np.testing.assert_array_equal(inputs["valid"].values, WORDS != 0)
    np.testing.assert_array_equal(inputs["words"].values, WORDS)


@pytest.mark.parametrize("sizes", [(None, None, None), (2, 5, None), (2, 5, 5)])
@pytest.mark.parametrize("name", ["mask", "keep"])
def test_mask_of_the_input_that_it_is_used_on(sizes: tuple[int | None, ...], name: str) -> None:
    topics, words, mask = take("topics", size=sizes[0]), take("words", size=sizes[1]), take(name, size=sizes[2])
    x = layers.SimpleRNN(2)(layers.Embedding(9, 3)(words), mask=ops.cast(mask, "bool"))
    y = layers.GlobalMaxPooling1D()(layers.Embedding(9, 3)(topics))
    model = keras.Model({"topics": topics, "words": words, name: mask}, layers.Dense(2)(ops.concatenate([x, y], 1)))
    made = load(model, {"topics": TOPICS, "words": WORDS})[name]
    np.testing.assert_array_equal(made.values, WORDS != 0)
    assert made.validity.of == "words"


def build_tagged() -> keras.Model:
    words, tags = take("words"), take("tags")
    x = layers.Embedding(9, 3)(words) + layers.Embedding(9, 3)(tags)
    return keras.Model([words, tags], layers.GRU(2)(x, mask=ops.not_equal(tags, 0)))


def test_ids_that_the_data_lacks_are_no_mask() -> None:
    """``tags != 0`` is a mask of the words, and an Embedding looks up the tags."""
    with pytest.raises(ModelError, match="Add the array tags"):
        load(build_tagged(), {"words": WORDS})


def test_message_about_a_mask_without_a_source() -> None:
    profile, mask = keras.Input((2,), name="profile"), take("mask", "bool")
    model = keras.Model([profile, mask], [layers.Dense(1)(profile), ops.any(mask, 1)])
    with pytest.raises(ModelError, match=r"needs .mask. as well, .* True at valid timesteps and False at padding"):
        load(model, {"profile": np.ones((3, 2), "float32")})


# Inputs with a default that are not masks.


def build_positioned(positions: str = "position_ids", segments: str = "segment_ids") -> keras.Model:
    words, places, parts = take("token_ids"), take(positions), take(segments, "float32")  # An Embedding takes floats.
    x = layers.Embedding(9, 3, mask_zero=True)(words) + layers.Embedding(9, 3)(places) + layers.Embedding(2, 3)(parts)
    return keras.Model([words, places, parts], layers.LSTM(2)(x))


@pytest.mark.parametrize(
    "data", [{"token_ids": WORDS}, {"words": WORDS}, WORDS.tolist()], ids=["name", "order", "bare"]
)
def test_segments_and_positions_have_defaults(data: Any) -> None:
    inputs = load(build_positioned(), data)
    assert inputs["segment_ids"].values.tolist() == np.zeros_like(WORDS).tolist()
    assert inputs["position_ids"].values.tolist() == [[0, 1, 2, 3, 4]] * 3
    np.testing.assert_array_equal(inputs["token_ids"].values, WORDS)
    for name, filling in (("segment_ids", "zeros"), ("position_ids", "positions")):
        entry = inputs[name]
        assert (entry.kind, entry.auxiliary, entry.validity.source) == ("ids", True, "default")
        assert (entry.validity.of, entry.validity.filled_with) == ("token_ids", filling)
        np.testing.assert_array_equal(entry.valid, WORDS != 0)


@pytest.mark.parametrize("positions", ["positions", "decoder_position_ids", "pos"])
@pytest.mark.parametrize("segments", ["token_type_ids", "segments", "type_ids"])
def test_names_of_inputs_with_defaults(positions: str, segments: str) -> None:
    inputs = load(build_positioned(positions, segments), {"token_ids": WORDS})
    assert inputs[positions].validity.filled_with == "positions"
    assert inputs[segments].validity.filled_with == "zeros"


def test_data_comes_before_defaults() -> None:
    parts = (WORDS > 2).astype(int)
    inputs = load(build_positioned(), {"token_ids": WORDS, "segment_ids": parts})
    assert inputs["segment_ids"].values.tolist() == parts.tolist()
    assert inputs["segment_ids"].validity.filled_with is None
    by_order = load(build_positioned(), {"a": WORDS, "b": WORDS % 3, "c": parts})
    assert [entry.values.tolist() for entry in by_order.values()] == [
        array.tolist() for array in (WORDS, WORDS % 3, parts)
    ]
    # One more column with timesteps may be meant for the only input that is left.
    left = load(build_positioned(), {"token_ids": WORDS, "position_ids": WORDS % 3, "kinds": parts})
    assert left["segment_ids"].values.tolist() == parts.tolist()
    label = load(build_positioned(), {"token_ids": WORDS, "position_ids": WORDS % 3, "label": np.arange(3)})
    assert label["segment_ids"].validity.filled_with == "zeros"


def test_default_of_masked_positions() -> None:
    words, places = take("token_ids"), take("mask_positions")
    taken = ops.take_along_axis(layers.Embedding(9, 3)(words), places[:, :, None], axis=1)
    inputs = load(keras.Model([words, places], layers.Dense(2)(taken)), WORDS.tolist())
    assert (inputs["mask_positions"].kind, inputs["mask_positions"].values.tolist()) == ("ids", [[0], [0], [0]])
    with pytest.raises(ModelError, match="Add the array"):
        load(keras.Model([words, take("speaker")], layers.Embedding(9, 3)(words)), {"token_ids": WORDS})


def test_defaults_are_shown() -> None:
    text = str(maskcli.inspect(WORDS.tolist(), model=build_positioned()))
    assert "segment_ids: not in the data, filled in with 0" in text
    assert "position_ids: not in the data, filled in with 0, 1, 2, … along the timesteps" in text
