"""Charts of the page: a box to draw in, the specification as data, and a line for keyboard users."""

from __future__ import annotations

from collections.abc import Sequence

from maskcli.render.charts import Figure
from maskcli.render.page.markup import escape_html, render_json_script


def render_chart(figure: Figure, number: int = 0) -> str:
    """Return the element that a figure is drawn in; ``number`` distinguishes figures with the same name."""
    name = figure.name
    if number:
        name += f"-{number}"
    return (
        f'<figure class="chart" id="chart-{name}">'
        f"<figcaption><h3>{escape_html(figure.title)}</h3></figcaption>"
        f'<div class="controls"></div>'
        f'<div class="box" tabindex="0" role="application" aria-roledescription="chart" '
        f'aria-label="{escape_html(figure.title)}. {escape_html(figure.about)}" aria-describedby="chart-keys">'
        f'<div class="plot" data-spec="spec-{name}"></div></div>'
        f'<p class="readout" role="status"></p></figure>'
        f"{render_json_script(f'spec-{name}', figure.spec)}"
    )


def render_side_by_side(charts: Sequence[str]) -> str:
    """Return charts of one kind, side by side if there is room."""
    content = "".join(charts)
    if len(charts) < 2:
        return content
    return f'<div class="charts">{content}</div>'
