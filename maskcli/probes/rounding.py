"""Rounding: by how much two runs may differ without a leak.

Two runs of one model that sum the same numbers in another order differ in their last digits. A change only counts as a
leak if it is larger than this. There are three estimates:

- ``allow_one_ulp``: nothing is summed in another order; for runs of the same shapes.
- ``bound_rounding``: a bound from the sizes of the sums and the number of calls; for runs of other shapes.
- ``estimate_rounding``: a measurement, which knows about numbers that cancel; it raises the bound where needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.probes.compare import Alignment, compare_outputs, compare_results, pair_calls
from maskcli.tolerance import MONTE_CARLO_MARGIN, Tolerance, bound_sum_error
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord
from maskcli.trace.rerun import perturb_by_rounding
from maskcli.trace.run import ModelRun
from maskcli.trace.values import get_ulp


def allow_one_ulp(entries: Sequence[CallRecord]) -> Tolerance:
    """Allow one unit in the last place: for runs that sum the same numbers in the same order.

    The unit is that of the coarsest dtype that any call so far has had.
    """
    relative, ulp = {}, 0.0
    for entry in entries:
        ulp = max(ulp, *(get_ulp(tensor) for tensor in (*entry.inputs, *entry.outputs)), 0.0)
        relative[entry.index] = ulp
    return Tolerance(relative)


def bound_rounding(entries: Sequence[CallRecord]) -> Tolerance:
    """Bound the relative error that rounding may have after each call, for runs of other shapes."""
    relative, ulp, longest = {}, 0.0, 1
    for count, entry in enumerate(entries, 1):
        # An error stays in the data: a float16 layer, or a long sum, also limits the precision of all later calls. So
        # the coarsest dtype and the longest axis so far count, not those of this call. The batch, axis 0, is never
        # summed over.
        for tensor in (*entry.inputs, *entry.outputs):
            ulp = max(ulp, get_ulp(tensor))
            longest = max(longest, *(int(axis or 1) for axis in tensor.shape[1:]), 1)
        relative[entry.index] = bound_sum_error(ulp, longest, count)
    return Tolerance(relative)


def estimate_rounding(run: ModelRun, flow: MaskFlow, align: Alignment, tolerance: Tolerance) -> Tolerance:
    """Measure how far rounding moves the result of each call, and raise the tolerance to that.

    Numbers that cancel, or that a normalisation divides by almost nothing, carry rounding errors far beyond what their
    own magnitude suggests. This is Monte Carlo arithmetic (Parker, 1997) with one run: each float that a call returns
    is multiplied by ``1 + ulp * sqrt(n) * N(0, 1)``, where n is the longest axis that the call may have summed over.

    Args:
        run: the run to repeat with random rounding.
        flow: the validity of its tensors.
        align: all rows of the run.
        tolerance: the bound that applies so far.

    Returns:
        The tolerance with a floor for each call; unchanged if the model raises.
    """
    rng = np.random.default_rng(5)

    def round_randomly(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        # The results of calls inside this call are rounded already.
        return None if entry.calls else [perturb_by_rounding(tensor, entry, rng) for tensor in tensors]

    rounded = run.vary(alter=round_randomly)
    if rounded.error is not None:
        return tolerance
    floor: dict[int, float] = {}
    for old, new in pair_calls(run.recording, rounded):
        # The change here is the error of this call and all before it, as it really propagates. Overflow to infinity
        # would allow any change, and so does not count.
        changes = (difference.change for difference in compare_results(old, new, flow, align))
        largest = max((change for change in changes if np.isfinite(change)), default=0.0)
        # One run is one sample of the error; a margin covers less lucky ones.
        floor[old.index] = MONTE_CARLO_MARGIN.value * largest
    estimate = Tolerance(tolerance.relative, floor)
    outputs = compare_outputs(run.recording, flow, rounded, align, estimate)
    if outputs is not None and np.isfinite(outputs.change):
        estimate = Tolerance(tolerance.relative, {**floor, 0: MONTE_CARLO_MARGIN.value * outputs.change})
    return estimate
