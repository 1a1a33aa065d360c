"""Gradients of valid outputs with respect to padding. Only this module and ``losses`` use GradientTape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.inputs.arguments import pack_arguments
from maskcli.probes.padding_sources import PaddingSources
from maskcli.records.arrays import Bools
from maskcli.trace.recorder import CallRecord, Recording, record_run
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64, is_float


@dataclasses.dataclass(frozen=True)
class PaddingGradient:
    """The largest derivative by a value at padding, its place, and the largest by any valid value."""

    at_padding: float
    largest_valid: float
    sample: int
    timestep: int


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


def compute_padding_gradient(
    taped: TapedRun, run: ModelRun, sources: PaddingSources, relevant: Bools, valids: Sequence[Bools | None]
) -> PaddingGradient | str:
    """Return how much the results that count depend on padding, or the reason why that is not known.

    Args:
        taped: the run to differentiate.
        run: the run that it repeats.
        sources: where padding becomes numbers.
        relevant: ``(batch,)``, the rows whose results count.
        valids: for each output its valid timesteps, or None without timesteps.
    """
    if taped.recording.error is not None:
        return f"the model raises {type(taped.recording.error).__name__}"
    with taped.tape:
        total = _sum_outputs(taped.recording, relevant, valids)
    if total is None:
        return "no output is made of floats"
    of_inputs = [(tensor, run.inputs[position].valid) for position, tensor in taped.inputs.items()]
    of_results = [(tensor, sources.calls[index]) for index, tensor in taped.results.items()]
    watched = [(tensor, valid) for tensor, valid in (*of_inputs, *of_results) if valid is not None]
    try:
        gradients = taped.tape.gradient(total, [tensor for tensor, _ in watched])
    except Exception as error:
        return f"TensorFlow cannot differentiate the model ({type(error).__name__})"
    return _find_largest(gradients, [valid for _, valid in watched])


def _sum_outputs(run: Recording, relevant: Bools, valids: Sequence[Bools | None]) -> Any:
    """Return ``sum(w * outputs)`` over valid timesteps and pooled results of the ``relevant`` rows.

    The weights w are random: a plain sum would hide every effect on a softmax, whose outputs always add up to one.
    """
    import tensorflow as tf

    rng, total = np.random.default_rng(3), None
    for (_, tensor), valid in zip(list_output_tensors(run.output), valids, strict=True):
        if not is_float(tensor) or not len(tensor.shape) or tensor.shape[0] != len(relevant):
            continue
        keep = relevant.reshape(-1, *[1] * (len(tensor.shape) - 1))
        if valid is not None:
            keep = keep & valid.reshape(*valid.shape, *[1] * (len(tensor.shape) - 2))
        weights = np.where(keep, rng.standard_normal(tuple(tensor.shape)), 0.0)
        finite = tf.where(keep, tensor, tf.zeros_like(tensor))
        part = tf.reduce_sum(finite * tf.cast(weights, tensor.dtype))
        total = part if total is None else total + tf.cast(part, total.dtype)
    return total


def _find_largest(gradients: Sequence[Any], valids: Sequence[Bools]) -> PaddingGradient | str:
    import tensorflow as tf

    largest = PaddingGradient(0.0, 0.0, 0, 0)
    for gradient, valid in zip(gradients, valids, strict=True):
        if gradient is None:  # Not connected: no result depends on it.
            continue
        sizes = np.abs(as_float64(tf.convert_to_tensor(gradient))).reshape(*valid.shape, -1).max(axis=-1)
        if not np.isfinite(sizes).all():
            return "the gradient is not finite"
        largest_valid = max(largest.largest_valid, float(sizes[valid].max(initial=0.0)))
        sample, timestep = np.unravel_index(int(np.where(valid, -1.0, sizes).argmax()), sizes.shape)
        at_padding = 0.0 if valid.all() else float(sizes[sample, timestep])
        if at_padding > largest.at_padding:
            largest = PaddingGradient(at_padding, largest_valid, int(sample), int(timestep))
        else:
            largest = dataclasses.replace(largest, largest_valid=largest_valid)
    return largest
