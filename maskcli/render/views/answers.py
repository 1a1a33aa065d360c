"""The sentences that answer the question of a command, before its tables, and the command to try next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from maskcli.records.loss import LossOutput, LossReport
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark, RemarkTopic
from maskcli.records.trace import Call, Inspection
from maskcli.render.numbers import format_percent, format_short
from maskcli.render.parts import Heading, Part, make_remarks
from maskcli.render.tables import LONGEST_NAME, shorten_middle
from maskcli.tolerance import SAME_MEAN

MODEL_SOURCES = {
    "built-in": "built-in",
    "file": "from a file",
    "factory": "from a function",
    "object": "from Python",
    "kerashub": "of KerasHub, tiny, with random weights",
}
WIDE_RATIO = 2.0
"""Ratio of two losses up to which the difference is a percentage."""
ANSWERS: frozenset[RemarkTopic] = frozenset(("no-mask", "mask-end", "change", "training"))
"""Topics of remarks that are part of an answer. ``evaluate`` is not listed anywhere: a table compares its loss."""


def introduce_model(about: ModelAbout) -> Heading:
    """Return the heading that names a model."""
    return Heading(about.name, f"{about.type}, {MODEL_SOURCES[about.source]}")


def select_further_remarks(remarks: Sequence[Remark]) -> list[Part]:
    """Return the facts that are in no answer, for the end of a view."""
    return make_remarks([remark for remark in remarks if remark.kind == "fact" and not remark.topic])


def _select_answers(remarks: Sequence[Remark]) -> Iterator[Remark]:
    """Yield the remarks that answer a question, then all other warnings."""
    yield from (remark for remark in remarks if remark.topic in ANSWERS)
    yield from (remark for remark in remarks if remark.kind == "warning" and remark.topic not in ANSWERS)


# A mask.


def answer_inspection(inspection: Inspection) -> list[Part]:
    """Return where the mask starts and ends, what it changes, and all warnings."""
    remarks = list(_select_answers(inspection.remarks))
    start = _describe_start(inspection)
    return make_remarks([*([Remark("fact", start)] if start else ()), *remarks])


def _describe_start(inspection: Inspection) -> str:
    """Return where the mask starts, and where it ends if no remark has that; empty if a remark has all of it."""
    topics = {remark.topic for remark in inspection.remarks}
    if inspection.mask is None:
        return "" if "no-mask" in topics else "The model has no mask."
    creator = find_mask_creator(inspection.trace)
    start = "The mask starts in the model's own code"
    if creator is not None:
        start = f"The mask starts at {_name_call(creator)}"
    elif any(model_input.kind == "mask" for model_input in inspection.inputs):
        start = "The mask is passed as an input"
    output = inspection.first_output
    if output.mask is not None:
        return f"{start} and reaches the output of {shorten_middle(output.call, LONGEST_NAME)}."
    ends = [call for call in inspection.trace if call.mask_in is not None and call.mask_out is None]
    ends = [call for call in ends if not call.computes_mask]
    if not ends or "mask-end" in topics:
        return f"{start}."
    return f"{start} and ends at {_name_call(ends[-1])}."


def find_mask_creator(trace: tuple[Call, ...]) -> Call | None:
    """Return the first call that creates a mask; of nested calls, the innermost."""
    creator: Call | None = None
    for call in trace:
        if call.effect == "creates" and not call.computes_mask:
            if creator is not None and not call.call.startswith(f"{creator.call}/"):
                break
            creator = call
    return creator


def _name_call(call: Call) -> str:
    """Return a call with its type."""
    return f"{shorten_middle(call.call, LONGEST_NAME)} ({call.type})"


# A loss.


def answer_loss(report: LossReport) -> list[Part]:
    """Return masked compared with unmasked loss, the timesteps that training counts, and all warnings."""
    sentences = [_compare_losses(report, output) for output in report.outputs]
    answers = [Remark("fact", text) for text in sentences if text]
    return make_remarks([*answers, *_select_answers(report.remarks)])


def _compare_losses(report: LossReport, output: LossOutput) -> str:
    """Return how the unmasked loss compares with the masked one; empty if one of them is missing or not finite."""
    masked, unmasked = output.masked, output.unmasked
    if masked is None or unmasked is None or not (math.isfinite(masked) and math.isfinite(unmasked)):
        return ""
    name = f"{shorten_middle(output.name, LONGEST_NAME)}: " if len(report.outputs) > 1 else ""
    text = f"{name}{_describe_ratio(masked, unmasked)}"
    if output.mask is None:
        return f"{text}."
    share = ""
    if output.padding_share and math.isfinite(output.padding_share):
        share = f"; {format_percent(output.padding_share)} of the unmasked loss comes from padding"
    effect = "leaves padding out" if output.reported_reduction is not None else "minimizes the masked loss"
    return f"{text}{share}. Training {effect}, because the mask reaches the loss."


def _describe_ratio(masked: float, unmasked: float) -> str:
    if abs(masked - unmasked) <= SAME_MEAN.value * max(abs(masked), abs(unmasked)):
        return "Masked and unmasked loss are equal"
    if not masked or masked * unmasked < 0:
        return f"The unmasked loss is {format_short(abs(unmasked - masked))} away from the masked loss"
    ratio = unmasked / masked
    if 1 / WIDE_RATIO < ratio < WIDE_RATIO:
        comparison = "higher" if unmasked > masked else "lower"
        return f"The unmasked loss is {format_percent(abs(ratio - 1))} {comparison} than the masked loss"
    return f"The unmasked loss is {ratio:.3g} times the masked loss"
