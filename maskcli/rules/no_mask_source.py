"""The data is padded but the model has no mask.

Without `mask_zero=True`, a `Masking` layer or an explicit `mask=`, padding is treated as data. An LSTM runs through
padding and forgets its input, pooling averages padding, attention looks at it, and the loss counts it. If the targets
are 0 at padding, the reported loss is too low.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4)(tokens)
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import INPUT, ModelEvidence
from maskcli.records.trace import Call
from maskcli.records.wording import format_count, format_padding
from maskcli.rules.base import make_finding
from maskcli.rules.blame import (
    compute_largest_change,
    describe_change,
    describe_probed_rows,
    find_blames,
    has_mask,
    name_call,
)

CODE = "MSK104"
SEVERITY = "error"

FIX = (
    "Use `Embedding(..., mask_zero=True)` for ids padded with 0, `keras.layers.Masking(0.0)` before features, or "
    "`layer(x, mask=mask)`."
)
FIX_FEATURES = "Use `keras.layers.Masking(0.0)` before features, or pass a mask, `layer(x, mask=mask)`."
FIX_LATE = (
    "The mask that `{source}` makes does not reach `{call}`: pass it where the layer takes one, "
    "`layer(x, mask={source}.compute_mask(...))`, or else leave padding out of its computation."
)
FIX_VALUE = (
    "Use `keras.layers.Masking({value:.9g})` before features. An Embedding masks only id 0: for ids, pass the mask, "
    "`layer(x, mask=keras.ops.not_equal(ids, {value:.9g}))`, or pad them with an id 0 that no token has."
)
FIX_NAN = (
    "Fill NaN in the data with a value below all others, such as -1 in `np.where(np.isnan(x), -1, x)`, and use "
    "`keras.layers.Masking(-1)` before features."
)
FIX_INSIDE = (
    "Let the model inside of TimeDistributed make a mask for its own layers: `Embedding(..., mask_zero=True)` for ids "
    "padded with 0, `keras.layers.Masking(0.0)` before features."
)


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield padding that enters a result, or that a loss counts, if no call before it creates a mask."""
    if model.leak is None:
        return
    causes = find_blames(model)
    for cause in causes:
        at = cause.at
        if cause.kind == "no-source" and at is not None:
            effect = f"Padding enters at {name_call(at)} and changes results {describe_change(model, at)}."
            yield _report_padding(model, effect, at)
    # MSK301 reports a loss whose values were measured.
    counting = [loss for loss in model.losses if loss.counted_padding and loss.reported is None and loss.error is None]
    if not causes and counting and not has_mask(model):
        padded = format_count(counting[0].counted_padding, "padded timestep")
        yield _report_padding(model, f"The loss {counting[0].name} counts {padded}.", None)


def _report_padding(model: ModelEvidence, effect: str, at: Call | None) -> Finding:
    takes_mask = any(source.type == INPUT for source in model.sources)
    subject = "A part of the model" if takes_mask or has_mask(model) else "The model"
    return make_finding(
        __name__,
        call=at.call if at is not None else None,
        type_=at.type if at is not None else None,
        message=f"{subject} receives {format_padding(model.padded_timesteps, model.padded_places)} but no mask"
        f"{describe_probed_rows(model)}. {effect}",
        fix=FIX_INSIDE if at is not None and at.type == "TimeDistributed" else _choose_fix(model, at),
        padded_timesteps=model.padded_timesteps,
        max_abs_change=compute_largest_change(model, at),
        counted_padding=sum(loss.counted_padding for loss in model.losses),
    )


def _choose_fix(model: ModelEvidence, at: Call | None) -> str:
    """Return a fix for the value of the padding, and for inputs of ids or features."""
    maker = next((source for source in model.sources if source.type != INPUT), None)
    if maker is not None and at is not None and maker.padding and not maker.missed:
        return FIX_LATE.format(source=maker.call.rpartition("/")[2], call=at.call.rpartition("/")[2])
    if model.padding:
        return FIX_NAN if math.isnan(model.padding) else FIX_VALUE.format(value=model.padding)
    looks_up = any(lookup.input in model.padded_inputs for lookup in model.lookups)
    return FIX if looks_up or not model.padded_inputs else FIX_FEATURES
