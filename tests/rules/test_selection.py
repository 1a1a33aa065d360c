"""Rules are selected by code, prefix or name, and findings decide whether a check fails."""

from __future__ import annotations

import re
from typing import Any

import pytest

from maskcli.errors import UsageError
from maskcli.records.check import FailOn, Finding
from maskcli.rules import RULES
from maskcli.rules.rule import Rule
from maskcli.rules.selection import find_rule, is_failing, judge_all, select_rules
from tests.rules.examine import DATA_RULES, examine

pytestmark = pytest.mark.quick


def list_codes(rules: tuple[Rule, ...]) -> list[str]:
    return [rule.code for rule in rules]


def test_select_rules_without_selector() -> None:
    """A check leaves out the rule that compares backends."""
    checked = tuple(rule for rule in RULES if not rule.compares)
    assert select_rules((), ()) == select_rules(("ALL",), ()) == select_rules(("MSK",), ()) == checked
    assert {rule.code for rule in RULES} - {rule.code for rule in checked} == {"MSK401"}


def test_select_rules_by_code_prefix_and_name() -> None:
    assert list_codes(select_rules(("MSK003",), ())) == ["MSK003"]
    assert list_codes(select_rules(("msk003", "padding-waste"), ())) == ["MSK003", "MSK007"]
    assert list_codes(select_rules(("MSK00",), ())) == list_codes(DATA_RULES)
    assert "MSK003" not in list_codes(select_rules((), ("MSK003",)))
    assert "MSK003" not in list_codes(select_rules((), ("truncated-tokens",)))


def test_select_rules_with_longer_selector() -> None:
    assert list_codes(select_rules(("MSK003",), ("MSK0",))) == ["MSK003"]
    assert list_codes(select_rules(("truncated-tokens",), ("MSK0",))) == ["MSK003"]
    assert "MSK003" not in list_codes(select_rules(("MSK0",), ("MSK003",)))
    assert list_codes(select_rules(("MSK003", "MSK004"), ("MSK003",))) == ["MSK004"]


@pytest.mark.parametrize(
    ("select", "ignore", "about"),
    [((), ("ALL",), None), (("MSK003",), ("MSK003",), None), (("MSK1",), (), "data"), ((), ("MSK0",), "data")],
)
def test_select_rules_without_rest(select: tuple[str, ...], ignore: tuple[str, ...], about: Any) -> None:
    with pytest.raises(UsageError, match="which leave none") as raised:
        select_rules(select, ignore, about)
    assert all(selector in str(raised.value) for selector in (*select, *ignore))


@pytest.mark.parametrize("selector", ["MSK9999", "MSK01234", "X", "", "M", "MSK00x", "padding", "MSK001 "])
def test_select_rules_with_unknown_selector(selector: str) -> None:
    for select, ignore in (((selector,), ()), ((), (selector,))):
        with pytest.raises(UsageError, match="`maskcli rules` lists them") as raised:
            select_rules(select, ignore)
        assert repr(selector) in str(raised.value)


def test_unknown_rule_suggests_similar_one() -> None:
    with pytest.raises(UsageError, match="Did you mean MSK003"):
        select_rules(("MSK0003",), ())
    with pytest.raises(UsageError, match="Did you mean padding-waste"):
        find_rule("Padding-wast")


def test_find_rule_by_a_word_of_its_text() -> None:
    with pytest.raises(UsageError, match=r"Rules that mention it: MSK\d+, .*`maskcli rules`") as caught:
        find_rule("mask_zero")
    assert all("mask_zero" in str(find_rule(code).explanation) for code in re.findall(r"MSK\d+", caught.value.fix))
    with pytest.raises(UsageError) as caught:
        find_rule("nonsense")
    assert "mention" not in caught.value.fix


@pytest.mark.parametrize(
    ("word", "similar", "mentions"), [("gru", False, True), ("is", False, False), ("ms", False, False)]
)
def test_find_rule_by_short_words(word: str, similar: bool, mentions: bool) -> None:
    """Three letters are a word; two of them are in the text of almost every rule."""
    with pytest.raises(UsageError) as caught:
        find_rule(word)
    assert ("mention" in caught.value.fix, "Did you mean" in caught.value.fix) == (mentions, similar)


def test_find_rule_by_its_first_three_letters() -> None:
    with pytest.raises(UsageError, match=r"Did you mean MSK001 or MSK002"):
        find_rule("msk")


def test_find_rule_by_code_and_name() -> None:
    for rule in RULES:
        for name in (rule.code, rule.code.lower(), rule.name, rule.name.upper()):
            assert find_rule(name) is rule


def test_findings_are_sorted_by_severity_then_code() -> None:
    findings = judge_all(DATA_RULES[::-1], examine([[1, 0, 99, 2], [3], []], input_dim=9, padding="pre", maxlen=3))
    assert [finding.code for finding in findings] == ["MSK001", "MSK004", "MSK002", "MSK003", "MSK006"]


def make_findings(severity: str) -> tuple[Finding, ...]:
    examples: dict[str, dict[str, Any]] = {
        "info": {"sequences": [[1, 2], [3]], "padding": "pre"},
        "warning": {"sequences": [[1, 2], []]},
        "error": {"sequences": [[1, 0, 2]]},
    }
    findings = judge_all(DATA_RULES, examine(**examples[severity]))
    assert [finding.severity for finding in findings] == [severity]
    return findings


@pytest.mark.parametrize(
    ("severity", "fail_on", "failing"),
    [
        ("info", "error", False),
        ("info", "warning", False),
        ("warning", "error", False),
        ("warning", "warning", True),
        ("error", "error", True),
        ("error", "warning", True),
    ],
)
def test_is_failing_by_severity(severity: str, fail_on: FailOn, failing: bool) -> None:
    assert is_failing(make_findings(severity), fail_on) is failing
    assert not is_failing((), fail_on)
