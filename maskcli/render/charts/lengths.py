"""The chart of the lengths of a corpus: how many sequences have each length, and the end of each bucket."""

from __future__ import annotations

from maskcli.records.corpus import Histogram
from maskcli.records.profile import CorpusProfile
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec
from maskcli.render.charts.looks import BLUE, INK, VERMILION, assemble_figure, make_layer, make_rgba
from maskcli.render.numbers import format_percent

WIDTH, HEIGHT = 640, 200
BARS = 128
"""Most bars; more lengths than these share bars."""
SHOWN = (50.0, 90.0, 99.0)
"""Percentiles that have a line."""


def make_figure(corpus: CorpusProfile) -> Figure:
    """Return the figure of the lengths."""
    step = -(-(corpus.lengths.max + 1) // BARS)
    title = "Lengths of sequences"
    about = (
        f"{format_count(corpus.sequences, 'sequence')} of {corpus.lengths.min:,} to {corpus.lengths.max:,} tokens, "
        f"on average {corpus.lengths.mean:,.1f}. {len(corpus.buckets)} buckets leave "
        f"{format_percent(corpus.batches[3].padding_share)} padding."
    )
    layers = [
        _draw_bars(count_steps(corpus.lengths.histogram, step), step),
        _draw_lines(
            [(bucket.maxlen, f"bucket {bucket.maxlen:,}") for bucket in corpus.buckets], VERMILION, [4, 3], HEIGHT // 3
        ),
        _draw_lines(
            [(entry.length, f"{entry.percent:g} %") for entry in corpus.lengths.percentiles if entry.percent in SHOWN],
            BLUE,
            [],
            0,
        ),
    ]
    note = f"each bar: {step:,} lengths" if step > 1 else ""
    view = {"width": WIDTH, "height": HEIGHT, "layer": layers}
    return assemble_figure("lengths", title, about, [view], [note, "dashed: ends of buckets", "lines: percentiles"])


def count_steps(histogram: Histogram, step: int) -> dict[int, int]:
    """Return how many sequences are in each range of ``step`` lengths that has any, by its number."""
    counts: dict[int, int] = {}
    for length, count in zip(histogram.lengths.tolist(), histogram.counts.tolist(), strict=True):
        counts[length // step] = counts.get(length // step, 0) + count
    return counts


def _draw_bars(counts: dict[int, int], step: int) -> Spec:
    values = [{"from": row * step, "to": (row + 1) * step, "sequences": count} for row, count in counts.items()]
    return {
        "data": {"values": values},
        "mark": {"type": "rect", "color": make_rgba(BLUE, 0.45)},
        "encoding": {
            "x": {"field": "from", "type": "quantitative", "title": "tokens", "scale": {"nice": False}},
            "x2": {"field": "to"},
            "y": {"field": "sequences", "type": "quantitative", "title": "sequences"},
            "y2": {"datum": 0},
        },
    }


def _draw_lines(places: list[tuple[int, str]], color: tuple[int, int, int], dash: list[int], top: int) -> Spec:
    """Return vertical lines with their labels along them, ``top`` pixels below their upper ends."""
    across = {"field": "length", "type": "quantitative"}
    label = {"x": across, "y": {"value": top}, "text": {"field": "label"}}
    return {
        "data": {"values": [{"length": length, "label": label} for length, label in places]},
        "layer": [
            make_layer("rule", {"x": across}, color=make_rgba(color, 1), strokeDash=dash),
            make_layer("text", label, angle=270, align="right", dx=-2, dy=-6, color=INK),
        ],
    }
