"""Gradients of one loss, added up as batches of several sizes add it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.losses.accounting import RowSums
from maskcli.losses.evaluate import OutputLoss, get_recorded_losses, record_losses
from maskcli.losses.registry import cast_targets
from maskcli.records.arrays import Floats
from maskcli.records.loss import LossGradient
from maskcli.trace.state import preserve_state

ROWS = 64
"""Sequences that gradients are taken of, at the most."""
TIMESTEPS = 8192
"""And their timesteps, since the results of every step are kept until the gradient is known."""


def choose_gradient_rows(rows: int, timesteps: int) -> int:
    """Return of how many rows gradients are taken."""
    return max(1, min(rows, ROWS, TIMESTEPS // max(1, timesteps)))


def compute_batch_coefficients(sums: RowSums, batch_size: int) -> Floats:
    """Return by how much each row's losses are multiplied, ``(batch,)``, in the mean of the losses of all batches.

    The mean gives each batch the same weight, as the accumulation of gradients over steps does.
    """
    rows = len(sums.above)
    starts = np.arange(0, rows, batch_size)
    each = np.ones(len(starts))
    if sums.below is not None:
        divisors = np.add.reduceat(sums.below, starts)
        each = np.divide(1.0, divisors, out=np.zeros_like(divisors), where=divisors != 0)
    coefficients: Floats = np.repeat(each / len(starts), np.diff([*starts, rows]))
    return coefficients


def compare_gradients(
    model: Any, data: Any, judged: Sequence[OutputLoss], exact: Sequence[Floats], others: Sequence[Sequence[Floats]]
) -> list[LossGradient]:
    """Return the gradient of each way to add the losses up, against that of the ``exact`` one.

    Args:
        model: a Keras model, which runs in inference mode: without dropout.
        data: what it is called with.
        judged: its outputs, with the targets of these rows.
        exact: for each output the factor of each loss, ``(batch, timesteps)`` or ``(batch,)``.
        others: the same for each other way.
    """
    products = _products(model, data, judged, [exact, *others])
    norms = np.sqrt(np.diag(products))
    return [_against(products[0, place], norms[0], norms[place]) for place in range(1, len(products))]


def _against(product: float, exact: float, norm: float) -> LossGradient:
    relative = float(norm / exact) if exact else None
    cosine = float(np.clip(product / (exact * norm), -1, 1)) if exact and norm else None
    return LossGradient(float(norm), relative, cosine)


def _products(
    model: Any, data: Any, judged: Sequence[OutputLoss], ways: Sequence[Sequence[Floats]]
) -> NDArray[np.float64]:
    """Return the inner products of the gradients of all ways, ``(ways, ways)``; gradients themselves may be huge."""
    import keras
    import tensorflow as tf

    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, data)
    with preserve_state(model, trained=False), tf.GradientTape(persistent=True) as tape:
        outputs = keras.tree.flatten(model(tensors, training=False))
        losses = [_losses(one, outputs[one.index]) for one in judged]
        totals = [
            tf.add_n([tf.reduce_sum(loss * part) for loss, part in zip(losses, way, strict=True)]) for way in ways
        ]
    products = np.zeros((len(ways), len(ways)))
    for variable in model.trainable_variables:
        found = [tape.gradient(total, variable.value) for total in totals]
        if found[0] is not None:
            rows = np.stack([_dense(gradient) for gradient in found])
            products += rows @ rows.T
    return products


def _losses(one: OutputLoss, tensor: Any) -> Any:
    """Return the losses of an output, without its mask, times its loss weight."""
    import keras
    import tensorflow as tf

    with record_losses(one.loss):
        value = one.loss(cast_targets(one.targets), tf.identity(tensor))
        losses = get_recorded_losses(one.loss, value)
    return keras.ops.cast(losses, "float32") * (1.0 if one.loss_weight is None else one.loss_weight)


def _dense(gradient: Any) -> Floats:
    """Return a gradient as a flat array; of an embedding, only the rows that were looked up, in the order of ids."""
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        ids, places = np.unique(np.asarray(gradient.indices), return_inverse=True)
        gradient = tf.math.unsorted_segment_sum(gradient.values, places.ravel(), len(ids))
    return np.asarray(gradient, dtype=np.float64).ravel()
