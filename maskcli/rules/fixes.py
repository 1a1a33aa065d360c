"""Suggest fixes for a dropped mask: code to paste, for each kind of call that drops masks."""

from __future__ import annotations

from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call

MERGES = frozenset({"Add", "AddV2", "Average", "Maximum", "Minimum", "Multiply", "Mul", "Subtract", "Sub"})
CONVOLUTIONS = ("Conv", "SeparableConv", "DepthwiseConv")
POOLS_ALL = frozenset({"GlobalMaxPooling1D", "Max", "Flatten", "Mean", "Sum", "Reshape"})


def suggest_mask(model: ModelEvidence) -> str:
    """Return code that computes the mask, such as ``embedding.compute_mask(words)``; ``mask`` if no call makes one."""
    source = next((call.call for call in model.trace if call.effect == "creates" and not call.code), None)
    if source is None:
        return "mask"
    by_call = {lookup.call: lookup.input for lookup in model.lookups}
    ids = by_call.get(source, next(iter(model.padded_inputs), "x"))
    return f"{_find_last_name(source)}.compute_mask({ids})"


def write_masked_call(model: ModelEvidence, at: Call | None) -> str:
    """Return code that calls ``at`` with the mask, with the names of the model as far as they are known."""
    name, arguments = "layer", "x, mask"
    if at is not None:
        if not at.code and at.type not in MERGES:
            name = _find_last_name(at.call)
        if "value_mask" in at.mask_arguments and "mask" not in at.mask_arguments:
            arguments = "x, x, value_mask"
    return f"`{name}({arguments}={suggest_mask(model)})`"


def _find_last_name(path: str) -> str:
    return path.rpartition("/")[2].partition("#")[0]


def suggest_fix(model: ModelEvidence, call: Call, at: Call | None) -> str:
    """Return a fix for ``call``, which lost the mask that ``at`` needs."""
    masked_call = write_masked_call(model, at if at is not call else None)
    if len(call.masks_in) > 1 and call.type in MERGES and not call.code:
        return (
            "Mask every input, or merge them in a custom layer whose `compute_mask(self, inputs, mask)` returns "
            f"`mask[0]`, or pass the mask explicitly to the next mask-aware layer: {masked_call}."
        )
    if call.type.startswith(CONVOLUTIONS):
        return (
            "Set padding to zero before the convolution, like its border: "
            "`x = x * keras.ops.cast(mask, x.dtype)[..., None]`. Then pass the mask explicitly to the next mask-aware "
            f"layer: {masked_call}."
        )
    if call.type in POOLS_ALL and len(call.shapes_out[0]) < len(call.shapes_in[0]):
        return (
            "Use `keras.layers.GlobalAveragePooling1D()`, which leaves masked timesteps out; before a maximum, insert "
            "`keras.ops.where(mask[..., None], x, -1e9)`."
        )
    if call.code or call.type in MERGES:
        return (
            "Wrap the operation in a custom layer that sets `self.supports_masking = True` in its `__init__`, or pass "
            f"the mask explicitly to the next mask-aware layer: {masked_call}."
        )
    return (
        f"Pass the mask explicitly to the next mask-aware layer: {masked_call}. If the layer does not change the time "
        "axis, set `self.supports_masking = True` in the `__init__` of a subclass."
    )
