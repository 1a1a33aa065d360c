"""Results of two runs are paired by their valid timesteps."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.probes.compare import Alignment, align_results, copy_valid, measure_change, share_scales

pytestmark = pytest.mark.quick

VALID = np.array([[True, True, False, False], [True, True, True, False]])
SHORT = np.array([[True, True, False], [True, True, True]])
BASE = np.arange(16, dtype="float32").reshape(2, 4, 2)
ALIGNMENT = Alignment(np.arange(2), "post", np.ones(2, bool), np.arange(2))


@pytest.mark.parametrize("known", [None, SHORT, SHORT[:, :2]])
def test_fewer_timesteps_are_paired(known: Any) -> None:
    """All timesteps of the other run are valid where its validity is unknown, or of another shape."""
    aligned = align_results(BASE, VALID, BASE[:, :3] + 0.5, ALIGNMENT, known)
    assert aligned is not None
    assert aligned.counts.tolist() == [[True, True, False], [True, True, True]]
    assert (aligned.change[aligned.counts] == 0.5).all()
    assert aligned.timesteps is not None
    assert aligned.timesteps[aligned.counts].tolist() == [0, 1, 0, 1, 2]


def test_pre_padding_pairs_the_last_timesteps() -> None:
    before = dataclasses.replace(ALIGNMENT, side="pre")
    aligned = align_results(BASE, VALID[:, ::-1], BASE[:, 1:], before)
    assert aligned is not None
    assert not aligned.change[aligned.counts].any()


def test_other_features_do_not_correspond() -> None:
    assert align_results(BASE, VALID, BASE[..., :1], ALIGNMENT) is None
    assert align_results(BASE, None, BASE[:, :3], ALIGNMENT) is None


def test_valid_timesteps_are_copied() -> None:
    flow: Any = SimpleNamespace(valid={id(BASE): VALID})
    copied = copy_valid(flow, BASE, np.full((2, 3, 2), -1.0), ALIGNMENT)
    assert copied is not None
    assert (copied[SHORT] == BASE[:, :3][SHORT]).all()
    assert (copied[~SHORT] == -1).all()


@pytest.mark.parametrize("features", [(), (2,), (2, 3)])
def test_first_timesteps_are_cut_off_with_pre_padding(features: tuple[int, ...]) -> None:
    """The last timesteps are the same, for any features: the results agree, and are copied to their places."""
    before = dataclasses.replace(ALIGNMENT, side="pre")
    base = np.arange(8 * int(np.prod(features)), dtype=float).reshape(2, 4, *features)
    flow: Any = SimpleNamespace(valid={id(base): VALID[:, ::-1]})
    copied = copy_valid(flow, base, np.full((2, 3, *features), -1.0), before)
    assert copied is not None
    assert (copied[SHORT[:, ::-1]] == base[:, 1:][SHORT[:, ::-1]]).all()
    assert (copied[~SHORT[:, ::-1]] == -1).all()
    aligned = align_results(base, VALID[:, ::-1], base[:, 1:] + 0.5, before)
    assert aligned is not None
    assert (aligned.change[aligned.counts] == 0.5).all()
    assert aligned.change.shape == (2, 3, features[-1] if features else 1)


def test_results_without_timesteps_have_one_place() -> None:
    aligned = align_results(
        BASE, None, BASE + np.array([0.5, 0.25]), dataclasses.replace(ALIGNMENT, relevant=np.array([True, False]))
    )
    assert aligned is not None
    assert aligned.change_by_feature.tolist() == [0.5, 0.25]
    assert aligned.size_by_feature.tolist() == [6.0, 7.0]
    assert (aligned.counts.tolist(), aligned.timesteps) == ([[True], [False]], None)


@pytest.mark.parametrize(
    ("sizes", "shared"),
    [([], []), ([3.0], [3.0]), ([0.0, 1.0], [0.0, 1.0]), ([1.0, 2.0, 1e-9], [2.0, 2.0, 1e-9])],
)
def test_features_share_a_scale(sizes: list[float], shared: list[float]) -> None:
    assert share_scales(np.array(sizes)).tolist() == shared


def test_nan_equals_only_itself() -> None:
    old = np.array([np.nan, np.nan, np.inf, -np.inf, 1.0, np.inf])
    new = np.array([np.nan, 1.0, np.inf, np.inf, 3.0, 5.0])
    assert measure_change(old, new).tolist() == [0.0, np.inf, 0.0, np.inf, 2.0, np.inf]


def test_scores_of_fewer_keys_are_not_copied() -> None:
    """Queries and keys are both timesteps, of which only the first axis is known."""
    scores = np.zeros((2, 4, 4))
    flow: Any = SimpleNamespace(valid={id(scores): VALID})
    assert copy_valid(flow, scores, np.zeros((2, 3, 3)), ALIGNMENT) is None
