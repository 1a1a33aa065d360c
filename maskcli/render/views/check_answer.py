"""The answer of a check: the verdict, the culprit, and the repair."""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import CheckReport, CheckStatus, Finding
from maskcli.records.evidence import LeakAnswer, ModelEvidence
from maskcli.records.wording import format_count, list_names
from maskcli.render.leak_text import describe_leak
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
    if report.status == "data-only" and report.findings and report.fail_on == "never":
        words = "data: findings do not fail the check"
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
        return f" at or above {report.fail_on}" if report.findings and report.fail_on != "never" else ""
    answer = "" if model is None else _describe_leak_answer(model)
    if report.status == "passed" and report.leak is not None:
        probes = ", ".join(probe.name for probe in report.leak.probes if probe.applicable)
        return f": {answer} (probes: {probes})"
    ignored = f": {', '.join(report.ignored)}" if report.ignored and report.passed else ""
    if report.status != "failed":
        return ignored
    if not report.findings:
        return ": entries of the baseline, or ignored calls, match no finding any more"
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
    """Return the main finding and its place, or the reason why there is no leak to blame."""
    model = report.examination.model
    if not report.findings:
        if model is None or model.leak is None or model.leak_answer is None:
            return ""
        return describe_leak(model, model.leak)
    first = choose_main_finding(report)
    more = len(report.findings) - 1
    others = f", and {format_count(more, 'more finding')}" if more else ""
    place = ", ".join(filter(None, (name_place(first), f"{first.code} {first.rule}")))
    # An info is not a fault, and a finding about the data has no call to blame.
    if first.severity == "info":
        return f"Note: {place}{others}."
    if first.call is None:
        return f"Finding: {place}{others}."
    return f"Culprit: {place}{others}."


def choose_main_finding(report: CheckReport) -> Finding:
    """Return the first finding; where padding leaks, the first one that explains the leak."""
    first, leak = report.findings[0], report.leak
    if leak is None or not leak.leaks:
        return first
    causes = (finding for finding in report.findings if finding.severity == "error")
    return next((cause for cause in causes if cause.evidence.get("max_abs_change")), first)


def name_place(finding: Finding) -> str:
    """Return the call and the type that a finding is about; empty if it is about the data."""
    if finding.call is None or finding.type is None:
        return finding.call or finding.type or ""
    return f"{finding.call} ({finding.type})"


def _describe_repair(report: CheckReport) -> str:
    """Return the repair that was tried, of a leak if there is one; empty if there is nothing to repair."""
    if report.leak is not None and report.leak.leaks and report.attempts and not report.repairs:
        return f"Repair of the leak: none found, {format_count(len(report.attempts), 'change')} tried in vain."
    repairs = report.repairs or tuple(finding.repair for finding in report.findings if finding.repair is not None)
    if repairs:
        calls: dict[str, dict[str, None]] = {}
        for repair in repairs:
            calls.setdefault(repair.kind, {}).update(dict.fromkeys(filter(None, [repair.call])))
        places = [f"{kind} at {list_names(list(names))}" if names else kind for kind, names in calls.items()]
        return f"Repair, tried: {'; '.join(places)}."
    if report.attempts:
        return f"Repair: none found, {format_count(len(report.attempts), 'change')} tried in vain."
    has_faults = any(finding.severity != "info" for finding in report.findings)
    return "Repair: advice only, nothing was tried." if has_faults else ""
