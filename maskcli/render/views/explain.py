"""One rule, explained."""

from __future__ import annotations

import re

from maskcli.records.rules import RuleText
from maskcli.render.parts import Code, Heading, Limits, Paragraph, Part, Section, suggest_next

COMPARISON = """\
if __name__ == "__main__":
    import maskcli

    backends = ["tensorflow", "jax"]
    model = "example.py:build"
    print(maskcli.compare(sequences, model=model, backends=backends))"""
"""Each backend has a process, which imports the model; the comparison is no part of that."""


def view(rule: RuleText, _limits: Limits) -> list[Section]:
    """Return the summary of a rule, its reasons, and its examples, each a file that can be run."""
    parts: tuple[Part, ...] = (
        Heading(f"{rule.code} {rule.name}", f"{rule.severity}, about the {rule.about}"),
        *(Paragraph(text) for text in (rule.summary, *rule.explanation)),
        Heading("Bad"),
        Code(_complete_example(rule.bad), "python"),
        Heading("Good"),
        Code(_complete_example(rule.good), "python"),
        *suggest_next("paste an example into example.py; `python example.py` checks it."),
    )
    return [Section("rules", parts)]


def _complete_example(code: str) -> str:
    """Return an example with the lines that check it."""
    if re.search(r"^def build\(", code, re.M):
        return f"{code}\n\n{COMPARISON}"
    names = set(re.findall(r"^(\w+) = ", code, re.M))
    arguments = ["arrays" if "arrays" in names else "sequences"]
    if "model" in names:
        arguments.append("model=model")
    if "options" in names:
        arguments.append("**options")
    return f"{code}\n\nimport maskcli\n\nprint(maskcli.check({', '.join(arguments)}))"
