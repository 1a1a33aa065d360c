"""The beginning of a page: model and data, three questions with their answers, and the findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from maskcli.records.check import Finding
from maskcli.records.remark import Remark
from maskcli.records.report import Report, Verdict
from maskcli.render.numbers import format_count, format_share
from maskcli.render.page.markup import escape_html, render_copyable, render_prose
from maskcli.render.text_flow import split_code
from maskcli.render.views.inspect import MODEL_SOURCES

Sign = tuple[str, str, str]
"""The look of an answer: a class, a sign and a word."""
SIGNS: dict[str | None, Sign] = {
    None: ("good", "✓", "fine"),
    "info": ("info", "i", "note"),
    "warning": ("warning", "!", "warning"),
    "error": ("error", "✕", "error"),
}
UNKNOWN: Sign = ("unknown", "?", "unknown")
PASTED_CODE = re.compile(r"[(=]")
"""A character of code to copy, as opposed to a name."""
LONG_ANSWER = 20
"""Characters beyond which an answer is set smaller."""


def render_facts(report: Report) -> str:
    """Return the model, its data, and the rows displayed, as a list of terms."""
    facts = (f"<div><dt>{term}</dt><dd>{description}</dd></div>" for term, description in _list_facts(report))
    return f'<dl class="facts">{"".join(facts)}</dl>'


def _list_facts(report: Report) -> Iterator[tuple[str, str]]:
    inspection, origin = report.inspection, report.origin
    about, primary = inspection.model, inspection.primary
    yield "Model", f"{escape_html(about.type)}, {MODEL_SOURCES[about.source]}"
    if primary is None or primary.valid is None:
        yield "Data", format_count(origin.rows, "row")
    else:
        valid = primary.valid
        sequences, timesteps = format_count(origin.rows, "sequence"), format_count(valid.shape[1], "timestep")
        yield "Data", f"{sequences} of up to {timesteps}"
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
    return (
        f'<li class="card {kind}"><h3>{escape_html(verdict.question)}</h3><p class="answer{size}">'
        f'<span class="sign" aria-hidden="true">{sign}</span> <span>{escape_html(verdict.answer)}</span></p>'
        f'<p class="word">{word}</p><p>{render_prose(verdict.text)}</p></li>'
    )


def render_findings(report: Report) -> str:
    """Return the findings, the worst first."""
    findings = report.check.findings
    checked = f"{format_count(len(report.check.checked), 'rule')} checked"
    ignored = ""
    if report.check.ignored:
        ignored = f" Rules that report the leak were left out: {', '.join(report.check.ignored)}."
    if not findings:
        sign = "!" if ignored else "✓"
        text = f'<span aria-hidden="true">{sign}</span> {checked}, no findings.{ignored}'
        return f'<h3>No findings</h3><p class="none">{text}</p>'
    heading = f"<h3>{format_count(len(findings), 'finding')}</h3>"
    text = f"<p>{checked}. Worst first, each with a fix.{ignored}</p>"
    return f'{heading}{text}<ol class="findings">{"".join(map(_render_finding, findings))}</ol>'


def _render_finding(finding: Finding) -> str:
    kind, sign, word = SIGNS[finding.severity]
    culprit = finding.call or finding.type
    place = f'<span class="culprit"> at <code>{escape_html(culprit)}</code></span>' if culprit else ""
    return (
        f'<li class="finding {kind}"><h4><span class="badge"><span aria-hidden="true">{sign}</span> {word}</span> '
        f"{escape_html(finding.code)} {escape_html(finding.rule)}{place}</h4>"
        f"<p>{render_prose(finding.message)}</p>"
        f'<p class="fix"><strong>Fix</strong> {_render_fix(finding.fix)}</p></li>'
    )


def _render_fix(fix: str) -> str:
    """Return a fix; code that is more than a name has a copy button."""
    return "".join(_render_piece(piece, is_code) for piece, is_code in split_code(fix))


def _render_piece(piece: str, is_code: bool) -> str:
    if is_code and PASTED_CODE.search(piece):
        return render_copyable(piece)
    return render_prose(f"`{piece}`" if is_code else piece)


def render_remarks(report: Report) -> str:
    """Return further remarks and notes."""
    inspection, model = report.inspection, report.check.examination.model
    notes = inspection.model.notes
    if model is not None:
        notes += model.list_gaps()
    remarks = render_list((*inspection.remarks, *(Remark("fact", note) for note in dict.fromkeys(notes))))
    if not remarks:
        return ""
    return f"<h3>More remarks</h3>{remarks}"


def render_list(remarks: Sequence[Remark]) -> str:
    """Return remarks as a list; empty without remarks."""
    items = "".join(f"<li>{_render_badge(remark)}{render_prose(remark.text)}</li>" for remark in remarks)
    if not items:
        return ""
    return f'<ul class="remarks">{items}</ul>'


def _render_badge(remark: Remark) -> str:
    if remark.kind != "warning":
        return ""
    return '<span class="badge"><span aria-hidden="true">!</span> warning</span> '
