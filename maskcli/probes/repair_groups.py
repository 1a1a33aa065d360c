"""Make a change at all calls that need it, such as those of the attention in each block of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from maskcli.probes.local import measure_local_change
from maskcli.probes.repair_changes import MaskOrigin
from maskcli.probes.repair_masks import ChangedModel, Changes, can_name_mask, find_owner, is_own_layer
from maskcli.records.inputs import is_same_validity
from maskcli.trace.changes import CallChange
from maskcli.trace.recorder import CallRecord, get_code


def is_alike(entry: CallRecord, other: CallRecord) -> bool:
    """Return whether two calls are of layers of one class, in models, or at one place in the code of one class."""
    owner, same = find_owner(entry), find_owner(other)
    return (
        type(entry.operation) is type(other.operation)
        and get_code(owner.operation) is get_code(same.operation)
        and entry.index - owner.index == other.index - same.index
    )


def repeat_changes(look: ChangedModel, entry: CallRecord, changes: Changes) -> Changes:
    """Return the changes of a call for all calls like it that need them; empty if there are none.

    A call needs them if padding enters there by itself, as other numbers at the padding of its inputs show. In the code
    of a class of the user's, one edit changes all calls anyway.
    """
    owner = find_owner(entry)
    own = [change for change in changes if change.key in (look.key(entry), look.key(owner))]
    is_edit = owner is not entry and is_own_layer(owner.operation)
    rng = np.random.default_rng(2)
    repeated: list[CallChange] = []
    for other in _list_alike(look, entry) if own else ():
        difference = None if is_edit else measure_local_change(look.context, other, rng)
        if is_edit or (difference is not None and difference.counts):
            keys = {look.key(entry): look.key(other), look.key(owner): look.key(find_owner(other))}
            moved = [_move_change(change, keys) for change in own]
            if all(_can_name(look, other, change) for change in moved):
                repeated += moved
    return tuple(dict.fromkeys(change for change in repeated if change not in changes))


def _list_alike(look: ChangedModel, entry: CallRecord) -> Iterator[CallRecord]:
    """Yield the other calls like one, on timesteps of the same validity."""
    valid = look.flow.list_input_validity(entry)
    for other in look.context.base.ended:
        if other is not entry and is_alike(entry, other):
            same = look.flow.list_input_validity(other)
            if valid and same and is_same_validity(valid[0], same[0]):
                yield other


def _move_change(change: CallChange, keys: Mapping[str, str]) -> CallChange:
    """Return a change for another call, with its mask from the same place, or from the one that arrives there."""
    moved = dataclasses.replace(change, key=keys[change.key])  # type: ignore[type-var]
    origin = getattr(change, "origin", None)
    if isinstance(origin, MaskOrigin) and origin.key in keys:
        moved = dataclasses.replace(moved, origin=dataclasses.replace(origin, key=keys[origin.key]))  # type: ignore[type-var]
    return moved


def _can_name(look: ChangedModel, entry: CallRecord, change: CallChange) -> bool:
    """Return whether the code that makes a call can name the mask of a change."""
    origin = getattr(change, "origin", None)
    if not isinstance(origin, MaskOrigin) or origin.kind == "arriving":
        return True
    return can_name_mask(look, find_owner(entry), origin)
