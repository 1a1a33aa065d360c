"""Derivatives of what counts by what is padding: the one place that knows how TensorFlow differentiates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from maskcli.inputs.arguments import pack_arguments
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.recorder import CallRecord, record_run
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float

if TYPE_CHECKING:
    from maskcli.probes.padding_sources import PaddingSources


@dataclasses.dataclass(frozen=True)
class PaddingGradient:
    """The largest derivative by a value at padding, where that is, and the largest by any valid value."""

    at_padding: float
    largest_valid: float
    sample: int
    timestep: int


def compute_padding_gradient(
    model: Any, inputs: Sequence[ModelInput], sources: PaddingSources, counted: Bools, valids: Sequence[Bools | None]
) -> PaddingGradient | str:
    """Return how much the results that count depend on padding, or why that cannot be told.

    ``valids`` has the timesteps of each output that are no padding. Differentiated is ``sum(w * outputs)`` over valid
    timesteps and pooled results of the ``counted`` rows, with random
    weights w: a plain sum would hide all that a softmax does, whose outputs always add up to one.
    """
    import keras
    import tensorflow as tf

    structure = keras.tree.map_structure(tf.convert_to_tensor, pack_arguments(model, inputs))
    watched: list[tuple[Any, Bools]] = []
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for position, tensor in enumerate(keras.tree.flatten(structure)):
            valid = inputs[position].valid
            if position in sources.inputs and valid is not None:
                tape.watch(tensor)
                watched.append((tensor, valid))

        def note(entry: CallRecord, tensors: list[Any]) -> None:
            if entry.index in sources.calls and is_float(tensors[0]):
                tape.watch(tensors[0])
                watched.append((tensors[0], sources.calls[entry.index]))

        run = record_run(model, structure, alter=note)
        if run.error is not None:
            return f"the model raises {type(run.error).__name__}"
        total = _weighed(run, counted, valids)
    if total is None:
        return "no output is made of floats"
    try:
        gradients = tape.gradient(total, [tensor for tensor, _ in watched])
    except Exception as error:
        return f"TensorFlow cannot differentiate the model ({type(error).__name__})"
    return _largest(gradients, [valid for _, valid in watched])


def _weighed(run: Any, counted: Bools, valids: Sequence[Bools | None]) -> Any:
    import tensorflow as tf

    chance, total = np.random.default_rng(3), None
    for (_, tensor), valid in zip(list_output_tensors(run.output), valids, strict=True):
        if not is_float(tensor) or not len(tensor.shape) or tensor.shape[0] != len(counted):
            continue
        keep = counted.reshape(-1, *[1] * (len(tensor.shape) - 1))
        if valid is not None:
            keep = keep & valid.reshape(*valid.shape, *[1] * (len(tensor.shape) - 2))
        weights = np.where(keep, chance.standard_normal(tuple(tensor.shape)), 0.0)
        finite = tf.where(keep, tensor, tf.zeros_like(tensor))
        part = tf.reduce_sum(finite * tf.cast(weights, tensor.dtype))
        total = part if total is None else total + tf.cast(part, total.dtype)
    return total


def _largest(gradients: Sequence[Any], valids: Sequence[Bools]) -> PaddingGradient | str:
    import tensorflow as tf

    found = PaddingGradient(0.0, 0.0, 0, 0)
    for gradient, valid in zip(gradients, valids, strict=True):
        if gradient is None:  # Not connected: no result depends on it.
            continue
        sizes = np.abs(as_float64(tf.convert_to_tensor(gradient))).reshape(*valid.shape, -1).max(axis=-1)
        if not np.isfinite(sizes).all():
            return "the gradient is not finite"
        place = np.unravel_index(int(np.where(valid, -1.0, sizes).argmax()), sizes.shape)
        at = float(sizes[place]) if not valid.all() else 0.0
        largest = max(found.largest_valid, float(sizes[valid].max(initial=0.0)))
        worse = at > found.at_padding
        found = PaddingGradient(
            max(at, found.at_padding),
            largest,
            int(place[0]) if worse else found.sample,
            int(place[1]) if worse else found.timestep,
        )
    return found
