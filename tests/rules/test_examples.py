"""The examples of every model rule, pasted from ``maskcli explain``: the rule reports the bad one, and no rule the good one."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import re
import sys
import textwrap
import types
import warnings
from typing import Any

import keras
import pytest

import maskcli
from maskcli.records.check import CheckReport
from maskcli.render.parts import Limits
from maskcli.render.terminal import make_file_console, render_text
from maskcli.render.views import explain
from maskcli.rules import RULES
from maskcli.rules.rule import Rule
from maskcli.rules.selection import find_rule

pytestmark = pytest.mark.any_backend
MODEL_RULES = [rule for rule in RULES if rule.about == "model" and not rule.compares]


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


EVIDENCE: dict[str, tuple[str | None, dict[str, Any]]] = {
    "MSK101": (
        "multiply",
        {
            "max_abs_change": 0.277,
            "lost_after": "embedding",
            "lost_again": [],
            "enters_at": "lstm",
            "keras_warned": False,
        },
    ),
    "MSK102": ("concatenate", {"passed_as_valid": 2, "max_abs_change": 0.0552}),
    "MSK103": ("lstm", {"tensors": 3, "max_abs_change": 0.157}),
    "MSK104": ("lstm", {"padded_timesteps": 2, "max_abs_change": 0.134, "counted_padding": 0}),
    "MSK105": ("mean", {"shape": [2, 4], "mask_shape": [2, 6]}),
    "MSK106": ("softmax", {"mask_shape": [2, 4], "shape": [2, 4, 3]}),
    "MSK107": ("mean", {"max_abs_change": 0.477, "sample": 1, "timestep": None}),
    "MSK108": ("get_item", {"timestep": 3, "padded_rows": 1, "rows": 2, "max_abs_change": 0.748}),
    "MSK109": ("group_normalization", {"max_abs_change": 0.909, "training": False, "lost_at": None}),
    "MSK110": ("masking", {"shape": [2, 4], "mask_shape": [2]}),
    "MSK111": ("masking", {"missed": 2, "padding": 2, "lookup": "embedding"}),
    "MSK112": ("masking", {"missed": 2, "padding": 2, "sample": 1, "timestep": 2}),
    "MSK113": ("masking", {"hidden": 1, "sample": 0, "timestep": 1}),
    "MSK114": ("half", {"after_loading": "no mask"}),
    "MSK115": (
        None,
        {"reason": "only the content of padding could be changed, not its amount: the model only takes one"},
    ),
    "MSK116": (
        "attend",
        {"max_abs_change": 0.0244, "tolerance": 5.36e-7, "sample": 2, "timestep": None, "output": "output"},
    ),
    "MSK117": (
        "multi_head_attention",
        {
            "max_abs_change": 0.0259,
            "tolerance": 3.35e-8,
            "sample": 0,
            "timestep": 1,
            "by_timestep": 3,
            "output": "output",
            "meant_causal": "--causal",
        },
    ),
    "MSK118": (
        "multi_head_attention",
        {
            "kind": "hides-queries",
            "mask_shape": [2, 4, 1],
            "open_to_padding": 4,
            "closed_to_valid": 0,
            "pairs": 20,
            "mask_of": None,
            "also": [],
            "max_abs_change": 0.334,
        },
    ),
    "MSK119": (
        "multi_head_attention",
        {
            "max_abs_change": 0.0571,
            "tolerance": 3.73e-8,
            "sample": 1,
            "timestep": 3,
            "segment": 2,
            "output": "output",
        },
    ),
    "MSK201": ("global_average_pooling1d", {"rows": 1, "sample": 1}),
    "MSK202": ("multi_head_attention", {"rows": 1, "sample": 1, "max_abs_change": 0.469}),
    "MSK301": ("add", {"output": "output", "counted_padding": 2, "timesteps": 8, "masked": 1.006, "reported": 0.7545}),
    "MSK302": (
        None,
        {"exact": 16.26, "reported": 40.65, "batch_size": 1, "by_batch_size": {"1": 40.65, "2": 16.26}},
    ),
    "MSK303": (
        "root_mean_squared_error",
        {"with_mask": 0.4945, "valid": 0.4943, "all": 0.4945, "targets": "made up", "ignored": 0},
    ),
    "MSK304": (None, {"reported": math.nan, "exact": 0.8612, "not_finite": 0, "not_finite_masked": 2}),
    "MSK305": (None, {"error": "it expects targets that fit the predictions (batch, 4, 3) of output, and received"}),
    "MSK402": (
        None,
        {
            "max_abs_change": 0.056,
            "tolerance": 4.78e-7,
            "sample": 1,
            "timestep": 0,
            "output": "output",
            "has_mask": False,
            "alone": False,
            "only_any_shape": False,
        },
    ),
}
"""The call and the whole evidence of the finding in the bad example of each model rule; of long texts, the start.

Numbers are those of TensorFlow. The other backends draw other initial weights of one seed, so that measured changes, and
the places of the largest, are others there.
"""
OUT_OF_RANGE = {"error": "it expects class ids from 0 to 2, which output predicts, and received -100"}
ELSEWHERE: dict[tuple[str, str], tuple[dict[str, Any] | None, str]] = {
    ("jax", "MSK305"): (OUT_OF_RANGE, "the loss of JAX takes any class id, and maskcli refuses it"),
    ("torch", "MSK305"): (OUT_OF_RANGE, "the error of PyTorch names no class id, and maskcli names it"),
    ("torch", "MSK402"): (None, "PyTorch runs a model eagerly in `fit` and `predict`"),
}
"""By backend and rule, other evidence of the bad example, or None for no finding of the rule, and why it differs."""
BY_WEIGHTS = ("sample", "timestep", "by_timestep", "segment")
"""Evidence with a place that depends on the weights."""


def draws_other_weights() -> bool:
    return bool(keras.backend.backend() != "tensorflow")


def simplify(value: Any, expected: Any, name: str = "") -> Any:
    """Return evidence as far as the table has it: names of layers without their count, numbers to a hundredth.

    On a backend that draws other weights, all numbers of the same kind are equal. A tolerance follows the measured
    rounding, which depends on how the numbers lie in memory, and is known to a half.
    """
    if isinstance(expected, str):
        return re.sub(r"(?<=[a-z\d])_\d+$", "", str(value))[: len(expected)]
    if isinstance(expected, dict):
        return (
            {key: simplify(value[key], number, key) for key, number in expected.items()}
            if value.keys() == expected.keys()
            else value
        )
    if draws_other_weights() and (isinstance(expected, float) or name in BY_WEIGHTS):
        return (
            expected
            if type(value) is type(expected) and (value is None or math.isnan(value) == math.isnan(expected))
            else value
        )
    if isinstance(expected, float):
        precision = 0.5 if name == "tolerance" else 1e-2
        return expected if value == pytest.approx(expected, rel=precision, nan_ok=True) else value
    return list(value) if isinstance(value, tuple) else value


def test_table_has_the_evidence_of_all_model_rules() -> None:
    assert [rule.code for rule in MODEL_RULES] == list(EVIDENCE)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_bad_example_is_reported(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[CheckReport] = []
    check = maskcli.check

    def check_and_keep(*args: Any, **options: Any) -> CheckReport:
        reports.append(check(*args, **options))
        return reports[-1]

    monkeypatch.setattr(maskcli, "check", check_and_keep)
    codes = find_codes(run_pasted_example(rule.code, "Bad", monkeypatch), "error|warning|info")
    call, expected = EVIDENCE[rule.code]
    evidence, _ = ELSEWHERE.get((keras.backend.backend(), rule.code), (expected, ""))
    if evidence is None:
        assert rule.code not in codes
        return
    assert rule.code in codes
    finding = next(finding for finding in reports[-1].findings if finding.code == rule.code)
    assert simplify(finding.call, call) == call
    assert repr(simplify(dict(finding.evidence), evidence)) == repr(evidence)
    assert not reports[-1].passed


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.about == "data"], ids=lambda rule: rule.code)
def test_pasted_data_example_shows_its_finding(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rule.code in find_codes(run_pasted_example(rule.code, "Bad", monkeypatch), "error|warning|info")
    assert rule.code not in find_codes(run_pasted_example(rule.code, "Good", monkeypatch))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("rule", MODEL_RULES, ids=lambda rule: rule.code)
def test_good_example_is_not_reported(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_codes(run_pasted_example(rule.code, "Good", monkeypatch)) == set()
