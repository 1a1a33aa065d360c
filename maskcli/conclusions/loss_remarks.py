"""Remarks on a loss report: measurements turned into sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence, Set

import numpy as np

from maskcli.conclusions.remarks import (
    make_fact,
    make_warning,
    measure_relative_difference,
    remark_on_mask,
)
from maskcli.losses.accounting import simulate_evaluate
from maskcli.losses.batch_sizes import are_equal_sums
from maskcli.losses.binding import OutputLoss
from maskcli.losses.evaluate import LossRun, RecordedLoss
from maskcli.losses.loss_output import read_reduction, sum_losses
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.loss import BatchSizeLoss, LossOutput, LossReport, MetricReport
from maskcli.records.remark import Remark
from maskcli.records.wording import choose_form, format_count
from maskcli.tolerance import BATCH_SIZE_SPREAD, PROBABILITY_SUM, SAME_MEAN

HALVES = {"float16": "3 decimal digits, and nothing above 65504", "bfloat16": "2 to 3 decimal digits"}


def remark_on_loss_report(report: LossReport, run: LossRun) -> Iterator[Remark]:
    """Yield the remarks on a report, those on masks first.

    Args:
        report: the report, without remarks.
        run: the run that it is about.
    """
    for output, output_loss, recorded in zip(report.outputs, run.losses, run.recorded, strict=True):
        prefix = ""
        if len(report.outputs) > 1:
            prefix = f"{output.name}: "
        for remark in _remark_on_output(report, output, output_loss, recorded):
            yield dataclasses.replace(remark, text=f"{prefix}{remark.text}")
    if run.custom_steps and not are_equal_sums(run.reported, run.total, run.rows * run.timesteps):
        yield make_warning(
            f"The model has custom steps: its evaluate reports {run.reported:.6g}, but the loss that it is compiled "
            f"with is {run.total:.6g}."
        )
    if any(output.unmasked is not None and output.unmasked_model is None for output in report.outputs):
        yield make_fact("The model does not run without masks, so there is no loss of an unmasked model.")
    yield from _remark_on_batch_sizes(report.batch_sizes, {read_reduction(item.loss) for item in run.losses})
    yield from _remark_on_metrics(report.metrics)


def _remark_on_output(
    report: LossReport, output: LossOutput, output_loss: OutputLoss, recorded: RecordedLoss
) -> Iterator[Remark]:
    if output.per_timestep is None:
        yield _remark_on_batch_loss(output)
        return
    yield from _remark_on_output_mask(output, report.inputs)
    if output.per_timestep.shape != output.shape[: output.per_timestep.ndim]:
        yield make_warning(
            f"The loss has shape {output.per_timestep.shape} for predictions {output.shape}: targets of another shape "
            "were broadcast."
        )
    yield from _remark_on_ignored(output)
    if report.batch is not None:
        yield from _remark_on_next_tokens(output_loss, output, report.batch.layout.padding_id)
    yield from _remark_on_weights(output, output_loss)
    yield from _remark_on_predictions(output)
    yield from _remark_on_probabilities(output_loss)
    yield from _remark_on_total(output, output_loss, recorded, report.batch_size)


def _remark_on_batch_loss(output: LossOutput) -> Remark:
    """Return the remark on a loss that makes one number of a batch."""
    text = f"The loss {output.loss} makes one number of a whole batch"
    if output.mask is None or output.mask.all():
        return make_fact(f"{text}: there are no losses of timesteps to show.")
    masked = format_count(int((~output.mask).sum()), "masked timestep")
    return make_warning(
        f"{text}, so Keras cannot leave {masked} out. Return a loss for each timestep, (batch, timesteps)."
    )


def _remark_on_output_mask(output: LossOutput, inputs: Sequence[ModelInput]) -> Iterator[Remark]:
    """Yield the valid timesteps that the mask leaves out, and the padding that counts."""
    valid, mask = output.valid, output.mask
    if mask is None:
        if valid is not None:
            yield _remark_on_missing_mask(output, valid)
        elif output.timed:
            yield make_fact("The padding of this output is unknown: all timesteps count.")
        return
    model_input = _find_input(output, inputs)
    if valid is not None and model_input is not None:
        yield from remark_on_mask(model_input, mask)
    elif not mask.any():
        yield make_warning("Every timestep is masked: nothing is left to count.")


def _find_input(output: LossOutput, inputs: Sequence[ModelInput]) -> ModelInput | None:
    """Return the input whose timesteps an output has."""
    same = (item for item in inputs if item.valid is output.valid and item.kind != "mask")
    return next(same, None)


def _remark_on_missing_mask(output: LossOutput, valid: Bools) -> Remark:
    """Return the treatment of padding by a loss of outputs without a mask."""
    text = "The outputs carry no mask"
    if output.lost_at is not None:
        text += f": it was lost at {output.lost_at}"
    padding = ~valid
    included = padding
    if output.ignored is not None and output.ignored.shape == valid.shape:
        included = padding & ~output.ignored
    if included.any():
        count = format_count(int(included.sum()), "padded timestep")
        share = ""
        if output.padding_share is not None:
            share = f" ({100 * output.padding_share:.3g} % of the loss)"
        if output.padding_share == 0:  # Their weights are 0, or their targets are met.
            share = ": their losses are 0, but a mean divides by their number"
        return make_warning(f"{text}. Keras counts {count} as data{share}.", "training")
    if padding.any():
        return make_fact(f"{text}. The loss itself leaves padding out.", "training")
    if output.lost_at is not None:
        return make_warning(f"{text}. The timesteps that it masked count.", "training")
    return make_fact(f"{text}, and there is no padding.", "training")


def _remark_on_ignored(output: LossOutput) -> Iterator[Remark]:
    if output.ignored is None or not output.ignored.any():
        return
    count = int(output.ignored.sum())
    text = f"The loss itself leaves {format_count(count, 'timestep')} out, regardless of the mask"
    if output.mask is not None:
        text += f"; the mask does not hide {int((output.ignored & output.mask).sum())} of them"
    yield make_fact(f"{text}.")


def _remark_on_next_tokens(output_loss: OutputLoss, output: LossOutput, padding_id: int) -> Iterator[Remark]:
    """Yield the number of timesteps that count without a next token: the mask is that of the inputs."""
    following = output_loss.targets.following
    if following is None or output.counted is None:
        return
    count = int((output.counted & (following == padding_id)).sum())
    if count:
        verbs = choose_form(count, "has no next token but still counts", "have no next token but still count")
        yield make_fact(f"{format_count(count, 'timestep')} {verbs}, with padding id {padding_id} as target.")


def _remark_on_weights(output: LossOutput, output_loss: OutputLoss) -> Iterator[Remark]:
    if output_loss.repeated_weights:
        yield make_fact(
            "Here the weight of a sample applies to all its timesteps. Keras has no weights (batch,) for losses "
            "(batch, timesteps): pass it np.repeat(weights[:, None], timesteps, axis=1)."
        )
    if output.weights is None or output.counted is None or output.masked is None or output.weighted_mean is None:
        return
    if read_reduction(output_loss.loss) == "mean_with_sample_weight":
        return  # Keras divides by the weights.
    total = float(output.weights[output.counted].sum(dtype=np.float64))
    count = int(output.counted.sum())
    if measure_relative_difference(total, count) > SAME_MEAN.value:
        yield make_fact(
            f"Keras divides the weighted losses by {count:,}, the number of timesteps that count, not by {total:.6g}, "
            f"the sum of their weights: {output.masked:.6g} instead of {output.weighted_mean:.6g}. "
            'reduction="mean_with_sample_weight" divides by the weights.'
        )


def _remark_on_predictions(output: LossOutput) -> Iterator[Remark]:
    """Yield predictions that are not finite, or have few digits."""
    included, excluded = output.not_finite
    if included:
        noun = "timestep" if output.timed else "sample"
        verb, place = choose_form(included, "has", "have"), _find_first_not_finite(output)
        yield make_warning(
            f"{format_count(included, noun)} {verb} predictions that are not finite{place}. The loss is therefore "
            "not finite either."
        )
    elif excluded:
        verb = choose_form(excluded, "has", "have")
        yield make_warning(
            f"{format_count(excluded, 'masked timestep')} {verb} predictions that are not finite. Keras multiplies "
            "losses by the mask, and NaN times zero is NaN: the loss that it reports is not finite, although all "
            "timesteps that count are."
        )
    if output.dtype in HALVES:
        yield make_fact(
            f"Predictions are {output.dtype}: {HALVES[output.dtype]}. The loss itself is computed in float32."
        )


def _find_first_not_finite(output: LossOutput) -> str:
    """Describe the place of the first loss that counts and is not finite."""
    assert output.per_timestep is not None and output.counted is not None  # noqa: S101 - _remark_on_output checked it
    places = np.argwhere(~np.isfinite(output.per_timestep) & output.counted)
    if not len(places):
        return ""
    sample, *timestep = places[0].tolist()
    place = f", first at sample {sample}"
    return f"{place}, timestep {timestep[0]}" if timestep else place


def _remark_on_probabilities(output_loss: OutputLoss) -> Iterator[Remark]:
    """Yield predictions that a cross-entropy takes for probabilities although they are not."""
    loss, sample = output_loss.loss, output_loss.output.sample
    if getattr(loss, "_fn_kwargs", {}).get("from_logits") is not False or sample.dtype.kind != "f":
        return
    values = sample.astype(np.float64)
    function = getattr(getattr(loss, "fn", None), "__name__", "").removeprefix("sparse_")
    sums = values.sum(axis=-1) if function.startswith("categorical") else np.ones(1)
    in_range = values.min() >= 0 and values.max() <= 1
    if not np.isfinite(values).all() or (in_range and np.allclose(sums, 1, atol=PROBABILITY_SUM.value)):
        return
    yield make_warning(
        f"Predictions from {values.min():.3g} to {values.max():.3g} are not probabilities, but the loss treats them as "
        "such: pass from_logits=True to the loss, or end the model with a softmax or sigmoid."
    )


def _remark_on_total(
    output: LossOutput, output_loss: OutputLoss, recorded: RecordedLoss, batch_size: int
) -> Iterator[Remark]:
    """Yield the difference between the mean loss and the one that Keras reports."""
    masked, keras = output.masked, output.reported
    if masked is None:
        yield make_warning(f"No timestep is left to count, so there is no mean. Keras reports {keras:g}.")
        return
    if not (math.isfinite(masked) and math.isfinite(keras)):
        yield make_warning(f"The loss is not finite: the mean is {masked:.6g}, and Keras reports {keras:.6g}.")
        return
    reduction = read_reduction(output_loss.loss)
    if reduction not in ("sum_over_batch_size", "mean"):
        yield make_fact(f"The loss has reduction={reduction!r}: Keras does not report the mean over timesteps.")
        return
    if output.mask is None and output.timed and output.valid is not None and not output.valid.all():
        return  # The remark on the missing mask explains the difference.
    sums = sum_losses(output_loss, recorded)
    assert sums is not None  # noqa: S101 - there are losses, and the reduction is known
    yield _explain_difference(output, masked, keras, simulate_evaluate(sums, batch_size), batch_size)


def _explain_difference(output: LossOutput, mean: float, keras: float, simulated: float, batch_size: int) -> Remark:
    """Explain the difference between the mean and Keras's loss.

    ``simulated`` is the loss that ``evaluate`` should report for these batches.
    """
    difference = measure_relative_difference(mean, keras)
    if difference <= SAME_MEAN.value:
        noun = "valid timesteps" if output.timed else "samples"
        return make_fact(f"Keras's reported loss equals the mean over {noun}.", "evaluate")
    text = f"Keras reports {keras:.6g}, but the mean is {mean:.6g} (relative difference {difference:.1e})"
    if output.counted is None or not are_equal_sums(simulated, keras, output.counted.size):
        return make_warning(f"{text}, which rounding does not explain.")
    if measure_relative_difference(simulated, mean) <= measure_relative_difference(simulated, keras):
        return make_fact(f"{text}, which is within the rounding of float32.", "evaluate")
    return make_warning(
        f"{text}: evaluate ran in batches of {batch_size} and averaged their means by sample, not by valid timestep."
    )


def _remark_on_batch_sizes(batch_sizes: Sequence[BatchSizeLoss], reductions: Set[str | None]) -> Iterator[Remark]:
    """Yield that the reported loss depends on the batch size; a sum over a batch grows with it."""
    finite = [size for size in batch_sizes if math.isfinite(size.keras_evaluate)]
    if len(finite) < 2:
        return
    low = min(finite, key=lambda size: size.keras_evaluate)
    high = max(finite, key=lambda size: size.keras_evaluate)
    if measure_relative_difference(low.keras_evaluate, high.keras_evaluate) <= BATCH_SIZE_SPREAD.value:
        return
    sizes = f"{_describe_size(high)} and {_describe_size(low)}"
    if reductions == {"sum"}:
        yield make_fact(
            f"The loss is a sum over each batch, so that it grows with its size: {sizes}. All timesteps count the same."
        )
        return
    yield make_warning(
        f"The loss that evaluate reports depends on the batch size: {sizes}. "
        "The more valid timesteps a batch has, the less each one counts. The same applies to training gradients."
    )


def _describe_size(size: BatchSizeLoss) -> str:
    return f"{size.keras_evaluate:.6g} in batches of {size.batch_size}"


def _remark_on_metrics(metrics: Sequence[MetricReport]) -> Iterator[Remark]:
    names = dict.fromkeys(metric.name for metric in metrics if metric.differs)
    if names:
        yield make_warning(
            f"{', '.join(names)}: the reported value differs from that on valid timesteps. Some metrics of Keras "
            "ignore the mask, and means of batches weigh timesteps unequally."
        )
