"""Rows without a valid timestep: nothing is left to compute with, but some layers compute a result anyway."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from maskcli.probes.compare import compare_outputs
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.records.evidence import EmptyRows
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float


def examine_empty_rows(context: ProbeContext, replaced: Recording | None) -> EmptyRows | None:
    """Examine the results of rows without a valid timestep; None if there are no such rows.

    ``replaced`` is a run with other values at padding, if there is one.
    """
    empty = ~context.relevant
    if not empty.any():
        return None
    change, of_padding = _measure_change(context, replaced)
    return EmptyRows(
        rows=int(empty.sum()),
        sample=int(context.labels[empty.argmax()]),
        not_finite=_find_not_finite(context),
        of_padding=of_padding,
        max_abs_change=change,
    )


def _find_not_finite(context: ProbeContext) -> str | None:
    """Return the first call whose result is not finite only in empty rows, if an output of the model is like that."""
    empty = ~context.relevant
    outputs = [tensor for _, tensor in list_output_tensors(context.base.output)]
    if not any(_breaks(tensor, empty) for tensor in outputs):
        return None
    for entry in context.base.ended:
        if entry.code and entry.index not in context.trace.names:
            continue
        if any(_breaks(tensor, empty) for tensor in entry.outputs):
            return context.trace.names[entry.index]
    return None


def _breaks(tensor: Any, empty: Bools) -> bool:
    """Return whether values are not finite in an empty row, and finite in all other rows."""
    if not is_float(tensor) or not len(tensor.shape) or tensor.shape[0] != len(empty):
        return False
    finite = np.all(np.isfinite(as_float64(tensor)).reshape(len(empty), -1), axis=1)
    return bool((~finite[empty]).any() and finite[~empty].all())


def _measure_change(context: ProbeContext, replaced: Recording | None) -> tuple[float, str | None]:
    """Return how far pooled outputs of empty rows change with their padding, and the call that uses the padding.

    That call receives a mask without a True in such a row, and its result there changes nevertheless.
    """
    if replaced is None:
        return 0.0, None
    align = dataclasses.replace(context.align(), relevant=~context.relevant)
    worst = compare_outputs(context.base, context.flow, replaced, align, context.tolerance)
    if worst is None or not worst.counts or worst.timestep is not None:
        return 0.0, None
    for old, new in zip(context.base.ended, replaced.ended, strict=False):
        if old.type == new.type and not old.calls and _uses_masked_rows(old, new, ~context.relevant):
            return worst.change, context.trace.names[old.index]
    return worst.change, None


def _uses_masked_rows(old: CallRecord, new: CallRecord, empty: Bools) -> bool:
    """Return whether the results of a call differ in empty rows that its masks hide completely."""
    if not old.mask_values:
        return False
    received = (mask for masks in old.mask_values.values() for mask in masks)
    masks = [mask for mask in received if mask is not None and len(mask) == len(empty)]
    hidden = np.all([~mask.reshape(len(empty), -1).any(axis=1) for mask in masks], axis=0) if masks else ~empty
    rows = empty & hidden
    if not rows.any() or not old.outputs or not is_float(old.outputs[0]) or old.outputs[0].shape[0] != len(empty):
        return False
    return not np.array_equal(as_float64(old.outputs[0])[rows], as_float64(new.outputs[0])[rows], equal_nan=True)
