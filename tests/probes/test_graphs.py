"""Graphs with padded nodes: an adjacency matrix has nodes on two axes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.inputs.arguments import select_rows
from maskcli.probes.lengths import add_columns
from maskcli.records.check import CheckReport
from maskcli.records.inputs import ModelInput

pytestmark = pytest.mark.slow(share=1 / 2)

NODES = np.array([5, 2, 4])
VALID = np.arange(5) < NODES[:, None]


class Convolve(layers.Layer):
    """Sums the features of the neighbours of each node."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, activation="tanh", bias_initializer="ones")

    def call(self, inputs: Any) -> Any:
        nodes, edges = inputs
        return ops.matmul(edges, self.dense(nodes))


def make_graphs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    nodes = rng.uniform(1, 2, (3, 5, 3)).astype("float32") * VALID[..., None]
    edges = rng.uniform(0.1, 1, (3, 5, 5)).astype("float32") * VALID[:, None, :] * VALID[..., None]
    return {"nodes": nodes, "edges": edges}


def check(mean: bool) -> CheckReport:
    """Check a graph convolution whose results are summed over nodes, or averaged over all of them."""
    keras.utils.set_random_seed(0)
    nodes, edges = keras.Input((None, 3), name="nodes"), keras.Input((None, None), name="edges")
    x = Convolve()([nodes, edges])
    pooled = layers.GlobalAveragePooling1D()(x) if mean else ops.sum(x, axis=1)
    return maskcli.check(make_graphs(), model=keras.Model([nodes, edges], layers.Dense(2)(pooled)))


@pytest.mark.parametrize("mean", [False, True])
def test_graphs_are_judged_by_their_number_of_nodes(mean: bool) -> None:
    """A sum leaves out padded nodes, which have no edges; a mean counts them."""
    report = check(mean)
    assert report.leak is not None
    assert report.leak.verdict == ("leaks" if mean else "clean")
    assert all(probe.applicable for probe in report.leak.probes if probe.name in ("alone", "columns"))


def test_both_axes_of_a_square_get_more_and_fewer_nodes() -> None:
    edges = make_graphs()["edges"]
    square = ModelInput("edges", edges, VALID, "features")
    (longer,) = add_columns(keras.Sequential(), [square], "post")
    assert longer.values.shape == (3, 9, 9)
    assert np.array_equal(longer.values[:, :5, :5], edges)
    assert not longer.values[:, 5:].any()
    assert not longer.values[:, :, 5:].any()
    shorter = select_rows(square, np.array([1]), slice(0, 2))
    assert np.array_equal(shorter.values, edges[1:2, :2, :2])


def test_features_of_as_many_numbers_as_timesteps_are_no_square() -> None:
    features = np.ones((3, 5, 5), "float32") * VALID[..., None]
    item = ModelInput("features", features, VALID, "features")
    assert not item.is_square
    assert select_rows(item, np.array([1]), slice(0, 2)).values.shape == (1, 2, 5)
