"""Select rules, run them, and decide whether their findings fail the check."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from maskcli.errors import UsageError
from maskcli.records.check import Examination, Finding
from maskcli.records.options import FailOn
from maskcli.rules import RULES
from maskcli.rules.base import Rule

_SEVERITIES = ("error", "warning", "info")
_ALL = "ALL"
_PREFIX = re.compile(r"MSK\d{0,3}")


def select_rules(select: Sequence[str], ignore: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules that are selected and not ignored; an empty ``select`` selects all.

    Args:
        select: codes, prefixes of codes such as ``MSK1``, names of rules, or ``ALL``.
        ignore: the same. If both match a rule, the longer match decides, so that ``MSK101`` can be selected out of an
            ignored ``MSK1``. Of two equal matches ``ignore`` decides.

    Raises:
        UsageError: if a selector matches no rule.
    """
    for selector in (*select, *ignore):
        if not any(_match(selector, rule) is not None for rule in RULES):
            raise _make_unknown_error(selector, "a code, the beginning of a code or the name of a rule")
    return tuple(rule for rule in RULES if _match_best(select or (_ALL,), rule) > _match_best(ignore, rule))


def find_rule(code: str) -> Rule:
    """Return the rule with a code or a name, in upper or lower case.

    Raises:
        UsageError: if there is no such rule.
    """
    for rule in RULES:
        if code.lower() in (rule.code.lower(), rule.name):
            return rule
    raise _make_unknown_error(code, "the code or the name of a rule")


def judge_all(rules: Iterable[Rule], examination: Examination) -> tuple[Finding, ...]:
    """Return the findings of the rules, sorted by severity, the worst first, then by code."""
    findings = [finding for rule in rules for finding in rule.examine(examination)]
    return tuple(sorted(findings, key=lambda finding: (_SEVERITIES.index(finding.severity), finding.code)))


def is_failing(findings: Iterable[Finding], fail_on: FailOn) -> bool:
    """Return whether any finding is at least as severe as ``fail_on``."""
    return any(_SEVERITIES.index(finding.severity) <= _SEVERITIES.index(fail_on) for finding in findings)


def _match(selector: str, rule: Rule) -> int | None:
    """Return the number of characters of a rule's code that a selector matches; None if it does not match."""
    text = selector.upper()
    if text == _ALL:
        return 0
    if text == rule.name.upper():
        return len(rule.code)
    if _PREFIX.fullmatch(text) and rule.code.startswith(text):
        return len(text)
    return None


def _match_best(selectors: Iterable[str], rule: Rule) -> int:
    matches = [match for selector in selectors if (match := _match(selector, rule)) is not None]
    return max(matches, default=-1)


def _make_unknown_error(selector: str, expected: str) -> UsageError:
    """Return the error for an unknown rule, with the most similar one."""
    fix = "`maskcli rules` lists them."
    similar = _find_similar(selector)
    if similar is not None:
        fix = f"Did you mean {similar}? {fix}"
    return UsageError(expected=expected, received=repr(selector), fix=fix)


def _find_similar(selector: str) -> str | None:
    codes, names = [rule.code for rule in RULES], [rule.name for rule in RULES]
    candidates = [
        *difflib.get_close_matches(selector.upper(), codes, 1),
        *(name for name in names if len(selector) > 2 and selector.lower() in name),
        *difflib.get_close_matches(selector.lower(), names, 1),
    ]
    return next(iter(candidates), None)
