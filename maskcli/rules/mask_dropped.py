"""A layer, a merge or an operator drops the mask.

A mask is an attribute of the tensor. A layer that does not support masking, an operator such as `x * 2`, and an `Add`
with one unmasked input return a tensor without a mask. Keras warns about some of these and is silent about the rest.
Every layer after that call computes with padding as if it were data, and the loss counts padding. The finding names the
call that drops the mask; its numbers show how much padding then changes the results.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = x * 2.0
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    class Twice(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs):
            return inputs * 2.0

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = Twice()(x)
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from maskcli.records.arrays import Bools
from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence, OutputEvidence
from maskcli.records.trace import Call
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import (
    compute_largest_change,
    describe_change,
    describe_probed_rows,
    find_blames,
    find_losing_call,
    find_suspects,
    name_call,
    name_output,
)
from maskcli.rules.fixes import suggest_fix

CODE = "MSK101"
SEVERITY = "error"

ATTENTION = ("GroupQueryAttention", "GroupedQueryAttention", "MultiHeadAttention")
"""Layers that take the mask off their inputs."""


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the calls that drop a mask which a result or a loss needs."""
    reported: set[str] = set()
    for cause in find_blames(model):
        call, at = cause.culprit, cause.at
        if cause.kind == "dropped" and call is not None and at is not None and call.call not in reported:
            reported.add(call.call)
            yield _report_leak(model, call, at)
    for cause in find_suspects(model):
        if cause.kind == "dropped" and cause.culprit is not None and cause.at is not None:
            reported.add(cause.culprit.call)
            yield dataclasses.replace(_report_suspect(model, cause.culprit, cause.at), severity="warning")
    for output in model.outputs:
        call = find_losing_call(model, output.lost_at)
        if call is None or call.call in reported or output.lost_mask is None or output.lost_mask.all():
            continue
        if _needs_no_mask(model, output):
            continue
        reported.add(call.call)
        finding = _report_output(model, call, output, output.lost_mask)
        yield finding if model.losses else dataclasses.replace(finding, severity="warning")


def _needs_no_mask(model: ModelEvidence, output: OutputEvidence) -> bool:
    """Return whether the loss of an output leaves padding out without its mask."""
    if not model.losses:  # The targets of probabilities of timesteps are likely one timestep of each row.
        return output.is_distribution
    return any(loss.output == output.name and loss.leaves_out for loss in model.losses)


def _report_leak(model: ModelEvidence, call: Call, at: Call) -> Finding:
    """Return the finding for ``call``, because of which padding enters at the call ``at``."""
    entry = "" if at.call == call.call else f"enters at {name_call(at)} and "
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{_describe_drop(model, call, at.lost_again, at)} As a result padding {entry}changes results "
        f"{describe_change(model, at)}.",
        fix=suggest_fix(model, call, at),
        max_abs_change=compute_largest_change(model, at),
        lost_after=call.mask_from if _find_taker(model, at) is None else at.lost_after,
        lost_again=list(at.lost_again),
        enters_at=at.call,
        keras_warned=call.warning is not None,
    )


def _report_suspect(model: ModelEvidence, call: Call, at: Call) -> Finding:
    """Return the finding for ``call``, which lost the mask that ``at`` needs, if no probe could measure the effect."""
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{_describe_drop(model, call, at.lost_again, at)} As a result {name_call(at)} "
        "computes without it. No probe could show whether padding then changes results.",
        fix=suggest_fix(model, call, at),
        lost_after=call.mask_from if _find_taker(model, at) is None else at.lost_after,
        lost_again=list(at.lost_again),
        enters_at=at.call,
        keras_warned=call.warning is not None,
    )


def _report_output(model: ModelEvidence, call: Call, output: OutputEvidence, mask: Bools) -> Finding:
    """Return the finding for ``call``, because of which an output carries no mask."""
    masked = int((~mask).sum())
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{_describe_drop(model, call, output.lost_again)} As a result {name_output(model, output.name)} "
        f"carries no mask, and a loss counts {format_count(masked, 'masked timestep')} of {mask.size:,}"
        f"{describe_probed_rows(model)}.",
        fix=suggest_fix(model, call, None),
        lost_after=call.mask_from,
        lost_again=list(output.lost_again),
        output=output.name,
        masked_timesteps=masked,
        timesteps=mask.size,
        keras_warned=call.warning is not None,
    )


def _describe_drop(model: ModelEvidence, call: Call, again: Sequence[str], at: Call | None = None) -> str:
    """Return the call that lost the mask, the last call that had it, and later ones that would lose it ``again``.

    Attention in Keras takes the mask off the tensors that it receives, and its result carries it.
    """
    taker = None if at is None else _find_taker(model, at)
    if at is not None and taker is not None:
        masked = model.call(at.lost_after)
        source = "an input" if masked is None else f"the result of {name_call(masked)}"
        where = "" if taker.call == call.call else f", at {taker.call.rpartition('/')[2]} in its code,"
        text = f"{name_call(call)}{where} takes the mask off {source}, which later calls then receive without it."
    else:
        last = model.call(call.mask_from)
        source = "" if last is None else f" from {name_call(last)}"
        text = f"{name_call(call)} drops the mask{source}{_describe_unmasked_inputs(call)}."
    names = [name_call(later) for later in map(model.call, again) if later is not None]
    return f"{text} {', '.join(names)} would drop it again." if names else text


def _find_taker(model: ModelEvidence, at: Call) -> Call | None:
    """Return the attention that took the mask off a tensor before a call received it; None if no call did."""
    taker = model.call(at.lost_at)
    if taker is None or not taker.takes_off:
        return None
    # Its result carries the mask of the queries, if they have one.
    return taker if taker.type in ATTENTION or any(mask is not None for mask in taker.masks_out) else None


def _describe_unmasked_inputs(call: Call) -> str:
    """Return which inputs of a merge have no mask, if only some have none."""
    rank = max(map(len, call.shapes_in), default=0)
    # Inputs of a lower rank, such as a scale, have no timesteps and need no mask.
    masks = [mask for mask, shape in zip(call.masks_in, call.shapes_in, strict=True) if len(shape) == rank]
    unmasked = [str(index) for index, mask in enumerate(masks) if mask is None]
    if not unmasked or len(unmasked) == len(masks):
        return ""
    if len(unmasked) == 1:
        return f": input {unmasked[0]} (0-based) has no mask"
    return f": inputs {', '.join(unmasked)} (0-based) have no mask"
