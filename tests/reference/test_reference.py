"""maskcli's masks, outputs, losses and unmasked runs are those of an independent NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import maskcli
from tests.reference import numpy_layers as ref

pytestmark = pytest.mark.any_backend
UNITS, WIDTH, VOCABULARY, TIMESTEPS = 5, 4, 12, 7
RNNS = {
    "SimpleRNN": (ref.step_simple_rnn, 1),
    "LSTM": (ref.step_lstm, 2),
    "GRU": (ref.step_gru, 1),
}
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def make_ids(seed: int, side: str = "post") -> np.ndarray:
    """Return rows of different lengths, one of them without padding."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((5, TIMESTEPS), np.int32)
    for row, length in enumerate((TIMESTEPS, 1, *rng.integers(2, TIMESTEPS, 3))):
        place = slice(0, length) if side == "post" else slice(TIMESTEPS - length, None)
        ids[row, place] = rng.integers(1, VOCABULARY, length)
    return ids


def set_random_weights(model: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.6, weight.shape) for weight in model.get_weights()])


def read_weights(layer: Any) -> list[np.ndarray]:
    return [weight.astype(np.float64) for weight in layer.get_weights()]


def inspect(model: Any, ids: np.ndarray) -> tuple[Any, np.ndarray]:
    inspection = maskcli.inspect({"tokens": ids}, model=model)
    return inspection, inspection.first_output.values


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("side", ["post", "pre"])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", list(RNNS))
def test_rnn(name: str, backwards: bool, zero_output: bool, side: str) -> None:
    import keras

    ids = make_ids(3, side)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    vectors = keras.layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(tokens)
    rnn = getattr(keras.layers, name)(
        UNITS, return_sequences=True, go_backwards=backwards, zero_output_for_mask=zero_output
    )
    model = keras.Model(tokens, rnn(vectors))
    set_random_weights(model, 1)
    make_step, states = RNNS[name]
    x, mask = ref.embed(ids, read_weights(model.layers[1])[0]), ids != 0
    options = {"backwards": backwards, "zero_output": zero_output}
    inspection, values = inspect(model, ids)
    expected, _ = ref.run_rnn(make_step(read_weights(rnn)), x, mask, UNITS, states, **options)
    np.testing.assert_allclose(values, expected, **CLOSE)
    np.testing.assert_array_equal(inspection.mask, mask)
    unmasked, _ = ref.run_rnn(make_step(read_weights(rnn)), x, None, UNITS, states, backwards=backwards)
    np.testing.assert_allclose(inspection.unmasked.values, unmasked, **CLOSE)


@pytest.mark.parametrize("name", list(RNNS))
def test_bidirectional_with_pooling(name: str) -> None:
    import keras

    ids = make_ids(4)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    vectors = keras.layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(tokens)
    wrapper = keras.layers.Bidirectional(getattr(keras.layers, name)(UNITS, return_sequences=True))
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(wrapper(vectors)))
    set_random_weights(model, 2)
    make_step, states = RNNS[name]
    x, mask = ref.embed(ids, read_weights(model.layers[1])[0]), ids != 0
    forward, _ = ref.run_rnn(make_step(read_weights(wrapper.forward_layer)), x, mask, UNITS, states)
    backward, _ = ref.run_rnn(make_step(read_weights(wrapper.backward_layer)), x, mask, UNITS, states, backwards=True)
    expected = ref.average(np.concatenate([forward, backward[:, ::-1]], axis=-1), mask)
    inspection, values = inspect(model, ids)
    np.testing.assert_allclose(values, expected, **CLOSE)
    assert inspection.first_output.valid is None


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool) -> None:
    import keras

    ids = make_ids(5)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    vectors = keras.layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(tokens)
    attention = keras.layers.MultiHeadAttention(2, 3)
    outputs = keras.layers.Dense(UNITS)(attention(vectors, vectors, use_causal_mask=causal))
    model = keras.Model(tokens, outputs)
    set_random_weights(model, 3)
    x, mask = ref.embed(ids, read_weights(model.layers[1])[0]), ids != 0
    order = np.tri(TIMESTEPS, dtype=bool) if causal else np.ones((TIMESTEPS, TIMESTEPS), bool)
    attended = ref.attend(x, x, read_weights(attention), mask[:, None, :] & order)
    kernel, bias = read_weights(model.layers[-1])
    _, values = inspect(model, ids)
    valid = mask  # Where a query is padding, Keras closes all of its keys.
    np.testing.assert_allclose(values[valid], ref.dense(attended, kernel, bias)[valid], **CLOSE)


@pytest.mark.parametrize("name", list(RNNS))
def test_masked_loss(name: str) -> None:
    import keras

    ids = make_ids(6)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    vectors = keras.layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(tokens)
    rnn = getattr(keras.layers, name)(UNITS, return_sequences=True)
    model = keras.Model(tokens, keras.layers.Dense(VOCABULARY, activation="softmax")(rnn(vectors)))
    model.compile(loss="sparse_categorical_crossentropy")
    set_random_weights(model, 4)
    targets = np.random.default_rng(7).integers(0, VOCABULARY, ids.shape)
    make_step, states = RNNS[name]
    mask = ids != 0
    hidden, _ = ref.run_rnn(
        make_step(read_weights(rnn)), ref.embed(ids, read_weights(model.layers[1])[0]), mask, UNITS, states
    )
    shares = ref.softmax(ref.dense(hidden, *read_weights(model.layers[-1])))
    losses = -np.log(np.take_along_axis(shares, targets[..., None], axis=-1)[..., 0])
    output = maskcli.loss({"tokens": ids}, model=model, targets=targets).outputs[0]
    np.testing.assert_allclose(output.masked, losses[mask].mean(), rtol=2e-5)
    np.testing.assert_allclose(output.unmasked, losses.mean(), rtol=2e-5)
    np.testing.assert_allclose(output.exact, losses[mask].mean(), rtol=2e-5)
