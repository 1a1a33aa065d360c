"""The questions that a report begins with, answered by what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maskcli.conclusions.remarks import format_timesteps
from maskcli.records.check import CheckReport, Finding, Severity
from maskcli.records.leak import Leak
from maskcli.records.loss import LossOutput, LossReport
from maskcli.records.report import NOT_TRIED, Verdict
from maskcli.records.trace import Call, Inspection
from maskcli.tolerance import SAME_MEAN

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The worst first."""


def answer_questions(
    inspection: Inspection, check: CheckReport, loss: LossReport | None, no_loss: str | None
) -> Iterator[Verdict]:
    """Yield what a colleague asks first: does padding leak, what drops the mask, what does the loss count."""
    seen = check.examination.model
    leak = None if seen is None else seen.leak
    yield _leaking(leak, check.findings)
    yield _dropping(inspection, check)
    yield _counting(loss, no_loss)


def _leaking(leak: Leak | None, findings: Sequence[Finding]) -> Verdict:
    question = "Does padding leak?"
    if leak is None:
        return Verdict(question, NOT_TRIED, "warning", "The model does not run on this data.")
    if not leak.probes:
        return Verdict(question, "no", None, "There is no padding in the rows that were probed.")
    tried = [probe for probe in leak.probes if probe.applicable]
    if not tried:
        why = next((probe.why for probe in leak.probes if probe.why is not None), "nothing is known of it")
        return Verdict(question, NOT_TRIED, "warning", f"{why[:1].upper()}{why[1:]}.")
    if not leak.leaks:
        how = ", ".join(probe.name for probe in tried)
        return Verdict(question, "no", None, f"No result that counts changes by more than rounding ({how}).")
    enters = f" It enters at {leak.first_call}." if leak.first_call is not None else ""
    found = (finding.severity for finding in findings if finding.call == leak.first_call)
    worst = _worst(found) or "error"
    return Verdict(question, "yes", worst, f"It changes results by up to {leak.max_abs_change:.3g}.{enters}")


def _dropping(inspection: Inspection, check: CheckReport) -> Verdict:
    question = "What drops the mask?"
    seen = check.examination.model
    lost = [call.lost_at for call in inspection.trace] + [one.lost_at for one in (seen.outputs if seen else ())]
    ends = (call.call for call in inspection.trace if _ends(call))
    drops = list(dict.fromkeys((*(call for call in lost if call is not None), *ends)))
    if not drops and inspection.mask is None:
        padded = 0 if inspection.valid is None else int((~inspection.valid).sum())
        told = (
            f"{format_timesteps(padded, 'padded timestep')} will be treated as data."
            if padded
            else "Nor is there padding."
        )
        return Verdict(question, "there is none", "error" if padded else None, f"No call makes a mask. {told}")
    if not drops:
        return Verdict(question, "nothing", None, "Every call that a mask belongs to has it.")
    severity = _worst(finding.severity for finding in check.findings if finding.call in drops) or "info"
    first = next((call for call in inspection.trace if call.call == drops[0]), None)
    made = f" ({first.type})" if first is not None else ""
    more = f" The same is so of {', '.join(drops[1:4])}{' and others' if len(drops) > 4 else ''}." if drops[1:] else ""
    text = f"A mask reaches {drops[0]}{made}, and none goes on.{more}"
    return Verdict(question, drops[0] if len(drops) == 1 else f"{drops[0]} and {len(drops) - 1} more", severity, text)


def _ends(call: Call) -> bool:
    """Return whether a mask comes to its end at a call that was not given it: one behind which timesteps are gone."""
    if call.effect != "drops" or call.computes_mask or call.contains or call.mask_in is None:
        return False
    axes = max(map(len, call.shapes_in), default=0)
    return all(len(shape) < axes or shape[:2] != call.mask_in.shape for shape in call.shapes_out)


def _counting(loss: LossReport | None, no_loss: str | None) -> Verdict:
    question = "What does the loss count?"
    if loss is None:
        return Verdict(question, NOT_TRIED, None, no_loss or "There is none.")
    told = [_counted(output) for output in loss.outputs]
    worst = _worst(severity for _, severity, _ in told if severity is not None)
    first = next((one for one in told if one[1] == worst), told[0])
    several = len(loss.outputs) > 1
    named = " ".join(
        f"{output.name}: {text}" if several else text for output, (_, _, text) in zip(loss.outputs, told, strict=True)
    )
    return Verdict(question, first[0], worst, named)


def _counted(output: LossOutput) -> tuple[str, Severity | None, str]:
    """Return what a loss counts in a word or two, how bad that is, and in a sentence."""
    losses, valid = output.per_timestep, output.valid
    if losses is None or valid is None or valid.shape != losses.shape:
        return "every sample", None, f"The {output.loss} of every {'sample' if losses is not None else 'batch'} counts."
    counts = ~output.ignored if output.ignored is not None else valid | True
    counts = counts & (output.mask if output.mask is not None else True)
    if output.weights is not None:
        counts = counts & (output.weights.reshape(len(valid), -1) != 0)
    padding, hidden = int((counts & ~valid).sum()), int((~counts & valid).sum())
    numbers = _numbers(output)
    if padding:
        return (
            "padding too",
            "error",
            f"{format_timesteps(padding, 'padded timestep')} of {valid.size:,} count.{numbers}",
        )
    if hidden:
        return "less than is valid", "info", f"{format_timesteps(hidden, 'valid timestep')} are left out.{numbers}"
    return "valid timesteps", None, f"{int(counts.sum()):,} of {valid.size:,} timesteps count.{numbers}"


def _numbers(output: LossOutput) -> str:
    if output.exact is None or output.unmasked is None:
        return ""
    apart = abs(output.reported - output.exact) > SAME_MEAN.value * max(abs(output.exact), abs(output.reported))
    if apart:
        return f" Keras reports {output.reported:.6g}; over the valid ones alone it is {output.exact:.6g}."
    return f" Keras reports {output.reported:.6g}; over all timesteps it would be {output.unmasked:.6g}."


def _worst(found: Iterator[Severity]) -> Severity | None:
    return min(found, key=SEVERITIES.index, default=None)
