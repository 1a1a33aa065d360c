"""Sentences that answer whether padding leaks; tables, pages and reports share them."""

from __future__ import annotations

from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Leak
from maskcli.render.numbers import format_short


def describe_leak(model: ModelEvidence, leak: Leak) -> str:
    """Return the sentences that explain the answer to whether padding leaks."""
    padding = "The data has no padding, so maskcli added some. " if leak.padded_by_maskcli else ""
    match model.leak_answer:
        case "no":
            return f"{padding}No valid output changes beyond rounding error."
        case "nothing to prove":
            return "The probed rows contain no padding, and the model has no mask."
        case "unproven":
            return f"{padding}{_explain_unproven(leak)}"
        case _:
            return f"{padding}{_describe_change(model, leak)}"


def _explain_unproven(leak: Leak) -> str:
    """Return the reason why a leak is neither proved nor excluded."""
    reasons = (leak.reason, *(probe.why for probe in leak.probes))
    reason = next((text for text in reasons if text is not None), None)
    if reason is None:
        return "The probed rows contain no padding." if not leak.probes else "No probe could decide."
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def _describe_change(model: ModelEvidence, leak: Leak) -> str:
    change = f"Padding changes results by up to {format_short(leak.max_abs_change)}"
    if leak.weights == "noisy":
        noisy = "It leaks once the model is trained: after a little noise is added to the weights, padding"
        change = f"{noisy} changes results by up to {format_short(leak.max_abs_change)}"
    if leak.output is not None and len(model.outputs) > 1:
        change += f", most in output {leak.output}"
    call = model.call(leak.first_call)
    if call is None:
        place = "The layer where it enters is unknown" if leak.first_call is None else f"It enters at {leak.first_call}"
        return f"{change}. {place}."
    return f"{change}. It enters at {leak.first_call} ({call.type})."
