"""The rules."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from maskcli.records.rules import RuleText
from maskcli.render.parts import Cell, Column, Heading, Limits, Paragraph, Part, Table, make_cell

ABOUT = {"data": ("Data", "judged without TensorFlow"), "model": ("Model", "judged with the data it runs on")}
NARROWEST = 24
"""Characters of a summary on a line, however narrow the screen."""


def view(rules: Sequence[RuleText], limits: Limits) -> list[Part]:
    """Return a table of the rules about data and one of those about models."""
    parts: list[Part] = []
    for about, (title, detail) in ABOUT.items():
        group = [rule for rule in rules if rule.about == about]
        if group:
            parts += [Heading(title, detail), _table(group, limits)]
    return [*parts, Paragraph("`maskcli explain CODE` tells why, with examples.")]


def _table(rules: Sequence[RuleText], limits: Limits) -> Table:
    columns = tuple(Column(title, "left") for title in ("code", "name", "severity", "what it finds"))
    taken = sum(
        max(map(len, (column.title, *texts))) + 2
        for column, texts in zip(columns, zip(*map(_short, rules), strict=True), strict=False)
    )
    room = sys.maxsize if limits.flows else max(NARROWEST, limits.width - taken)
    return Table(columns, tuple(row for rule in rules for row in _rows(rule, room)))


def _short(rule: RuleText) -> tuple[str, str, str]:
    return rule.code, rule.name, rule.severity


def _rows(rule: RuleText, room: int) -> Iterator[tuple[tuple[Cell, ...], ...]]:
    """Return a row for each line of the summary, which is too long for one."""
    first, *others = textwrap.wrap(rule.summary, room)
    code, name, severity = _short(rule)
    yield (
        make_cell(code, "label"),
        make_cell(name),
        make_cell(severity, "strong" if severity == "error" else "plain"),
        make_cell(first),
    )
    for line in others:
        yield (), (), (), make_cell(line)
