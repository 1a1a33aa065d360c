"""Find masks for the calls of a model: where a mask could come from, and where it was lost on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.errors import summarize_error
from maskcli.inputs.arguments import read_input_specs
from maskcli.probes.context import ProbeContext, make_context, show_calls
from maskcli.probes.padding_sources import repeats_numbers
from maskcli.probes.repair_changes import (
    WHOLE,
    CopyInput,
    KeepMask,
    MaskedWindows,
    MaskInput,
    MaskMissing,
    MaskOrigin,
    SetAttribute,
    SetInnerMaskZero,
    SetMaskValue,
    SetMaskZero,
    TimeSlice,
    get_argument,
)
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput, is_same_validity
from maskcli.trace.changes import CallChange, apply_changes, flatten_arguments, number_calls
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, convert_mask, get_mask, has_own_code, is_attention, list_parameters
from maskcli.trace.rerun import rerun_call
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64, is_float

MOST_LOSSES = 8
"""Calls on the way from a mask to a call that lose it, at most."""
FEW_LOSSES = 2
"""Calls that lose the mask of an output and that are mended by themselves, at most."""

Changes = tuple[CallChange, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ChangedModel:
    """A model under changes, and its run.

    Attributes:
        context: the run.
        keys: the key of each call, by index.
    """

    context: ProbeContext
    keys: dict[int, str]

    @functools.cached_property
    def by_key(self) -> dict[str, CallRecord]:
        """The calls by their keys."""
        return {key: self.context.base.entries[index] for index, key in self.keys.items()}

    @property
    def flow(self) -> MaskFlow:
        """Where padding and masks go."""
        return self.context.flow

    def key(self, entry: CallRecord) -> str:
        """Return the key of a call."""
        return self.keys[entry.index]

    def path(self, entry: CallRecord) -> str:
        """Return the path of a call."""
        return show_calls(self.context, [entry]).trace.names[entry.index]


class ChangedModels:
    """A model, and its runs under changes, each of which is recorded once.

    Attributes:
        model: a Keras model; it is left unchanged.
        inputs: the rows that the probes ran on.
        labels: ``(batch,)``, the rows of the data that these are.
        original: the run without changes.
    """

    def __init__(self, model: Any, inputs: Sequence[ModelInput], labels: NDArray[np.intp]) -> None:
        """Run the model without changes."""
        self.model: Any = model
        self.inputs: tuple[ModelInput, ...] = tuple(inputs)
        self.labels: NDArray[np.intp] = labels
        self._runs: dict[Changes, ChangedModel | str] = {}
        original = self.look(())
        assert isinstance(original, ChangedModel)  # noqa: S101 - a model that leaks has run before
        self.original = original

    def look(self, changes: Changes) -> ChangedModel | str:
        """Return the model under changes, or the error that it raises."""
        if changes not in self._runs:
            with self.change(changes):
                run = ModelRun(self.model, self.inputs)
                if run.recording.error is not None:
                    self._runs[changes] = summarize_error(run.recording.error)
                else:
                    keys = number_calls(run.recording.entries)
                    self._runs[changes] = ChangedModel(make_context(run, self.labels), keys)
        return self._runs[changes]

    def look_again(self, changes: Changes) -> ModelRun:
        """Return the run of the model under changes, which the probes derive further runs from."""
        look = self.look(changes)
        assert isinstance(look, ChangedModel)  # noqa: S101 - only a model that runs is probed
        return look.context.run

    @contextlib.contextmanager
    def change(self, changes: Changes) -> Iterator[None]:
        """Let all runs inside have the changes."""
        with contextlib.ExitStack() as stack:
            for change in changes:
                for layer, name, value in self._list_settings(change):
                    stack.callback(setattr, layer, name, getattr(layer, name))
                    setattr(layer, name, value)
            stack.enter_context(apply_changes(changes))
            yield

    def _list_settings(self, change: CallChange) -> list[tuple[Any, str, Any]]:
        """Return the attributes of layers that a change sets while it is tried."""
        entry = self.original.by_key.get(change.key) if isinstance(change, (SetAttribute, SetInnerMaskZero)) else None
        return [] if entry is None else change.list_settings(entry.operation)  # type: ignore[attr-defined]

    def bring_mask(self, done: Changes, key: str, then: Changes = ()) -> Changes | None:
        """Return further changes after which the mask of its inputs reaches a call; None if there are none.

        The model may only run with the mask if later changes follow, those of ``then``.
        """
        added: Changes = ()
        for _ in range(MOST_LOSSES):
            look = self.look((*done, *added, *then) if added else done)
            if isinstance(look, str) or key not in look.by_key:
                return None
            missing = _list_needed(look, look.by_key[key])
            if not missing:
                return added
            more = find_mask_source(look, missing[0], look.by_key[key])
            if more is None or more in added or more in done:
                return None
            added = (*added, *spread_change(look, more))
        return None

    def bring_mask_to_output(self, name: str) -> Changes | None:
        """Return changes after which an output carries the mask of its timesteps; None if there are none."""
        added: Changes = ()
        for _ in range(MOST_LOSSES):
            look = self.look(added)
            if isinstance(look, str):
                return None
            tensor = dict(list_output_tensors(look.context.base.output)).get(name)
            if tensor is None or id(tensor) not in look.flow.valid:
                return None
            if self.is_output_masked(look, name):
                return added
            more = find_mask_source(look, tensor)
            if more is None or more in added:
                return None
            added = (*added, *spread_change(look, more))
        return None

    def put_mask_on_output(self, name: str) -> Changes | None:
        """Return the change that puts the mask back on an output that has lost it more than a few times; else None."""
        brought = self.bring_mask_to_output(name)
        if brought is not None and len(brought) <= FEW_LOSSES:
            return None
        tensor = dict(list_output_tensors(self.original.context.base.output)).get(name)
        entry = self.original.flow.maker.get(id(tensor))
        origin, extra = find_maker(self.original, tensor)
        if entry is None or origin is None or origin.kind != "call" or not can_name_mask(self.original, entry, origin):
            return None
        changes = (*extra, KeepMask(self.original.key(entry), origin))
        look = self.look(changes)
        return changes if isinstance(look, ChangedModel) and self.is_output_masked(look, name) else None

    @staticmethod
    def is_output_masked(look: ChangedModel, name: str) -> bool:
        """Return whether an output carries exactly the mask of its timesteps."""
        tensor = dict(list_output_tensors(look.context.base.output)).get(name)
        valid = None if tensor is None else look.flow.valid.get(id(tensor))
        mask = None if valid is None else get_mask(tensor)
        return mask is not None and valid is not None and np.array_equal(mask, valid)


EDITS = (KeepMask, SetMaskZero, SetMaskValue, MaskMissing, SetAttribute, SetInnerMaskZero)
"""Changes of a layer, or of its class, as opposed to changes of one call."""


def spread_change(look: ChangedModel, change: CallChange) -> Changes:
    """Return a change for all calls that the same edit of the code changes: of one layer, or of one class."""
    entry = look.by_key.get(change.key)
    edit = None if entry is None else find_edit(entry, change)
    if entry is None or edit is None:
        return (change,)
    spread: list[CallChange] = []
    for key, other in look.by_key.items():
        if find_edit(other, change) == edit:
            same = change if other is entry else dataclasses.replace(change, key=key)  # type: ignore[type-var]
            if isinstance(same, KeepMask) and same.origin.kind == "arriving":
                same = dataclasses.replace(same, origin=dataclasses.replace(same.origin, key=key))
            spread.append(same)
    return tuple(spread)


def find_edit(entry: CallRecord, change: CallChange) -> tuple[Any, ...] | None:
    """Return the key of the edit of a layer, or of its class; None for a change of one call."""
    if entry.code or not isinstance(change, EDITS):
        return None
    of_class = isinstance(change, (KeepMask, SetMaskZero)) and is_own_layer(entry.operation) and entry.type != "Lambda"
    return type(change), type(entry.operation) if of_class else id(entry.operation)


def list_missing(look: ChangedModel, entry: CallRecord) -> list[Any]:
    """Return the input tensors of a call with padding and without a mask that hides it."""
    missing = []
    for tensor, carried in zip(entry.inputs, entry.carried, strict=True):
        valid = look.flow.valid.get(id(tensor))
        if valid is None or valid.all() or not is_float(tensor) or len(tensor.shape) < 3:
            continue
        known = (carried, *_list_passed(entry, tensor))
        masks = [mask for mask in known if mask is not None and mask.shape == valid.shape]
        # The validity of other timesteps than those of the data is an estimate, which no mask need equal.
        is_exact = id(tensor) in look.flow.exact or any(is_same_validity(valid, truth) for truth in look.flow.truths)
        if not masks or (all((mask & ~valid).any() for mask in masks) and (is_exact or _is_misaligned(look, tensor))):
            missing.append(tensor)
    return missing


def _list_needed(look: ChangedModel, entry: CallRecord) -> list[Any]:
    """Return the input tensors of a call that need their mask: of attention, no queries that are not keys as well."""
    missing = list_missing(look, entry)
    if not is_attention(entry):
        return missing
    query, *others = (get_argument(entry, name) for name in ("query", "key", "value"))
    return [tensor for tensor in missing if tensor is not query or any(tensor is other for other in others)]


def find_masked_argument(look: ChangedModel, entry: CallRecord, valid: Bools | None) -> int | None:
    """Return the place, among the flattened arguments of a call, of the tensor whose mask has this validity.

    Returns None if the masks that arrive are all alike, or if none of them has it.
    """
    masks = [mask for mask in entry.carried if mask is not None and mask.ndim > 1]
    if valid is None or all(is_same_validity(mask, masks[0]) for mask in masks):
        return None
    carried = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}
    places = (
        place
        for place, leaf in enumerate(flatten_arguments(entry.args))
        if carried.get(id(leaf)) is not None and is_same_validity(look.flow.valid.get(id(leaf)), valid)
    )
    return next(places, None)


def _list_passed(entry: CallRecord, tensor: Any) -> list[Bools | None]:
    """Return the masks that are passed for one of the input tensors of a call, as arguments."""
    if entry.code or not entry.accepts:
        return []
    names = list_parameters(type(entry.operation).call)
    by_name = {**dict(zip(names, entry.args, strict=False)), **entry.kwargs}
    first, mask = next(iter(by_name.values()), None), by_name.get("mask")
    if isinstance(first, (list, tuple)):
        masks = mask if isinstance(mask, (list, tuple)) else [mask] * len(first)
        return [convert_mask(other) for item, other in zip(first, masks, strict=False) if item is tensor]
    if first is tensor and "mask" in entry.mask_values:
        return list(entry.mask_values["mask"])
    argument = next((name for name, value in by_name.items() if value is tensor), None)
    return list(entry.mask_values.get(f"{argument}_mask", ()))


def _copy_input(look: ChangedModel, at: CallRecord, tensor: Any, reader: CallRecord | None) -> CallChange | None:
    """Return the copy for the outermost layer, not of Keras, in whose code attention took the mask off its input.

    It is none that contains the ``reader``, whose code goes on with the same tensor.
    """
    is_taken = any(x is tensor and removed for x, removed in zip(at.inputs, at.taken_off, strict=False))
    around = {id(at)} if reader is None else set(map(id, reader.parents))
    takers = [
        owner
        for owner in at.parents
        if is_own_layer(owner.operation) and id(owner) not in around and any(x is tensor for x in owner.inputs)
    ]
    if not is_taken or not takers:
        return None
    return CopyInput(look.key(takers[-1]), next(place for place, x in enumerate(takers[-1].inputs) if x is tensor))


def find_mask_source(look: ChangedModel, tensor: Any, reader: CallRecord | None = None) -> CallChange | None:
    """Return the change that gives a tensor its mask, or brings the mask a call nearer to it.

    Args:
        look: the model under changes.
        tensor: a tensor with padding and without its mask.
        reader: the call that needs the mask.
    """
    kept = _keep_lost_mask(look, tensor, reader)
    if kept is not None:
        return kept
    ancestors = list_ancestors(look, tensor)
    used = {id(tensor), *(id(x) for entry in ancestors for x in entry.inputs)}
    for entry in ancestors:
        change = _make_source(look, entry)
        if change is not None:
            around = _find_layer_around(entry, used)
            return change if around is None else _mask_lookup(look, around) or change
        wrong = (place for place in (entry, find_owner(entry)) if _widens(look, place) or _misaligns(look, place))
        kept = next((keep_mask(look, place) for place in wrong), None)
        if kept is not None:
            return kept
    # A merge whose other input has a mask keeps none for this one until its own input has one.
    missing = (other for entry in ancestors for other in list_missing(look, entry) if other is not tensor)
    earlier = next(missing, None)
    return _mask_features(look, tensor) if earlier is None else find_mask_source(look, earlier, reader)


def _keep_lost_mask(look: ChangedModel, tensor: Any, reader: CallRecord | None) -> CallChange | None:
    """Return the change of the call that lost the mask of a tensor; None if no call did, or if no change is known."""
    flow = look.flow
    valid, lost = flow.valid[id(tensor)], flow.lost.get(id(tensor))
    is_exact = any(valid is truth for truth in flow.truths)
    if lost is None or (is_exact and _marks_padding(lost.mask, valid)):
        return None
    copied = _copy_input(look, lost.at, tensor, reader)
    if copied is not None:
        return copied
    at, last = find_owner(lost.at, without_mask=True), flow.maker.get(id(tensor))
    lookup = None if at.code or any(mask is not None for mask in at.carried) else _mask_lookup(look, at)
    if lookup is not None:  # A layer that looks up ids receives no mask to keep.
        return lookup
    # One layer after a chain of operators is enough, if its result has the timesteps of their input.
    has_timesteps = lost.mask.shape == tuple(tensor.shape[:2]) == valid.shape
    if last is not None and lost.after is not None and has_timesteps and _are_operators(look, at, last):
        return KeepMask(look.key(last), MaskOrigin("call", look.key(lost.after)))
    return keep_mask(look, at)


def _are_operators(look: ChangedModel, first: CallRecord, last: CallRecord) -> bool:
    """Return whether a chain of calls in one scope has only operations, no layers."""
    import keras

    chain = [entry for x in last.inputs for entry in list_ancestors(look, x) if entry.index >= first.index]
    lost = [entry for entry in (*chain, last) if entry.outputs and id(entry.outputs[0]) in look.flow.lost]
    return first in lost and all(
        entry.parent is first.parent and not isinstance(entry.operation, keras.layers.Layer) for entry in lost
    )


def _marks_padding(mask: Bools, valid: Bools) -> bool:
    """Return whether a mask calls padding valid."""
    return mask.shape == valid.shape and bool((mask & ~valid).any())


def _widens(look: ChangedModel, entry: CallRecord) -> bool:
    valid = look.flow.valid.get(id(entry.outputs[0])) if entry.outputs else None
    if valid is None or entry.masks_out[0] is None or not _marks_padding(entry.masks_out[0], valid):
        return False
    same = (mask for mask in entry.carried if mask is not None and mask.shape == valid.shape)
    return any(not _marks_padding(mask, valid) for mask in same)


def _misaligns(look: ChangedModel, entry: CallRecord) -> bool:
    """Return whether a call moves timesteps and not their mask, which then marks the wrong ones."""
    output = entry.outputs[0] if entry.outputs else None
    valid, mask = look.flow.valid.get(id(output)), next(iter(entry.masks_out), None)
    if valid is None or mask is None or not _is_known(look, entry, mask) or not _marks_padding(mask, valid):
        return False
    arriving = (*entry.carried, *entry.padding_masks)
    return any(is_same_validity(before, mask) for before in arriving) and bool((valid & ~mask).any())


def _is_misaligned(look: ChangedModel, tensor: Any) -> bool:
    """Return whether a call before a tensor moved timesteps and not their mask."""
    return find_misaligned_call(look, tensor) is not None


def find_misaligned_call(look: ChangedModel, tensor: Any) -> CallRecord | None:
    """Return the call before a tensor that moved timesteps and not their mask; None if there is none."""
    places = (place for entry in list_ancestors(look, tensor) for place in (entry, find_owner(entry)))
    return next((place for place in places if _misaligns(look, place)), None)


def _is_known(look: ChangedModel, entry: CallRecord, mask: Bools) -> bool:
    """Return whether the valid timesteps of a result are known.

    After a stride they are an estimate. They are still known relative to those of the input with this mask, if that
    agrees with the estimate.
    """
    if id(entry.outputs[0]) in look.flow.exact:
        return True
    known = [look.flow.valid.get(id(tensor)) for tensor in entry.inputs]
    return any(
        is_same_validity(valid, mask) and is_same_validity(carried, mask)
        for valid, carried in zip(known, entry.carried, strict=True)
    )


def _find_layer_around(entry: CallRecord, used: set[int]) -> CallRecord | None:
    """Return the layer, not of Keras, that makes a call inside, and whose results, not those of the call, are used."""
    found, owner = None, entry.parent
    while owner is not None and is_own_layer(owner.operation):
        results = set(map(id, owner.outputs))
        if results & used and not results & set(map(id, entry.outputs)):
            found = owner
        owner = owner.parent
    return found


def is_own_layer(operation: Any) -> bool:
    """Return whether an operation is a layer that is neither Keras's nor a model."""
    import keras

    return has_own_code(operation) and not isinstance(operation, keras.Model)


def _make_source(look: ChangedModel, entry: CallRecord) -> CallChange | None:
    """Return the change that lets a lookup of ids, or a call that masks features, mask the padding."""
    flow = look.flow
    if not entry.outputs or not is_float(entry.outputs[0]) or entry.calls:
        return None
    valid = flow.valid.get(id(entry.outputs[0]))
    mask = entry.masks_out[0]
    if valid is None or (mask is not None and not _marks_padding(mask, valid)):
        return None
    lookup = _mask_lookup(look, entry)
    if lookup is not None:
        return lookup
    source = next((x for x in entry.inputs if id(x) in flow.valid and id(x) in flow.derived), None)
    receives = bool(entry.mask_tensors) or any(mask is not None for mask in entry.carried)
    if source is None or mask is None or receives or len(source.shape) < 3:
        return None
    values = as_array(source)
    if np.isnan(values[~valid]).all() and valid.any():
        return MaskMissing(look.key(entry), _choose_fill(values))
    value = find_common_padding(values, valid)
    return None if value is None else SetMaskValue(look.key(entry), float(value))


def _choose_fill(values: NDArray[Any]) -> float:
    """Return a number that is below all of these values."""
    return min(-1.0, float(np.floor(np.nanmin(values))) - 1)


def _mask_lookup(look: ChangedModel, entry: CallRecord) -> CallChange | None:
    """Return the change that lets a call which turns ids into vectors return the mask of the ids; None for others."""
    flow = look.flow
    valid = flow.valid.get(id(entry.outputs[0])) if entry.outputs else None
    if valid is None or not is_float(entry.outputs[0]):
        return None
    shape = tuple(entry.outputs[0].shape)
    for position, source in enumerate(entry.inputs):
        same = flow.valid.get(id(source))
        if same is None or id(source) not in flow.derived or tuple(source.shape) != same.shape:
            continue
        inside = same.ndim > valid.ndim
        if (shape[:-1] != same.shape and not inside) or not is_same_validity(_drop_places(same, valid.ndim), valid):
            continue
        if not inside and repeats_numbers(entry.outputs[0], source):  # A mask of numbers that got another axis.
            continue
        value = find_common_padding(as_array(source), same)
        if value is not None and float(value).is_integer():
            return SetMaskZero(look.key(entry), int(value), position, inside)
    return None


def _drop_places(valid: Bools, rank: int) -> Bools:
    """Return which timesteps have a valid place inside."""
    if valid.ndim == rank:
        return valid
    return np.asarray(valid.any(axis=tuple(range(rank, valid.ndim))))


def find_common_padding(values: NDArray[Any], valid: Bools) -> Any | None:
    """Return the number that all padded timesteps hold and no valid one; None if there is none."""
    padded = values[~valid]
    if not padded.size or (padded != padded.flat[0]).any():
        return None
    same = (values == padded.flat[0]).reshape(*valid.shape, -1).all(axis=-1)
    return None if (same & valid).any() else padded.flat[0] + padded.dtype.type(0)  # Not -0, which is the same number.


def _mask_features(look: ChangedModel, tensor: Any) -> CallChange | None:
    """Return the change that masks the features which a tensor is made of.

    Of frames, that takes a layer to define, and only a ``Sequential`` needs it: other code can pass a mask.
    """
    import keras

    is_chain = isinstance(look.context.model, keras.Sequential)
    sources = {id(tensor), *(id(x) for entry in list_ancestors(look, tensor) for x in entry.inputs)}
    base = look.context.base
    for position, (item, source) in enumerate(zip(look.context.inputs, base.inputs, strict=True)):
        if id(source) not in sources or item.kind != "features" or item.valid is None or item.valid.all():
            continue
        if item.time_axis > 1:
            continue
        if len(source.shape) > 3 and not is_chain:
            continue
        value = find_common_padding(as_array(source), item.valid)
        if value is not None:
            specs = read_input_specs(look.context.model)
            name = specs[position].name if position < len(specs) else item.name
            return MaskInput("", position, float(value), name)
    return None


def list_ancestors(look: ChangedModel, tensor: Any) -> list[CallRecord]:
    """Return the calls that a tensor was computed by, the latest first."""
    flow, pending, visited = look.flow, [tensor], {}
    while pending:
        entry = flow.maker.get(id(pending.pop()))
        if entry is not None and entry.index not in visited:
            visited[entry.index] = entry
            pending.extend(entry.inputs)
    return [visited[index] for index in sorted(visited, reverse=True)]


def find_owner(entry: CallRecord, without_mask: bool = False) -> CallRecord:
    """Return the layer, not of Keras, whose code made a call; otherwise the call."""
    import keras

    owner = entry.parent
    if owner is None or isinstance(owner.operation, keras.Model) or not has_own_code(owner.operation):
        return entry
    if without_mask and any(mask is not None for mask in owner.masks_out):
        return entry
    return find_owner(owner, without_mask)


def keep_mask(look: ChangedModel, entry: CallRecord) -> CallChange | None:
    """Return the change that lets a call keep its mask; None if its timesteps do not follow those of its input."""
    key = look.key(entry)
    masks = [mask for mask in (*entry.carried, *entry.padding_masks) if mask is not None and mask.ndim > 1]
    if not masks or not entry.outputs:
        return None
    valid, mask = look.flow.valid.get(id(entry.outputs[0])), masks[0]
    origin = MaskOrigin("arriving", key, argument=_find_kept_argument(entry))
    kept = KeepMask(key, origin, inside=valid is not None and mask.ndim > valid.ndim)
    cut = find_time_slice(entry, mask) or _find_joined_timesteps(mask, valid)
    if cut is not None and valid is not None and valid.ndim == mask.ndim == 2:
        cut = _choose_window_end(cut, mask, valid)
    windows = _recognize_windows(entry)
    if cut is not None and windows is not None:  # A mask is not enough: a window may hold valid timesteps and padding.
        return MaskedWindows(key, windows, kept.origin, cut)
    if valid is not None and mask.ndim == valid.ndim == 2 and _is_known(look, entry, mask):
        if cut is not None and not is_same_validity(mask[:, slice(*cut)], valid):
            turned = is_same_validity(mask[:, ::-1], valid)  # As an RNN with ``go_backwards`` does.
            cut = (None, None, -1) if turned else _find_taken_slice(entry, mask.shape[1])
        longer = _lengthen_mask(kept, mask, valid)
        if longer is not None:
            return longer
    return None if cut is None else dataclasses.replace(kept, cut=cut)


def _find_kept_argument(entry: CallRecord) -> int | None:
    """Return the place of the argument whose mask Keras keeps for a result: of several tensors, the first with a mask.

    Returns None if a single tensor has one, or if the first argument is a list, whose masks are joined.
    """
    leaves = flatten_arguments(entry.args)
    masks = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}
    places = [place for place, leaf in enumerate(leaves) if masks.get(id(leaf)) is not None]
    return places[0] if len(places) > 1 and not isinstance(entry.args[0], (list, tuple, dict)) else None


def _lengthen_mask(kept: KeepMask, mask: Bools, valid: Bools) -> KeepMask | None:
    """Return the change that also marks timesteps which a call adds or repeats; None if there are none."""
    extra = valid.shape[1] - mask.shape[1]
    for prefix in reversed(range(extra + 1)) if extra > 0 else ():
        stop = prefix + mask.shape[1]
        added = np.delete(valid, slice(prefix, stop), axis=1)
        if added.all() and is_same_validity(valid[:, prefix:stop], mask):
            return dataclasses.replace(kept, prefix=prefix, suffix=extra - prefix)
    times = valid.shape[1] // mask.shape[1]
    is_repeated = times > 1 and is_same_validity(mask.repeat(times, axis=1), valid)
    return dataclasses.replace(kept, repeats=times) if is_repeated else None


def _recognize_windows(entry: CallRecord) -> Literal["max", "mean"] | None:
    """Return whether a layer pools windows that may end with padding, and how; None for other calls."""
    import keras

    layer, kinds = entry.operation, (keras.layers.MaxPooling1D, keras.layers.AveragePooling1D)
    if not isinstance(layer, kinds) or layer.padding != "same" or layer.pool_size[0] < 2:
        return None
    return "max" if isinstance(layer, kinds[0]) else "mean"


def _find_joined_timesteps(mask: Bools, valid: Bools | None) -> TimeSlice | None:
    """Return the slice of a mask for timesteps that are joined, a few at a time, by a reshape; None if none fits."""
    if valid is None or not mask.ndim == valid.ndim == 2:
        return None
    step = mask.shape[1] // max(valid.shape[1], 1)
    slices: list[TimeSlice] = [(step - 1, None, step), (None, None, step)] if step > 1 else []
    return next((cut for cut in slices if is_same_validity(mask[:, slice(*cut)], valid)), None)


def _choose_window_end(cut: TimeSlice, mask: Bools, valid: Bools) -> TimeSlice:
    """Return the slice of those timesteps of windows that tell which windows are padding: by default the last ones.

    It is that of the first ones if padding comes before the data, and one between if constants were added at both ends.
    """
    first, stop, step = cut
    if not first or stop is not None:
        return cut
    slices: list[TimeSlice] = [(first - end or None, -end or None, step) for end in (0, first, *range(1, first))]
    marked = (mask[:, slice(*choice)] for choice in slices)
    fitting = [m.shape == valid.shape and not _marks_padding(m, valid) for m in marked]
    return slices[fitting.index(True)] if True in fitting else cut


def find_time_slice(entry: CallRecord, mask: Bools) -> TimeSlice | None:
    """Return the slice of the time axis that the result of a call covers; None if it is not known."""
    timesteps = mask.shape[1]
    shape = tuple(entry.outputs[0].shape)
    if len(shape) < 2 or shape[0] != len(mask):
        return WHOLE if entry.taken_off else None
    strides = getattr(entry.operation, "strides", None)
    size = getattr(entry.operation, "kernel_size", getattr(entry.operation, "pool_size", None))
    if strides is not None and size is not None:
        dilation = int(getattr(entry.operation, "dilation_rate", (1,))[0])
        start = (int(size[0]) - 1) * dilation if entry.operation.padding == "valid" else None
        cut: TimeSlice = (start or None, None, int(strides[0]) if strides[0] != 1 else None)
        return cut if len(range(timesteps)[slice(*cut)]) == shape[1] else None
    if entry.type in ("GetItem", "StridedSlice", "Flip", "Reverse", "ReverseV2", "Cropping1D"):
        return _find_taken_slice(entry, timesteps)
    return WHOLE if shape[1] == timesteps else None


def _find_taken_slice(entry: CallRecord, timesteps: int) -> TimeSlice | None:
    """Return the slice of time that a call takes, by running it on timesteps that hold their own number."""
    import keras

    source = next((x for x in entry.inputs if is_float(x) and len(x.shape) > 1 and x.shape[1] == timesteps), None)
    if source is None:
        return None
    ramp = np.broadcast_to(np.arange(timesteps).reshape(1, -1, *[1] * (len(source.shape) - 2)), tuple(source.shape))
    counted = keras.ops.convert_to_tensor(ramp, dtype=source.dtype)
    arguments = [counted if x is source else x for x in entry.args]
    copy = dataclasses.replace(
        entry, args=tuple(arguments), inputs=[counted, *entry.inputs[1:]], carried=[None] * len(entry.inputs)
    )
    result = rerun_call(copy, {}, np.random.default_rng(0))
    if not result or len(result[0].shape) < 2 or not result[0].shape[1]:
        return None
    taken = as_float64(result[0]).reshape(result[0].shape[0], result[0].shape[1], -1)[0, :, 0].astype(int)
    step = int(taken[1] - taken[0]) if len(taken) > 1 else 1
    if (np.diff(taken) != step).any() or not step:
        return None
    if step < 0:
        return (None, None, step) if taken[0] == timesteps - 1 and taken[-1] < -step else None
    stop = int(taken[-1]) + 1 - timesteps
    return int(taken[0]) or None, stop or None, step if step != 1 else None


def find_axis_validity(look: ChangedModel, tensor: Any, axis: int) -> Bools | None:
    """Return which timesteps are valid on one axis of a tensor, such as the keys of scores; None if that varies."""
    positions = look.flow.positions
    for layer in positions.get_labels(tensor):
        if positions.cells.find_time_axes(layer) != {axis}:
            continue
        valid = positions.cells.valid[layer]
        for other in reversed(range(1, valid.ndim)):
            if other != axis:
                valid = np.take(valid, 0, axis=other)
        return np.broadcast_to(valid, (tensor.shape[0], tensor.shape[axis]))
    return None


def find_maker(look: ChangedModel, tensor: Any, valid: Bools | None = None) -> tuple[MaskOrigin | None, Changes]:
    """Return the call, or the input, whose mask marks the padding of a tensor, with the change that it needs first.

    ``valid`` is the validity that the mask must have, by default that of the timesteps of the tensor.
    """
    valid = look.flow.valid.get(id(tensor)) if valid is None else valid
    if valid is None:
        return None, ()
    for position, item in enumerate(look.context.inputs):
        if item.kind == "mask" and item.values.shape == valid.shape and np.array_equal(item.values.astype(bool), valid):
            return MaskOrigin("input", position=position), ()
    for entry in reversed(list_ancestors(look, tensor)):
        if not entry.outputs or entry.calls:
            continue
        mask = entry.masks_out[0]
        receives = bool(entry.mask_tensors) or any(mask is not None for mask in entry.carried)
        if mask is not None and not receives and mask.shape == valid.shape and not _marks_padding(mask, valid):
            return MaskOrigin("call", look.key(entry)), ()
        change = _make_source(look, entry)
        same = look.flow.valid.get(id(entry.outputs[0]))
        if change is not None and same is not None and np.array_equal(same, valid):
            return MaskOrigin("call", look.key(entry)), (change,)
    return None, ()


def find_values_origin(look: ChangedModel, valid: Bools | None) -> MaskOrigin | None:
    """Return an input from whose values the code can compute a mask, where no call makes one."""
    for position, item in enumerate(look.context.inputs):
        if valid is None or item.kind not in ("ids", "features"):
            continue
        for same in (item.valid, item.cells):
            if same is None or same.all() or not np.array_equal(same, valid):
                continue
            value = find_common_padding(item.values, same)
            if value is not None:
                axes, time_axis = same.ndim, item.time_axis
                return MaskOrigin("values", position=position, value=value.item(), axes=axes, time_axis=time_axis)
    return None


def is_in_sequence(entry: CallRecord) -> bool:
    """Return whether a ``Sequential`` makes a call."""
    import keras

    return entry.parent is not None and isinstance(entry.parent.operation, keras.Sequential)


def can_name_mask(look: ChangedModel, entry: CallRecord, origin: MaskOrigin, as_graph: bool = False) -> bool:
    """Return whether the code that makes a call can name a mask and pass it to the call.

    That of a ``Sequential`` can do so ``as_graph``, written as a functional model.
    """
    if entry.parent is None or (is_in_sequence(entry) and not as_graph):
        return False
    if origin.kind in ("input", "values"):
        source = look.context.base.inputs[origin.position]
        arguments = flatten_arguments((entry.parent.args, entry.parent.kwargs))
        # A layer may receive an input of the model as an argument, among others.
        return entry.parent.parent is None or (origin.kind == "input" and any(leaf is source for leaf in arguments))
    return look.by_key[origin.key].parent is entry.parent
