"""What a page begins with: the model and its data, three questions with their answers, and the findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from maskcli.records.check import Finding
from maskcli.records.remark import Remark
from maskcli.records.report import Report, Verdict
from maskcli.render.numbers import format_count, format_share
from maskcli.render.page.markup import escape_html, render_copyable, render_prose
from maskcli.render.text_flow import split_code
from maskcli.render.views.check import SOURCES

SIGNS = {None: ("good", "✓", "fine"), "info": ("info", "i", "note"), "warning": ("warning", "!", "warning")}
ERROR = ("error", "✕", "error")
UNKNOWN = ("unknown", "?", "not known")
WORTH = re.compile(r"[(=]")
"""What is in code that someone pastes, and not in a name."""

LONG = 20
"""Characters of an answer from which on it is set smaller."""


def render_facts(report: Report) -> str:
    """Return the model, the data, and what is shown of it, as a list of terms."""
    found = [*_facts(report)]
    return f'<dl class="facts">{"".join(f"<div><dt>{term}</dt><dd>{told}</dd></div>" for term, told in found)}</dl>'


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    inspection, origin = report.inspection, report.origin
    about, given = inspection.model, inspection.primary
    yield "Model", f"{escape_html(about.type)}, {SOURCES[about.source]}"
    if given is None or given.valid is None:
        yield "Data", format_count(origin.rows, "row")
    else:
        yield (
            "Data",
            f"{format_count(origin.rows, 'sequence')} of up to {format_count(given.valid.shape[1], 'timestep')}",
        )
        padded, size = int((~given.valid).sum()), given.valid.size
        yield "Padding", f"{padded:,} of {format_count(size, 'timestep')} ({format_share(padded, size)})"
    if origin.samples < origin.rows:
        yield "Shown closely", f"the first {origin.samples:,} rows; findings and losses are of all"


def render_cards(report: Report) -> str:
    """Return the questions with their answers."""
    return f'<ul class="cards">{"".join(map(_card, report.verdicts))}</ul>'


def _card(verdict: Verdict) -> str:
    kind, sign, word = _told(verdict)
    long = " long" if len(verdict.answer) > LONG else ""
    return (
        f'<li class="card {kind}"><h3>{escape_html(verdict.question)}</h3><p class="answer{long}">'
        f'<span class="sign" aria-hidden="true">{sign}</span> <span>{escape_html(verdict.answer)}</span></p>'
        f'<p class="word">{word}</p><p>{render_prose(verdict.text)}</p></li>'
    )


def _told(verdict: Verdict) -> tuple[str, str, str]:
    """Return how an answer looks: a class, a sign and a word."""
    if verdict.severity is None and not verdict.known:
        return UNKNOWN
    return SIGNS.get(verdict.severity, ERROR)


def render_findings(report: Report) -> str:
    """Return what rules found, the worst first."""
    found = report.check.findings
    checked = f"{format_count(len(report.check.checked), 'rule')} judged this model and its data"
    if not found:
        told = f'<span aria-hidden="true">✓</span> {checked}, and found nothing.'
        return f'<h3>No findings</h3><p class="none">{told}</p>'
    heading = f"<h3>{format_count(len(found), 'finding')}</h3>"
    told = f"<p>{checked}. The worst stands first, with what to do about it.</p>"
    return f'{heading}{told}<ol class="findings">{"".join(map(_finding, found))}</ol>'


def _finding(finding: Finding) -> str:
    kind, sign, word = SIGNS.get(finding.severity, ERROR)
    culprit = finding.call or finding.type
    at = f'<span class="culprit"> at <code>{escape_html(culprit)}</code></span>' if culprit else ""
    return (
        f'<li class="finding {kind}"><h4><span class="badge"><span aria-hidden="true">{sign}</span> {word}</span> '
        f"{escape_html(finding.code)} {escape_html(finding.rule)}{at}</h4>"
        f"<p>{render_prose(finding.message)}</p>"
        f'<p class="fix"><strong>What to do</strong> {_fix(finding.fix)}</p></li>'
    )


def _fix(fix: str) -> str:
    """Return what to do; code that is worth it can be copied."""
    return "".join(
        render_copyable(piece) if is_code and WORTH.search(piece) else render_prose(f"`{piece}`" if is_code else piece)
        for piece, is_code in split_code(fix)
    )


def render_remarks(report: Report) -> str:
    """Return what else was seen, and what could not be."""
    inspection, seen = report.inspection, report.check.examination.model
    told = (*inspection.model.notes, *(seen.list_gaps() if seen is not None else ()))
    listing = render_list((*inspection.remarks, *(Remark("fact", note) for note in dict.fromkeys(told))))
    return f"<h3>Also seen</h3>{listing}" if listing else ""


def render_list(told: Sequence[Remark]) -> str:
    """Return remarks as a list; nothing where there are none."""
    lines = "".join(f"<li>{_mark(one)}{render_prose(one.text)}</li>" for one in told)
    return f'<ul class="remarks">{lines}</ul>' if lines else ""


def _mark(remark: Remark) -> str:
    warns = remark.kind == "warning"
    return '<span class="badge"><span aria-hidden="true">!</span> warning</span> ' if warns else ""
