"""Every trap is caught, and its culprit named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import maskcli
from maskcli.records.check import CheckReport, Finding
from tests.traps import TRAPS, Trap, batch_size, built, convolution, metrics, operator

pytestmark = [pytest.mark.any_backend, pytest.mark.slow(share=1 / 2)]


def judged(make: Callable[[], Trap]) -> tuple[CheckReport, list[Finding]]:
    trap = built(make)
    report = maskcli.check(trap.arrays, model=trap.model, targets=trap.targets, **trap.options)
    return report, [finding for finding in report.findings if finding.code == trap.code]


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
def test_the_culprit_is_named(make: Callable[[], Trap]) -> None:
    report, findings = judged(make)
    trap = built(make)
    assert not report.passed
    assert trap.culprit in [finding.type for finding in findings]
    assert all(finding.fix and finding.message for finding in report.findings)


def test_the_numbers_are_those_that_keras_gives() -> None:
    _, (cut,) = judged(batch_size)
    assert cut.evidence["by_batch_size"]["1"] == pytest.approx(50.0)
    assert cut.evidence["exact"] == pytest.approx(100 / 11)
    trap = built(batch_size)
    for size in (1, 2):
        seen = trap.model.evaluate(trap.arrays["tokens"], trap.targets, batch_size=size, verbose=0, return_dict=True)
        assert cut.evidence["by_batch_size"][str(size)] == pytest.approx(seen["loss"])
    recall, rmse = judged(metrics)[1]
    assert (recall.evidence["with_mask"], recall.evidence["valid"]) == (0.5, 1.0)
    assert rmse.evidence["valid"] == pytest.approx(0.1, abs=1e-6)
    assert rmse.evidence["with_mask"] == pytest.approx(0.58, abs=0.01)


def test_the_leak_is_measured() -> None:
    report, (found,) = judged(convolution)
    model = report.examination.model
    assert model is not None
    assert model.leak is not None
    assert model.leak.leaks
    assert model.leak.first_call == found.call
    assert {probe.name for probe in model.leak.probes if probe.leaks} == {"replace", "alone", "columns", "gradient"}
    assert found.evidence["max_abs_change"] == model.leak.max_abs_change > 0.01


def test_what_keras_does_not_say_is_said() -> None:
    _, (found,) = judged(operator)
    assert found.evidence["keras_warned"] is False
    assert found.evidence["masked_timesteps"] == 1
    assert (found.evidence["lost_after"] or "").startswith("masking")
    assert "drops the mask from masking" in found.message


def test_a_compiled_model_is_left_as_it_was() -> None:
    trap = built(metrics)
    before = [np.asarray(variable).copy() for variable in trap.model.variables]
    maskcli.check(trap.arrays, model=trap.model, targets=trap.targets)
    assert trap.model.loss == "binary_crossentropy"
    for mine, old in zip(trap.model.variables, before, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), old)
