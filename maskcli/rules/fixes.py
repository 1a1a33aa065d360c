"""What to do about a mask that was dropped: the lines to paste, for the kind of call that dropped it."""

from __future__ import annotations

from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call

MERGES = frozenset({"Add", "AddV2", "Average", "Maximum", "Minimum", "Multiply", "Mul", "Subtract", "Sub"})
CONVOLUTIONS = ("Conv", "SeparableConv", "DepthwiseConv")
POOLS_ALL = frozenset({"GlobalMaxPooling1D", "Max", "Flatten", "Mean", "Sum", "Reshape"})


def hand_over(model: ModelEvidence, at: Call | None) -> str:
    """Return the call of ``at``, which needs the mask, with the mask handed to it, as far as names are known."""
    source = next((call.call for call in model.trace if call.effect == "creates"), "embedding")
    name = "layer" if at is None or at.code or at.type in MERGES else _own_name(at.call)
    arguments = () if at is None else tuple(at.mask_arguments)
    given = "x, x, value_mask" if "value_mask" in arguments and "mask" not in arguments else "x, mask"
    return f"`{name}({given}={_own_name(source)}.compute_mask(tokens))`"


def _own_name(path: str) -> str:
    return path.rpartition("/")[2].partition("#")[0]


def suggest_fix(model: ModelEvidence, call: Call, at: Call | None) -> str:
    """Return what to do about ``call``, which lost the mask that ``at`` would have needed."""
    handed = hand_over(model, at if at is not call else None)
    if len(call.masks_in) > 1 and call.type in MERGES and not call.code:
        return (
            "Mask every input, or add them in a layer of your own whose `compute_mask(self, inputs, mask)` returns "
            f"`mask[0]`, or hand the mask to the layer behind it: {handed}."
        )
    if call.type.startswith(CONVOLUTIONS):
        return (
            "Zero padding before it, as the border is zero, `x = x * keras.ops.cast(mask, x.dtype)[..., None]`, and "
            f"hand the mask to the layer behind it: {handed}."
        )
    if call.type in POOLS_ALL and len(call.shapes_out[0]) < len(call.shapes_in[0]):
        return (
            "`keras.layers.GlobalAveragePooling1D()` leaves masked timesteps out; before a maximum put "
            "`keras.ops.where(mask[..., None], x, -1e9)`."
        )
    if call.code or call.type in MERGES:
        return (
            "Put it into a layer of your own with `self.supports_masking = True` in its `__init__`, which keeps the "
            f"mask, or hand the mask to the layer behind it: {handed}."
        )
    return (
        f"Hand the mask to the layer behind it: {handed}. If timesteps stay what they are, "
        "`self.supports_masking = True` in the `__init__` of a subclass keeps it."
    )
