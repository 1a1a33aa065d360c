"""Assertions about a model with its data, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maskcli.api.check import check
from maskcli.records.check import CheckReport, Finding
from maskcli.records.leak import Leak


def assert_causal(model: Any, data: object, **options: Any) -> None:
    """Assert that no later timestep changes an earlier output of a model.

    Args:
        model: a Keras model, or the name of one as in ``maskcli.check``.
        data: the sequences or arrays to run it on.
        options: further keyword arguments of ``maskcli.check``.

    Raises:
        AssertionError: with the call at fault and its fix, or the reason why nothing could be proved.
    """
    report = check(data, model=model, **{**options, "select": ("future-leaks",), "causal": True})
    _fail_with(report.findings)
    evidence = report.examination.model
    if evidence is None or not any(effect.looks_ahead is False for effect in evidence.future):
        raise AssertionError("It could not be tried whether the model is causal: it does not run on this data.")


def assert_padding_invariant(model: Any, data: object, **options: Any) -> None:
    """Assert that neither the content nor the amount of padding changes a result of a model.

    Args:
        model: a Keras model, or the name of one as in ``maskcli.check``.
        data: the sequences or arrays to run it on.
        options: further keyword arguments of ``maskcli.check``.

    Raises:
        AssertionError: with the calls at fault and their fixes, or the reason why nothing could be proved.
    """
    report = check(data, model=model, **options)
    leak = report.leak
    if leak is None or leak.verdict != "clean":
        _fail_with([finding for finding in report.findings if finding.severity == "error"])
        raise AssertionError(_explain_leak(leak, report))


def _explain_leak(leak: Leak | None, report: CheckReport) -> str:
    if leak is None:
        return "It could not be tried whether padding leaks: the model does not run on this data."
    if leak.verdict == "leaks":
        return f"Padding changes results by up to {leak.max_abs_change:.3g}, from {leak.first_call} on."
    reason = leak.reason or "; ".join(finding.message for finding in report.findings) or "no probe could run"
    return f"It is not proved that padding leaves all results alone: {reason}"


def _fail_with(findings: Iterable[Finding]) -> None:
    """Raise an AssertionError with these findings and their fixes, if there are any."""
    texts = [f"{finding.code} {finding.rule}: {finding.message}\nfix: {finding.fix}" for finding in findings]
    if texts:
        raise AssertionError("\n\n".join(texts))
