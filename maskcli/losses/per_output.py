"""Evidence on whether losses and metrics use the masks on outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.masks import set_keras_mask
from maskcli.errors import summarize_error
from maskcli.losses.accounting import choose_batch_sizes, fill_mask, fill_weights, simulate_evaluate
from maskcli.losses.batch_sizes import are_equal_sums
from maskcli.losses.binding import MEANS, OutputLoss
from maskcli.losses.compile_settings import read_output_names, read_weighted_metrics
from maskcli.losses.evaluate import LossRun, RecordedLoss
from maskcli.losses.loss_output import intersect_masks, make_loss_output, read_reduction, sum_losses
from maskcli.losses.metrics import make_metric, read_metrics, read_result
from maskcli.losses.registry import cast_targets, compares_classes, get_loss_name, match_outputs
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.records.evidence import LossEvidence, MetricEvidence, OutputEvidence
from maskcli.records.loss import LossOutput
from maskcli.tolerance import BATCH_SIZE_HARM, bound_sum_error, one_ulp
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import get_mask
from maskcli.trace.rerun import make_noise
from maskcli.trace.run import list_output_tensors
from maskcli.trace.state import preserve_state

TRIES = 3
"""Attempts, with random targets, to find a difference before a metric counts as one that ignores the mask."""
FROM_DATA = "given"
"""Marks evidence from targets of the data."""
RANDOM = "made up"
"""Marks evidence from random targets."""


def examine_losses(context: ProbeContext, loss: Any) -> Iterator[LossEvidence]:
    """Yield for each output with timesteps the padding that its loss counts, as far as the mask decides.

    ``loss`` is the argument of ``compile``: a name, a function, a ``keras.losses.Loss``, or a list or dict of these by
    output.
    """
    outputs = list_output_tensors(context.base.output)
    losses = match_outputs(loss, [name for name, _ in outputs], read_output_names(context.model), "--loss")
    for (name, tensor), output_loss in zip(outputs, losses, strict=True):
        valid = context.flow.valid.get(id(tensor))
        if valid is None or output_loss is None:
            continue
        # Probabilities of timesteps, such as those of the start of an answer, have one loss for each row.
        if len(tensor.shape) == valid.ndim and compares_classes(output_loss):
            yield LossEvidence(get_loss_name(output_loss), name, 0, valid.size, leaves_out=True)
            continue
        mask = get_mask(tensor)
        included = np.ones_like(valid) if mask is None or mask.shape != valid.shape else mask
        evidence = LossEvidence(get_loss_name(output_loss), name, int((included & ~valid).sum()), valid.size)
        # Who compiles weighted metrics passes weights to ``fit``, which may leave padding out.
        is_unproven = _may_ignore_padding(output_loss) or bool(read_weighted_metrics(context.model))
        yield _mark_unproven(evidence) if is_unproven else evidence


def _may_ignore_padding(loss: Any) -> bool:
    """Return whether a loss may leave padding out without a mask: one with ``ignore_class``, or not from Keras."""
    if getattr(loss, "ignore_class", None) is not None:
        return True
    kind = loss if callable(loss) and hasattr(loss, "__module__") else type(loss)
    return not isinstance(loss, str) and str(kind.__module__).split(".")[0] != "keras"


def _mark_unproven(evidence: LossEvidence) -> LossEvidence:
    why = None
    if evidence.counted_padding:
        why = f"Targets, with their weights, would show whether the loss {evidence.name} counts padding."
    return dataclasses.replace(evidence, counted_padding=0, leaves_out=True, why=why)


def measure_losses(run: LossRun, rows: int, has_valid: Bools) -> Iterator[LossEvidence]:
    """Yield the losses that Keras's own ``evaluate`` computed, next to the exact ones.

    Args:
        run: one ``evaluate``, with the losses that it recorded.
        rows: the number of all rows of the data; the run may have fewer.
        has_valid: ``(batch,)``, whether a row has a valid timestep.
    """
    for output_loss, recorded in zip(run.losses, run.recorded, strict=True):
        yield _describe_loss(run, output_loss, recorded, rows, has_valid)


def _describe_loss(
    run: LossRun, output_loss: OutputLoss, recorded: RecordedLoss, rows: int, has_valid: Bools
) -> LossEvidence:
    record = make_loss_output(output_loss, recorded, None)
    included, valid = _find_included(output_loss, recorded)
    counted, timesteps = 0, included.size
    if valid is not None:
        counted = int((included & ~valid).sum())
    leaves_out = bool(counted) and not _depends_on_padding(output_loss)
    is_divided = leaves_out and _divides_by_all(record, counted, int(included.sum()))
    is_divided = is_divided or (leaves_out and recorded.losses is None and _shrinks_with_padding(output_loss))
    evidence = LossEvidence(
        name=output_loss.name,
        output=output_loss.output.name,
        counted_padding=0 if leaves_out else counted,
        timesteps=timesteps,
        leaves_out=leaves_out or _hides_padding(recorded, valid),
        masked=record.exact,
        reported=recorded.reported,
        by_batch_size=_list_by_batch_size(run, output_loss, recorded),
        tolerance=bound_sum_error(one_ulp("float32"), timesteps),
        batch_size=min(run.batch_size, run.rows),
        rows=(run.rows, rows),
        averages=read_reduction(output_loss.loss) in MEANS,
        loss_type=_name_class(output_loss.loss),
        weighted_error=_try_weights(output_loss, recorded) if counted and not leaves_out else None,
        divided_padding=counted if leaves_out and is_divided else 0,
    )
    return evidence if recorded.losses is None else _add_not_finite(evidence, recorded, included, has_valid)


def _divides_by_all(record: LossOutput, padded: int, included: int) -> bool:
    """Return whether a loss is the sum over valid timesteps divided by the number of all that it includes."""
    exact, reported = record.exact, record.reported
    if exact is None or reported is None or not exact or abs(reported / exact - 1) <= BATCH_SIZE_HARM.value:
        return False
    return abs(reported / exact - (included - padded) / included) <= BATCH_SIZE_HARM.value


def _find_included(output_loss: OutputLoss, recorded: RecordedLoss) -> tuple[Bools, Bools | None]:
    """Return the timesteps or samples that count by mask, loss and weights, and which of them are valid."""
    valid, losses = output_loss.valid, recorded.losses
    if losses is None:  # One number of a batch: the predictions of all timesteps go into it.
        shape = (len(output_loss.targets.values),) if valid is None else valid.shape
        included = np.ones(shape, bool)
        if recorded.mask is not None and recorded.mask.shape == shape:
            included = recorded.mask
        return included, valid
    masks = [mask for mask in (recorded.mask, recorded.own_mask) if mask is not None and mask.shape == losses.shape]
    included = np.ones(losses.shape, bool)
    for mask in masks:
        included = included & mask
    if output_loss.weights is not None:
        included = included & (fill_weights(output_loss.weights, losses) != 0)
    return included, valid if valid is not None and valid.shape == losses.shape else None


def _hides_padding(recorded: RecordedLoss, valid: Bools | None) -> bool:
    """Return whether the loss itself leaves out padding, as with ``ignore_class``."""
    own = recorded.own_mask
    return own is not None and valid is not None and not valid.all() and not (own & ~valid).any()


def _depends_on_padding(output_loss: OutputLoss) -> bool:
    """Return whether other predictions at padding change the loss of some rows, without any mask."""
    output, valid = output_loss.output, output_loss.valid
    assert valid is not None  # noqa: S101 - only a loss that counts padding is tried
    targets, some_valid = output_loss.targets.values[output.rows], valid[output.rows]
    if some_valid.all() or output.sample.shape[:2] != some_valid.shape:
        return True
    other = make_noise(output.sample, ~some_valid, np.random.default_rng(6))
    before, after = (
        float(np.mean(as_array(output_loss.loss(cast_targets(targets), make_masked_tensor(values, None)))))
        for values in (output.sample, other)
    )
    return before != after or not np.isfinite(before)


def _shrinks_with_padding(output_loss: OutputLoss) -> bool:
    """Return whether twice as many timesteps, all new ones padding, change a loss that makes one number of a batch."""
    output, valid = output_loss.output, output_loss.valid
    assert valid is not None  # noqa: S101 - only a loss that counts padding is tried
    targets, some_valid = output_loss.targets.values[output.rows], valid[output.rows]
    padding = targets[~some_valid] if targets.shape[:2] == some_valid.shape else targets[:0]
    if not len(padding) or (padding != padding[:1]).any() or output.sample.shape[:2] != some_valid.shape:
        return False
    more_targets = np.concatenate([targets, np.broadcast_to(padding[0], targets.shape)], axis=1)
    more_values = np.concatenate([output.sample, output.sample[::-1]], axis=1)
    before, after = (
        float(np.mean(as_array(output_loss.loss(cast_targets(labels), make_masked_tensor(values, None)))))
        for labels, values in ((targets, output.sample), (more_targets, more_values))
    )
    return bool(np.isfinite([before, after]).all()) and abs(after - before) > BATCH_SIZE_HARM.value * abs(before)


def _name_class(loss: Any) -> str | None:
    """Return the name of a class of ``keras.losses``, also of its function, as of ``mse``; None for other losses."""
    import keras

    function = getattr(getattr(loss, "fn", None), "__name__", "")
    names = (type(loss).__name__, "".join(part.capitalize() for part in function.split("_")))
    return next((name for name in names if name and hasattr(keras.losses, name)), None)


def _try_weights(output_loss: OutputLoss, recorded: RecordedLoss) -> float | None:
    """Return how far Keras's loss with weights of 0 at padding is from the mean over valid timesteps.

    The weighted mean is the reduction ``mean_with_sample_weight``; the default one divides by all timesteps. Returns
    None for losses that have weights already, or that are not means of losses of timesteps.
    """
    output, rows, losses = output_loss.output, output_loss.output.rows, recorded.losses
    is_mean = read_reduction(output_loss.loss) in MEANS and output_loss.weights is None and not output_loss.by_timestep
    if losses is None or output_loss.valid is None or not is_mean or losses.shape != output_loss.valid.shape:
        return None
    valid, weighting = output_loss.valid[rows], _copy_loss(output_loss.loss)
    if not valid.any() or recorded.own_mask is not None:
        return None
    weighting.reduction = "mean_with_sample_weight"
    targets = cast_targets(output_loss.targets.values[rows])
    tensor = make_masked_tensor(output.sample, None)
    weighted = float(as_array(weighting(targets, tensor, sample_weight=valid.astype("float32"))))
    return abs(weighted - float(losses[rows][valid].mean()))


def _copy_loss(loss: Any) -> Any:
    """Return a shallow copy of a ``keras.losses.Loss``."""
    # The copy module would save and load it, which fails for a function that is not registered with Keras.
    copied = object.__new__(type(loss))
    vars(copied).update(vars(loss))
    return copied


def _list_by_batch_size(run: LossRun, output_loss: OutputLoss, recorded: RecordedLoss) -> dict[int, float]:
    """Return the loss that ``evaluate`` reports by batch size; only that of the run where others do not follow."""
    batch_size = min(run.batch_size, run.rows)
    by_size = {batch_size: recorded.reported}
    sums = sum_losses(output_loss, recorded)
    if sums is None or find_fixed_batch(run.model) is not None:
        return by_size
    if not are_equal_sums(simulate_evaluate(sums, batch_size), recorded.reported, run.rows * run.timesteps):
        return by_size
    sizes = choose_batch_sizes((), batch_size, run.rows)
    return {size: by_size.get(size, simulate_evaluate(sums, size)) for size in sizes}


def _add_not_finite(evidence: LossEvidence, recorded: RecordedLoss, included: Bools, has_valid: Bools) -> LossEvidence:
    assert recorded.losses is not None  # noqa: S101 - the caller checked it
    not_finite = ~np.isfinite(recorded.losses)
    kept = fill_mask(recorded.own_mask, recorded.losses)
    at_rows = not_finite.reshape(len(not_finite), -1).any(axis=1)
    counts = (int((not_finite & included).sum()), int((not_finite & ~included & kept).sum()))
    return dataclasses.replace(
        evidence, not_finite=counts, finite_elsewhere=bool(at_rows.any() and not (at_rows & has_valid).any())
    )


def mark_failed_loss(name: str, output: OutputEvidence, error: str, remedy: str) -> LossEvidence:
    """Return the evidence of a loss that cannot be computed with its targets."""
    counted, timesteps = 0, 0
    if output.valid is not None:
        mask = output.mask
        included = np.ones_like(output.valid) if mask is None or mask.shape != output.valid.shape else mask
        counted, timesteps = int((included & ~output.valid).sum()), output.valid.size
    return LossEvidence(name, output.name, counted, timesteps, error=error, remedy=remedy)


def make_masked_tensor(values: NDArray[Any], mask: Bools | None) -> Any:
    """Return a tensor that carries a mask."""
    import keras

    tensor = keras.ops.convert_to_tensor(values)
    if mask is not None:
        set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    return tensor


# Metrics.


@dataclasses.dataclass(frozen=True, eq=False)
class MetricTargets:
    """The targets of an output for its metrics.

    Attributes:
        values: ``(batch, ...)``, with the rows of the predictions.
        kept: False where the loss ignores the target, in the shape of the losses; None if it ignores none.
    """

    values: NDArray[Any]
    kept: Bools | None


def examine_metrics(
    model: Any,
    metrics: Any,
    outputs: Sequence[tuple[OutputEvidence, NDArray[Any]]],
    targets: Mapping[str, MetricTargets],
) -> Iterator[MetricEvidence]:
    """Yield each metric's value with the mask, on only the timesteps that count, and on all timesteps.

    Outputs without ``targets`` get random ones: the question is whether the metric uses the mask, not how good the
    model is. Only copies of the metrics are updated.

    Args:
        model: a Keras model.
        metrics: the argument of ``compile``.
        outputs: all outputs, each with its predictions.
        targets: by the name of the output.
    """
    by_output = read_metrics(metrics, None, [output.name for output, _ in outputs], read_output_names(model))
    for (output, values), metrics_of_output in zip(outputs, by_output, strict=True):
        if values.dtype.kind not in "fV":  # The kind of bfloat16 is V.
            continue
        counted = _find_counted(output, targets.get(output.name))
        if counted is None or counted.all():
            continue
        for metric, _ in metrics_of_output:
            yield from _examine_metric(metric, output, values, counted, targets.get(output.name))


def _find_counted(output: OutputEvidence, targets: MetricTargets | None) -> Bools | None:
    """Return the timesteps that the loss counts, by mask or by its targets; None if it counts all."""
    valid, mask = output.valid, output.mask
    kept = None if targets is None else targets.kept
    if valid is None:
        return None
    if kept is not None and kept.shape != valid.shape:
        kept = None
    if mask is None or mask.shape != valid.shape:
        # Without a mask padding counts, which the rules on losses report.
        return None if kept is None or kept.all() else kept & valid
    return intersect_masks(mask, kept)


def _examine_metric(
    metric: Any, output: OutputEvidence, values: NDArray[Any], counted: Bools, targets: MetricTargets | None
) -> Iterator[MetricEvidence]:
    for some_targets, source in _choose_targets(targets, values):
        evidence = _compare_metric(metric, output, some_targets, values, counted, source)
        # A metric that uses the mask may show the same value by chance, so random targets are tried several times.
        if evidence is not None and (evidence.ignores_mask or evidence.error is not None or source == FROM_DATA):
            if targets is not None and targets.kept is not None:
                evidence = dataclasses.replace(evidence, ignored=int((~targets.kept).sum()))
            yield evidence
            return


def _choose_targets(targets: MetricTargets | None, values: NDArray[Any]) -> Iterator[tuple[NDArray[Any], str]]:
    if targets is not None:
        if np.shape(targets.values)[:2] == values.shape[:2]:
            yield targets.values, FROM_DATA
        return
    for seed in range(TRIES):
        rng = np.random.default_rng(seed)
        yield rng.integers(0, 2, values.shape).astype(values.dtype), RANDOM
        yield rng.integers(0, max(2, values.shape[-1]), values.shape[:2]).astype("int32"), RANDOM


def _compare_metric(
    metric: Any, output: OutputEvidence, targets: NDArray[Any], values: NDArray[Any], counted: Bools, source: str
) -> MetricEvidence | None:
    """Return the values of a metric, or the error that the mask causes; None if it cannot take these targets."""
    mask = output.mask if output.mask is not None and output.mask.shape == counted.shape else None
    try:
        copy = make_metric(metric, targets, values)
        on_all = _compute_metric(metric, targets, make_masked_tensor(values, None))
    except Exception:  # The metric may need targets of another form.
        return None
    evidence = MetricEvidence(str(copy.name), type(copy).__name__, output.name, on_all, on_all, on_all, source)
    try:
        with_mask = _compute_metric(metric, targets, make_masked_tensor(values, mask))
    except Exception as error:
        text = f"{type(error).__name__}: {summarize_error(error).rstrip('.')}"
        # Random targets may have another form than those that the metric is for.
        return dataclasses.replace(evidence, error=text) if source == FROM_DATA else None
    try:
        on_counted = _compute_metric(metric, targets[counted], make_masked_tensor(values[counted], None))
    except Exception:  # It may need the axis of timesteps.
        return None
    return dataclasses.replace(evidence, with_mask=with_mask, valid=on_counted)


def _compute_metric(metric: Any, targets: NDArray[Any], predictions: Any) -> float:
    copy = make_metric(metric, targets, predictions)
    with preserve_state(copy):
        copy.reset_state()
        copy.update_state(targets, predictions)
        return read_result(copy)
