"""Targets, losses and metrics."""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Floats
from maskcli.records.html import HtmlRecord
from maskcli.records.inputs import ModelInput
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.records.sequences import PaddedBatch


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """What a model is to predict.

    Attributes:
        values: ``(batch, timesteps)`` class ids, or ``(batch, timesteps, units)`` numbers.
        units: the width that a model's outputs need.
        about: where they come from, for people.
        following: ``(batch, timesteps)``, the token after each, where that is what is to be predicted.
    """

    values: NDArray[Any]
    units: int
    about: str
    following: NDArray[Any] | None = None


@dataclasses.dataclass(frozen=True)
class Reduction:
    """One way to make a single number of the losses of all timesteps.

    Attributes:
        name: what scripts know it by.
        value: None where nothing is left to count, or where no number comes of it.
        formula: with ``loss``, ``mask`` (what counts, as 0 and 1) and ``weight``.
        source: who reduces like that.
    """

    name: str
    value: float | None
    formula: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class LengthGroup:
    """What sequences of like length have to do with a loss.

    Attributes:
        shortest: timesteps that count in the shortest sequence of the group.
        longest: and in the longest.
        sequences: how many they are.
        timesteps: that count, of all of them.
        mean: of their losses, timestep by timestep; None without any.
        share: of the sum of all losses that count; None where that is zero or not finite.
    """

    shortest: int
    longest: int
    sequences: int
    timesteps: int
    mean: float | None
    share: float | None


@dataclasses.dataclass(frozen=True)
class Contribution:
    """One timestep's part of a loss: its place (``timestep`` is None for a whole sample), its loss, and its share."""

    sample: int
    timestep: int | None
    loss: float
    share: float


@dataclasses.dataclass(frozen=True)
class LossGradient:
    """The gradient that the batches of one size add up to, against that of the exact loss.

    Attributes:
        norm: of the mean of the gradients of the batches.
        relative: that norm divided by the norm of the exact loss's gradient; None where that is zero.
        cosine: of the angle between the two; None where one is zero.
    """

    norm: float
    relative: float | None
    cosine: float | None


@dataclasses.dataclass(frozen=True)
class BatchSizeLoss:
    """What comes of data that is cut into batches of one size.

    Attributes:
        batch_size: sequences in a batch; the last one may have fewer.
        keras_evaluate: what ``evaluate`` reports, with the data in the order that it has.
        smallest: what it reports at the least, over shuffles of the data; None without, or where one is not finite.
        largest: and at the most.
        std: the standard deviation over the shuffles.
        heaviest: how many times as much a timestep of the batch with the fewest that count weighs in it, as one of the
            batch with the most; None where nothing is counted.
        gradient: None where it was not asked for.
    """

    batch_size: int
    keras_evaluate: float
    smallest: float | None
    largest: float | None
    std: float | None
    heaviest: float | None
    gradient: LossGradient | None = None


@dataclasses.dataclass(frozen=True)
class MetricReport:
    """A metric as Keras reports it, and over valid timesteps alone.

    Attributes:
        name: of the metric, without that of the output, which ``evaluate`` puts before it where there are several.
        type: its class name.
        output: the name of the output that it judges.
        weighted: whether it is given the sample weights.
        reported: by ``evaluate``.
        valid: the same metric of the timesteps that are no padding; None where it cannot take them apart, or where
            nothing is known of padding.
        differs: whether the two differ by more than rounding.
    """

    name: str
    type: str
    output: str
    weighted: bool
    reported: float
    valid: float | None
    differs: bool


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossOutput:
    """The loss of one output of a model.

    Arrays have the shape ``(batch, timesteps)``, or ``(batch,)`` where the output, or its loss, has no timesteps.

    Attributes:
        name: of the output.
        loss: the name of the loss.
        loss_weight: by which the model multiplies it; None where it was given none.
        shape: of the predictions.
        dtype: of the predictions.
        targets: what the targets are, for people.
        valid: the truth about padding; None where the output has no timesteps, or nothing is known of them.
        mask: what the output carries, and its loss sees; None without one.
        ignored: timesteps that the loss leaves out by itself, as with ``ignore_class``; None where there are none.
        weights: sample weights, for each timestep or each sample; None without.
        per_timestep: each timestep's own loss, as Keras computes it, without weights; None where the loss makes one
            number of a whole batch.
        per_sample: a row each: the weighted mean over its counted timesteps (None without any), and over all of them.
        counted: timesteps that ``masked`` counts: those of the mask, of ``valid`` without one, less ``ignored``.
        masked: the sum of weighted losses of ``counted`` divided by their number, in float64; None of nothing.
        exact: the same over ``valid``, less ``ignored``; None where that is not known.
        unmasked: the same over all timesteps, less ``ignored``: what the loss of ``model.predict`` gives.
        unmasked_model: the same as ``unmasked`` for the same weights run with no mask anywhere; None where the model
            does not run so.
        weighted_mean: the sum of weighted losses of ``counted`` divided by the sum of their weights; None without
            weights.
        reported: this output's part of what ``evaluate`` reports, before ``loss_weight``.
        padding_share: the part of ``unmasked`` that padding alone makes, of 1; None where that is not known.
        not_finite: predictions that are NaN or infinite at timesteps that count, and at others.
        lost_at: the call at which the mask was lost that the output would carry; None where none was.
        by_length: what sequences of like length have to do with it; empty without timesteps.
        contributors: the timesteps with the largest shares, the largest first.
        reductions: other ways to reduce the same losses.
    """

    name: str
    loss: str
    loss_weight: float | None
    shape: tuple[int, ...]
    dtype: str
    targets: str
    valid: Bools | None
    mask: Bools | None
    ignored: Bools | None
    weights: Floats | None
    per_timestep: Floats | None
    per_sample: tuple[tuple[float | None, float | None], ...]
    counted: Bools | None
    masked: float | None
    exact: float | None
    unmasked: float | None
    unmasked_model: float | None
    weighted_mean: float | None
    reported: float
    padding_share: float | None
    not_finite: tuple[int, int]
    lost_at: str | None
    by_length: tuple[LengthGroup, ...]
    contributors: tuple[Contribution, ...]
    reductions: tuple[Reduction, ...]

    @property
    def timed(self) -> bool:
        """Whether the loss has timesteps."""
        return self.per_timestep is not None and self.per_timestep.ndim == 2


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossReport(HtmlRecord):
    """What a loss came to, and why.

    Attributes:
        model: what model it was.
        versions: of keras, tensorflow and numpy.
        inputs: what went in.
        batch: the sequences that maskcli padded for it; None where the data were arrays as they are.
        outputs: each output that has a loss, the first one first.
        keras_evaluate: what Keras's ``evaluate`` returned: all outputs, weighted, and the regularization.
        regularization: what losses that the model itself adds, such as those of weight regularizers, put on top.
        batch_size: the batch size of that ``evaluate``.
        batch_sizes: what other batch sizes make of it; empty where that cannot be told.
        gradient_rows: sequences that the gradients are of, the first ones; 0 without gradients.
        metrics: as ``evaluate`` reports them.
        remarks: what follows from the evidence.
    """

    model: ModelAbout
    versions: dict[str, str]
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    outputs: tuple[LossOutput, ...]
    keras_evaluate: float
    regularization: float
    batch_size: int
    batch_sizes: tuple[BatchSizeLoss, ...]
    gradient_rows: int
    metrics: tuple[MetricReport, ...]
    remarks: tuple[Remark, ...]

    @property
    def first(self) -> LossOutput:
        """The first output that has a loss."""
        return self.outputs[0]

    @property
    def masked(self) -> float | None:
        """Of the first output."""
        return self.first.masked

    @property
    def exact(self) -> float | None:
        """Of the first output."""
        return self.first.exact

    @property
    def unmasked(self) -> float | None:
        """Of the first output."""
        return self.first.unmasked

    @property
    def unmasked_model(self) -> float | None:
        """Of the first output."""
        return self.first.unmasked_model
