"""Parts of the losses: the arguments of compile, and the targets that a metric is tried with."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from maskcli.losses.compile_settings import read_compiled_metrics, read_weighted_metrics
from maskcli.losses.per_output import FROM_DATA, RANDOM, MetricTargets, _choose_targets


def test_weighted_metrics_are_those_that_compile_received() -> None:
    features = keras.Input((2,))
    model = keras.Model(features, layers.Dense(1)(features))
    assert read_weighted_metrics(model) is None
    model.compile(loss="mse", metrics=["mse"], weighted_metrics=["mae"])
    assert read_weighted_metrics(model) == ["mae"]
    assert read_compiled_metrics(model) == ["mse"]


@pytest.mark.parametrize(("features", "classes"), [(1, 2), (4, 4)])
def test_random_targets_of_a_metric_are_labels_and_classes(features: int, classes: int) -> None:
    """By turns labels of 0 and 1 for each feature, and numbers of classes, one for each timestep."""
    values = np.zeros((9, 8, features), "float32")
    tries = list(_choose_targets(None, values))
    assert {source for _, source in tries} == {RANDOM}
    for labels, _ in tries[::2]:
        assert (labels.shape, labels.dtype) == (values.shape, values.dtype)
        assert set(np.unique(labels)) == {0, 1}
    for numbers, _ in tries[1::2]:
        assert (numbers.shape, numbers.dtype) == ((9, 8), np.dtype("int32"))
        assert set(np.unique(numbers)) == set(range(classes))


@pytest.mark.parametrize("timesteps", [8, 7])
def test_targets_of_the_data_are_taken_if_they_fit(timesteps: int) -> None:
    targets = MetricTargets(np.ones((9, timesteps)), None)
    chosen = list(_choose_targets(targets, np.zeros((9, 8, 2), "float32")))
    assert [source for _, source in chosen] == [FROM_DATA] * (timesteps == 8)
