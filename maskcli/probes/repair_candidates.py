"""List changes that may remove a leak, the most likely first."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.probes.compare import measure_change
from maskcli.probes.repair_changes import (
    WHOLE,
    FlipResult,
    InvertMask,
    KeepMask,
    MaskedGroups,
    MaskedPooling,
    MaskedScores,
    MaskedSoftmax,
    MaskedWindows,
    MaskInput,
    MaskOrigin,
    PassMask,
    Pooling,
    SetAttribute,
    SetInnerMaskZero,
    SetMaskValue,
    SetMaskZero,
    TurnMask,
    ZeroPadding,
    ZeroResult,
    fit_pooled,
    get_argument,
    list_embeddings,
    pool_timesteps,
    zero_padding,
)
from maskcli.probes.repair_masks import (
    ChangedModel,
    ChangedModels,
    Changes,
    can_name_mask,
    find_axis_validity,
    find_common_padding,
    find_maker,
    find_masked_argument,
    find_misaligned_call,
    find_owner,
    find_time_slice,
    find_values_origin,
    is_in_sequence,
    is_own_layer,
    keep_mask,
    list_ancestors,
    list_missing,
    spread_change,
)
from maskcli.records.arrays import Bools
from maskcli.records.inputs import is_same_validity
from maskcli.tolerance import bound_sum_error
from maskcli.trace.changes import CallChange, is_graph, is_keras_layer
from maskcli.trace.recorder import PAIR_MASK, CallRecord, convert_mask, has_own_code, list_parameters
from maskcli.trace.values import as_float64, get_ulp, is_float

MOST_NEAR = 6
"""Calls before and after the one where padding enters, in the code of the same layer, that are looked at."""
CONVOLUTIONS = ("Conv1D", "DepthwiseConv1D", "SeparableConv1D")
FORMS = ("Cast", "ExpandDims", "Identity", "Pack", "Reshape", "Shape", "Squeeze", "StridedSlice", "Transpose")
"""Operations that only give the result of another one its form."""
RANKINGS = ("ArgMax", "TopK", "TopKV2")
MOVING_LAYERS = ("Cropping1D", "Permute", "Reshape", "UpSampling1D", "ZeroPadding1D")
POOLINGS: tuple[Pooling, ...] = ("last", "first", "max", "mean", "sum", "min", "std", "var", "logsumexp", "prod")


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """The changes that may remove a leak which begins at one call.

    Attributes:
        models: the model under changes.
        done: the changes so far.
        look: the model under these.
        entry: the call where padding enters.
        by_values: whether masks are computed from the values of inputs, instead of those that calls make.
        as_graph: whether a ``Sequential``, whose code passes no masks, is written as a functional model.
    """

    models: ChangedModels
    done: Changes
    look: ChangedModel
    entry: CallRecord
    by_values: bool = False
    as_graph: bool = False

    @property
    def owner(self) -> CallRecord:
        """The layer whose code makes the call; the call itself if a model does."""
        return find_owner(self.entry)

    @property
    def places(self) -> list[CallRecord]:
        """The owner and the call."""
        return [self.entry] if self.owner is self.entry else [self.owner, self.entry]

    def __iter__(self) -> Iterator[Changes]:
        """Yield the changes, each for all calls that the same edit of the code changes."""
        tried: set[Changes] = set()
        aligned = self._align_mask()
        # A mask that a layer makes is shorter in the code, and serves other layers as well: it comes first.
        by_values = dataclasses.replace(self, by_values=True)
        for changes in itertools.chain(self._list_changes(), by_values._list_changes(), self._list_graph_changes()):
            changes = (*aligned, *changes)
            spread = tuple(dict.fromkeys(other for change in changes for other in spread_change(self.look, change)))
            if spread not in tried and all(map(self._can_edit, spread)):
                tried.add(spread)
                yield spread

    def _can_edit(self, change: CallChange) -> bool:
        """Return whether the user's code can be changed like that: not inside of a function such as ``reduce_std``."""
        entry = self.look.by_key.get(change.key)
        if entry is None or entry.step is None or not entry.code or not isinstance(change, (KeepMask, MaskedPooling)):
            return True
        later = (call for call in self.look.context.base.entries if call.code and call.index > entry.index)
        return not any(call.step == entry.step and call.type not in FORMS for call in later)

    def _list_changes(self) -> Iterator[Changes]:
        yield from self._list_inversions()
        yield from self._list_attention_changes()
        softmaxes = list(self._list_softmaxes())
        yield from softmaxes
        key = self.look.key(self.entry)
        if not any(isinstance(change, MaskedSoftmax) and change.key == key for change in itertools.chain(*softmaxes)):
            yield from self._list_scores()
        yield from self._list_ranked_scores()
        yield from self._list_inner_lookups()
        yield from self._list_poolings()
        yield from self._list_statistics()
        yield from self._list_zeroed_results()
        yield from self._pass_turned_mask()
        for place in self.places:
            inside = self._reduce_mask(place)
            for changes in self._list_ways_to_pass(place, inside) if place.accepts else ():
                yield (*changes, *inside)
        if getattr(self.entry.operation, "unroll", False):
            yield (SetAttribute(self.look.key(self.entry), "unroll", False),)
        if not self.owner.code:
            yield from self._list_zeroings()
        brought = self.models.bring_mask(self.done, self.look.key(self.owner))
        if brought:
            yield brought
        yield from self._list_flips()

    def _list_graph_changes(self) -> Iterator[Changes]:
        """Yield changes that pass the mask to the call if a ``Sequential`` makes it, written as a functional model."""
        if is_in_sequence(self.entry) and self.entry.accepts:
            yield from dataclasses.replace(self, as_graph=True)._list_ways_to_pass(self.entry, ())

    def list_passed_masks(self) -> Iterator[Changes]:
        """Yield the changes that bring the mask to the call, in an argument or with its inputs."""
        for candidates in (self, dataclasses.replace(self, by_values=True)):
            for changes in candidates._list_ways_to_pass(self.entry, ()) if self.entry.accepts else ():
                yield tuple(dict.fromkeys(other for change in changes for other in spread_change(self.look, change)))

    def _align_mask(self) -> Changes:
        """Return the change of a call that moved timesteps and not the mask that arrives; empty if there is none."""
        arriving = [tensor for tensor in self.owner.inputs if id(tensor) in self.look.flow.valid]
        misaligned = (find_misaligned_call(self.look, tensor) for tensor in arriving)
        kept = next((keep_mask(self.look, call) for call in misaligned if call is not None), None)
        return () if kept is None else (kept,)

    def _reduce_mask(self, place: CallRecord) -> Changes:
        """Return the change after which a ``TimeDistributed`` returns a mask of timesteps, not of places in them."""
        import keras

        flow, key = self.look.flow, self.look.key(place)
        valid = flow.valid.get(id(place.outputs[0])) if place.outputs else None
        is_inside = valid is not None and any(other.ndim > valid.ndim for other in flow.list_input_validity(place))
        if not is_inside or not isinstance(place.operation, keras.layers.TimeDistributed):
            return ()
        return (KeepMask(key, MaskOrigin("arriving", key), WHOLE, True),)

    def _list_attention_changes(self) -> Iterator[Changes]:
        """Yield changes of the attention masks of the call, or of calls in the same code."""
        yield from self._replace_passed_mask()
        ended = self.look.context.base.ended
        near = [other for other in ended if other is self.entry or find_owner(other) is self.owner]
        for other in dict.fromkeys([*near, *self._list_later(), *self._list_open_softmaxes()]):
            for name in () if other.code else other.accepts:
                shape = tuple(getattr(get_argument(other, name), "shape", ()))
                if len(shape) > (1 if name == PAIR_MASK else 2) and (name == PAIR_MASK or other.type == "Softmax"):
                    yield from self._replace_pair_mask(other) if name == PAIR_MASK else ()
                    is_right = name == PAIR_MASK and self._hides_padded_keys(other)
                    yield from () if is_right else _list_turns(self.look.key(other), name, shape)

    def _hides_padded_keys(self, place: CallRecord) -> bool:
        """Return whether the mask of an attention call closes all padded keys, and leaves a key to each valid query."""
        mask = convert_mask(get_argument(place, PAIR_MASK))
        queries, keys = (self.look.flow.valid.get(id(get_argument(place, name))) for name in ("query", "value"))
        if mask is None or queries is None or keys is None or mask.ndim != 3 or mask.shape[2] != keys.shape[1]:
            return False
        opened = np.broadcast_to(mask, (len(keys), queries.shape[1], keys.shape[1]))
        to_padding = opened & ~keys[:, None]
        return bool(queries.any() and opened[queries].any(axis=1).all() and not to_padding[queries].any())

    def _replace_pair_mask(self, place: CallRecord) -> Iterator[Changes]:
        """Yield the change that passes the mask of the keys to an attention call in the place of that of other ones."""
        value = get_argument(place, "value")
        keys = self.look.flow.valid.get(id(value))
        mask = convert_mask(get_argument(place, PAIR_MASK))
        if keys is None or mask is None or mask.ndim != 3 or mask.shape[1] != 1:
            return
        others = [item.valid for item in self.look.context.with_timesteps if not is_same_validity(item.valid, keys)]
        if any(is_same_validity(mask[:, 0], other) for other in others):
            origin, before = self._find_nameable(self.look, place, value)
            if origin is not None:
                yield (*before, PassMask(self.look.key(place), PAIR_MASK, origin, "keys"))

    def _replace_passed_mask(self) -> Iterator[Changes]:
        """Yield the changes that pass another input's mask to the layer, in the place of that of one input."""
        place = self.owner
        passed = {name: convert_mask(mask) for name, mask in place.kwargs.items() if name in place.accepts}
        if place.code or not is_own_layer(place.operation):
            return
        for (name, mask), tensor in itertools.product(passed.items(), place.inputs):
            valid = self.look.flow.valid.get(id(tensor))
            if mask is None or valid is None or valid.shape != mask.shape or is_same_validity(valid, mask):
                continue
            origin, before = self._find_nameable(self.look, place, tensor)
            if origin is not None and origin.kind != "arriving":
                yield (*before, PassMask(self.look.key(place), name, origin))

    def _list_open_softmaxes(self) -> Iterator[CallRecord]:
        """Yield softmaxes before the call, in the same code, whose mask leaves padded keys open.

        Where padding is a copy of the last valid timestep, it enters at the sum that these weights are for.
        """
        for other in self._list_before():
            if other.type == "Softmax" and other.inputs and len(other.inputs[0].shape) > 2:
                axis = len(other.inputs[0].shape) - 1
                valid = find_axis_validity(self.look, other.inputs[0], axis)
                if valid is not None and not _hides_padding(other, valid, axis):
                    yield other

    def _list_before(self) -> list[CallRecord]:
        """Return some calls before the entry, in the same code, that its inputs were computed by."""
        before = [entry for tensor in self.entry.inputs for entry in list_ancestors(self.look, tensor)]
        return [other for other in before if find_owner(other).parent is self.owner.parent][: 2 * MOST_NEAR]

    def _list_poolings(self) -> Iterator[Changes]:
        """Yield poolings without padding, if the call pools timesteps."""
        for place in self.places:
            # A layer that takes a mask needs no other pooling, unless it ignores the mask.
            obeys = "mask" in place.accepts and not place.padding_masks and not self._ignores_mask(place)
            how = None if obeys else recognize_pooling(self.look, place)
            if how is not None:
                for extra, origin in self._list_origins(place):
                    yield (*extra, MaskedPooling(self.look.key(place), how, origin))
        statement = self._list_statement()
        if len(statement) > 1:
            first, last = statement[0], statement[-1]
            how = recognize_pooling(self.look, first, last)
            if how is not None:
                for extra, origin in self._list_origins(first):
                    yield (*extra, MaskedPooling(self.look.key(last), how, origin, self.look.key(first)))

    def _list_statement(self) -> list[CallRecord]:
        """Return the operations of the function, such as ``keras.ops.std``, that the code calls at the entry."""
        if not self.entry.code or self.entry.step is None:
            return []
        inside = [call for call in self.look.context.base.ended if call.code and call.parent is self.entry.parent]
        at = next(place for place, call in enumerate(inside) if call is self.entry)
        before = itertools.takewhile(lambda call: call.step == self.entry.step, reversed(inside[:at]))
        after = itertools.takewhile(lambda call: call.step == self.entry.step, inside[at:])
        return [*reversed(list(before)), *after]

    @staticmethod
    def _ignores_mask(place: CallRecord) -> bool:
        """Return whether a ``TimeDistributed`` takes a mask for a layer that takes none."""
        import keras

        wrapper = place.operation
        return isinstance(wrapper, keras.layers.TimeDistributed) and "mask" not in list_parameters(
            type(wrapper.layer).call
        )

    def _list_softmaxes(self) -> Iterator[Changes]:
        """Yield softmaxes without padding, if the call, or one near it or before it, is one over timesteps."""
        # Scores of queries and keys differ before the softmax that should leave padding out; results of attention
        # weights, after it.
        ended = self.look.context.base.ended
        inside = [] if self.owner is self.entry else [other for other in ended if find_owner(other) is self.owner]
        near = sorted(inside, key=lambda other: abs(other.index - self.entry.index))[: 2 * MOST_NEAR + 1]
        masked: list[Changes] = []
        for other in dict.fromkeys([self.entry, *near, *self._list_before(), *self._list_later()]):
            axis = recognize_softmax(self.look, other)
            valid = None if axis is None else find_axis_validity(self.look, other.inputs[0], axis)
            if axis is None or valid is None or valid.all() or _hides_padding(other, valid, axis):
                continue
            for number, (extra, origin) in enumerate(self._list_origins(other, other.inputs[0], valid)):
                change = MaskedSoftmax(self.look.key(other), axis - len(other.inputs[0].shape), origin)
                masked += [(*extra, change)] if number == 0 else []
                yield (*extra, change)
        if len(masked) > 1:  # Two softmaxes of the same scores, one over each axis.
            yield tuple(dict.fromkeys(change for changes in masked for change in changes))

    def fit_softmaxes(self) -> Changes:
        """Return masks along their axis for the softmaxes of models that a mask ``(batch, timesteps)`` does not fit."""
        changes: list[CallChange] = []
        for call in self.look.context.base.ended:
            is_in_graph = call.parent is not None and is_graph(call.parent.operation)
            if not is_in_graph or not is_keras_layer(call.operation, "Softmax"):
                continue
            scores, axis = call.inputs[0], recognize_softmax(self.look, call)
            valid = None if axis is None or len(scores.shape) < 3 else find_axis_validity(self.look, scores, axis)
            if axis is not None and valid is not None:
                by_values = dataclasses.replace(self, by_values=True)
                origins = itertools.chain(*(item._list_origins(call, scores, valid) for item in (self, by_values)))
                for before, origin in itertools.islice(origins, 1):
                    changes += [*before, MaskedSoftmax(self.look.key(call), axis - len(scores.shape), origin)]
        return tuple(dict.fromkeys(changes))

    def _list_scores(self) -> Iterator[Changes]:
        """Yield masks of the scores of pairs of timesteps, before the layer whose code reduces them over one axis."""
        makers = (self.look.flow.maker.get(id(tensor)) for tensor in self.owner.inputs)
        calls = (_find_call_in(self.owner.parent, maker) for maker in makers if maker is not None)
        for call in [call for call in calls if call is not None and call.outputs]:
            scores = call.outputs[0]
            axes = self.look.flow.positions.find_time_axes(scores) - {0}
            is_of_pairs = len(axes) > 1 and len(scores.shape) - 1 in axes
            may_be_scores = is_of_pairs and is_float(scores) and not _are_weights(scores)
            for axis in sorted(axes, reverse=True) if may_be_scores else ():
                valid = find_axis_validity(self.look, scores, axis)
                if valid is None or valid.all():
                    continue
                origin, extra = self._find_maker(self.look, scores, valid)
                if origin is not None and can_name_mask(self.look, call, origin):
                    yield (*extra, MaskedScores(self.look.key(call), axis, origin))

    def _list_ranked_scores(self) -> Iterator[Changes]:
        """Yield masks of the scores by which code of a layer chooses timesteps, or of which it takes the maximum."""
        inside = [call for call in self.look.context.base.ended if find_owner(call) is self.owner and call.code]
        differences = [set(map(id, call.inputs)) for call in inside if call.type in ("Sub", "Subtract")]
        for ranking in (call for call in inside if call.type in (*RANKINGS, "Max") and call.inputs):
            scores = ranking.inputs[0]
            if any({id(scores), *map(id, ranking.outputs)} <= tensors for tensors in differences):
                continue  # A softmax by hand, whose exponentials are set to zero instead.
            maker, axis = self.look.flow.maker.get(id(scores)), self._find_ranked_axis(ranking)
            valid = None if axis is None else find_axis_validity(self.look, scores, axis)
            if axis is None or maker is None or not maker.code or valid is None or valid.all() or not is_float(scores):
                continue
            for extra, origin in self._list_origins(maker, scores, valid):
                yield (*extra, MaskedScores(self.look.key(maker), axis, origin))

    def _find_ranked_axis(self, ranking: CallRecord) -> int | None:
        """Return the axis of timesteps over which a call ranks scores; None for a maximum over other axes."""
        scores, last = ranking.inputs[0], len(ranking.inputs[0].shape) - 1
        if ranking.type != "Max":
            return last
        values, result = as_float64(scores), as_float64(ranking.outputs[0])
        axes = sorted(self.look.flow.positions.find_time_axes(scores) - {0}, reverse=True)
        return next((axis for axis in axes if np.array_equal(values.max(axis=axis).ravel(), result.ravel())), None)

    def _list_later(self) -> list[CallRecord]:
        """Return some calls after the entry, in the same code, that its result goes into."""
        results, later = set(map(id, self.entry.outputs)), []
        for other in self.look.context.base.ended:
            if other.index > self.entry.index and results & set(map(id, other.inputs)):
                results |= set(map(id, other.outputs))
                if find_owner(other).parent is self.owner.parent:
                    later.append(other)
        return later[:MOST_NEAR]

    def _list_inner_lookups(self) -> Iterator[Changes]:
        """Yield masks of the Embeddings inside a ``TimeDistributed``, whose calls are not recorded."""
        import keras

        for place in self.places:
            if not isinstance(place.operation, keras.layers.TimeDistributed):
                continue
            inner = tuple(layer.name for layer in list_embeddings(place.operation))
            ids = [x for x in place.inputs if self.look.flow.valid.get(id(x)) is not None and len(x.shape) > 2]
            values = [find_common_padding(as_array(x), self.look.flow.valid[id(x)]) for x in ids]
            if inner and any(value == 0 for value in values):
                yield (SetInnerMaskZero(self.look.key(place), inner),)

    def _list_statistics(self) -> Iterator[Changes]:
        """Yield windows and statistics without padding, of poolings over windows and of group normalisation."""
        import keras

        layers, entry, key = keras.layers, self.entry, self.look.key(self.entry)
        kinds: dict[type, Callable[[MaskOrigin], CallChange]] = {
            layers.MaxPooling1D: lambda origin: MaskedWindows(key, "max", origin, cut or WHOLE),
            layers.AveragePooling1D: lambda origin: MaskedWindows(key, "mean", origin, cut or WHOLE),
            layers.GroupNormalization: lambda origin: MaskedGroups(key, origin),
            layers.LayerNormalization: lambda origin: MaskedGroups(key, origin),
        }
        valids = self.look.flow.list_input_validity(entry)
        cut = find_time_slice(entry, valids[0]) if valids and entry.outputs else None
        make = next((make for kind, make in kinds.items() if isinstance(entry.operation, kind)), None)
        if make is None or cut is None or len(entry.inputs[0].shape) != 3 or not _normalizes_timesteps(entry):
            return
        for extra, origin in self._list_origins(entry):
            yield (*extra, make(origin))

    def _list_zeroed_results(self) -> Iterator[Changes]:
        """Yield zeros at padding for results in the code of a layer, such as the weights of attention by hand."""
        if self.owner is self.entry or not self.entry.code:
            return
        yield from self._list_open_exponentials()
        yield from self._list_summed_pairs()
        for other in self._list_before():
            is_inside = other.code or other.parent is self.entry.parent  # An operation, or a layer that the code calls.
            valid = self.look.flow.valid.get(id(other.outputs[0])) if is_inside and other.outputs else None
            if valid is None or valid.ndim != 2 or find_owner(other) is not self.owner or other is self.owner:
                continue
            for extra, origin in self._list_origins(other):
                yield (*extra, ZeroResult(self.look.key(other), origin))

    def _list_open_exponentials(self) -> Iterator[Changes]:
        """Yield zeros at padded keys in the exponentials of a softmax that is written by hand."""
        inside = [call for call in self.look.context.base.ended if find_owner(call) is self.owner]
        for call in (call for call in inside if call.type == "Exp" and call.outputs):
            result = call.outputs[0]
            for axis in sorted(self.look.flow.positions.find_time_axes(result) - {0}, reverse=True):
                valid = find_axis_validity(self.look, result, axis)
                if valid is None or valid.all() or _hides_padding(call, valid, axis):
                    continue
                for extra, origin in self._list_origins(call, call.inputs[0], valid):
                    yield (*extra, ZeroResult(self.look.key(call), origin, axis))

    def _list_summed_pairs(self) -> Iterator[Changes]:
        """Yield zeros at padding on both axes of results for pairs of timesteps, which code sums up."""
        pairs = self.entry.inputs[0] if self.entry.type == "Sum" else None
        maker = self.look.flow.maker.get(id(pairs))
        axes = set() if pairs is None else self.look.flow.positions.find_time_axes(pairs) - {0}
        if maker is None or len(axes) < 2 or maker.parent is not self.entry.parent:
            return
        changes: list[CallChange] = []
        for axis in sorted(axes):
            valid = find_axis_validity(self.look, pairs, axis)
            first = next(self._list_origins(maker, pairs, valid), None)
            if first is None:
                return
            changes += [*first[0], ZeroResult(self.look.key(maker), first[1], axis)]
        yield tuple(dict.fromkeys(changes))

    def _list_inversions(self) -> Iterator[Changes]:
        """Yield the opposite of the mask that a layer, not of Keras, receives and may take for its opposite."""
        key = self.look.key(self.owner)
        if "mask" not in self.owner.accepts or not is_own_layer(self.owner.operation):
            return
        # A mask that no call has passed so far may be its opposite, too.
        brought = () if self.owner.padding_masks else self.models.bring_mask(self.done, key) or ()
        look = self.models.look((*self.done, *brought)) if brought else self.look
        owner = None if isinstance(look, str) else look.by_key.get(key)
        if isinstance(look, str) or owner is None or not owner.padding_masks:
            return
        inside = [other for other in look.context.base.ended if find_owner(other) is owner and other is not owner]
        # Any layer would hide padding from its results if it hid all data.
        if any(_attends_to_padding(look, other) for other in inside):
            yield (*brought, InvertMask(key, "mask"))

    def _pass_turned_mask(self) -> Iterator[Changes]:
        """Yield the mask of timesteps on the last axis, for a layer that has the features before them."""
        entry = self.entry
        if getattr(entry.operation, "data_format", None) != "channels_first" or "mask" not in entry.accepts:
            return
        tensor = entry.inputs[0]
        valid = find_axis_validity(self.look, tensor, len(tensor.shape) - 1)
        if valid is not None and not entry.padding_masks:
            for extra, origin in self._list_origins(entry, tensor, valid):
                yield (*extra, PassMask(self.look.key(entry), "mask", origin))

    def _list_flips(self) -> Iterator[Changes]:
        """Yield the turned results of RNNs that run backwards, if these are joined with others in their own order."""
        import keras

        before = [call for tensor in self.entry.inputs for call in list_ancestors(self.look, tensor)]
        for call in before[: 2 * MOST_NEAR]:
            layer = call.operation
            is_turned = isinstance(layer, keras.layers.RNN) and layer.go_backwards and layer.return_sequences
            if is_turned and call.outputs and call.parent is self.owner.parent and self._is_joined(call.outputs[0]):
                yield (FlipResult(self.look.key(call)),)

    def _is_joined(self, tensor: Any) -> bool:
        """Return whether a call takes a tensor and another one with timesteps."""
        users = (entry for entry in self.look.context.base.ended if any(item is tensor for item in entry.inputs))
        valid = self.look.flow.valid
        return any(any(item is not tensor and id(item) in valid for item in entry.inputs) for entry in users)

    def _list_zeroings(self) -> Iterator[Changes]:
        """Yield changes that set padding to zero before the call, without and with the mask after it."""
        if self.owner is not self.entry and self.entry.type.startswith(CONVOLUTIONS):
            for extra, origin in self._list_origins(self.entry):
                yield (*extra, ZeroPadding(self.look.key(self.entry), origin))
        place = self._find_place_with_timesteps()
        key = self.look.key(place)
        valids = self.look.flow.list_input_validity(place)
        cut = find_time_slice(place, valids[0]) if valids and place.outputs else None
        moving = self._find_moving_call(place)
        if moving is not None:  # It leaves zeros as they are, and its mask need not be kept for this.
            yield (ZeroPadding(self.look.key(moving), MaskOrigin("arriving", self.look.key(moving))),)
        for extra, origin in self._list_origins(place):
            zero = ZeroPadding(key, origin)
            yield (*extra, zero)
            if place.outputs and id(place.outputs[0]) in self.look.flow.valid:
                yield (*extra, zero, KeepMask(key, origin, WHOLE if cut is None else cut))

    def _find_moving_call(self, place: CallRecord) -> CallRecord | None:
        """Return the call that lost the mask for a call if it only moves or adds timesteps; None if there is none."""
        lost = (self.look.flow.lost.get(id(tensor)) for tensor in place.inputs)
        calls = (loss.at for loss in lost if loss is not None)
        return next((call for call in calls if call.type in MOVING_LAYERS and call.parent is place.parent), None)

    def _find_place_with_timesteps(self) -> CallRecord:
        """Return the owner, or a call before it that moves the time axis, such as a ``Permute`` before a ``Dense``."""
        if self.look.flow.list_input_validity(self.owner):
            return self.owner
        before = [entry for tensor in self.owner.inputs for entry in list_ancestors(self.look, tensor)]
        moving = (entry for entry in before[:MOST_NEAR] if self.look.flow.list_input_validity(entry))
        return next((entry for entry in moving if not entry.code and entry.parent is self.owner.parent), self.owner)

    def _list_ways_to_pass(self, place: CallRecord, then: Changes) -> Iterator[Changes]:
        """Yield changes that bring the mask to a call that takes one, after which those of ``then`` follow."""
        missing = list_missing(self.look, place)
        if not missing:
            if not place.padding_masks:
                yield from self._pass_masks(self.look, place, place.inputs)
            return
        direct = list(self._pass_masks(self.look, place, missing))
        brought = self.models.bring_mask(self.done, self.look.key(place), then) or ()
        # A line in a layer is shorter than an argument, unless a mask is an input of the model anyway.
        by_input = any(isinstance(change, PassMask) and change.origin.kind == "input" for change in sum(direct, ()))
        comes_first = len(brought) == 1 and is_simple(self.look, brought[0]) and not by_input
        ways = self._list_brought_ways(place, brought, then) if brought else iter(())
        if comes_first:
            yield from ways
            yield from direct
        else:
            yield from direct
            yield from ways

    def _list_brought_ways(self, place: CallRecord, brought: Changes, then: Changes) -> Iterator[Changes]:
        """Yield changes that let tensors carry the mask to a call, and those that also pass it."""
        yield brought
        look, key = self.models.look((*self.done, *brought, *then)), self.look.key(place)
        if isinstance(look, ChangedModel) and key in look.by_key and not look.by_key[key].padding_masks:
            for passed in self._pass_masks(look, look.by_key[key], look.by_key[key].inputs):
                yield (*brought, *passed)

    def _pass_masks(self, look: ChangedModel, place: CallRecord, tensors: Sequence[Any]) -> Iterator[Changes]:
        """Yield the change that passes the masks of these inputs to a call, in the arguments that it has."""
        changes: list[CallChange] = []
        extra: list[CallChange] = []
        for tensor in tensors:
            origin, before = self._find_nameable(look, place, tensor)
            passed = [] if origin is None else _choose_arguments(look, place, tensor, origin)
            changes += passed
            extra += [change for change in before if passed and change not in extra]
        # Queries need no mask if the keys and values have one.
        others = [change for change in changes if isinstance(change, PassMask) and change.argument != "query_mask"]
        unique = tuple(dict.fromkeys(others or changes))
        if unique:
            yield (*extra, *unique)

    def _find_nameable(self, look: ChangedModel, place: CallRecord, tensor: Any) -> tuple[MaskOrigin | None, Changes]:
        """Return the mask of a tensor if the code that makes the call can name it."""
        owner = find_owner(place)
        if owner is not place and not list_missing(look, owner):
            masks = [mask for mask in (*owner.carried, *owner.padding_masks) if mask is not None]
            if masks:
                return MaskOrigin("arriving", look.key(owner)), ()
        origin, before = self._find_maker(look, tensor, None)
        if origin is None or not can_name_mask(look, place, origin, as_graph=self.as_graph):
            return None, ()
        return origin, before

    def _find_maker(self, look: ChangedModel, tensor: Any, valid: Bools | None) -> tuple[MaskOrigin | None, Changes]:
        """Return the origin of the mask of a tensor, with the change that it needs first."""
        if not self.by_values:
            return find_maker(look, tensor, valid)
        return find_values_origin(look, look.flow.valid.get(id(tensor)) if valid is None else valid), ()

    def _list_origins(
        self, place: CallRecord, source: Any = None, valid: Bools | None = None
    ) -> Iterator[tuple[Changes, MaskOrigin]]:
        """Yield the origins of the mask for a call, each with the changes that it needs first.

        ``source`` is a tensor, by default the first input with timesteps, and ``valid`` its validity on some axis.
        """
        look, owner = self.look, find_owner(place)
        first = next((look.flow.valid[id(x)] for x in place.inputs if id(x) in look.flow.valid and is_float(x)), None)
        wanted = first if valid is None else valid
        for key in dict.fromkeys((look.key(place), look.key(owner))):
            record = look.by_key[key]
            masks = [mask for mask in (*record.carried, *record.padding_masks) if mask is not None]
            fits = valid is None or any(mask.shape == valid.shape for mask in masks)
            arrives = valid is not None and any(is_same_validity(mask, valid) for mask in masks)
            if arrives or (masks and fits and not list_missing(look, record)):
                yield (), MaskOrigin("arriving", key, argument=find_masked_argument(look, record, wanted))
                return
        tensors = [x for x in (*place.inputs, *owner.inputs) if id(x) in look.flow.valid and is_float(x)][:1]
        tensors = tensors if source is None else [source]
        makers = [self._find_maker(look, tensor, valid) for tensor in tensors]
        named = [(before, origin) for origin, before in makers if origin is not None]
        named = [(before, origin) for before, origin in named if can_name_mask(look, owner, origin)]
        if named and (named[0][1].kind == "input" or owner.code):
            yield named.pop()
        if self.by_values:
            yield from named
            return
        key = look.key(owner)
        brought = self.models.bring_mask(self.done, key)
        ways = [(brought, MaskOrigin("arriving", key))] if brought else []
        if brought and all(is_simple(look, change) for change in brought):
            yield ways.pop()
        yield from named
        yield from ways


def _are_weights(tensor: Any) -> bool:
    """Return whether all numbers are from 0 to 1, as those after a softmax."""
    values = as_float64(tensor)
    return bool((values >= 0).all() and (values <= 1).all())


def _find_call_in(scope: CallRecord | None, entry: CallRecord) -> CallRecord | None:
    """Return the call of a scope, a layer or a model, that is a call or makes it inside; None if there is none."""
    call: CallRecord | None = entry
    while call is not None and call.parent is not scope:
        call = call.parent
    return call


def _normalizes_timesteps(entry: CallRecord) -> bool:
    """Return whether a ``LayerNormalization`` of three axes is over timesteps and features; True for other layers."""
    import keras

    if not isinstance(entry.operation, keras.layers.LayerNormalization):
        return True
    axis = entry.operation.axis
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return sorted(int(number) % 3 for number in axes) == [1, 2]


def _list_turns(key: str, name: str, shape: tuple[int, ...]) -> Iterator[Changes]:
    """Yield changes of the mask of one argument: its opposite, its transpose, and both."""
    yield (InvertMask(key, name),)
    if len(shape) == 2 or shape[-1] != shape[-2]:
        yield (TurnMask(key, name),)
        yield (TurnMask(key, name), InvertMask(key, name))


def _choose_arguments(look: ChangedModel, place: CallRecord, tensor: Any, origin: MaskOrigin) -> list[CallChange]:
    """Return the changes that pass the mask of one tensor to a call."""
    names = list_parameters(type(place.operation).call)
    by_name = {**dict(zip(names, place.args, strict=False)), **place.kwargs}
    key, first = look.key(place), next(iter(by_name.values()), None)
    if isinstance(first, (list, tuple)):
        # Of keras.layers.Attention: query and value, in this order.
        is_value = len(first) > 1 and first[0] is not tensor and any(item is tensor for item in first)
        return [PassMask(key, "mask", origin, "list")] if is_value and "mask" in place.accepts else []
    if "mask" in place.accepts:
        return [PassMask(key, "mask", origin)] if first is tensor else []
    arguments = [name for name, value in by_name.items() if value is tensor]
    passed: list[CallChange] = [
        PassMask(key, f"{name}_mask", origin) for name in arguments if f"{name}_mask" in place.accepts
    ]
    if not passed and place.accepts == (PAIR_MASK,) and arguments and get_argument(place, PAIR_MASK) is None:
        return [PassMask(key, PAIR_MASK, origin, "keys")]
    return passed


def is_simple(look: ChangedModel, change: CallChange) -> bool:
    """Return whether a change is a line in a layer: a mask of an Embedding, a custom layer or a Lambda."""
    if isinstance(change, (SetMaskZero, MaskInput, SetMaskValue)):
        return True
    operation = look.by_key[change.key].operation
    return has_own_code(operation) or type(operation).__name__ == "Lambda"


def recognize_pooling(look: ChangedModel, entry: CallRecord, last: CallRecord | None = None) -> Pooling | None:
    """Return how a call, or the calls up to a later one, reduce timesteps, by the numbers; None if they do not."""
    import keras

    outputs = (entry if last is None else last).outputs
    if not outputs or not is_float(outputs[0]):
        return None
    source = next((x for x in entry.inputs if id(x) in look.flow.valid and is_float(x) and len(x.shape) > 2), None)
    if source is None:
        return None
    rank = min(look.flow.valid[id(source)].ndim, len(source.shape) - 1)
    if source.shape[rank - 1] < 2:
        return None
    result = as_float64(outputs[0])
    mask = keras.ops.ones(tuple(source.shape[:rank]), dtype="bool")
    allowed = bound_sum_error(get_ulp(source), int(source.shape[rank - 1]), 4) * np.abs(result).max(initial=0.0)
    # Some code sets padding to zero, and takes the mean over all timesteps.
    valid = keras.ops.convert_to_tensor(look.flow.valid[id(source)])
    for pooled_source in (source, zero_padding(source, valid)):
        for how in POOLINGS:
            pooled = fit_pooled(pool_timesteps(pooled_source, mask, how), how, result.shape)
            if pooled is not None and measure_change(as_float64(pooled), result).max(initial=0.0) <= allowed:
                return how
    return None


def recognize_softmax(look: ChangedModel, entry: CallRecord) -> int | None:
    """Return the axis of a softmax over timesteps; None if a call is none."""
    import keras

    if not entry.outputs or not entry.inputs or not is_float(entry.inputs[0]) or entry.calls:
        return None
    scores, result = entry.inputs[0], entry.outputs[0]
    if tuple(scores.shape) != tuple(result.shape) or len(scores.shape) < 2:
        return None
    for axis in sorted(look.flow.positions.find_time_axes(scores) - {0}, reverse=True):
        expected = as_float64(keras.ops.softmax(scores, axis=axis))
        if np.abs(expected - as_float64(result)).max(initial=0.0) < get_ulp(scores) * 16:
            return axis
    return None


def _hides_padding(entry: CallRecord, valid: Bools, axis: int) -> bool:
    """Return whether a softmax gives no weight to padding already."""
    weights = np.moveaxis(as_float64(entry.outputs[0]), axis, 1)
    return not np.abs(weights[~valid]).max(initial=0.0) > 0


def _attends_to_padding(look: ChangedModel, entry: CallRecord) -> bool:
    """Return whether a call is a softmax that gives some query nothing but padding."""
    axis = recognize_softmax(look, entry)
    valid = None if axis is None else find_axis_validity(look, entry.inputs[0], axis)
    if axis is None or valid is None:
        return False
    weights = np.moveaxis(as_float64(entry.outputs[0]), axis, 1)
    rows = valid.any(axis=1) & ~valid.all(axis=1)
    to_data = (weights * valid.reshape(*valid.shape, *[1] * (weights.ndim - 2))).sum(axis=1)
    return bool((to_data[rows] == 0).any())
