"""Examine single calls: those that make a mask, fail because of one, misuse one, or use padding."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.errors import summarize_error
from maskcli.probes.context import ProbeContext
from maskcli.probes.local import is_timestepwise, measure_local_change
from maskcli.records.arrays import Bools
from maskcli.records.data import Occurrence
from maskcli.records.evidence import INPUT, Failure, MaskSource, MisusedMask, MixingNormalization, TakenTimestep
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Call
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording, is_of_keras, name_paths
from maskcli.trace.rerun import rerun_operation
from maskcli.trace.run import Run, get_path
from maskcli.trace.values import as_float64, get_dtype, is_float


def find_place(where: Bools, labels: NDArray[np.intp]) -> Occurrence | None:
    """Return how often, and where first, ``(batch, timesteps, ...)`` is True; None if it never is.

    ``labels`` has the rows of the data that these are.
    """
    if not where.any():
        return None
    sample, timestep = np.argwhere(where)[0][:2]
    return Occurrence(int(where.sum()), int(labels[sample]), int(timestep))


def find_mask_sources(run: Run, inputs: Sequence[ModelInput], labels: NDArray[np.intp]) -> tuple[MaskSource, ...]:
    """Return the calls that make a mask although none comes in, and mask inputs, compared with the data."""
    names = {id(tensor): item.name for tensor, item in zip(run.recording.inputs, inputs, strict=False)}
    sources = (_make_source(entry, run, labels, names) for entry in run.recording.ended if _is_source(entry, run))
    return (*sources, *_compare_mask_inputs(inputs, labels))


def _is_source(entry: CallRecord, run: Run) -> bool:
    call = run.calls_of.get(entry.index)
    return call is not None and call.effect == "creates" and call.valid is not None and not entry.calls


def _make_source(entry: CallRecord, run: Run, labels: NDArray[np.intp], names: Mapping[int, str]) -> MaskSource:
    call = run.calls_of[entry.index]
    mask, valid = call.mask_out, call.valid
    assert mask is not None and valid is not None  # noqa: S101 - a source has both
    missed, hidden = None, None
    if mask.shape == valid.shape:
        missed, hidden = find_place(mask & ~valid, labels), find_place(~mask & valid, labels)
    elif mask.shape[:2] == valid.shape:  # Parts of timesteps, such as pixels of frames or words of sentences.
        part_valid = valid.reshape(*valid.shape, *[1] * (mask.ndim - 2))
        hidden = find_place(_select_inside(~mask) & part_valid, labels)
    if np.ndim(getattr(entry.operation, "mask_value", 0.0)):  # Data hardly equals a vector of several numbers.
        hidden = None
    makers = (run.flow.maker.get(id(tensor)) for tensor in entry.inputs)
    lookup = next((maker for maker in makers if maker is not None and _is_lookup(maker, run.flow)), None)
    return MaskSource(
        call=call.call,
        type=call.type,
        of_ids=not is_float(entry.outputs[0]) or len(entry.outputs[0].shape) < 3,
        looks_up=_is_lookup(entry, run.flow),
        after_lookup=get_path(run.names, lookup),
        missed=missed,
        hidden=hidden,
        padding=int((~valid).sum()),
        of_parts=mask.ndim > 2,
        looks_for_nan=looks_for_nan(entry.operation),
        input=names.get(id(entry.inputs[0])) if entry.inputs else None,
        of_numbers=_receives_numbers(entry),
    )


def _receives_numbers(entry: CallRecord) -> bool:
    """Return whether a call receives floats ``(batch, columns)`` that are no ids: the data has fractions."""
    tensor = entry.inputs[0] if entry.inputs else None
    if tensor is None or len(tensor.shape) != 2 or not is_float(tensor):
        return False
    values = as_float64(tensor)
    return bool((values != np.round(values)).any())


def looks_for_nan(operation: Any) -> bool:
    """Return whether a ``Masking`` layer looks for NaN, which equals nothing."""
    value = getattr(operation, "mask_value", None)
    return bool(isinstance(value, float) and np.isnan(value))


def _select_inside(masked: Bools) -> Bools:
    """Return the masked places that are not at an end of the last axis; there they may be padding of the data."""
    from_start = np.logical_and.accumulate(masked, axis=-1)
    from_end = np.logical_and.accumulate(masked[..., ::-1], axis=-1)[..., ::-1]
    inside: Bools = masked & ~from_start & ~from_end
    return inside


def _compare_mask_inputs(inputs: Sequence[ModelInput], labels: NDArray[np.intp]) -> Iterator[MaskSource]:
    """Yield the masks that a model takes as inputs, each compared with the validity of the data."""
    for model_input in inputs:
        valid = model_input.valid
        if model_input.kind == "mask" and valid is not None:
            mask = model_input.values.astype(bool) != model_input.inverted
            missed, hidden = find_place(mask & ~valid, labels), find_place(~mask & valid, labels)
            yield MaskSource(model_input.name, INPUT, False, False, None, missed, hidden, int((~valid).sum()))


def _is_lookup(entry: CallRecord, flow: MaskFlow) -> bool:
    ids = any(id(tensor) in flow.valid and len(tensor.shape) == 2 for tensor in entry.inputs)
    return ids and bool(entry.outputs) and is_float(entry.outputs[0]) and len(entry.outputs[0].shape) == 3


def find_failure(recording: Recording) -> Failure | None:
    """Return the call that fails because of a mask: it raises with the mask and runs without it."""
    failed = [entry for entry in recording.entries if entry.error is not None]
    if not failed or not failed[-1].mask_tensors:
        return None
    entry = failed[-1]
    if _rerun_without_mask(entry) is None:
        return None
    masks = [mask for masks in entry.mask_values.values() for mask in masks if mask is not None]
    names = name_paths([entry for entry in recording.entries if not entry.code])
    return Failure(
        call=names[entry.index],
        type=entry.type,
        mask_shapes=tuple(mask.shape for mask in masks),
        input_shapes=tuple(tuple(tensor.shape) for tensor in entry.inputs),
        error=summarize_error(entry.error) if entry.error is not None else "",
        at_fault=_name_keras_at_fault(entry),
        unrolled=_is_unrolled(entry.operation),
    )


def _name_keras_at_fault(entry: CallRecord) -> str | None:
    """Return the version of Keras and the backend, if a layer of Keras fails with an exception for a bug in it."""
    import keras

    if not isinstance(entry.error, AttributeError | NameError) or not is_of_keras(type(entry.operation)):
        return None
    return f"Keras {keras.__version__} on {get_backend().title}"


def _is_unrolled(operation: Any) -> bool:
    parts = (operation, getattr(operation, "forward_layer", None))
    return any(getattr(part, "unroll", False) is True for part in parts)


def _rerun_without_mask(entry: CallRecord) -> Any | None:
    """Return the output of a call without any mask; None if it raises."""
    import keras

    def copy_leaf(leaf: Any) -> Any:
        return keras.ops.copy(leaf) if get_backend().has_values(leaf) and len(leaf.shape) else leaf

    args = keras.tree.map_structure(copy_leaf, entry.args)
    kwargs = {name: value for name, value in entry.kwargs.items() if name not in entry.accepts}
    return rerun_operation(entry.operation, args, keras.tree.map_structure(copy_leaf, kwargs))


def find_taken_timestep(context: ProbeContext, path: str | None) -> TakenTimestep | None:
    """Return the single timestep that a call takes of its input, and the rows in which it is padding.

    Returns None if the call of that path takes no single timestep, or never padding.
    """
    entry = find_call_record(context, path)
    if entry is None or not entry.outputs or not entry.inputs:
        return None
    gathered = _find_gathered_timestep(context, entry)
    if gathered is not None:
        return gathered
    source, taken = entry.inputs[0], entry.outputs[0]
    valid = context.flow.valid.get(id(source))
    if valid is None or len(source.shape) != len(taken.shape) + 1 or not is_float(source):
        return None
    values, result = as_array(source), as_array(taken)
    for timestep in (values.shape[1] - 1, 0):
        if values[:, timestep].shape == result.shape and np.array_equal(values[:, timestep], result):
            padded = ~valid[:, timestep] & context.relevant
            if padded.any():
                sample = int(context.labels[padded.argmax()])
                call = context.trace.names[entry.index]
                return TakenTimestep(call, timestep, int(padded.sum()), len(padded), sample)
    return None


def _find_gathered_timestep(context: ProbeContext, entry: CallRecord) -> TakenTimestep | None:
    """Return the timesteps that a call gathers by an index for each row, if any is padding; None for other calls."""
    taken, cells = entry.outputs[0], context.flow.positions.cells
    labels = context.flow.positions.get_labels(taken)
    if len(labels) != 1 or not is_float(taken) or id(taken) in context.flow.valid:
        return None
    (layer,) = labels
    if layer.size != len(context.relevant) or layer.shape[0] != layer.size:
        return None
    timesteps, sources = (table[layer.reshape(-1)] for table in (cells.time, cells.source))
    if (timesteps < 0).any() or (sources != sources[0]).any() or (timesteps == timesteps[0]).all():
        return None
    padded = ~cells.valid[layer.reshape(-1)] & context.relevant
    if not padded.any():
        return None
    sample = int(context.labels[padded.argmax()])
    return TakenTimestep(context.trace.names[entry.index], None, int(padded.sum()), len(padded), sample)


def find_call_record(context: ProbeContext, path: str | None) -> CallRecord | None:
    """Return the recorded call of a path."""
    index = next((index for index, name in context.trace.names.items() if name == path), None)
    return None if index is None else context.base.entries[index]


def find_misused_masks(context: ProbeContext) -> Iterator[MisusedMask]:
    """Yield calls that treat each timestep by itself, but change valid ones because of their mask.

    A correct mask changes padded timesteps only; one that is broadcast along the wrong axes changes all.
    """
    for entry, call in iterate_leaf_calls(context):
        same = call.shapes_in == call.shapes_out[:1] and len(call.shapes_out[0]) > 2
        if not call.given or not same or call.valid is None or call.valid.shape != call.shapes_out[0][:2]:
            continue
        if not is_timestepwise(context, entry):
            continue
        without = _rerun_without_mask(entry)
        if without is None or tuple(without.shape) != call.shapes_out[0]:
            continue
        change = np.abs(as_float64(without) - as_float64(entry.outputs[0]))[call.valid]
        if change.max(initial=0.0) > context.tolerance.relative[entry.index]:
            yield MisusedMask(call.call, float(change.max()))


def find_mixing(context: ProbeContext, first_call: str | None) -> Iterator[MixingNormalization]:
    """Yield normalisations whose statistics include padding: where it enters first, or in training.

    The statistics that a layer keeps of a batch in training are weights that are not trained, such as moving means.
    """
    rng = np.random.default_rng(4)
    for entry, call in iterate_leaf_calls(context):
        if ".normalization." in type(entry.operation).__module__ and call.call == first_call:
            training = False
        elif _keeps_statistics(entry.operation):
            training = True
        else:
            continue
        difference = measure_local_change(context, entry, rng, training=training)
        if difference is not None and difference.counts:
            yield MixingNormalization(call.call, difference.change, training=training)


def iterate_leaf_calls(context: ProbeContext) -> Iterator[tuple[CallRecord, Call]]:
    """Yield the calls of layers and operations that make no further calls, with their records."""
    for entry in context.base.ended:
        call = context.trace.calls_of.get(entry.index)
        if call is not None and not entry.code and not entry.calls and entry.outputs and entry.inputs:
            yield entry, call


def _keeps_statistics(operation: Any) -> bool:
    weights = getattr(operation, "non_trainable_weights", ())
    floats = [weight for weight in weights if get_dtype(weight).startswith("float")]
    return bool(floats) and getattr(operation, "trainable", False) and "training" in _list_arguments(operation)


def _list_arguments(operation: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(operation.call).parameters)
