"""Parts of the probes on small models: gradients, sources of padding, lengths, empty padding, masks for repairs."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.probes.added_padding import _choose_lengths, _pad_input
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.empty_padding import drop_right_calls
from maskcli.probes.future_matrix import find_validity
from maskcli.probes.gradients import PaddingGradient, compute_padding_gradient, record_under_tape
from maskcli.probes.lengths import run_at_length, run_rows_alone
from maskcli.probes.padding_sources import find_padding_sources
from maskcli.probes.repair_changes import SetMaskZero
from maskcli.probes.repair_masks import ChangedModels
from maskcli.probes.variants import allow_any_length, compute_in_float32
from maskcli.records.inputs import ModelInput
from maskcli.trace.run import ModelRun

VALID = np.array([[True, True, True, False], [True, False, False, False], [True, True, True, True]])
IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [8, 3, 4, 5]], "int32")
WORDS = ModelInput("words", IDS, VALID, "ids")
ROWS = np.arange(3)


def make_words(**options: Any) -> Any:
    return keras.Input((4,), name="words", **{"dtype": "int32", **options})


def run_model(model: Any, *inputs: ModelInput) -> ProbeContext:
    return make_context(ModelRun(model, inputs or (WORDS,)), ROWS)


def call_named(context: ProbeContext, name: str) -> Any:
    (index,) = [index for index, path in context.trace.names.items() if path == name]
    return context.base.entries[index]


def test_timesteps_of_a_result_that_was_not_followed() -> None:
    """It lacks timesteps at either end, or has more at either end: those are valid that are valid both ways."""

    class Zeros(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.lookup = layers.Embedding(9, 2)

        def call(self, words: Any) -> Any:
            vectors = self.lookup(words)
            zeros = ops.zeros_like(vectors)
            return vectors + zeros[:, :-1][:, :1] + ops.concatenate([zeros, zeros[:, :1]], axis=1)[:, :1]

    context = run_model(Zeros())
    results = {x.shape[1]: x for entry in context.base.ended if entry.code for x in entry.outputs if len(x.shape) == 3}
    shorter, longer = find_validity(context, results[3]), find_validity(context, results[5])
    assert shorter is not None
    assert shorter.tolist() == (VALID[:, :3] & VALID[:, 1:]).tolist()
    assert longer is not None
    assert longer.tolist() == [[True, True, True, False, False], [True] + [False] * 4, [True] * 5]
    assert find_validity(context, results[1]) is None


@pytest.mark.parametrize(("result", "leaks"), [("tags", False), ("mean", True), ("both", True)])
def test_gradient_of_results_that_count(result: str, leaks: bool) -> None:
    """A tag of each word depends on that word, so that padding moves no tag that counts; a mean of all has padding."""
    words = make_words()
    x = layers.Embedding(9, 5)(words)
    tags, mean = layers.Dense(2)(x), layers.GlobalAveragePooling1D()(x)
    context = run_model(keras.Model(words, {"tags": [tags], "mean": [mean], "both": [tags, mean]}[result]))
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    assert not isinstance(sources, str)
    gradient = compute_padding_gradient(record_under_tape(context.run, sources, ROWS), context, sources)
    assert isinstance(gradient, PaddingGradient)
    assert gradient.largest_valid > 0
    assert (gradient.at_padding > 0) is leaks


def test_ids_are_followed_into_another_dtype() -> None:
    words = make_words(dtype="float32")
    model = keras.Model(words, layers.Embedding(9, 2, name="lookup")(ops.cast(words, "int32")))
    context = run_model(model, dataclasses.replace(WORDS, values=IDS.astype("float32")))
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    assert not isinstance(sources, str)
    assert list(sources.calls) == [call_named(context, "lookup").index]
    assert sources.calls[call_named(context, "lookup").index].tolist() == VALID.tolist()


def test_fixed_shape_gets_the_length_of_two_inputs() -> None:
    """A vector is repeated for four timesteps, also where both inputs have two: the shape must follow them."""
    words, types = make_words(), keras.Input((4,), dtype="int32", name="types")
    x = layers.Embedding(9, 3)(words) + layers.Embedding(9, 3)(types)
    model = keras.Model([words, types], layers.RepeatVector(4)(layers.GlobalAveragePooling1D()(x)))
    inputs = (WORDS, dataclasses.replace(WORDS, name="types"))
    shorter = [dataclasses.replace(item, values=IDS[:, :2], valid=VALID[:, :2]) for item in inputs]
    with allow_any_length():
        run, resized = run_at_length(run_model(model, *inputs), shorter)
    assert not isinstance(run, str)
    assert resized
    assert run.output.shape == (3, 2, 3)


@pytest.mark.parametrize(("result", "kept"), [("last", []), ("mean", ["mean"])])
def test_last_state_is_right_and_a_mean_of_states_is_not(result: str, kept: list[str]) -> None:
    """An LSTM repeats its last valid state at padding: the last one is the same for any padding, their mean is not."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.LSTM(3, return_sequences=True)(layers.Embedding(9, 2, mask_zero=True)(words))
    context = run_model(keras.Model(words, x[:, -1] if result == "last" else ops.mean(x, axis=1)))
    alone = run_rows_alone(context)
    assert not isinstance(alone, str)
    (name,) = [context.trace.names[entry.index] for entry in context.base.entries if entry.type in ("GetItem", "Mean")]
    assert list(drop_right_calls(context, {name: 0.5}, alone)) == kept
    assert list(drop_right_calls(context, {name: 0.5}, [])) == [name]


def test_mask_comes_from_the_layer_around_a_lookup() -> None:
    """A mask on the vectors inside would be lost where positions are added to them."""

    class Lookup(layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.vectors = layers.Embedding(9, 2, name="vectors")
            self.places = layers.Embedding(4, 2, name="places")

        def call(self, words: Any) -> Any:
            return self.vectors(words) + self.places(ops.arange(ops.shape(words)[1]))

    words = make_words()
    model = keras.Model(words, layers.GlobalAveragePooling1D(name="mean")(Lookup(name="lookup")(words)))
    assert ChangedModels(model, (WORDS,), ROWS).bring_mask((), "/mean#1") == (SetMaskZero("/lookup#1"),)


def test_model_inside_receives_numbers_in_float32() -> None:
    """A functional model inside declares half precision, which has no number between 1 and 1.001."""
    small = keras.Input((2,), dtype="float16")
    inner = keras.Model(small, layers.Rescaling(1.0, dtype="float16")(small))
    outer = keras.Input((2,), dtype="float32")
    model = keras.Model(outer, inner(outer))
    numbers = np.array([[1.0, 1.0001]], "float32")
    assert np.asarray(model(numbers)).tolist() == [[1.0, 1.0]]
    with compute_in_float32(model):
        assert np.asarray(model(numbers)).tolist() == numbers.tolist()
    assert np.asarray(model(numbers)).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("side", ["post", "pre"])
def test_added_padding_leaves_rows_their_lengths(side: Any) -> None:
    """Rows keep half of their timesteps or more, and the last one keeps all; the rest is padding on one side."""
    full = ModelInput("words", np.full((4, 6), 5), np.ones((4, 6), bool), "ids")
    padded = _pad_input(full, np.asarray(0), side, counts_on=False)
    assert padded.valid is not None
    assert padded.valid.sum(axis=1).tolist() == _choose_lengths(4, 6).tolist() == [3, 4, 5, 6]
    assert (padded.values != 0).tolist() == padded.valid.tolist()
    assert padded.valid[:, 0 if side == "post" else -1].all()
