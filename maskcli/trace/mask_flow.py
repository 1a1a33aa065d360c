"""Follow padding and masks from call to call: which timesteps are padding, and where a mask was lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from maskcli.backends.arrays import as_array
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.movement import VALUELESS
from maskcli.trace.positions import Positions, start_positions
from maskcli.trace.recorder import CallRecord, Recording, is_attention, list_parameters

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, eq=False)
class LostMask:
    """A mask that was lost for good: no later call gets it back by a mask argument.

    Attributes:
        at: the call that lost it.
        mask: the mask.
        after: the last call whose output carried it.
        again: later calls, in order, that would lose it too if ``at`` did not.
    """

    at: CallRecord
    mask: Bools
    after: CallRecord | None
    again: tuple[CallRecord, ...] = ()


@dataclasses.dataclass(eq=False)
class MaskFlow:
    """Facts about the tensors of a recorded run.

    Attributes:
        truths: the validity of the inputs.
        valid: by ``id`` of a tensor: which of its timesteps, ``(batch, timesteps)``, are valid. Tensors without
            timesteps, or with another order of axes, are not in it.
        pooled: tensors with a result for each sample and no timesteps.
        lost: tensors that would carry a mask if no call had lost it.
        maker: the call whose output a tensor is.
        masked_by: the first call that returned a tensor with a mask.
        before: by ``index`` of a call: the lost mask that one of its inputs would carry.
        derived: tensors whose values depend on those of an input, unlike counted positions.
        computing: by ``index``, the operations that only compute a mask for a later call; such an operation has no
            mask of its own to lose.
        positions: the timesteps of the inputs that the elements of each tensor come from.
        exact: tensors whose validity is known from the timesteps that they come from, and not estimated.
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
    positions: Positions
    exact: set[int] = dataclasses.field(default_factory=set)

    def list_input_validity(self, entry: CallRecord) -> list[Bools]:
        """Return the validity of those inputs of a call that have timesteps."""
        return [self.valid[id(tensor)] for tensor in entry.inputs if id(tensor) in self.valid]

    def find_mask_maker(self, entry: CallRecord) -> CallRecord | None:
        """Return the call that made, or passed on, the first mask that the inputs of a call carry."""
        carried = (tensor for tensor, mask in zip(entry.inputs, entry.carried_padding, strict=True) if mask is not None)
        return _first(self.masked_by[id(tensor)] for tensor in carried if id(tensor) in self.masked_by)


def follow_masks(run: Recording, inputs: Sequence[ModelInput]) -> MaskFlow:
    """Follow padding and masks from the ``inputs`` of a model through its calls, in the order of their ending."""
    truths = [model_input.valid for model_input in inputs if model_input.valid is not None]
    positions = start_positions(run.inputs, inputs)
    flow = MaskFlow(truths, {}, set(), {}, {}, {}, {}, set(map(id, run.inputs)), _find_mask_computation(run), positions)
    for tensor, model_input in zip(run.inputs, inputs, strict=bool(inputs)):
        if model_input.valid is not None and model_input.time_axis == 1:
            origin = positions.read_origin(tensor)
            flow.valid[id(tensor)] = model_input.valid if origin is None else origin.valid
            flow.exact.add(id(tensor))
    for entry in run.ended:
        _follow_padding(flow, entry)
        _find_pairs(flow, entry)
        _follow_call_masks(flow, entry)
        for tensor, mask in zip(entry.outputs, entry.padding_out, strict=True):
            flow.maker.setdefault(id(tensor), entry)
            if mask is not None:
                flow.masked_by.setdefault(id(tensor), entry)
    return flow


def _find_mask_computation(run: Recording) -> frozenset[int]:
    """Return the operations whose results are only used as mask arguments, or by other such operations.

    A functional model computes a mask once, when it is built: ``not_equal(ids, 0)`` becomes a node of its graph, and
    the mask an argument of later nodes. When the model runs, these nodes are calls like any others.
    """
    import keras

    # Walk backwards: a use comes after the call that made the tensor, so all uses of a result are known at its call.
    as_mask = {id(mask) for entry in run.ended for masks in entry.mask_tensors.values() for mask in masks}
    as_data = set(map(id, keras.tree.flatten(run.output)))
    computing = set()
    for entry in reversed(run.ended):
        results = set(map(id, entry.outputs))
        if not isinstance(entry.operation, keras.layers.Layer) and results & as_mask and not results & as_data:
            computing.add(entry.index)
            as_mask.update(map(id, entry.inputs))
        elif not (entry.code or entry.calls):
            as_data.update(map(id, entry.inputs))
    return frozenset(computing)


def _follow_padding(flow: MaskFlow, entry: CallRecord) -> None:
    if entry.type in VALUELESS or not any(id(tensor) in flow.derived for tensor in entry.inputs):
        return
    flow.derived.update(id(tensor) for tensor in entry.outputs if id(tensor) not in flow.maker)
    flow.positions.follow_call(entry, set(flow.maker))
    for tensor in entry.outputs:
        origin = flow.positions.read_origin(tensor)
        if origin is not None:
            flow.valid[id(tensor)] = origin.valid
            flow.pooled.discard(id(tensor))
            if id(tensor) not in flow.positions.guessed:
                flow.exact.add(id(tensor))
            continue
        repeated = _find_repeated_timesteps(flow, entry, tensor)
        if repeated is not None:
            flow.valid[id(tensor)] = flow.valid[id(repeated)]
            flow.exact.update({id(tensor)} if id(repeated) in flow.exact else ())
        elif any(flow.positions.is_pooled(tensor, len(truth)) for truth in flow.truths):
            flow.pooled.add(id(tensor))


def _find_repeated_timesteps(flow: MaskFlow, entry: CallRecord, tensor: Any) -> Any | None:
    """Return the input that has the same timesteps as a result ``(batch, timesteps)``, some of them several times.

    Their labels look like those of flattened features, of which each timestep has several.
    """
    sources = (x for x in entry.inputs if id(x) in flow.valid and flow.valid[id(x)].shape == tuple(tensor.shape))
    return next((x for x in sources if flow.positions.have_same_labels(x, tensor)), None)


def _follow_call_masks(flow: MaskFlow, entry: CallRecord) -> None:
    """Find out whether a call loses a mask, or receives a tensor whose mask an earlier call lost."""
    if entry.index in flow.computing or (entry.code and (entry.type in VALUELESS or _is_in_lambda(entry))):
        return
    # A call has a mask if one of its tensors carries one at run time, or if one reaches it as an argument, which in a
    # functional model was wired when the model was built. Masks of one axis are not padding masks.
    mask_in = _find_mask_in(entry)
    before = _find_earlier_loss(flow, entry)
    if before is not None:
        flow.before[entry.index] = before
    _follow_removals(flow, entry)
    for tensor, mask in zip(entry.outputs, entry.padding_out, strict=True):
        if mask is not None:
            flow.lost.pop(id(tensor), None)
        elif id(tensor) in flow.lost or id(tensor) in flow.pooled:
            continue  # Lost before, or nothing left to mask.
        elif mask_in is not None and not (_is_followed_inside(entry) and id(tensor) in flow.maker):
            flow.lost[id(tensor)] = _lose_mask(flow, entry, mask_in, before)
        elif before is not None:
            flow.lost[id(tensor)] = _pass_loss(entry, before)


def _find_earlier_loss(flow: MaskFlow, entry: CallRecord) -> LostMask | None:
    """Return the mask that an earlier call lost, of an input without one; of attention, rather that of its keys."""
    bare = [tensor for tensor, mask in zip(entry.inputs, entry.carried_padding, strict=True) if mask is None]
    if is_attention(entry):  # Padded keys change results, padded queries do not.
        # Arguments that are passed by name are among the inputs in the order of their names.
        query = entry.kwargs.get("query", entry.inputs[0])
        bare.sort(key=lambda tensor: tensor is query)
    return _first(flow.lost[id(tensor)] for tensor in bare if id(tensor) in flow.lost)


def _find_mask_in(entry: CallRecord) -> Bools | None:
    """Return the padding mask that a call has, or makes inside and never returns."""
    wired = (mask for name, mask, paired in entry.list_masks() if not paired and _is_wired(entry, name))
    mask_in = _first(mask for mask in (*entry.carried_padding, *wired) if mask is not None and mask.ndim > 1)
    return _find_wrapped_mask(entry) if mask_in is None else mask_in


def _find_wrapped_mask(entry: CallRecord) -> Bools | None:
    """Return the mask that the layer inside a ``TimeDistributed`` makes, which the wrapper never returns."""
    import keras

    if not isinstance(entry.operation, keras.layers.TimeDistributed) or len(entry.inputs) != 1:
        return None
    values = as_array(entry.inputs[0])
    try:
        mask = entry.operation.layer.compute_mask(keras.ops.convert_to_tensor(values.reshape(-1, *values.shape[2:])))
    except Exception:  # A layer may need its mask for that.
        return None
    return None if mask is None else as_array(mask).astype(bool).reshape(*values.shape[:2], *mask.shape[1:])


def _is_wired(entry: CallRecord, name: str) -> bool:
    """Return whether Keras fills a mask argument with the mask of a tensor; others are only passed by the user."""
    if name == "mask":
        return True
    return name.removesuffix("_mask") in list_parameters(type(entry.operation).call)


def _lose_mask(flow: MaskFlow, entry: CallRecord, mask: Bools, before: LostMask | None) -> LostMask:
    """Return the mask that a call loses: at this call, or at an earlier one because of which it is lost here."""
    if before is not None and not any(mask is other for other in entry.padding_masks) and _forwards_masks(entry):
        return before  # A merge forwards a mask if all its inputs carry one.
    # Where an operator joins two tensors, one of them without its mask, the first call that lost a mask counts. One
    # that only took it off its input, as attention does, has returned it with its result.
    if (
        before is not None
        and before.mask.shape == mask.shape
        and not _is_followed_inside(entry)
        and not _returns_mask(before.at)
    ):
        if not entry.code:
            return _pass_loss(entry, before)
        if before.at.parent is entry.parent:
            return before
    return LostMask(entry, mask, flow.find_mask_maker(entry))


def _is_in_lambda(entry: CallRecord) -> bool:
    """Return whether a call is made by the function of a Lambda, which the Lambda keeps or loses masks for."""
    return entry.parent is not None and entry.parent.type == "Lambda"


def _is_followed_inside(entry: CallRecord) -> bool:
    """Return whether masks are followed through the calls that a call makes."""
    return entry.calls and entry.type != "Lambda"


def _returns_mask(entry: CallRecord) -> bool:
    """Return whether a call took the mask off its input, and its result carries it."""
    return any(entry.taken_off) and any(mask is not None for mask in entry.padding_out)


def _pass_loss(entry: CallRecord, before: LostMask) -> LostMask:
    """Return a mask that was lost before a call, which is lost there again if the call forwards none."""
    if entry.code or _is_followed_inside(entry) or _forwards_masks(entry) or entry in before.again:
        return before
    return dataclasses.replace(before, again=(*before.again, entry))


def _forwards_masks(entry: CallRecord) -> bool:
    """Return whether a call returns a mask if it receives one."""
    return bool(getattr(entry.operation, "supports_masking", False))


def _follow_removals(flow: MaskFlow, entry: CallRecord) -> None:
    """Find inputs that carried a mask before the call and carry none after it, as of ``MultiHeadAttention``."""
    for tensor, mask, removed in zip(entry.inputs, entry.carried_padding, entry.taken_off, strict=False):
        earlier = flow.lost.get(id(tensor))
        # The call inside of this one has taken it off; a repair may have given it the mask again since an earlier one.
        if removed and mask is not None and not (earlier is not None and entry in earlier.at.parents):
            flow.lost[id(tensor)] = LostMask(entry, mask, flow.masked_by.get(id(tensor)))


def _find_pairs(flow: MaskFlow, entry: CallRecord) -> None:
    """Find the masks in the arguments of a call that pair queries with keys, by the axes that are timesteps."""
    for name, masks in entry.mask_tensors.items():
        for position, (tensor, mask) in enumerate(zip(masks, entry.mask_values[name], strict=True)):
            axes = None if mask is None else flow.positions.find_time_axes(tensor)
            if axes and mask is not None:
                scores = entry.type == "Softmax" and mask.ndim > 2 and mask.shape[-1] > 1
                by_argument = mask.ndim < 3 and entry.looks_paired(name, mask)
                entry.pairs[name, position] = axes != {1} or scores or by_argument


def _first(items: Iterable[_Item]) -> _Item | None:
    return next(iter(items), None)
