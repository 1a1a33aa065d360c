"""Targets, losses and metrics."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from numpy.typing import NDArray

from maskcli.records.arrays import AnyMask, Bools, Losses
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.fields import (
    BackendName,
    Count,
    Positive,
    Shape,
    Versions,
    find_backend,
)
from maskcli.records.inputs import ModelInput, ShownBatch, select_shown_batch
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.records.result import ResultRecord
from maskcli.records.sequences import PaddedBatch
from maskcli.tolerance import LOSS_AGREEMENT


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """The targets of a model's predictions.

    Attributes:
        values: ``(batch, timesteps)`` class ids, or ``(batch, timesteps, units)`` numbers.
        units: the width that a model's outputs need.
        about: the origin of the targets, for people.
        following: ``(batch, timesteps)``, the token after each, if that token is the target; otherwise None.
    """

    values: NDArray[Any]
    units: int
    about: str
    following: NDArray[Any] | None = None


@dataclasses.dataclass(frozen=True)
class Reduction:
    """One way to reduce the losses of all timesteps to a single number.

    Attributes:
        name: for scripts.
        value: None if no timestep counts, or if the reduction gives no number.
        formula: with ``loss``, ``mask`` (1 where a timestep counts, otherwise 0) and ``weight``.
        source: a library or paper that reduces like this.
    """

    name: str
    value: float | None
    formula: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class LengthGroup:
    """The share of sequences of similar length in a loss.

    Attributes:
        shortest: counted timesteps of the shortest sequence of the group.
        longest: counted timesteps of the longest sequence of the group.
        sequences: the number of sequences.
        timesteps: counted timesteps of all of them.
        mean: of their losses, timestep by timestep; None without counted timesteps.
        share: of the sum of all losses that count, from 0 to 1; None if that sum is zero or not finite.
    """

    shortest: Count
    longest: Count
    sequences: Positive
    timesteps: Count
    mean: float | None
    share: float | None


@dataclasses.dataclass(frozen=True)
class Contribution:
    """The share of one timestep in a loss.

    Attributes:
        sample: the row, from 0.
        timestep: None for a whole sample.
        loss: the loss of the timestep, without weights.
        share: of the sum of all losses that count, from 0 to 1.
    """

    sample: Count
    timestep: Count | None
    loss: float
    share: float


@dataclasses.dataclass(frozen=True)
class LossGradient:
    """The sum of the gradients of all batches, compared with the gradient of the exact loss.

    Attributes:
        norm: of the mean of the gradients of the batches.
        relative: that norm divided by the norm of the exact loss's gradient; None if the latter is zero.
        cosine: of the angle between the two gradients; None if one is zero.
    """

    norm: float
    relative: float | None
    cosine: float | None


@dataclasses.dataclass(frozen=True)
class BatchSizeLoss:
    """The loss with one batch size.

    Attributes:
        batch_size: sequences in a batch; the last batch may have fewer.
        keras_evaluate: the loss that ``evaluate`` reports for the data in its order.
        smallest: the smallest loss over shuffles of the data; None without shuffles, or if a loss is not finite.
        largest: the largest loss over these shuffles.
        std: the standard deviation over these shuffles.
        heaviest: the weight of a timestep in the batch with the fewest counted timesteps, divided by that in the batch
            with the most; None if nothing counts.
        gradient: the sum of the gradients of the batches, compared with that of the exact loss; None without
            gradients.
    """

    batch_size: Positive
    keras_evaluate: float
    smallest: float | None
    largest: float | None
    std: float | None
    heaviest: float | None
    gradient: LossGradient | None = None


@dataclasses.dataclass(frozen=True)
class MetricReport:
    """A metric as Keras reports it, and over only the valid timesteps.

    Attributes:
        name: of the metric, without the output's name, which ``evaluate`` puts in front if there are several outputs.
        type: the class name of the metric.
        output: the name of the output that the metric measures.
        weighted: whether the metric receives the sample weights.
        reported: by ``evaluate``.
        valid: the same metric over only the non-padding timesteps; None if the metric cannot be computed for single
            timesteps, or if padding is unknown.
        differs: whether the two values differ by more than rounding.
    """

    name: str
    type: str
    output: str
    weighted: bool
    reported: float
    valid: float | None
    differs: bool


@dataclasses.dataclass(frozen=True)
class LossSummary:
    """The main values of a loss.

    Attributes:
        name: of the output.
        loss: the name of the loss.
        masked: over timesteps that the mask counts; None if nothing counts.
        exact: over all valid timesteps; None if unknown.
        unmasked: over all timesteps, as the loss of ``model.predict``; None if nothing counts.
        unmasked_model: over all timesteps, for the same weights without any mask; None if the model does not run so.
        reported: by Keras, for this output.
    """

    name: str
    loss: str
    masked: float | None
    exact: float | None
    unmasked: float | None
    unmasked_model: float | None
    reported: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossOutput:
    """The loss of one output of a model.

    Arrays have the shape ``(batch, timesteps)``, or ``(batch,)`` if the output, or its loss, has no timesteps.

    Attributes:
        name: of the output.
        loss: the name of the loss.
        loss_weight: the factor that the model applies to the loss; None without a factor.
        shape: of the predictions.
        dtype: of the predictions.
        targets: the origin of the targets, for people.
        valid: True at non-padding; None if the output has no timesteps, or if padding is unknown.
        mask: the mask that the output carries, and that its loss receives; None without a mask.
        ignored: timesteps that the loss itself leaves out, as with ``ignore_class``; None if there are none.
        weights: sample weights, for each timestep or each sample; None without weights.
        per_timestep: the loss of each timestep, as Keras computes it and in its precision, without weights; None if the
            loss is one number for a whole batch.
        per_sample: for each sample, the weighted mean over its counted timesteps (None if nothing counts) and over all
            its timesteps.
        counted: timesteps that ``masked`` counts: those of the mask (of ``valid`` without a mask), minus ``ignored``.
        masked: the sum of weighted losses at ``counted``, divided by the number of these timesteps, in float64; None
            if nothing counts.
        exact: the same over ``valid``, minus ``ignored``, independent of batching; None if ``valid`` is unknown.
        unmasked: the same over all timesteps, minus ``ignored``: the loss of ``model.predict``; None if nothing
            counts.
        unmasked_model: the same as ``unmasked`` for the same weights run without any mask; None if the model does not
            run so.
        weighted_mean: the sum of weighted losses at ``counted``, divided by the sum of their weights; None without
            weights.
        reported: the part of this output in the result of Keras's ``evaluate``, before ``loss_weight``.
        padding_share: the share of padding in ``unmasked``, from 0 to 1; None if unknown.
        not_finite: the number of predictions that are NaN or infinite, at timesteps that count and at others.
        lost_at: the call that lost the mask that the output would carry; None if no mask was lost.
        by_length: sequences grouped by similar length; empty without timesteps.
        contributors: the timesteps with the largest shares, the largest first.
        reductions: other ways to reduce the same losses.
    """

    name: str
    loss: str
    loss_weight: float | None
    shape: Shape
    dtype: str
    targets: str
    valid: AnyMask | None
    mask: AnyMask | None
    ignored: AnyMask | None
    weights: Losses | None
    per_timestep: Losses | None
    per_sample: tuple[tuple[float | None, float | None], ...]
    counted: Bools | None
    masked: float | None
    exact: float | None
    unmasked: float | None
    unmasked_model: float | None
    weighted_mean: float | None
    reported: float
    padding_share: float | None
    not_finite: tuple[Count, Count]
    lost_at: str | None
    by_length: tuple[LengthGroup, ...]
    contributors: tuple[Contribution, ...]
    reductions: tuple[Reduction, ...]

    @property
    def timed(self) -> bool:
        """Whether the loss has timesteps."""
        return self.per_timestep is not None and self.per_timestep.ndim == 2

    @property
    def valid_timesteps(self) -> Count | None:
        """The number of timesteps, or samples without timesteps, that ``masked`` counts.

        Returns None if the loss is one number for a whole batch.
        """
        return None if self.counted is None else int(self.counted.sum())

    @property
    def total_timesteps(self) -> Count | None:
        """The number of all timesteps; None if the loss is one number for a whole batch."""
        return None if self.per_timestep is None else self.per_timestep.size

    @property
    def summary(self) -> LossSummary:
        """The main values, without arrays."""
        return LossSummary(
            self.name, self.loss, self.masked, self.exact, self.unmasked, self.unmasked_model, self.reported
        )

    @property
    def reported_reduction(self) -> str | None:
        """The reduction, other than the mean, whose value Keras reports; None for the mean, and for unknown ones."""
        if self.masked is None or _are_close(self.masked, self.reported):
            return None
        names = ("sum", "mean-with-sample-weight")
        values = {item.name: item.value for item in self.reductions if item.name in names and item.value is not None}
        return next((name for name, value in values.items() if _are_close(value, self.reported)), None)


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LossReport(ResultRecord):
    """The losses of a model on some data, masked and unmasked; the first output's fields are at the top level.

    Attributes:
        model: the model.
        versions: of keras, its backend and numpy.
        inputs: all inputs of the run.
        batch: the sequences that maskcli padded for the run; None if the data came as arrays.
        outputs: the outputs that have a loss, in order.
        keras_evaluate: the result of Keras's ``evaluate``: all outputs, weighted, and the regularization.
        regularization: the sum of losses that the model itself adds, such as those of weight regularizers.
        batch_size: of that ``evaluate``.
        batch_sizes: the loss with other batch sizes; empty if it cannot be computed.
        gradient_rows: the number of first sequences that the gradients are of; 0 without gradients.
        metrics: as ``evaluate`` reports them, and over only the valid timesteps.
        remarks: conclusions from the evidence, in sentences.
        data: where the rows come from.
    """

    model: ModelAbout
    versions: Versions
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    outputs: tuple[LossOutput, ...]
    keras_evaluate: float
    regularization: float
    batch_size: Positive
    batch_sizes: tuple[BatchSizeLoss, ...]
    gradient_rows: Count
    metrics: tuple[MetricReport, ...]
    remarks: tuple[Remark, ...]
    data: DataOrigin = FROM_PYTHON

    @property
    def backend(self) -> BackendName | None:
        """The backend of Keras that the model ran on."""
        return find_backend(self.versions)

    def summarize(self) -> str:
        """Return the name of the model and its losses."""
        masked = "no mask" if self.masked is None else f"masked {self.masked:.6g}"
        evaluate = f"Keras evaluate {self.keras_evaluate:.6g}"
        return f"{self.model.name}: {self.first.loss} {masked}, unmasked {self.unmasked:.6g}, {evaluate}"

    @property
    def first(self) -> LossOutput:
        """The first output that has a loss."""
        return self.outputs[0]

    @property
    def more_outputs(self) -> tuple[LossOutput, ...]:
        """The other outputs that have a loss, in order, with the same fields as the first one at the top."""
        return self.outputs[1:]

    @property
    def masked(self) -> float | None:
        """The masked loss of the first output."""
        return self.first.masked

    @property
    def exact(self) -> float | None:
        """The exact loss of the first output."""
        return self.first.exact

    @property
    def unmasked(self) -> float | None:
        """The unmasked loss of the first output."""
        return self.first.unmasked

    @property
    def unmasked_model(self) -> float | None:
        """The loss of the first output for the same weights without any mask."""
        return self.first.unmasked_model

    @property
    def shown_batch(self) -> ShownBatch | None:
        """The timesteps of the first input of ids, otherwise of features; None without timesteps."""
        return select_shown_batch(self.inputs, self.batch)


def _are_close(first: float, second: float) -> bool:
    """Return whether two losses are equal up to the rounding of float32."""
    return math.isclose(first, second, rel_tol=LOSS_AGREEMENT.value)
