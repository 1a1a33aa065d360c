"""Verdicts: answers to the questions at the start of a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from maskcli.records.arrays import Bools
from maskcli.records.check import CheckReport
from maskcli.records.fields import Severity
from maskcli.records.loss import LossOutput, LossReport
from maskcli.records.report import NOT_TRIED, Verdict
from maskcli.records.trace import Call, Inspection
from maskcli.records.wording import choose_form, format_count
from maskcli.render.leak_text import describe_leak
from maskcli.tolerance import SAME_MEAN

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The worst first."""
LEAK_QUESTION = "Does padding leak?"
MASK_QUESTION = "What drops the mask?"
LOSS_QUESTION = "What does the loss count?"


def answer_questions(
    inspection: Inspection, check: CheckReport, loss: LossReport | None, no_loss: str | None
) -> Iterator[Verdict]:
    """Answer whether padding leaks, which call drops the mask, and which timesteps the loss counts.

    ``no_loss`` is the reason for a missing loss.
    """
    yield _judge_leak(check)
    yield _judge_mask(inspection, check)
    if loss is None:
        yield Verdict(LOSS_QUESTION, NOT_TRIED, None, no_loss or "There is no loss.")
    else:
        yield _judge_loss(loss)


def _judge_leak(check: CheckReport) -> Verdict:
    evidence = check.examination.model
    if evidence is None or evidence.leak is None or evidence.leak_answer is None:
        return Verdict(LEAK_QUESTION, NOT_TRIED, "warning", "The model does not run on this data.")
    leak, answer = evidence.leak, evidence.leak_answer
    text = describe_leak(evidence, leak)
    match answer:
        case "nothing to prove":
            return Verdict(LEAK_QUESTION, answer, None, text)
        case "unproven":
            return Verdict(LEAK_QUESTION, answer, "warning", text)
        case "no":
            names = ", ".join(probe.name for probe in leak.probes if probe.applicable)
            return Verdict(LEAK_QUESTION, answer, None, f"{text} Probes: {names}.")
    severities = (finding.severity for finding in check.findings if finding.call == leak.first_call)
    return Verdict(LEAK_QUESTION, answer, _find_worst(severities) or "error", text)


def _judge_mask(inspection: Inspection, check: CheckReport) -> Verdict:
    drops = _find_drops(inspection, check)
    if not drops and inspection.mask is None:
        return _judge_missing_mask(inspection)
    if not drops:
        return Verdict(MASK_QUESTION, "nothing", None, "Every layer that should receive the mask does.")
    severities = (finding.severity for finding in check.findings if finding.call in drops)
    answer = subject = drops[0]
    call = next((call for call in inspection.trace if call.call == drops[0]), None)
    if call is not None:
        subject = f"{call.call} ({call.type})"
    text = f"{subject} receives a mask but does not pass it on."
    if len(drops) > 1:
        answer = f"{drops[0]} and {len(drops) - 1} more"
        text += f" The same applies to {', '.join(drops[1:4])}"
        if len(drops) > 4:
            text += " and others"
        text += "."
    return Verdict(MASK_QUESTION, answer, _find_worst(severities) or "info", text)


def _find_drops(inspection: Inspection, check: CheckReport) -> list[str]:
    """Return the paths of the calls that drop a mask, in order."""
    evidence = check.examination.model
    lost = [call.lost_at for call in inspection.trace]
    if evidence is not None:
        lost += [output.lost_at for output in evidence.outputs]
    ends = (call.call for call in inspection.trace if _removes_timesteps(call))
    return list(dict.fromkeys((*(path for path in lost if path is not None), *ends)))


def _removes_timesteps(call: Call) -> bool:
    """Return whether a call removes the time axis without receiving the mask."""
    if call.effect != "drops" or call.computes_mask or call.contains or call.mask_in is None:
        return False
    axes = max(map(len, call.shapes_in), default=0)
    return all(len(shape) < axes or shape[:2] != call.mask_in.shape for shape in call.shapes_out)


def _judge_missing_mask(inspection: Inspection) -> Verdict:
    valid = inspection.valid
    if valid is None or valid.all():
        return Verdict(MASK_QUESTION, "no mask", None, "No call creates a mask, and there is no padding.")
    masks = {entry.validity.of for entry in inspection.inputs if entry.validity.source == "mask-input"}
    names = ", ".join(sorted(filter(None, masks)))
    if names:
        text = f"No call creates a mask of Keras: the model takes the mask as an input ({names})."
        return Verdict(MASK_QUESTION, "no mask of Keras", None, text)
    count = format_count(int((~valid).sum()), "padded timestep")
    text = f"No call creates a mask: the model treats {count} as data."
    return Verdict(MASK_QUESTION, "no mask", "error", text)


def _judge_loss(loss: LossReport) -> Verdict:
    """Return the verdict on the loss of all outputs; the answer is that of the worst output."""
    verdicts = [_judge_output(output) for output in loss.outputs]
    worst = _find_worst(verdict.severity for verdict in verdicts if verdict.severity is not None)
    first = next((verdict for verdict in verdicts if verdict.severity == worst), verdicts[0])
    if len(verdicts) == 1:
        return first
    texts = [f"{output.name}: {verdict.text}" for output, verdict in zip(loss.outputs, verdicts, strict=True)]
    return dataclasses.replace(first, severity=worst, text=" ".join(texts))


def _judge_output(output: LossOutput) -> Verdict:
    losses, valid = output.per_timestep, output.valid
    if losses is None:
        return Verdict(LOSS_QUESTION, "every sample", None, f"The {output.loss} of every batch counts.")
    if valid is None or valid.shape != losses.shape:
        return Verdict(LOSS_QUESTION, "every sample", None, f"The {output.loss} of every sample counts.")
    included = _find_included(output, valid)
    padding, hidden = int((included & ~valid).sum()), int((~included & valid).sum())
    values = _compare_losses(output)
    if padding:
        text = f"The loss includes {format_count(padding, 'padded timestep')} (of {valid.size:,}).{values}"
        return Verdict(LOSS_QUESTION, "padding too", "error", text)
    if hidden:
        verb = choose_form(hidden, "is", "are")
        text = f"{format_count(hidden, 'valid timestep')} {verb} left out.{values}"
        return Verdict(LOSS_QUESTION, "not all valid timesteps", "info", text)
    text = f"{int(included.sum()):,} of {valid.size:,} timesteps count.{values}"
    return Verdict(LOSS_QUESTION, "valid timesteps", None, text)


def _find_included(output: LossOutput, valid: Bools) -> Bools:
    """Return the timesteps that the loss counts, by mask, ignored class and weights."""
    included = valid | True
    if output.ignored is not None:
        included = ~output.ignored
    if output.mask is not None:
        included = included & output.mask
    if output.weights is not None:
        included = included & (output.weights.reshape(len(valid), -1) != 0)
    return included


def _compare_losses(output: LossOutput) -> str:
    if output.exact is None or output.unmasked is None:
        return ""
    difference = abs(output.reported - output.exact)
    if difference > SAME_MEAN.value * max(abs(output.exact), abs(output.reported)):
        return f" Keras reports {output.reported:.6g}; on valid timesteps only it is {output.exact:.6g}."
    return f" Keras reports {output.reported:.6g}; on all timesteps it would be {output.unmasked:.6g}."


def _find_worst(severities: Iterable[Severity]) -> Severity | None:
    return min(severities, key=SEVERITIES.index, default=None)
