"""Attention masks: which query may attend to which key, from padding, causality and the user's own mask.

The call of an attention layer is run again with ``return_attention_scores``, which Keras offers. Meanwhile the mask is
captured that the layer passes to its softmax. In layers of the user's own, each softmax over scores with closed pairs
is examined.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.records.arrays import Bools
from maskcli.records.trace import AttentionMask
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, has_own_code, is_attention, list_parameters
from maskcli.trace.rerun import rerun_operation, set_mask
from maskcli.trace.run import Run
from maskcli.trace.scores import AttentionScores, find_attention_scores
from maskcli.trace.values import as_float64

SCORES = "return_attention_scores"
CAUSAL = "use_causal_mask"


PAIRS = 2**17
"""Pairs of a query and a key in all masks of a run, at most, so that a page stays small."""


def record_attention_masks(run: Run) -> tuple[AttentionMask, ...]:
    """Return the mask of each call of a Keras attention layer, and of each softmax of scores, in execution order.

    For long sequences they hold only the first samples, and of very long ones the first queries and keys; the share of
    attention to padding is of all of them.
    """
    masks = tuple(_iterate_masks(run))
    pairs = sum(attention.mask[:1].size for attention in masks)
    few = slice(0, max(1, PAIRS // max(1, pairs)))
    side = slice(0, max(1, math.isqrt(PAIRS // max(1, len(masks)))))
    if pairs <= PAIRS:
        side = slice(None)
    return tuple(_select_pairs(attention, few, side) for attention in masks)


def _select_pairs(attention: AttentionMask, few: slice, side: slice) -> AttentionMask:
    """Return the mask of some samples, and of as many queries and keys."""
    shape = attention.mask.shape[1:]
    mask = attention.mask[few, side, side]
    queries, keys = (None if valid is None else valid[few, side] for valid in (attention.queries, attention.keys))
    return dataclasses.replace(
        attention,
        mask=mask,
        weights=attention.weights[few, side, side].round(4),
        queries=queries,
        keys=keys,
        all_pairs=None if mask.shape[1:] == shape else shape,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class LayerMask:
    """The mask of a layer of Keras that attends, as the layer combined it.

    Attributes:
        allowed: ``(batch, queries, keys)``, True where a query may attend to a key in any head.
        attended: the same shape, True where the weight of a pair is more than 0 in any head.
        queries: ``(batch, queries)``, True at valid queries; None if unknown.
        keys: ``(batch, keys)``, True at valid keys; None if unknown.
    """

    allowed: Bools
    attended: Bools
    queries: Bools | None
    keys: Bools | None


def read_layer_mask(entry: CallRecord, flow: MaskFlow) -> LayerMask | None:
    """Return the mask of a call that attends; None if the layer does not return its scores."""
    captured = _capture_attention(entry)
    if captured is None:
        return None
    queries, keys = _find_query_key_validity(flow, entry)
    allowed, weights = captured
    return LayerMask(np.logical_or.reduce(allowed, axis=1), np.logical_or.reduce(weights > 0, axis=1), queries, keys)


def _iterate_masks(run: Run) -> Iterator[AttentionMask]:
    scores = {at.entry.index: at for at in find_attention_scores(run.recording, run.flow)}
    for entry in run.recording.entries:
        if entry.index in run.calls_of and entry.returned and attends(entry) and not has_own_code(entry.operation):
            captured = _capture_attention(entry)
            if captured is not None:
                yield _make_attention_mask(run, entry, *captured)
        elif entry.index in scores:
            yield from _make_scores_mask(run, scores[entry.index])


def attends(entry: CallRecord) -> bool:
    """Return whether a call is that of a layer of Keras that attends, and can return its scores."""
    return is_attention(entry) and SCORES in list_parameters(type(entry.operation).call)


def _capture_attention(entry: CallRecord) -> tuple[Bools, NDArray[np.float64]] | None:
    """Return a call's mask and weights ``(batch, heads, queries, keys)``; None without, as of flash attention."""
    args, kwargs = _restore_arguments(entry)
    with _capture_masks(type(entry.operation)) as captured, warnings.catch_warnings(action="ignore"):
        output = rerun_operation(entry.operation, args, {**kwargs, "training": False, SCORES: True})
        if not captured or output is None:
            return None
    weights = as_float64(output[1])
    mask = np.ones_like(weights, bool) if captured[-1] is None else as_array(captured[-1]).astype(bool)
    if mask.ndim == 2 and hasattr(entry.operation, "_apply_scores"):
        mask = mask[:, None, :]  # Attention and its children take the validity of keys as it is.
    weights, mask = _add_heads(weights), _add_heads(mask)
    return np.broadcast_to(mask, weights.shape), weights


def _add_heads(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``(batch, heads, queries, keys)`` of an array that may lack the heads, or the batch too."""
    if values.ndim == 2:
        return values[None, None]
    return values[:, None] if values.ndim == 3 else values


def _restore_arguments(entry: CallRecord) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a call with the masks that its inputs carried; the layer itself removes these."""
    import keras

    masks = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}

    def copy_leaf(leaf: Any) -> Any:
        if id(leaf) not in masks or not get_backend().has_values(leaf):
            return leaf
        copy = keras.ops.copy(leaf)
        set_mask(copy, masks[id(leaf)])
        return copy

    args, kwargs = keras.tree.map_structure(copy_leaf, (entry.args, entry.kwargs))
    return args, kwargs


@contextlib.contextmanager
def _capture_masks(kind: type) -> Iterator[list[Any]]:
    """Collect the masks that layers of this class pass to their softmax."""
    captured: list[Any] = []
    # MultiHeadAttention and GroupQueryAttention have the first method, Attention and its children the second. Both
    # receive the mask after the layer has combined padding, causality and the user's own mask.
    if hasattr(kind, "_masked_softmax"):
        name, argument, position = "_masked_softmax", "attention_mask", 1
    else:
        name, argument, position = "_apply_scores", "scores_mask", 2
    original = getattr(kind, name, None)
    if original is None:
        yield captured
        return
    is_overridden = name in vars(kind)
    setattr(kind, name, _wrap(original, captured, argument, position))
    try:
        yield captured
    finally:
        if is_overridden:
            setattr(kind, name, original)
        else:
            delattr(kind, name)


def _wrap(original: Callable[..., Any], captured: list[Any], argument: str, position: int) -> Callable[..., Any]:
    def capture(self: Any, *args: Any, **kwargs: Any) -> Any:
        by_position = args[position] if len(args) > position else None
        captured.append(kwargs.get(argument, by_position))
        return original(self, *args, **kwargs)

    return capture


def _make_attention_mask(run: Run, entry: CallRecord, mask: Bools, weights: NDArray[np.float64]) -> AttentionMask:
    call = run.calls_of[entry.index]
    queries, keys = _find_query_key_validity(run.flow, entry)
    any_head: Bools = np.logical_or.reduce(mask, axis=1)
    return AttentionMask(
        call=call.call,
        type=call.type,
        mask=any_head,
        weights=weights.mean(axis=1).astype(np.float32),
        heads=weights.shape[1],
        causal=_is_causal(entry),
        queries=queries,
        keys=keys,
        to_padding=_measure_attention_to_padding(weights, queries, keys),
    )


def _make_scores_mask(run: Run, scores: AttentionScores) -> Iterator[AttentionMask]:
    """Yield the mask of a softmax, as that of the shown call that computes it; nothing if heads are in the batch."""
    owner: CallRecord | None = scores.entry
    while owner is not None and owner.index not in run.calls_of:
        owner = owner.parent
    samples, queries, keys = scores.allowed.shape
    weights = as_float64(scores.entry.outputs[0])[..., :keys]
    if owner is None or len(weights) != samples:
        return
    weights = weights.reshape(samples, -1, queries, keys)
    call = run.calls_of[owner.index]
    yield AttentionMask(
        call=call.call,
        type=call.type,
        mask=scores.allowed,
        weights=weights.mean(axis=1).astype(np.float32),
        heads=weights.shape[1],
        causal=queries == keys and not np.triu(scores.allowed.any(axis=0), 1).any(),
        queries=scores.queries,
        keys=scores.keys,
        to_padding=_measure_attention_to_padding(weights, scores.queries, scores.keys),
    )


def _is_causal(entry: CallRecord) -> bool:
    names = list_parameters(type(entry.operation).call)
    return bool({**dict(zip(names, entry.args, strict=False)), **entry.kwargs}.get(CAUSAL))


def _find_query_key_validity(flow: MaskFlow, entry: CallRecord) -> tuple[Bools | None, Bools | None]:
    """Return which queries and which keys are valid: those of the first tensor, and those of the second."""
    validity = [flow.valid.get(id(tensor)) for tensor in entry.inputs[:2]]
    queries, keys = (*validity, None, None)[:2]
    return queries, keys


def _measure_attention_to_padding(
    weights: NDArray[np.float64], queries: Bools | None, keys: Bools | None
) -> float | None:
    """Return the largest total weight that a valid query gives to padding."""
    if queries is None or keys is None:
        return None
    to_padding = np.where(keys[:, None, None, :], 0.0, weights).sum(axis=-1)
    of_valid = to_padding[np.broadcast_to(queries[:, None, :], to_padding.shape)]
    return float(of_valid.max(initial=0.0))
