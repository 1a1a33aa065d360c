"""What the loss and the metrics of a model make of the masks on its outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.losses.compile_settings import read_output_names
from maskcli.losses.evaluate import get_recorded_losses, record_losses
from maskcli.losses.metrics import make_metric, read_metrics, read_result
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
"""Made-up targets with which a metric is tried before it is believed to be indifferent to the mask."""


def examine_losses(subject: ProbeContext, loss: Any, targets: NDArray[Any] | None) -> Iterator[LossEvidence]:
    """Yield for each output of timesteps what its loss counts; with ``targets``, what it comes to.

    ``loss`` is what a model is compiled with: a name, a function, a ``keras.losses.Loss``, or one of these for each
    output in a list or a dict. ``targets`` are those of the first output.
    """
    outputs = list_output_tensors(subject.base.output)
    given = match_outputs(loss, [name for name, _ in outputs], read_output_names(subject.model), "--loss")
    for index, ((name, tensor), chosen) in enumerate(zip(outputs, given, strict=True)):
        valid = subject.flow.valid.get(id(tensor))
        if valid is None or chosen is None:
            continue
        mask = get_mask(tensor)
        counted = np.ones_like(valid) if mask is None or mask.shape != valid.shape else mask
        seen = LossEvidence(get_loss_name(chosen), name, int((counted & ~valid).sum()), valid.size)
        if targets is None or index:
            yield _unproven(seen) if _may_leave_out(chosen) else seen
        elif np.shape(targets)[:2] != valid.shape:
            yield _unmeasured(seen, f"are {np.shape(targets)}, and {name} has timesteps {valid.shape}")
        else:
            yield _measured(seen, chosen, np.asarray(targets), tensor, mask, valid)


def _may_leave_out(loss: Any) -> bool:
    """Return whether a loss may leave padding out by itself: one that ignores a class, or is no loss of Keras's."""
    if getattr(loss, "ignore_class", None) is not None:
        return True
    kind = loss if callable(loss) and hasattr(loss, "__module__") else type(loss)
    return not isinstance(loss, str) and str(kind.__module__).split(".")[0] != "keras"


def _unproven(seen: LossEvidence) -> LossEvidence:
    why = f"Whether the loss {seen.name} counts padding depends on the targets; --targets tells."
    return dataclasses.replace(seen, counted_padding=0, leaves_out=True, why=why if seen.counted_padding else None)


def _measured(
    seen: LossEvidence, chosen: Any, targets: NDArray[Any], tensor: Any, mask: Bools | None, valid: Bools
) -> LossEvidence:
    """Return what Keras's own loss makes of the output in batches of several sizes.

    ``Model.evaluate`` averages the losses of batches by the samples they have; the exact mean is over all valid
    timesteps, however they are cut.
    """
    values, sizes = np.asarray(tensor), sorted({1, max(1, len(valid) // 2), len(valid)})
    other = make_noise(values, ~valid, np.random.default_rng(6))
    try:
        loss = resolve_loss(chosen, targets, tensor)
        each = _each(loss, targets, values)
        by_size = {size: _evaluated(loss, targets, values, mask, size) for size in sizes}
        moved = _evaluated(loss, targets, other, mask, len(valid)) != by_size[len(valid)]
    except Exception as error:  # Targets that this loss cannot take; what is counted is known all the same.
        return _unmeasured(seen, f"make it raise {summarize_error(error)}")
    if not moved and not valid.all():  # Other predictions at padding leave it what it is.
        seen = dataclasses.replace(seen, counted_padding=0, leaves_out=True)
    if each.shape != valid.shape:
        shapes = f"are {targets.shape} for predictions {tuple(tensor.shape)}"
        return _unmeasured(seen, f"{shapes}, of which it makes losses {each.shape}, not one a timestep")
    return dataclasses.replace(
        seen,
        masked=float(each[valid].mean()) if valid.any() else None,
        reported=by_size[len(valid)],
        by_batch_size=by_size,
        tolerance=bound_sum_error(one_ulp("float32"), valid.size),
    )


def _each(loss: Any, targets: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the losses of timesteps, before they are reduced."""
    with record_losses(loss):
        return as_float64(get_recorded_losses(loss, loss(cast_targets(targets), _masked(values, None))))


def _unmeasured(seen: LossEvidence, why: str) -> LossEvidence:
    return dataclasses.replace(seen, why=f"No figures of the loss {seen.name}: the targets {why}.")


def _evaluated(loss: Any, targets: NDArray[Any], values: NDArray[Any], mask: Bools | None, size: int) -> float:
    total = 0.0
    for start in range(0, len(targets), size):
        rows = slice(start, start + size)
        part = targets[rows]
        total += float(loss(part, _masked(values[rows], mask, rows))) * len(part)
    return total / len(targets)


def _masked(values: NDArray[Any], mask: Bools | None, rows: slice = slice(None)) -> Any:
    import keras

    tensor = keras.ops.convert_to_tensor(values)
    if mask is not None:
        tensor._keras_mask = keras.ops.convert_to_tensor(mask[rows])
    return tensor


def examine_metrics(subject: ProbeContext, metrics: Any, targets: NDArray[Any] | None) -> Iterator[MetricEvidence]:
    """Yield what each metric says of its output under the mask, of the valid timesteps alone, and of all.

    Without ``targets`` some are made up: what is asked is whether the metric looks at the mask, not how good a model
    is. ``metrics`` are those a model is compiled with; only of copies is the state changed.
    """
    outputs = list_output_tensors(subject.base.output)
    chosen = read_metrics(metrics, None, [name for name, _ in outputs], read_output_names(subject.model))
    for index, (name, tensor) in enumerate(outputs):
        mask, valid = get_mask(tensor), subject.flow.valid.get(id(tensor))
        if valid is None or mask is None or mask.shape != valid.shape or mask.all() or not is_float(tensor):
            continue
        for metric, _ in chosen[index]:
            yield from _asked(metric, name, np.asarray(tensor), mask, None if index else targets)


def _asked(
    metric: Any, name: str, values: NDArray[Any], mask: Bools, targets: NDArray[Any] | None
) -> Iterator[MetricEvidence]:
    for given, about in _candidates(targets, values):
        seen = _tried(metric, name, given, values, mask, about)
        if seen is not None and (seen.ignores_mask or about == FROM_DATA):
            yield seen
            return


FROM_DATA = "given"


def _candidates(targets: NDArray[Any] | None, values: NDArray[Any]) -> Iterator[tuple[NDArray[Any], str]]:
    if targets is not None:
        if np.shape(targets)[:2] == values.shape[:2]:
            yield np.asarray(targets), FROM_DATA
        return
    for seed in range(TRIES):
        chance = np.random.default_rng(seed)
        yield chance.integers(0, 2, values.shape).astype(values.dtype), "made up"
        yield chance.integers(0, max(2, values.shape[-1]), values.shape[:2]).astype("int32"), "made up"


def _tried(
    metric: Any, output: str, targets: NDArray[Any], values: NDArray[Any], mask: Bools, about: str
) -> MetricEvidence | None:
    """Return what the metric says; None when it cannot take these targets."""
    try:
        with_mask, on_all = (_says(metric, targets, _masked(values, given)) for given in (mask, None))
        on_valid = _says(metric, targets[mask], _masked(values[mask], None))
        made = make_metric(metric, targets, values)
    except Exception:  # These targets do not suit it; others may.
        return None
    return MetricEvidence(str(made.name), type(made).__name__, output, with_mask, on_valid, on_all, about)


def _says(metric: Any, targets: NDArray[Any], predictions: Any) -> float:
    made = make_metric(metric, targets, predictions)
    with preserve_state(made):
        made.reset_state()
        made.update_state(targets, predictions)
        return read_result(made)
