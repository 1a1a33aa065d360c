"""What judges the outputs of a model: losses, targets, weights and metrics, brought into the form of each output."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, ModelError, said
from maskcli.inspection.evaluating import Judged, JudgedMetric
from maskcli.inspection.keeping import as_it_was
from maskcli.inspection.lanes import Lane
from maskcli.inspection.losses import loss_name, metric_objects, per_output, resolved
from maskcli.records import Floats

OWN_STEPS = ("test_step", "compute_loss", "compute_metrics")
"""Methods of a model by which its ``evaluate`` may be another one than Keras's."""


@dataclasses.dataclass(frozen=True, eq=False)
class Compiled:
    """What a model was compiled with, as it was given; None and nothing where it was not."""

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None


def compiled_of(model: Any) -> Compiled:
    """Return what a model was compiled with."""
    if not getattr(model, "compiled", False):
        return Compiled()
    loss, metrics = getattr(model, "_compile_loss", None), getattr(model, "_compile_metrics", None)
    return Compiled(
        getattr(model, "loss", None),
        getattr(loss, "_user_loss_weights", None),
        getattr(metrics, "_user_metrics", None),
        getattr(metrics, "_user_weighted_metrics", None),
    )


def has_own_evaluate(model: Any) -> bool:
    """Return whether ``evaluate`` of a compiled model runs a step that is not Keras's."""
    import keras

    own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in OWN_STEPS)
    return own and bool(getattr(model, "compiled", False))


def output_names(model: Any) -> list[str]:
    """Return the names by which a model calls its outputs; nothing where it has none."""
    return [str(name) for name in getattr(model, "output_names", None) or ()]


def judged_output(
    lane: Lane,
    loss: Any,
    loss_weight: float | None,
    targets: NDArray[Any],
    weights: NDArray[Any] | None,
    metrics: Sequence[tuple[Any, bool]],
) -> Judged:
    """Return one output with what judges it.

    Args:
        lane: the output.
        loss: what ``compile`` takes for it.
        loss_weight: by which the model multiplies it.
        targets: ``(batch, ...)``.
        weights: ``(batch,)`` or ``(batch, timesteps)``; None without.
        metrics: what ``compile`` takes for it, each with whether it is given the weights.

    Raises:
        InputError: for targets, or weights, that the loss cannot take with these predictions.
        ModelError: for a loss whose result cannot go with the mask of the output.
    """
    some = targets[lane.rows]
    kept = resolved(loss, some, lane.sample)
    shape = _shape_of_losses(kept, some, lane)
    if len(shape) == 1 and lane.timed and lane.carries_mask:
        raise ModelError(
            where=f"--loss {loss_name(loss)}",
            expected=f"a loss for each timestep of {lane.name}, which carries a mask {lane.sample.shape[:2]}",
            received=f"one for each sample, {shape}",
            fix="Keras multiplies losses by the mask: return them as (batch, timesteps), without a mean over time.",
        )
    valid = lane.valid if lane.valid is not None and len(shape) == 2 and lane.valid.shape[1] == shape[1] else None
    fitted = None if weights is None else _fitted_weights(weights, len(targets), shape[1:2])
    return Judged(
        index=lane.index,
        name=lane.name,
        loss=kept,
        loss_weight=loss_weight,
        targets=targets,
        weights=fitted,
        valid=lane.valid if shape == () else valid,
        timed=lane.timed,
        metrics=tuple(_metrics(metrics, some, lane, valid is not None)),
    )


def _shape_of_losses(loss: Any, targets: NDArray[Any], lane: Lane) -> tuple[int, ...]:
    """Return the shape of the losses of some rows, before they are reduced, with two axes at the most."""
    try:
        return tuple(np.shape(loss.call(targets, lane.sample)))[:2]
    except Exception as error:
        raise InputError(
            where=f"--targets, loss {loss_name(loss)}",
            expected=f"targets that go with the predictions {lane.sample.shape[1:]} of {lane.name}",
            received=f"targets of shape {targets.shape[1:]} each ({said(error)})",
            fix="Class ids go with sparse_categorical_crossentropy; other losses want targets shaped as predictions.",
        ) from None


def _fitted_weights(weights: NDArray[Any], rows: int, timesteps: tuple[int, ...]) -> Floats:
    """Return weights in the shape of the losses; those of samples are repeated over timesteps.

    Keras 3 does not: it multiplies ``(batch,)`` along the timesteps, where the two happen to be as many.
    """
    array = np.asarray(weights, dtype=np.float32)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.shape in ((rows,), (rows, 1)):
        return np.repeat(array.reshape(-1, 1), timesteps[0], axis=1) if timesteps else array.reshape(-1)
    if timesteps and array.shape == (rows, *timesteps):
        return array
    raise InputError(
        where="--sample-weight",
        expected=f"weights ({rows},)" + (f", or ({rows}, {timesteps[0]})" if timesteps else ""),
        received=f"shape {array.shape}",
        fix="Give one weight for each row, or one for each timestep.",
    )


def _metrics(
    metrics: Sequence[tuple[Any, bool]], targets: NDArray[Any], lane: Lane, apart: bool
) -> Iterator[JudgedMetric]:
    """Yield the metrics of an output as objects; ``apart`` says that valid timesteps can be taken out of it."""
    for metric, weighted in metrics:
        one, other = metric_objects(metric, targets, lane.sample)
        yield JudgedMetric(str(one.name), one, other if apart else None, weighted)


def metrics_of(compiled: Compiled, names: Sequence[str], called: Sequence[str]) -> list[list[tuple[Any, bool]]]:
    """Return for each output the metrics that a model was compiled with, each with whether it is given the weights."""
    found: list[list[tuple[Any, bool]]] = [[] for _ in names]
    for given, weighted in ((compiled.metrics, False), (compiled.weighted_metrics, True)):
        if not given:
            continue
        if len(names) == 1:
            given = [list(_flat(given))]
        for own, chosen in zip(found, per_output(given, names, called, "metrics"), strict=True):
            own.extend((metric, weighted) for metric in _flat(chosen))
    return found


def _flat(metrics: Any) -> Iterator[Any]:
    if isinstance(metrics, Mapping):
        metrics = list(metrics.values())
    if isinstance(metrics, list | tuple):
        for metric in metrics:
            yield from _flat(metric)
    elif metrics is not None:
        yield metrics


def class_weights(targets: NDArray[Any], classes: int, weights: Mapping[int, float]) -> Floats:
    """Return the weight of the class of each target, ``(batch,)`` or ``(batch, timesteps)``; 1 for other classes.

    Args:
        targets: class ids, with a last axis of 1 or without, or vectors with a number for each class.
        classes: as many as the predictions have.
        weights: by class.
    """
    ids = targets
    if targets.ndim > 1 and targets.shape[-1] == classes and classes > 1 and targets.dtype.kind == "f":
        ids = targets.argmax(axis=-1)
    elif targets.ndim > 1 and targets.shape[-1] == 1:
        ids = targets[..., 0]
    found: Floats = np.ones(ids.shape, np.float32)
    for one, weight in weights.items():
        found[np.round(ids) == one] = weight
    return found


def own_evaluate(model: Any, data: Any, judged: Sequence[Judged], batch_size: int) -> float:
    """Return what the ``evaluate`` of a model with steps of its own reports; all its outputs are ``judged``."""
    targets, weights = [one.targets for one in judged], [one.weights for one in judged]
    with as_it_was(model, trained=False):
        result = model.evaluate(
            data,
            targets[0] if len(targets) == 1 else targets,
            sample_weight=None if weights[0] is None else weights[0] if len(weights) == 1 else weights,
            batch_size=batch_size,
            verbose=0,
            return_dict=True,
        )
    return float(result["loss"])
