"""No probe could show whether padding changes a result.

The probes change the content of padding, its amount, or take it away. Some models allow none of that: a model that only
takes one length, or one that is random. Such a model may be right, but nothing shows it, and a check that passes would
promise more than was tried. The rule does not fire where there is nothing to prove: if the data has no padding and the
model has no mask.

Bad::

    import keras

    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(10, 3)(tokens)
    kept = keras.ops.cast(keras.ops.not_equal(tokens, 0), "float32")
    x = keras.layers.Flatten()(x * kept[..., None])
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(10, 3, mask_zero=True)(tokens)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import INPUT, ModelEvidence
from maskcli.rules.base import make_finding
from maskcli.rules.blame import has_mask, name_call

CODE = "MSK115"
SEVERITY = "warning"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the reason why a leak is neither proved nor excluded."""
    leak = model.leak
    if leak is None or leak.verdict != "unproven":
        return
    has_mask_input = any(source.type == INPUT for source in model.sources)
    if not (model.has_padding or has_mask(model) or has_mask_input):
        return
    reason = leak.reason or "no probe could run"
    loser = next((call for call in model.trace if call.effect == "drops" and not call.contains), None)
    lost = "" if loser is None else f" The mask ends at {name_call(loser)}, which drops it."
    yield make_finding(
        __name__,
        call=None,
        type_=model.type,
        message=f"{model.name} ({model.type}): it is not proved that padding changes no result. "
        f"Reason: {reason.rstrip('.')}.{lost}",
        fix=f"Not tried: {_suggest(reason)}",
        reason=reason,
    )


def _suggest(reason: str) -> str:
    """Return the way to make a proof possible."""
    if " is NaN at " in reason:
        return (
            "make the results finite first. In float16, -1e9 is minus infinity, and 0 times that is NaN: use "
            "`keras.ops.where(mask, scores, -3e4)`."
        )
    if "length" in reason or "values that the model never has" in reason:
        return (
            "build the model for any length, with `keras.Input((None, ...))` and without shapes that are part of its "
            "layers, as of `Reshape`, and check it with the same weights. In the place of `Flatten`, a pooling that "
            "obeys the mask, such as `GlobalAveragePooling1D`, takes any length."
        )
    if "two runs on the same data differ" in reason:
        return "seed or switch off whatever is random in the model when `training` is False."
    if "half precision" in reason:
        return 'build the model with `keras.config.set_dtype_policy("float32")`, and check it with the same weights.'
    if "no row has a valid timestep" in reason:
        return "check the model with data that has valid timesteps in every input."
    return "check the model with rows of different lengths, and mark their padding with `NAME.mask`."
