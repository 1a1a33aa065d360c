"""Attention masks: do they hide the padded keys, and only these?

A mask is judged by its effect on all pairs of a query and a key, together with the other masks of the same call: if no
valid query may attend to a padded key, the masks are right, however they are made. Otherwise the mask is compared with
those that known mistakes make of the padding. A mask that equals none of them is left to the probes of leaks. A mask
that marks the right keys may still be too weak: it adds -1 to their scores, or multiplies these by 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.records.evidence import AttentionFault, AttentionFaultKind
from maskcli.records.leak import Leak
from maskcli.trace.attention import attends, read_layer_mask
from maskcli.trace.recorder import PAIR_MASK, CallRecord, has_own_code
from maskcli.trace.scores import WeakMask, find_attention_scores, find_neighbours, find_weak_masks, join_heads


@dataclasses.dataclass(frozen=True, eq=False)
class _Attention:
    """A call that attends.

    Attributes:
        entry: the call.
        around: the operations that compute attention with it; only the call itself for a layer of Keras.
        allowed: ``(batch, queries, keys)``, True where all masks of the call together leave a pair open.
        reach: the same, with the pairs of queries that have no open key but attend in spite of that.
        masks: single masks among these, each of the shape of ``allowed``, with the shape in which it was passed.
        queries: ``(batch, queries)``, True at valid queries.
        keys: ``(batch, keys)``, True at valid keys.
    """

    entry: CallRecord
    around: list[CallRecord]
    allowed: Bools
    reach: Bools
    masks: list[tuple[Bools, tuple[int, ...]]]
    queries: Bools
    keys: Bools


def find_attention_faults(context: ProbeContext, leak: Leak) -> Iterator[AttentionFault]:
    """Yield the attention masks that leave padded keys open to valid queries, each with the kind of mistake.

    Calls that receive the very same mask are one fault, that of the first of them.
    """
    faults: dict[tuple[str, str], AttentionFault] = {}
    masks: dict[tuple[Any, ...], tuple[str, str]] = {}
    for attention in _list_attention(context):
        fault = _judge(attention, context)
        if fault is None or _is_harmless(fault, leak):
            continue
        pairs = attention.masks[0][0]
        first = masks.setdefault((fault.kind, pairs.shape, pairs.tobytes()), (fault.call, fault.kind))
        if first not in faults:
            faults[first] = fault
        elif fault.call not in (first[0], *faults[first].also):
            also, calls = (*faults[first].also, fault.call), (*faults[first].calls, *fault.calls)
            faults[first] = dataclasses.replace(faults[first], also=also, calls=calls)
    weak = (_judge_weak(mask, context) for mask in find_weak_masks(context.base, context.flow) if leak.leaks)
    for fault in filter(None, weak):
        faults.setdefault((fault.call, fault.kind), fault)
    yield from faults.values()


def _is_harmless(fault: AttentionFault, leak: Leak) -> bool:
    """Return whether the probes prove that the open pairs matter to no result, and no valid pair is closed."""
    return leak.verdict == "clean" and (fault.closed_to_valid == 0 or fault.kind == "wrong-input")


def _list_attention(context: ProbeContext) -> Iterator[_Attention]:
    scores = {id(attended.entry): attended for attended in find_attention_scores(context.base, context.flow)}
    for entry in context.base.ended:
        at = scores.get(id(entry))
        keys = None if at is None else _join_cells(at.keys)
        if at is not None and keys is not None and keys.shape == (at.allowed.shape[0], at.allowed.shape[2]):
            shape = entry.inputs[0].shape if at.mask is None else at.mask.shape
            yield _Attention(
                entry,
                find_neighbours(entry, context.base, context.flow),
                at.allowed,
                _find_reach(at.allowed, at.attended),
                [(at.allowed, tuple(map(int, shape)))],
                _fill_queries(at.queries, at.allowed),
                keys,
            )
        elif attends(entry) and entry.returned and not has_own_code(entry.operation):
            yield from _read_layer(entry, context)


def _read_layer(entry: CallRecord, context: ProbeContext) -> Iterator[_Attention]:
    """Yield the masks of a layer of Keras, unless it has none or the validity of its keys is unknown."""
    at = read_layer_mask(entry, context.flow)
    keys = None if at is None else _join_cells(at.keys)
    if at is None or keys is None or at.allowed.all():
        return
    if set(entry.mask_values) == {"query_mask"}:
        return  # Keras closes padded queries by itself. No mask of keys came that could be wrong.
    allowed = at.allowed
    if keys.shape != (allowed.shape[0], allowed.shape[2]):
        return
    masks = [
        (pairs, tuple(mask.shape))
        for mask in entry.mask_values.get(PAIR_MASK, [])
        if mask is not None and (pairs := _spread(mask, allowed.shape)) is not None
    ]
    masks.append((allowed, allowed.shape))
    reach = _find_reach(allowed, at.attended)
    yield _Attention(entry, [entry], allowed, reach, masks, _fill_queries(at.queries, allowed), keys)


def _find_reach(allowed: Bools, attended: Bools) -> Bools:
    """Return the open pairs, and those of queries without an open key whose weights are not 0 in spite of that.

    A softmax of equal scores, all of them very negative, attends to every key alike.
    """
    return np.asarray(allowed | (attended & ~allowed.any(axis=2, keepdims=True)))


def _fill_queries(queries: Bools | None, allowed: Bools) -> Bools:
    """Return the validity of queries, all of which are valid where they are not timesteps of the data."""
    queries = _join_cells(queries)
    if queries is None or queries.shape != allowed.shape[:2]:
        return np.ones(allowed.shape[:2], bool)
    return queries


def _join_cells(valid: Bools | None) -> Bools | None:
    """Return ``(batch, timesteps)``: a timestep with padding inside, such as a sentence, is valid if any of it is."""
    if valid is None or valid.ndim < 3:
        return valid
    return np.asarray(valid.reshape(*valid.shape[:2], -1).any(axis=2))


def _spread(mask: Bools, shape: tuple[int, ...]) -> Bools | None:
    """Return a mask ``(batch, queries, keys)``, as Keras spreads one of fewer axes, or joined over heads."""
    joined = join_heads(mask, mask.shape[0]) if mask.ndim > 3 else mask
    try:
        return None if joined is None else np.broadcast_to(joined, shape)
    except ValueError:
        return None


def _judge(attention: _Attention, context: ProbeContext) -> AttentionFault | None:
    """Return the fault of a call; None if its masks hide the padded keys from valid queries, in effect."""
    keys = attention.keys
    wanted = attention.queries[:, :, None] & context.relevant[:, None, None]
    to_padding = attention.reach & wanted & ~keys[:, None, :]
    closed = wanted & keys[:, None, :] & ~attention.allowed
    if keys.all() or not (to_padding.any() or closed.any()):
        return None
    for pairs, shape in attention.masks:
        kind, mask_of = _classify(pairs, attention, context)
        # These two close valid pairs, which is wrong even where another mask of the call hides the padded keys.
        if kind is None or not (to_padding.any() or kind in ("inverted", "along-queries")):
            continue
        names = [_name(call, context) for call in attention.around]
        return AttentionFault(
            call=_name(attention.entry, context),
            type=attention.entry.type,
            kind=kind,
            shape=shape,
            open_to_padding=int(to_padding.sum()),
            closed_to_valid=int((closed & _spread_offsets(pairs)).sum()),
            pairs=int((wanted & keys[:, None, :]).sum()),
            mask_of=mask_of,
            calls=tuple(dict.fromkeys(names)),
        )
    return None


def _judge_weak(mask: WeakMask, context: ProbeContext) -> AttentionFault | None:
    """Return the fault of a mask that marks the padded keys, which keep weight in spite of it; None for others."""
    keys = _join_cells(mask.keys)
    if keys is None or keys.shape != (mask.lowered.shape[0], mask.lowered.shape[2]) or keys.all():
        return None
    queries = _fill_queries(mask.queries, mask.lowered)
    wanted = queries[:, :, None] & context.relevant[:, None, None]
    to_padding = mask.attended & wanted & ~keys[:, None, :]
    if not to_padding.any() or (wanted & (mask.lowered != ~keys[:, None, :])).any():
        return None
    names = [_name(call, context) for call in find_neighbours(mask.entry, context.base, context.flow)]
    return AttentionFault(
        call=_name(mask.entry, context),
        type=mask.entry.type,
        kind="too-weak",
        shape=mask.shape,
        open_to_padding=int(to_padding.sum()),
        closed_to_valid=0,
        pairs=int((wanted & keys[:, None, :]).sum()),
        calls=tuple(dict.fromkeys(names)),
        added=mask.value,
    )


def _spread_offsets(pairs: Bools) -> Bools:
    """Return ``(1, queries, keys)``: the pairs whose distance is open somewhere, as a causal mask or a window has it.

    All pairs of one distance are open or closed alike in such masks, in contrast to masks of padding.
    """
    queries, keys = pairs.shape[1:]
    distance = np.arange(queries)[:, None] - np.arange(keys)[None, :]
    is_open = np.isin(distance, np.unique(distance[pairs.any(axis=0)]))
    return is_open[None]


def _classify(
    pairs: Bools, attention: _Attention, context: ProbeContext
) -> tuple[AttentionFaultKind | None, str | None]:
    """Return the kind of mistake that makes exactly this mask of the padding, and the input of a wrong mask.

    The kind is None if the mask is right, or equals none of the known mistakes.
    """
    for kind, mask_of, pattern in _list_patterns(attention, context):
        if _equals_pattern(pairs, pattern, context.relevant):
            return kind, mask_of
        # A mask may also be inverted after a causal mask was put into it.
        if kind is None and not pattern.all() and _equals_pattern(~pairs, pattern, context.relevant):
            return "inverted", None
    return None, None


def _equals_pattern(pairs: Bools, pattern: Bools, relevant: Bools) -> bool:
    return _is_equal(pairs, np.broadcast_to(pattern, pairs.shape) & _spread_offsets(pairs), relevant)


def _list_patterns(
    attention: _Attention, context: ProbeContext
) -> Iterator[tuple[AttentionFaultKind | None, str | None, Bools]]:
    """Yield the masks that can be made of the padding, each with its kind of mistake: first the right ones."""
    keys, queries = attention.keys[:, None, :], attention.queries[:, :, None]
    for right in (np.ones_like(keys), keys, keys & queries):
        yield None, None, right
    for inverted in (~keys, ~keys & queries, ~(keys & queries)):
        yield "inverted", None, inverted
    if attention.keys.shape == attention.allowed.shape[1:]:
        yield "along-queries", None, attention.keys[None]
        yield "along-queries", None, ~attention.keys[None]
    if not queries.all():
        yield "hides-queries", None, queries
        yield "hides-queries", None, ~queries
    for model_input in context.with_timesteps:
        valid = model_input.valid
        if valid is not None and valid.shape == attention.keys.shape and not np.array_equal(valid, attention.keys):
            yield "wrong-input", model_input.name, valid[:, None, :]
            yield "wrong-input", model_input.name, valid[:, None, :] & queries


def _is_equal(pairs: Bools, pattern: Bools, relevant: Bools) -> bool:
    """Return whether two masks are equal in the rows that count, apart from each timestep's view of itself."""
    differ = (pairs != pattern)[relevant]
    if not differ.any():
        return True
    if pairs.shape[1] != pairs.shape[2]:
        return False
    # Some models let every timestep see itself, padded or not, so that no row of scores is closed altogether.
    itself = np.eye(pairs.shape[1], dtype=bool)
    return bool(pairs[relevant][:, itself].all()) and not (differ & ~itself).any()


def _name(entry: CallRecord, context: ProbeContext) -> str:
    """Return the path of a call; of an operation in code of one's own, that of the layer with this code."""
    names = context.trace.names
    at: CallRecord | None = entry
    while at is not None and at.index not in names:
        at = at.parent
    return "" if at is None else names[at.index]
