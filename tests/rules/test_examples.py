"""The examples of every rule that judges a model: the bad one is found, in the good one nothing is."""

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
from maskcli.rules.base import Rule

MODEL_RULES = [rule for rule in RULES if rule.about == "model"]


def run(code: str, monkeypatch: pytest.MonkeyPatch) -> CheckReport:
    """Run an example as a module, since classes are saved by the module that they are from."""
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, module.__dict__)  # noqa: S102
    given: dict[str, Any] = vars(module)
    return maskcli.check(given.get("arrays", given.get("sequences")), model=given["model"], **given.get("options", {}))


@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_the_bad_example_is_found(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rule.code in [finding.code for finding in run(rule.bad, monkeypatch).findings]


@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_the_good_example_is_not(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding for finding in run(rule.good, monkeypatch).findings if finding.severity != "info"] == []
