"""Evidence on whether losses and metrics use the masks on outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.losses.accounting import compute_mean
from maskcli.losses.compile_settings import read_output_names
from maskcli.losses.metrics import make_metric, read_metrics, read_result
from maskcli.losses.recording import get_recorded_losses, record_losses
from maskcli.losses.registry import cast_targets, get_loss_name, match_outputs, resolve_loss
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.records.evidence import LossEvidence, MetricEvidence
from maskcli.tolerance import bound_sum_error, one_ulp
from maskcli.trace.recorder import get_mask
from maskcli.trace.rerun import make_noise
from maskcli.trace.run import list_output_tensors
from maskcli.trace.state import preserve_state
from maskcli.trace.values import as_float64, is_float

TRIES = 3
"""Attempts, with random targets, to find a difference before a metric counts as one that ignores the mask."""
FROM_DATA = "given"
"""Marks evidence from targets of the data."""
RANDOM = "made up"
"""Marks evidence from random targets."""


def examine_losses(context: ProbeContext, loss: Any, targets: NDArray[Any] | None) -> Iterator[LossEvidence]:
    """Yield for each output with timesteps the padding that its loss counts; with ``targets`` also its values.

    ``loss`` is the argument of ``compile``: a name, a function, a ``keras.losses.Loss``, or a list or dict of these by
    output. ``targets`` are those of the first output.
    """
    outputs = list_output_tensors(context.base.output)
    losses = match_outputs(loss, [name for name, _ in outputs], read_output_names(context.model), "--loss")
    for index, ((name, tensor), output_loss) in enumerate(zip(outputs, losses, strict=True)):
        valid = context.flow.valid.get(id(tensor))
        if valid is None or output_loss is None:
            continue
        mask = get_mask(tensor)
        included = np.ones_like(valid) if mask is None or mask.shape != valid.shape else mask
        evidence = LossEvidence(get_loss_name(output_loss), name, int((included & ~valid).sum()), valid.size)
        if targets is None or index:
            yield _mark_unproven(evidence) if _may_ignore_padding(output_loss) else evidence
        elif np.shape(targets)[:2] != valid.shape:
            yield _mark_unmeasured(evidence, f"have shape {np.shape(targets)}, and {name} has timesteps {valid.shape}")
        else:
            yield _measure(evidence, output_loss, np.asarray(targets), tensor, mask, valid)


def _may_ignore_padding(loss: Any) -> bool:
    """Return whether a loss may leave padding out without a mask: one with ``ignore_class``, or not from Keras."""
    if getattr(loss, "ignore_class", None) is not None:
        return True
    kind = loss if callable(loss) and hasattr(loss, "__module__") else type(loss)
    return not isinstance(loss, str) and str(kind.__module__).split(".")[0] != "keras"


def _mark_unproven(evidence: LossEvidence) -> LossEvidence:
    why = None
    if evidence.counted_padding:
        why = f"Pass --targets to check whether the loss {evidence.name} counts padding."
    return dataclasses.replace(evidence, counted_padding=0, leaves_out=True, why=why)


def _mark_unmeasured(evidence: LossEvidence, why: str) -> LossEvidence:
    return dataclasses.replace(evidence, why=f"No values of the loss {evidence.name}: the targets {why}.")


def _measure(
    evidence: LossEvidence, loss: Any, targets: NDArray[Any], tensor: Any, mask: Bools | None, valid: Bools
) -> LossEvidence:
    """Measure Keras's own loss of an output, in batches of several sizes.

    ``Model.evaluate`` weights the loss of a batch by its rows. The exact mean is over all valid timesteps, and does not
    depend on batches.
    """
    values, sizes = np.asarray(tensor), sorted({1, max(1, len(valid) // 2), len(valid)})
    other_values = make_noise(values, ~valid, np.random.default_rng(6))
    try:
        keras_loss = resolve_loss(loss, targets, tensor)
        losses = _compute_losses(keras_loss, targets, values)
        by_size = {size: _evaluate(keras_loss, targets, values, mask, size) for size in sizes}
        depends = _evaluate(keras_loss, targets, other_values, mask, len(valid)) != by_size[len(valid)]
    except Exception as error:  # The loss cannot take these targets, but its mask is known.
        return _mark_unmeasured(evidence, f"make it raise {summarize_error(error)}")
    if not depends and not valid.all():  # Other predictions at padding do not change the loss.
        evidence = dataclasses.replace(evidence, counted_padding=0, leaves_out=True)
    if losses.shape != valid.shape:
        shapes = f"have shape {targets.shape}, the predictions {tuple(tensor.shape)}, and the losses {losses.shape}"
        return _mark_unmeasured(evidence, f"{shapes} instead of one per timestep")
    return dataclasses.replace(
        evidence,
        masked=compute_mean(losses[valid]),
        reported=by_size[len(valid)],
        by_batch_size=by_size,
        tolerance=bound_sum_error(one_ulp("float32"), valid.size),
    )


def _compute_losses(loss: Any, targets: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the losses of timesteps, before they are reduced."""
    with record_losses(loss):
        value = loss(cast_targets(targets), _make_masked_tensor(values, None))
        return as_float64(get_recorded_losses(loss, value))


def _evaluate(loss: Any, targets: NDArray[Any], values: NDArray[Any], mask: Bools | None, size: int) -> float:
    """Return the loss that ``evaluate`` reports for batches of a size: batch losses weighted by their rows."""
    total = 0.0
    for start in range(0, len(targets), size):
        rows = slice(start, start + size)
        part = targets[rows]
        total += float(loss(part, _make_masked_tensor(values[rows], mask, rows))) * len(part)
    return total / len(targets)


def _make_masked_tensor(values: NDArray[Any], mask: Bools | None, rows: slice = slice(None)) -> Any:
    import keras

    tensor = keras.ops.convert_to_tensor(values)
    if mask is not None:
        tensor._keras_mask = keras.ops.convert_to_tensor(mask[rows])
    return tensor


def examine_metrics(context: ProbeContext, metrics: Any, targets: NDArray[Any] | None) -> Iterator[MetricEvidence]:
    """Yield each metric's value with the mask, on only valid timesteps, and on all timesteps.

    Without ``targets`` random ones are used: the question is whether the metric uses the mask, not how good the model
    is. ``metrics`` is the argument of ``compile``; only copies of the metrics are updated.
    """
    outputs = list_output_tensors(context.base.output)
    by_output = read_metrics(metrics, None, [name for name, _ in outputs], read_output_names(context.model))
    for index, (name, tensor) in enumerate(outputs):
        mask, valid = get_mask(tensor), context.flow.valid.get(id(tensor))
        if valid is None or mask is None or mask.shape != valid.shape or mask.all() or not is_float(tensor):
            continue
        for metric, _ in by_output[index]:
            yield from _examine_metric(metric, name, np.asarray(tensor), mask, None if index else targets)


def _examine_metric(
    metric: Any, name: str, values: NDArray[Any], mask: Bools, targets: NDArray[Any] | None
) -> Iterator[MetricEvidence]:
    for some_targets, source in _choose_targets(targets, values):
        evidence = _compare_metric(metric, name, some_targets, values, mask, source)
        # A metric that uses the mask may show the same value by chance, so random targets are tried several times.
        if evidence is not None and (evidence.ignores_mask or source == FROM_DATA):
            yield evidence
            return


def _choose_targets(targets: NDArray[Any] | None, values: NDArray[Any]) -> Iterator[tuple[NDArray[Any], str]]:
    if targets is not None:
        if np.shape(targets)[:2] == values.shape[:2]:
            yield np.asarray(targets), FROM_DATA
        return
    for seed in range(TRIES):
        rng = np.random.default_rng(seed)
        yield rng.integers(0, 2, values.shape).astype(values.dtype), RANDOM
        yield rng.integers(0, max(2, values.shape[-1]), values.shape[:2]).astype("int32"), RANDOM


def _compare_metric(
    metric: Any, output: str, targets: NDArray[Any], values: NDArray[Any], mask: Bools, source: str
) -> MetricEvidence | None:
    """Return the values of a metric. Returns None if it cannot take these targets."""
    try:
        with_mask, on_all = (
            _compute_metric(metric, targets, _make_masked_tensor(values, value_mask)) for value_mask in (mask, None)
        )
        on_valid = _compute_metric(metric, targets[mask], _make_masked_tensor(values[mask], None))
        copy = make_metric(metric, targets, values)
    except Exception:  # The metric may need targets of another form.
        return None
    return MetricEvidence(str(copy.name), type(copy).__name__, output, with_mask, on_valid, on_all, source)


def _compute_metric(metric: Any, targets: NDArray[Any], predictions: Any) -> float:
    copy = make_metric(metric, targets, predictions)
    with preserve_state(copy):
        copy.reset_state()
        copy.update_state(targets, predictions)
        return read_result(copy)
