"""Tracing shows the calls that really ran, and leaves Keras unchanged."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import maskcli
from maskcli.conclusions.remarks import make_fact
from maskcli.errors import RaisedInCall
from maskcli.records.inputs import ModelInput
from maskcli.trace.run import Run, find_first_mask, trace_model

TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
MASK = TOKENS != 0


def trace(model: object, *arrays: np.ndarray) -> Run:
    """Trace a model on tokens, or on other arrays, without any knowledge of padding."""
    inputs = enumerate(arrays or (TOKENS,))
    return trace_model(model, [ModelInput(f"x{index}", array, None, "static") for index, array in inputs])


def effects(model: object) -> list[tuple[str, str]]:
    return [(call.type, call.effect) for call in trace(model).calls if not call.computes_mask]


def embedding(mask_zero: bool = True) -> object:
    return keras.layers.Embedding(10, 4, mask_zero=mask_zero)


def test_effects_of_builtin_models() -> None:
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
    for (model, source), expected_effects in expected.items():
        inspection = maskcli.inspect([[1, 2], [3]], model=model, mask_source=source)
        calls = [call for call in inspection.trace if not call.computes_mask]
        assert [call.effect for call in calls] == expected_effects, (model, source)
        if source != "none":
            assert inspection.mask is not None
            assert inspection.mask.tolist() == [[True, True], [True, False]]


NOT_ZERO = "The vector of padding id 0 is not zero."
SET_TO_ZERO = "The vector of id 0 was set to zero here, because Masking(0.0) looks for zero vectors."
VECTORS = {
    "embedding": f"{NOT_ZERO} mask_zero=True only creates a mask. It does not zero the vector, and layers that ignore the "
    "mask still compute with it.",
    "masking": f"{SET_TO_ZERO} mask_zero does not set it to zero.",
    "explicit": NOT_ZERO,
    "none": NOT_ZERO,
}
MASKED_LSTM = "receives the mask; the masked output repeats the previous output."
NO_MASK = "No mask: the model treats 1 padded timestep as data."


@pytest.mark.parametrize("source", VECTORS)
def test_remarks_of_each_mask_source(source: str) -> None:
    lstm, dense = (
        maskcli.inspect([[1, 2], [3]], model=model, mask_source=source).remarks
        for model in ("embedding-lstm", "embedding-dense")
    )
    if source == "none":
        assert [(remark.kind, remark.text) for remark in lstm] == [("warning", NO_MASK), ("fact", NOT_ZERO)]
        assert dense == lstm
        return
    assert {remark.kind for remark in (*lstm, *dense)} == {"fact"}
    assert lstm[:2] == (make_fact(VECTORS[source]), make_fact(f"LSTM {MASKED_LSTM}", "mask-end"))
    assert lstm[2].text.startswith("Disabling the mask leaves outputs at valid timesteps unchanged; at padding they")
    result = "is zero" if source == "masking" else "is still computed from padding"
    passed = f"Dense passes the mask on without using it; the masked output {result}."
    unchanged = make_fact("Disabling the mask changes no output.", "change")
    assert dense == (make_fact(VECTORS[source]), make_fact(passed, "mask-end"), unchanged)


def test_mask_computation_is_marked() -> None:
    calls = maskcli.inspect([[1, 2], [3]], mask_source="masking").trace
    assert [(call.call.split("_")[0], call.computes_mask) for call in calls] == [
        ("embedding", False),
        ("not", True),
        ("masking", False),
        ("any", True),
        ("lstm", False),
    ]
    assert [call.index for call in calls] == [0, 1, 2, 3, 4]


def test_last_state_carries_no_mask() -> None:
    last = maskcli.inspect([[1, 2], [3]], return_sequences=False).trace[-1]
    assert (last.effect, last.given, last.mask_out) == ("uses", True, None)


def test_layer_without_masking_drops_mask() -> None:
    """Keras warns of it."""
    inputs = keras.Input((6,))
    with pytest.warns(UserWarning, match="destroy the mask"):
        model = keras.Model(inputs, keras.layers.Conv1D(4, 3, padding="same")(embedding()(inputs)))
    calls = trace(model).calls
    assert [(call.type, call.effect) for call in calls] == [("Embedding", "creates"), ("Conv1D", "drops")]
    assert "destroy the mask" in str(calls[1].warning)
    assert calls[0].warning is None


def test_operator_drops_mask_silently() -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, embedding()(inputs) * 2.0)
    calls = trace(model).calls
    assert [(call.type, call.effect, call.warning) for call in calls][1] == ("Multiply", "drops", None)


def test_initial_state_keeps_mask_from_layer() -> None:
    tokens, h, c = keras.Input((None,)), keras.Input((3,)), keras.Input((3,))
    outputs = keras.layers.LSTM(3, return_sequences=True)(embedding()(tokens), initial_state=[h, c])
    state = np.ones((2, 3), "float32")
    last = trace(keras.Model([tokens, h, c], outputs), TOKENS, state, state).calls[-1]
    assert (last.type, last.given, last.effect) == ("LSTM", False, "passes")


def test_mask_is_read_before_removal_in_place() -> None:
    inputs = keras.Input((6,))
    embedded = embedding()(inputs)
    attended = keras.layers.MultiHeadAttention(1, 4)(embedded, embedded)
    source, attention = (call for call in trace(keras.Model(inputs, attended)).calls if not call.computes_mask)
    assert source.effect == "creates"
    assert attention.type == "MultiHeadAttention"
    np.testing.assert_array_equal(attention.mask_in, MASK)


def test_calls_inside_nested_model() -> None:
    """Calls inside a layer of Keras are not recorded."""
    inner = keras.Sequential([keras.Input((6,)), embedding()], name="encoder")
    bidirectional = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))
    model = keras.Sequential([inner, bidirectional])
    model(TOKENS)
    types = [call.type for call in trace(model).calls if not call.computes_mask]
    assert types == ["Sequential", "Embedding", "Bidirectional"] or types == ["Embedding", "Bidirectional"]


def test_shared_layer_is_two_calls() -> None:
    dense = keras.layers.Dense(4)
    model = keras.Sequential([keras.Input((6,)), embedding(), dense, dense])
    assert effects(model) == [("Embedding", "creates"), ("Dense", "passes"), ("Dense", "passes")]


def test_first_mask_is_that_of_the_source() -> None:
    model = keras.Sequential([keras.Input((6,)), embedding(), keras.layers.Dense(2)])
    np.testing.assert_array_equal(find_first_mask(trace(model).calls), MASK)
    assert find_first_mask(()) is None


def test_tracing_restores_keras() -> None:
    """This also holds after an error."""
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
        trace(model)
    assert (keras.layers.Layer.__call__, keras.Operation.__call__) == before
    trace(keras.Sequential([keras.Input((6,)), embedding()]))
    assert (keras.layers.Layer.__call__, keras.Operation.__call__) == before


def test_tracing_changes_no_output() -> None:
    model = keras.Sequential([keras.Input((6,)), embedding(), keras.layers.LSTM(3, return_sequences=True)])
    np.testing.assert_array_equal(np.asarray(trace(model).output), np.asarray(model(TOKENS)))


def test_operation_with_two_uses_is_no_mask_op() -> None:
    """A result that is used as data, too, does not only compute a mask."""
    tokens = keras.Input((None,), dtype="int32")
    scaled = keras.layers.Embedding(10, 4, mask_zero=True)(tokens) * 2.0
    mask = keras.ops.any(keras.ops.not_equal(scaled, 0.0), axis=-1)
    model = keras.Model(tokens, keras.layers.LSTM(3, return_sequences=True)(scaled, mask=mask))
    computing = {call.type: call.computes_mask for call in trace(model).calls}
    assert computing["NotEqual"] is computing["Any"] is True
    assert computing["Multiply"] is False
