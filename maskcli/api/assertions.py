"""Assertions about a model with its data, for tests.

A failure shows findings and their repairs. pytest leaves out frames with ``__tracebackhide__``, and their arrays.
"""

from __future__ import annotations

from typing import Any

from maskcli.api.check import check
from maskcli.records.check import CheckReport, FindingsError
from maskcli.records.evidence import LossEvidence
from maskcli.records.leak import Leak

LOSS_RULES = ("loss-counts-padding", "loss-not-finite", "targets-do-not-fit")
"""Rules that report a loss which is not the mean over valid timesteps."""


def assert_causal(model: Any, data: object, **options: Any) -> None:
    """Assert that no later timestep changes an earlier output of a model.

    Args:
        model: a Keras model, or the name of one as in ``maskcli.check``.
        data: the data to run it on, as for ``maskcli.check``.
        options: further keyword arguments of ``maskcli.check``.

    Raises:
        FindingsError: an AssertionError with the call at fault and its fix.
        AssertionError: with the reason why nothing could be proved.
    """
    __tracebackhide__ = True
    report = check(data, model=model, **{**options, "select": ("future-leaks",), "causal": True})
    if report.findings:
        raise FindingsError(report.findings)
    evidence = report.examination.model
    if evidence is None or not any(effect.looks_ahead is False for effect in evidence.future):
        raise AssertionError("It could not be tried whether the model is causal: it does not run on this data.")


def assert_padding_invariant(model: Any, data: object, **options: Any) -> None:
    """Assert that neither the content nor the amount of padding changes a result of a model.

    Args:
        model: a Keras model, or the name of one as in ``maskcli.check``.
        data: the data to run it on, as for ``maskcli.check``.
        options: further keyword arguments of ``maskcli.check``.

    Raises:
        FindingsError: an AssertionError with the calls at fault and their fixes.
        AssertionError: with the reason why nothing could be proved.
    """
    __tracebackhide__ = True
    report = check(data, model=model, **options)
    leak = report.leak
    if leak is not None and leak.verdict == "clean":
        return
    if errors := [finding for finding in report.findings if finding.severity == "error"]:
        raise FindingsError(errors)
    raise AssertionError(_explain_leak(leak, report))


def assert_masked_loss(model: Any, data: object, targets: object = None, **options: Any) -> None:
    """Assert that the loss of a model, as Keras reports it, counts no padding.

    Args:
        model: a Keras model that is compiled with a loss, or the name of one as in ``maskcli.check``.
        data: the data to run it on, as for ``maskcli.check``.
        targets: of the data; None if ``data`` has them, as ``(x, y)`` does.
        options: further keyword arguments of ``maskcli.check``, such as ``loss``.

    Raises:
        FindingsError: an AssertionError with the losses that count padding and their fixes.
        AssertionError: with the reason why the loss could not be measured.
    """
    __tracebackhide__ = True
    report = check(data, model=model, **{**options, "targets": targets, "select": LOSS_RULES})
    if report.findings:
        raise FindingsError(report.findings)
    evidence = report.examination.model
    losses = () if evidence is None else evidence.losses
    if problem := _explain_losses(losses, report):
        raise AssertionError(problem)


def _explain_losses(losses: tuple[LossEvidence, ...], report: CheckReport) -> str:
    """Return the reason why losses prove nothing; empty if all were measured."""
    if not losses:
        reason = "; ".join(report.notes) or "no loss could be computed"
        return f"It is not proved that the loss leaves padding out: {reason}"
    if not any(entry.padded_timesteps for entry in report.inputs):
        return "It is not proved that the loss leaves padding out: the data has no padding."
    unmeasured = [loss for loss in losses if loss.reported is None]
    if unmeasured:
        reason = unmeasured[0].why or "there are no targets"
        return f"It is not proved that the loss of {unmeasured[0].output} leaves padding out: {reason}"
    return ""


def _explain_leak(leak: Leak | None, report: CheckReport) -> str:
    if leak is None:
        return "It could not be tried whether padding leaks: the model does not run on this data."
    if leak.verdict == "leaks":
        return f"Padding changes results by up to {leak.max_abs_change:.3g}, from {leak.first_call} on."
    reason = leak.reason or "; ".join(finding.message for finding in report.findings) or "no probe could run"
    return f"It is not proved that padding leaves all results alone: {reason}"
