"""What losses came to and why: the evidence of ``maskcli loss``, made of what ``evaluate`` let pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.losses import accounting
from maskcli.losses.accounting import RowSums, sum_rows
from maskcli.losses.binding import run_custom_evaluate
from maskcli.losses.evaluate import EAGER_STEPS, Evaluation, OutputLoss, RecordedLoss, Tick, evaluate
from maskcli.losses.gradients import choose_gradient_rows, compare_gradients, compute_batch_coefficients
from maskcli.losses.reductions import compute_reductions
from maskcli.losses.registry import is_cross_entropy
from maskcli.records.arrays import Bools, Floats
from maskcli.records.inputs import ModelInput
from maskcli.records.loss import BatchSizeLoss, LossGradient, LossOutput
from maskcli.trace.outputs import ModelOutput, find_fixed_batch
from maskcli.trace.unmasked import strip_masks

UNMASKED_NUMBERS = 2**23
"""Numbers that the outputs of a batch of the run without masks may have."""
UNMASKED_ROWS = 2048
"""And rows: more of them make no run faster."""
MOST_EVALUATIONS = 2048
"""Batches that are evaluated anew, which nobody asked for, at the most."""
AGREES = 1e-5
"""Relative difference, beyond the rounding of sums in float32, up to which two ways to one loss agree."""


@dataclasses.dataclass(frozen=True, eq=False)
class LossRun:
    """A model with its data, and what judges its outputs.

    Attributes:
        model: a Keras model.
        inputs: what it is called with.
        judged: its outputs that have a loss.
        lanes: what these return.
        own_steps: whether the ``evaluate`` that is asked for is not Keras's, but that of the model.
    """

    model: Any
    inputs: tuple[ModelInput, ...]
    judged: tuple[OutputLoss, ...]
    lanes: tuple[ModelOutput, ...]
    own_steps: bool = False

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return len(self.judged[0].targets)

    @property
    def timesteps(self) -> int:
        """The most timesteps that an input or an output has; 1 without any."""
        shapes = [given.valid.shape for given in self.inputs if given.valid is not None]
        shapes += [lane.sample.shape for lane in self.lanes if lane.timed]
        return max((shape[1] for shape in shapes), default=1)

    @property
    def without_metrics(self) -> LossRun:
        """The same, judged by losses alone."""
        return dataclasses.replace(self, judged=tuple(dataclasses.replace(one, metrics=()) for one in self.judged))

    def run(self, batch_size: int, tick: Tick | None = None) -> Evaluation:
        """Evaluate the model in batches of a size, eagerly where that takes less time than a graph does."""
        n_batches = -(-self.rows // batch_size)
        return evaluate(
            self.model,
            pack_arguments(self.model, self.inputs),
            self.judged,
            batch_size,
            eagerly=n_batches * self.timesteps <= EAGER_STEPS,
            tick=tick,
        )

    def reported(self, batch_size: int) -> float:
        """Return what ``evaluate`` in batches of a size says, that of the model where it has steps of its own."""
        if self.own_steps:
            return run_custom_evaluate(self.model, pack_arguments(self.model, self.inputs), self.judged, batch_size)
        return self.without_metrics.run(batch_size).total


def run_unmasked(subject: LossRun, batch_size: int, tick: Tick | None = None) -> Evaluation | None:
    """Evaluate the same weights with no mask anywhere, in batches as large as is good; None where that cannot run."""
    width = max(lane.sample[0].size for lane in subject.lanes)
    fitting = min(UNMASKED_ROWS, UNMASKED_NUMBERS // max(1, width))
    size = batch_size if find_fixed_batch(subject.model) else min(subject.rows, max(batch_size, fitting, 1))
    try:
        with strip_masks():
            return subject.without_metrics.run(size, tick)
    except Exception:  # A layer may need the mask that it is not given.
        return None


def read_reduction(loss: Any) -> str | None:
    """Return how a loss reduces; of one that is no ``keras.losses.Loss``, what Keras takes for granted."""
    found: str | None = getattr(loss, "reduction", "sum_over_batch_size")
    return found


def sum_losses(judged: OutputLoss, seen: RecordedLoss) -> RowSums | None:
    """Return what each row adds to the loss of its batch; None for a loss that makes one number of the whole batch."""
    if seen.losses is None:
        return None
    return sum_rows(seen.losses, intersect_masks(seen.mask, seen.own_mask), judged.weights, read_reduction(judged.loss))


def intersect_masks(one: Bools | None, other: Bools | None) -> Bools | None:
    """Return where both masks are True; a mask that is not there hides nothing."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def make_loss_output(
    judged: OutputLoss, lane: ModelOutput, seen: RecordedLoss, plain: RecordedLoss | None, about: str, name: str
) -> LossOutput:
    """Return the record of one output: ``seen`` under its masks, and ``plain`` without any.

    ``about`` says what the targets are, and ``name`` what the loss is called.
    """
    shape = (len(judged.targets), *lane.sample.shape[1:])
    common: dict[str, Any] = {
        "name": judged.name,
        "loss": name,
        "loss_weight": judged.loss_weight,
        "shape": shape,
        "dtype": lane.dtype,
        "targets": about,
        "valid": judged.valid,
        "mask": seen.mask,
        "weights": judged.weights,
        "reported": seen.reported,
        "lost_at": lane.lost_at,
    }
    if seen.losses is None:
        return LossOutput(**common, **NOTHING)
    return LossOutput(**common, **_counted(judged, lane, seen, plain))


NOTHING: dict[str, Any] = {
    "ignored": None,
    "per_timestep": None,
    "per_sample": (),
    "counted": None,
    "masked": None,
    "exact": None,
    "unmasked": None,
    "unmasked_model": None,
    "weighted_mean": None,
    "padding_share": None,
    "not_finite": (0, 0),
    "by_length": (),
    "contributors": (),
    "reductions": (),
}
"""What is known of a loss that makes one number of a whole batch."""


def _counted(judged: OutputLoss, lane: ModelOutput, seen: RecordedLoss, plain: RecordedLoss | None) -> dict[str, Any]:
    """Return all that counting makes of the losses of one output."""
    assert seen.losses is not None  # noqa: S101 - asked before
    losses, weights = seen.losses, judged.weights
    weighted = losses if weights is None else losses * weights
    kept = np.ones(losses.shape, bool) if seen.own_mask is None else seen.own_mask
    valid = judged.valid if judged.valid is not None and judged.valid.shape == losses.shape else None
    told = seen.mask if seen.mask is not None and seen.mask.shape == losses.shape else valid
    unknown = valid is None and lane.timed and losses.ndim == 2
    counted = kept if told is None else told & kept
    padding = None if valid is None else weighted[~valid & kept].sum(dtype=np.float64)
    return {
        "ignored": None if seen.own_mask is None else ~seen.own_mask,
        "per_timestep": losses,
        "per_sample": accounting.average_by_sample(weighted, counted, kept),
        "counted": counted,
        "masked": accounting.compute_mean(weighted[counted]),
        "exact": None if unknown else accounting.compute_mean(weighted[kept if valid is None else valid & kept]),
        "unmasked": accounting.compute_mean(weighted[kept]),
        "unmasked_model": _plain_mean(plain, weights),
        "weighted_mean": None if weights is None else _ratio(weighted[counted].sum(), weights[counted].sum()),
        "padding_share": None
        if padding is None
        else accounting.compute_share(float(padding), float(weighted[kept].sum())),
        "not_finite": _not_finite(seen, counted),
        "by_length": accounting.group_by_length(weighted, counted) if losses.ndim == 2 else (),
        "contributors": accounting.rank_contributors(weighted, counted),
        "reductions": compute_reductions(losses, counted, weights, cross_entropy=is_cross_entropy(judged.loss)),
    }


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below else None


def _plain_mean(plain: RecordedLoss | None, weights: Floats | None) -> float | None:
    if plain is None or plain.losses is None:
        return None
    weighted = plain.losses if weights is None else plain.losses * weights
    return accounting.compute_mean(weighted if plain.own_mask is None else weighted[plain.own_mask])


def _not_finite(seen: RecordedLoss, counted: Bools) -> tuple[int, int]:
    wild = seen.not_finite
    if wild is None:
        return 0, 0
    if wild.shape != counted.shape:
        return int(wild.sum()), 0
    return int((wild & counted).sum()), int((wild & ~counted).sum())


def replay_batches(
    sums: Sequence[RowSums], judged: Sequence[OutputLoss], regularization: float, batch_size: int
) -> float:
    """Return what ``evaluate`` makes of the noted losses when it cuts them into batches of a size."""
    return regularization + sum(
        weight * accounting.simulate_evaluate(one, batch_size)
        for one, weight in zip(sums, read_loss_weights(judged), strict=True)
    )


def read_loss_weights(judged: Sequence[OutputLoss]) -> list[float]:
    """Return by how much each output's loss is multiplied."""
    return [1.0 if one.loss_weight is None else one.loss_weight for one in judged]


def are_equal_sums(one: float, other: float, numbers: int) -> bool:
    """Return whether two sums of so many numbers in float32 are the same but for rounding; NaN is NaN.

    Roundings go either way, and so grow with the root of the numbers.
    """
    if not (np.isfinite(one) and np.isfinite(other)):
        return bool(np.isnan(one) and np.isnan(other)) or one == other
    return abs(one - other) <= (AGREES + math.sqrt(numbers) * 2.0**-22) * max(abs(one), abs(other))


def find_row_sums(subject: LossRun, seen: Evaluation, total: float, batch_size: int) -> list[RowSums] | None:
    """Return what each row adds to the losses of batches of any size; None where that does not follow from those noted.

    ``total`` is what ``evaluate`` reported in batches of ``batch_size``.
    """
    found = [sum_losses(one, own) for one, own in zip(subject.judged, seen.outputs, strict=True)]
    sums = [one for one in found if one is not None]
    return sums if len(sums) == len(found) and _follows(subject, seen, sums, total, batch_size) else None


def select_affordable_sizes(sizes: Sequence[int], batch_size: int, rows: int) -> tuple[int, ...]:
    """Return the batch sizes that may be evaluated anew without being asked for."""
    return tuple(size for size in sizes if size == batch_size or -(-rows // size) <= MOST_EVALUATIONS)


def compare_batch_sizes(
    subject: LossRun,
    seen: Evaluation,
    sums: Sequence[RowSums] | None,
    total: float,
    batch_size: int,
    sizes: Sequence[int],
    shuffles: int,
) -> tuple[BatchSizeLoss, ...]:
    """Return what other batch sizes make of the losses, by ``sums``, or evaluated anew without.

    ``total`` is what ``evaluate`` reported in batches of ``batch_size``.
    """
    if sums is not None:
        return tuple(_of_size(subject, seen, sums, size, batch_size, shuffles) for size in sizes)
    totals = [total if size == batch_size else subject.reported(size) for size in sizes]
    return tuple(BatchSizeLoss(size, own, None, None, None, None) for size, own in zip(sizes, totals, strict=True))


def _follows(subject: LossRun, seen: Evaluation, sums: Sequence[RowSums], total: float, batch_size: int) -> bool:
    """Return whether losses of any batches follow from those noted: rows have nothing to do with each other."""
    numbers = subject.rows * subject.timesteps
    again = replay_batches(sums, subject.judged, seen.regularization, batch_size)
    constant = are_equal_sums(_of_weights(subject.model), seen.regularization, numbers)
    return constant and find_fixed_batch(subject.model) is None and are_equal_sums(again, total, numbers)


def _of_weights(model: Any) -> float:
    """Return what regularizers make of the weights alone, whatever the batch."""
    regularized = [variable for variable in model.trainable_variables if variable.regularizer is not None]
    return float(sum(float(variable.regularizer(variable)) for variable in regularized))


def _of_size(
    subject: LossRun, seen: Evaluation, sums: Sequence[RowSums], size: int, batch_size: int, shuffles: int
) -> BatchSizeLoss:
    weights = read_loss_weights(subject.judged)
    own = seen.total if size == batch_size else replay_batches(sums, subject.judged, seen.regularization, size)
    spread = accounting.simulate_shuffles(sums, weights, size, shuffles) + seen.regularization
    finite = shuffles > 0 and bool(np.isfinite(spread).all())
    weighs = [accounting.compute_weight_ratio(one, size) for one in sums]
    return BatchSizeLoss(
        batch_size=size,
        keras_evaluate=own,
        smallest=float(spread.min()) if finite else None,
        largest=float(spread.max()) if finite else None,
        std=float(spread.std()) if finite else None,
        heaviest=max((one for one in weighs if one is not None), default=None),
    )


def add_gradients(
    subject: LossRun, seen: Evaluation, losses: Sequence[BatchSizeLoss]
) -> tuple[tuple[BatchSizeLoss, ...], int]:
    """Return the batch sizes with their gradients, and of how many rows these are; 0 where there is none to be had."""
    rows = choose_gradient_rows(subject.rows, subject.timesteps)
    unknown = any(own.losses is None for own in seen.outputs) or not subject.model.trainable_variables
    if unknown or find_fixed_batch(subject.model) is not None:
        return tuple(losses), 0
    judged = [_first_rows(one, rows) for one in subject.judged]
    parts = [_first_seen(one, rows) for one in seen.outputs]
    ways = [[_factors(one, part, size.batch_size) for one, part in zip(judged, parts, strict=True)] for size in losses]
    exact = [_exact_factors(one, part) for one, part in zip(judged, parts, strict=True)]
    some = tuple(select_rows(given, slice(0, rows)) for given in subject.inputs)
    gradients: list[LossGradient] = compare_gradients(
        subject.model, pack_arguments(subject.model, some), judged, exact, ways
    )
    return tuple(dataclasses.replace(one, gradient=own) for one, own in zip(losses, gradients, strict=True)), rows


def _first_rows(judged: OutputLoss, rows: int) -> OutputLoss:
    def cut(values: Any) -> Any:
        return None if values is None else values[:rows]

    return dataclasses.replace(
        judged, targets=judged.targets[:rows], weights=cut(judged.weights), valid=cut(judged.valid)
    )


def _first_seen(seen: RecordedLoss, rows: int) -> RecordedLoss:
    assert seen.losses is not None  # noqa: S101 - asked before
    return RecordedLoss(
        losses=seen.losses[:rows],
        mask=None if seen.mask is None else seen.mask[:rows],
        own_mask=None if seen.own_mask is None else seen.own_mask[:rows],
    )


def _factors(judged: OutputLoss, seen: RecordedLoss, batch_size: int) -> Floats:
    """Return by how much each loss is multiplied in the mean of the losses of batches of a size."""
    sums, mask = sum_losses(judged, seen), intersect_masks(seen.mask, seen.own_mask)
    assert seen.losses is not None and sums is not None  # noqa: S101 - asked before
    by_row = compute_batch_coefficients(sums, batch_size).reshape(-1, *[1] * (seen.losses.ndim - 1))
    factors: Floats = by_row * np.ones(seen.losses.shape)
    factors = factors if judged.weights is None else factors * judged.weights
    return factors if mask is None else factors * mask


def _exact_factors(judged: OutputLoss, seen: RecordedLoss) -> Floats:
    """Return by how much each loss is multiplied in the mean over all that is valid."""
    assert seen.losses is not None  # noqa: S101 - asked before
    kept = intersect_masks(judged.valid if judged.valid is not None else seen.mask, seen.own_mask)
    counted = np.ones(seen.losses.shape, bool) if kept is None else kept
    factors: Floats = counted / max(1, counted.sum())
    return factors if judged.weights is None else factors * judged.weights
