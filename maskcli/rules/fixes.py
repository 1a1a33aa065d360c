"""Suggest fixes for a dropped mask: code to paste, for each kind of call that drops masks."""

from __future__ import annotations

from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call

MERGES = frozenset({"Add", "AddV2", "Average", "Maximum", "Minimum", "Multiply", "Mul", "Subtract", "Sub"})
CONVOLUTIONS = ("Conv", "SeparableConv", "DepthwiseConv")
POOLS_ALL = frozenset({"GlobalMaxPooling1D", "Max", "Flatten", "Mean", "Sum", "Reshape"})


def suggest_mask(model: ModelEvidence, call: Call | None = None) -> str:
    """Return code that computes a mask, such as ``embedding.compute_mask(words)``; ``mask`` if no call makes one.

    It is the mask that a ``call`` received, if one did, or else the first one of the model.
    """
    source = _find_maker(model, call) or next((other.call for other in model.trace if _makes_mask(other)), None)
    if source is None:
        return "mask"
    by_call = {maker.call: maker.input for maker in model.sources if maker.input is not None}
    by_call |= {lookup.call: lookup.input for lookup in model.lookups}
    inside = (name for call, name in by_call.items() if call.startswith(f"{source}/"))  # Its Embedding takes the ids.
    received = by_call.get(source) or next(inside, None) or next(iter(model.padded_inputs), "x")
    return f"{_find_last_name(source)}.compute_mask({received})"


def _makes_mask(call: Call) -> bool:
    return call.effect == "creates" and not call.code


def _find_maker(model: ModelEvidence, call: Call | None) -> str | None:
    """Return the call that made the mask which another one received; None if that is not known."""
    visited: set[str] = set()
    while call is not None and call.call not in visited and not _makes_mask(call):
        visited.add(call.call)
        call = model.call(call.mask_from)
    return call.call if call is not None and _makes_mask(call) else None


def write_masked_call(model: ModelEvidence, call: Call, at: Call) -> str:
    """Return code that calls ``at`` with the mask that ``call`` lost, in the names of the model if they are known."""
    name, arguments = "layer", "x, mask"
    if at is not call:
        if not at.code and at.type not in MERGES:
            name = _find_last_name(at.call)
        if "value_mask" in at.mask_arguments and "mask" not in at.mask_arguments:
            arguments = "..., value_mask"
    return f"`{name}({arguments}={suggest_mask(model, call)})`"


def _suggest_removal(model: ModelEvidence, call: Call, at: Call) -> str:
    """Return how to keep padding from a call that has no argument for a mask."""
    mask, name = suggest_mask(model, call), _find_last_name(at.call)
    removal = f"set padding to zero before it, `keras.ops.where({mask}[..., None], x, 0.0)`"
    if at.type.startswith(CONVOLUTIONS):
        return f"as {name} takes no mask, {removal}"
    return f"as {name} takes no mask, {removal}, or to -1e9 before a maximum or a softmax"


def _find_last_name(path: str) -> str:
    return path.rpartition("/")[2].partition("#")[0]


def suggest_fix(model: ModelEvidence, call: Call, at: Call | None) -> str:
    """Return a fix for ``call``, which lost the mask that ``at`` needs, or that an output needs if ``at`` is None."""
    if at is None:
        otherwise = "pass weights of 0 at padding as `sample_weight` to `fit` and `evaluate`"
    elif at.mask_arguments or at is call:
        otherwise = f"pass the mask explicitly to the next mask-aware layer: {write_masked_call(model, call, at)}"
    else:
        otherwise = _suggest_removal(model, call, at)
    if len(call.masks_in) > 1 and call.type in MERGES and not call.code:
        return (
            "Mask every input, or merge them in a custom layer whose `compute_mask(self, inputs, mask)` returns "
            f"`mask[0]`, or {otherwise}."
        )
    if call.type.startswith(CONVOLUTIONS):
        return (
            "Set padding to zero before the convolution, like its border: "
            f"`x = x * keras.ops.cast(mask, x.dtype)[..., None]`. Then {otherwise}."
        )
    if call.type in POOLS_ALL and len(call.shapes_out[0]) < len(call.shapes_in[0]):
        return (
            "Use `keras.layers.GlobalAveragePooling1D()`, which leaves masked timesteps out; before a maximum, insert "
            "`keras.ops.where(mask[..., None], x, -1e9)`."
        )
    if call.code or call.type in MERGES:
        return (
            "Wrap the operation in a custom layer that sets `self.supports_masking = True` in its `__init__`, or "
            f"{otherwise}."
        )
    return _suggest_kept_mask(call, at, otherwise)


def _suggest_kept_mask(call: Call, at: Call | None, otherwise: str) -> str:
    """Return how a layer keeps its mask, or ``otherwise``."""
    first = f"{otherwise[:1].upper()}{otherwise[1:]}"
    if call.takes_off and any(mask is not None for mask in call.masks_out):
        # Its own result carries the mask: only what else is computed from its input lacks it.
        return f"{first}. Attention keeps the mask of its result, and takes it off its input: give it a copy of that."
    subclass = "set `self.supports_masking = True` in the `__init__` of a subclass"
    if at is None:
        return f"If the layer does not change the time axis, {subclass}, or {otherwise}."
    return f"{first}. If the layer does not change the time axis, {subclass}."
