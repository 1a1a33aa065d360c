"""What flows from call to call: which timesteps of each tensor are padding, and where a mask was lost on the way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.recorder import WHO_SEES_WHOM, CallRecord, Recording
from maskcli.trace.rerun import depends_on_same_timestep
from maskcli.trace.values import is_float

_Thing = TypeVar("_Thing")

VALUELESS = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Operations of which the result does not depend on the values that came in."""


@dataclasses.dataclass(frozen=True, eq=False)
class LostMask:
    """A mask that is gone: the call at which it went, and the last one whose output had it."""

    at: CallRecord
    mask: Bools
    after: CallRecord | None


@dataclasses.dataclass(eq=False)
class MaskFlow:
    """What is true of the tensors of a watched run.

    Attributes:
        truths: the validity of the inputs.
        valid: by ``id`` of a tensor: which of its timesteps, ``(batch, timesteps)``, are no padding; a tensor whose
            timesteps are gone, or that lies otherwise, is not in it.
        pooled: tensors with a result for each sample and no timesteps.
        lost: tensors that would carry a mask if no call had lost it.
        maker: the call whose output a tensor is.
        masked_by: the first call that returned a tensor with a mask.
        before: by ``index`` of a call: the loss of the mask that one of its inputs would carry.
        derived: tensors whose values depend on those of an input; positions that are counted do not.
        computing: by ``index``, the operations that do nothing but compute a mask for a later call; such a one has no
            mask of its own to lose.
    """

    truths: Sequence[Bools]
    valid: dict[int, Bools]
    pooled: set[int]
    lost: dict[int, LostMask]
    maker: dict[int, CallRecord]
    masked_by: dict[int, CallRecord]
    before: dict[int, LostMask]
    derived: set[int]
    computing: frozenset[int]

    def of_inputs(self, entry: CallRecord) -> list[Bools]:
        """Return the validity of the inputs of a call that have timesteps."""
        return [self.valid[id(tensor)] for tensor in entry.inputs if id(tensor) in self.valid]

    def last_with(self, entry: CallRecord) -> CallRecord | None:
        """Return the call that made the first mask which the inputs of a call carry, or passed it on to it."""
        carried = (tensor for tensor, mask in zip(entry.inputs, entry.carried, strict=True) if mask is not None)
        return _first(self.masked_by[id(tensor)] for tensor in carried if id(tensor) in self.masked_by)


def follow_masks(run: Recording, inputs: Sequence[ModelInput]) -> MaskFlow:
    """Follow padding and masks from the ``inputs`` of a model through its calls, in the order of their ending."""
    truths = [given.valid for given in inputs if given.valid is not None]
    flow = MaskFlow(truths, {}, set(), {}, {}, {}, {}, set(map(id, run.inputs)), _computing_masks(run))
    for tensor, given in zip(run.inputs, inputs, strict=bool(inputs)):
        if given.valid is not None:
            flow.valid[id(tensor)] = given.valid
    for entry in run.ended:
        _follow_padding(flow, entry, truths)
        _follow_masks(flow, entry)
        for tensor, mask in zip(entry.outputs, entry.masks_out, strict=True):
            flow.maker.setdefault(id(tensor), entry)
            if mask is not None:
                flow.masked_by.setdefault(id(tensor), entry)
    return flow


def _computing_masks(run: Recording) -> frozenset[int]:
    """Return the operations whose results are mask arguments, or go to other such operations, and nowhere else."""
    import keras

    wanted = {id(mask) for entry in run.ended for masks in entry.given.values() for mask in masks}
    elsewhere = set(map(id, keras.tree.flatten(run.output)))
    found = set()
    for entry in reversed(run.ended):
        made = set(map(id, entry.outputs))
        if not isinstance(entry.operation, keras.layers.Layer) and made & wanted and not made & elsewhere:
            found.add(entry.index)
            wanted.update(map(id, entry.inputs))
        elif not (entry.code or entry.calls):
            elsewhere.update(map(id, entry.inputs))
    return frozenset(found)


def _follow_padding(flow: MaskFlow, entry: CallRecord, truths: Sequence[Bools]) -> None:
    if entry.type in VALUELESS or not any(id(tensor) in flow.derived for tensor in entry.inputs):
        return
    flow.derived.update(id(tensor) for tensor in entry.outputs if id(tensor) not in flow.maker)
    known = flow.of_inputs(entry)
    for tensor in entry.outputs:
        if id(tensor) in flow.valid or id(tensor) in flow.pooled or id(tensor) in flow.maker:
            continue  # A call inside this one made it.
        valid = _validity(tensor.shape, known, truths, entry)
        if valid is not None and len(tensor.shape) == 2 and _pools(entry, tensor, valid, flow):
            valid = None
        if valid is not None:
            flow.valid[id(tensor)] = valid
        elif truths and len(tensor.shape) in (1, 2) and tensor.shape[0] == len(truths[0]):
            flow.pooled.add(id(tensor))


def _pools(entry: CallRecord, tensor: Any, valid: Bools, flow: MaskFlow) -> bool:
    """Return whether a result ``(batch, n)`` of vectors is pooled, though n happens to be the number of timesteps."""
    deep = [x for x in entry.inputs if len(x.shape) > 2 and id(x) in flow.valid]
    return bool(deep) and is_float(tensor) and not depends_on_same_timestep(entry, tensor, valid)


def _validity(shape: Any, known: list[Bools], truths: Sequence[Bools], entry: CallRecord) -> Bools | None:
    """Return the validity of the timesteps of a tensor, or None when axis 1 is not time.

    A layer may make other timesteps of those that came in, as strided convolutions and pooling do; such a timestep is
    taken to be valid when all of those are that it covers, until a row that is run alone shows how many it has.
    """
    if len(shape) < 2:
        return None
    same = _first(valid for valid in known if valid.shape == tuple(shape[:2]))
    if same is None and len(shape) > 2:
        same = _first(valid for valid in truths if valid.shape == tuple(shape[:2]))
    if same is not None or entry.code or len(shape) != 3:
        return same
    source = _first(valid for valid in known if len(valid) == shape[0])
    return None if source is None or not shape[1] else resample_validity(source, int(shape[1]))


def resample_validity(valid: Bools, timesteps: int) -> Bools:
    """Return the validity of ``timesteps`` that divide the same span among them: of all that one covers."""
    edges = np.arange(timesteps + 1) * valid.shape[1] / timesteps
    columns = [
        valid[:, int(np.floor(start)) : max(int(np.ceil(end)), int(np.floor(start)) + 1)].all(axis=1)
        for start, end in itertools.pairwise(edges)
    ]
    return np.stack(columns, axis=1)


def _follow_masks(flow: MaskFlow, entry: CallRecord) -> None:
    if entry.index in flow.computing or (entry.code and entry.type in VALUELESS):
        return
    had = _first(_masks_in(entry))
    bare = (x for x, mask in zip(entry.inputs, entry.carried, strict=True) if mask is None)
    before = _first(flow.lost[id(tensor)] for tensor in bare if id(tensor) in flow.lost)
    if before is not None:
        flow.before[entry.index] = before
    _follow_removals(flow, entry)
    for tensor, mask in zip(entry.outputs, entry.masks_out, strict=True):
        if mask is not None:
            flow.lost.pop(id(tensor), None)
        elif id(tensor) in flow.lost or id(tensor) in flow.pooled:
            continue
        elif had is not None and not (entry.calls and id(tensor) in flow.maker):
            flow.lost[id(tensor)] = LostMask(entry, had, flow.last_with(entry))
        elif before is not None:
            flow.lost[id(tensor)] = before


def _follow_removals(flow: MaskFlow, entry: CallRecord) -> None:
    """Note tensors that came in with a mask and have none any more, as ``MultiHeadAttention`` leaves them."""
    for tensor, mask, gone in zip(entry.inputs, entry.carried, entry.taken_off, strict=False):
        if gone and mask is not None and id(tensor) not in flow.lost:
            flow.lost[id(tensor)] = LostMask(entry, mask, flow.masked_by.get(id(tensor)))


def _masks_in(entry: CallRecord) -> Iterable[Bools]:
    given = (mask for name, masks in entry.given_masks.items() if name != WHO_SEES_WHOM for mask in masks)
    return (mask for mask in (*entry.carried, *given) if mask is not None and mask.ndim > 1)


def _first(things: Iterable[_Thing]) -> _Thing | None:
    return next(iter(things), None)
