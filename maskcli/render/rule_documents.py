"""Rules to the JSON documents of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class RuleText(Protocol):
    """What is shown of a rule; see ``maskcli.rules.base.Rule``, which lies below this floor."""

    @property
    def code(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def about(self) -> str: ...  # noqa: D102
    @property
    def summary(self) -> str: ...  # noqa: D102
    @property
    def explanation(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def bad(self) -> str: ...  # noqa: D102
    @property
    def good(self) -> str: ...  # noqa: D102


def make_rules_document(rules: Sequence[RuleText]) -> dict[str, Any]:
    """Return ``maskcli/rules/1``."""
    return {"schema": "maskcli/rules/1", "rules": [_rule(rule) for rule in rules]}


def make_explain_document(rule: RuleText) -> dict[str, Any]:
    """Return ``maskcli/explain/1``; ``explanation`` has a paragraph a line."""
    return {
        "schema": "maskcli/explain/1",
        **_rule(rule),
        "explanation": "\n".join(rule.explanation),
        "bad": rule.bad,
        "good": rule.good,
    }


def _rule(rule: RuleText) -> dict[str, str]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity,
        "about": rule.about,
        "summary": rule.summary,
    }
