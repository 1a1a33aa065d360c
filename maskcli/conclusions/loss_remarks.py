"""What follows from losses, in sentences; each is said only when the numbers beside it say so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from maskcli.conclusions.remarks import (
    format_timesteps,
    make_fact,
    make_warning,
    measure_relative_difference,
    remark_on_mask,
)
from maskcli.losses.accounting import simulate_evaluate
from maskcli.losses.evaluate import Evaluation, OutputLoss, RecordedLoss
from maskcli.losses.loss_run import LossRun, are_equal_sums, read_reduction, sum_losses
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.loss import BatchSizeLoss, LossOutput, LossReport, MetricReport, Targets
from maskcli.records.remark import Remark
from maskcli.trace.outputs import ModelOutput

SPREAD = 1e-4
"""Relative difference from which on the losses of batch sizes are said to differ."""
HALVES = {"float16": "3 decimal digits, and nothing above 65504", "bfloat16": "2 to 3 decimal digits"}


def remark_on_loss_report(
    report: LossReport, subject: LossRun, seen: Evaluation, targets: Sequence[Targets]
) -> Iterator[Remark]:
    """Yield what follows from a report, the mask first.

    Args:
        report: all but its remarks.
        subject: what was judged.
        seen: what ``evaluate`` let pass.
        targets: of each output.
    """
    several = len(report.outputs) > 1
    for place, output in enumerate(report.outputs):
        for remark in _on_output(report, output, subject, seen, place, targets[place]):
            yield Remark(remark.kind, f"{output.name}: {remark.text}") if several else remark
    if subject.own_steps and not are_equal_sums(report.keras_evaluate, seen.total, subject.rows * subject.timesteps):
        yield make_warning(
            f"The model has steps of its own: its evaluate reports {report.keras_evaluate:.6g}, and the loss that it "
            f"is compiled with {seen.total:.6g}."
        )
    if any(output.unmasked is not None and output.unmasked_model is None for output in report.outputs):
        yield make_fact("Without masks the model does not run: there is no loss of an unmasked model.")
    yield from _on_batch_sizes(report)
    yield from _on_metrics(report.metrics)


def _on_output(
    report: LossReport, output: LossOutput, subject: LossRun, seen: Evaluation, place: int, targets: Targets
) -> Iterator[Remark]:
    if output.per_timestep is None:
        yield from _on_one_number(output)
        return
    judged, lane = subject.judged[place], subject.lanes[place]
    yield from _on_its_mask(output, report.inputs)
    yield from _on_shapes(output)
    yield from _on_ignored(output)
    yield from _on_targets(targets, output, 0 if report.batch is None else report.batch.layout.value)
    yield from _on_weights(output, judged)
    yield from _on_numbers(output, judged, lane)
    yield from _on_sum(output, judged, seen.outputs[place], report.batch_size)


def _on_one_number(output: LossOutput) -> Iterator[Remark]:
    masked = 0 if output.mask is None else int((~output.mask).sum())
    said = f"The loss {output.loss} makes one number of a whole batch"
    if masked:
        yield make_warning(
            f"{said}, so that Keras cannot leave {format_timesteps(masked, 'masked timestep')} out. Return a "
            "loss for each "
            "timestep, (batch, timesteps)."
        )
    else:
        yield make_fact(f"{said}: there are no losses of timesteps to show.")


def _on_its_mask(output: LossOutput, inputs: Sequence[ModelInput]) -> Iterator[Remark]:
    """Yield what the mask of an output leaves out wrongly, or what no mask leaves in."""
    valid, mask = output.valid, output.mask
    if valid is None and mask is None and output.timed:
        yield make_fact("Which timesteps of this output are padding is not known: all of them count.")
        return
    if mask is not None:
        given = _whose(output, inputs)
        if valid is not None and given is not None:
            yield from remark_on_mask(given, mask)
        elif not mask.any():
            yield make_warning("Every timestep is masked: nothing is left to count.")
        return
    if valid is not None:
        yield _on_no_mask(output, valid)


def _on_no_mask(output: LossOutput, valid: Bools) -> Remark:
    """Return what an output without a mask makes of padding."""
    padding = ~valid
    left = padding if output.ignored is None or output.ignored.shape != valid.shape else padding & ~output.ignored
    lost = f", which was lost at {output.lost_at}" if output.lost_at is not None else ""
    if left.any():
        share = "" if output.padding_share is None else f": {100 * output.padding_share:.3g} % of the loss"
        return make_warning(
            f"The outputs carry no mask{lost}: Keras counts {format_timesteps(int(left.sum()), 'padded timestep')} as "
            f"data{share}."
        )
    if padding.any():
        return make_fact(f"The outputs carry no mask{lost}; the loss leaves padding out by itself.")
    if lost:
        return make_warning(f"The outputs carry no mask{lost}, and what it hid counts.")
    return make_fact("The outputs carry no mask, and there is no padding that it could leave out.")


def _whose(output: LossOutput, inputs: Sequence[ModelInput]) -> ModelInput | None:
    """Return the input whose timesteps an output has."""
    return next((given for given in inputs if given.valid is output.valid and given.kind != "mask"), None)


def _on_shapes(output: LossOutput) -> Iterator[Remark]:
    assert output.per_timestep is not None  # noqa: S101 - asked before
    shape = output.per_timestep.shape
    if shape != output.shape[: len(shape)]:
        yield make_warning(
            f"The loss makes {shape} losses of predictions {output.shape}: targets of another shape were broadcast."
        )


def _on_ignored(output: LossOutput) -> Iterator[Remark]:
    if output.ignored is None or not output.ignored.any():
        return
    ignored = int(output.ignored.sum())
    verb = "is" if ignored == 1 else "are"
    hidden = 0 if output.mask is None else int((output.ignored & output.mask).sum())
    also = f"; {hidden} of them the mask does not hide" if output.mask is not None else ""
    yield make_fact(
        f"{format_timesteps(ignored, 'timestep')} {verb} left out by the loss itself, whatever the mask{also}."
    )


def _on_targets(targets: Targets, output: LossOutput, padding_id: int) -> Iterator[Remark]:
    """Yield how many timesteps that count have no next token: the mask is that of the inputs, not of the targets."""
    if targets.following is None or output.counted is None:
        return
    lacking = int((output.counted & (targets.following == padding_id)).sum())
    if lacking:
        verbs = ("has", "counts") if lacking == 1 else ("have", "count")
        yield make_fact(
            f"{format_timesteps(lacking, 'timestep')} {verbs[0]} no next token and {verbs[1]} all the same, "
            "with padding id "
            f"{padding_id} as target."
        )


def _on_weights(output: LossOutput, judged: OutputLoss) -> Iterator[Remark]:
    if judged.spread:
        yield make_fact(
            "Each sample's weight counts for all its timesteps here. Keras has no such weights (batch,) for losses "
            "(batch, timesteps): hand it np.repeat(weights[:, None], timesteps, axis=1)."
        )
    if output.weights is None or output.counted is None or output.masked is None or output.weighted_mean is None:
        return
    total = float(output.weights[output.counted].sum(dtype=np.float64))
    count = int(output.counted.sum())
    if measure_relative_difference(total, count) > 1e-6:
        yield make_fact(
            f"Keras divides the weighted losses by the {count:,} that count, not by {total:.6g}, the sum of their "
            f"weights: {output.masked:.6g} instead of {output.weighted_mean:.6g}. "
            'reduction="mean_with_sample_weight" divides by the weights.'
        )


def _on_numbers(output: LossOutput, judged: OutputLoss, lane: ModelOutput) -> Iterator[Remark]:
    """Yield what is wrong with the predictions as numbers."""
    counted, others = output.not_finite
    if counted:
        what = format_timesteps(counted, "timestep" if output.timed else "sample")
        verb = "has" if counted == 1 else "have"
        yield make_warning(f"{what} {verb} predictions that are not finite{_first_wild(output)}: so is the loss.")
    elif others:
        verb = "has" if others == 1 else "have"
        yield make_warning(
            f"{format_timesteps(others, 'timestep')} that the mask leaves out {verb} predictions that are not "
            "finite. Keras "
            "multiplies losses by the mask, and NaN times zero is NaN: it reports no number, though all that counts "
            "is finite."
        )
    if output.dtype in HALVES:
        yield make_fact(
            f"Predictions are {output.dtype}: {HALVES[output.dtype]}. The loss itself is computed in float32."
        )
    yield from _on_probabilities(judged, lane)


def _first_wild(output: LossOutput) -> str:
    """Return where the first loss is not finite among those that count."""
    assert output.per_timestep is not None and output.counted is not None  # noqa: S101 - asked before
    places = np.argwhere(~np.isfinite(output.per_timestep) & output.counted)
    if not len(places):
        return ""
    sample, *timestep = places[0].tolist()
    return f", first at sample {sample}" + (f", timestep {timestep[0]}" if timestep else "")


def _on_probabilities(judged: OutputLoss, lane: ModelOutput) -> Iterator[Remark]:
    """Yield that a cross-entropy takes for probabilities what are none."""
    options = getattr(judged.loss, "_fn_kwargs", {})
    if options.get("from_logits") is not False or lane.sample.dtype.kind != "f":
        return
    values = lane.sample.astype(np.float64)
    classes = getattr(getattr(judged.loss, "fn", None), "__name__", "").removeprefix("sparse_")
    sums = values.sum(axis=-1) if classes.startswith("categorical") else np.ones(1)
    if not np.isfinite(values).all() or (values.min() >= 0 and values.max() <= 1 and np.allclose(sums, 1, atol=1e-2)):
        return
    yield make_warning(
        f"Predictions from {values.min():.3g} to {values.max():.3g} are no probabilities, which the loss takes them "
        "for: give it from_logits=True, or the model a softmax or sigmoid."
    )


def _on_sum(output: LossOutput, judged: OutputLoss, seen: RecordedLoss, batch_size: int) -> Iterator[Remark]:
    """Yield how the loss by hand stands to what Keras reported."""
    masked, keras = output.masked, output.reported
    if masked is None:
        yield make_warning(f"No timestep is left to count: there is nothing to average, and Keras reports {keras:g}.")
        return
    if not (math.isfinite(masked) and math.isfinite(keras)):
        yield make_warning(f"The loss is not finite: {masked:.6g} by hand, {keras:.6g} by Keras.")
        return
    reduction = read_reduction(judged.loss)
    if reduction not in ("sum_over_batch_size", "mean"):
        yield make_fact(f"The loss reduces by {reduction!r}: what Keras reports is no mean over what counts.")
        return
    if output.mask is None and output.timed and output.valid is not None and not output.valid.all():
        return
    sums = sum_losses(judged, seen)
    assert sums is not None  # noqa: S101 - it has losses and a reduction that is known
    yield _apart(output, masked, keras, simulate_evaluate(sums, batch_size), batch_size)


def _apart(output: LossOutput, masked: float, keras: float, batches: float, batch_size: int) -> Remark:
    """Return what is between the mean by hand and what Keras reports: ``batches`` is the mean of their means."""
    apart = measure_relative_difference(masked, keras)
    if apart <= 1e-6:
        what = "valid timesteps" if output.timed else "samples"
        return make_fact(f"The mean by hand over the {what} is what Keras reports.")
    said = f"Keras reports {keras:.6g}, the mean by hand is {masked:.6g} ({apart:.1e} apart)"
    if output.counted is None or not are_equal_sums(batches, keras, output.counted.size):
        return make_warning(f"{said}, more than rounding explains.")
    if measure_relative_difference(batches, masked) <= measure_relative_difference(batches, keras):
        return make_fact(f"{said}, which is within the rounding of float32.")
    return make_warning(
        f"{said}: evaluate ran in batches of {batch_size} and averaged their means by sample, not by valid timestep."
    )


def _on_batch_sizes(report: LossReport) -> Iterator[Remark]:
    """Yield that the reported loss depends on how the data is cut into batches."""
    finite = [one for one in report.batch_sizes if math.isfinite(one.keras_evaluate)]
    if len(finite) < 2:
        return
    low = min(finite, key=lambda one: one.keras_evaluate)
    high = max(finite, key=lambda one: one.keras_evaluate)
    if measure_relative_difference(low.keras_evaluate, high.keras_evaluate) <= SPREAD:
        return
    yield make_warning(
        f"What evaluate reports depends on the batch size: {_at(high)} and {_at(low)}. A timestep weighs the less, the "
        "more its batch has of them; so it is with the gradients that training takes."
    )


def _at(one: BatchSizeLoss) -> str:
    return f"{one.keras_evaluate:.6g} in batches of {one.batch_size}"


def _on_metrics(metrics: Sequence[MetricReport]) -> Iterator[Remark]:
    names = [metric.name for metric in metrics if metric.differs]
    if names:
        yield make_warning(
            f"{', '.join(dict.fromkeys(names))}: reported otherwise than over valid timesteps alone; some metrics of "
            "Keras do not look at the mask, and means of batches weigh timesteps unequally."
        )
