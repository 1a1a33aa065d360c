"""Assertions about a model with its data, for tests.

A failure shows findings and their repairs. pytest leaves out frames with ``__tracebackhide__``, and their arrays.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.api.check import check
from maskcli.errors import UsageError
from maskcli.records.check import CheckReport, FindingsError
from maskcli.records.evidence import LossEvidence
from maskcli.records.leak import Leak
from maskcli.records.trace import Call

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


def assert_mask_reaches(model: Any, data: object, call: str, **options: Any) -> None:
    """Assert that a mask reaches a call, and that it counts no padded timestep of the data.

    Args:
        model: a Keras model, or the name of one as in ``maskcli.check``.
        data: the data to run it on, as for ``maskcli.check``.
        call: the name of a layer or operation, such as ``attention_2``, or a path, such as ``encoder/attention_2``. If
            several calls match, the mask must reach all of them.
        options: further keyword arguments of ``maskcli.check``.

    Raises:
        FindingsError: an AssertionError with the call that lost the mask and its fix.
        AssertionError: with the call that lost the mask, if no rule reports it.
        UsageError: for a call that the model does not have.
    """
    __tracebackhide__ = True
    report = check(data, model=model, **{**options, "quick": True})
    evidence = report.examination.model
    if evidence is None or not evidence.trace:
        raise AssertionError(f"It could not be tried whether a mask reaches {call}: {_explain_run(report)}")
    problems = [text for entry in _find_calls(evidence.trace, call) if (text := _explain_mask(entry))]
    if not problems:
        return
    # Only now the search for a repair, which takes longer.
    report = check(data, model=model, **options)
    raise FindingsError([finding for finding in report.findings if finding.code >= "MSK1"], "\n".join(problems))


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


def _find_calls(trace: Sequence[Call], name: str) -> list[Call]:
    """Return the calls of a name or path; raise UsageError if there is none."""
    __tracebackhide__ = True
    calls = [call for call in trace if name in _list_spellings(call.call)]
    if calls:
        return calls
    paths = list(dict.fromkeys(call.call for call in trace if call.call))
    similar = difflib.get_close_matches(name, paths, n=1)
    raise UsageError(
        where="call",
        expected=f"one of the calls {', '.join(paths)}",
        received=repr(name),
        fix=f"Did you mean {similar[0]}?" if similar else "`maskcli inspect` lists the calls of the model.",
    )


def _list_spellings(path: str) -> Iterator[str]:
    """Yield the path of a call, its last parts, and the same without the counts of repeated calls."""
    parts = path.split("/")
    for start in range(len(parts)):
        spelling = "/".join(parts[start:])
        yield spelling
        yield re.sub(r"#\d+", "", spelling)


def _explain_mask(call: Call) -> str:
    """Return the reason why the mask at a call does not hide the padding; empty if it does."""
    title = f"{call.call} ({call.type})"
    if call.mask_in is None:
        if call.attention_arguments:
            return ""
        lost = "" if call.lost_at is None else f": {call.lost_at} drops the mask from {call.lost_after}"
        return f"No mask reaches {title}{lost}."
    valid = call.valid_in
    if valid is None or call.mask_in.shape != valid.shape:
        return ""
    padded = int((call.mask_in & ~valid).sum())
    return f"The mask that reaches {title} counts {padded} padded timesteps as valid." if padded else ""


def _explain_run(report: CheckReport) -> str:
    reasons = [finding.message for finding in report.findings]
    return "; ".join(reasons) or "the model does not run on this data."


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
