"""The sections of a page: charts, and the same data as tables."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from functools import partial

from maskcli.records.report import Report
from maskcli.records.trace import AttentionMask, Inspection
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, attention, batch, future, leaks, losses, outputs
from maskcli.render.graph import html as graph
from maskcli.render.html import render_prose
from maskcli.render.numbers import format_share
from maskcli.render.page import verdict
from maskcli.render.page.charts import render_chart, render_charts
from maskcli.render.page.markup import render_copy_button
from maskcli.render.page.samples import choose_row, choose_sample
from maskcli.render.page.tables import LIMITS, render_folded, render_tables, select_sections
from maskcli.render.page.words import HEADS
from maskcli.render.parts import Heading, Section, make_cell
from maskcli.render.tables import ItemColumn, list_items
from maskcli.render.text_flow import escape_html
from maskcli.render.views import check, inspect, loss


def render_page_sections(report: Report) -> tuple[str, str]:
    """Return the sections of a page, in order, and the links to them; sections without content are left out."""
    contents = {name: render(report) for name, render in BODIES.items()}
    sections = [name for name in HEADS if name == "verdict" or contents.get(name)]
    contents["verdict"] = _render_verdict(report, sections)
    links = "".join(f'<li><a href="#{name}">{HEADS[name].link}</a></li>' for name in sections)
    return "\n".join(_render_section(name, contents[name]) for name in sections), f"<ul>{links}</ul>"


def _render_section(name: str, content: str) -> str:
    head = HEADS[name]
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><div class="text"><h2 id="{name}-title">{head.title}</h2>'
        f'<p class="lead">{head.lead}</p></div><div class="content">{content}</div></section>'
    )


def _render_verdict(report: Report, sections: Sequence[str]) -> str:
    tables = render_folded(check.view(report.check, LIMITS), "Full check output")
    return "".join(
        (
            verdict.render_cards(report),
            verdict.render_findings(report, sections),
            verdict.render_remarks(report),
            tables,
        )
    )


def _render_batch(report: Report) -> str:
    inspection = report.inspection
    if batch.make_inspection_figure(inspection) is None:
        charts = _render_absence("The inputs of this model have no timesteps.")
    else:
        charts = render_chart(partial(batch.make_inspection_figure, inspection))
        for number in range(len(batch.make_further_figures(inspection))):
            charts += render_chart(partial(_make_further, inspection, number), number + 1)
    tables = select_sections(inspect.view(inspection, LIMITS), "batch", "validity", "embedding", "mask-sources")
    return charts + render_folded(tables, "The batch as a table")


def _make_further(inspection: Inspection, number: int, room: int) -> Figure:
    return batch.make_further_figures(inspection, room)[number]


def _render_graph(report: Report) -> str:
    tables = select_sections(inspect.view(report.inspection, LIMITS), "mask-path")
    return graph.render_graph_html(report.inspection) + render_folded(tables, "The path of the mask as a table")


def _render_outputs(report: Report) -> str:
    inspection, sample = report.inspection, choose_sample(report)
    note = ""
    if inspection.unmasked is None:
        note = _render_absence("There is no mask, so there is no comparison.")
    numbers = range(len(inspection.outputs))
    charts = render_charts(partial(outputs.make_figure, inspection, sample, number=number) for number in numbers)
    tables = select_sections(inspect.view(inspection, LIMITS), "outputs", "further-outputs")
    return note + charts + render_folded(tables, "The outputs as a table")


def _render_leaks(report: Report) -> str:
    """Return the probes, and the matrices in which a valid output changes."""
    model = report.check.examination.model
    if model is None or model.leak is None or not any(probe.applicable for probe in model.leak.probes):
        return ""
    probes = render_tables(select_sections(check.view(report.check, LIMITS), "leak"))
    sample = choose_sample(report)
    shown = [matrix for matrix in report.leaks if leaks.find_leaks(matrix).any()]
    charts = render_charts(partial(leaks.make_figure, matrix, choose_row(matrix, sample)) for matrix in shown)
    quiet = (leaks.describe_leaks(matrix) for matrix in report.leaks if not leaks.find_leaks(matrix).any())
    notes = [text for text in (*quiet, report.no_leaks) if text]
    return probes + charts + "".join(map(_render_absence, notes))


def _render_future(report: Report) -> str:
    model = report.check.examination.model
    effects = () if model is None else model.future
    charts = render_charts(partial(future.make_figure, effect) for effect in effects if effect.matrix is not None)
    if not charts:
        return ""
    return render_tables(select_sections(check.view(report.check, LIMITS), "future")) + charts


def _render_loss(report: Report) -> str:
    if report.loss is None:
        return ""
    sections = loss.view(report.loss, LIMITS)
    totals = select_sections(sections, "total", "losses")
    origin = select_sections(sections, "shares", "lengths", "largest")
    others = select_sections(sections, "batch-sizes", "reductions", "metrics")
    return "".join(
        (
            render_tables(totals),
            verdict.render_list(report.loss.remarks),
            render_charts(partial(losses.make_figure, output) for output in report.loss.outputs),
            render_folded(origin, "The losses as tables"),
            render_folded(others, "Batch sizes, reductions and metrics"),
        )
    )


def _render_attention(report: Report) -> str:
    masks = report.attention
    if not masks:
        return ""
    samples = len(masks[0].mask)
    sample = min(choose_sample(report), samples - 1)
    charts = render_charts(partial(attention.make_figure, mask, sample) for mask in masks)
    note = ""
    if samples < report.origin.samples:
        first = format_count(samples, "sample")
        note = _render_absence(f"Long sequences: the page contains the first {first} of {report.origin.samples:,}.")
    calls = format_count(len(masks), "attention call")
    return note + charts + render_folded([_tabulate_attention(masks)], f"{calls} as a table")


def _tabulate_attention(masks: Sequence[AttentionMask]) -> Section:
    fields: list[ItemColumn[AttentionMask]] = [
        ItemColumn("call", lambda mask: make_cell(mask.call, "label"), "left"),
        ItemColumn("type", lambda mask: make_cell(mask.type), "left"),
        ItemColumn("heads", lambda mask: make_cell(mask.heads)),
        ItemColumn("causal", lambda mask: make_cell("yes" if mask.causal else "no"), "left"),
        ItemColumn("allowed pairs", lambda mask: make_cell(format_share(int(mask.mask.sum()), mask.mask.size))),
        ItemColumn(
            "most attention to padding",
            lambda mask: make_cell("unknown" if mask.to_padding is None else f"{mask.to_padding:.3g}"),
        ),
    ]
    return Section(
        "attention",
        (Heading("Attention calls"), *list_items(fields, masks, "call", dataclasses.replace(LIMITS, rows=None))),
    )


def _render_about(report: Report) -> str:
    origin = report.origin
    versions = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(version)}</dd></div>"
        for name, version in origin.versions.items()
        if version is not None
    )
    seed = "" if origin.seed is None else f"<p>The weights were made with seed {origin.seed}.</p>"
    save = '<p class="actions needs-js"><button type="button" id="save">Save the data as JSON</button></p>'
    return f'<dl class="versions">{versions}</dl>{seed}{_render_command(origin.command)}{save}'


def _render_command(command: Sequence[str]) -> str:
    if not command:
        return "<p>Made in Python with <code>maskcli.report</code>.</p>"
    line = shlex.join(command)
    return (
        f'<h3>Command line {render_copy_button(line)}</h3><pre class="command" '
        f'tabindex="0"><code>{escape_html(line)}</code></pre>'
    )


def _render_absence(reason: str | None) -> str:
    """Return why there is no chart; empty without a reason."""
    if not reason:
        return ""
    return f'<p class="quiet absent">{render_prose(reason)}</p>'


BODIES: dict[str, Callable[[Report], str]] = {
    "batch": _render_batch,
    "graph": _render_graph,
    "outputs": _render_outputs,
    "leaks": _render_leaks,
    "future": _render_future,
    "loss": _render_loss,
    "attention": _render_attention,
    "about": _render_about,
}
"""The content of each section of ``HEADS`` after the verdict; empty for a section to leave out."""
