"""Gradients of a loss, accumulated as batches of several sizes accumulate them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.losses.accounting import RowSums
from maskcli.losses.binding import OutputLoss
from maskcli.losses.evaluate import EAGER_STEPS
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
    gradients = _differentiate(model, data, losses, [exact, *ways])
    reference = list(next(gradients))
    norm = math.sqrt(sum(float(part @ part) for part in reference))
    return [_compare(reference, norm, gradient) for gradient in gradients]


def _compare(reference: Sequence[Floats], reference_norm: float, gradient: Iterable[Floats]) -> LossGradient:
    """Compare a gradient with the reference; both have a vector for each variable."""
    product, square = 0.0, 0.0
    for exact, part in zip(reference, gradient, strict=True):
        product += float(exact @ part)
        square += float(part @ part)
    norm = math.sqrt(square)
    relative = norm / reference_norm if reference_norm else None
    cosine = float(np.clip(product / (reference_norm * norm), -1, 1)) if reference_norm and norm else None
    return LossGradient(norm, relative, cosine)


def _differentiate(
    model: Any, data: Any, losses: Sequence[OutputLoss], ways: Sequence[Sequence[Floats]]
) -> Iterator[Iterator[Floats]]:
    """Yield the gradient of each way, by one backward pass for all variables: a float64 vector for each of them.

    The gradients of one way are in memory at a time.
    """
    import keras

    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, data)

    def compute_losses() -> list[Any]:
        outputs = keras.tree.flatten(model(tensors, training=False))
        return [_compute_losses(output_loss, outputs[output_loss.output.index]) for output_loss in losses]

    compiled = len(ways) * _count_recurrent_steps(model, tensors) > EAGER_STEPS
    with preserve_state(model, trained=False):
        for gradients in get_backend().differentiate_losses(model, compute_losses, ways, compiled):
            yield (gradient.astype(np.float64).ravel() for gradient in gradients)


def _count_recurrent_steps(model: Any, tensors: Any) -> int:
    """Return about how many steps all recurrent layers take: eagerly each of them takes a millisecond."""
    import keras

    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    timesteps = [tensor.shape[1] for tensor in keras.tree.flatten(tensors) if len(tensor.shape) > 1]
    return len(recurrent) * max(timesteps, default=1)


def _compute_losses(output_loss: OutputLoss, tensor: Any) -> Any:
    """Return the losses of an output, without its mask, times its loss weight."""
    import keras

    loss = output_loss.loss
    with record_losses(loss):
        # Without its mask: the factors already contain it.
        value = loss(cast_targets(output_loss.targets.values), get_backend().drop_mask(tensor))
        losses = get_recorded_losses(loss, value)
    return keras.ops.cast(losses, "float32") * output_loss.factor
