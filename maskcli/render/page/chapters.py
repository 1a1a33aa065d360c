"""The tables of the terminal, each where its picture stands."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from maskcli.records.report import Report
from maskcli.render.html import render_html
from maskcli.render.parts import Heading, Limits, Part, Remarks, Text
from maskcli.render.views import check, inspect, loss

LIMITS = Limits(rows=24, columns=24, width=110, flows=True)
Chapter = tuple[Part, ...]


def split_chapters(parts: Iterable[Part]) -> list[Chapter]:
    """Return parts by their headings; remarks, which belong to all of them, stand alone."""
    found: list[list[Part]] = [[]]
    for part in parts:
        if isinstance(part, Heading | Remarks):
            found.append([])
        found[-1].append(part)
    return [tuple(chapter) for chapter in found if chapter]


def select_chapters(found: Sequence[Chapter], *titles: str) -> list[Chapter]:
    """Return the chapters whose title begins with one of these; all of them where none is named."""
    headed = [one for one in found if isinstance(one[0], Heading) and len(one) > 1]
    return [one for one in headed if isinstance(one[0], Heading) and one[0].title.startswith(titles or "")]


def make_inspection_chapters(report: Report, *titles: str) -> list[Chapter]:
    """Return chapters of what ``maskcli inspect`` shows."""
    return select_chapters(split_chapters(inspect.view(report.inspection, LIMITS)), *titles)


def make_check_chapters(report: Report, *titles: str) -> list[Chapter]:
    """Return chapters of what ``maskcli check`` shows."""
    return select_chapters(split_chapters(check.view(report.check, LIMITS)), *titles)


def make_loss_chapters(report: Report, *titles: str) -> list[Chapter]:
    """Return chapters of what ``maskcli loss`` shows; none without a loss."""
    return [] if report.loss is None else select_chapters(split_chapters(loss.view(report.loss, LIMITS)), *titles)


def cut_at_blank(chapter: Chapter) -> Chapter:
    """Return what stands in a chapter before its first empty line, behind which a view tells what all comes to."""
    return tuple(itertools.takewhile(lambda part: part != Text(()), chapter))


def render_chapters(found: Iterable[Chapter]) -> str:
    """Return chapters as HTML."""
    return "".join(f'<div class="maskcli">{render_html(chapter)}</div>' for chapter in found)


def render_folded(found: Sequence[Chapter], summary: str) -> str:
    """Return chapters that are unfolded on demand; nothing where there are none."""
    if not found:
        return ""
    return f'<details class="tables"><summary>{summary}</summary>{render_chapters(found)}</details>'
