"""Rules as the commands ``rules`` and ``explain`` show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal, Protocol

from maskcli.records.fields import NonEmpty, RuleCode, RuleName, Severity


class RuleText(Protocol):
    """The texts of a rule; ``maskcli.rules.base.Rule``, which is in a room above, has them."""

    @property
    def code(self) -> str:
        """The code, such as ``MSK001``."""

    @property
    def name(self) -> str:
        """The name, in words joined by hyphens."""

    @property
    def severity(self) -> Severity:
        """The severity of its findings."""

    @property
    def about(self) -> Literal["data", "model"]:
        """The subject that it checks."""

    @property
    def summary(self) -> str:
        """The purpose, in one sentence."""

    @property
    def explanation(self) -> tuple[str, ...]:
        """The reasons, in paragraphs."""

    @property
    def bad(self) -> str:
        """Python code with the fault."""

    @property
    def good(self) -> str:
        """Python code without a fault."""


@dataclasses.dataclass(frozen=True)
class RuleSummary:
    """A rule in one line.

    Attributes:
        code: ``MSK`` and three digits.
        name: in words joined by hyphens.
        severity: of its findings.
        about: ``data`` for rules that need no model, otherwise ``model``.
        summary: the purpose of the rule, in one sentence.
    """

    code: RuleCode
    name: RuleName
    severity: Severity
    about: Literal["data", "model"]
    summary: NonEmpty


@dataclasses.dataclass(frozen=True)
class RuleExplanation(RuleSummary):
    """One rule, the reason for it, and its examples.

    Attributes:
        explanation: the reason, one paragraph per line.
        bad: Python code that the rule reports.
        good: Python code that no rule reports.
    """

    explanation: NonEmpty
    bad: NonEmpty
    good: NonEmpty


@dataclasses.dataclass(frozen=True)
class RuleList:
    """The rules of ``maskcli check``.

    Attributes:
        rules: sorted by code.
    """

    rules: tuple[RuleSummary, ...]


def list_rules(rules: Iterable[RuleText]) -> RuleList:
    """Return a line for each rule."""
    return RuleList(tuple(RuleSummary(rule.code, rule.name, rule.severity, rule.about, rule.summary) for rule in rules))


def explain_rule(rule: RuleText) -> RuleExplanation:
    """Return a rule with its explanation and its examples."""
    return RuleExplanation(
        rule.code,
        rule.name,
        rule.severity,
        rule.about,
        rule.summary,
        explanation="\n".join(rule.explanation),
        bad=rule.bad,
        good=rule.good,
    )
