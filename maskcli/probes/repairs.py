"""Search for the smallest change of a model that removes its leaks, by trying changes on the model.

Each trial runs the model with the change, puts other values at padding, runs a row without its padding, and compares.
Padding enters at one call first; a change that removes the leak there and leaves a later one is kept, and the search
goes on at the later call. Changes that turn out to be needless are dropped. Then all probes are repeated once, for the
proof, and the results must still depend on the data as before.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.added_padding import add_padding
from maskcli.probes.compare import find_first_difference
from maskcli.probes.context import make_context, make_probe
from maskcli.probes.leak import LeakResult, probe_content, probe_leak
from maskcli.probes.lengths import add_columns, run_rows_alone
from maskcli.probes.local import measure_local_change
from maskcli.probes.repair_candidates import Candidates
from maskcli.probes.repair_changes import SINGLE, CopyInput, PassMask, get_argument
from maskcli.probes.repair_effect import CHANGES_ROWS, ValidContent
from maskcli.probes.repair_groups import is_alike, repeat_changes
from maskcli.probes.repair_masks import ChangedModel, ChangedModels, Changes, find_edit
from maskcli.probes.rows import probe_rows
from maskcli.probes.variants import allow_any_length
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak
from maskcli.trace.changes import CallChange, number_calls
from maskcli.trace.recorder import PAIR_MASK
from maskcli.trace.run import ModelRun

MOST_TRIALS = 40
"""Changes that are tried for a model by a few runs, at most."""
PROBES_EFFORT = 3
"""How many such trials a trial by probes counts as, because of its number of runs."""
MOST_PROOFS = 5
"""Changes for which all probes are repeated, at most."""
MOST_FAULTS = 12
"""Calls at which padding enters that are repaired together, at most."""
MOST_AFTER_PROGRESS = 3
"""Changes of the first call that are tried, at most, after one that lets the leak begin later.

At each later call it is one less: the more faults are repaired, the more a further one looks like the last.
"""

SMALLER = 0.5
"""The part of a change by padding that a repair of one of several faults may leave."""
STILL_LARGE = 0.1
"""The part of a change by padding that no repair may leave, whatever the rounding of the repaired model."""
CLEAR_LEAK = 20
"""A change of a row by itself, or by other padding, is a leak without further probes from this many tolerances on."""
STILL_LEAKS = "padding still changes results"


@dataclasses.dataclass(frozen=True)
class RepairTrial:
    """The result of a change.

    Attributes:
        leaks: whether padding still changes a result.
        change: the largest such change; None if the model did not run.
        first: the key of the call at which padding then enters.
        why: the reason why this is no repair; None if it is.
        gap: the reason why the model is not proved clean with it, as where it takes one length only; None if it is.
    """

    leaks: bool
    change: float | None
    first: str | None = None
    why: str | None = None
    gap: str | None = None


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
        changed: the model under the changes; None without any.
        gap: the reason why this model is not proved to be clean; None if it is.
    """

    changes: Changes
    change_after: float
    attempts: tuple[Attempt, ...]
    original: ChangedModel
    causes: dict[CallChange, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    changed: ChangedModel | None = None
    gap: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class StatisticsRepair:
    """The changes after which a normalisation leaves padding out of its statistics in training.

    Attributes:
        changes: none if those that remove the leak are enough.
        change_after: the largest change of its result by padding that remains.
        original: the model without changes.
    """

    changes: Changes
    change_after: float
    original: ChangedModel


class Trials:
    """Tries changes of a model, each of them once."""

    def __init__(self, models: ChangedModels, leak: Leak) -> None:
        """Try nothing yet.

        Args:
            models: the model under changes.
            leak: the leak of the model without changes.
        """
        self.models: ChangedModels = models
        self.leak: Leak = leak
        self.content: ValidContent = ValidContent(models)
        self.results: dict[Changes, RepairTrial] = {}
        self.quick_trials: dict[Changes, RepairTrial] = {}
        self.proofs: dict[Changes, RepairTrial] = {}
        self.full_proofs: int = 0
        self.effort: int = 0
        self.is_blind: bool = False
        self.by_content: bool = any(probe.name == "replace" and probe.leaks for probe in leak.probes)

    @property
    def are_used_up(self) -> bool:
        """Whether no further change is tried, to limit the time: none could be proved any more, or many have failed."""
        return self.effort >= MOST_TRIALS or self._are_proofs_used_up

    @property
    def _are_proofs_used_up(self) -> bool:
        # Where a few runs are blind, each trial is a proof, and counts as a trial.
        return self.full_proofs >= MOST_PROOFS and not self.is_blind

    @functools.cached_property
    def is_quick(self) -> bool:
        """Whether a few runs show the leak of the model without changes, so that they also show that it is gone."""
        return self._try_quickly(()).leaks

    def measure(self, changes: Changes) -> RepairTrial:
        """Return whether padding changes a result of the model under changes, as far as a few runs show."""
        is_quick = self.is_quick and not self.is_blind  # Also tries the model without changes.
        if changes not in self.results:
            self.effort += 1 if is_quick else PROBES_EFFORT
            if is_quick:
                self.results[changes] = self._try_quickly(changes)
            elif not self.is_blind and self._is_shown_by_few_probes:
                self.results[changes] = self._try_few_probes(changes)
            else:
                self.results[changes] = self.prove(changes)
        return self.results[changes]

    @functools.cached_property
    def _is_shown_by_few_probes(self) -> bool:
        """Whether the probes of ``--quick`` show the leak, such as that of rows with padding before their data."""
        probes = {probe.name: probe for probe in self.leak.probes}
        names = ("replace", "alone") if probes["alone"].applicable else ("replace", "columns")
        # They run rows of fewer lengths, which may not be the ones that leak.
        return any(probes[name].leaks for name in names) and self._try_few_probes(()).leaks

    def _try_few_probes(self, changes: Changes) -> RepairTrial:
        trial = self._try_quickly(changes)
        if trial.leaks:
            return trial
        with self.models.change(changes):
            result = probe_leak(self.models.look_again(changes), self.models.labels, quick=True)
        return _describe_leak(result) if result.leak.leaks else trial

    def prove(self, changes: Changes) -> RepairTrial:
        """Return whether padding changes a result of the model under changes, by all probes."""
        if changes not in self.proofs:
            trial = self._try_quickly(changes)
            fault = None if trial.leaks else self._find_fault(changes)
            if fault is not None:
                trial = RepairTrial(True, None, why=fault)
            elif not trial.leaks and self._are_proofs_used_up:
                return RepairTrial(True, None, why="not all probes were repeated, to save time")
            elif not trial.leaks:
                self.full_proofs += 1
                with self.models.change(changes):
                    trial = self._judge(probe_leak(self.models.look_again(changes), self.models.labels))
                self.is_blind |= trial.first is not None
            self.proofs[changes] = trial
        return self.proofs[changes]

    def _find_fault(self, changes: Changes) -> str | None:
        """Return the reason why the changes remove more than padding; None if they do not."""
        look = self.models.look(changes)
        return self.content.find_fault(look, changes) if isinstance(look, ChangedModel) and changes else None

    def _try_quickly(self, changes: Changes) -> RepairTrial:
        if changes not in self.quick_trials:
            self.quick_trials[changes] = self._run_quickly(changes)
        return self.quick_trials[changes]

    def _run_quickly(self, changes: Changes) -> RepairTrial:
        with self.models.change(changes):
            look = self.models.look(changes)
            if isinstance(look, str):
                return RepairTrial(True, None, why=f"the model raises {look}")
            if changes and self.content.changes_full_rows(look, changes):
                return RepairTrial(True, None, why=CHANGES_ROWS)
            return self._probe_quickly(look) or RepairTrial(False, 0.0)

    def _judge(self, result: LeakResult) -> RepairTrial:
        """Return the trial of a model on which all probes were repeated."""
        leak = result.leak
        if leak.leaks:
            return _describe_leak(result)
        # A model of one length stays unproven by its count of timesteps. A gradient alone proves nothing here: a change
        # may cut it off.
        leaking = [probe.name for probe in self.leak.probes if probe.leaks and probe.name != "gradient"]
        applicable = [probe.name for probe in leak.probes if probe.applicable]
        blind = [name for name in leaking if name not in applicable]
        if not applicable or len(blind) == len(leaking) > 0 or (blind and leak.leaks is None):
            return RepairTrial(True, None, why=f"the probe {(blind or ['replace'])[0]} cannot run any more")
        measured = [
            probe for probe in leak.probes if probe.name in applicable and not probe.why and probe.name != "gradient"
        ]
        change = max((probe.max_abs_change or 0.0 for probe in measured), default=0.0)
        # Numbers such as -1e9 in the results of a change raise the bounds of rounding, below which nothing is seen.
        hides = change > STILL_LARGE * (self.leak.max_abs_change or np.inf)
        # Where neither could run, only the content of padding was tried, and not its amount.
        counts = any(name in applicable for name in ("alone", "columns"))
        return RepairTrial(hides, change, why=STILL_LEAKS if hides else None, gap=None if counts else leak.reason)

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
        """Run the rows of one length without their padding; None if this cannot be run, or shows no clear leak."""
        context = look.context
        with allow_any_length():
            alone = "not tried" if context.side == "pre" else run_rows_alone(context, 1)
        for item in () if isinstance(alone, str) else alone:
            align = context.align(item.rows, item.flow)
            result = make_probe("alone", context, item.recording, align)
            probe = result.probe
            is_large = (probe.max_abs_change or 0.0) > CLEAR_LEAK * (probe.tolerance or 0.0)
            if probe.leaks and result.first is not None and is_large:
                # The rounding of results that almost cancel is not measured here, and may differ before the leak.
                clear = context.tolerance.widen(CLEAR_LEAK)
                first = find_first_difference(context.base, context.flow, item.recording, align, clear) or result.first
                return RepairTrial(True, probe.max_abs_change, look.key(first), STILL_LEAKS)
        return None

    def _replace_padding(self, look: ChangedModel) -> RepairTrial | None:
        """Put other values at padding; None if that is impossible."""
        result = probe_content(look.context)
        if not result.probe.applicable:
            return None
        first, probe = None if result.first is None else look.key(result.first), result.probe
        # Other values at padding may move the last digits, as where they are the largest scores of a softmax by hand.
        is_large = (probe.max_abs_change or 0.0) > CLEAR_LEAK * (probe.tolerance or 0.0)
        return RepairTrial(probe.leaks and is_large, probe.max_abs_change, first, STILL_LEAKS)


def _describe_leak(result: LeakResult) -> RepairTrial:
    """Return the trial of a model that probes have shown to leak."""
    names, path = result.probed.trace.names, result.leak.first_call
    index = next((index for index, name in names.items() if name == path), None)
    first = None if index is None else number_calls(result.probed.base.entries)[index]
    return RepairTrial(True, result.leak.max_abs_change, first, STILL_LEAKS)


def _replaces(change: CallChange, earlier: CallChange) -> bool:
    """Return whether a change does the same at the same call as an earlier one, with a mask from another place."""
    return type(change) is type(earlier) and isinstance(change, SINGLE) and change.key == earlier.key


def _needs_more_padding(leak: Leak) -> bool:
    """Return whether only more padding shows a leak, as where a window hides the little that the data has."""
    return {probe.name for probe in leak.probes if probe.leaks} == {"columns"}


def _has_padded_timesteps(item: ModelInput) -> bool:
    """Return whether whole timesteps are padding, and not only places inside them, as words are in sentences."""
    return item.valid is not None and not item.valid.all()


class RepairSearch:
    """The search for the repairs of one model on the rows that the probes ran on."""

    def __init__(
        self,
        model: Any,
        inputs: Sequence[ModelInput],
        labels: NDArray[np.intp],
        leak: Leak,
        side: Literal["pre", "post"] = "post",
    ) -> None:
        """Prepare the search for repairs of a ``leak`` of the ``model`` on these ``inputs``, padded on a ``side``."""
        if leak.padded_by_maskcli:
            padded = add_padding(make_context(ModelRun(model, tuple(inputs)), labels), side)
            if not isinstance(padded, str):
                inputs, labels = padded.inputs, padded.labels
        elif _needs_more_padding(leak) or not any(_has_padded_timesteps(item) for item in inputs):
            longer = tuple(add_columns(model, inputs, side))
            inputs = inputs if ModelRun(model, longer).recording.error is not None else longer
        self.models: ChangedModels = ChangedModels(model, inputs, labels)
        self.trials: Trials = Trials(self.models, leak)
        self.attempts: list[Attempt] = []
        self.starts: set[str] = set()
        self.repeated: set[CallChange] = set()
        self.states: set[tuple[str, float | None]] = set()

    def run(self) -> Cure:
        """Return the smallest set of changes that removes every leak."""
        first = self._find_first()
        causes: dict[CallChange, tuple[str, ...]] = {}
        done = None if first is None else self._search((), first, causes, MOST_FAULTS)
        if done is None:
            return Cure((), 0.0, tuple(self.attempts), self.models.original)
        changes, trial = done
        order = {key: entry.index for key, entry in self.models.original.by_key.items()}
        changes = tuple(sorted(changes, key=lambda change: order.get(change.key, 0)))
        in_vain = tuple(attempt for attempt in self.attempts if set(attempt.changes) != set(changes))
        look = self.models.look(changes)
        changed = look if isinstance(look, ChangedModel) else None
        return Cure(changes, trial.change or 0.0, in_vain, self.models.original, causes, changed, trial.gap)

    def confirm(self, cure: Cure) -> Cure:
        """Return a cure that was found with other weights if its proof holds with those of the model, too."""
        trial = self.trials.prove(cure.changes) if cure.changes else None
        if trial is None or not trial.leaks:
            return cure
        attempts = (*cure.attempts, Attempt(cure.changes, trial))
        return Cure((), 0.0, attempts, cure.original)

    def _search(
        self, done: Changes, first: str, causes: dict[CallChange, tuple[str, ...]], faults: int
    ) -> tuple[Changes, RepairTrial] | None:
        """Return changes, with those ``done``, that remove the leak which begins at a call; None if there are none."""
        self.starts.add(first)
        look = self.models.look(done)
        # Further changes that leave the leak as it is, bit for bit, would fail like those before.
        state = (first, self.trials.measure(done).change)
        if isinstance(look, str) or first not in look.by_key or not faults or state in self.states:
            return None
        self.states.add(state)
        progress: list[tuple[Changes, str]] = []
        for changes, trial in self._try_candidates(done, look, first, causes):
            proved = None if trial.leaks else self._prove(changes)
            if proved is not None:
                return proved
            proof = trial if trial.leaks else self.trials.prove(changes)
            self.attempts.append(Attempt(changes, proof))
            if proof.first is not None and self._is_progress(done, look, first, proof):
                new = set(changes) - set(done)
                # A copy for one layer lets the next one take the mask off.
                is_repeated = not self.repeated.isdisjoint(new) or all(isinstance(item, CopyInput) for item in new)
                if is_repeated or (proof is not trial and self._is_later(look, proof.first, first)):
                    # Other changes of this call would fail the same proof, or bring the leak no further.
                    if (cure := self._search(changes, proof.first, causes, faults - 1)) is not None:
                        return cure
                else:
                    progress.append((changes, proof.first))
            further = max(0, MOST_AFTER_PROGRESS - (MOST_FAULTS - faults))
            if len(progress) and len(self.attempts) >= further + self._count_before(progress[0][0]):
                break
        cures = (self._search(changes, later, causes, faults - 1) for changes, later in progress)
        return next((cure for cure in cures if cure is not None), None)

    def _count_before(self, changes: Changes) -> int:
        """Return the number of attempts up to these changes."""
        return next(index for index, attempt in enumerate(self.attempts, 1) if attempt.changes == changes)

    def _try_candidates(
        self, done: Changes, look: ChangedModel, first: str, causes: dict[CallChange, tuple[str, ...]]
    ) -> Iterator[tuple[Changes, RepairTrial]]:
        """Yield changes that may remove the leak which begins at a call, with those ``done``, and their trials."""
        entry = look.by_key[first]
        candidates = Candidates(self.models, done, look, entry)
        for candidate in candidates:
            # A call that pools, say, with a mask from one place needs no mask from another one.
            kept = [change for change in done if not any(_replaces(other, change) for other in candidate)]
            changes = (*kept, *(change for change in candidate if change not in kept))
            if self.trials.are_used_up:
                return
            if changes in self.trials.results:
                continue
            causes |= {change: (*causes.get(change, ()), first) for change in candidate}
            trial = self.trials.measure(changes)
            yield changes, trial
            # A mask that now reaches a ``Softmax(axis=1)`` of (batch, timesteps, 1) makes it raise an error.
            fitting = candidates.fit_softmaxes() if trial.change is None else ()
            if fitting and (fitted := tuple(dict.fromkeys((*changes, *fitting)))) not in self.trials.results:
                causes |= {change: (*causes.get(change, ()), first) for change in fitting}
                yield fitted, self.trials.measure(fitted)
            later = look.by_key.get(trial.first or "")
            # Blocks of one kind have one fault each, and a search of them one by one would take a run for each.
            alike = repeat_changes(look, entry, changes) if later is not None and is_alike(entry, later) else ()
            repeated = tuple(change for change in alike if not any(_replaces(change, other) for other in changes))
            if repeated and (*changes, *repeated) not in self.trials.results:
                causes |= {change: (change.key,) for change in repeated}
                self.repeated.update(repeated)
                yield (*changes, *repeated), self.trials.measure((*changes, *repeated))

    def _prove(self, changes: Changes) -> tuple[Changes, RepairTrial] | None:
        """Return the changes without needless ones, with their proof; None if other probes still show a leak."""
        fewer = self._drop_needless(changes)
        for tried in dict.fromkeys((fewer, changes)):
            trial = self.trials.prove(tried)
            if not trial.leaks:
                return tried, trial
        return None

    def _drop_needless(self, changes: Changes) -> Changes:
        """Return changes without those that the cure does not need; an edit of the code is dropped as a whole."""
        by_key = self.models.original.by_key
        edits: dict[object, list[CallChange]] = {}
        for change in changes:
            edit = find_edit(by_key[change.key], change) if change.key in by_key else None
            edits.setdefault(edit or change, []).append(change)
        for needless in reversed(edits.values()):
            # Padding enters by itself at calls at which a change is repeated.
            if any(change in self.repeated or self._replaces_mask(change) for change in needless):
                continue
            fewer = tuple(change for change in changes if change not in needless)
            if fewer and not self.trials.are_used_up and not self.trials.measure(fewer).leaks:
                changes = fewer
        return changes

    def _replaces_mask(self, change: CallChange) -> bool:
        """Return whether a change replaces an attention mask: one of the wrong input also hides valid keys."""
        entry = self.models.original.by_key.get(change.key)
        passes = isinstance(change, PassMask) and change.argument == PAIR_MASK
        return passes and entry is not None and get_argument(entry, PAIR_MASK) is not None

    def keep_output_mask(self, name: str) -> Cure | None:
        """Return the changes after which an output carries its mask, and nothing leaks; None without any."""
        for changes in (self.models.put_mask_on_output(name), self.models.bring_mask_to_output(name)):
            trial = self.trials.prove(changes) if changes else None
            if trial is not None and not trial.leaks:
                return Cure(changes or (), trial.change or 0.0, (), self.models.original)
            if changes and trial is not None:
                self.attempts.append(Attempt(changes, trial))
        return None

    def carries_output_mask(self, changes: Changes, name: str) -> bool:
        """Return whether an output carries the mask of its timesteps after changes."""
        look = self.models.look(changes)
        return isinstance(look, ChangedModel) and bool(changes) and self.models.is_output_masked(look, name)

    def repair_statistics(self, done: Changes, path: str | None) -> StatisticsRepair | None:
        """Return the change after which the statistics of a normalisation in training leave padding out.

        It comes with the changes ``done``, after which they may leave it out already; None if they never do.
        """
        original = self.models.original
        key = next((key for key, entry in original.by_key.items() if original.path(entry) == path), None)
        if key is None:
            return None
        for extra in itertools.chain([()], self._list_passed_masks(done, key)):
            changes = (*done, *extra)
            look = self.models.look(changes)
            if isinstance(look, str) or key not in look.by_key:
                continue
            with self.models.change(changes):
                if extra and self.trials.content.changes_full_rows(look, extra):
                    continue
                rng = np.random.default_rng(4)
                difference = measure_local_change(look.context, look.by_key[key], rng, training=True)
            if difference is not None and not difference.counts:
                return StatisticsRepair(extra, difference.change, original)
        return None

    def _list_passed_masks(self, done: Changes, key: str) -> Iterator[Changes]:
        """Yield changes that bring the mask to a call."""
        look = self.models.look(done)
        if isinstance(look, ChangedModel) and key in look.by_key:
            yield from Candidates(self.models, done, look, look.by_key[key]).list_passed_masks()

    def _find_first(self) -> str | None:
        """Return the key of the call where padding enters the model without changes."""
        names = self.models.original.context.trace.names
        path = self.trials.leak.first_call
        index = next((index for index, name in names.items() if name == path), None)
        if index is not None and not self.trials.by_content:
            return self.models.original.keys[index]
        fallback = None if index is None else self.models.original.keys[index]
        return self.trials.measure(()).first or fallback

    def _is_progress(self, done: Changes, look: ChangedModel, first: str, trial: RepairTrial) -> bool:
        """Return whether the leak begins at a later call after a change, at one not tried yet, or is much smaller.

        Scores of queries and keys differ at padded keys although the softmax after them hides these.
        """
        assert trial.first is not None  # noqa: S101 - the caller checked it
        if self._is_later(look, trial.first, first) or self._is_new(trial.first):
            return True
        before = self.trials.measure(done).change
        if trial.first != first or before is None or trial.change is None:
            return False
        return trial.change < SMALLER * before

    def _is_later(self, look: ChangedModel, key: str, first: str) -> bool:
        order = {look.key(entry): position for position, entry in enumerate(look.context.base.ended)}
        return order.get(key, -1) > order[first]

    def _is_new(self, key: str) -> bool:
        """Return whether padding also enters at a call, maybe an earlier one, that the search has not begun at."""
        return key in self.models.original.by_key and key not in self.starts

    def separates_rows(self, cure: Cure) -> bool:
        """Return whether no row changes the results of another one after the repairs."""
        look = self.models.look(cure.changes)
        with self.models.change(cure.changes):
            rows = probe_rows(look.context) if isinstance(look, ChangedModel) and cure.changes else None
        return rows is not None and rows.mixed is None and rows.why is None
