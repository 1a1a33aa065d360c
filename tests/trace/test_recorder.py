"""The recorder records each call of any model, and leaves the model and Keras unchanged."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Call
from maskcli.trace.recorder import record_run
from maskcli.trace.run import Run, trace_model
from maskcli.trace.unmasked import compute_unmasked_outputs, strip_masks

TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]], "int32")
MASK = TOKENS != 0
INPUTS = (ModelInput("tokens", TOKENS, MASK, "ids"),)


def embedding(**options: Any) -> Any:
    return layers.Embedding(10, 4, mask_zero=True, **options)


def tokens_of(timesteps: int | None = None) -> Any:
    return keras.Input((timesteps,), dtype="int32", name="tokens")


def run(model: Any, unfold: bool = False) -> Run:
    return trace_model(model, INPUTS, unfold)


def paths(model: Any, unfold: bool = False) -> list[str]:
    return [call.call for call in run(model, unfold).calls if not call.computes_mask]


def call_of(model: Any, type_: str) -> Call:
    return next(call for call in run(model).calls if call.type == type_)


def quietly(build: Any, *args: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(*args)


class Block(layers.Layer):
    """A layer of the user's own, with layers and code inside."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(4, name="dense")
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs) + inputs


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = embedding(name="embedding")
        self.lstm = layers.LSTM(3, name="lstm")

    def call(self, tokens: Any) -> Any:
        return self.lstm(self.embedding(tokens)[:, :, :3] * 2.0)


def test_calls_inside_models_and_custom_layers() -> None:
    """Calls inside layers of Keras only appear with ``unfold``."""
    tokens = tokens_of()
    x = Block(name="block")(embedding(name="embedding")(tokens))
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True, name="lstm"), name="both")(x)
    x = layers.TimeDistributed(layers.Dense(2, name="inner"), name="each")(x)
    model = keras.Model(tokens, x)
    assert paths(model) == ["embedding", "block", "block/dense", "both", "each"]
    unfolded = paths(model, unfold=True)
    assert {"both/forward_lstm", "both/backward_lstm", "both/forward_lstm/lstm_cell"} <= set(unfolded)
    assert any(path.startswith("each") for path in unfolded)


def test_time_distributed_model_runs_each_step() -> None:
    inside = keras.Input((4,))
    sub = keras.Model(inside, layers.Dense(2, name="inner")(inside), name="sub")
    tokens = tokens_of()
    model = keras.Model(tokens, layers.TimeDistributed(sub, name="each")(embedding(name="embedding")(tokens)))
    assert paths(model) == ["embedding", "each"]
    steps = [path for path in paths(model, unfold=True) if "inner" in path]
    assert steps[0] == "each/inner"
    assert len(steps) == TOKENS.shape[1]


def test_paths_count_repeated_calls() -> None:
    tokens = tokens_of()
    dense, x = layers.Dense(4, name="dense"), embedding(name="embedding")(tokens)
    model = keras.Model(tokens, dense(dense(x) * 2.0) * 3.0)
    assert paths(model) == ["embedding", "dense", "multiply", "dense#2", "multiply#2"]


def test_code_that_loses_the_mask_is_shown() -> None:
    calls = run(Subclassed()).calls
    assert [(call.call, call.effect, call.code) for call in calls] == [
        ("embedding", "creates", False),
        ("strided_slice", "drops", True),
        ("lstm", "none", False),
    ]
    assert (calls[2].lost_at, calls[2].lost_after) == ("strided_slice", "embedding")
    assert [call.mask_from for call in calls] == [None, "embedding", None]


def test_calls_inside_compiled_function() -> None:
    class Model(Subclassed):
        @tf.function
        def call(self, tokens: Any) -> Any:
            return self.lstm(self.embedding(tokens) * 2.0)

    assert paths(Model()) == ["embedding", "mul", "lstm"]
    assert not tf.config.functions_run_eagerly()


def test_attention_receives_and_removes_masks() -> None:
    tokens = tokens_of()
    x = embedding()(tokens)
    attended = layers.MultiHeadAttention(1, 4)(x, x)
    model = keras.Model(tokens, layers.Add(name="add")([x, attended]))
    attention, add = call_of(model, "MultiHeadAttention"), call_of(model, "Add")
    arguments = {name for name, masks in attention.mask_arguments.items() if masks}
    assert {"query_mask", "value_mask"} <= arguments
    assert attention.takes_off
    np.testing.assert_array_equal(attention.masks_in[0], MASK)
    assert add.masks_in[0] is None
    np.testing.assert_array_equal(add.masks_in[1], MASK)
    assert add.effect == "drops"


def test_mask_argument_without_carried_mask() -> None:
    """The mask is gone from the tensor, but a later layer may still receive it as an argument."""
    tokens = tokens_of()
    x = embedding()(tokens)
    attended = layers.MultiHeadAttention(1, 4)(x, x)
    model = keras.Model(tokens, layers.GlobalAveragePooling1D()(layers.Add()([x, attended])))
    pooling = call_of(model, "GlobalAveragePooling1D")
    assert pooling.masks_in == (None,)
    assert pooling.given is (pooling.mask_in is not None)


def test_masks_in_a_list() -> None:
    tokens = tokens_of()
    x = embedding()(tokens)
    attention = call_of(keras.Model(tokens, layers.Attention()([x, x])), "Attention")
    assert [mask.tolist() for mask in attention.mask_arguments["mask"] if mask is not None] == [MASK.tolist()] * 2


def test_states_carry_no_mask() -> None:
    tokens = tokens_of()
    lstm = layers.LSTM(3, return_sequences=True, return_state=True)
    call = call_of(keras.Model(tokens, lstm(embedding()(tokens))), "LSTM")
    assert [mask is None for mask in call.masks_out] == [False, True, True]


def test_nested_model_keeps_the_mask() -> None:
    """Keras warns that it loses the mask, which is wrong."""
    inside = keras.Input((None, 4))
    nested = keras.Model(inside, layers.Dense(4)(inside), name="nested")
    tokens = tokens_of()
    model = quietly(lambda: keras.Model(tokens, nested(embedding()(tokens))))
    call = call_of(model, "Functional")
    assert call.contains
    np.testing.assert_array_equal(call.mask_out, MASK)


def test_thousand_calls() -> None:
    tokens = tokens_of()
    x = embedding()(tokens)
    for _ in range(10):
        inside = part = keras.Input((None, 4))
        for _ in range(100):
            inside = layers.Activation("relu")(inside)
        x = quietly(keras.Model(part, inside), x)
    calls = [call for call in run(keras.Model(tokens, x)).calls if not call.computes_mask]
    assert len(calls) > 1000
    assert all(call.mask_out is not None for call in calls)


def test_error_restores_keras() -> None:
    class Broken(layers.Layer):
        def call(self, inputs: Any) -> Any:
            if keras.ops.is_tensor(inputs) and not isinstance(inputs, keras.KerasTensor) and tf.executing_eagerly():
                raise ValueError("broken")
            return inputs

    tokens = tokens_of()
    model = keras.Model(tokens, quietly(Broken(name="broken"), embedding()(tokens)))
    before = (layers.Layer.__call__, keras.Operation.__call__, warnings.showwarning, tf.config.functions_run_eagerly())
    recording = record_run(model, TOKENS)
    assert isinstance(recording.error, ValueError)
    assert str(recording.make_error().call) == "broken"  # type: ignore[attr-defined]
    after = (layers.Layer.__call__, keras.Operation.__call__, warnings.showwarning, tf.config.functions_run_eagerly())
    assert after == before


def test_states_and_generators_are_restored() -> None:
    inputs = keras.Input(batch_shape=(2, None), dtype="int32")
    states = layers.LSTM(3, stateful=True)
    model = keras.Model(inputs, layers.Dropout(0.5, seed=1)(states(embedding()(inputs))))
    model(TOKENS)
    kept = [*model.variables, *states.states]
    before = [np.asarray(variable).copy() for variable in kept]
    run(model)
    for variable, old in zip(kept, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), old)


def test_stripped_masks_reach_no_call() -> None:
    tokens = tokens_of()
    x = embedding()(tokens)
    model = keras.Model(tokens, layers.LSTM(3)(layers.Dense(4)(x)))
    with strip_masks(inside_layers=False):
        plain = record_run(model, TOKENS)
    assert not any(mask is not None for entry in plain.entries for mask in entry.masks_out)
    (unmasked,) = compute_unmasked_outputs(model, TOKENS) or ()
    np.testing.assert_array_equal(np.asarray(unmasked), np.asarray(plain.output))
    masked = record_run(model, TOKENS)
    assert np.abs(np.asarray(plain.output) - np.asarray(masked.output)).max() > 1e-4


@pytest.mark.parametrize("unfold", [False, True])
def test_recording_changes_no_output(unfold: bool) -> None:
    tokens = tokens_of()
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True))(Block()(embedding()(tokens)))
    model = keras.Model(tokens, x)
    np.testing.assert_array_equal(np.asarray(run(model, unfold).output), np.asarray(model(TOKENS, training=False)))
