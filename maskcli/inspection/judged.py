"""What the loss and the metrics of a model make of the masks on its outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import said
from maskcli.evidence import SeenLoss, SeenMetric
from maskcli.inspection.compare import MARGIN
from maskcli.inspection.rerun import noise_at
from maskcli.inspection.subject import Subject
from maskcli.inspection.trace import mask_of, output_tensors
from maskcli.inspection.values import EPSILON, is_float
from maskcli.records import Bools

TRIES = 3
"""Made-up targets with which a metric is tried before it is believed to be indifferent to the mask."""


def compiled(model: Any) -> tuple[Any, Any]:
    """Return the loss and the metrics that a model is compiled with, as they were given; None where it is not."""
    if not getattr(model, "compiled", False):
        return None, None
    metrics = getattr(model, "_compile_metrics", None)
    return getattr(model, "loss", None), getattr(metrics, "_user_metrics", None)


def known_loss(name: str) -> bool:
    """Return whether Keras knows a loss of that name."""
    import keras

    try:
        return keras.losses.get(name) is not None
    except ValueError:
        return False


def seen_losses(subject: Subject, loss: Any, targets: NDArray[Any] | None) -> Iterator[SeenLoss]:
    """Yield for each output of timesteps what its loss counts; with ``targets``, what it comes to.

    ``loss`` is what a model is compiled with: a name, a function, a ``keras.losses.Loss``, or one of these for each
    output in a list or a dict. ``targets`` are those of the first output.
    """
    outputs = output_tensors(subject.base.output)
    for index, (name, tensor) in enumerate(outputs):
        valid, chosen = subject.flow.valid.get(id(tensor)), _chosen(loss, index, name, subject.model)
        if valid is None or chosen is None:
            continue
        mask = mask_of(tensor)
        counted = np.ones_like(valid) if mask is None or mask.shape != valid.shape else mask
        seen = SeenLoss(_loss_name(chosen), name, int((counted & ~valid).sum()), valid.size)
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


def _unproven(seen: SeenLoss) -> SeenLoss:
    why = f"Whether the loss {seen.name} counts padding depends on the targets; --targets tells."
    return dataclasses.replace(seen, counted_padding=0, leaves_out=True, why=why if seen.counted_padding else None)


def _measured(
    seen: SeenLoss, chosen: Any, targets: NDArray[Any], tensor: Any, mask: Bools | None, valid: Bools
) -> SeenLoss:
    """Return what Keras's own loss makes of the output in batches of several sizes.

    ``Model.evaluate`` averages the losses of batches by the samples they have; the exact mean is over all valid
    timesteps, however they are cut.
    """
    from keras.src.trainers.compile_utils import get_loss

    try:
        loss = get_loss(chosen, targets, tensor)
        each = np.asarray(loss.call(targets, np.asarray(tensor)), dtype=np.float64)
        sizes = sorted({1, max(1, len(valid) // 2), len(valid)})
        by_size = {size: _evaluated(loss, targets, np.asarray(tensor), mask, size) for size in sizes}
        other = noise_at(np.asarray(tensor), ~valid, np.random.default_rng(6))
        moved = _evaluated(loss, targets, other, mask, len(valid)) != by_size[len(valid)]
    except Exception as error:  # Targets that this loss cannot take; what is counted is known all the same.
        return _unmeasured(seen, f"make it raise {said(error)}")
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
        tolerance=MARGIN * EPSILON["float32"] * math.sqrt(valid.size),
    )


def _unmeasured(seen: SeenLoss, why: str) -> SeenLoss:
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


def _chosen(given: Any, index: int, name: str, model: Any) -> Any:
    """Return what a model was compiled with for one output: of a dict by name, of a list by place."""
    if isinstance(given, dict):
        names = getattr(model, "output_names", None) or ()
        return given.get(name, given.get(names[index]) if index < len(names) else None)
    if isinstance(given, list | tuple):
        return given[index] if index < len(given) else None
    return given


def _loss_name(loss: Any) -> str:
    return str(loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "loss"))


def seen_metrics(subject: Subject, metrics: Any, targets: NDArray[Any] | None) -> Iterator[SeenMetric]:
    """Yield what each metric says of its output under the mask, of the valid timesteps alone, and of all.

    Without ``targets`` some are made up: what is asked is whether the metric looks at the mask, not how good a model
    is. ``metrics`` are those a model is compiled with; only of copies is the state changed.
    """
    outputs = output_tensors(subject.base.output)
    for index, (name, tensor) in enumerate(outputs):
        mask, valid = mask_of(tensor), subject.flow.valid.get(id(tensor))
        if valid is None or mask is None or mask.shape != valid.shape or mask.all() or not is_float(tensor):
            continue
        chosen = (
            metrics if len(outputs) == 1 and isinstance(metrics, list) else _chosen(metrics, index, name, subject.model)
        )
        for metric in _flat(chosen):
            yield from _asked(metric, name, np.asarray(tensor), mask, None if index else targets)


def _asked(
    metric: Any, name: str, values: NDArray[Any], mask: Bools, targets: NDArray[Any] | None
) -> Iterator[SeenMetric]:
    for given, about in _candidates(targets, values):
        seen = _tried(metric, name, given, values, mask, about)
        if seen is not None and (seen.ignores_mask or about == GIVEN):
            yield seen
            return


GIVEN = "given"


def _candidates(targets: NDArray[Any] | None, values: NDArray[Any]) -> Iterator[tuple[NDArray[Any], str]]:
    if targets is not None:
        if np.shape(targets)[:2] == values.shape[:2]:
            yield np.asarray(targets), GIVEN
        return
    for seed in range(TRIES):
        chance = np.random.default_rng(seed)
        yield chance.integers(0, 2, values.shape).astype(values.dtype), "made up"
        yield chance.integers(0, max(2, values.shape[-1]), values.shape[:2]).astype("int32"), "made up"


def _flat(metrics: Any) -> Iterator[Any]:
    for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
        if isinstance(metric, list | tuple):
            yield from metric
        elif metric is not None:
            yield metric


def _tried(
    metric: Any, output: str, targets: NDArray[Any], values: NDArray[Any], mask: Bools, about: str
) -> SeenMetric | None:
    """Return what the metric says; None when it cannot take these targets."""
    from keras.src.trainers.compile_utils import get_metric

    def says(y_true: NDArray[Any], y_pred: Any) -> float:
        fresh = type(metric).from_config(metric.get_config()) if hasattr(metric, "get_config") else metric
        made = get_metric(fresh, y_true, y_pred)
        made.update_state(y_true, y_pred)
        result = made.result()
        return float(next(iter(result.values())) if isinstance(result, dict) else np.mean(np.asarray(result)))

    try:
        with_mask, on_all = says(targets, _masked(values, mask)), says(targets, _masked(values, None))
        on_valid = says(targets[mask], _masked(values[mask], None))
        name = metric if isinstance(metric, str) else getattr(metric, "name", None) or metric.__name__
        kind = type(get_metric(metric, targets, _masked(values, None))).__name__
    except Exception:  # These targets do not suit it; others may.
        return None
    return SeenMetric(str(name), kind, output, with_mask, on_valid, on_all, about)
