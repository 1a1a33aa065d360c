"""A check: the findings, the leak probes, and the summary line."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator

from maskcli.records.check import CheckReport, CheckStatus, Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Leak, Probe
from maskcli.records.remark import Remark
from maskcli.render.numbers import format_count, format_short
from maskcli.render.parts import (
    BLANK,
    Cell,
    Cells,
    Heading,
    Limits,
    Part,
    Prose,
    Role,
    Section,
    Text,
    make_cell,
    make_remarks,
    make_sections,
    mark,
)
from maskcli.render.tables import ItemColumn, list_items
from maskcli.render.views.inspect import MODEL_SOURCES
from maskcli.render.views.repairs import view_repairs
from maskcli.render.views.validity import view_validity
from maskcli.render.views.words import view_words

SEVERITIES: dict[str, Role] = {"error": "error", "warning": "warning", "info": "info"}
PROBES = {
    "replace": "other values at padding",
    "alone": "single rows, trimmed",
    "columns": "more padding",
    "gradient": "gradient w.r.t. padding",
    "rows": "other rows in the batch",
    "future": "later timesteps",
}
_CODE = re.compile(r"((?<![\w`])`|`(?![\w`]))")
"""A backtick at the edge of a word; one within a name does not start code."""


def view(report: CheckReport, limits: Limits) -> list[Section]:
    """Return the findings, the worst first, the verdict on padding, and the summary."""
    model = report.examination.model
    notes = model.list_gaps() if model is not None else ()
    return make_sections(
        ("about", _view_subject(report)),
        ("validity", view_validity(report.inputs)),
        ("batch", view_words(report, limits)),
        ("findings", _view_findings(report)),
        ("leak", _view_leak(model, limits)),
        ("future", _view_future(model)),
        ("repairs", view_repairs(report)),
        ("notes", make_remarks([Remark("fact", note) for note in notes])),
        ("result", _view_result(report)),
    )


def make_prose(text: str, indent: int = 0, lead: Cells = ()) -> Prose:
    """Return running text in which the code has a role."""
    cells, in_code = [], False
    for piece in _CODE.split(text):
        in_code = in_code != (piece == "`")
        cells.append(Cell(piece, "label" if in_code or piece == "`" else "plain"))
    return Prose(tuple(cells), lead, indent, indent)


# The subject and the findings.


def _view_subject(report: CheckReport) -> Iterator[Part]:
    model = report.examination.model
    if report.model is None or model is None:
        yield Heading("Data only", "no model")
        yield make_prose("; ".join(map(_describe_data, report.examination.data)) or "no ids to check")
    else:
        yield Heading(report.model.name, f"{report.model.type}, {MODEL_SOURCES[report.model.source]}")
        yield make_prose(_describe_rows(model))


def _describe_data(facts: DataFacts) -> str:
    rows, timesteps = facts.shape
    size = f"{format_count(rows, 'row')} of {format_count(timesteps, 'timestep')}"
    return f"{facts.name}: {size}, {facts.padded_timesteps:,} padding"


def _describe_rows(model: ModelEvidence) -> str:
    probed, total = model.rows
    padded = format_count(model.padded_timesteps, "padded timestep")
    return f"{probed:,} of {format_count(total, 'row')} probed, with {padded}"


def _view_findings(report: CheckReport) -> Iterator[Part]:
    if not report.findings:
        yield from (BLANK, Text((mark("on", " no findings"),)))
    for finding in report.findings:
        yield BLANK
        severity = mark(SEVERITIES[finding.severity], f" {finding.severity}")
        lead = (severity, Cell(f" {finding.code} ", "strong"))
        yield Prose((Cell(_name_culprit(finding), "strong"),), lead, hang=4)
        yield make_prose(finding.message, indent=4)
        yield make_prose(finding.fix, indent=4, lead=(Cell("fix: ", "strong"),))


def _name_culprit(finding: Finding) -> str:
    """Return the rule, and the call and the type that it found."""
    match finding.call, finding.type:
        case None, None:
            return finding.rule
        case None, type_:
            return f"{finding.rule}: {type_}"
        case call, None:
            return f"{finding.rule}: {call}"
        case call, type_:
            return f"{finding.rule}: {call} ({type_})"


# The leak.


def _view_leak(model: ModelEvidence | None, limits: Limits) -> Iterator[Part]:
    if model is None or model.leak is None or model.leak_answer is None:
        return
    leak = model.leak
    yield Heading("Does padding leak?", model.leak_answer)
    if leak.probes:
        fields: list[ItemColumn[Probe]] = [
            ItemColumn("probe", lambda probe: make_cell(probe.name, "label"), "left"),
            ItemColumn("", lambda probe: make_cell(PROBES.get(probe.name, ""), "muted"), "left"),
            ItemColumn("leaks", _show_answer, "left"),
            ItemColumn("change", lambda probe: make_cell(format_short(probe.max_abs_change))),
            ItemColumn("", lambda probe: make_cell(_locate_change(probe)), "left"),
        ]
        yield from list_items(fields, leak.probes, "probe", dataclasses.replace(limits, rows=None))
        for reason, names in _group_reasons(leak.probes):
            yield make_prose(reason, indent=2, lead=(Cell(f"{names}: ", "label"),))
    yield make_prose(describe_leak(model, leak))


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


def _show_answer(probe: Probe) -> Cells:
    if not probe.applicable:
        return make_cell("–", "muted")
    return make_cell(" yes", "error") if probe.leaks else make_cell("no")


def _locate_change(probe: Probe) -> str:
    if not probe.max_abs_change or probe.sample is None:
        return ""
    if probe.timestep is None:
        return f"sample {probe.sample}"
    # A gradient is that of a padded timestep of the input; other probes compare outputs.
    if probe.name == "gradient":
        return f"sample {probe.sample}, padded t{probe.timestep}"
    return f"sample {probe.sample}, t{probe.timestep}"


def _group_reasons(probes: tuple[Probe, ...]) -> Iterator[tuple[str, str]]:
    """Yield each reason once, with the names of the probes that share it."""
    for reason in dict.fromkeys(probe.why for probe in probes if probe.why is not None):
        sharing = [probe for probe in probes if probe.why == reason]
        names = ", ".join(probe.name for probe in sharing)
        if any(probe.applicable for probe in sharing):
            yield reason, names
        else:
            yield f"not tried: {reason}", names


# Later timesteps.


def _view_future(model: ModelEvidence | None) -> Iterator[Part]:
    """Yield whether later timesteps change earlier outputs, and from which call on: a fact, good or bad."""
    effects = () if model is None else tuple(effect for effect in model.future if effect.looks_ahead is not None)
    for effect in effects:
        output = f" of {effect.output}" if len(effects) > 1 else ""
        answer = "no"
        if effect.looks_ahead:
            answer = "yes" if effect.first_call is None else f"yes, from {effect.first_call} on"
        yield Heading(f"Do later timesteps change earlier outputs{output}?", answer)


# The summary.


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
"""The first words of the summary, with their role."""


def _view_result(report: CheckReport) -> Iterator[Part]:
    counts = Counter[str](finding.severity for finding in report.findings)
    summary = ", ".join(format_count(counts[severity], severity) for severity in SEVERITIES)
    rules = format_count(len(report.checked), "rule")
    role, words = RESULTS[report.status]
    if report.status == "data-only" and report.findings:
        words = f"data: no findings at or above {report.fail_on}"
    probes = ""
    if report.status == "passed" and report.leak is not None:
        probes = f"; probes: {', '.join(probe.name for probe in report.leak.probes if probe.applicable)}"
    if report.ignored and report.passed:
        words += f": {', '.join(report.ignored)}"
    separator = "; " if ":" in words else ": "
    yield BLANK
    text = f"{summary}; {rules} checked, fail-on: {report.fail_on}{probes}"
    yield Prose((Cell(text, "strong"),), (mark(role, f" {words}{separator}"),), hang=4)
    if report.findings:
        yield make_prose(f"Run `maskcli explain {report.findings[0].code}` for details and examples.")
