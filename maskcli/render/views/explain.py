"""One rule, explained."""

from __future__ import annotations

from maskcli.records.rules import RuleText
from maskcli.render.parts import Code, Heading, Limits, Paragraph, Part, Section


def view(rule: RuleText, _limits: Limits) -> list[Section]:
    """Return the summary of a rule, its reasons, and its examples."""
    parts: tuple[Part, ...] = (
        Heading(f"{rule.code} {rule.name}", f"{rule.severity}, about the {rule.about}"),
        *(Paragraph(text) for text in (rule.summary, *rule.explanation)),
        Heading("Bad"),
        Code(rule.bad, "python"),
        Heading("Good"),
        Code(rule.good, "python"),
    )
    return [Section("rules", parts)]
