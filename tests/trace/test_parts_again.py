"""Parts of the trace on small models and arrays, one by one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from maskcli.records.inputs import ModelInput
from maskcli.trace.attention import attends, read_layer_mask
from maskcli.trace.input_roles import examine_inputs
from maskcli.trace.outputs import BLOCK, find_model_outputs
from maskcli.trace.run import RunCache, trace_model

IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0]], "int32")


def test_weight_of_zero_is_no_attention() -> None:
    """A masked key gets a weight of exactly 0, a valid one more."""
    keras.utils.set_random_seed(2)
    ids = keras.Input((4,), name="words", dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True)(ids)
    model = keras.Model(ids, layers.Attention()([x, x]))
    run = trace_model(model, (ModelInput("words", IDS, IDS != 0, "ids"),))
    (entry,) = (entry for entry in run.recording.ended if attends(entry))
    mask = read_layer_mask(entry, run.flow)
    assert mask is not None
    expected = np.broadcast_to((IDS != 0)[:, None], (2, 4, 4))
    np.testing.assert_array_equal(mask.attended, expected)
    np.testing.assert_array_equal(mask.allowed, expected)


def test_mask_input_is_found_though_ids_are_out_of_range() -> None:
    """The ids of the embedding raise an error in the first run, before the mask is used."""
    tokens, keep = keras.Input((4,), name="words", dtype="int32"), keras.Input((4,), name="keep", dtype="int32")
    x = layers.LSTM(2)(layers.Embedding(3, 4)(tokens), mask=ops.cast(keep, "bool"))
    model = keras.Model([tokens, keep], x)
    inputs = (ModelInput("words", IDS, None, "ids"), ModelInput("keep", (IDS != 0).astype("int32"), None, "ids"))
    assert examine_inputs(RunCache(model), inputs).masks == {"keep": frozenset({"words"})}


class Reversed(layers.Layer):
    """Puts the valid timesteps of each row into the opposite order, with padding where it was, and passes the mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        lengths = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        steps = ops.arange(ops.shape(x)[1])[None]
        index = ops.where(steps < lengths, lengths - 1 - steps, steps)
        return ops.take_along_axis(x, index[:, :, None], axis=1)


def test_validity_of_an_output_covers_all_rows() -> None:
    """Where the order of the timesteps differs by row, blocks of rows are traced until the last one."""
    rows = BLOCK + 44
    ids = np.random.default_rng(0).integers(1, 9, (rows, 4)).astype("int32")
    valid = np.arange(4) < np.random.default_rng(1).integers(1, 5, rows)[:, None]
    words = keras.Input((4,), name="words", dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True)(words)
    model = keras.Model(words, Reversed(name="reversed")(x))
    (output,) = find_model_outputs(RunCache(model), (ModelInput("words", ids * valid, valid, "ids"),))
    np.testing.assert_array_equal(output.valid, valid)
