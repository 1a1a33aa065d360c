"""Each call by itself: does its own result move with the padding among its inputs?"""

from __future__ import annotations

import numpy as np

from maskcli.probes.compare import Difference, measure_difference
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord
from maskcli.trace.rerun import depends_on_same_timestep, rerun_call
from maskcli.trace.values import is_float


def is_timestepwise(subject: ProbeContext, entry: CallRecord) -> bool:
    """Return whether a call makes each timestep of its result of the same timestep of what comes in."""
    outputs = [tensor for tensor in entry.outputs if id(tensor) in subject.flow.valid]
    if not outputs or any(id(tensor) in subject.flow.pooled for tensor in entry.outputs):
        return False
    return depends_on_same_timestep(entry, outputs[0], subject.flow.valid[id(outputs[0])])


def probe_calls(subject: ProbeContext) -> dict[str, float]:
    """Replace the padding among the inputs of each call and run it again; return the calls whose result moves."""
    chance, moved = np.random.default_rng(2), {}
    allowed = subject.allowed.relative
    for entry in subject.base.ended:
        if entry.code or entry.calls or entry.parent is None:
            continue
        change = measure_local_change(subject, entry, chance, allowed[entry.index])
        if change is not None and change.counts:
            moved[subject.run.names[entry.index]] = change.change
    return moved


def measure_local_change(
    subject: ProbeContext, entry: CallRecord, chance: np.random.Generator, allowed: float, training: bool = False
) -> Difference | None:
    """Return how far the result of one call moves when the padding among its inputs is replaced."""
    known = subject.flow.of_inputs(entry)
    if not known or all(valid.all() for valid in known):
        return None
    keep = map_valid_timesteps(entry, subject.flow)
    before = entry.outputs if not training else rerun_call(entry, {}, chance, training=True)
    after = rerun_call(entry, keep, chance, training) if keep else None
    found = [
        measure_difference(
            one, subject.flow.valid.get(id(tensor)), two, subject.align(), allowed, subject.floors.get(entry.index, 0.0)
        )
        for tensor, one, two in zip(entry.outputs, before or (), after or (), strict=False)
        if id(tensor) in subject.flow.valid or id(tensor) in subject.flow.pooled
    ]
    return max((each for each in found if each is not None), key=lambda each: each.excess, default=None)


def map_valid_timesteps(entry: CallRecord, flow: MaskFlow) -> dict[int, Bools]:
    """Return for each float input with timesteps which of them are valid: what stays when padding is replaced."""
    return {id(x): flow.valid[id(x)] for x in entry.inputs if is_float(x) and id(x) in flow.valid}
