"""Find where queries attend to keys: the softmax over scores, the mask on it, and which timesteps the scores pair.

A layer of Keras that attends is one call. In code of one's own, and in a functional model, a softmax is a call, an
operation of Keras, or one of TensorFlow's operations. Its mask is an argument, or is in the scores already, as a very
negative number.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.records.arrays import Bools
from maskcli.tolerance import CLOSED_SCORE
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.movement import VALUELESS
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.values import as_float64, is_float

CONTRACTIONS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Matmul", "Einsum", "XlaEinsum"})
"""Operations that multiply queries by keys; ``Dot`` is a layer that does."""

SOFTMAX = "Softmax"
"""The class name of the layer and of Keras's operation, and the name of TensorFlow's operation."""

SUMS = frozenset({"Add", "AddV2", "Sub", "Subtract"})
PRODUCTS = frozenset({"Mul", "Multiply"})


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionScores:
    """One softmax over the scores of queries and keys, in code of one's own or in a functional model.

    Attributes:
        entry: the call or operation.
        allowed: ``(batch, queries, keys)``, True where a query may attend to a key in any head.
        attended: the same shape, True where the weight of a pair is more than 0 in any head.
        mask: the mask that the call receives, if it is an argument; it is part of ``allowed``.
        queries: ``(batch, queries)``, True at valid queries; None if unknown.
        keys: ``(batch, keys)``, True at valid keys; None if unknown.
    """

    entry: CallRecord
    allowed: Bools
    attended: Bools
    mask: Bools | None
    queries: Bools | None
    keys: Bools | None


@dataclasses.dataclass(frozen=True, eq=False)
class WeakMask:
    """A mask that changes the scores of some keys by too little to hide them.

    Attributes:
        entry: the softmax.
        lowered: ``(batch, queries, keys)``, True at the pairs that the mask is meant to hide.
        attended: the same shape, True where the weight of a pair is more than 0 in any head.
        value: the number that the mask adds to their scores; None if it multiplies these by 0.
        shape: of the mask.
        queries: ``(batch, queries)``, True at valid queries; None if unknown.
        keys: ``(batch, keys)``, True at valid keys; None if unknown.
    """

    entry: CallRecord
    lowered: Bools
    attended: Bools
    value: float | None
    shape: tuple[int, ...]
    queries: Bools | None
    keys: Bools | None


def find_attention_scores(recording: Recording, flow: MaskFlow) -> Iterator[AttentionScores]:
    """Yield each softmax over scores of which some pairs are closed, in the order of the data."""
    for entry in recording.ended:
        if entry.type == SOFTMAX and entry.inputs and len(entry.inputs[0].shape) > 2:
            scores = _read_scores(entry, flow)
            if scores is not None:
                yield scores


def _read_scores(entry: CallRecord, flow: MaskFlow) -> AttentionScores | None:
    tensor = entry.inputs[0]
    shape = tuple(map(int, tensor.shape))
    if not _is_over_last_axis(entry, len(shape)) or not is_float(tensor):
        return None
    allowed = as_float64(tensor) > -CLOSED_SCORE.value
    masks = [mask for masks in entry.mask_values.values() for mask in masks if mask is not None]
    mask = next((mask for mask in masks if _broadcasts(mask.shape, shape)), None)
    if mask is not None:
        allowed = allowed & mask
    batch = len(flow.truths[0]) if len(flow.truths) else shape[0]
    product = _find_product(tensor, flow)
    if product is None and mask is not None and np.array_equal(mask, flow.valid.get(id(tensor), ())):
        return None  # No scores: with as many rows and classes as timesteps, a mask of timesteps fits by chance.
    # Some models append a score that is that of no key, so that a query may attend to nothing.
    columns = slice(shape[-1] if product is None else int(product[0].outputs[0].shape[-1]))
    weights = as_float64(entry.outputs[0])[..., columns]
    joined, attended = join_heads(allowed[..., columns], batch), join_heads(weights > 0, batch)
    if joined is None or attended is None or joined.all():
        return None
    queries, keys = _find_pair_validity(product, flow, joined.shape)
    return AttentionScores(entry, joined, attended, mask, queries, keys)


def find_weak_masks(recording: Recording, flow: MaskFlow) -> Iterator[WeakMask]:
    """Yield the masks of each softmax over scores that add a number near 0 to scores, or multiply them by 0."""
    for entry in recording.ended:
        if entry.type != SOFTMAX or not entry.inputs or len(entry.inputs[0].shape) < 3:
            continue
        if _is_over_last_axis(entry, len(entry.inputs[0].shape)) and is_float(entry.inputs[0]):
            yield from _read_weak_masks(entry, flow)


def _read_weak_masks(entry: CallRecord, flow: MaskFlow) -> Iterator[WeakMask]:
    scores = entry.inputs[0]
    product = _find_product(scores, flow)
    if product is None or tuple(product[0].outputs[0].shape) != tuple(scores.shape):
        return
    shape = tuple(map(int, scores.shape))
    batch = len(flow.truths[0]) if len(flow.truths) else shape[0]
    attended = join_heads(as_float64(entry.outputs[0]) > 0, batch)
    for maker, mask in _list_combined(scores, flow):
        value, lowered = _read_weak_values(maker, mask)
        if lowered is None or attended is None or not _broadcasts(lowered.shape, shape):
            continue
        joined = join_heads(np.broadcast_to(lowered, shape), batch)
        if joined is not None:
            queries, keys = _find_pair_validity(product, flow, joined.shape)
            yield WeakMask(entry, joined, attended, value, tuple(map(int, mask.shape)), queries, keys)


def _list_combined(scores: Any, flow: MaskFlow) -> Iterator[tuple[CallRecord, Any]]:
    """Yield the sums and products between queries times keys and their softmax, each with its smaller factor."""
    tensor = scores
    for _ in range(20):  # A scale, a mask and a bias lie between, never a whole model.
        maker = flow.maker.get(id(tensor))
        if maker is None or maker.type in CONTRACTIONS or not maker.inputs:
            return
        inputs = [x for x in maker.inputs if is_float(x)]
        large = next((x for x in inputs if _may_hold_scores(x, maker.outputs[0], maker)), None)
        if large is None:
            return
        for other in inputs:
            if other is not large and maker.type in SUMS | PRODUCTS and len(other.shape) > 1:
                yield maker, other
        tensor = large


def _read_weak_values(maker: CallRecord, mask: Any) -> tuple[float | None, Bools | None]:
    """Return the number that a mask of two values adds, None for a product, and where it lowers the scores."""
    values = as_float64(mask)
    levels = np.unique(values)
    if len(levels) != 2:
        return None, None
    if maker.type in PRODUCTS:
        return None, values == 0 if levels.tolist() == [0.0, 1.0] else None
    if maker.type.startswith("Sub") and maker.inputs[-1] is mask:
        values, levels = -values, -levels[::-1]
    if levels[1] != 0 or levels[0] <= -CLOSED_SCORE.value:
        return None, None
    return float(levels[0]), values < 0


def _is_over_last_axis(entry: CallRecord, rank: int) -> bool:
    axis = None if entry.code else getattr(entry.operation, "axis", -1)
    return axis in (None, -1, rank - 1, [-1], (-1,), [rank - 1], (rank - 1,))


def _broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    try:
        return np.broadcast_shapes(tuple(shape), tuple(target)) == tuple(target)
    except ValueError:
        return False


def join_heads(allowed: Bools, batch: int) -> Bools | None:
    """Return ``(batch, queries, keys)`` of pairs in any head; None if the first axis is not that of the batch.

    The first axis may hold the heads as well, next to the batch: then it is a multiple of ``batch``.
    """
    *first, queries, keys = allowed.shape
    if len(first) > 1:
        if first[0] != batch:
            return None
        return np.asarray(allowed.reshape(batch, -1, queries, keys).any(axis=1))
    if first[0] == batch:
        return allowed
    if not batch or first[0] % batch:
        return None
    by_row = allowed.reshape(batch, -1, queries, keys)
    by_head = allowed.reshape(-1, batch, queries, keys).swapaxes(0, 1)
    # A mask is the same for all heads, which shows the order of the two.
    joined = by_row if (by_row == by_row[:, :1]).all() else by_head
    return np.asarray(joined.any(axis=1))


def find_neighbours(entry: CallRecord, recording: Recording, flow: MaskFlow) -> list[CallRecord]:
    """Return the operations that compute attention with a softmax: of its scores, and of the weighted sum.

    These are operations, not layers: a layer that made the queries, keys or values is not among them.
    """
    import keras

    before, pending = {entry.index: entry}, list(entry.inputs)
    while pending and len(before) < 100:
        maker = flow.maker.get(id(pending.pop()))
        if maker is None or maker.index in before or not _is_operation(maker, keras.layers.Layer):
            continue
        before[maker.index] = maker
        pending.extend(maker.inputs)
    weights = set(map(id, entry.outputs))
    for later in recording.ended:
        if later.index > entry.index and weights & set(map(id, later.inputs)):
            before[later.index] = later
            if later.type in CONTRACTIONS or later.type == "Dot":
                break
            weights |= set(map(id, later.outputs))
    return [before[index] for index in sorted(before)]


def _is_operation(entry: CallRecord, layer_type: type) -> bool:
    return entry.code or not isinstance(entry.operation, layer_type) or entry.type == "Dot"


def _find_pair_validity(
    product: tuple[CallRecord, bool] | None, flow: MaskFlow, shape: tuple[int, ...]
) -> tuple[Bools | None, Bools | None]:
    """Return which queries and which keys of scores are valid, from the tensors that were multiplied.

    Where these are not known, it is the validity of the inputs of the model of that length, if there is only one.
    """
    _, queries, keys = shape
    of_queries, of_keys = (None, None) if product is None else _split_product(*product)
    return _find_validity(of_queries, queries, flow), _find_validity(of_keys, keys, flow)


def _find_product(scores: Any, flow: MaskFlow) -> tuple[CallRecord, bool] | None:
    """Return the operation that multiplied queries by keys, and whether its last two axes were swapped since."""
    pending = collections.deque([(scores, False)])
    visited: set[int] = set()
    while pending and len(visited) < 100:  # A scale and a mask lie between, never a whole model.
        tensor, swapped = pending.popleft()
        entry = flow.maker.get(id(tensor))
        if entry is None or id(entry) in visited:
            continue
        visited.add(id(entry))
        if (entry.type in CONTRACTIONS or entry.type == "Dot") and len(entry.inputs) == 2:
            return entry, swapped
        swapped = swapped != _swaps_last_axes(entry)
        pending.extend((x, swapped) for x in entry.inputs if is_float(x) and _may_hold_scores(x, tensor, entry))
    return None


def _may_hold_scores(source: Any, result: Any, entry: CallRecord) -> bool:
    """Return whether an input of an operation may be the scores of its result, rather than a scale or a mask."""
    if entry.type in ("ConcatV2", "Concatenate"):
        return len(source.shape) == len(result.shape) and tuple(source.shape[:-1]) == tuple(result.shape[:-1])
    return int(np.prod(source.shape)) == int(np.prod(result.shape))


def _swaps_last_axes(entry: CallRecord) -> bool:
    if entry.type != "Transpose" or not entry.code or len(entry.inputs) < 2:
        return False
    order = np.asarray(entry.inputs[1]).tolist()
    return len(order) > 1 and order[-2:] == [len(order) - 1, len(order) - 2]


def _split_product(product: CallRecord, swapped: bool) -> tuple[Any, Any]:
    """Return the tensor of queries and that of keys among the two that were multiplied."""
    first, second = product.inputs
    equation = _read_equation(product)
    if equation is not None:
        operands, _, result = equation.replace(" ", "").partition("->")
        # The axis of keys comes last in scores; the factor that has it is that of the keys.
        swapped = swapped != (result[-1:] in operands.split(",")[0])
    return (second, first) if swapped else (first, second)


def _read_equation(product: CallRecord) -> str | None:
    if not product.code:
        subscripts = getattr(product.operation, "subscripts", None)
        return subscripts if isinstance(subscripts, str) else None
    attrs = product.kwargs.get("attrs") or ()
    names = [name.decode() if isinstance(name, bytes) else name for name in attrs[::2]]
    if "equation" not in names:
        return None
    equation = attrs[2 * names.index("equation") + 1]
    return equation.decode() if isinstance(equation, bytes) else str(equation)


def _find_validity(tensor: Any | None, timesteps: int, flow: MaskFlow) -> Bools | None:
    """Return the validity of the timesteps of a factor, from the nearest tensor before it for which it is known."""
    pending = collections.deque([] if tensor is None else [tensor])
    visited: set[int] = set()
    while pending and len(visited) < 100:
        source = pending.popleft()
        valid = flow.valid.get(id(source))
        if valid is not None and valid.shape[1] == timesteps:
            return valid
        entry = flow.maker.get(id(source))
        if entry is not None and id(entry) not in visited and entry.type not in VALUELESS:
            visited.add(id(entry))
            pending.extend(entry.inputs)
    alike = [valid for valid in flow.truths if valid.shape[1] == timesteps]
    return alike[0] if alike and all(np.array_equal(valid, alike[0]) for valid in alike) else None
