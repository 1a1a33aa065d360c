"""The sections of a page: the picture of each, and the same as tables."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

from maskcli.records.report import Report
from maskcli.records.trace import AttentionMask
from maskcli.render.charts import attention, batch, leaks, losses, outputs
from maskcli.render.graph import html as graph
from maskcli.render.numbers import format_count, format_share
from maskcli.render.page import chapters, verdict
from maskcli.render.page.charts import render_chart, render_side_by_side
from maskcli.render.page.markup import escape_html, render_copy_button, render_prose
from maskcli.render.page.words import HEADS


def render_sections(report: Report) -> str:
    """Return the sections of a page, one after the other."""
    bodies = {
        "verdict": _verdict(report),
        "batch": _batch(report),
        "graph": _graph(report),
        "outputs": _outputs(report),
        "leaks": _leaks(report),
        "loss": _loss(report),
        "attention": _attention(report),
        "about": _about(report),
    }
    return "\n".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{head.title}</h2>'
        f'<p class="lead">{head.lead}</p>{bodies[name]}</section>'
        for name, head in HEADS.items()
    )


def render_links() -> str:
    """Return what leads to the sections, as a list."""
    return "".join(("<ul>", *(f'<li><a href="#{name}">{head.link}</a></li>' for name, head in HEADS.items()), "</ul>"))


def choose_sample(report: Report) -> int:
    """Return the sample that charts of one sample begin with: where padding leaks most, or else the first with any."""
    for matrix in report.leaks:
        moves = np.nan_to_num(np.where(matrix.valid[:, :, None], matrix.change, 0.0), nan=0.0)
        if moves.size and moves.max() > matrix.tolerance:
            return int(moves.max(axis=(1, 2)).argmax())
    valid = report.inspection.valid
    return 0 if valid is None or valid.all() else int((~valid.all(axis=1)).argmax())


def _verdict(report: Report) -> str:
    said = chapters.render_folded(chapters.make_check_chapters(report), "All that the check says")
    return verdict.render_cards(report) + verdict.render_findings(report) + verdict.render_remarks(report) + said


def _batch(report: Report) -> str:
    drawn = batch.make_inspection_figure(report.inspection)
    if drawn is None:
        shown = _none("The inputs of this model have no timesteps.")
    else:
        others = enumerate(batch.make_further_figures(report.inspection), 1)
        shown = "".join((render_chart(drawn), *(render_chart(other, number) for number, other in others)))
    titles = ("Tokens and mask", "Timesteps and mask", "Embedding vector", "The three mask sources")
    return shown + chapters.render_folded(chapters.make_inspection_chapters(report, *titles), "The batch as a table")


def _graph(report: Report) -> str:
    told = chapters.make_inspection_chapters(report, "Path of the mask")
    return graph.render_graph_html(report.inspection) + chapters.render_folded(told, "The way of the mask as a table")


def _outputs(report: Report) -> str:
    alone = "" if report.inspection.unmasked is not None else _none("There is no mask, and so nothing to compare with.")
    told = chapters.make_inspection_chapters(report, "Output", "Further outputs")
    sample, several = choose_sample(report), range(len(report.inspection.outputs))
    drawn = (render_chart(outputs.make_figure(report.inspection, sample, number=number), number) for number in several)
    return alone + "".join(drawn) + chapters.render_folded(told, "The outputs as a table")


def _leaks(report: Report) -> str:
    probes = chapters.render_chapters(
        map(chapters.cut_at_blank, chapters.make_check_chapters(report, "Does padding leak?"))
    )
    sample = choose_sample(report)
    drawn = [render_chart(leaks.make_figure(matrix, sample), number) for number, matrix in enumerate(report.leaks)]
    return probes + render_side_by_side(drawn) + (_none(report.no_leaks) if report.no_leaks else "")


def _loss(report: Report) -> str:
    judged = report.loss
    if judged is None:
        return _none(report.no_loss or "There is no loss.")
    drawn = [(number, losses.make_figure(output)) for number, output in enumerate(judged.outputs)]
    return "".join(
        (
            render_side_by_side([render_chart(figure, number) for number, figure in drawn if figure is not None]),
            chapters.render_folded(
                chapters.make_loss_chapters(report, "Where the loss", "The loss", "Largest shares"),
                "The losses as tables",
            ),
            chapters.render_chapters(
                chapters.make_loss_chapters(report, "Loss", "Batch sizes", "The same losses", "Metrics")
            ),
            verdict.render_list(judged.remarks),
        )
    )


def _attention(report: Report) -> str:
    if not report.attention:
        return _none("No call of this model is attention.")
    sample = choose_sample(report)
    shown = len(report.attention[0].mask)
    drawn = [
        render_chart(attention.make_figure(call, min(sample, shown - 1)), number)
        for number, call in enumerate(report.attention)
    ]
    few = f"Sequences are long: the first {format_count(shown, 'sample')} of {report.origin.samples:,} can be seen."
    return (
        (_none(few) if shown < report.origin.samples else "")
        + render_side_by_side(drawn)
        + _calls_of_attention(report.attention)
    )


def _calls_of_attention(calls: Sequence[AttentionMask]) -> str:
    titles = ("call", "type", "heads", "causal", "allowed", "attention to padding, at most")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        f'<details class="tables"><summary>{format_count(len(calls), "call")} of attention as a table</summary>'
        '<div class="maskcli"><div class="mk-scroll" tabindex="0" role="region" aria-label="Calls of attention">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_call_of_attention, calls))}</tbody></table>"
        "</div></div></details>"
    )


def _call_of_attention(call: AttentionMask) -> str:
    padding = "not known" if call.to_padding is None else f"{call.to_padding:.3g}"
    allowed = f"{format_share(int(call.mask.sum()), call.mask.size)} of pairs"
    cells = (escape_html(call.type), str(call.heads), "yes" if call.causal else "no", allowed, padding)
    return f'<tr><th scope="row">{escape_html(call.call)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _about(report: Report) -> str:
    origin = report.origin
    versions = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(of)}</dd></div>" for name, of in origin.versions.items()
    )
    seed = "" if origin.seed is None else f"<p>The weights were made with seed {origin.seed}.</p>"
    save = '<p class="actions needs-js"><button type="button" id="save">Save the data as JSON</button></p>'
    return f'<dl class="versions">{versions}</dl>{seed}{_command(origin.command)}{save}'


def _command(command: Sequence[str]) -> str:
    if not command:
        return "<p>It was made in Python, by <code>maskcli.report</code>.</p>"
    line = shlex.join(command)
    return (
        f'<h3>Command line {render_copy_button(line)}</h3><pre class="command" '
        f'tabindex="0"><code>{escape_html(line)}</code></pre>'
    )


def _none(why: str) -> str:
    return f'<p class="quiet absent">{render_prose(why)}</p>'
