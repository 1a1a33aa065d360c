"""Recognise calls whose padding carries nothing of its own: zeros, or copies of a valid result of the same row.

An RNN with a mask repeats its last valid output at padding after the tokens, and returns its initial state at padding
before them. Noise in place of such padding changes the result of ``x[:, -1]``, which is right all the same. Such a call
is at fault only if the number of padded timesteps changes its result, as it does that of a mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.compare import copy_valid, measure_difference, pair_calls
from maskcli.probes.context import ProbeContext
from maskcli.probes.lengths import RowsAlone
from maskcli.records.arrays import Bools
from maskcli.trace.recorder import CallRecord
from maskcli.trace.rerun import rerun_with
from maskcli.trace.values import as_float64, is_float


def drop_right_calls(
    context: ProbeContext, changes: Mapping[str, float], alone: Sequence[RowsAlone]
) -> dict[str, float]:
    """Return the calls whose result changes with their padding, without those that only use empty padding rightly.

    Args:
        context: the probed run.
        changes: by call, the change of its result when noise replaces the padding among its inputs.
        alone: the rows without their padding; if there are none, all calls stay.
    """
    indices = {name: index for index, name in context.trace.names.items()}
    return {
        name: change
        for name, change in changes.items()
        if not alone or not _is_right(context, context.base.entries[indices[name]], alone)
    }


def _is_right(context: ProbeContext, entry: CallRecord, alone: Sequence[RowsAlone]) -> bool:
    """Return whether a call has only empty padding, of which any number gives the same result."""
    sources = [tensor for tensor in entry.inputs if is_float(tensor) and id(tensor) in context.flow.valid]
    if not sources or not all(_is_empty(as_float64(x), context.flow.valid[id(x)]) for x in sources):
        return False
    return all(_returns_same(context, entry, rows) for rows in alone)


def _is_empty(values: NDArray[np.float64], valid: Bools) -> bool:
    """Return whether all padded timesteps are zero, or equal to the nearest valid one before them."""
    if valid.ndim != 2 or valid.all():
        return False
    flat = values.reshape(*valid.shape, -1)
    steps = np.where(valid, np.arange(valid.shape[1]), -1)
    last = np.maximum.accumulate(steps, axis=1)
    copied = np.take_along_axis(flat, np.maximum(last, 0)[..., None], axis=1)
    same = (flat == np.where((last < 0)[..., None], 0.0, copied)).all(axis=2) | (flat == 0).all(axis=2)
    return bool((same | valid).all())


def _returns_same(context: ProbeContext, entry: CallRecord, rows: RowsAlone) -> bool:
    """Return whether a call returns the same for rows without their padding, given the same valid timesteps."""
    other = next((new for old, new in pair_calls(context.base, rows.recording) if old is entry), None)
    if other is None or len(other.inputs) != len(entry.inputs):
        return False
    align = context.align(rows.rows, rows.flow)
    values = {}
    for tensor, changed in zip(entry.inputs, other.inputs, strict=True):
        if id(tensor) in context.flow.valid and is_float(tensor):
            copied = copy_valid(context.flow, tensor, changed, align)
        elif id(tensor) in context.flow.pooled and tuple(tensor.shape[1:]) == tuple(changed.shape[1:]):
            copied = as_float64(tensor)[rows.rows]
        else:
            continue
        if copied is None:
            return False
        values[id(changed)] = copied
    after = rerun_with(other, values)
    if after is None or len(after) != len(entry.outputs):
        return False
    differences = [
        measure_difference(
            tensor,
            context.flow.valid.get(id(tensor)),
            new,
            align,
            *context.tolerance.of(entry.index, position),
            changed_valid=rows.flow.valid.get(id(recorded)),
        )
        for position, (tensor, recorded, new) in enumerate(zip(entry.outputs, other.outputs, after, strict=True))
    ]
    return all(difference is not None and not difference.counts for difference in differences)
