"""Parts of the trace on small models: edges, labels of convolutions, lookups, and the outputs for all rows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from maskcli.records.inputs import ModelInput
from maskcli.trace.edges import find_edges
from maskcli.trace.embeddings import find_padding_vector
from maskcli.trace.outputs import choose_rows, find_model_outputs
from maskcli.trace.run import PROBED_ROWS, RunCache, trace_model

LENGTHS = np.array([[4], [6], [2]])
VALID = np.arange(6) < LENGTHS
TOKENS = np.where(VALID, 3, 0).astype("int32")
WORDS = ModelInput("words", TOKENS, VALID, "ids")


def make_words() -> keras.KerasTensor:
    return keras.Input((6,), dtype="int32", name="words")


def test_mask_that_a_layer_passes_on_is_one_edge() -> None:
    """An LSTM gets the mask of the data as an argument; the next one receives it with the numbers of the first."""
    words, keep = make_words(), keras.Input((6,), dtype="bool", name="keep")
    x = layers.Embedding(9, 4, name="lookup")(words)
    x = layers.LSTM(3, return_sequences=True, name="first")(x, mask=keep)
    x = layers.LSTM(3, return_sequences=True, name="second")(x)
    inputs = (WORDS, ModelInput("keep", VALID, VALID, "mask"))
    edges = find_edges(trace_model(keras.Model([words, keep], x), inputs), inputs)
    assert [(edge.source, edge.target, edge.argument) for edge in edges] == [
        ("words", "lookup", None),
        ("lookup", "first", None),
        ("keep", "first", "mask"),
        ("first", "second", None),
        ("second", "output", None),
    ]


@pytest.mark.parametrize("pooled", [False, True])
def test_timesteps_of_a_convolution_that_keeps_them_are_exact(pooled: bool) -> None:
    """A window around each timestep keeps its place; a window for every two timesteps only has about the same."""
    words = make_words()
    x = layers.Embedding(9, 4)(words)
    x = layers.AveragePooling1D(2)(x) if pooled else layers.Conv1D(5, 3, padding="same")(x)
    run = trace_model(keras.Model(words, x), (WORDS,))
    assert (id(run.output) in run.flow.exact) is not pooled
    assert run.flow.valid[id(run.output)].tolist() == VALID[:, :: 2 if pooled else 1].tolist()


def test_padding_vector_after_other_layers() -> None:
    """Layers that run before the lookup, on other inputs, are passed over."""
    words, numbers = make_words(), keras.Input((6, 2), name="numbers")
    lookup = layers.Embedding(9, 4, name="lookup")
    model = keras.Model([numbers, words], layers.Dense(4)(numbers) + lookup(words))
    features = np.ones((3, 6, 2), "float32") * VALID[..., None]
    inputs = (ModelInput("numbers", features, VALID, "features"), WORDS)
    row = find_padding_vector(trace_model(model, inputs), inputs)
    assert row is not None
    assert (row.layer, row.padding_id) == ("lookup", 0)
    assert row.padding_vector.tolist() == np.asarray(lookup.embeddings)[0].tolist()


def test_estimated_timesteps_of_an_output_are_those_of_all_rows() -> None:
    """Only some rows of the data run for the sample; the others are traced where their timesteps must be estimated."""
    lengths = np.arange(2 * PROBED_ROWS) % 6 + 1
    valid = np.arange(6) < lengths[:, None]
    data = (ModelInput("words", np.where(valid, 3, 0).astype("int32"), valid, "ids"),)
    words = make_words()
    model = keras.Model(words, layers.AveragePooling1D(2)(layers.Embedding(9, 4)(words)))
    (output,) = find_model_outputs(RunCache(model), data)
    assert len(output.sample) == PROBED_ROWS
    assert output.valid is not None
    assert output.valid.tolist() == (valid[:, ::2] & valid[:, 1::2]).tolist()


def test_inputs_without_timesteps_do_not_choose_the_rows() -> None:
    """With or without numbers for each row, the same rows are probed: of each length, with and without padding."""
    lengths = np.array([6, 6, 6, 6, 2, 6, 4])
    valid = np.arange(6) < lengths[:, None]
    words = ModelInput("words", valid.astype("int32"), valid, "ids")
    numbers = ModelInput("numbers", np.ones((7, 3)), None, "static")
    rows = choose_rows([words], 3).tolist()
    assert {4, 6} < set(rows)
    assert choose_rows([words, numbers], 3).tolist() == rows
    assert choose_rows([numbers, words], 3).tolist() == rows
