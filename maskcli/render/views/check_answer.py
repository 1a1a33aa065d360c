"""The answer of a check: the verdict, the culprit, and the repair."""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import CheckReport, CheckStatus, Finding
from maskcli.records.evidence import LeakAnswer, ModelEvidence
from maskcli.records.leak import Leak
from maskcli.render.numbers import format_count, format_short
from maskcli.render.parts import Cell, Part, Prose, Role, mark

RESULTS: dict[CheckStatus, tuple[Role, str]] = {
    "passed": ("on", "passed"),
    "failed": ("error", "failed"),
    "nothing-to-prove": ("info", "nothing to prove"),
    "unproven": ("warning", "leak unproven"),
    "leaks": ("warning", "leaks, below fail-on"),
    "leak-ignored": ("warning", "leak ignored"),
    "not-run": ("warning", "leak not tested"),
    "data-only": ("on", "data: no findings"),
}
"""The first words of the verdict, with their role."""
LEAK_ANSWERS: dict[LeakAnswer, str] = {
    "no": "padding does not leak",
    "unproven": "whether padding leaks is unproven",
    "nothing to prove": "there is neither padding nor a mask",
}
"""The answers other than a leak."""


def answer_check(report: CheckReport) -> Iterator[Part]:
    """Yield the verdict, the culprit, and the repair, a sentence each."""
    role, words = RESULTS[report.status]
    yield _make_sentence(role, f"{words}{_describe_verdict(report)}", "strong")
    for text in (_name_culprit(report), _describe_repair(report)):
        if text:
            yield _make_sentence("info", text)


def _make_sentence(role: Role, text: str, text_role: Role = "plain") -> Prose:
    return Prose((Cell(text, text_role),), (mark(role, " "),), hang=2)


def _describe_verdict(report: CheckReport) -> str:
    """Return the rest of the verdict after the word for the status."""
    model = report.examination.model
    if report.status == "data-only":
        return f" at or above {report.fail_on}" if report.findings else ""
    answer = "" if model is None else _describe_leak_answer(model)
    if report.status == "passed" and report.leak is not None:
        probes = ", ".join(probe.name for probe in report.leak.probes if probe.applicable)
        return f": {answer} (probes: {probes})"
    ignored = f": {', '.join(report.ignored)}" if report.ignored and report.passed else ""
    if report.status != "failed":
        return ignored
    if not answer:
        return ": the data has findings" if model is None else ": the model does not run on this data"
    if answer == LEAK_ANSWERS["no"]:
        return f": there are findings, although {answer}"
    return f": {answer}"


def _describe_leak_answer(model: ModelEvidence) -> str:
    """Return whether padding leaks; empty if the model did not run."""
    if model.leak is None or model.leak_answer is None:
        return ""
    if model.leak_answer != "yes":
        return LEAK_ANSWERS[model.leak_answer]
    subject = "padding, which maskcli added," if model.leak.padded_by_maskcli else "padding"
    noisy = " once the model is trained" if model.leak.weights == "noisy" else ""
    return f"{subject} leaks into results{noisy}"


def _name_culprit(report: CheckReport) -> str:
    """Return the first finding and its place, or the reason why there is no leak to blame."""
    model = report.examination.model
    if not report.findings:
        if model is None or model.leak is None or model.leak_answer is None:
            return ""
        return describe_leak(model, model.leak)
    first = report.findings[0]
    more = len(report.findings) - 1
    others = f", and {format_count(more, 'more finding')}" if more else ""
    place = ", ".join(filter(None, (name_place(first), f"{first.code} {first.rule}")))
    # An info is not a fault, and a finding about the data has no call to blame.
    if first.severity == "info":
        return f"Note: {place}{others}."
    if first.call is None:
        return f"Finding: {place}{others}."
    return f"Culprit: {place}{others}."


def name_place(finding: Finding) -> str:
    """Return the call and the type that a finding is about; empty if it is about the data."""
    if finding.call is None or finding.type is None:
        return finding.call or finding.type or ""
    return f"{finding.call} ({finding.type})"


def _describe_repair(report: CheckReport) -> str:
    """Return the repair that was tried; empty if there is nothing to repair."""
    repairs = report.repairs or tuple(finding.repair for finding in report.findings if finding.repair is not None)
    if repairs:
        places = [f"{repair.kind} at {repair.call}" if repair.call else repair.kind for repair in repairs]
        return f"Repair, tried: {'; '.join(dict.fromkeys(places))}."
    if report.attempts:
        return f"Repair: none found, {format_count(len(report.attempts), 'change')} tried in vain."
    has_faults = any(finding.severity != "info" for finding in report.findings)
    return "Repair: advice only, nothing was tried." if has_faults else ""


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
        return f"{change}. {_name_entry(leak)}"
    return f"{change}. It enters at {leak.first_call} ({call.type})."


def _name_entry(leak: Leak) -> str:
    """Return the call where padding enters, if no more than its name is known."""
    if leak.first_call is None:
        return "The layer where it enters is unknown."
    return f"It enters at {leak.first_call}."
