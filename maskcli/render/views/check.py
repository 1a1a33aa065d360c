"""A check: the findings, the leak probes, and the summary line."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from maskcli.records.check import CheckReport, Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Probe
from maskcli.records.remark import Remark
from maskcli.records.wording import format_count, format_padding
from maskcli.render.numbers import format_short
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
    make_cell,
    make_remarks,
    make_sections,
    mark,
    suggest_next,
)
from maskcli.render.tables import ItemColumn, list_items, make_note, mark_fault
from maskcli.render.views.answers import introduce_model
from maskcli.render.views.check_answer import answer_check, choose_main_finding, name_place
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
    "segments": "other segments",
    "future": "later timesteps",
    "compiled": "compiled function",
}
_CODE = re.compile(r"((?<![\w`])`|`(?![\w`]))")
"""A backtick at the edge of a word; one within a name does not start code."""


def view(report: CheckReport, limits: Limits) -> list[Section]:
    """Return the answer, the findings, the worst first, the probes, and the summary."""
    model = report.examination.model
    notes = model.list_gaps() if model is not None else ()
    return make_sections(
        ("about", [Heading("Data only", "no model") if report.model is None else introduce_model(report.model)]),
        ("answer", answer_check(report)),
        ("batch", view_words(report, limits)),
        ("findings", view_findings(report.findings)),
        ("inputs", _view_data(report)),
        ("leak", _view_leak(model, limits)),
        ("future", _view_future(model)),
        ("repairs", view_repairs(report)),
        ("notes", make_remarks([*(Remark("fact", note) for note in notes), *_note_accepted(report)])),
        ("result", _view_result(report)),
        ("next", suggest_next(_choose_next(report))),
    )


def make_prose(text: str, indent: int = 0, lead: Cells = ()) -> Prose:
    """Return running text in which the code has a role."""
    cells, in_code = [], False
    for piece in _CODE.split(text):
        in_code = in_code != (piece == "`")
        cells.append(Cell(piece, "label" if in_code or piece == "`" else "plain"))
    return Prose(tuple(cells), lead, indent, indent)


# The data and the findings.


def _view_data(report: CheckReport) -> Iterator[Part]:
    """Yield the size of the data, and how it is known which timesteps are padding."""
    model = report.examination.model
    if model is None:
        yield Heading("Data", "; ".join(map(_describe_data, report.examination.data)) or "no ids to check")
    else:
        probed, total = model.rows
        padded = format_padding(model.padded_timesteps, model.padded_places)
        yield Heading("Data", f"{probed:,} of {format_count(total, 'row')} probed, with {padded}")
    yield from view_validity(report.inputs)


def _describe_data(facts: DataFacts) -> str:
    rows, timesteps = facts.shape
    size = f"{format_count(rows, 'row')} of {format_count(timesteps, 'timestep')}"
    return f"{facts.name}: {size}, {facts.padded_timesteps:,} padding"


def view_findings(findings: Iterable[Finding]) -> Iterator[Part]:
    """Yield each finding with its place in the model and in the user's code, its message and its fix."""
    for finding in findings:
        yield BLANK
        severity = mark(SEVERITIES[finding.severity], f" {finding.severity}")
        lead = (severity, Cell(f" {finding.code} ", "strong"))
        title = ": ".join(filter(None, (finding.rule, name_place(finding))))
        yield Prose((Cell(title, "strong"),), lead, hang=4)
        if finding.location is not None:
            line = Cell(f"{finding.location.file}:{finding.location.line}", "label")
            function = Cell(f" in {finding.location.function}", "muted")
            yield Prose((line, function), (Cell("at: ", "strong"),), 4, 4)
        yield make_prose(finding.message, indent=4)
        yield make_prose(finding.fix, indent=4, lead=(Cell("fix: ", "strong"),))


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
        yield from _explain_probes(leak.probes)
        for reason, names in _group_reasons(leak.probes):
            yield make_prose(reason, indent=2, lead=(Cell(f"{names}: ", "label"),))


def _explain_probes(probes: tuple[Probe, ...]) -> Iterator[Part]:
    """Yield the meaning of the change, and of the marks of its place."""
    changed = [probe for probe in probes if _locate_change(probe)]
    if not changed:
        return
    text = "change: the largest of a result that counts"
    if any(probe.name == "gradient" for probe in changed):
        text += "; of gradient, its derivative by padding"
    if any(probe.timestep is not None for probe in changed):
        text += "; t0: timestep 0"
    yield make_note(text)


def _show_answer(probe: Probe) -> Cells:
    return mark_fault(probe.leaks) if probe.applicable else make_cell("–", "muted")


def _locate_change(probe: Probe) -> str:
    if not probe.max_abs_change or probe.sample is None:
        return ""
    # A gradient is that of a padded timestep of the input; other probes compare outputs.
    return locate_change(probe.sample, probe.timestep, at_padding=probe.name == "gradient")


def locate_change(sample: int, timestep: int | None, at_padding: bool) -> str:
    """Return the place of a change, such as ``sample 0, t5``."""
    if timestep is None:
        return f"sample {sample}"
    padded = "padded " if at_padding else ""
    return f"sample {sample}, {padded}t{timestep}"


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


def _view_result(report: CheckReport) -> Iterator[Part]:
    counts = Counter[str](finding.severity for finding in report.findings)
    summary = ", ".join(format_count(counts[severity], severity) for severity in SEVERITIES)
    rules = format_count(len(report.checked), "rule")
    yield BLANK
    yield Prose((Cell(f"{summary}; {rules} checked, fail-on: {report.fail_on}", "strong"),))


def _note_accepted(report: CheckReport) -> Iterator[Remark]:
    """Yield remarks on findings that the project accepts, and on entries that accept nothing any more."""
    baseline = report.baseline
    if baseline is not None:
        count = format_count(len(baseline.accepted), "finding")
        yield Remark("fact", f"The baseline {baseline.file} accepts {count}.")
        for entry in baseline.stale:
            yield Remark("warning", entry.describe_stale())
    for ignored in report.ignored_calls:
        reason = f": {ignored.reason}" if ignored.reason else ""
        if ignored.findings:
            yield Remark("fact", f"Ignored, {format_count(ignored.findings, 'finding')}: {ignored.ignore}{reason}.")
        else:
            yield Remark("warning", ignored.describe_stale())


def _choose_next(report: CheckReport) -> str:
    if report.findings:
        code = choose_main_finding(report).code
        return f"`maskcli explain {code}` explains this rule, with a bad and a good example."
    if report.model is None:
        return "`maskcli check --model MODEL` with the same arguments also checks a model with this data."
    return "`maskcli report -o report.html` with the same arguments shows all of this on a page."
