"""The rules."""

from __future__ import annotations

from collections.abc import Sequence

from maskcli.records.rules import RuleText
from maskcli.render.parts import Column, Heading, Limits, Paragraph, Part, Section, Table, make_cell

SUBJECTS = {"data": ("Data", "checked without TensorFlow"), "model": ("Model", "checked with the data it runs on")}


def view(rules: Sequence[RuleText], _limits: Limits) -> list[Section]:
    """Return a table of the rules about data and one of those about models."""
    tables: list[Part] = []
    for about, (title, detail) in SUBJECTS.items():
        group = [rule for rule in rules if rule.about == about]
        if group:
            tables += [Heading(title, detail), _make_table(group)]
    hint = Paragraph("Run `maskcli explain CODE` for details and examples.")
    return [Section("rules", (*tables, hint))]


def _make_table(rules: Sequence[RuleText]) -> Table:
    titles = ("code", "name", "severity")
    columns = (*(Column(title, "left") for title in titles), Column("fault", "left", prose=True))
    rows = (
        (
            make_cell(rule.code, "label"),
            make_cell(rule.name),
            make_cell(rule.severity, "strong" if rule.severity == "error" else "plain"),
            make_cell(rule.summary),
        )
        for rule in rules
    )
    return Table(columns, tuple(rows))
