"""One rule, explained."""

from __future__ import annotations

from maskcli.records.rules import RuleText
from maskcli.render.parts import Code, Heading, Limits, Paragraph, Part


def view(rule: RuleText, _limits: Limits) -> list[Part]:
    """Return what the rule finds, why that matters, and its examples."""
    return [
        Heading(f"{rule.code} {rule.name}", f"{rule.severity}, about the {rule.about}"),
        *(Paragraph(text) for text in (rule.summary, *rule.explanation)),
        Heading("Bad"),
        Code(rule.bad, "python"),
        Heading("Good"),
        Code(rule.good, "python"),
    ]
