"""The sections of the terminal's views, selected by name, as tables of the page."""

from __future__ import annotations

from collections.abc import Sequence

from maskcli.render.html import render_html
from maskcli.render.parts import Limits, Section, SectionName

LIMITS = Limits(rows=24, columns=24, width=110, flows=True)


def select_sections(sections: Sequence[Section], *names: SectionName) -> list[Section]:
    """Return the sections with one of these names."""
    return [section for section in sections if section.name in names]


def render_tables(sections: Sequence[Section]) -> str:
    """Return sections as HTML, each in an element of its own."""
    return "".join(f'<div class="maskcli">{render_html(section.parts)}</div>' for section in sections)


def render_folded(sections: Sequence[Section], summary: str) -> str:
    """Return sections that unfold on demand; empty without sections."""
    if not sections:
        return ""
    return f'<details class="tables"><summary>{summary}</summary>{render_tables(sections)}</details>'
