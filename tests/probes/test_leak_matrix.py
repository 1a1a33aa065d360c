"""Which padded timestep moves which output."""

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


def one(*stack: Any, **options: Any) -> LeakMatrix:
    (found,), why = compute_leak_matrices(model(*stack, **options), inputs())
    assert why is None
    return found


def moved(found: LeakMatrix, sample: int) -> np.ndarray:
    return found.change[sample] > found.tolerance


def test_a_matrix_has_a_number_where_there_is_padding_and_nowhere_else() -> None:
    found = one(layers.Dense(3))
    assert found.change.shape == (3, 6, 6)
    assert np.array_equal(~np.isnan(found.change), np.broadcast_to(~VALID[:, None, :], (3, 6, 6)))
    assert (found.tried, found.padded, found.timed) == (len(PADDED), len(PADDED), True)
    assert np.array_equal(found.valid, VALID)


def test_each_timestep_alone_moves_itself_alone() -> None:
    found = one(layers.Dense(3))
    assert np.array_equal(moved(found, 0), np.diag([False, False, False, True, True, True]))


@pytest.mark.filterwarnings("ignore")
def test_a_convolution_reaches_as_far_as_its_kernel() -> None:
    found = moved(one(layers.Conv1D(2, 3, padding="same")), 0)
    assert np.array_equal(np.argwhere(found[:, 3]).ravel(), [2, 3, 4])
    assert np.array_equal(np.argwhere(found[:, 5]).ravel(), [4, 5])
    assert not found[:, :3].any()


def test_a_recurrence_without_a_mask_carries_it_forward_and_with_one_nowhere() -> None:
    lstm = layers.LSTM(3, return_sequences=True)
    assert np.array_equal(moved(one(lstm, mask_zero=False), 0), np.tril(np.ones((6, 6), bool)) & ~VALID[0])
    assert np.nanmax(one(layers.LSTM(3, return_sequences=True)).change) == 0


def test_an_output_without_timesteps_has_one() -> None:
    found = one(layers.GlobalAveragePooling1D(), mask_zero=False)
    assert found.change.shape == (3, 1, 6)
    assert not found.timed
    assert found.valid.tolist() == [[True]] * 3
    assert moved(found, 2).tolist() == [[False, True, True, True, True, True]]
    assert not moved(one(layers.GlobalAveragePooling1D()), 2).any()


def test_what_a_number_is() -> None:
    """The mean of six timesteps moves by a sixth of what one of them moves."""
    ids = keras.Input((6,), name="tokens", dtype="int32")
    hidden = layers.Embedding(10, 4)(ids)
    both = keras.Model(ids, [hidden, layers.GlobalAveragePooling1D()(hidden)])
    (own, mean), _ = compute_leak_matrices(both, inputs())
    for sample, timestep in PADDED:
        assert mean.change[sample, 0, timestep] == pytest.approx(own.change[sample, timestep, timestep] / 6, rel=2e-3)


@pytest.mark.parametrize("block", [1, 2, 5])
def test_runs_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = one(layers.LSTM(3, return_sequences=True), mask_zero=False)
    monkeypatch.setattr(leak_matrix, "BLOCK", block)
    parts = one(layers.LSTM(3, return_sequences=True), mask_zero=False)
    assert np.array_equal(np.isnan(whole.change), np.isnan(parts.change))
    assert np.array_equal(moved(whole, 0), moved(parts, 0))


def test_of_very_many_padded_timesteps_some_are_tried_and_the_matrix_says_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leak_matrix, "MOST", 3)
    found = one(layers.Dense(3))
    assert (found.tried, found.padded) == (3, len(PADDED))
    assert np.isfinite(found.change[:, 0]).sum() == 3


def test_a_model_that_is_built_for_one_batch_size() -> None:
    found = one(layers.LSTM(3, return_sequences=True, stateful=True), mask_zero=False, batch=3)
    assert found.tried == len(PADDED)
    assert np.array_equal(moved(found, 0), np.tril(np.ones((6, 6), bool)) & ~VALID[0])


def test_no_padding_and_no_place_to_replace_it_say_so() -> None:
    full = inputs(TOKENS[1:2], VALID[1:2])
    assert compute_leak_matrices(model(layers.Dense(2)), full) == (
        (),
        "There is no padding in the rows that are shown.",
    )
    ids = keras.Input((6,), name="tokens", dtype="int32")
    counted = keras.Model(ids, keras.ops.one_hot(keras.ops.sum(ids, axis=1), 60))
    matrices, why = compute_leak_matrices(counted, inputs())
    assert matrices == ()
    assert why is not None
    assert why.startswith("It could not be tried which padded timestep leaks where: ")


def test_the_model_is_left_as_it_was() -> None:
    lstm = layers.LSTM(3, return_sequences=True, stateful=True)
    tried = model(lstm, batch=3)
    before = [np.asarray(state) for state in lstm.states]
    compute_leak_matrices(tried, inputs())
    assert all(np.array_equal(one, np.asarray(state)) for one, state in zip(before, lstm.states, strict=True))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_it_agrees_with_the_probe_that_replaces_all_padding_at_once(make: Callable[[], Any]) -> None:
    import maskcli

    trap = built(make)
    leak = maskcli.check(trap.arrays, model=trap.model).examination.model.leak
    probe = next((probe for probe in leak.probes if probe.name == "replace"), None)
    matrices, _ = compute_leak_matrices(trap.model, maskcli.inspect(trap.arrays, model=trap.model).inputs)
    if probe is None or not probe.applicable:
        return
    leaking = [
        (np.nan_to_num(one.change, nan=0.0) > one.tolerance)[np.broadcast_to(one.valid[:, :, None], one.change.shape)]
        for one in matrices
    ]
    assert any(each.any() for each in leaking) == probe.leaks


def test_of_a_large_model_fewer_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried() -> int:
        return one(layers.Dense(3)).tried

    row = 6 * (4 + 3 + 3)  # vectors, and the outputs of the layer and of the model
    monkeypatch.setattr(leak_matrix, "FEWEST", 2)
    for work, expected in ((5 * row, 5), (row, 2), (2**30, len(PADDED))):
        monkeypatch.setattr(leak_matrix, "WORK", work)
        assert tried() == expected
