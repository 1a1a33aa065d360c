"""Loops of recurrent layers run in compiled functions, and return the same bits as eager ones."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from maskcli.backends import tensorflow_loops as loops
from maskcli.probes.variants import compute_in_float64, move_weights
from maskcli.trace.recorder import record_run

pytestmark = pytest.mark.slow(share=1 / 2)

X = np.random.default_rng(0).standard_normal((4, 40, 3)).astype("float32")
MASK = np.arange(40) < np.array([[40], [13], [0], [39]])


def run_model(model: Any, inputs: Any = X, *, unfold: bool = False) -> list[np.ndarray]:
    recording = record_run(model, inputs, unfold=unfold)
    assert recording.error is None
    return [np.asarray(tensor) for tensor in keras.tree.flatten(recording.output)]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """List the layers whose loops are compiled."""
    compiled: list[Any] = []
    compile_loop = loops._compile

    def log(run_eagerly: Any, layer: Any, arguments: Any) -> Any:
        compiled.append(layer)
        return compile_loop(run_eagerly, layer, arguments)

    monkeypatch.setattr(loops, "_compile", log)
    return compiled


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.LSTM(5, return_sequences=True, return_state=True, go_backwards=True),
        lambda: layers.RNN([layers.GRUCell(4), layers.SimpleRNNCell(3, dropout=0.5)], zero_output_for_mask=True),
        lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True)),
    ],
    ids=["lstm", "stacked", "bidirectional"],
)
def test_compiled_loop_returns_bits_of_eager_loop(layer: Any, compiled: list[Any]) -> None:
    """The weights may have changed since the loop was compiled, and the number of timesteps."""
    keras.utils.set_random_seed(0)
    features, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    model = keras.Model([features, mask], keras.tree.flatten(layer()(features, mask=mask)))
    run_model(model, [X, MASK])
    assert compiled
    before = len(compiled)
    with move_weights(model, model.weights):
        for timesteps in (40, 7):
            inputs = [X[:, :timesteps], MASK[:, :timesteps]]
            results, expected = run_model(model, inputs), run_model(model, inputs, unfold=True)
            assert len(compiled) == before
            assert all(np.array_equal(*pair) for pair in zip(results, expected, strict=True))
        with compute_in_float64(model):
            results, expected = run_model(model, [X, MASK]), run_model(model, [X, MASK], unfold=True)
            assert len(compiled) > before
            assert all(np.array_equal(*pair) for pair in zip(results, expected, strict=True))


def test_short_loop_is_compiled_for_many_runs(compiled: list[Any]) -> None:
    features = keras.Input((None, 3))
    model = keras.Model(features, layers.SimpleRNN(2)(features))
    few = X[:, :3]
    plain = run_model(model, few)[0]
    assert not compiled
    with loops.expect_runs():
        assert np.array_equal(run_model(model, few)[0], plain)
    assert len(compiled) == 1


def test_stateful_loop_continues_from_its_state(compiled: list[Any]) -> None:
    features = keras.Input(batch_shape=(4, None, 3))
    layer = layers.LSTM(2, stateful=True)
    model = keras.Model(features, layer(features))
    plain = run_model(model)[0]
    layer.states[0].assign(np.ones((4, 2), "float32"))
    results = run_model(model)[0]
    assert compiled
    assert not np.array_equal(results, plain)
    assert np.array_equal(results, run_model(model, unfold=True)[0])


def test_cell_of_user_runs_eagerly(compiled: list[Any]) -> None:
    class Cell(layers.SimpleRNNCell):
        def call(self, *args: Any, **kwargs: Any) -> Any:
            eager.append(tf.executing_eagerly())
            return super().call(*args, **kwargs)

    features = keras.Input((None, 3))
    model = keras.Model(features, layers.RNN(Cell(2))(features))
    eager: list[bool] = []
    run_model(model)
    assert not compiled
    assert len(eager) >= X.shape[1]
    assert all(eager)


def test_gradient_through_compiled_loop(compiled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only sums of gradients may differ, and by the order of their terms."""
    layer = layers.LSTM(4, return_sequences=True)
    features = tf.constant(X)
    gradients = []
    for taped in (100, 10):
        monkeypatch.setattr(loops, "TAPED", taped)
        with loops.compile_loops(), tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(tf.sin(layer(features, mask=tf.constant(MASK))))
        gradients.append(np.asarray(tape.gradient(total, features)))
    assert compiled
    np.testing.assert_allclose(*gradients, atol=1e-6)


def test_loops_do_not_keep_their_layer() -> None:
    layer = layers.LSTM(2)
    with loops.compile_loops():
        layer(X)
    assert loops._loops[layer]
    reference = weakref.ref(layer)
    del layer
    gc.collect()
    assert reference() is None
