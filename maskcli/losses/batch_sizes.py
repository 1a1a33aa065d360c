"""Losses and gradients for other batch sizes than that of ``evaluate``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.losses.accounting import (
    RowSums,
    compute_weight_ratio,
    fill_mask,
    fill_weights,
    simulate_evaluate,
    simulate_shuffles,
)
from maskcli.losses.binding import OutputLoss
from maskcli.losses.evaluate import LossRun, RecordedLoss, evaluate_again
from maskcli.losses.gradients import choose_gradient_rows, compare_gradients, compute_batch_coefficients
from maskcli.losses.loss_output import intersect_masks, sum_losses
from maskcli.records.arrays import Floats
from maskcli.records.loss import BatchSizeLoss
from maskcli.tolerance import LOSS_AGREEMENT, LOSS_SUM_STEP
from maskcli.trace.outputs import find_fixed_batch

BATCH_SIZE = 32
"""The default of Keras's ``evaluate``."""
MOST_EVALUATIONS = 2048
"""Most batches of a further ``evaluate`` that the user did not request."""


def are_equal_sums(first: float, second: float, numbers: int) -> bool:
    """Return whether two float32 sums of so many numbers are equal up to rounding; NaN equals NaN.

    Roundings have either sign, so their sum grows with the square root of the number.
    """
    if not (np.isfinite(first) and np.isfinite(second)):
        return bool(np.isnan(first) and np.isnan(second)) or first == second
    tolerance = LOSS_AGREEMENT.value + LOSS_SUM_STEP.value * math.sqrt(numbers)
    return abs(first - second) <= tolerance * max(abs(first), abs(second))


def find_row_sums(run: LossRun) -> list[RowSums] | None:
    """Return for each output the part of each row in the loss of any batch.

    Returns None if losses of other batches do not follow from the recorded ones.
    """
    sums = [sum_losses(loss, recorded) for loss, recorded in zip(run.losses, run.recorded, strict=True)]
    complete = [row_sums for row_sums in sums if row_sums is not None]
    return complete if len(complete) == len(sums) and _explains_evaluate(run, complete) else None


def _explains_evaluate(run: LossRun, sums: Sequence[RowSums]) -> bool:
    """Return whether the sums reproduce the loss of ``evaluate`` for any batches."""
    if find_fixed_batch(run.model) is not None:
        return False
    numbers = run.rows * run.timesteps
    # Only regularization of weights is the same for all batches; that of activities is not.
    is_constant = are_equal_sums(_regularize_weights(run.model), run.regularization, numbers)
    return is_constant and are_equal_sums(_simulate_total(run, sums, run.batch_size), run.reported, numbers)


def _regularize_weights(model: Any) -> float:
    """Return the regularization of the weights."""
    regularized = [variable for variable in model.trainable_variables if variable.regularizer is not None]
    return float(sum(float(variable.regularizer(variable)) for variable in regularized))


def _simulate_total(run: LossRun, sums: Sequence[RowSums], batch_size: int) -> float:
    """Return the loss that ``evaluate`` reports with a batch size, from the recorded losses."""
    return run.regularization + sum(
        loss.factor * simulate_evaluate(row_sums, batch_size) for row_sums, loss in zip(sums, run.losses, strict=True)
    )


def select_affordable_sizes(run: LossRun, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the batch sizes that may be evaluated although the user did not request them."""
    return tuple(size for size in sizes if size == run.batch_size or -(-run.rows // size) <= MOST_EVALUATIONS)


def compare_batch_sizes(
    run: LossRun, sums: Sequence[RowSums] | None, sizes: Sequence[int], shuffles: int
) -> tuple[BatchSizeLoss, ...]:
    """Return the loss for each batch size: from ``sums``, or by another ``evaluate`` if they are None."""
    if sums is not None:
        return tuple(_simulate_size(run, sums, size, shuffles) for size in sizes)
    totals = [run.reported if size == run.batch_size else evaluate_again(run, size) for size in sizes]
    return tuple(BatchSizeLoss(size, total, None, None, None, None) for size, total in zip(sizes, totals, strict=True))


def _simulate_size(run: LossRun, sums: Sequence[RowSums], size: int, shuffles: int) -> BatchSizeLoss:
    total = run.total
    if size != run.batch_size:
        total = _simulate_total(run, sums, size)
    ratios = [compute_weight_ratio(row_sums, size) for row_sums in sums]
    batch_size = BatchSizeLoss(
        batch_size=size,
        keras_evaluate=total,
        smallest=None,
        largest=None,
        std=None,
        heaviest=max((ratio for ratio in ratios if ratio is not None), default=None),
    )
    totals = simulate_shuffles(sums, [loss.factor for loss in run.losses], size, shuffles) + run.regularization
    if not shuffles or not np.isfinite(totals).all():
        return batch_size
    return dataclasses.replace(
        batch_size, smallest=float(totals.min()), largest=float(totals.max()), std=float(totals.std())
    )


def add_gradients(run: LossRun, sizes: Sequence[BatchSizeLoss]) -> tuple[tuple[BatchSizeLoss, ...], int]:
    """Add the gradient to each batch size. Returns also the number of rows used, 0 if there are no gradients."""
    rows = choose_gradient_rows(run.rows, run.timesteps)
    unknown = any(recorded.losses is None for recorded in run.recorded) or not run.model.trainable_variables
    if unknown or find_fixed_batch(run.model) is not None:
        return tuple(sizes), 0
    losses = [_take_first_losses(loss, rows) for loss in run.losses]
    pairs = list(zip(losses, (_take_first_records(recorded, rows) for recorded in run.recorded), strict=True))
    exact = [_compute_exact_factors(loss, recorded) for loss, recorded in pairs]
    ways = [[_compute_factors(loss, recorded, size.batch_size) for loss, recorded in pairs] for size in sizes]
    some = tuple(select_rows(model_input, slice(0, rows)) for model_input in run.inputs)
    gradients = compare_gradients(run.model, pack_arguments(run.model, some), losses, exact, ways)
    return tuple(dataclasses.replace(size, gradient=item) for size, item in zip(sizes, gradients, strict=True)), rows


def _take_first_losses(output_loss: OutputLoss, rows: int) -> OutputLoss:
    targets = dataclasses.replace(output_loss.targets, values=output_loss.targets.values[:rows])
    return dataclasses.replace(
        output_loss,
        targets=targets,
        weights=_take_first(output_loss.weights, rows),
        valid=_take_first(output_loss.valid, rows),
    )


def _take_first_records(recorded: RecordedLoss, rows: int) -> RecordedLoss:
    return RecordedLoss(
        losses=_take_first(recorded.losses, rows),
        mask=_take_first(recorded.mask, rows),
        own_mask=_take_first(recorded.own_mask, rows),
    )


def _take_first(array: Any, rows: int) -> Any:
    return None if array is None else array[:rows]


def _compute_factors(output_loss: OutputLoss, recorded: RecordedLoss, batch_size: int) -> Floats:
    """Return the factor of each loss in the mean of the batch losses."""
    sums, mask = sum_losses(output_loss, recorded), intersect_masks(recorded.mask, recorded.own_mask)
    assert recorded.losses is not None and sums is not None  # noqa: S101 - add_gradients checked it
    by_row = compute_batch_coefficients(sums, batch_size).reshape(-1, *[1] * (recorded.losses.ndim - 1))
    weights = fill_weights(output_loss.weights, recorded.losses)
    factors: Floats = by_row * weights * fill_mask(mask, recorded.losses)
    return factors


def _compute_exact_factors(output_loss: OutputLoss, recorded: RecordedLoss) -> Floats:
    """Return the factor of each loss in the mean over all valid timesteps."""
    assert recorded.losses is not None  # noqa: S101 - add_gradients checked it
    valid = output_loss.valid
    if valid is None:
        valid = recorded.mask
    included = fill_mask(intersect_masks(valid, recorded.own_mask), recorded.losses)
    factors: Floats = included / max(1, included.sum()) * fill_weights(output_loss.weights, recorded.losses)
    return factors
