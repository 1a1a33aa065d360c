"""Rows without a valid timestep: nothing is left to compute with, and some layers compute all the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from maskcli.probes.compare import compare_outputs
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.records.evidence import EmptyRows
from maskcli.trace.recorder import CallRecord
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float


def examine_empty_rows(subject: ProbeContext) -> EmptyRows | None:
    """Return what comes of rows without a valid timestep; None when there is none."""
    empty = ~subject.counted
    if not empty.any():
        return None
    moved, of_padding = _moved(subject)
    return EmptyRows(
        rows=int(empty.sum()),
        sample=int(subject.labels[empty.argmax()]),
        not_finite=_not_finite(subject),
        of_padding=of_padding,
        max_abs_change=moved,
    )


def _not_finite(subject: ProbeContext) -> str | None:
    """Return the call of which the result is first not finite in empty rows alone, if an output of the model is not."""
    empty = ~subject.counted
    outputs = [tensor for _, tensor in list_output_tensors(subject.base.output)]
    if not any(_breaks(tensor, empty) for tensor in outputs):
        return None
    for entry in subject.base.ended:
        if entry.code and entry.index not in subject.run.names:
            continue
        if any(_breaks(tensor, empty) for tensor in entry.outputs):
            return subject.run.names[entry.index]
    return None


def _breaks(tensor: Any, empty: Bools) -> bool:
    """Return whether values are not finite in an empty row, and finite in all others."""
    if not is_float(tensor) or not len(tensor.shape) or tensor.shape[0] != len(empty):
        return False
    finite = np.all(np.isfinite(as_float64(tensor)).reshape(len(empty), -1), axis=1)
    return bool((~finite[empty]).any() and finite[~empty].all())


def _moved(subject: ProbeContext) -> tuple[float, str | None]:
    """Return how far pooled outputs of empty rows move with their padding, and the call that makes them of it.

    That call is given a mask without a True in that row, and its result there moves all the same.
    """
    if subject.replaced is None:
        return 0.0, None
    align = dataclasses.replace(subject.align(), counted=~subject.counted)
    apart = compare_outputs(subject.base, subject.flow, subject.replaced, align, subject.allowed)
    if apart is None or not apart.counts or apart.timestep is not None:
        return 0.0, None
    for one, two in zip(subject.base.ended, subject.replaced.ended, strict=False):
        if one.given_masks and one.type == two.type and not one.calls and _of_nothing(one, two, ~subject.counted):
            return apart.change, subject.run.names[one.index]
    return apart.change, None


def _of_nothing(one: CallRecord, two: CallRecord, empty: Any) -> bool:
    masks = [
        mask for masks in one.given_masks.values() for mask in masks if mask is not None and len(mask) == len(empty)
    ]
    rows = empty & np.all([~mask.reshape(len(empty), -1).any(axis=1) for mask in masks], axis=0) if masks else ~empty
    if not rows.any() or not one.outputs or not is_float(one.outputs[0]) or one.outputs[0].shape[0] != len(empty):
        return False
    return not np.array_equal(as_float64(one.outputs[0])[rows], as_float64(two.outputs[0])[rows], equal_nan=True)
