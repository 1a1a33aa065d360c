"""The tracer sees what really ran, and leaves Keras as it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import RaisedInCall
from maskcli.trace.run import find_first_mask, trace_model

TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
MASK = TOKENS != 0


def effects(model: object, inputs: object = TOKENS) -> list[tuple[str, str]]:
    return [(call.type, call.effect) for call in trace_model(model, inputs).calls if not call.computes_mask]


def embedding(mask_zero: bool = True) -> object:
    return keras.layers.Embedding(10, 4, mask_zero=mask_zero)


def test_built_in_models_by_source() -> None:
    expected = {
        ("embedding-lstm", "embedding"): ["creates", "uses"],
        ("embedding-lstm", "masking"): ["none", "creates", "uses"],
        ("embedding-lstm", "explicit"): ["none", "uses"],
        ("embedding-lstm", "none"): ["none", "none"],
        ("embedding-dense", "embedding"): ["creates", "passes"],
        ("embedding-dense", "masking"): ["none", "creates", "passes"],
        ("embedding-dense", "explicit"): ["none", "creates", "passes"],
        ("embedding-dense", "none"): ["none", "none"],
    }
    for (model, source), wanted in expected.items():
        inspection = maskcli.inspect([[1, 2], [3]], model=model, mask_source=source)
        calls = [call for call in inspection.trace if not call.computes_mask]
        assert [call.effect for call in calls] == wanted, (model, source)
        if source != "none":
            assert inspection.mask is not None
            assert inspection.mask.tolist() == [[True, True], [True, False]]


def test_operations_that_only_compute_masks_are_told_apart() -> None:
    calls = maskcli.inspect([[1, 2], [3]], mask_source="masking").trace
    assert [(call.call.split("_")[0], call.computes_mask) for call in calls] == [
        ("embedding", False),
        ("not", True),
        ("masking", False),
        ("any", True),
        ("lstm", False),
    ]
    assert [call.index for call in calls] == [0, 1, 2, 3, 4]


def test_the_last_state_alone_carries_no_mask() -> None:
    last = maskcli.inspect([[1, 2], [3]], return_sequences=False).trace[-1]
    assert (last.effect, last.given, last.mask_out) == ("uses", True, None)


def test_a_layer_without_masking_drops_it_and_keras_warns() -> None:
    inputs = keras.Input((6,))
    with pytest.warns(UserWarning, match="destroy the mask"):
        model = keras.Model(inputs, keras.layers.Conv1D(4, 3, padding="same")(embedding()(inputs)))
    calls = trace_model(model, TOKENS).calls
    assert [(call.type, call.effect) for call in calls] == [("Embedding", "creates"), ("Conv1D", "drops")]
    assert "destroy the mask" in str(calls[1].warning)
    assert calls[0].warning is None


def test_an_operator_drops_it_and_nobody_warns() -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, embedding()(inputs) * 2.0)
    calls = trace_model(model, TOKENS).calls
    assert [(call.type, call.effect, call.warning) for call in calls][1] == ("Multiply", "drops", None)


def test_initial_state_keeps_the_mask_from_the_layer() -> None:
    tokens, h, c = keras.Input((None,)), keras.Input((3,)), keras.Input((3,))
    outputs = keras.layers.LSTM(3, return_sequences=True)(embedding()(tokens), initial_state=[h, c])
    state = np.ones((2, 3), "float32")
    last = trace_model(keras.Model([tokens, h, c], outputs), [TOKENS, state, state]).calls[-1]
    assert (last.type, last.given, last.effect) == ("LSTM", False, "passes")


def test_a_mask_that_is_taken_off_in_place_is_read_before() -> None:
    inputs = keras.Input((6,))
    embedded = embedding()(inputs)
    attended = keras.layers.MultiHeadAttention(1, 4)(embedded, embedded)
    source, attention = (
        call for call in trace_model(keras.Model(inputs, attended), TOKENS).calls if not call.computes_mask
    )
    assert source.effect == "creates"
    assert attention.type == "MultiHeadAttention"
    np.testing.assert_array_equal(attention.mask_in, MASK)


def test_nested_models_are_opened_and_layers_inside_layers_are_not() -> None:
    inner = keras.Sequential([keras.Input((6,)), embedding()], name="encoder")
    bidirectional = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))
    model = keras.Sequential([inner, bidirectional])
    model(TOKENS)
    types = [call.type for call in trace_model(model, TOKENS).calls if not call.computes_mask]
    assert types == ["Sequential", "Embedding", "Bidirectional"] or types == ["Embedding", "Bidirectional"]


def test_a_shared_layer_is_a_call_each_time() -> None:
    dense = keras.layers.Dense(4)
    model = keras.Sequential([keras.Input((6,)), embedding(), dense, dense])
    assert effects(model) == [("Embedding", "creates"), ("Dense", "passes"), ("Dense", "passes")]


def test_the_first_mask_is_that_of_the_source() -> None:
    model = keras.Sequential([keras.Input((6,)), embedding(), keras.layers.Dense(2)])
    np.testing.assert_array_equal(find_first_mask(trace_model(model, TOKENS).calls), MASK)
    assert find_first_mask(()) is None


def test_keras_is_left_as_it_was_also_after_an_error() -> None:
    before = (keras.layers.Layer.__call__, keras.Operation.__call__)

    class Broken(keras.layers.Layer):
        works = True

        def call(self, inputs: object) -> object:
            if not self.works:
                raise RuntimeError("broken")
            return inputs

    model = keras.Sequential([keras.Input((6,)), embedding(mask_zero=False), Broken()])
    Broken.works = False
    with pytest.raises(RaisedInCall, match="broken"):
        trace_model(model, TOKENS)
    assert (keras.layers.Layer.__call__, keras.Operation.__call__) == before
    trace_model(keras.Sequential([keras.Input((6,)), embedding()]), TOKENS)
    assert (keras.layers.Layer.__call__, keras.Operation.__call__) == before


def test_tracing_changes_no_output() -> None:
    model = keras.Sequential([keras.Input((6,)), embedding(), keras.layers.LSTM(3, return_sequences=True)])
    np.testing.assert_array_equal(np.asarray(trace_model(model, TOKENS).output), np.asarray(model(TOKENS)))


def test_what_makes_a_mask_and_is_data_as_well_is_no_computing_of_masks() -> None:
    tokens = keras.Input((None,), dtype="int32")
    scaled = keras.layers.Embedding(10, 4, mask_zero=True)(tokens) * 2.0
    told = keras.ops.any(keras.ops.not_equal(scaled, 0.0), axis=-1)
    model = keras.Model(tokens, keras.layers.LSTM(3, return_sequences=True)(scaled, mask=told))
    computing = {call.type: call.computes_mask for call in trace_model(model, TOKENS).calls}
    assert computing["NotEqual"] is computing["Any"] is True
    assert computing["Multiply"] is False
