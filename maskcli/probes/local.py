"""Probe each call by itself: does its own result change with the padding among its inputs?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from maskcli.probes.compare import (
    Difference,
    find_places_of_pairs,
    find_used_tensors,
    find_worst,
    is_unused,
    measure_difference,
)
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, has_own_code
from maskcli.trace.rerun import depends_on_same_timestep, rerun_call
from maskcli.trace.values import as_float64, is_float


def is_timestepwise(context: ProbeContext, entry: CallRecord) -> bool:
    """Return whether each timestep of a call's result depends only on the same timestep of its inputs."""
    outputs = [tensor for tensor in entry.outputs if id(tensor) in context.flow.valid]
    if not outputs or any(id(tensor) in context.flow.pooled for tensor in entry.outputs):
        return False
    return depends_on_same_timestep(entry, outputs[0], context.flow.valid[id(outputs[0])])


def probe_calls(context: ProbeContext) -> dict[str, float]:
    """Replace the padding among the inputs of each call and run it again; return the calls whose result changes."""
    rng = np.random.default_rng(2)
    changes: dict[str, float] = {}
    for entry in context.base.ended:
        if entry.code or entry.parent is None or (entry.calls and not _leaks_by_itself(context, entry, changes)):
            continue
        difference = measure_local_change(context, entry, rng)
        if difference is not None and difference.counts:
            changes[context.trace.names[entry.index]] = difference.change
    return changes


def _leaks_by_itself(context: ProbeContext, entry: CallRecord, changes: dict[str, float]) -> bool:
    """Return whether only the code of a layer may leak, which is neither Keras's nor a model: no call inside does.

    Layers without a mask are left out, since the fault is the mask that they lack.
    """
    import keras

    if not has_own_code(entry.operation) or isinstance(entry.operation, keras.Model):
        return False
    path = context.trace.names.get(entry.index)
    is_given = any(mask is not None for mask in entry.padding_masks)
    return path is not None and is_given and not any(call.startswith(f"{path}/") for call in changes)


def find_bare_entries(context: ProbeContext, paths: Collection[str]) -> tuple[str, ...]:
    """Return those of some calls at which padding enters only by inputs that never had a mask.

    Another input of such a call has lost its mask, without harm, as the queries of attention have.
    """
    rng = np.random.default_rng(2)
    names = context.trace.names
    entries = (entry for entry in context.base.ended if names.get(entry.index) in paths)
    return tuple(names[entry.index] for entry in entries if _enters_bare(context, entry, rng))


def _enters_bare(context: ProbeContext, entry: CallRecord, rng: np.random.Generator) -> bool:
    flow = context.flow
    keep = map_valid_timesteps(entry, flow)
    unmasked = [id(x) for x, mask in zip(entry.inputs, entry.carried_padding, strict=True) if mask is None]
    parts = [
        {key: keep[key] for key in unmasked if key in keep and (key in flow.lost) is lost} for lost in (True, False)
    ]
    if not all(parts):
        return False
    changes = [measure_local_change(context, entry, rng, keep=part) for part in parts]
    lost, bare = (change is not None and change.counts for change in changes)
    return bare and not lost


def measure_local_change(
    context: ProbeContext,
    entry: CallRecord,
    rng: np.random.Generator,
    training: bool = False,
    keep: dict[int, Bools] | None = None,
) -> Difference | None:
    """Return how far the result of one call changes when the padding among its inputs is replaced.

    Returns None if the call has no padding among its inputs, or cannot run again.

    Args:
        context: the run.
        entry: the call.
        rng: draws the values at padding.
        training: whether the call runs as in training.
        keep: the valid timesteps of the inputs whose padding is replaced, by ``id``; None for all inputs.
    """
    sources = context.flow.list_input_validity(entry)
    if not sources or all(valid.all() for valid in sources):
        return None
    keep = map_valid_timesteps(entry, context.flow) if keep is None else keep
    before = rerun_call(entry, {}, rng, training=True) if training else entry.outputs
    after = rerun_call(entry, keep, rng, training) if keep else None
    used = find_used_tensors(context.base)
    triples = zip(entry.outputs, before or (), after or (), strict=False)
    align, flow = context.align(), context.flow
    pairs = {id(tensor): find_places_of_pairs(tensor, tensor, flow, align) for tensor in entry.outputs}
    places = {key: pair[0] for key, pair in pairs.items() if pair is not None}
    return find_worst(
        measure_difference(
            old,
            places.get(id(tensor), flow.valid.get(id(tensor))),
            new,
            align,
            *context.tolerance.of(entry.index, position),
        )
        for position, (tensor, old, new) in enumerate(triples)
        if len(tensor.shape) and (id(tensor) in context.flow.valid or id(tensor) in context.flow.pooled)
        if not is_unused(entry, tensor, used)
    )


def map_valid_timesteps(entry: CallRecord, flow: MaskFlow) -> dict[int, Bools]:
    """Return the valid timesteps of each float input with timesteps, by ``id``: these keep their values.

    A mask as numbers has none: other values at its padding would make it another mask.
    """
    valids = {id(x): flow.valid[id(x)] for x in entry.inputs if is_float(x) and id(x) in flow.valid}
    return {id(x): valids[id(x)] for x in entry.inputs if id(x) in valids and not _is_mask(x, valids[id(x)])}


def _is_mask(tensor: Any, valid: Bools) -> bool:
    """Return whether a tensor holds one number at all valid timesteps, and another one at padding."""
    values = as_float64(tensor)
    if valid.all() or not valid.any() or values.shape != (*valid.shape, *[1] * (values.ndim - valid.ndim)):
        return False
    data, padding = values[valid], values[~valid]
    return bool((data == data.flat[0]).all() and (padding == padding.flat[0]).all() and data.flat[0] != padding.flat[0])
