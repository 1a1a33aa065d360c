"""Thresholds have one home, and rounding is bounded as the theory has it."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

from maskcli import tolerance
from maskcli.tolerance import Threshold, Tolerance, bound_sum_error, one_ulp
from tests.conftest import ROOT

pytestmark = pytest.mark.quick

PACKAGE = ROOT / "maskcli"
THRESHOLDS = {name: value for name, value in vars(tolerance).items() if isinstance(value, Threshold)}
OTHER_NUMBERS = ("render/charts", "render/graph", "render/page", "models/hub.py")
"""Modules whose small numbers are lengths on a picture, or arguments of the models that they build."""


def has_other_numbers(path: Path) -> bool:
    return path.relative_to(PACKAGE).as_posix().startswith(OTHER_NUMBERS)


def modules() -> list[Path]:
    return [
        path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "tolerance.py" and not has_other_numbers(path)
    ]


def find_stray_thresholds(source: str) -> list[str]:
    """Return the floats of a module that look like thresholds: small ones, and those in comparisons."""
    tree = ast.parse(source)
    compared = {node for compare in ast.walk(tree) if isinstance(compare, ast.Compare) for node in ast.walk(compare)}
    return [
        f"line {node.lineno}: {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, float)
        and (0 < abs(node.value) < 0.01 or (node in compared and node.value not in (0.0, 1.0, 10.0)))
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_threshold_outside_of_the_table(path: Path) -> None:
    assert find_stray_thresholds(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("SAME = 1e-6", 1),
        ("ok = abs(one - two) <= 0.02 * two", 1),
        ("ok = 0.0 < part < 1.0", 0),
        ("width = 0.5", 0),
        ("ok = np.allclose(one, two, atol=1e-3)", 1),
    ],
)
def test_stray_thresholds_are_found(source: str, count: int) -> None:
    assert len(find_stray_thresholds(source)) == count


@pytest.mark.parametrize("name", THRESHOLDS)
def test_threshold_has_purpose_and_reason(name: str) -> None:
    threshold = THRESHOLDS[name]
    assert threshold.value > 0
    assert threshold.purpose.endswith(".")
    assert threshold.reason.endswith(".")


@pytest.mark.parametrize("name", THRESHOLDS)
def test_threshold_is_used(name: str) -> None:
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    assert any(f"{name}.value" in source for source in sources)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_ulp_is_that_of_numpy(dtype: type) -> None:
    assert one_ulp(np.dtype(dtype).name) == np.finfo(dtype).eps


def test_integers_do_not_round() -> None:
    assert one_ulp("int32") == one_ulp("bool") == 0


@pytest.mark.parametrize("terms", [10, 1000, 100_000])
def test_bound_holds_for_float32_sums(terms: int) -> None:
    """The bound is above the real error of a sum, and less than a worst-case bound."""
    values = np.random.default_rng(0).standard_normal((20, terms)).astype("float32")
    exact = values.astype("float64").sum(axis=1)
    naive = np.cumsum(values, axis=1, dtype="float32")[:, -1]
    scale = np.abs(np.cumsum(values, axis=1)).max()
    bound = bound_sum_error(one_ulp("float32"), terms)
    assert np.abs(naive - exact).max() <= bound * scale
    assert bound < one_ulp("float32") * terms * 8


def test_bound_grows_with_the_root_of_calls() -> None:
    assert bound_sum_error(1e-7, 16, 9) == pytest.approx(bound_sum_error(1e-7, 1) * math.sqrt(16 * 9))


def test_tolerance_of_one_call() -> None:
    allowed = Tolerance({0: 1e-6, 1: 2e-6}, {1: 0.5})
    assert allowed.at(0) == (1e-6, 0.0)
    assert allowed.at(1) == (2e-6, 0.5)
