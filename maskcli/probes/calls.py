"""What single calls do with their masks: those that make one, that a mask breaks, that take or mix padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.probes.context import ProbeContext
from maskcli.probes.local import is_timestepwise, measure_local_change
from maskcli.records.arrays import Bools
from maskcli.records.data import Occurrence
from maskcli.records.evidence import INPUT, Failure, MaskSource, MisusedMask, MixingNormalization, TakenTimestep
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Call
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording, name_paths
from maskcli.trace.rerun import rerun_operation
from maskcli.trace.run import Run
from maskcli.trace.values import as_float64, get_dtype, is_float


def find_place(where: Bools, labels: NDArray[np.intp]) -> Occurrence | None:
    """Return how often and where first ``(batch, timesteps)`` is True; None where it never is.

    ``labels`` has the rows of the data that these are.
    """
    if not where.any():
        return None
    sample, timestep = np.argwhere(where)[0]
    return Occurrence(int(where.sum()), int(labels[sample]), int(timestep))


def find_mask_sources(run: Run, inputs: Sequence[ModelInput], labels: NDArray[np.intp]) -> tuple[MaskSource, ...]:
    """Return the calls that made a mask where none came in, each set against the truth."""
    made = (_source(entry, run, labels) for entry in run.watched.ended if _is_source(entry, run))
    return (*made, *_mask_inputs(inputs, labels))


def _is_source(entry: CallRecord, run: Run) -> bool:
    call = run.calls_of.get(entry.index)
    return call is not None and call.effect == "creates" and call.valid is not None and not entry.calls


def _source(entry: CallRecord, run: Run, labels: NDArray[np.intp]) -> MaskSource:
    call = run.calls_of[entry.index]
    mask, valid = call.mask_out, call.valid
    assert mask is not None and valid is not None  # noqa: S101 - a source has both
    same = mask.shape == valid.shape
    makers = (run.flow.maker.get(id(tensor)) for tensor in entry.inputs)
    lookup = next((maker for maker in makers if maker is not None and _is_lookup(maker, run.flow)), None)
    return MaskSource(
        call=call.call,
        type=call.type,
        of_ids=not is_float(entry.outputs[0]) or len(entry.outputs[0].shape) < 3,
        looks_up=_is_lookup(entry, run.flow),
        after_lookup=run.names.get(lookup.index) if lookup is not None else None,
        missed=find_place(mask & ~valid, labels) if same else None,
        hidden=find_place(_inside(~mask) & valid, labels) if same else None,
        padding=int((~valid).sum()),
    )


def _inside(masked: Bools) -> Bools:
    """Return masked timesteps that are not at either end of a row: those may be padding that nobody else tells of."""
    from_start = np.logical_and.accumulate(masked, axis=1)
    from_end = np.logical_and.accumulate(masked[:, ::-1], axis=1)[:, ::-1]
    inside: Bools = masked & ~from_start & ~from_end
    return inside


def _mask_inputs(inputs: Sequence[ModelInput], labels: NDArray[np.intp]) -> Iterator[MaskSource]:
    """Yield the masks that a model takes as inputs, each set against the truth."""
    for given in inputs:
        if given.kind == "mask" and given.valid is not None:
            told = given.values.astype(bool)
            missed, hidden = find_place(told & ~given.valid, labels), find_place(~told & given.valid, labels)
            yield MaskSource(given.name, INPUT, False, False, None, missed, hidden, int((~given.valid).sum()))


def _is_lookup(entry: CallRecord, flow: MaskFlow) -> bool:
    ids = any(id(tensor) in flow.valid and len(tensor.shape) == 2 for tensor in entry.inputs)
    return ids and bool(entry.outputs) and is_float(entry.outputs[0]) and len(entry.outputs[0].shape) == 3


def find_failure(watched: Recording) -> Failure | None:
    """Return the call that raised because of a mask: with it it raises, without it it runs."""
    failed = [entry for entry in watched.entries if entry.error is not None]
    if not failed or not failed[-1].given:
        return None
    entry = failed[-1]
    if _runs_without_mask(entry) is None:
        return None
    masks = [mask for given in entry.given_masks.values() for mask in given if mask is not None]
    return Failure(
        call=name_paths([each for each in watched.entries if not each.code])[entry.index],
        type=entry.type,
        mask_shapes=tuple(mask.shape for mask in masks),
        input_shapes=tuple(tuple(tensor.shape) for tensor in entry.inputs),
        error=summarize_error(entry.error) if entry.error is not None else "",
    )


def _runs_without_mask(entry: CallRecord) -> Any | None:
    """Return what a call gives without any mask; None when it raises."""
    import keras

    def bare(leaf: Any) -> Any:
        return keras.ops.copy(leaf) if hasattr(leaf, "numpy") and len(leaf.shape) else leaf

    args = keras.tree.map_structure(bare, entry.args)
    kwargs = {name: value for name, value in entry.kwargs.items() if name not in entry.accepts}
    return rerun_operation(entry.operation, args, keras.tree.map_structure(bare, kwargs))


def find_taken_timestep(subject: ProbeContext, path: str | None) -> TakenTimestep | None:
    """Return which one timestep the call of that path takes of all, and for which rows that is padding."""
    entry = find_call_record(subject, path)
    if entry is None or not entry.outputs or not entry.inputs:
        return None
    source, taken = entry.inputs[0], entry.outputs[0]
    valid = subject.flow.valid.get(id(source))
    if valid is None or len(source.shape) != len(taken.shape) + 1 or not is_float(source):
        return None
    values, result = np.asarray(source), np.asarray(taken)
    for timestep in (values.shape[1] - 1, 0):
        if values[:, timestep].shape == result.shape and np.array_equal(values[:, timestep], result):
            padded = ~valid[:, timestep] & subject.counted
            if padded.any():
                call = subject.run.names[entry.index]
                return TakenTimestep(
                    call, timestep, int(padded.sum()), len(padded), int(subject.labels[padded.argmax()])
                )
    return None


def find_call_record(subject: ProbeContext, path: str | None) -> CallRecord | None:
    """Return the watched call of a path."""
    index = next((index for index, name in subject.run.names.items() if name == path), None)
    return next((entry for entry in subject.base.entries if entry.index == index), None)


def find_misused_masks(subject: ProbeContext) -> Iterator[MisusedMask]:
    """Yield calls that work on each timestep alone, and give others at valid ones because of the mask they are given.

    A mask that is right changes padded timesteps only; one that is broadcast along the wrong axes changes all.
    """
    for entry, call in iterate_leaf_calls(subject):
        same = call.shapes_in == call.shapes_out[:1] and len(call.shapes_out[0]) > 2
        if not call.given or not same or call.valid is None or call.valid.shape != call.shapes_out[0][:2]:
            continue
        if not is_timestepwise(subject, entry):
            continue
        without = _runs_without_mask(entry)
        if without is None or tuple(without.shape) != call.shapes_out[0]:
            continue
        change = np.abs(as_float64(without) - as_float64(entry.outputs[0]))[call.valid]
        if change.max(initial=0.0) > subject.allowed.relative[entry.index]:
            yield MisusedMask(call.call, float(change.max()))


def find_mixing(subject: ProbeContext, first_call: str | None) -> Iterator[MixingNormalization]:
    """Yield normalisations whose statistics take padding in: at the call where it first enters, or in training.

    What a layer keeps of a batch in training is in its weights that are not trained: moving means and variances.
    """
    chance, allowed = np.random.default_rng(4), subject.allowed.relative
    for entry, call in iterate_leaf_calls(subject):
        if ".normalization." in type(entry.operation).__module__ and call.call == first_call:
            change = measure_local_change(subject, entry, chance, allowed[entry.index])
            if change is not None and change.counts:
                yield MixingNormalization(call.call, change.change, training=False)
        elif _keeps_statistics(entry.operation):
            change = measure_local_change(subject, entry, chance, allowed[entry.index], training=True)
            if change is not None and change.counts:
                yield MixingNormalization(call.call, change.change, training=True)


def iterate_leaf_calls(subject: ProbeContext) -> Iterator[tuple[CallRecord, Call]]:
    """Yield the calls of layers and operations that make no further calls, with their records."""
    for entry in subject.base.ended:
        call = subject.run.calls_of.get(entry.index)
        if call is not None and not entry.code and not entry.calls and entry.outputs and entry.inputs:
            yield entry, call


def _keeps_statistics(operation: Any) -> bool:
    kept = getattr(operation, "non_trainable_weights", ())
    floats = [weight for weight in kept if get_dtype(weight).startswith("float")]
    return bool(floats) and getattr(operation, "trainable", False) and "training" in _arguments(operation)


def _arguments(operation: Any) -> tuple[str, ...]:
    import inspect

    return tuple(inspect.signature(operation.call).parameters)
