"""Masked and unmasked losses: each timestep's own by Keras, their means by NumPy in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskcli.evidence import Reduction
from maskcli.records import Bools, Floats

LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "mse": ("MeanSquaredError", {}),
    "mae": ("MeanAbsoluteError", {}),
    "huber": ("Huber", {}),
    "binary_crossentropy": ("BinaryCrossentropy", {"from_logits": True}),
    "categorical_crossentropy": ("CategoricalCrossentropy", {"from_logits": True}),
    "sparse_categorical_crossentropy": ("SparseCategoricalCrossentropy", {"from_logits": True}),
}
"""Names of ``--loss``: the class in ``keras.losses``, and its options."""

EAGER_STEPS = 300
"""About as many steps of a recurrent layer as run eagerly in the time that compiling a graph takes."""

CROSS_ENTROPIES = tuple(name for name in LOSSES if name.endswith("_crossentropy"))


def keras_loss(name: str, reduction: str = "sum_over_batch_size") -> Any:
    """Return the Keras loss of that name."""
    import keras

    class_name, options = LOSSES[name]
    return getattr(keras.losses, class_name)(reduction=reduction, **options)


def per_timestep(name: str, targets: np.ndarray[Any, Any], predictions: Floats) -> Floats:
    """Return each timestep's own loss, ``(batch, timesteps)``, as Keras computes it, in float64.

    Predictions are a bare array, so that no mask reaches the loss.
    """
    losses: Floats = np.asarray(keras_loss(name, "none")(targets, predictions), dtype=np.float64)
    return losses


def evaluate(model: Any, name: str, inputs: Any, targets: np.ndarray[Any, Any], batch_size: int) -> float:
    """Return the loss that ``model.evaluate`` reports.

    Few steps run eagerly, since compiling a graph takes longer than they do; many are worth a graph.
    """
    n_batches, timesteps = math.ceil(len(targets) / batch_size), targets.shape[1]
    model.compile(loss=keras_loss(name), run_eagerly=n_batches * timesteps <= EAGER_STEPS)
    return float(model.evaluate(inputs, targets, batch_size=batch_size, verbose=0))


def per_sample(losses: Floats, counted: Bools) -> tuple[tuple[float | None, float], ...]:
    """Return a row each: the mean over the timesteps that are ``counted``, None without any, and over all."""
    return tuple((mean(row[keep]), float(row.mean())) for row, keep in zip(losses, counted, strict=True))


def reductions(losses: Floats, mask: Bools | None) -> tuple[Reduction, ...]:
    """Return what others make of the losses ``(batch, timesteps)`` that ``mask`` lets count; without one, all do.

    Sources: ``keras.losses.Loss`` and its ``reduce_weighted_values`` in Keras 3; the reductions of tf.keras before
    TensorFlow 2.12, which divided by all timesteps; the mean over samples that padded-sequence papers report.
    """
    kept = np.ones(losses.shape, bool) if mask is None else mask
    total = float(losses[kept].sum())
    means = [value for value, _ in per_sample(losses, kept) if value is not None]
    return (
        Reduction("keras-3", mean(losses[kept]), "sum(valid) / count(valid)"),
        Reduction("all-timesteps", total / losses.size, "sum(valid) / count(all)"),
        Reduction("sum", total, "sum(valid)"),
        Reduction("mean-of-sample-means", mean(np.array(means)), "mean over samples of (sum / count)"),
    )


def mean(values: Floats) -> float | None:
    """Return the mean in float64, or None of nothing."""
    return float(values.mean(dtype=np.float64)) if values.size else None
