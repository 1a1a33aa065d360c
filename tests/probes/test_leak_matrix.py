"""The matrix of padded timesteps and the outputs that they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from maskcli.probes import leak_matrix
from maskcli.probes.leak_matrix import compute_leak_matrices
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import LeakMatrix
from maskcli.trace.run import ModelRun
from tests.traps import TRAPS, built

TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 9], [5, 0, 0, 0, 0, 0]], "int32")
VALID = TOKENS != 0
PADDED = np.argwhere(~VALID)


def inputs(tokens: Any = TOKENS, valid: Any = VALID) -> tuple[ModelInput, ...]:
    return (ModelInput("tokens", tokens, valid, "ids"),)


def model(*stack: Any, mask_zero: bool = True, batch: int | None = None) -> Any:
    keras.utils.set_random_seed(1)
    ids = keras.Input((6,), batch_size=batch, name="tokens", dtype="int32")
    hidden = layers.Embedding(10, 4, mask_zero=mask_zero)(ids)
    for layer in stack:
        hidden = layer(hidden)
    return keras.Model(ids, hidden)


def compute_matrix(*stack: Any, **options: Any) -> LeakMatrix:
    (matrix,), why = compute_leak_matrices(ModelRun(model(*stack, **options), inputs()))
    assert why is None
    return matrix


def fill(matrix: LeakMatrix) -> np.ndarray:
    """Return the effects as ``(samples, output timesteps, timesteps)``, NaN where nothing was tried."""
    filled = np.full((*matrix.valid.shape, matrix.timesteps), np.nan)
    filled[matrix.places[:, 0], :, matrix.places[:, 1]] = matrix.effects
    return filled


def find_moved(matrix: LeakMatrix, sample: int) -> np.ndarray:
    return fill(matrix)[sample] > matrix.tolerance


def test_numbers_only_at_padding() -> None:
    matrix = compute_matrix(layers.Dense(3))
    assert matrix.effects.shape == (len(PADDED), 6)
    assert np.array_equal(matrix.places, PADDED)
    assert (matrix.tried, matrix.padded, matrix.timed) == (len(PADDED), len(PADDED), True)
    assert np.array_equal(matrix.valid, VALID)


def test_dense_changes_only_the_same_timestep() -> None:
    matrix = compute_matrix(layers.Dense(3))
    assert np.array_equal(find_moved(matrix, 0), np.diag([False, False, False, True, True, True]))


@pytest.mark.filterwarnings("ignore")
def test_convolution_reaches_its_kernel_size() -> None:
    matrix = find_moved(compute_matrix(layers.Conv1D(2, 3, padding="same")), 0)
    assert np.array_equal(np.argwhere(matrix[:, 3]).ravel(), [2, 3, 4])
    assert np.array_equal(np.argwhere(matrix[:, 5]).ravel(), [4, 5])
    assert not matrix[:, :3].any()


def test_lstm_carries_padding_forward() -> None:
    """With a mask nothing is carried."""
    lstm = layers.LSTM(3, return_sequences=True)
    assert np.array_equal(
        find_moved(compute_matrix(lstm, mask_zero=False), 0), np.tril(np.ones((6, 6), bool)) & ~VALID[0]
    )
    assert compute_matrix(layers.LSTM(3, return_sequences=True)).effects.max() == 0


def test_pooled_output_has_one_timestep() -> None:
    matrix = compute_matrix(layers.GlobalAveragePooling1D(), mask_zero=False)
    assert (matrix.effects.shape, matrix.timesteps) == ((len(PADDED), 1), 6)
    assert not matrix.timed
    assert matrix.valid.tolist() == [[True]] * 3
    assert find_moved(matrix, 2).tolist() == [[False, True, True, True, True, True]]
    assert not find_moved(compute_matrix(layers.GlobalAveragePooling1D()), 2).any()


def test_change_of_a_mean_is_a_part() -> None:
    """The mean of six timesteps changes by a sixth of the change of one of them."""
    ids = keras.Input((6,), name="tokens", dtype="int32")
    hidden = layers.Embedding(10, 4)(ids)
    both = keras.Model(ids, [hidden, layers.GlobalAveragePooling1D()(hidden)])
    (vectors, mean), _ = compute_leak_matrices(ModelRun(both, inputs()))
    for sample, timestep in PADDED:
        assert fill(mean)[sample, 0, timestep] == pytest.approx(fill(vectors)[sample, timestep, timestep] / 6, rel=2e-3)


@pytest.mark.parametrize("block", [1, 2, 5])
def test_block_size_changes_no_result(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = compute_matrix(layers.LSTM(3, return_sequences=True), mask_zero=False)
    monkeypatch.setattr(leak_matrix, "BLOCK", block)
    parts = compute_matrix(layers.LSTM(3, return_sequences=True), mask_zero=False)
    assert np.array_equal(whole.places, parts.places)
    assert np.array_equal(find_moved(whole, 0), find_moved(parts, 0))


def test_some_of_many_padded_timesteps_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The matrix has the number of those that were tried."""
    monkeypatch.setattr(leak_matrix, "MOST", 3)
    matrix = compute_matrix(layers.Dense(3))
    assert (matrix.tried, matrix.padded) == (3, len(PADDED))
    assert matrix.effects.shape == (3, 6)


def test_model_of_fixed_batch_size() -> None:
    matrix = compute_matrix(layers.LSTM(3, return_sequences=True, stateful=True), mask_zero=False, batch=3)
    assert matrix.tried == len(PADDED)
    assert np.array_equal(find_moved(matrix, 0), np.tril(np.ones((6, 6), bool)) & ~VALID[0])


def test_reason_without_matrices() -> None:
    full = inputs(TOKENS[1:2], VALID[1:2])
    assert compute_leak_matrices(ModelRun(model(layers.Dense(2)), full)) == (
        (),
        "There is no padding in the rows that are shown.",
    )
    ids = keras.Input((6,), name="tokens", dtype="int32")
    counting = keras.Model(ids, keras.ops.one_hot(keras.ops.sum(ids, axis=1), 60))
    matrices, why = compute_leak_matrices(ModelRun(counting, inputs()))
    assert matrices == ()
    assert why is not None
    assert why.startswith("It could not be tried which padded timestep leaks where: ")


def test_model_is_left_unchanged() -> None:
    lstm = layers.LSTM(3, return_sequences=True, stateful=True)
    tried = model(lstm, batch=3)
    before = [np.asarray(state) for state in lstm.states]
    compute_leak_matrices(ModelRun(tried, inputs()))
    assert all(np.array_equal(old, np.asarray(state)) for old, state in zip(before, lstm.states, strict=True))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_matrix_agrees_with_replace_probe(make: Callable[[], Any]) -> None:
    import maskcli

    trap = built(make)
    leak = maskcli.check(trap.arrays, model=trap.model).examination.model.leak
    probe = next((probe for probe in leak.probes if probe.name == "replace"), None)
    matrices, _ = compute_leak_matrices(ModelRun(trap.model, maskcli.inspect(trap.arrays, model=trap.model).inputs))
    if probe is None or not probe.applicable:
        return
    leaking = [(matrix.effects > matrix.tolerance) & matrix.valid[matrix.places[:, 0]] for matrix in matrices]
    assert any(moved.any() for moved in leaking) == probe.leaks


@pytest.mark.parametrize("timesteps", [100, 400])
def test_matrix_of_long_rows_has_no_more_numbers(monkeypatch: pytest.MonkeyPatch, timesteps: int) -> None:
    monkeypatch.setattr(leak_matrix, "EFFECTS", 4000)
    ids = keras.Input((timesteps,), name="tokens", dtype="int32")
    hidden = layers.Embedding(10, 2)(ids)
    tokens = np.ones((8, timesteps), "int32")
    tokens[:, timesteps // 2 :] = 0
    two = keras.Model(ids, [hidden, layers.Dense(2)(hidden)])
    matrices, _ = compute_leak_matrices(ModelRun(two, inputs(tokens, tokens != 0)))
    assert sum(matrix.effects.size for matrix in matrices) == 4000
    assert all(matrix.padded == tokens.size // 2 for matrix in matrices)


def test_large_model_tries_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried() -> int:
        return compute_matrix(layers.Dense(3)).tried

    row = 6 * (4 + 3 + 3)  # vectors, and the outputs of the layer and of the model
    monkeypatch.setattr(leak_matrix, "FEWEST", 2)
    for work, expected in ((5 * row, 5), (row, 2), (2**30, len(PADDED))):
        monkeypatch.setattr(leak_matrix, "WORK", work)
        assert tried() == expected
