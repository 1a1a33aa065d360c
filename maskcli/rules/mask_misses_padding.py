"""The mask marks padding as valid, because it looks for a value that padding does not have.

`Masking(mask_value)` masks timesteps whose features all equal that value exactly. It never masks features that are
padded with another value, or scaled after padding. `Embedding(mask_zero=True)` masks only id 0, so padding with another
id is treated as data.

A `Masking` layer after a convolution or a `Dense` layer works only as long as their biases are zero, as in a fresh
model. Training moves the results at padding away from the value that it looks for. Mask the input itself.

Bad::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(-1.0)(features)
    model = keras.Model(features, keras.layers.LSTM(3)(x))
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][1, 2:] = 0.0

Good::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(0.0)(features)
    model = keras.Model(features, keras.layers.LSTM(3)(x))
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][1, 2:] = 0.0
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import INPUT, MaskSource, ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import (
    compute_largest_change,
    describe_change,
    describe_probed_rows,
    find_blames,
    name_call,
)

CODE = "MSK112"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that create a mask which is True at padding, or will be once the model is trained."""
    yield from _report_late_masks(model)
    for source in model.sources:
        missed = source.missed
        if missed is None or source.after_lookup is not None or source.of_ids:
            continue
        if source.type == INPUT and not _explains_leak(model):
            continue
        padded = format_count(missed.count, "padded timestep")
        reason = "" if source.type == INPUT else ": it looks for a value that padding does not have"
        if source.looks_for_nan:
            reason = ": it looks for NaN, which equals nothing, not even NaN, so that it masks nothing"
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) marks {padded} of {source.padding} as valid"
            f"{describe_probed_rows(model)}, first in sample "
            f"{missed.sample} at timestep {missed.timestep}{reason}.",
            fix=_suggest_mask(source),
            missed=missed.count,
            padding=source.padding,
            sample=missed.sample,
            timestep=missed.timestep,
        )


def _report_late_masks(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls whose mask is right only as long as the weights before them are those of a fresh model."""
    for cause in find_blames(model):
        call = cause.culprit
        if cause.kind == "bad-source" and call is not None:
            yield make_finding(
                __name__,
                call=call.call,
                type_=call.type,
                message=f"{name_call(call)} looks for padding in the results of the layers before it. Once these are "
                "trained, their results at padding have other values, and the mask marks padding as valid. It then "
                f"changes results {describe_change(model, cause.at)}.",
                fix="Compute the mask from the input: `mask = keras.ops.any(keras.ops.not_equal(inputs, 0), axis=-1)`, "
                "over all axes after the timesteps, and pass it to the layer that uses it: `layer(x, mask=mask)`.",
                max_abs_change=compute_largest_change(model, cause.at),
            )


def _explains_leak(model: ModelEvidence) -> bool:
    """Return whether padding leaks because of a mask that was wrong from the start.

    A mask that comes in as an input is data, which decides which timesteps are padding. It is no fault by itself.
    """
    return any(cause.kind == "bad-source" for cause in find_blames(model))


def _suggest_mask(source: MaskSource) -> str:
    if source.type == INPUT:
        return "Build it from the lengths: True at real tokens. `maskcli pad --output batch.npz` writes such a mask."
    if source.looks_up:
        return "Pad with 0, which mask_zero looks for, or pass the mask explicitly: `layer(x, mask=mask)`."
    if source.looks_for_nan:
        return (
            "`Masking(nan)` never matches. Fill NaN with a number that data never has, "
            "`x = np.where(np.isnan(x), -1.0, x)`, and use `Masking(-1.0)`."
        )
    return "Set `mask_value` to the value of the padding, and pad after scaling, not before."
