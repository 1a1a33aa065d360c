"""Compare the sides of a comparison: calls, outputs, leaks, losses and weights, each within rounding."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from maskcli.conclusions.differences import compare_calls, have_different_results, measure_results
from maskcli.conclusions.differing_causes import SidePair, find_cause
from maskcli.conclusions.pairing import Pair, pair_side_calls
from maskcli.probes.compare import measure_change
from maskcli.records.arrays import Array
from maskcli.records.comparison import (
    CallDifference,
    CallOnSide,
    ComparedCall,
    ComparedPart,
    ComparedSide,
    FirstCall,
    OutputDifference,
    SideDifference,
    WeightDifference,
)
from maskcli.records.inputs import is_same_validity
from maskcli.records.sides import ModelSide, SideCall, SideError, SideOutput, SideWeight
from maskcli.tolerance import COMPARED_LOSS


def summarize_side(name: str, side: ModelSide) -> ComparedSide:
    """Return a side without its arrays."""
    leak = side.leak
    return ComparedSide(
        name=name,
        backend=side.backend,
        versions=side.versions,
        model=side.model,
        errors=side.errors,
        leak=None if leak is None else leak.verdict,
        max_abs_change=None if leak is None else leak.max_abs_change,
        leaks_at=leak.first_call if leak is not None and leak.leaks else None,
        not_finite=side.not_finite,
        compiled_change=side.compiled_change,
        compiled_differs=side.compiled is not None,
        compiled_fails=side.compiled_fails,
        compiled_why=side.compiled_why,
        keras_evaluate=side.keras_evaluate,
        notes=side.notes,
    )


def compare_sides(names: Sequence[str], sides: Sequence[ModelSide]) -> tuple[SideDifference, ...]:
    """Return each further side compared with the first."""
    return tuple(
        _compare_pair(SidePair(names[0], sides[0], name, side)) for name, side in zip(names[1:], sides[1:], strict=True)
    )


def _compare_pair(pair: SidePair) -> SideDifference:
    first, other = pair.first, pair.other
    if not (first.runs and other.runs):
        errors: tuple[ComparedPart, ...] = () if _have_equal_errors(first, other) else ("errors",)
        difference = SideDifference(pair.first_name, pair.other_name, errors, _find_failing_call(first, other))
        return dataclasses.replace(difference, cause=find_cause(pair, difference, []))
    calls = pair_side_calls(first.calls, other.calls)
    outputs = tuple(_compare_outputs(first.outputs, other.outputs))
    weights = tuple(_compare_weights(first.weights, other.weights))
    difference = SideDifference(
        first=pair.first_name,
        side=pair.other_name,
        parts=(),
        first_call=_find_first_call(calls),
        first_result=_find_first_result(calls),
        outputs=outputs,
        weights=weights,
        only_in_first=tuple(call.call for call, match in calls if match is None and call is not None),
        only_in_other=tuple(match.call for call, match in calls if call is None and match is not None),
    )
    has_other_masks = any(compare_calls(*both) == "mask" for both in calls)
    parts = tuple(_list_parts(first, other, difference, has_other_masks))
    difference = dataclasses.replace(difference, parts=parts)
    if difference.equal:
        return difference
    return dataclasses.replace(difference, cause=find_cause(pair, difference, calls))


def _list_parts(
    first: ModelSide, other: ModelSide, difference: SideDifference, has_other_masks: bool
) -> list[ComparedPart]:
    """Return the parts in which two sides differ that both run."""
    outputs = difference.outputs
    only = difference.only_in_first or difference.only_in_other
    answers: dict[ComparedPart, bool] = {
        "errors": not _have_equal_errors(first, other),
        "calls": bool(only) or len(first.outputs) != len(other.outputs),
        "weights": bool(difference.weights),
        "masks": has_other_masks or any(output.masks_differ for output in outputs),
        "outputs": any(output.differs for output in outputs),
        "leaks": _get_verdict(first) != _get_verdict(other),
        "losses": _are_losses_different(first, other),
        "compiled": _summarize_compiled(first) != _summarize_compiled(other),
    }
    return [part for part, differs in answers.items() if differs]


def _get_verdict(side: ModelSide) -> str | None:
    return None if side.leak is None else side.leak.verdict


def _summarize_compiled(side: ModelSide) -> tuple[bool, bool]:
    """Return whether the compiled function computes something else, and whether it fails."""
    return side.compiled is not None, side.compiled_fails


def _have_equal_errors(first: ModelSide, other: ModelSide) -> bool:
    """Return whether both sides run, or fail in the same step; libraries word the same error in their own ways."""
    return [error.step for error in first.errors] == [error.step for error in other.errors]


def _find_failing_call(first: ModelSide, other: ModelSide) -> FirstCall | None:
    """Return the call that raises on one side only."""
    errors: list[SideError] = [error for side in (first, other) for error in side.errors if error.call is not None]
    if _have_equal_errors(first, other) or not errors or errors[0].call is None:
        return None
    path = errors[0].call
    calls = [call for side in (first, other) for call in side.calls if call.call == path]
    kind = calls[0].type if calls else errors[0].type
    return FirstCall(path, path, kind, "error", calls[0].location if calls else None)


# Calls.


def _find_first_call(calls: Sequence[Pair]) -> FirstCall | None:
    for first, other in calls:
        differs = compare_calls(first, other)
        if differs is not None:
            return _make_first_call(first, other, differs)
    return None


def _make_first_call(first: SideCall | None, other: SideCall | None, differs: CallDifference) -> FirstCall:
    shown = first or other
    assert shown is not None  # noqa: S101 - a pair has a call
    return FirstCall(shown.call, None if first is None or other is None else other.call, shown.type, differs,
                     shown.location)  # fmt: skip


def _find_first_result(calls: Sequence[Pair]) -> str | None:
    for first, other in calls:
        if first is not None and other is not None and have_different_results(first, other):
            return first.call
    return None


def list_compared_calls(sides: Sequence[ModelSide]) -> tuple[ComparedCall, ...]:
    """Return the calls of all sides, paired with those of the first side that runs."""
    running = [index for index, side in enumerate(sides) if side.runs]
    if not running:
        return ()
    base = sides[running[0]]
    rows: list[tuple[SideCall | None, dict[int, SideCall]]] = [(call, {running[0]: call}) for call in base.calls]
    for index in running[1:]:
        rows = _add_side(rows, index, pair_side_calls(base.calls, sides[index].calls))
    return tuple(_make_compared_call(first, by_side, len(sides)) for first, by_side in rows)


def _add_side(
    rows: list[tuple[SideCall | None, dict[int, SideCall]]], index: int, pairs: Sequence[Pair]
) -> list[tuple[SideCall | None, dict[int, SideCall]]]:
    """Return the rows with the calls of a further side; calls that the first side lacks come where they run."""
    added: list[tuple[SideCall | None, dict[int, SideCall]]] = []
    waiting = iter(rows)
    for first, other in pairs:
        if first is None:
            if other is not None:
                added.append((None, {index: other}))
            continue
        for row in waiting:
            if row[0] is first:
                added.append((first, row[1] if other is None else {**row[1], index: other}))
                break
            added.append(row)
    return [*added, *waiting]


def _make_compared_call(first: SideCall | None, by_side: dict[int, SideCall], n_sides: int) -> ComparedCall:
    shown = first or next(iter(by_side.values()))
    sides = (_show_call(first, by_side.get(index)) for index in range(n_sides))
    return ComparedCall(shown.call, shown.type, tuple(sides))


def _show_call(first: SideCall | None, call: SideCall | None) -> CallOnSide | None:
    if call is None:
        return None
    differs, change = None, None
    if call is not first:
        differs = compare_calls(first, call)
        measured = [] if first is None else [*map(measure_results, first.results, call.results)]
        change = max((item.change for item in measured if item is not None), default=None)
    return CallOnSide(call.call, call.effect, call.mask_in is not None, call.mask_out is not None, differs, change)


# Outputs, losses and weights.


def _compare_outputs(first: Sequence[SideOutput], other: Sequence[SideOutput]) -> Iterator[OutputDifference]:
    for before, after in zip(first, other, strict=False):
        measured = measure_results(before, after)
        place = () if measured is None else measured.place
        timestep = place[1] if before.valid is not None and len(place) > 1 else None
        at_padding = timestep is not None and before.valid is not None and not before.valid[place[:2]].all()
        yield OutputDifference(
            output=before.name,
            differs=measured is None or measured.counts,
            masks_differ=not is_same_validity(before.mask, after.mask),
            max_abs_change=None if measured is None else measured.change,
            tolerance=None if measured is None else measured.tolerance,
            sample=place[0] if place else None,
            timestep=timestep,
            at_padding=bool(at_padding),
            shapes=(before.values.shape, after.values.shape),
        )


def _are_losses_different(first: ModelSide, other: ModelSide) -> bool:
    pairs = [(first.keras_evaluate, other.keras_evaluate)]
    for before, after in zip(first.losses, other.losses, strict=False):
        pairs += [(before.masked, after.masked), (before.unmasked, after.unmasked)]
    return not all(itertools.starmap(_is_same_loss, pairs))


def _is_same_loss(first: float | None, other: float | None) -> bool:
    if first is None or other is None:
        return first is other
    if math.isnan(first) or math.isnan(other):
        return math.isnan(first) == math.isnan(other)
    return math.isclose(first, other, rel_tol=COMPARED_LOSS.value, abs_tol=COMPARED_LOSS.value)


def _compare_weights(first: Sequence[SideWeight], other: Sequence[SideWeight]) -> Iterator[WeightDifference]:
    """Yield the weights that differ between two models, in their order; of backends there are none."""
    for before, after in itertools.zip_longest(first, other):
        shapes = _get_shape(before), _get_shape(after)
        name = (before or after).path
        if shapes[0] != shapes[1]:
            yield WeightDifference(name, shapes, None)
        elif before.values is not None and after.values is not None:
            change = _measure_weights(before.values, after.values)
            if change:
                yield WeightDifference(name, shapes, change)


def _get_shape(weight: SideWeight | None) -> tuple[int, ...] | None:
    return None if weight is None else weight.shape


def _measure_weights(first: Array, other: Array) -> float:
    return float(measure_change(first.astype(np.float64), other.astype(np.float64)).max(initial=0.0))
