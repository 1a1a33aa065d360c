"""Does a repaired model still compute the same of its data? A change that hides all data removes every leak, too.

Two laws: other content at valid timesteps moves the results that it moved before, and rows without padding have the
same results as before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.probes.compare import align_results, find_validity_of_pair, measure_change
from maskcli.probes.content import fill_with_content, get_places, list_content_inputs, replace_content
from maskcli.probes.context import ProbeContext
from maskcli.probes.repair_changes import (
    WITH_ORIGIN,
    FlipResult,
    InvertMask,
    MaskInput,
    MaskMissing,
    SetMaskValue,
    SetMaskZero,
)
from maskcli.probes.repair_masks import ChangedModel, ChangedModels, Changes
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.tolerance import CONTENT_EFFECT, KEPT_EFFECT, LEAST_SCALE, REPAIR_CHANGE, bound_sum_error
from maskcli.trace.changes import CallChange
from maskcli.trace.recorder import Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, get_ulp

HIDES = "it hides valid timesteps: other content there no longer changes results"
CHANGES_ROWS = "it changes rows that have no padding"
_MOST_INPUTS = 4
"""Inputs whose content is replaced without that of the others, at most."""
_DRAWS = 2
"""Contents that are tried: one may lie where an activation is zero before and after."""

Movement = dict[str, NDArray[np.float64]]
"""By output, ``(rows, places)``: how far results move, as parts of the largest of their feature, at most 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Content:
    """Other content for valid timesteps, and how far it moves the results of the model without changes.

    Attributes:
        draws: the inputs with other content, drawn more than once.
        movement: the movement by the first of them.
    """

    draws: tuple[tuple[ModelInput, ...], ...]
    movement: Movement


class ValidContent:
    """The effect of valid timesteps on the results of a model, which every repair must keep."""

    def __init__(self, models: ChangedModels) -> None:
        """Run nothing yet."""
        self.models: ChangedModels = models
        self.original: ProbeContext = models.original.context

    def changes_full_rows(self, look: ChangedModel, changes: Changes) -> bool:
        """Return whether a row of the data without padding has other results than before."""
        if self._may_change_full_rows(changes):
            return False
        full = np.ones(len(self.models.labels), bool)
        for item in self.original.with_timesteps:
            full &= get_places(item).reshape(len(full), -1).all(axis=1)
        return _differ(self.original.base, look.context.base, full)

    def find_fault(self, look: ChangedModel, changes: Changes) -> str | None:
        """Return the reason why the model under changes computes something else of its data; None if it does not.

        The model must not be under changes already.
        """
        contents = self._contents  # Runs the model without changes.
        if self._filled is not None and not self._may_change_full_rows(changes):
            # A mask of an input must be made again for rows that lost their padding.
            with self.models.change(tuple(map(_renew_mask, changes))):
                again = look.context.run.vary(self._filled[0])
            if again.error is not None:
                return f"without padding, the model raises {summarize_error(again.error)}"
            if _differ(self._filled[1], again, np.ones(len(self.models.labels), bool)):
                return CHANGES_ROWS
        with self.models.change(changes):
            for content in contents:
                reason = self._find_hidden(look, content)
                if reason is not None:
                    return reason
        return None

    def _find_hidden(self, look: ChangedModel, content: _Content) -> str | None:
        """Return the reason why other content moves results less than before; None if it does not."""
        hidden: dict[str, Bools] = {}
        for inputs in content.draws:
            changed = look.context.run.vary(inputs)
            if changed.error is not None:
                return f"with other content, the model raises {summarize_error(changed.error)}"
            after = self._measure(look.context.base, changed)
            for name, before in content.movement.items():
                moved = after.get(name)
                stays = moved is None or before.shape != moved.shape or moved < KEPT_EFFECT.value * before
                stays = np.broadcast_to(stays, before.shape) & (before > CONTENT_EFFECT.value)
                hidden[name] = stays & hidden.get(name, np.ones_like(stays))
            if not any(places.any() for places in hidden.values()):
                return None
        return HIDES

    @functools.cached_property
    def _contents(self) -> tuple[_Content, ...]:
        """Other content of all inputs at once, and of each."""
        positions = list_content_inputs(self.original.inputs)
        groups = [positions, *((position,) for position in positions[:_MOST_INPUTS] if len(positions) > 1)]
        contents = []
        for group in groups:
            draws = tuple(self._replace(group, np.random.default_rng(20 + draw)) for draw in range(_DRAWS))
            changed = self.original.run.vary(draws[0])
            if changed.error is None:
                contents.append(_Content(draws, self._measure(self.original.base, changed)))
        return tuple(contents)

    def _replace(self, positions: Sequence[int], rng: np.random.Generator) -> tuple[ModelInput, ...]:
        """Return the inputs, some of them with other content at all valid timesteps."""
        return tuple(
            replace_content(item, item, item.valid, rng) if position in positions and item.valid is not None else item
            for position, item in enumerate(self.original.inputs)
        )

    def _measure(self, base: Recording, changed: Recording) -> Movement:
        """Return how far the results of a run are from those of another one, at the places that count."""
        original, movement = self.original, {}
        align = original.align()
        triples = zip(*(list_output_tensors(run.output) for run in (original.base, base, changed)), strict=True)
        for (name, first), (_, old), (_, new) in triples:
            if not len(first.shape) or tuple(old.shape) != tuple(first.shape) or len(first) != len(align.relevant):
                continue
            valid = find_validity_of_pair(first, first, original.flow, align)[0]
            aligned = align_results(old, valid, new, align)
            sizes = align_results(first, valid, first, align)
            if aligned is None or sizes is None:
                continue
            largest = sizes.size_by_feature.max(initial=np.finfo(np.float32).tiny)
            scale = np.maximum(sizes.size_by_feature, LEAST_SCALE.value * largest)
            # A feature that is 0 in the data, as after a ReLU, must not outweigh all others once it moves.
            relative = np.minimum(aligned.change / scale, 1.0)
            moved = np.where(aligned.counts & self._rows[:, None], relative.max(axis=2, initial=0.0), 0)
            # Timesteps that are only estimated are not judged one by one.
            is_exact = valid is None or id(first) in original.flow.exact
            movement[name] = moved if is_exact else moved.max(axis=1, keepdims=True)
        return movement

    @functools.cached_property
    def _rows(self) -> Bools:
        """``(batch,)``: the rows that must keep their effect.

        A softmax over a single timestep is 1, and its normalisation 0, whatever it holds; a row that is shorter than a
        window has no result.
        """
        rows = self.original.relevant.copy()
        for valid in self.original.flow.valid.values():
            if len(valid) == len(rows):
                rows &= valid.reshape(len(rows), -1).any(axis=1)
        several = rows.copy()
        for item in self.original.with_timesteps:
            assert item.lengths is not None  # noqa: S101 - these inputs have timesteps
            several &= item.lengths > 1
        return several if several.any() else rows

    @functools.cached_property
    def _filled(self) -> tuple[tuple[ModelInput, ...], Recording] | None:
        """The inputs with content instead of padding, and their run; None if this is impossible."""
        inputs = [fill_with_content(item, np.random.default_rng(30)) for item in self.original.inputs]
        filled = tuple(item for item in inputs if item is not None)
        if len(filled) < len(inputs):
            return None
        recording = self.original.run.vary(filled)
        return None if recording.error is not None else (filled, recording)

    def _may_change_full_rows(self, changes: Changes) -> bool:
        return any(self._shows_data(change) for change in changes)

    def _shows_data(self, change: CallChange) -> bool:
        """Return whether a repair is right although it changes rows without padding.

        These are: the opposite of a mask, which hid their data; another value to look for, if the earlier one was
        looked for in valid timesteps, too; and timesteps that were joined with others in the opposite order.
        """
        if isinstance(change, FlipResult):
            return True
        if isinstance(change, (SetMaskZero, SetMaskValue, MaskMissing)):
            entry = self.models.original.by_key.get(change.key)
            return entry is None or any(mask is not None for mask in entry.masks_out)
        # A layer that had no mask before did not hide the data of these rows.
        entry = self.models.original.by_key.get(change.key)
        return isinstance(change, InvertMask) and (entry is None or bool(entry.mask_tensors or entry.padding_masks))


def _renew_mask(change: CallChange) -> CallChange:
    """Return a change that has not computed the mask of an input from any data yet."""
    if isinstance(change, MaskInput):
        return dataclasses.replace(change, earlier=[])
    if isinstance(change, WITH_ORIGIN) and change.origin.kind == "values":
        return dataclasses.replace(change, origin=dataclasses.replace(change.origin, earlier=[]))
    return change


def _differ(base: Recording, changed: Recording, rows: Bools) -> bool:
    """Return whether some rows of an output of two runs differ by more than rounding."""
    old, new = (list_output_tensors(recording.output) for recording in (base, changed))
    calls = len(changed.ended)
    return any(_differ_in(before, after, rows, calls) for (_, before), (_, after) in zip(old, new, strict=True))


def _differ_in(before: Any, after: Any, rows: Bools, calls: int) -> bool:
    if tuple(before.shape) != tuple(after.shape) or not len(before.shape) or len(before) != len(rows):
        return False
    old, new = as_float64(before)[rows], as_float64(after)[rows]
    largest = np.abs(old, where=np.isfinite(old), out=np.zeros_like(old)).max(initial=0.0)
    # The repair may sum in another order, as a mean over valid timesteps does.
    allowed = bound_sum_error(get_ulp(before), max(map(int, before.shape)), calls) * largest
    return bool(measure_change(old, new).max(initial=0.0) > max(allowed, REPAIR_CHANGE.value * largest))
