"""Results of two runs are paired by their valid timesteps."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.probes.compare import Alignment, align_results, copy_valid

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


def test_scores_of_fewer_keys_are_not_copied() -> None:
    """Queries and keys are both timesteps, of which only the first axis is known."""
    scores = np.zeros((2, 4, 4))
    flow: Any = SimpleNamespace(valid={id(scores): VALID})
    assert copy_valid(flow, scores, np.zeros((2, 3, 3)), ALIGNMENT) is None
