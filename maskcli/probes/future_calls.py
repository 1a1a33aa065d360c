"""Find the calls at which a later timestep reaches an earlier result.

All timesteps of a row from one on are replaced. A call is at fault if its earlier results change, and if these changes
reach the earlier part of the output: put into a run of the same row without other content, they change it. This
excludes results such as attention scores, which pair each query with later keys before a mask hides these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.compare import pair_calls
from maskcli.probes.context import ProbeContext
from maskcli.probes.future_matrix import (
    Ahead,
    OutputPair,
    TimedOutput,
    change_timesteps,
    copy_rows,
    find_validity,
    measure_by_feature,
)
from maskcli.probes.substitute import Substitutes, is_same_sequence, make_substitution
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.tolerance import Tolerance
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float

MOST_CALLS = 6
"""Calls that are reported, at most."""
MOST_TRIALS = 24
"""Calls that are tried as the cause, at most."""


def find_looking_calls(
    context: ProbeContext, output: TimedOutput, ahead: Ahead, shift: int, tolerance: Tolerance, most: int = MOST_CALLS
) -> list[CallRecord]:
    """Return the calls at which a later timestep reaches an earlier result, in the order of the data.

    Args:
        context: the probed run.
        output: an output that a later timestep changes.
        ahead: that change.
        shift: by how many timesteps the output starts later than the input.
        tolerance: the changes of each call that count as rounding.
        most: the number of calls that are returned, at most.
    """
    cut = _make_cut(context, output, ahead, shift, tolerance)
    if cut is None:
        return []
    culprits: list[CallRecord] = []
    restored: dict[tuple[int, int], NDArray[np.float64]] = {}
    tried: set[int] = set()
    changed = context.run.vary(cut.changed)
    while cut.reaches_output(changed):
        culprit = cut.find_first(changed, tried)
        if culprit is None:
            break
        entry, values = culprit
        culprits.append(entry)
        if len(culprits) >= most:
            break
        # Without the changes of this call, only those of further calls are left.
        restored.update(values)
        changed = context.run.vary(cut.changed, alter=make_substitution(restored))
    return [context.base.entries[entry.index] for entry in culprits]


@dataclasses.dataclass(frozen=True, eq=False)
class _Cut:
    """A row without and with other content from one timestep on, as the only row of runs or as all of a fixed batch.

    Attributes:
        context: the run that has the row.
        output: the output to follow.
        row: of the run.
        start: the first timestep that changes.
        shift: by how many timesteps the output starts later than the input.
        timesteps: of the input.
        inputs: copies of the row.
        changed: the same copies with other content.
        plain: the run of the copies.
        tolerance: the changes of each call that count as rounding.
    """

    context: ProbeContext
    output: TimedOutput
    row: int
    start: int
    shift: int
    timesteps: int
    inputs: tuple[ModelInput, ...]
    changed: tuple[ModelInput, ...]
    plain: Recording
    tolerance: Tolerance

    def reaches_output(self, recording: Recording) -> bool:
        """Return whether an earlier timestep of the output differs from that of the plain run."""
        if recording.error is not None:
            return False
        position = self.output.position
        before, after = (
            as_float64(list_output_tensors(run.output)[position][1])[:1] for run in (self.plain, recording)
        )
        if before.shape != after.shape:
            return False
        counts = self.output.valid[[self.row]] & (np.arange(before.shape[1]) + self.shift < self.start)
        return self._differ(OutputPair(before, after), counts, 0)

    def _differ(self, pair: OutputPair, counts: Bools, index: int) -> bool:
        if not counts.any():
            return False
        change, tolerance = measure_by_feature(pair, counts, *self.tolerance.at(index))
        return bool((change > tolerance)[counts].any())

    def find_first(self, changed: Recording, tried: set[int]) -> tuple[CallRecord, Substitutes] | None:
        """Return the first call whose earlier results change and carry that to the output, with its former results.

        Args:
            changed: the run with other content.
            tried: the calls that were tried already; extended by those that are tried now.
        """
        for entry, restored, isolated in self._list_candidates(changed):
            if entry.index in tried or len(tried) >= MOST_TRIALS:
                continue
            tried.add(entry.index)
            if self.reaches_output(self.context.run.vary(self.inputs, alter=make_substitution(isolated))):
                return entry, restored
        return None

    def _list_candidates(self, changed: Recording) -> Iterator[tuple[CallRecord, Substitutes, Substitutes]]:
        """Yield the calls whose earlier results change.

        With each come its results as in the run with other content, but for the earlier timesteps, and as in the plain
        run, but for the earlier timesteps.
        """
        for old, new in pair_calls(self.plain, changed):
            if old.parent is None or old.index >= len(self.context.base.entries):
                continue
            restored: dict[tuple[int, int], NDArray[np.float64]] = {}
            isolated: dict[tuple[int, int], NDArray[np.float64]] = {}
            known = self.context.base.entries[old.index].outputs
            for position, (tensor, other, base) in enumerate(zip(old.outputs, new.outputs, known, strict=False)):
                if not is_float(tensor) or len(tensor.shape) < 2 or tuple(tensor.shape) != tuple(other.shape):
                    continue
                valid = find_validity(self.context, base)
                if valid is None or tensor.shape[1] != valid.shape[1]:
                    continue
                before, after = as_float64(tensor), as_float64(other)
                earlier = self._find_earlier(before.shape[1])
                counts = valid[[self.row]] & earlier
                if self._differ(OutputPair(before[:1], after[:1]), counts, old.index):
                    spread = earlier.reshape(1, -1, *[1] * (before.ndim - 2))
                    restored[old.index, position] = np.where(spread, before, after)
                    isolated[old.index, position] = np.where(spread, after, before)
            if restored:
                yield old, restored, isolated

    def _find_earlier(self, timesteps: int) -> Bools:
        """Return which timesteps of a result are earlier; a result that lacks some may lack those at the start."""
        earlier: Bools = np.arange(timesteps) + max(0, self.timesteps - timesteps) < self.start
        return earlier


def _make_cut(
    context: ProbeContext, output: TimedOutput, ahead: Ahead, shift: int, tolerance: Tolerance
) -> _Cut | None:
    """Return the row of the largest change without and with other content; None if the model makes other calls."""
    size = find_fixed_batch(context.model) or 1
    valid = context.inputs[output.inputs[0]].valid
    assert valid is not None  # noqa: S101 - these inputs have timesteps
    inputs = copy_rows(context.inputs, [ahead.row] * size)
    where = np.broadcast_to(np.arange(valid.shape[1]) >= ahead.by_timestep, (size, valid.shape[1]))
    changed = change_timesteps(context, inputs, output.inputs, where, np.random.default_rng(8))
    plain = context.run.vary(inputs)
    if plain.error is not None or not is_same_sequence(context.base, plain):
        return None
    return _Cut(context, output, ahead.row, ahead.by_timestep, shift, valid.shape[1], inputs, changed, plain, tolerance)
