"""The beginning of a page: model and data, three questions with their answers, and the findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maskcli.records.check import Finding
from maskcli.records.remark import Remark
from maskcli.records.report import Report, Verdict
from maskcli.records.wording import format_count
from maskcli.render.html import render_prose
from maskcli.render.numbers import format_share
from maskcli.render.page.fixes import render_fix
from maskcli.render.page.samples import locate_sample
from maskcli.render.text_flow import escape_html
from maskcli.render.views.answers import MODEL_SOURCES
from maskcli.render.views.data import name_source

Sign = tuple[str, str, str]
"""The look of an answer: a class, a sign and a word."""
SIGNS: dict[str | None, Sign] = {
    None: ("good", "✓", "fine"),
    "info": ("info", "i", "note"),
    "warning": ("warning", "!", "warning"),
    "error": ("error", "✕", "error"),
}
UNKNOWN: Sign = ("unknown", "?", "unknown")
LONG_ANSWER = 20
"""Characters beyond which an answer is set smaller."""
PLACES: dict[str, tuple[str, ...]] = {
    "MSK0": ("batch",),
    "MSK117": ("future",),
    "MSK118": ("attention",),
    "MSK1": ("leaks", "outputs", "batch"),
    "MSK2": ("batch",),
    "MSK3": ("loss",),
}
"""The sections that show a finding, by the start of its code; the first one that the page has."""
SHOWN = {
    "batch": "in the batch",
    "future": "which timesteps change which",
    "attention": "the attention mask",
    "leaks": "where it leaks",
    "outputs": "in the outputs",
    "loss": "in the loss",
}


def render_facts(report: Report) -> str:
    """Return the model, its data, and the rows displayed, as a list of terms."""
    facts = (f"<div><dt>{term}</dt><dd>{description}</dd></div>" for term, description in _list_facts(report))
    return f'<dl class="facts">{"".join(facts)}</dl>'


def _list_facts(report: Report) -> Iterator[tuple[str, str]]:
    inspection, origin = report.inspection, report.origin
    about, primary = inspection.model, inspection.primary
    yield "Model", f"<b>{escape_html(about.name)}</b>, {escape_html(about.type)}, {MODEL_SOURCES[about.source]}"
    source = escape_html(name_source(report.data))
    if primary is None or primary.valid is None:
        yield "Data", f"{source}, {format_count(origin.rows, 'row')}"
    else:
        valid = primary.valid
        sequences, timesteps = format_count(origin.rows, "sequence"), format_count(valid.shape[1], "timestep")
        yield "Data", f"{source}, {sequences} of up to {timesteps}"
        padded = int((~valid).sum())
        total = format_count(valid.size, "timestep")
        yield "Padding", f"{padded:,} of {total} ({format_share(padded, valid.size)})"
    if origin.samples < origin.rows:
        yield "Shown in detail", f"the first {origin.samples:,} rows; findings and losses are of all rows"


def render_cards(report: Report) -> str:
    """Return the questions with their answers."""
    return f'<ul class="cards">{"".join(map(_render_card, report.verdicts))}</ul>'


def _render_card(verdict: Verdict) -> str:
    kind, sign, word = SIGNS[verdict.severity]
    if verdict.severity is None and not verdict.known:
        kind, sign, word = UNKNOWN
    size = " long" if len(verdict.answer) > LONG_ANSWER else ""
    sign = f'<span class="sign" role="img" aria-label="{word}:">{sign}</span>'
    return (
        f'<li class="card {kind}"><h3>{escape_html(verdict.question)}</h3><p class="answer{size}">'
        f"{sign} <span>{escape_html(verdict.answer)}</span></p>"
        f"<p>{render_prose(verdict.text)}</p></li>"
    )


# Findings.


def render_findings(report: Report, sections: Sequence[str]) -> str:
    """Return the findings, the worst first, with links to those of ``sections`` that show them."""
    findings = report.check.findings
    checked = f"{format_count(len(report.check.checked), 'rule')} checked"
    ignored = ""
    if report.check.ignored:
        ignored = f" Rules that report the leak were left out: {', '.join(report.check.ignored)}."
    # A finding is worth more than the warning on the same fact.
    warnings = [] if findings else list_warnings(report)
    parts = []
    if findings:
        items = "".join(_render_finding(finding, report, sections) for finding in findings)
        note = f"<p>{ignored.strip()}</p>" if ignored else ""
        parts.append(
            f'<h3>{_count_findings(findings)} <span class="quiet">{checked}</span></h3>'
            f'{note}<ol class="findings">{items}</ol>'
        )
    elif ignored or warnings or report.check.status != "passed":
        parts.append(f"<h3>No findings</h3><p>{checked}.{ignored}</p>")
    else:
        sign = '<span aria-hidden="true">✓</span>'
        parts.append(f'<h3>No findings</h3><p class="none">{sign} {checked}, and none found a fault.</p>')
    if warnings:
        parts.append(f"<h3>{format_count(len(warnings), 'warning')}</h3>{render_list(warnings)}")
    return "".join(parts)


def list_warnings(report: Report) -> list[Remark]:
    """Return the warnings among the remarks on outputs and loss."""
    remarks = [*report.inspection.remarks, *(report.loss.remarks if report.loss is not None else ())]
    return [remark for remark in remarks if remark.kind == "warning"]


def _count_findings(findings: Sequence[Finding]) -> str:
    """Return the number of findings; those that never fail a check are notes."""
    faults = sum(finding.severity != "info" for finding in findings)
    counts = ((faults, "finding"), (len(findings) - faults, "note"))
    return " and ".join(format_count(count, noun) for count, noun in counts if count)


def _render_finding(finding: Finding, report: Report, sections: Sequence[str]) -> str:
    kind, sign, word = SIGNS[finding.severity]
    return (
        f'<li class="finding {kind}"><h4><span class="badge"><span aria-hidden="true">{sign}</span> {word}</span> '
        f"{_render_culprit(finding)}"
        f'<span class="rule">{escape_html(finding.code)} {escape_html(finding.rule)}</span></h4>'
        f"{_render_location(finding)}"
        f"<p>{render_prose(finding.message)}</p>"
        f'<div class="fix"><strong>Fix</strong>{render_fix(finding)}</div>'
        f"{_render_links(finding, report, sections)}</li>"
    )


def _render_culprit(finding: Finding) -> str:
    """Return the call or the type at fault; empty for the data."""
    if finding.call is None:
        return f'<span class="culprit">{escape_html(finding.type)}</span> ' if finding.type else ""
    type_ = f" ({escape_html(finding.type)})" if finding.type else ""
    return f'<span class="culprit"><code>{escape_html(finding.call)}</code>{type_}</span> '


def _render_location(finding: Finding) -> str:
    """Return the line of the user's code; empty if it is unknown."""
    if finding.location is None:
        return ""
    place = f"{finding.location.file}:{finding.location.line}"
    return f"<p>at <code>{escape_html(place)}</code> in {escape_html(finding.location.function)}</p>"


def _render_links(finding: Finding, report: Report, sections: Sequence[str]) -> str:
    """Return links to the place of a finding: its call in the graph, and the section with its sample."""
    links = []
    if any(call.call == finding.call for call in report.inspection.trace):
        links.append(f'<a href="#graph" data-call="{escape_html(finding.call)}">Show the call in the graph</a>')
    prefix = max((prefix for prefix in PLACES if finding.code.startswith(prefix)), key=len, default="")
    leaks = report.check.leak is not None and report.check.leak.leaks
    shown = [name for name in sections if leaks or name != "leaks"]
    place = next((name for name in PLACES.get(prefix, ()) if name in shown), None)
    if place is not None:
        sample = locate_sample(finding, report)
        text, attribute = SHOWN[place], ""
        if sample is not None:
            attribute = f' data-sample="{sample}"'
            text = f"sample {sample} {text}" if text.startswith("in ") else f"sample {sample}: {text}"
        links.append(f'<a href="#{place}"{attribute}>Show {text}</a>')
    return f'<p class="links">{" ".join(links)}</p>' if links else ""


# Remarks.


def render_remarks(report: Report) -> str:
    """Return further remarks and notes, folded."""
    inspection, model = report.inspection, report.check.examination.model
    notes = inspection.model.notes
    if model is not None:
        notes += model.list_gaps()
    remarks = (*inspection.remarks, *(Remark("fact", note) for note in dict.fromkeys(notes)))
    if not remarks:
        return ""
    count = format_count(len(remarks), "remark")
    return f'<details class="tables"><summary>{count} on the run</summary>{render_list(remarks)}</details>'


def render_list(remarks: Sequence[Remark]) -> str:
    """Return remarks as a list; empty without remarks."""
    badges = {"warning": '<span class="badge"><span aria-hidden="true">!</span> warning</span> '}
    items = "".join(f"<li>{badges.get(remark.kind, '')}{render_prose(remark.text)}</li>" for remark in remarks)
    return f'<ul class="remarks">{items}</ul>' if items else ""
