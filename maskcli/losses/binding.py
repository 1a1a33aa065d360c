"""What judges the outputs of a model: losses, targets, weights and metrics, brought into the form of each output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import InputError, ModelError, summarize_error
from maskcli.losses.evaluate import OutputLoss, get_recorded_losses, preserve_metrics, record_losses
from maskcli.losses.metrics import make_metric_pairs
from maskcli.losses.registry import cast_targets, get_loss_name, resolve_loss
from maskcli.records.arrays import Floats
from maskcli.trace.outputs import ModelOutput


def bind_loss(
    lane: ModelOutput,
    loss: Any,
    loss_weight: float | None,
    targets: NDArray[Any],
    weights: NDArray[Any] | None,
    metrics: Sequence[tuple[Any, bool]],
) -> OutputLoss:
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
        UsageError: for metrics that cannot take these targets.
    """
    some = targets[lane.rows]
    kept = resolve_loss(loss, some, lane.sample)
    shape = _shape_of_losses(kept, some, lane)
    _check_mask(loss, shape, targets, lane)
    timesteps = lane.sample.shape[1:2] if lane.timed and not shape else shape[1:2]
    valid = lane.valid if lane.valid is not None and lane.valid.shape[1:] == timesteps else None
    fitted = None if weights is None else _fitted_weights(weights, len(targets), timesteps)
    return OutputLoss(
        index=lane.index,
        name=lane.name,
        loss=kept,
        loss_weight=loss_weight,
        targets=targets,
        weights=fitted,
        valid=valid,
        timed=lane.timed,
        spread=weights is not None and bool(timesteps) and np.size(weights) == len(targets),
        metrics=make_metric_pairs(metrics, some, lane.sample, None if valid is None else valid[lane.rows]),
    )


def _shape_of_losses(loss: Any, targets: NDArray[Any], lane: ModelOutput) -> tuple[int, ...]:
    """Return the shape of the losses of some rows, before they are reduced, with two axes at the most."""
    import keras

    try:
        with record_losses(loss):
            value = loss(cast_targets(targets), keras.ops.convert_to_tensor(lane.sample))
            shape = tuple(get_recorded_losses(loss, value).shape)
    except Exception as error:
        raise InputError(
            where=f"--targets, loss {get_loss_name(loss)}",
            expected=f"targets that go with predictions {_sizes(lane.sample)} of {lane.name}",
            received=f"targets {_sizes(targets)} ({summarize_error(error)})",
            fix="Class ids go with sparse_categorical_crossentropy; other losses want targets shaped as predictions.",
        ) from None
    if shape and shape[0] != len(targets):
        raise ModelError(
            where=f"--loss {get_loss_name(loss)}",
            expected="a loss for each timestep, (batch, timesteps), for each sample, (batch,), or one number",
            received=f"losses {shape} of {len(targets)} samples",
            fix="Take the mean over the last axis alone, and leave the axis of the batch.",
        )
    return shape


def _sizes(array: NDArray[Any]) -> str:
    """Return a shape in words that leave the rows out."""
    return f"({', '.join(('batch', *map(str, array.shape[1:])))})"


def _check_mask(loss: Any, shape: tuple[int, ...], targets: NDArray[Any], lane: ModelOutput) -> None:
    """Raise ModelError for losses of samples where the mask is one of timesteps."""
    if len(shape) != 1 or lane.mask_shape is None or lane.mask_shape == shape:
        return
    raise ModelError(
        where=f"--loss {get_loss_name(loss)}",
        expected=f"a loss for each timestep of {lane.name}, which carries a mask (batch, {lane.mask_shape[1]})",
        received="one for each sample, (batch,)",
        fix=_without_mean_over_time(targets, lane),
    )


def _without_mean_over_time(targets: NDArray[Any], lane: ModelOutput) -> str:
    if lane.sample.shape[:2] != lane.mask_shape:
        return "The timesteps are gone and their mask is not: let compute_mask of the layer that pools return None."
    if lane.sample.shape[-1] == 1 and targets.ndim == lane.sample.ndim - 1:
        wanted = (len(targets), *lane.sample.shape[1:])
        return f"Give targets the shape {wanted}: without the last axis Keras takes the mean over time."
    return "Keras multiplies losses by the mask: return them as (batch, timesteps), without a mean over time."


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
        fix="Give one weight for each row" + (", or one for each timestep." if timesteps else "."),
    )


def look_up_class_weights(targets: NDArray[Any], predictions: tuple[int, ...], weights: Mapping[int, float]) -> Floats:
    """Return the weight of the class of each target, ``(batch,)`` or ``(batch, timesteps)``; 1 for other classes.

    Args:
        targets: class ids, with a last axis of 1 or without, or vectors with a number for each class.
        predictions: the shape of the predictions of some rows.
        weights: by class.
    """
    ids = targets
    if targets.ndim == len(predictions) and targets.shape[-1] == predictions[-1] > 1:
        ids = targets.argmax(axis=-1)
    elif targets.ndim == len(predictions):
        ids = targets[..., 0]
    found: Floats = np.ones(ids.shape, np.float32)
    for one, weight in weights.items():
        found[np.round(ids) == one] = weight
    return found


def run_custom_evaluate(model: Any, data: Any, judged: Sequence[OutputLoss], batch_size: int) -> float:
    """Return what the ``evaluate`` of a model with steps of its own reports; all its outputs are ``judged``."""
    weights = [one.weights for one in judged]
    with preserve_metrics(model):
        result = model.evaluate(
            data,
            _nest(judged, [one.targets for one in judged]),
            sample_weight=None if weights[0] is None else _nest(judged, weights),
            batch_size=batch_size,
            verbose=0,
            return_dict=True,
        )
        model.reset_metrics()
    return float(result["loss"])


def _nest(judged: Sequence[OutputLoss], arrays: Sequence[Any]) -> Any:
    """Return an array for each output as steps of the user's own expect them: alone, in a dict, or else in a list."""
    names = [one.name for one in judged]
    if names == ["output"]:
        return arrays[0]
    if any("/" in name or name.isdigit() for name in names):
        return list(arrays)
    return dict(zip(names, arrays, strict=True))
