"""Gradients of a loss, accumulated as batches of several sizes accumulate them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.losses.accounting import RowSums
from maskcli.losses.binding import OutputLoss
from maskcli.losses.recording import get_recorded_losses, record_losses
from maskcli.losses.registry import cast_targets
from maskcli.records.arrays import Floats
from maskcli.records.loss import LossGradient
from maskcli.trace.state import preserve_state

ROWS = 64
"""Most sequences that gradients are computed of."""
TIMESTEPS = 8192
"""Most timesteps of these sequences: the results of every step are kept until the gradient is known."""


def choose_gradient_rows(rows: int, timesteps: int) -> int:
    """Return the number of rows to compute gradients of."""
    return max(1, min(rows, ROWS, TIMESTEPS // max(1, timesteps)))


def compute_batch_coefficients(sums: RowSums, batch_size: int) -> Floats:
    """Return the factor of each row, ``(batch,)``, in the mean of the batch losses.

    The mean gives each batch the same weight, as gradient accumulation over steps does.
    """
    rows = len(sums.above)
    starts = np.arange(0, rows, batch_size)
    factors = np.ones(len(starts))
    if sums.below is not None:
        divisors = np.add.reduceat(sums.below, starts)
        factors = np.divide(1.0, divisors, out=np.zeros_like(divisors), where=divisors != 0)
    coefficients: Floats = np.repeat(factors / len(starts), np.diff([*starts, rows]))
    return coefficients


def compare_gradients(
    model: Any, data: Any, losses: Sequence[OutputLoss], exact: Sequence[Floats], ways: Sequence[Sequence[Floats]]
) -> list[LossGradient]:
    """Compare gradients of ways to add up losses with that of the exact loss.

    Args:
        model: a Keras model, which runs in inference mode, without dropout.
        data: the arguments of its call.
        losses: its outputs, with the targets of these rows.
        exact: for each output the factor of each loss, ``(batch, timesteps)`` or ``(batch,)``.
        ways: the same for each way to add up.
    """
    products = _multiply_gradients(model, data, losses, [exact, *ways])
    norms = np.sqrt(np.diag(products))
    return [_make_gradient(products[0, place], norms[0], norms[place]) for place in range(1, len(products))]


def _make_gradient(product: float, exact: float, norm: float) -> LossGradient:
    relative = float(norm / exact) if exact else None
    cosine = float(np.clip(product / (exact * norm), -1, 1)) if exact and norm else None
    return LossGradient(float(norm), relative, cosine)


def _multiply_gradients(
    model: Any, data: Any, losses: Sequence[OutputLoss], ways: Sequence[Sequence[Floats]]
) -> NDArray[np.float64]:
    """Return the inner products of the gradients of all ways, ``(ways, ways)``."""
    import keras
    import tensorflow as tf

    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, data)
    with preserve_state(model, trained=False), tf.GradientTape(persistent=True) as tape:
        outputs = keras.tree.flatten(model(tensors, training=False))
        values = [_compute_losses(output_loss, outputs[output_loss.output.index]) for output_loss in losses]
        totals = [
            tf.add_n([tf.reduce_sum(value * factors) for value, factors in zip(values, way, strict=True)])
            for way in ways
        ]
    products = np.zeros((len(ways), len(ways)))
    # Products are added variable by variable, since all gradients together may not fit in memory.
    for variable in model.trainable_variables:
        gradients = [tape.gradient(total, variable.value) for total in totals]
        if gradients[0] is not None:
            rows = np.stack([_flatten_gradient(gradient) for gradient in gradients])
            products += rows @ rows.T
    return products


def _compute_losses(output_loss: OutputLoss, tensor: Any) -> Any:
    """Return the losses of an output, without its mask, times its loss weight."""
    import keras
    import tensorflow as tf

    loss = output_loss.loss
    with record_losses(loss):
        # The identity has no Keras mask: the factors already contain the mask.
        value = loss(cast_targets(output_loss.targets.values), tf.identity(tensor))
        losses = get_recorded_losses(loss, value)
    return keras.ops.cast(losses, "float32") * output_loss.factor


def _flatten_gradient(gradient: Any) -> Floats:
    """Return a gradient as a flat array; of an embedding only the rows that were looked up, in order of their ids."""
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        ids, places = np.unique(np.asarray(gradient.indices), return_inverse=True)
        gradient = tf.math.unsorted_segment_sum(gradient.values, places.ravel(), len(ids))
    return np.asarray(gradient, dtype=np.float64).ravel()
