"""Charts of the page: a box to draw in, the specification as data, and a line for keyboard users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from maskcli.render.charts import Figure
from maskcli.render.charts.grids import NARROW, WIDE
from maskcli.render.page.markup import render_json_script
from maskcli.render.text_flow import escape_html

MARGIN = 60
"""Pixels of a chart for the labels of its vertical axis."""


def render_chart(make_figure: Callable[..., Figure | None], number: int = 0) -> str:
    """Return the element that a figure is drawn in; empty without a figure.

    Args:
        make_figure: returns the figure for ``room``, the width of its cells in pixels. The page carries the wide
            figure, and the changes that make it narrow.
        number: distinguishes figures with the same name.
    """
    figure, narrow = make_figure(room=WIDE), make_figure(room=NARROW)
    if figure is None or narrow is None:
        return ""
    name = figure.name
    if number:
        name += f"-{number}"
    data = {
        "spec": figure.spec,
        "narrow": list(compare_specs(figure.spec, narrow.spec)),
        "width": figure.spec["vconcat"][-1]["width"] + MARGIN,
    }
    return (
        f'<figure class="chart" id="chart-{name}">'
        f"<figcaption><h3>{escape_html(figure.title)}</h3></figcaption>"
        f'<div class="controls"></div>'
        f'<div class="box" tabindex="0" role="application" aria-roledescription="chart" '
        f'aria-label="{escape_html(figure.title)}. {escape_html(figure.about)}" aria-describedby="chart-keys">'
        f'<div class="plot" data-spec="spec-{name}"></div></div>'
        f'<p class="readout" role="status"></p></figure>'
        f"{render_json_script(f'spec-{name}', data)}"
    )


def compare_specs(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the path of each value that differs, with its new value."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from compare_specs(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from compare_specs(*pair, (*path, index))
    elif old != new:
        yield path, new


def render_charts(makers: Iterable[Callable[..., Figure | None]]) -> str:
    """Return the charts of several figures of one kind, side by side if there is room; see ``render_chart``."""
    charts = [render_chart(make_figure, number) for number, make_figure in enumerate(makers)]
    content = "".join(charts)
    if len(charts) < 2:
        return content
    return f'<div class="charts">{content}</div>'
