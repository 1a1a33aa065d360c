"""Which rules judge, and what their findings come to."""

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
_EVERY = "ALL"
_PREFIX = re.compile(r"MSK\d{0,3}")


def select_rules(select: Sequence[str], ignore: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules that are selected and not ignored; nothing selected selects all.

    Args:
        select: codes, the beginnings of codes such as ``MSK1``, names of rules, or ``ALL``.
        ignore: the same; of two that fit a rule the longer one counts, so that ``MSK101`` can be selected out of an
            ignored ``MSK1``, and of two equal ones this.

    Raises:
        UsageError: for a selector that fits no rule.
    """
    for selector in (*select, *ignore):
        if not any(_fit(selector, rule) is not None for rule in RULES):
            raise _unknown(selector, "a code, the beginning of a code or the name of a rule")
    return tuple(rule for rule in RULES if _best(select or (_EVERY,), rule) > _best(ignore, rule))


def find_rule(code: str) -> Rule:
    """Return the rule of a code or a name, in letters of either case; raise UsageError for one that is unknown."""
    for rule in RULES:
        if code.lower() in (rule.code.lower(), rule.name):
            return rule
    raise _unknown(code, "the code or the name of a rule")


def judge_all(rules: Iterable[Rule], examination: Examination) -> tuple[Finding, ...]:
    """Return what the rules find, the worst first, then by code."""
    findings = [found for rule in rules for found in rule.judge(examination)]
    return tuple(sorted(findings, key=lambda found: (_SEVERITIES.index(found.severity), found.code)))


def is_failing(findings: Iterable[Finding], fail_on: FailOn) -> bool:
    """Return whether any finding is as severe as ``fail_on``, or more so."""
    return any(_SEVERITIES.index(found.severity) <= _SEVERITIES.index(fail_on) for found in findings)


def _fit(selector: str, rule: Rule) -> int | None:
    """Return how closely a selector describes a rule: by how many letters of its code; None when it does not."""
    wanted = selector.upper()
    if wanted == _EVERY:
        return 0
    if wanted == rule.name.upper():
        return len(rule.code)
    return len(wanted) if _PREFIX.fullmatch(wanted) and rule.code.startswith(wanted) else None


def _best(selectors: Iterable[str], rule: Rule) -> int:
    fits = [fit for selector in selectors if (fit := _fit(selector, rule)) is not None]
    return max(fits, default=-1)


def _unknown(selector: str, expected: str) -> UsageError:
    """Return the error, with the rule that looks most like what was asked for."""
    near = _nearest(selector)
    return UsageError(
        expected=expected,
        received=repr(selector),
        fix=f"{f'Did you mean {near}? ' if near else ''}`maskcli rules` lists them.",
    )


def _nearest(selector: str) -> str | None:
    codes, names = [rule.code for rule in RULES], [rule.name for rule in RULES]
    near = [
        *difflib.get_close_matches(selector.upper(), codes, 1),
        *(name for name in names if len(selector) > 2 and selector.lower() in name),
        *difflib.get_close_matches(selector.lower(), names, 1),
    ]
    return next(iter(near), None)
