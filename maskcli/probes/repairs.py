"""Search for the smallest change of a model that removes its leaks, by trying changes on the model.

Each trial runs the model with the change, puts other values at padding, and compares. Only where that shows no leak
any more are all probes repeated. Padding enters at one call first; a change that removes the leak there and leaves a
later one is kept, and the search goes on at the later call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import select_rows
from maskcli.probes.added_padding import add_padding
from maskcli.probes.compare import measure_change
from maskcli.probes.context import ProbeContext, make_context, make_probe
from maskcli.probes.leak import LeakResult, probe_content, probe_leak
from maskcli.probes.repair_candidates import Candidates
from maskcli.probes.repair_changes import InvertMask, TurnMask
from maskcli.probes.repair_masks import ChangedModel, ChangedModels, Changes
from maskcli.probes.rows import probe_rows
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak
from maskcli.tolerance import REPAIR_CHANGE, bound_sum_error
from maskcli.trace.changes import CallChange, number_calls
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64, get_ulp

MOST_TRIALS = 25
"""Changes that are tried for a model, at most."""
MOST_PROBINGS = 5
"""Changes for which all probes are repeated, at most."""
MOST_FAULTS = 4
"""Calls at which padding enters that are repaired together, at most."""


CLEAR_LEAK = 100
"""A row alone leaks without further probes if it differs by this multiple of the tolerance."""
STILL_LEAKS = "padding still changes results"


@dataclasses.dataclass(frozen=True)
class RepairTrial:
    """The result of a change.

    Attributes:
        leaks: whether padding still changes a result.
        change: the largest such change; None if the model did not run.
        first: the key of the call at which padding then enters.
        why: the reason why this is no repair; None if it is.
    """

    leaks: bool
    change: float | None
    first: str | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True)
class Attempt:
    """Changes that were tried in vain."""

    changes: Changes
    trial: RepairTrial


@dataclasses.dataclass(frozen=True, eq=False)
class Cure:
    """The changes that remove every leak; empty if there are none.

    Attributes:
        changes: in the order of the calls.
        change_after: the largest change of a result by padding that remains.
        attempts: changes that were tried in vain.
        original: the model without changes.
        causes: by change, the keys of the calls at which padding entered because of the fault that it repairs.
    """

    changes: Changes
    change_after: float
    attempts: tuple[Attempt, ...]
    original: ChangedModel
    causes: dict[CallChange, tuple[str, ...]] = dataclasses.field(default_factory=dict)


class Trials:
    """Tries changes of a model, each of them once."""

    def __init__(self, models: ChangedModels, leak: Leak) -> None:
        """Try nothing yet.

        Args:
            models: the model under changes.
            leak: the leak of the model without changes.
        """
        self.models, self.leak = models, leak
        self.results: dict[Changes, RepairTrial] = {}
        self.probings = 0
        by_content = any(probe.name == "replace" and probe.leaks for probe in leak.probes)
        self.by_content = by_content and leak.weights == "as-loaded"

    @property
    def are_used_up(self) -> bool:
        """Whether no further change is tried, to limit the time."""
        return len(self.results) >= MOST_TRIALS

    def measure(self, changes: Changes) -> RepairTrial:
        """Return whether padding changes a result of the model under changes."""
        if changes not in self.results:
            with self.models.change(changes):
                self.results[changes] = self._measure(changes)
        return self.results[changes]

    def _measure(self, changes: Changes) -> RepairTrial:
        look = self.models.look(changes)
        if isinstance(look, str):
            return RepairTrial(True, None, why=f"the model raises {look}")
        if changes and self._changes_full_rows(look, changes):
            return RepairTrial(True, None, why="it changes rows that have no padding")
        quick = self._probe_quickly(look)
        if quick is not None and quick.leaks:
            return quick
        if self.probings >= MOST_PROBINGS:
            return RepairTrial(True, None, why="not all probes were repeated, to save time")
        self.probings += 1
        return self._judge(probe_leak(ModelRun(self.models.model, self.models.inputs), self.models.labels))

    def _judge(self, result: LeakResult) -> RepairTrial:
        """Return the trial of a model on which all probes were repeated."""
        leak = result.leak
        if leak.leaks:
            names = result.probed.trace.names
            index = next((index for index, name in names.items() if name == leak.first_call), None)
            first = None if index is None else number_calls(result.probed.base.entries)[index]
            return RepairTrial(True, leak.max_abs_change, first, STILL_LEAKS)
        # A model of one length stays unproven by its count of timesteps. A gradient alone proves nothing here: a change
        # may cut it off.
        leaking = [probe.name for probe in self.leak.probes if probe.leaks and probe.name != "gradient"]
        applicable = [probe.name for probe in leak.probes if probe.applicable]
        blind = [name for name in leaking if name not in applicable]
        if not applicable or len(blind) == len(leaking) > 0 or (blind and leak.leaks is None):
            return RepairTrial(True, None, why=f"the probe {(blind or ['replace'])[0]} cannot run any more")
        return RepairTrial(False, leak.max_abs_change)

    def _probe_quickly(self, look: ChangedModel) -> RepairTrial | None:
        """Return a leak that one or two runs show; None if they show none."""
        if self.by_content:
            replaced = self._replace_padding(look)
            if replaced is None:
                return RepairTrial(True, None, why="padding cannot be replaced any more")
            if replaced.leaks:
                return replaced
        return self._run_row_alone(look)

    def _run_row_alone(self, look: ChangedModel) -> RepairTrial | None:
        """Run the row with most padding without it; None if this cannot be run, or shows no leak."""
        context = look.context
        if not _takes_any_length(context):
            return None
        spans = [item.valid for item in context.with_timesteps if item.valid is not None]
        padded = np.where(context.relevant, sum((~valid).sum(axis=1) for valid in spans), -1)
        row = int(padded.argmax())
        trimmed = []
        for item in context.inputs:
            places = np.flatnonzero(item.valid[row] if item.valid is not None else ())
            columns = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(None)
            trimmed.append(select_rows(item, [row], columns))
        alone = context.run.vary(trimmed)
        if alone.error is not None:
            return None
        result = make_probe("alone", context, alone, context.align([row]))
        probe = result.probe
        is_large = (probe.max_abs_change or 0.0) > CLEAR_LEAK * (probe.tolerance or 0.0)
        if not probe.leaks or result.first is None or not is_large or context.side == "pre":
            return None
        return RepairTrial(True, probe.max_abs_change, look.key(result.first), STILL_LEAKS)

    def _replace_padding(self, look: ChangedModel) -> RepairTrial | None:
        """Put other values at padding; None if that is impossible."""
        result = probe_content(look.context)
        if not result.probe.applicable:
            return None
        first = None if result.first is None else look.key(result.first)
        return RepairTrial(result.probe.leaks, result.probe.max_abs_change, first, STILL_LEAKS)

    def _changes_full_rows(self, look: ChangedModel, changes: Changes) -> bool:
        """Return whether a row without padding has other results than before, which a wrong attention mask has."""
        if any(isinstance(change, (InvertMask, TurnMask)) for change in changes):
            return False
        original = self.models.original.context
        full = np.ones(len(self.models.labels), bool)
        for item in original.with_timesteps:
            assert item.valid is not None  # noqa: S101 - these inputs have timesteps
            full &= item.valid.all(axis=1)
        old, new = (list_output_tensors(context.base.output) for context in (original, look.context))
        calls = len(look.context.base.ended)
        return any(_differ(before, after, full, calls) for (_, before), (_, after) in zip(old, new, strict=True))


def _takes_any_length(context: ProbeContext) -> bool:
    """Return whether the inputs of a model have no fixed number of timesteps."""
    pairs = zip(getattr(context.model, "inputs", None) or (), context.inputs, strict=False)
    return all(tensor.shape[1] is None for tensor, item in pairs if item.valid is not None)


def _differ(before: Any, after: Any, rows: Bools, calls: int) -> bool:
    """Return whether some rows of an output differ by more than rounding."""
    if tuple(before.shape) != tuple(after.shape) or not len(before.shape) or len(before) != len(rows):
        return False
    old, new = as_float64(before)[rows], as_float64(after)[rows]
    largest = np.abs(old, where=np.isfinite(old), out=np.zeros_like(old)).max(initial=0.0)
    # The repair may sum in another order, as a mean over valid timesteps does.
    allowed = bound_sum_error(get_ulp(before), max(map(int, before.shape)), calls) * largest
    return bool(measure_change(old, new).max(initial=0.0) > max(allowed, REPAIR_CHANGE.value * largest))


class RepairSearch:
    """The search for the repairs of one model on the rows that the probes ran on."""

    def __init__(self, model: Any, inputs: Sequence[ModelInput], labels: NDArray[np.intp], leak: Leak) -> None:
        """Prepare the search for repairs of a ``leak`` of the ``model`` on these ``inputs``."""
        if leak.padded_by_maskcli:
            padded = add_padding(make_context(ModelRun(model, tuple(inputs)), labels))
            if not isinstance(padded, str):
                inputs, labels = padded.inputs, padded.labels
        self.models = ChangedModels(model, inputs, labels)
        self.trials = Trials(self.models, leak)
        self.attempts: list[Attempt] = []

    def run(self) -> Cure:
        """Return the smallest set of changes that removes every leak."""
        first = self._find_first()
        done: Changes = ()
        causes: dict[CallChange, tuple[str, ...]] = {}
        for _ in range(MOST_FAULTS):
            step = None if first is None else self._improve(done, first)
            if step is None:
                break
            added, trial = step
            causes |= {change: (*causes.get(change, ()), first or "") for change in added}
            done = (*done, *(change for change in added if change not in done))
            if not trial.leaks:
                return self._make_cure(done, trial, causes)
            first = trial.first
        return Cure((), 0.0, tuple(self.attempts), self.models.original)

    def keep_output_mask(self, name: str) -> Cure | None:
        """Return the changes after which an output carries its mask, and nothing leaks; None without any."""
        changes = self.models.bring_mask_to_output(name)
        if not changes:
            return None
        trial = self.trials.measure(changes)
        if trial.leaks:
            self.attempts.append(Attempt(changes, trial))
            return None
        return Cure(changes, trial.change or 0.0, (), self.models.original)

    def _find_first(self) -> str | None:
        """Return the key of the call where padding enters the model without changes."""
        names = self.models.original.context.trace.names
        path = self.trials.leak.first_call
        index = next((index for index, name in names.items() if name == path), None)
        if index is not None and not self.trials.by_content:
            return self.models.original.keys[index]
        known = None if index is None else self.models.original.keys[index]
        return self.trials.measure(()).first or known

    def _improve(self, done: Changes, first: str) -> tuple[Changes, RepairTrial] | None:
        """Return changes that remove the leak, or let it begin at a later call than ``first``."""
        look = self.models.look(done)
        if isinstance(look, str) or first not in look.by_key:
            return None
        partial: tuple[Changes, RepairTrial] | None = None
        for candidate in Candidates(self.models, done, look, look.by_key[first]):
            if self.trials.are_used_up:
                break
            changes = (*done, *(change for change in candidate if change not in done))
            if changes in self.trials.results:
                continue
            trial = self.trials.measure(changes)
            if not trial.leaks:
                return candidate, trial
            self.attempts.append(Attempt(changes, trial))
            if partial is None and trial.first is not None and self._is_later(look, trial.first, first):
                partial = candidate, trial
        return partial

    def _is_later(self, look: ChangedModel, key: str, first: str) -> bool:
        order = {look.key(entry): position for position, entry in enumerate(look.context.base.ended)}
        return order.get(key, -1) > order[first]

    def _make_cure(self, changes: Changes, trial: RepairTrial, causes: dict[CallChange, tuple[str, ...]]) -> Cure:
        """Return the cure without changes that it does not need."""
        for change in reversed(changes):
            if len(changes) < 2 or self.trials.are_used_up:
                break
            fewer = tuple(other for other in changes if other is not change)
            smaller = self.trials.measure(fewer)
            if not smaller.leaks:
                changes, trial = fewer, smaller
        indexes = self.models.original.by_key
        changes = tuple(sorted(changes, key=lambda change: indexes[change.key].index if change.key in indexes else 0))
        in_vain = tuple(attempt for attempt in self.attempts if set(attempt.changes) != set(changes))
        return Cure(changes, trial.change or 0.0, in_vain, self.models.original, causes)

    def separates_rows(self, cure: Cure) -> bool:
        """Return whether no row changes the results of another one after the repairs."""
        look = self.models.look(cure.changes)
        with self.models.change(cure.changes):
            rows = probe_rows(look.context) if isinstance(look, ChangedModel) and cure.changes else None
        return rows is not None and rows.mixed is None and rows.why is None
