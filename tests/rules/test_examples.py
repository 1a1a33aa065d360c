"""The examples of every model rule: the rule reports the bad one, and no rule reports the good one."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import keras
import pytest

import maskcli
from maskcli.records.check import CheckReport
from maskcli.rules import RULES
from maskcli.rules.rule import Rule

MODEL_RULES = [rule for rule in RULES if rule.about == "model"]


def check_example(code: str, monkeypatch: pytest.MonkeyPatch) -> CheckReport:
    """Run an example as a module, because Keras saves a class with the module that defines it."""
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, module.__dict__)  # noqa: S102
    names: dict[str, Any] = vars(module)
    return maskcli.check(names.get("arrays", names.get("sequences")), model=names["model"], **names.get("options", {}))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_bad_example_is_reported(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rule.code in [finding.code for finding in check_example(rule.bad, monkeypatch).findings]


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_good_example_is_not_reported(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = check_example(rule.good, monkeypatch).findings
    assert [finding for finding in findings if finding.severity != "info"] == []
