"""Binding of losses, targets, weights and metrics to the outputs of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.masks import get_keras_mask
from maskcli.errors import InputError, ModelError, UsageError, summarize_error
from maskcli.losses.compile_settings import (
    read_compiled_loss,
    read_compiled_loss_weights,
    read_compiled_metrics,
    read_output_names,
    read_weighted_metrics,
)
from maskcli.losses.metrics import MetricPair, make_metric_pairs, read_metrics
from maskcli.losses.recording import get_recorded_losses, record_losses
from maskcli.losses.registry import (
    cast_targets,
    get_loss_name,
    import_references,
    make_loss,
    match_outputs,
    resolve_loss,
)
from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import Targets
from maskcli.records.options import LossOptions
from maskcli.tolerance import LOSS_AGREEMENT
from maskcli.trace.outputs import ModelOutput

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
"""Reductions whose result is a mean."""


@dataclasses.dataclass(frozen=True, eq=False)
class OutputLoss:
    """An output of a model with its loss, targets, weights and metrics.

    Attributes:
        output: the output.
        name: name of the loss.
        loss: a ``keras.losses.Loss``.
        loss_weight: factor of this loss in that of the model; None for 1.
        targets: its ``values`` are ``(batch, ...)``.
        weights: sample weights, ``(batch, timesteps)`` or ``(batch,)``; None without weights.
        valid: ``(batch, timesteps)``, True at non-padding timesteps; None if unknown, or if there are no timesteps.
        repeated_weights: whether the weights are those of samples, repeated for their timesteps.
        metrics: metrics of this output.
        kept: False where the loss ignores a target, of the rows of ``output.sample`` and in the shape of the losses;
            None if the loss ignores no targets.
        by_timestep: whether the loss of a sample is the mean over the timesteps of a ``(batch, timesteps)`` output, so
            that it can be split into losses of timesteps.
    """

    output: ModelOutput
    name: str
    loss: Any
    loss_weight: float | None
    targets: Targets
    weights: Floats | None
    valid: Bools | None
    repeated_weights: bool = False
    metrics: tuple[MetricPair, ...] = ()
    kept: Bools | None = None
    by_timestep: bool = False

    @property
    def factor(self) -> float:
        """Factor of this loss in that of the model."""
        return 1.0 if self.loss_weight is None else self.loss_weight


def choose_losses(model: Any, name: str, outputs: Sequence[ModelOutput], options: LossOptions) -> dict[int, Any]:
    """Return the loss of each output that has one, by its index: from the options, or as compiled.

    Raises:
        UsageError: if no output has a loss, for names that no output has, and for class weights of several outputs.
    """
    argument = import_references(options.loss, "a loss")
    if argument is None:
        argument = read_compiled_loss(model)
    names = [output.name for output in outputs]
    losses = match_outputs(argument, names, read_output_names(model), "--loss")
    chosen = {output.index: loss for output, loss in zip(outputs, losses, strict=True) if loss is not None}
    if not chosen:
        raise UsageError(
            where="--loss",
            expected=f"the loss of {name}, which is not compiled with one",
            received="none",
            fix="Choose one with --loss mse, or with --loss package.module:function.",
        )
    if options.class_weight is not None and len(chosen) > 1:
        raise UsageError(
            where="--class-weight",
            expected="one output with a loss, as in Keras",
            received=", ".join(names[index] for index in chosen),
            fix="Set the loss of one output with --loss OUTPUT=LOSS, or use --sample-weight.",
        )
    return chosen


def uses_compiled_loss(options: LossOptions) -> bool:
    """Return whether the loss is the one that the model is compiled with, unchanged."""
    return options.loss is None and not options.loss_options


def bind_losses(
    model: Any,
    outputs: Sequence[ModelOutput],
    losses: Mapping[int, Any],
    targets: Sequence[Targets],
    weights: Any,
    options: LossOptions,
    with_metrics: bool = True,
) -> tuple[OutputLoss, ...]:
    """Bind losses to their outputs, with targets, weights and metrics.

    Args:
        model: a Keras model.
        outputs: all its outputs.
        losses: by the index of each output that has one.
        targets: one for each of these losses.
        weights: the sample weights for ``evaluate``; None without weights.
        options: the other options of the loss.
        with_metrics: whether to bind metrics too.

    Raises:
        InputError: for targets, or weights, that a loss cannot take with the predictions.
        ModelError: for a loss whose result does not fit the mask of its output.
        UsageError: for metrics that cannot take these targets.
    """
    names, output_names = [output.name for output in outputs], read_output_names(model)
    sample_weights = match_outputs(weights, names, output_names, "sample_weight")
    loss_weights = match_outputs(read_compiled_loss_weights(model), names, output_names, "loss_weights")
    metrics = read_metrics(read_compiled_metrics(model), read_weighted_metrics(model), names, output_names)
    # With weights, each metric of the options is reported twice: without the weights and with them.
    is_weighted = sorted({False, options.has_weights})
    more = [(import_references(metric, "a metric"), weighted) for metric in options.metrics for weighted in is_weighted]
    bound = []
    for (index, loss), target in zip(losses.items(), targets, strict=True):
        output, argument = outputs[index], loss
        if not uses_compiled_loss(options):
            argument = make_loss(loss, options.loss_options or {})
        if options.class_weight is not None:
            sample_weights[index] = look_up_class_weights(target.values, output.sample.shape, options.class_weight)
        bound.append(
            bind_loss(
                output,
                argument,
                loss_weights[index],
                target,
                sample_weights[index],
                [*metrics[index], *more] if with_metrics else [],
                name=get_loss_name(loss),
            )
        )
    return tuple(bound)


def bind_loss(
    output: ModelOutput,
    argument: Any,
    loss_weight: float | None,
    targets: Targets,
    weights: NDArray[Any] | None,
    metrics: Sequence[tuple[Any, bool]],
    name: str,
) -> OutputLoss:
    """Bind a loss to an output.

    Args:
        output: the output.
        argument: the loss as ``compile`` takes it.
        loss_weight: factor of the loss in that of the model.
        targets: its ``values`` are ``(batch, ...)``.
        weights: ``(batch,)`` or ``(batch, timesteps)``; None without weights.
        metrics: metrics as ``compile`` takes them, each with whether it receives the weights.
        name: name of the loss.

    Raises:
        InputError: for targets, or weights, that the loss cannot take with these predictions.
        ModelError: for a loss whose result does not fit the mask of the output.
        UsageError: for metrics that cannot take these targets.
    """
    rows, some = len(targets.values), targets.values[output.rows]
    loss = resolve_loss(argument, some, output.sample)
    shape, kept = _measure_losses(loss, some, output)
    _check_class_ids(loss, targets.values, output)
    _check_mask(argument, shape, targets.values, output)
    by_timestep = weights is None and len(shape) == 1 and _averages_timesteps(loss, some, output)
    if by_timestep:
        shape = output.sample.shape
    timesteps = shape[1:2]
    if not shape and output.timed:  # The loss makes one number of a batch.
        timesteps = output.sample.shape[1:2]
    valid = some_valid = None
    if output.valid is not None and output.valid.shape[1:] == timesteps:
        valid, some_valid = output.valid, output.valid[output.rows]
    fitted_weights, repeated = None, False
    if weights is not None:
        fitted_weights = _fit_weights(weights, rows, timesteps)
        repeated = bool(timesteps) and np.size(weights) == rows
    return OutputLoss(
        output=output,
        name=name,
        loss=loss,
        loss_weight=loss_weight,
        targets=targets,
        weights=fitted_weights,
        valid=valid,
        repeated_weights=repeated,
        metrics=make_metric_pairs(metrics, some, output.sample, combine_counted(some_valid, kept), output.mask_shape),
        kept=kept,
        by_timestep=by_timestep,
    )


def _averages_timesteps(loss: Any, targets: NDArray[Any], output: ModelOutput) -> bool:
    """Return whether the losses of samples are means over the timesteps of a ``(batch, timesteps)`` output."""
    if output.valid is None or output.sample.ndim != 2 or targets.shape != output.sample.shape:
        return False
    if getattr(loss, "reduction", "sum_over_batch_size") not in MEANS or not hasattr(loss, "call"):
        return False
    try:
        by_sample = as_array(loss.call(cast_targets(targets), output.sample))
        by_timestep = as_array(split_timesteps(loss, cast_targets(targets), output.sample))
    except Exception:  # The loss may need the axis of classes.
        return False
    if by_timestep.shape != output.sample.shape or by_sample.shape != by_timestep.shape[:1]:
        return False
    return bool(np.allclose(by_timestep.mean(axis=1), by_sample, rtol=LOSS_AGREEMENT.value, atol=0))


def split_timesteps(loss: Any, targets: Any, predictions: Any) -> Any:
    """Return the losses ``(batch, timesteps)`` of a ``(batch, timesteps)`` output: each timestep is a vector of one."""
    import keras

    return loss.call(keras.ops.expand_dims(targets, -1), keras.ops.expand_dims(predictions, -1))


def combine_counted(valid: Any, kept: Any) -> Any:
    """Return where timesteps are valid and the loss does not ignore their targets; None if both are unknown.

    Both are arrays or tensors. ``kept`` counts only if it has the axes of ``valid``.
    """
    if valid is None or kept is None:
        return kept if valid is None else valid
    return valid & kept if len(valid.shape) == len(kept.shape) else valid


def _make_targets_fix(loss: Any, targets: NDArray[Any], predictions: tuple[int, ...]) -> str:
    """Return the remedy for targets that a loss cannot compare with predictions of a shape."""
    sparse, classes = get_loss_name(loss).startswith("sparse_"), predictions[-1]
    if sparse and targets.min(initial=0) < 0:
        value = f"{targets.min():g}"
        return (
            f"If {value} marks targets to ignore: keras.losses.SparseCategoricalCrossentropy(ignore_class={value}), or "
            f"--loss sparse_categorical_crossentropy --loss-option ignore_class={value}."
        )
    if sparse and targets.shape in (predictions[:-1], (*predictions[:-1], 1)) and targets.max(initial=0) >= classes:
        place = ", ".join(
            f"{axis} {index}" for axis, index in zip(("row", "timestep"), _find_maximum(targets), strict=False)
        )
        return (
            f"Classes are 0 to {classes - 1} here, but a target is {targets.max():g} ({place}). Map the classes to "
            "these numbers, or give the last layer more units."
        )
    if sparse:
        return f"Give a class id for each prediction: targets of shape {_name_shape(predictions[:-1])}."
    if targets.ndim == len(predictions) - 1 and targets.dtype.kind in "iu":
        return (
            "For class ids use sparse_categorical_crossentropy; this loss needs targets of shape "
            f"{_name_shape(predictions)}."
        )
    return f"Give targets of shape {_name_shape(predictions)}, as the predictions have."


def _find_maximum(targets: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(targets.argmax()), targets.shape))


def _name_shape(shape: tuple[int, ...]) -> str:
    """Return a shape with the axis of the batch by its name."""
    return f"(batch{''.join(f', {size}' for size in shape[1:])})"


def _measure_losses(loss: Any, targets: NDArray[Any], output: ModelOutput) -> tuple[tuple[int, ...], Bools | None]:
    """Return the shape of the losses of some rows before reduction, at most two axes, and those that are kept."""
    import keras

    try:
        with record_losses(loss):
            value = loss(cast_targets(targets), keras.ops.convert_to_tensor(output.sample))
            losses = get_recorded_losses(loss, value)
            shape, own_mask = tuple(losses.shape), get_keras_mask(losses)
    except Exception as error:
        raise InputError(
            where=f"--targets, loss {get_loss_name(loss)}",
            expected=f"targets that fit the predictions {_describe_shape(output.sample)} of {output.name}",
            received=f"targets {_describe_shape(targets)} ({summarize_error(error)})",
            fix=_make_targets_fix(loss, targets, output.sample.shape),
        ) from None
    if shape and shape[0] != len(targets):
        raise ModelError(
            where=f"--loss {get_loss_name(loss)}",
            expected="a loss for each timestep, (batch, timesteps), for each sample, (batch,), or one number",
            received=f"losses {shape} of {len(targets)} samples",
            fix="Take the mean over the last axis only, and keep the batch axis.",
        )
    return shape, None if own_mask is None else as_array(own_mask).astype(bool)


def _check_class_ids(loss: Any, targets: NDArray[Any], output: ModelOutput) -> None:
    """Raise InputError for class ids that the predictions do not have.

    TensorFlow and PyTorch raise for them on a processor. On a GPU, and on JAX, they give a number.
    """
    import keras

    if getattr(loss, "fn", None) is not keras.losses.sparse_categorical_crossentropy:
        return
    options = getattr(loss, "_fn_kwargs", {})
    classes = output.sample.shape[options.get("axis", -1)]
    wrong = (targets < 0) | (targets >= classes)
    if options.get("ignore_class") is not None:
        wrong &= targets != options["ignore_class"]
    if wrong.any():
        raise InputError(
            where=f"--targets, loss {get_loss_name(loss)}",
            expected=f"class ids from 0 to {classes - 1}, which {output.name} predicts",
            received=f"{targets[wrong].flat[0]:g} among the targets",
            fix=_make_targets_fix(loss, targets, output.sample.shape),
        )


def _describe_shape(array: NDArray[Any]) -> str:
    """Return a shape as text, with ``batch`` for the rows."""
    return f"({', '.join(('batch', *map(str, array.shape[1:])))})"


def _check_mask(loss: Any, shape: tuple[int, ...], targets: NDArray[Any], output: ModelOutput) -> None:
    """Raise ModelError for a loss of samples on an output whose mask is of timesteps."""
    if len(shape) != 1 or output.mask_shape is None or output.mask_shape == shape:
        return
    raise ModelError(
        where=f"--loss {get_loss_name(loss)}",
        expected=f"a loss for each timestep of {output.name}, which carries a mask (batch, {output.mask_shape[1]})",
        received="one for each sample, (batch,)",
        fix=_suggest_losses_of_timesteps(targets, output),
    )


def _suggest_losses_of_timesteps(targets: NDArray[Any], output: ModelOutput) -> str:
    if output.sample.shape[:2] != output.mask_shape:
        return (
            "The output has no timesteps, but still carries their mask: return None in compute_mask of the layer that "
            "pools."
        )
    if output.sample.shape[-1] == 1 and targets.ndim == output.sample.ndim - 1:
        shape = (len(targets), *output.sample.shape[1:])
        return f"Give the targets the shape {shape}: without the last axis Keras takes the mean over time."
    if targets.ndim > 1 and targets.shape[1] != output.mask_shape[1]:
        return (
            "A loss of whole sequences, such as CTC, needs an output without a mask: end the model with a layer whose "
            "call returns a new tensor, `keras.ops.copy(x)`, and whose compute_mask returns None, and pass the lengths "
            "to the loss."
        )
    return "Return losses as (batch, timesteps), without a mean over time: Keras multiplies them by the mask."


def _fit_weights(weights: NDArray[Any], rows: int, timesteps: tuple[int, ...]) -> Floats:
    """Return weights in the shape of the losses; those of samples are repeated over timesteps.

    Keras 3 does not repeat them: it multiplies ``(batch,)`` along the timesteps if their number is the same.
    """
    array = np.asarray(weights, dtype=np.float32)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.shape in ((rows,), (rows, 1)):
        array = array.reshape(-1)
        # Repeats a weight for each timestep; there is none if the losses are those of samples.
        return np.stack([array] * timesteps[0], axis=1) if timesteps else array
    if timesteps and array.shape == (rows, *timesteps):
        return array
    expected, fix = f"weights ({rows},)", "Pass one weight for each row."
    if timesteps:
        expected, fix = (
            f"{expected}, or ({rows}, {timesteps[0]})",
            "Pass one weight for each row, or for each timestep.",
        )
    raise InputError(where="--sample-weight", expected=expected, received=f"shape {array.shape}", fix=fix)


def look_up_class_weights(targets: NDArray[Any], predictions: tuple[int, ...], weights: Mapping[int, float]) -> Floats:
    """Return the weight of each target's class, ``(batch,)`` or ``(batch, timesteps)``; 1 for classes without one.

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
    array: Floats = np.ones(ids.shape, np.float32)
    for class_id, weight in weights.items():
        array[np.round(ids) == class_id] = weight
    return array
