"""Parts of the trace with small models: labels of states, scores, rounding, and masks that are taken away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from maskcli.backends.masks import get_keras_mask
from maskcli.inputs.arguments import read_input_specs
from maskcli.records.inputs import ModelInput
from maskcli.trace.attention import record_attention_masks
from maskcli.trace.cells import InputCells
from maskcli.trace.input_roles import _is_unchanged, _select_short_rows
from maskcli.trace.recorder import CallRecord
from maskcli.trace.rerun import CLOSED, RoundingErrors
from maskcli.trace.run import RunCache, trace_model
from maskcli.trace.state import preserve_state
from maskcli.trace.unmasked import strip_masks

IDS = np.array([[1, 2, 3, 4, 5], [4, 5, 6, 0, 0], [7, 0, 0, 0, 0]], "int32")
VALID = IDS != 0
WORDS = ModelInput("words", IDS, VALID, "ids")


def make_words(timesteps: int | None = None) -> Any:
    return keras.Input((timesteps,), dtype="int32", name="words")


def build_tagger(mask_zero: bool) -> Any:
    """Return a model with a recurrent layer, whose weights are the same each time."""
    keras.utils.set_random_seed(1)
    words = make_words()
    x = layers.Embedding(9, 4, mask_zero=mask_zero)(words)
    return keras.Model(words, layers.LSTM(3, return_sequences=True)(x))


def test_no_mask_is_left_in_a_graph() -> None:
    """Also inside of a function of TensorFlow, a model computes what it would without ``mask_zero``.

    Its result carries no mask, which its loss would use.
    """
    model = build_tagger(mask_zero=True)
    carried = []

    @tf.function
    def run(ids: Any) -> Any:
        output = model(ids)
        carried.append(get_keras_mask(output))
        return output

    with strip_masks():
        bare = np.asarray(run(IDS))
    assert carried == [None]
    np.testing.assert_allclose(bare, np.asarray(build_tagger(mask_zero=False)(IDS)), atol=1e-6)
    assert np.abs(bare - np.asarray(model(IDS)))[~VALID].max() > 1e-3
    assert get_keras_mask(model(IDS)) is not None


class Watched(keras.Variable):
    """Notes the values that it is assigned."""

    def __init__(self) -> None:
        super().__init__(np.zeros(2, "float32"), trainable=False)
        self.assigned: list[Any] = []

    def assign(self, value: Any) -> Any:
        self.assigned.append(np.asarray(value).tolist())
        return super().assign(value)


class Counting(layers.Layer):
    """Has a count of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Watched()


def test_variable_of_the_same_value_is_not_assigned() -> None:
    """A value that nobody changed is not assigned, and neither is one that was changed back."""
    layer = Counting()
    value = layer.count.value
    with preserve_state(layer):
        value.assign([1.0, 2.0])
        value.assign([0.0, 0.0])
    assert not layer.count.assigned
    with preserve_state(layer):
        value.assign([1.0, 2.0])
    assert layer.count.assigned == [[0.0, 0.0]]
    np.testing.assert_array_equal(np.asarray(layer.count), 0.0)


@pytest.mark.parametrize(
    ("change", "unchanged"),
    [
        (lambda x: x, True),
        (lambda x: x.reshape(3, 5, 1, 2), True),
        (lambda x: x + 1, False),
        (lambda x: x[:, ::-1], False),
        (lambda x: x.reshape(3, 10), False),
        (lambda x: x.reshape(5, 3, 2), False),
        (lambda x: x[..., :1], False),
    ],
    ids=["same", "reshaped", "moved", "turned", "joined", "other rows", "fewer"],
)
def test_features_that_reach_a_call_as_they_are(change: Any, unchanged: bool) -> None:
    """The same numbers at the same timesteps, of any shape of the features; NaN is equal to itself."""
    values = np.arange(30, dtype="float32").reshape(3, 5, 2)
    values[0, 0, 0] = np.nan
    given = ModelInput("series", values, VALID, "features")
    assert _is_unchanged(tf.constant(change(values)), given) is unchanged


@pytest.mark.parametrize(
    ("shape", "paired"),
    [((2, 5, 5), True), ((2, 1, 5), True), ((2, 2, 5, 5), True), ((2, 5), False), ((2,), False), ((2, 5, 1), False)],
)
def test_mask_of_a_softmax_pairs_queries_with_keys(shape: tuple[int, ...], paired: bool) -> None:
    """It does so in the shape of the scores, too; one for each timestep, or each timestep of a pooling, does not."""
    scores = tf.zeros((2, 5, 5))
    entry = CallRecord(layers.Softmax(), 0, None, inputs=[scores])
    assert entry.looks_paired("mask", np.ones(shape, bool)) is paired


def test_mask_of_a_row_of_numbers_pairs_nothing() -> None:
    entry = CallRecord(layers.Softmax(), 0, None, inputs=[tf.zeros((4, 5))])
    assert entry.looks_paired("mask", np.ones(5, bool)) is False


def test_attention_is_shown_without_dropout() -> None:
    """The weights of each query add up to one, as in inference."""
    keras.utils.set_random_seed(2)
    words = make_words(5)
    x = layers.Embedding(9, 4, mask_zero=True)(words)
    model = keras.Model(words, layers.Attention(dropout=0.5)([x, x]))
    (shown,) = record_attention_masks(trace_model(model, (WORDS,)))
    np.testing.assert_allclose(shown.weights.sum(axis=-1), 1.0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_states_of_a_convolution_over_time_have_no_timesteps() -> None:
    """They have as many axes as a sequence: rows, places and channels."""
    words = make_words(5)
    x = layers.Reshape((5, 6, 1))(layers.Embedding(9, 6)(words))
    outputs = layers.ConvLSTM1D(2, 3, padding="same", return_sequences=True, return_state=True)(x)
    run = trace_model(keras.Model(words, outputs), (WORDS,))
    sequence, *states = keras.tree.flatten(run.output)
    np.testing.assert_array_equal(run.flow.valid[id(sequence)].reshape(3, 5, -1).all(axis=2), VALID)
    assert [len(state.shape) for state in states] == [3, 3]
    for state in states:
        assert id(state) not in run.flow.valid
        assert not any(run.flow.positions.cells.find_time_axes(x) for x in run.flow.positions.get_labels(state))


def test_closed_scores_are_rounded_alike() -> None:
    """Scores of minus 1e8 are closed; they cancel where a mask closes all keys of a query."""
    scores = np.full((2, 3, 8), CLOSED, "float32")
    scores[0] = np.random.default_rng(1).normal(size=(3, 8))
    entry: Any = SimpleNamespace(type="MatMul", code=True, inputs=[tf.zeros((2, 3, 64))])
    moved = np.asarray(RoundingErrors(np.random.default_rng(2)).perturb(tf.constant(scores), entry))
    assert (moved != scores).any(axis=-1).all()
    assert (moved[1] == moved[1, :, :1]).all()
    assert np.unique(moved[0] / scores[0]).size > 8


def test_first_axis_that_repeats_one_row_is_not_that_of_the_rows() -> None:
    cells = InputCells([WORDS])
    (layer,) = cells.label_input(0)
    assert cells.has_rows(layer, 3)
    assert not cells.has_rows(np.repeat(layer[:1], 3, axis=0), 3)
    assert not cells.has_rows(layer[::-1], 3)


@pytest.mark.parametrize("timesteps", [None, 300])
def test_large_model_of_any_length_shows_its_inputs_on_short_rows(
    monkeypatch: pytest.MonkeyPatch, timesteps: int | None
) -> None:
    """A model of one length gets its rows whole."""
    monkeypatch.setattr("maskcli.trace.run.WORK", 1)
    words, mask = make_words(timesteps), keras.Input((timesteps,), dtype="int32", name="mask")
    x = layers.Embedding(12, 4)(words)
    model = keras.Model([words, mask], layers.LSTM(3)(x, mask=keras.ops.cast(mask, "bool")))
    valid = np.arange(300) < np.array([[7], [300], [9]])
    inputs = [ModelInput("words", valid * 3, None, "ids"), ModelInput("mask", valid.astype("int32"), None, "ids")]
    short = _select_short_rows(RunCache(model), inputs, read_input_specs(model))
    if timesteps is not None:
        assert short is None
        return
    assert short is not None
    assert [entry.values.tolist() for entry in short] == [(scale * valid[[0, 2], :9]).tolist() for scale in (3, 1)]
