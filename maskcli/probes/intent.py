"""Infer from a model whether it is meant to be causal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskcli.probes.context import ProbeContext
from maskcli.probes.future_matrix import OutputPair, measure_by_feature
from maskcli.records.arrays import Bools
from maskcli.trace.attention import CAUSAL
from maskcli.trace.recorder import CallRecord, has_own_code, is_attention, list_parameters
from maskcli.trace.rerun import rerun_call
from maskcli.trace.values import as_float64, get_ulp, is_float


@dataclasses.dataclass(frozen=True)
class Intent:
    """Why a model is meant to be causal, and whether its author states that or maskcli infers it."""

    reason: str
    requested: bool


def may_be_causal(context: ProbeContext, valid: Bools) -> bool:
    """Return whether anything indicates that a model is meant to be causal, whichever calls look at later timesteps."""
    if any(requests_causality(entry) for entry in context.base.entries):
        return True
    attention = (entry for entry in _list_attention(context) if _is_among(context, entry, valid))
    return any(_is_causal(context, entry) for entry in attention)


def infer_intent(context: ProbeContext, culprits: Sequence[CallRecord], valid: Bools) -> Intent | None:
    """Return why a model is meant to be causal, though a later timestep changes an earlier result at some calls.

    Returns None if nothing indicates that: no call at fault is called with ``use_causal_mask=True``, and more than half
    of the attention calls look at later timesteps too.

    Args:
        context: the probed run.
        culprits: the calls at which a later timestep reaches an earlier result.
        valid: the validity of the output; attention among other timesteps, as in the encoder of a decoder, does not
            count.
    """
    around = [entry for culprit in culprits for entry in (culprit, *culprit.parents[:-1])]
    for entry in around:
        if requests_causality(entry):
            name = context.trace.names.get(entry.index) or entry.type
            return Intent(f"{name} is called with `{CAUSAL}=True`", requested=True)
    causal: list[CallRecord] = []
    looking: list[CallRecord] = []
    for entry in _list_attention(context):
        if not _is_among(context, entry, valid):
            continue
        answer = _is_causal(context, entry)
        if answer is not None:
            (causal if answer else looking).append(entry)
    at_fault = {entry.index for entry in around}
    if not any(entry.index in at_fault for entry in looking) or len(causal) < len(looking):
        return None
    verb = "is" if len(causal) == 1 else "are"
    return Intent(f"{len(causal)} of its {len(causal) + len(looking)} attention calls {verb} causal", requested=False)


def requests_causality(entry: CallRecord) -> bool:
    """Return whether a layer is called with ``use_causal_mask=True``."""
    if entry.code or entry.parent is None:
        return False
    names = list_parameters(type(entry.operation).call)
    return {**dict(zip(names, entry.args, strict=False)), **entry.kwargs}.get(CAUSAL) is True


def _list_attention(context: ProbeContext) -> list[CallRecord]:
    """Return the calls in which timesteps attend to others of the same input, in execution order.

    These are the attention layers of Keras, and the user's own layers that compute a softmax of scores of all pairs of
    timesteps.
    """
    import keras

    calls: dict[int, CallRecord] = {}
    for entry in context.base.entries:
        if is_attention(entry):
            calls.setdefault(entry.index, entry)
        elif entry.type == "Softmax" and entry.outputs and _pairs_timesteps(context, tuple(entry.outputs[0].shape)):
            owner = entry.parent
            if owner is not None and not isinstance(owner.operation, keras.Model) and has_own_code(owner.operation):
                calls.setdefault(owner.index, owner)
    inside = {parent.index for entry in calls.values() for parent in entry.parents[:-1]}
    return [entry for index, entry in sorted(calls.items()) if index not in inside]


def _pairs_timesteps(context: ProbeContext, shape: tuple[int, ...]) -> bool:
    return (
        len(shape) > 2
        and shape[-1] == shape[-2]
        and any(
            model_input.valid is not None and model_input.valid.shape[1] == shape[-1] for model_input in context.inputs
        )
    )


def _is_among(context: ProbeContext, entry: CallRecord, valid: Bools) -> bool:
    """Return whether the result of a call has the timesteps of the output, as far as these were followed."""
    if not any(valid is truth for truth in context.flow.truths):
        return True
    known = [context.flow.valid[id(tensor)] for tensor in entry.outputs if id(tensor) in context.flow.valid]
    return any(other is valid for other in known)


def _is_causal(context: ProbeContext, entry: CallRecord) -> bool | None:
    """Return whether the earlier results of a call stay the same with other values at later timesteps.

    Returns None if that cannot be tried, or if the call pairs timesteps of several inputs.
    """
    validity = [context.flow.valid[id(x)] for x in entry.inputs if is_float(x) and id(x) in context.flow.valid]
    outputs = [x for x in entry.outputs if id(x) in context.flow.valid and is_float(x)]
    if not validity or not outputs or any(valid is not validity[0] for valid in validity):
        return None
    timesteps = validity[0].shape[1]
    start = timesteps // 2
    earlier = np.arange(timesteps) < start
    keep = np.broadcast_to(earlier, validity[0].shape)
    again = rerun_call(
        entry,
        {id(x): keep for x in entry.inputs if is_float(x) and id(x) in context.flow.valid},
        np.random.default_rng(9),
    )
    counts: Bools = context.flow.valid[id(outputs[0])] & context.relevant[:, None] & earlier
    if not again or not counts.any() or tuple(again[0].shape) != tuple(entry.outputs[0].shape):
        return None
    pair = OutputPair(as_float64(entry.outputs[0]), as_float64(again[0]))
    change, tolerance = measure_by_feature(pair, counts, get_ulp(entry.outputs[0]), 0.0)
    return not bool((change > tolerance)[counts].any())
