"""The mask is lost on the way, at a layer, a merge or an operator that returns none.

A mask travels as an attribute of the tensor. A layer that does not support masking, a plain operator such as `x * 2`,
and an `Add` of which one input has no mask all return a tensor without it. Keras warns of some of these and is silent
about the others. Every layer behind that call computes with padding as if it were data, and a loss counts it. The call
named is the one that loses the mask; the numbers show what padding then changes.

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
from collections.abc import Iterator
from typing import Literal

from maskcli.records.arrays import Bools
from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import (
    Blame,
    describe_change,
    describe_largest_change,
    find_blames,
    find_losing_call,
    name_call,
    name_output,
)
from maskcli.rules.fixes import suggest_fix

CODE = "MSK101"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the calls that lose a mask which a result or a loss would have needed."""
    model = examination.model
    if model is None:
        return
    told: set[str] = set()
    for cause in find_blames(model):
        if cause.kind == "dropped" and cause.culprit is not None and cause.culprit.call not in told:
            told.add(cause.culprit.call)
            yield _of_leak(model, cause, cause.culprit)
    for output in model.outputs:
        call = find_losing_call(model, output.lost_at)
        if call is None or call.call in told or output.lost_mask is None or output.lost_mask.all():
            continue
        if any(loss.output == output.name and loss.leaves_out for loss in model.losses):
            continue  # The loss was tried, and leaves padding out by itself.
        told.add(call.call)
        found = _of_output(model, call, output.name, output.lost_mask)
        yield found if model.losses else dataclasses.replace(found, severity="warning")


def _of_leak(model: ModelEvidence, cause: Blame, call: Call) -> Finding:
    at = cause.at
    assert at is not None  # noqa: S101 - a leak was blamed
    where = "" if at.call == call.call else f" at {name_call(at)}"
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{_loses(model, call)}. Padding then changes results{where} {describe_change(model, at)}.",
        fix=suggest_fix(model, call, at),
        max_abs_change=describe_largest_change(model, at),
        lost_after=call.mask_from,
        enters_at=at.call,
        keras_warned=call.warning is not None,
    )


def _loses(model: ModelEvidence, call: Call) -> str:
    """Return that a call loses the mask, which call had it last, and what inputs of a merge lack it."""
    last = model.call(call.mask_from)
    still = "" if last is None else f", which {name_call(last)} still had"
    return f"{name_call(call)} loses the mask{still}{_had(call)}"


def _had(call: Call) -> str:
    """Return which inputs of a merge have no mask, where others have one."""
    deep = max(map(len, call.shapes_in), default=0)
    merged = [mask for mask, shape in zip(call.masks_in, call.shapes_in, strict=True) if len(shape) == deep]
    without = [str(index) for index, mask in enumerate(merged) if mask is None]
    if not without or len(without) == len(merged):
        return ""
    return f": of its {len(merged)} inputs, number {', '.join(without)} (from 0) has none"


def _of_output(model: ModelEvidence, call: Call, name: str, mask: Bools) -> Finding:
    masked = int((~mask).sum())
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{_loses(model, call)}. So {name_output(model, name)} goes out without one, and a loss counts "
        f"{pluralize(masked, 'masked timestep')} of {mask.size:,}.",
        fix=suggest_fix(model, call, None),
        lost_after=call.mask_from,
        output=name,
        masked_timesteps=masked,
        timesteps=mask.size,
        keras_warned=call.warning is not None,
    )
