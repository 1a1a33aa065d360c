"""The compiled model computes something else than the eager one.

`fit`, `evaluate` and `predict` compile the model, and a call such as `model(x)` runs it step by step. Code that looks
at values, or at the kind of its tensors, may take another path when it is compiled. On JAX, masks can be lost: Keras
keeps them by the identity of an array, and an operation such as `keras.ops.stop_gradient` returns the same array
eagerly, but another one in a compiled function. What you see in a notebook is then not what is trained. The rows are
compared as a batch, and each by itself, which may take another path.

`TimeDistributed` has a fault in some versions of Keras: compiled for any number of timesteps, it returns as many as
there are rows. That is shown as a fact, because it is no fault of the model.

Bad::

    import keras
    import numpy as np

    class Scale(keras.layers.Layer):
        def call(self, x):
            try:
                largest = np.abs(np.asarray(x)).max()
            except Exception:
                return x
            return x * 2.0 if largest < 1.0 else x

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = Scale()(keras.layers.Embedding(10, 4)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6, 7, 8]]

Good::

    import keras

    class Scale(keras.layers.Layer):
        def call(self, x):
            return x * 2.0

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = Scale()(keras.layers.Embedding(10, 4)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6, 7, 8]]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import CompiledDifference, ModelEvidence
from maskcli.records.trace import Call
from maskcli.records.wording import choose_form, list_names
from maskcli.rules.base import locate, make_finding
from maskcli.rules.blame import name_call, name_output

CODE = "MSK402"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the difference of the compiled model, and the layers of Keras that count timesteps wrongly there."""
    if model.miscounting:
        yield _report_miscounting(model)
    difference = model.compiled
    if difference is None:
        return
    call = model.call(difference.first_call)
    yield make_finding(
        __name__,
        **locate(call, model),
        message=f"{_describe_cause(model, difference, call)} {_describe_place(model, difference)} "
        f"{_describe_change(difference)} {_describe_function(difference)}.",
        fix=_suggest_fix(call),
        max_abs_change=difference.max_abs_change,
        tolerance=difference.tolerance,
        sample=difference.sample,
        timestep=difference.timestep,
        output=difference.output,
        has_mask=difference.has_mask,
        alone=difference.alone,
        only_any_shape=difference.only_any_shape,
    )


def _report_miscounting(model: ModelEvidence) -> Finding:
    """Return the finding of ``TimeDistributed`` layers: a fault of Keras, which the model need not answer for."""
    call, names = model.call(model.miscounting[0]), list_names(model.miscounting)
    verb = choose_form(len(model.miscounting), "returns", "return")
    finding = make_finding(
        __name__,
        **locate(call, model),
        message=f"In a function that is compiled for any number of timesteps, {names} {verb} as many timesteps as "
        "there are rows: a fault of TimeDistributed in this version of Keras. So fit and predict fail, or return a "
        "wrong shape, once a batch has another number of timesteps than the first one. The verdict on padding does not "
        "depend on it.",
        fix="Not tried: pad all batches to one length. A `Dense` needs no `TimeDistributed`: it treats each timestep "
        "by itself anyway.",
        calls=list(model.miscounting),
    )
    return dataclasses.replace(finding, severity="info")


def _describe_cause(model: ModelEvidence, difference: CompiledDifference, call: Call | None) -> str:
    if call is None:
        return f"{model.name} ({model.type}) computes something else when it is compiled."
    when = "only when it runs eagerly" if difference.has_mask else "only in a compiled function"
    return f"{name_call(call)} receives a mask {when}."


def _describe_place(model: ModelEvidence, difference: CompiledDifference) -> str:
    """Return the result that differs most: ``Sample 1 by itself, timestep 2 of output tags``."""
    place = f"Sample {difference.sample}" + (" by itself" if difference.alone else "")
    if difference.timestep is not None:
        place += f", timestep {difference.timestep}"
    return place if len(model.outputs) < 2 else f"{place} of {name_output(model, difference.output)}"


def _describe_change(difference: CompiledDifference) -> str:
    if difference.shapes is not None:
        return f"has the shape {difference.shapes[1]} instead of {difference.shapes[0]}"
    return f"differs by {difference.max_abs_change:.3g}"


def _describe_function(difference: CompiledDifference) -> str:
    if "predict" not in difference.steps:
        return "where JAX differentiates the model, as fit does"
    if difference.only_any_shape:
        return "in a function that is compiled for batches of any size, as fit and predict do"
    return "in a compiled function, which fit and predict run"


def _suggest_fix(call: Call | None) -> str:
    if call is None:
        return (
            "Not tried: leave out code that looks at values or at the kind of its tensors, and use `keras.ops.where` "
            "or `keras.ops.cond`."
        )
    return f"Not tried: pass the mask in the call, `{call.call.rpartition('/')[2]}(..., mask=mask)`."
