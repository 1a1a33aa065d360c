"""A later timestep changes an earlier output of a causal model.

A model that predicts the next token, or runs on a stream, must not look ahead. If it does, it reads the answer in
training: the loss falls, and the model is useless afterwards. The mask can be lost silently, for example in a layer
that passes `use_causal_mask` in only one of its branches. maskcli replaces one timestep after another and compares the
outputs before it. The fact is shown for each model. It is a finding if the model is meant to be causal: with
`--causal`, `--targets shift` or `assert_causal`, if a layer was called with `use_causal_mask=True` in vain, or, as a
warning, if at least half of the attention calls are causal and some are not.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(tokens, keras.layers.Dense(10)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
    options = {"causal": True}

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True)
    model = keras.Model(tokens, keras.layers.Dense(10)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
    options = {"causal": True}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import FutureEffect, ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.base import locate, make_finding
from maskcli.rules.blame import name_call, name_output

CODE = "MSK117"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the calls at which a later timestep reaches an earlier result, if the model is meant to be causal."""
    reported: set[str | None] = set()
    for effect in model.future:
        if effect.meant_causal is None:
            continue
        if effect.looks_ahead is None:
            yield _report_unknown(model, effect)
        elif effect.looks_ahead:
            for path in effect.calls or (None,):
                if path not in reported:
                    reported.add(path)
                    yield _report_call(model, effect, path)


def _report_call(model: ModelEvidence, effect: FutureEffect, path: str | None) -> Finding:
    call = model.call(path)
    subject = path or f"{model.name} ({model.type})"
    if call is not None:
        subject = name_call(call)
    place = f"timestep {effect.by_timestep} changes timestep {effect.timestep} of sample {effect.sample}"
    if effect.block > 1:
        place = f"timesteps from {effect.by_timestep} change timestep {effect.timestep} of sample {effect.sample}"
    output = f" in {name_output(model, effect.output)}" if len(model.outputs) > 1 else ""
    finding = make_finding(
        __name__,
        **locate(call, model),
        message=f"{subject} lets later timesteps into earlier results: {place}{output} by "
        f"{effect.max_abs_change:.3g}. {describe_intent(effect)}",
        fix=_suggest_fix(call),
        max_abs_change=effect.max_abs_change,
        tolerance=effect.tolerance,
        sample=effect.sample,
        timestep=effect.timestep,
        by_timestep=effect.by_timestep,
        output=effect.output,
        meant_causal=effect.meant_causal,
    )
    # A request that is not met is an error; a model that only resembles causal ones may be right.
    return finding if effect.requested else dataclasses.replace(finding, severity="warning")


def _report_unknown(model: ModelEvidence, effect: FutureEffect) -> Finding:
    output = f"{name_output(model, effect.output)}: " if effect.output and len(model.outputs) > 1 else ""
    finding = make_finding(
        __name__,
        **locate(None, model),
        message=f"{output}it is not proved that no later timestep changes an earlier result: {effect.why}.",
        fix="Check a model whose outputs have the timesteps of its input, on data with rows of several timesteps.",
        meant_causal=effect.meant_causal,
    )
    return dataclasses.replace(finding, severity="warning")


def describe_intent(effect: FutureEffect) -> str:
    """Return why the model is meant to be causal, as a sentence."""
    if effect.requested:
        return f"The model is meant to be causal ({effect.meant_causal})."
    return f"The model seems to be causal: {effect.meant_causal}."


def _suggest_fix(call: Call | None) -> str:
    """Return advice for a kind of call."""
    if call is not None and "Attention" in call.type:
        return (
            "Not tried: call it with `use_causal_mask=True`. If it is, pass the mask yourself: "
            "`attention_mask=keras.ops.tril(keras.ops.ones((1, timesteps, timesteps), dtype='bool'))`."
        )
    if call is not None and "Conv" in call.type:
        return 'Not tried: set `padding="causal"`, which pads before the first timestep only.'
    if call is not None and call.type == "Bidirectional":
        return "Not tried: use the forward layer by itself, without `Bidirectional`."
    return (
        "Not tried: let each timestep depend on itself and earlier ones only: a causal mask for attention, "
        '`padding="causal"` for convolutions, a cumulative sum for a mean over all timesteps.'
    )
