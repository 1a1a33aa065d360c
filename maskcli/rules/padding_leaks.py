"""A call computes with padding although it has a mask.

The probes replace padding by other values under the same masks, add padding, and cut it off. If a result at a valid
timestep or a pooled result changes, it depends on padding. This rule names calls that have a mask and still let padding
in: a custom layer that takes `mask` but does not use it, a maximum over zeros at padding, or a layer that passes the
mask on but mixes timesteps.

Bad::

    import keras

    class Mean(keras.layers.Layer):
        def call(self, inputs, mask=None):
            return keras.ops.mean(inputs, axis=1)

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, Mean()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Leak
from maskcli.records.trace import Call
from maskcli.rules.base import locate, make_finding
from maskcli.rules.blame import compute_largest_change, describe_change, find_blames, name_call

CODE = "MSK107"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the calls that have a mask and still let padding in."""
    if model.leak is None:
        return
    for cause in find_blames(model):
        if cause.kind == "leaks" and not _masks_rows(model, cause.culprit):
            yield report_leak(model, model.leak, cause.culprit)
        elif cause.kind == "bad-source" and not _is_reported(model, model.leak):
            yield report_leak(model, model.leak, cause.at)


def _masks_rows(model: ModelEvidence, call: Call | None) -> bool:
    """Return whether the mask of a call is one of rows, made of ids or numbers, which MSK110 reports."""
    masks = [mask for mask in call.masks_in if mask is not None] if call is not None else []
    return bool(masks) and all(mask.ndim < 2 for mask in masks) and any(source.of_ids for source in model.sources)


def _is_reported(model: ModelEvidence, leak: Leak) -> bool:
    """Return whether a rule about mask sources reports the wrong mask."""
    return bool(leak.late_masks) or any(source.missed or source.of_ids for source in model.sources)


def report_leak(model: ModelEvidence, leak: Leak, call: Call | None) -> Finding:
    """Return the finding for a call that lets padding in; None is code between the layers."""
    if call is None:
        subject = f"{model.name} ({model.type}) lets padding in, in code between its layers"
    elif call.given:
        subject = f"{name_call(call)} lets padding in although it receives the mask"
    else:
        subject = f"{name_call(call)} lets padding in although its input has a mask"
    return make_finding(
        __name__,
        **locate(call, model),
        message=f"{subject}. Padding changes results {describe_change(model, call)}.",
        fix="Leave masked timesteps out: multiply by `keras.ops.cast(mask, x.dtype)[..., None]` before a sum, divide "
        "by the number of valid timesteps, and insert `keras.ops.where(mask[..., None], x, -1e9)` before a maximum.",
        max_abs_change=compute_largest_change(model, call),
        sample=leak.sample,
        timestep=leak.timestep,
    )
