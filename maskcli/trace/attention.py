"""Who may look at whom in attention layers: the masks of padding, of causality and the user's own, as combined.

The call of an attention layer is run again and asked for its weights, as Keras offers; on the way, the mask is noted
that Keras's own layers hand to their softmax. Layers of the user's own that attend in another way are not looked into.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.trace import AttentionMask
from maskcli.trace.recorder import CallRecord, list_parameters
from maskcli.trace.rerun import rerun_operation
from maskcli.trace.run import Run
from maskcli.trace.values import as_float64

SCORES = "return_attention_scores"
CAUSAL = "use_causal_mask"


PAIRS = 2**19
"""Pairs of a query and a key that all masks of a run may have, for a page to be a page."""


def record_attention_masks(run: Run) -> tuple[AttentionMask, ...]:
    """Return the mask of each call of an attention layer of Keras in a run, in the order of running.

    Of long sequences they hold the first samples alone; what is said of padding is of all.
    """
    found = tuple(_all_masks(run))
    pairs = sum(one.mask[:1].size for one in found)
    few = slice(0, max(1, PAIRS // max(1, pairs)))
    return tuple(_first(one, few) for one in found)


def _first(found: AttentionMask, few: slice) -> AttentionMask:
    queries, keys = (None if valid is None else valid[few] for valid in (found.queries, found.keys))
    return dataclasses.replace(
        found, mask=found.mask[few], weights=found.weights[few].round(4), queries=queries, keys=keys
    )


def _all_masks(run: Run) -> Iterator[AttentionMask]:
    for entry in run.watched.entries:
        if entry.index in run.calls_of and entry.returned and _attends(entry):
            seen = _seen(entry)
            if seen is not None:
                yield _record(run, entry, *seen)


def _attends(entry: CallRecord) -> bool:
    import keras

    layers = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention, keras.layers.Attention)
    return isinstance(entry.operation, layers) and SCORES in list_parameters(type(entry.operation).call)


def _seen(entry: CallRecord) -> tuple[Bools, NDArray[np.float64]] | None:
    """Return a call's mask and weights ``(batch, heads, queries, keys)``; None without, as of flash attention."""
    args, kwargs = _as_it_came(entry)
    with _noting(type(entry.operation)) as noted, warnings.catch_warnings(action="ignore"):
        output = rerun_operation(entry.operation, args, {**kwargs, "training": False, SCORES: True})
        if not noted or output is None:
            return None
    weights = as_float64(output[1])
    mask = np.ones_like(weights, bool) if noted[-1] is None else np.asarray(noted[-1]).astype(bool)
    weights, mask = _with_heads(weights), _with_heads(mask)
    return np.broadcast_to(mask, weights.shape), weights


def _with_heads(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``(batch, heads, queries, keys)`` of an array that may lack the heads, or the queries too."""
    if values.ndim == 2:
        return values[:, None, None, :]
    return values[:, None] if values.ndim == 3 else values


def _as_it_came(entry: CallRecord) -> tuple[Any, dict[str, Any]]:
    """Return the arguments of a call with the masks that its inputs carried: the layer itself takes these off."""
    import keras

    masks = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}

    def copied(leaf: Any) -> Any:
        if id(leaf) not in masks or not hasattr(leaf, "numpy"):
            return leaf
        copy, mask = keras.ops.copy(leaf), masks[id(leaf)]
        copy._keras_mask = None if mask is None else keras.ops.convert_to_tensor(mask)
        return copy

    args, kwargs = keras.tree.map_structure(copied, (entry.args, entry.kwargs))
    return args, kwargs


@contextlib.contextmanager
def _noting(kind: type) -> Iterator[list[Any]]:
    """Note the masks that layers of this class hand to their softmax."""
    noted: list[Any] = []
    name = "_masked_softmax" if hasattr(kind, "_masked_softmax") else "_apply_scores"
    original = getattr(kind, name, None)
    if original is None:
        yield noted
        return
    argument = "attention_mask" if name == "_masked_softmax" else "scores_mask"
    at = 1 if name == "_masked_softmax" else 2
    own = name in vars(kind)
    setattr(kind, name, _noted_by(original, noted, argument, at))
    try:
        yield noted
    finally:
        setattr(kind, name, original) if own else delattr(kind, name)


def _noted_by(original: Callable[..., Any], noted: list[Any], argument: str, at: int) -> Callable[..., Any]:
    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        noted.append(kwargs[argument] if argument in kwargs else args[at] if len(args) > at else None)
        return original(self, *args, **kwargs)

    return noting


def _record(run: Run, entry: CallRecord, mask: Bools, weights: NDArray[np.float64]) -> AttentionMask:
    call = run.calls_of[entry.index]
    queries, keys = _truths(run, entry)
    seen: Bools = np.logical_or.reduce(mask, axis=1)
    return AttentionMask(
        call=call.call,
        type=call.type,
        mask=seen,
        weights=weights.mean(axis=1).astype(np.float32),
        heads=weights.shape[1],
        causal=_is_causal(entry),
        queries=queries,
        keys=keys,
        to_padding=_to_padding(weights, queries, keys),
    )


def _is_causal(entry: CallRecord) -> bool:
    names = list_parameters(type(entry.operation).call)
    return bool({**dict(zip(names, entry.args, strict=False)), **entry.kwargs}.get(CAUSAL))


def _truths(run: Run, entry: CallRecord) -> tuple[Bools | None, Bools | None]:
    """Return which queries and which keys are no padding: those of the first tensor, and of the second."""
    known = [run.flow.valid.get(id(tensor)) for tensor in entry.inputs[:2]]
    return known[0] if known else None, known[1] if len(known) > 1 else None


def _to_padding(weights: NDArray[np.float64], queries: Bools | None, keys: Bools | None) -> float | None:
    if queries is None or keys is None:
        return None
    given = np.where(keys[:, None, None, :], 0.0, weights).sum(axis=-1)
    of_valid = given[np.broadcast_to(queries[:, None, :], given.shape)]
    return float(of_valid.max(initial=0.0))
