"""Select rules, run them, and decide whether their findings fail the check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from maskcli.errors import UsageError
from maskcli.records.options import FailOn
from maskcli.rules import RULES
from maskcli.rules.rule import Rule

if TYPE_CHECKING:
    from maskcli.records.check import Examination, Finding

_SEVERITIES = ("error", "warning", "info")
_ALL = "ALL"
_PREFIX = re.compile(r"MSK\d{0,3}")
_MOST_SIMILAR = 5
_MOST_MENTIONING = 4
"""Rules that a message suggests."""


_NUMBERS = (101, 102, 103, 104, 106, 107, 108, 109, 110, 111, 112, 115, 116, 118)
LEAK_REPORTERS = frozenset(f"MSK{number}" for number in _NUMBERS)
"""The codes of the rules that report a leak, or that it is unproven."""


def select_rules(
    select: str | Sequence[str], ignore: str | Sequence[str], about: Literal["data", "model"] | None = None
) -> tuple[Rule, ...]:
    """Return the rules that are selected and not ignored; an empty ``select`` selects all.

    Args:
        select: codes, prefixes of codes such as ``MSK1``, names of rules, or ``ALL``; as text, separated by commas.
        ignore: the same. If both match a rule, the longer match decides, so that ``MSK101`` can be selected out of an
            ignored ``MSK1``. Of two equal matches ``ignore`` decides.
        about: only rules about the data, or about the model; None for both. Never one that compares backends.

    Raises:
        UsageError: if a selector matches no rule, or if no rule remains.
    """
    select, ignore = _split_selectors(select), _split_selectors(ignore)
    for selector in (*select, *ignore):
        if not any(_match(selector, rule) is not None for rule in RULES):
            raise _make_unknown_error(selector, "a code, the beginning of a code or the name of a rule")
    rules = tuple(
        rule
        for rule in RULES
        if not rule.compares
        and about in (None, rule.about)
        and _match_best(select or (_ALL,), rule) > _match_best(ignore, rule)
    )
    if not rules:
        raise _make_empty_error(select, ignore, about)
    return rules


def _split_selectors(selectors: str | Sequence[str]) -> Sequence[str]:
    return [part.strip() for part in selectors.split(",")] if isinstance(selectors, str) else selectors


def _make_empty_error(select: Sequence[str], ignore: Sequence[str], about: str | None) -> UsageError:
    """Return the error for options that leave no rule, and so would pass any model."""
    kind = "rule" if about is None else f"rule about the {about}"
    return UsageError(
        where="--select, --ignore",
        expected=f"at least one {kind} to judge by",
        received=f"select {', '.join(select) or _ALL}, ignore {', '.join(ignore) or 'none'}, which leave none",
        fix="Select more rules, or ignore fewer; `maskcli rules` lists them.",
    )


def find_rule(code: str) -> Rule:
    """Return the rule with a code or a name, in upper or lower case, its words joined by hyphens or underscores.

    Raises:
        UsageError: if there is no such rule.
    """
    for rule in RULES:
        if _spell_name(code) in (rule.code.lower(), rule.name):
            return rule
    error = _make_unknown_error(code, "the code or the name of a rule")
    mentioning = _find_mentioning(code.strip().lower())
    if mentioning:
        error.fix = f"Rules that mention it: {', '.join(mentioning)}. {error.fix}"
    raise error


def judge_all(rules: Iterable[Rule], examination: Examination) -> tuple[Finding, ...]:
    """Return the findings of the rules, sorted by severity, the worst first, then by code."""
    from maskcli.rules.identity import identify  # Only with findings: commands that list rules import no hash.

    findings = sort_findings(finding for rule in rules for finding in _examine(rule, examination))
    return tuple(identify(findings, examination))


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings sorted by severity, the worst first, then by code."""
    return tuple(sorted(findings, key=lambda finding: (_SEVERITIES.index(finding.severity), finding.code)))


def _examine(rule: Rule, examination: Examination) -> list[Finding]:
    """Return the findings of a rule; MSK107 also reports a leak that no rule explains."""
    from maskcli.rules import padding_leaks

    findings, model = list(rule.examine(examination)), examination.model
    if rule.code != padding_leaks.CODE or findings or model is None or model.leak is None or not model.leak.leaks:
        return findings
    others = (other for other in RULES if other.code in LEAK_REPORTERS and other.code != rule.code)
    if any(finding.severity != "info" for other in others for finding in other.examine(examination)):
        return findings
    return [padding_leaks.report_leak(model, model.leak, model.call(model.leak.first_call))]


def find_ignored(rules: Iterable[Rule], examination: Examination) -> tuple[str, ...]:
    """Return the codes of the rules that report a leak, or that it is unproven, and are not among ``rules``."""
    model = examination.model
    if model is None or model.leak is None or model.leak.leaks is False:
        return ()
    checked = {rule.code for rule in rules}
    ignored = (rule for rule in RULES if rule.code in LEAK_REPORTERS and rule.code not in checked)
    return tuple(rule.code for rule in ignored if _examine(rule, examination))


def is_failing(findings: Iterable[Finding], fail_on: FailOn) -> bool:
    """Return whether any finding is at least as severe as ``fail_on``."""
    if fail_on == "never":
        return False
    return any(_SEVERITIES.index(finding.severity) <= _SEVERITIES.index(fail_on) for finding in findings)


def _match(selector: str, rule: Rule) -> int | None:
    """Return the number of characters of a rule's code that a selector matches; None if it does not match."""
    text = selector.upper()
    if text == _ALL:
        return 0
    if _spell_name(selector) == rule.name:
        return len(rule.code)
    if _PREFIX.fullmatch(text) and rule.code.startswith(text):
        return len(text)
    return None


def _match_best(selectors: Iterable[str], rule: Rule) -> int:
    matches = [match for selector in selectors if (match := _match(selector, rule)) is not None]
    return max(matches, default=-1)


def _make_unknown_error(selector: str, expected: str) -> UsageError:
    """Return the error for an unknown rule, with similar ones."""
    fix = "`maskcli rules` lists them."
    similar = _find_similar(selector)
    if similar:
        fix = f"Did you mean {' or '.join(similar)}? {fix}"
    return UsageError(expected=expected, received=repr(selector), fix=fix)


def _find_mentioning(word: str) -> list[str]:
    """Return the rules with a word, such as ``mask_zero`` or ``lstm``, in their texts; the first that have it most."""
    counts = {
        rule.code: len(re.findall(rf"\b{re.escape(word)}\b", " ".join((rule.summary, *rule.explanation)).lower()))
        for rule in RULES
        if len(word) > 2
    }
    return sorted(filter(counts.get, counts), key=lambda code: (-counts[code], code))[:_MOST_MENTIONING]


def _find_similar(selector: str) -> list[str]:
    """Return the rules that begin with a selector, or else contain it, or else resemble it."""
    import difflib

    codes, names = [rule.code for rule in RULES], [rule.name for rule in RULES]
    code, name = selector.strip().upper(), _spell_name(selector)
    if len(name) > 2:
        starting = [text for text in (*codes, *names) if text.startswith((code, name))]
        similar = starting or [text for text in names if name in text]
        if similar:
            return similar[:_MOST_SIMILAR]
    return (difflib.get_close_matches(code, codes, 1) or difflib.get_close_matches(name, names))[:1]


def _spell_name(text: str) -> str:
    """Return a name as rules spell it."""
    return text.lower().replace("_", "-")
