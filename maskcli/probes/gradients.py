"""Gradients of valid outputs with respect to padding. Only this module and ``losses`` use GradientTape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.inputs.arguments import pack_arguments
from maskcli.probes.compare import align_results, find_validity_of_pair, share_scales
from maskcli.probes.context import ProbeContext
from maskcli.probes.padding_sources import PaddingSources
from maskcli.records.arrays import Bools
from maskcli.trace.recorder import CallRecord, Recording, record_run
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64, is_float


@dataclasses.dataclass(frozen=True)
class PaddingGradient:
    """The largest derivatives.

    Attributes:
        at_padding: by a value at padding.
        largest_valid: by any other value.
        sample: the row of the padding.
        timestep: its timestep.
        at_free_padding: by a value at padding that may differ under the same mask.
    """

    at_padding: float
    largest_valid: float
    sample: int
    timestep: int
    at_free_padding: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class TapedRun:
    """A run under a GradientTape.

    Attributes:
        recording: the run.
        tape: the tape, which keeps intermediate results.
        inputs: by position, the inputs of the model that the tape watches.
        results: by index of the call, the results that the tape watches.
    """

    recording: Recording
    tape: Any
    inputs: dict[int, Any]
    results: dict[int, Any]


def record_under_tape(run: ModelRun, sources: PaddingSources) -> TapedRun:
    """Repeat a run under a tape that watches where padding becomes numbers."""
    import keras
    import tensorflow as tf

    arguments = keras.tree.map_structure(tf.convert_to_tensor, pack_arguments(run.model, run.inputs))
    inputs: dict[int, Any] = {}
    results: dict[int, Any] = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for position, tensor in enumerate(keras.tree.flatten(arguments)):
            if position in sources.inputs and run.inputs[position].valid is not None:
                tape.watch(tensor)
                inputs[position] = tensor

        def watch_result(entry: CallRecord, tensors: list[Any]) -> None:
            if entry.index in sources.calls and is_float(tensors[0]):
                tape.watch(tensors[0])
                results[entry.index] = tensors[0]

        recording = record_run(run.model, arguments, alter=watch_result)
    return TapedRun(recording, tape, inputs, results)


def compute_padding_gradient(taped: TapedRun, context: ProbeContext, sources: PaddingSources) -> PaddingGradient | str:
    """Return how much the results that count depend on padding, or the reason why that is not known.

    Args:
        taped: the run to differentiate.
        context: the run that it repeats.
        sources: where padding becomes numbers.
    """
    if taped.recording.error is not None:
        return f"the model raises {type(taped.recording.error).__name__}"
    with taped.tape:
        total = _sum_outputs(taped.recording, context)
    if total is None:
        return "no output is made of floats"
    of_inputs = [(tensor, context.inputs[position].valid, True) for position, tensor in taped.inputs.items()]
    of_results = [
        (tensor, sources.calls[index], index not in sources.fixed)
        for index, tensor in taped.results.items()
        if index in sources.calls
    ]
    watched = [(tensor, valid, free) for tensor, valid, free in (*of_inputs, *of_results) if valid is not None]
    try:
        gradients = taped.tape.gradient(total, [tensor for tensor, _, _ in watched])
    except Exception as error:
        return f"TensorFlow cannot differentiate the model ({type(error).__name__})"
    return _find_largest(gradients, [valid for _, valid, _ in watched], [free for _, _, free in watched])


def _sum_outputs(run: Recording, context: ProbeContext) -> Any:
    """Return ``sum(w * outputs)`` over valid timesteps and pooled results of the ``relevant`` rows.

    The weights w are random: a plain sum would hide every effect on a softmax, whose outputs always add up to one. Each
    feature is divided by its size, so that a large one does not hide a small one.
    """
    import tensorflow as tf

    rng, total, align = np.random.default_rng(3), None, context.align()
    pairs = zip(list_output_tensors(context.base.output), list_output_tensors(run.output), strict=True)
    for (_, base), (_, tensor) in pairs:
        if not is_float(tensor) or not len(tensor.shape) or tensor.shape[0] != len(context.relevant):
            continue
        valid, _ = find_validity_of_pair(base, base, context.flow, align)
        keep = context.relevant.reshape(-1, *[1] * (len(tensor.shape) - 1))
        if valid is not None:
            keep = keep & valid.reshape(*valid.shape, *[1] * (len(tensor.shape) - valid.ndim))
        results = align_results(base, valid, base, align)
        scale: Any = 1.0
        if results is not None and len(base.shape) > _count_axes(valid) and results.size.size:
            sizes = share_scales(results.size_by_feature)
            scale = np.where(sizes > 0, sizes.max(initial=0.0) / np.where(sizes > 0, sizes, 1.0), 1.0)
        weights = np.where(keep, rng.standard_normal(tuple(tensor.shape)) * scale, 0.0)
        finite = tf.where(keep, tensor, tf.zeros_like(tensor))
        part = tf.reduce_sum(finite * tf.cast(weights, tensor.dtype))
        total = part if total is None else total + tf.cast(part, total.dtype)
    return total


def _count_axes(valid: Bools | None) -> int:
    """Return the number of axes before those of features."""
    return 1 if valid is None else valid.ndim


def _find_largest(gradients: Sequence[Any], valids: Sequence[Bools], free: Sequence[bool]) -> PaddingGradient | str:
    import tensorflow as tf

    largest = PaddingGradient(0.0, 0.0, 0, 0)
    for gradient, valid, is_free in zip(gradients, valids, free, strict=True):
        if gradient is None:  # Not connected: no result depends on it.
            continue
        sizes = np.abs(as_float64(tf.convert_to_tensor(gradient))).reshape(*valid.shape, -1).max(axis=-1)
        if not np.isfinite(sizes).all():
            return "the gradient is not finite"
        largest_valid = max(largest.largest_valid, float(sizes[valid].max(initial=0.0)))
        place = np.unravel_index(int(np.where(valid, -1.0, sizes).argmax()), sizes.shape)
        at_padding = 0.0 if valid.all() else float(sizes[place])
        largest = dataclasses.replace(
            largest,
            largest_valid=largest_valid,
            at_free_padding=max(largest.at_free_padding, at_padding if is_free else 0.0),
        )
        if at_padding > largest.at_padding:
            largest = dataclasses.replace(largest, at_padding=at_padding, sample=int(place[0]), timestep=int(place[1]))
    return largest
