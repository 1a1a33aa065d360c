"""Gradients of valid outputs with respect to padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.base import Tape, Watch
from maskcli.backends.choice import get_backend
from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.probes.compare import align_results, find_validity_of_pair, share_scales
from maskcli.probes.context import ProbeContext
from maskcli.probes.padding_sources import PaddingSources
from maskcli.records.arrays import Bools
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording, record_run
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import is_float

BYTES = 2**29
"""Memory of a tape, at most, where rows can be taped in blocks."""
TAPED = 6
"""How many times as much a tape keeps as the recording of the same run, about: also results inside layers of Keras."""


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
    """A run that can be differentiated.

    Attributes:
        rows: the rows of the base run that it has.
        tape: the tape, which may keep intermediate results. Its keys are ``("input", position)`` for inputs of the
            model, and ``("call", index)`` for results of calls.
    """

    rows: NDArray[np.intp]
    tape: Tape

    @property
    def recording(self) -> Recording:
        """The run."""
        recording: Recording = self.tape.result
        return recording


def split_rows(run: ModelRun, sources: PaddingSources | str) -> list[NDArray[np.intp]]:
    """Return the rows of a run in blocks of which a tape keeps at most ``BYTES``, or of one row.

    A fixed batch is one block, and that of a model whose calls have other rows, as of one that runs row by row. Of
    several blocks, and of a large model, rows without padding are left out: they have nothing to differentiate by.
    Whether padding reaches them from other rows is shown by the probes that compare their results.
    """
    rows = len(run.inputs[0].values)
    has_rows = isinstance(sources, str) or all(len(valid) == rows for valid in sources.calls.values())
    size = max(1, BYTES * rows // (TAPED * max(1, run.recording.bytes)))
    fits = size >= rows and not run.is_large
    if isinstance(sources, str) or fits or not has_rows or find_fixed_batch(run.model) is not None:
        return [np.arange(rows)]
    padded = np.flatnonzero(_find_padded_rows(run, sources))
    return np.array_split(padded, -(-len(padded) // size)) if len(padded) else [np.arange(rows)[:1]]


def _find_padded_rows(run: ModelRun, sources: PaddingSources) -> Bools:
    """Return ``(rows,)``: whether any padding of a row becomes numbers."""
    valid = [*sources.calls.values(), *(run.inputs[position].valid for position in sources.inputs)]
    padded: Bools = np.zeros(len(run.inputs[0].values), bool)
    for places in valid:
        if places is not None:
            padded |= ~places.reshape(len(places), -1).all(axis=1)
    return padded


def record_under_tape(run: ModelRun, sources: PaddingSources, rows: NDArray[np.intp]) -> TapedRun:
    """Repeat a run on some rows under a tape that watches where padding becomes numbers."""
    import keras

    inputs_of_rows = [select_rows(model_input, rows) for model_input in run.inputs]
    arguments = keras.tree.map_structure(keras.ops.convert_to_tensor, pack_arguments(run.model, inputs_of_rows))

    def record(watch: Watch) -> Recording:
        tensors = keras.tree.flatten(arguments)
        for position, tensor in enumerate(tensors):
            if position in sources.inputs and run.inputs[position].valid is not None:
                tensors[position] = watch(("input", position), tensor)

        def watch_result(entry: CallRecord, results: list[Any]) -> list[Any] | None:
            if entry.index not in sources.calls or not is_float(results[0]):
                return None
            watched = watch(("call", entry.index), results[0])
            return None if watched is results[0] else [watched, *results[1:]]

        return record_run(run.model, keras.tree.pack_sequence_as(arguments, tensors), alter=watch_result)

    return TapedRun(rows, get_backend().record_tape(record))


def compute_padding_gradient(taped: TapedRun, context: ProbeContext, sources: PaddingSources) -> PaddingGradient | str:
    """Return how much the results that count depend on padding, or the reason why that is not known.

    Args:
        taped: the run to differentiate.
        context: the run that it repeats.
        sources: where padding becomes numbers.
    """
    if taped.recording.error is not None:
        return f"the model raises {type(taped.recording.error).__name__}"
    if not any(is_float(tensor) for _, tensor in list_output_tensors(context.base.output)):
        return "no output is made of floats"
    try:
        gradients = taped.tape.differentiate(lambda recording: _sum_outputs(recording, taped.rows, context))
    except Exception as error:
        return f"{get_backend().title} cannot differentiate the model ({type(error).__name__})"
    n_rows = len(context.relevant)
    watched: list[tuple[NDArray[Any], Bools, bool]] = []
    for (kind, index), gradient in gradients.items():
        valid = context.inputs[index].valid if kind == "input" else sources.calls.get(index)
        if valid is not None:
            free = kind == "input" or index not in sources.fixed
            time_axis = context.inputs[index].time_axis if kind == "input" else 1
            watched.append(
                (np.moveaxis(gradient, time_axis, 1), valid[taped.rows] if len(valid) == n_rows else valid, free)
            )
    largest = _find_largest(watched)
    return largest if isinstance(largest, str) else dataclasses.replace(largest, sample=int(taped.rows[largest.sample]))


def merge_gradients(gradients: Sequence[PaddingGradient | str]) -> PaddingGradient | str:
    """Return the largest derivatives in all blocks of rows, or the reason why one is not known."""
    measured = [gradient for gradient in gradients if not isinstance(gradient, str)]
    if len(measured) < len(gradients):
        return next(gradient for gradient in gradients if isinstance(gradient, str))
    return dataclasses.replace(
        max(measured, key=lambda gradient: gradient.at_padding),
        largest_valid=max(gradient.largest_valid for gradient in measured),
        at_free_padding=max(gradient.at_free_padding for gradient in measured),
    )


def _sum_outputs(recording: Recording, rows: NDArray[np.intp], context: ProbeContext) -> Any | None:
    """Return ``sum(w * outputs)`` over valid timesteps and pooled results of the ``relevant`` rows; None without any.

    The weights w are random: a plain sum would hide every effect on a softmax, whose outputs always add up to one. Each
    feature is divided by its size, so that a large one does not hide a small one.
    """
    from keras import ops

    if recording.error is not None:
        raise recording.error
    rng, total, align = np.random.default_rng(3), None, context.align()
    pairs = zip(list_output_tensors(context.base.output), list_output_tensors(recording.output), strict=True)
    for (_, base), (_, tensor) in pairs:
        if not is_float(tensor) or not len(tensor.shape) or not len(base.shape):
            continue
        if base.shape[0] != len(context.relevant) or tensor.shape[0] != len(rows):
            continue
        valid, _ = find_validity_of_pair(base, base, context.flow, align)
        keep = context.relevant.reshape(-1, *[1] * (len(base.shape) - 1))
        if valid is not None:
            keep = keep & valid.reshape(*valid.shape, *[1] * (len(base.shape) - valid.ndim))
        results = align_results(base, valid, base, align)
        scale: Any = 1.0
        if results is not None and len(base.shape) > _count_axes(valid) and results.size.size:
            sizes = share_scales(results.size_by_feature)
            scale = np.where(sizes > 0, sizes.max(initial=0.0) / np.where(sizes > 0, sizes, 1.0), 1.0)
        weights = np.where(keep, rng.standard_normal(tuple(base.shape)) * scale, 0.0)[rows]
        finite = ops.where(keep[rows], tensor, ops.zeros_like(tensor))
        part = ops.sum(finite * ops.convert_to_tensor(weights, dtype=tensor.dtype))
        total = part if total is None else total + ops.cast(part, total.dtype)
    return total


def _count_axes(valid: Bools | None) -> int:
    """Return the number of axes before those of features."""
    return 1 if valid is None else valid.ndim


def _find_largest(gradients: Sequence[tuple[NDArray[Any], Bools, bool]]) -> PaddingGradient | str:
    """Return the largest derivatives; each has the validity of its timesteps, and whether its padding is free."""
    largest = PaddingGradient(0.0, 0.0, 0, 0)
    for gradient, valid, is_free in gradients:
        sizes = np.abs(gradient.astype(np.float64)).reshape(*valid.shape, -1).max(axis=-1)
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
