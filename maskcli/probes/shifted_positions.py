"""Pre-padding shifts positions: prove that nothing else explains a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.compare import Alignment, compare_outputs, copy_valid, find_first_difference, pair_calls
from maskcli.probes.context import ProbeContext
from maskcli.probes.local import is_timestepwise
from maskcli.probes.substitute import make_substitution
from maskcli.records.inputs import ModelInput
from maskcli.trace.mask_flow import follow_masks
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.values import as_float64

MOST_SHIFTS = 12
"""Calls that add positions, at most. Of a model with more of them, nothing is proved, and positions are believed."""


def is_shift_of_positions(
    context: ProbeContext, inputs: Sequence[ModelInput], run: Recording, align: Alignment
) -> bool:
    """Return whether a run of other lengths differs by the positions of its timesteps only, as far as that shows.

    The results of the calls that add positions are put from the base run into the other one, one after the other, until
    no output differs any more. A difference at another call is no effect of positions.

    Args:
        context: the base run.
        inputs: those of the other run.
        run: the other run.
        align: how it corresponds to the base run.
    """
    values: dict[tuple[int, int], NDArray[np.float64]] = {}
    for _ in range(MOST_SHIFTS):
        worst = compare_outputs(context.base, context.flow, run, align, context.tolerance)
        if worst is None or not worst.counts:
            return True  # The number of a timestep may still differ, as long as it is the same timestep.
        first = find_first_difference(context.base, context.flow, run, align, context.tolerance)
        if first is None:
            return False
        other = next((new for old, new in pair_calls(context.base, run) if old is first), None)
        if other is None or not is_timestepwise(context, first) or _chooses_by_row(context, first, other):
            return False
        more = _copy_results(context, first, other, align)
        if not more or more.keys() <= values.keys():
            return True
        values |= more
        run = context.run.vary(inputs, alter=make_substitution(values))
        if run.error is not None:
            return True
        align = dataclasses.replace(align, changed=follow_masks(run, inputs))
    return True


def _chooses_by_row(context: ProbeContext, old: CallRecord, new: CallRecord) -> bool:
    """Return whether a call has data among its inputs that differs between rows, and may differ between the runs.

    Positions are the same in every row. A choice of timesteps by the number of valid ones is not, although it treats
    each timestep by itself, too.
    """
    flow = context.flow
    for tensor, other in zip(old.inputs, new.inputs, strict=False):
        if id(tensor) in flow.valid or id(tensor) not in flow.derived or not len(tensor.shape):
            continue
        if id(tensor) in flow.pooled and tuple(tensor.shape[1:]) == tuple(other.shape[1:]):
            continue
        values = as_float64(tensor)
        if len(values) == len(context.relevant) and (values != values[:1]).any():
            return True
    return False


def _copy_results(
    context: ProbeContext, old: CallRecord, new: CallRecord, align: Alignment
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Return the results of a call with those of the base run at valid timesteps; empty if these are not known."""
    values: dict[tuple[int, int], NDArray[np.float64]] = {}
    for position, (tensor, other) in enumerate(zip(old.outputs, new.outputs, strict=False)):
        copied = copy_valid(context.flow, tensor, other, align)
        if copied is not None:
            values[new.index, position] = copied
    return values
