"""The examples of every model rule, pasted from ``maskcli explain``: the rule reports the bad one, and no rule the good one."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import sys
import textwrap
import types
import warnings

import keras
import pytest

from maskcli.render.parts import Limits
from maskcli.render.terminal import make_file_console, render_text
from maskcli.render.views import explain
from maskcli.rules import RULES
from maskcli.rules.base import Rule
from maskcli.rules.selection import find_rule

MODEL_RULES = [rule for rule in RULES if rule.about == "model"]


def run_pasted_example(code: str, title: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run an example as ``maskcli explain`` shows it, pasted into a file; return its output.

    It runs in a module, because Keras saves a class with the module that defines it.
    """
    lines = render_text(explain.view(find_rule(code), Limits(None, None, 80)), make_file_console()).split("\n")
    start = lines.index(title) + 1
    pasted = itertools.takewhile(lambda line: not line or line.startswith("    "), lines[start:])
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as output:
        warnings.simplefilter("ignore")
        exec(textwrap.dedent("\n".join(pasted)), module.__dict__)  # noqa: S102
    return output.getvalue()


def find_codes(output: str, severities: str = "error|warning") -> set[str]:
    """Return the codes of the findings of these severities in the table of a result."""
    return set(re.findall(rf"(?:{severities}) (MSK\d{{3}}) ", output))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_bad_example_is_reported(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rule.code in find_codes(run_pasted_example(rule.code, "Bad", monkeypatch), "error|warning|info")


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.about == "data"], ids=lambda rule: rule.code)
def test_pasted_data_example_shows_its_finding(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rule.code in find_codes(run_pasted_example(rule.code, "Bad", monkeypatch), "error|warning|info")
    assert rule.code not in find_codes(run_pasted_example(rule.code, "Good", monkeypatch))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_good_example_is_not_reported(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_codes(run_pasted_example(rule.code, "Good", monkeypatch)) == set()
