"""Parts of the trace on runs of small models: subclasses of layers of Keras, and scores of attention by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.records.inputs import ModelInput
from maskcli.trace.run import Run, trace_model
from maskcli.trace.scores import find_attention_scores

TOKENS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [9, 0, 0, 0, 0]], "int32")
VALID = TOKENS != 0


def run(head: Any) -> Run:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, head(tokens, layers.Embedding(10, 4, mask_zero=True, name="lookup")(tokens)))
    return trace_model(model, (ModelInput("tokens", TOKENS, VALID, "ids"),))


class OwnLSTM(layers.LSTM):
    """A subclass without code of its own, whose loop is recorded all the same."""


@pytest.mark.parametrize("layer", [layers.LSTM, OwnLSTM])
def test_subclass_turns_the_timesteps_as_its_layer_does(layer: Any) -> None:
    """An RNN that goes backwards returns the last timestep first, so that padding then comes first."""
    traced = run(lambda _, x: layer(3, return_sequences=True, go_backwards=True)(x))
    np.testing.assert_array_equal(traced.flow.valid[id(traced.output)], VALID[:, ::-1])
    assert id(traced.output) in traced.flow.exact


def attend(tokens: Any, x: Any) -> Any:
    """Compute attention by hand, which closes padded keys to all queries."""
    closed = ops.cast(ops.equal(tokens, 0), "float32")[:, None, :]
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + closed * -1e9
    return ops.matmul(ops.softmax(scores, axis=-1), x)


def test_open_pairs_of_attention_by_hand_are_attended() -> None:
    """No valid key has a weight of 0, and no padded one has another weight."""
    traced = run(attend)
    (scores,) = find_attention_scores(traced.recording, traced.flow)
    expected = np.broadcast_to(VALID[:, None, :], (3, 5, 5))
    np.testing.assert_array_equal(scores.allowed, expected)
    np.testing.assert_array_equal(scores.attended, expected)
