"""The sample of a finding, and the one that charts show first."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Floats
from maskcli.records.check import Finding
from maskcli.records.leak import LeakMatrix
from maskcli.records.report import Report


def choose_sample(report: Report) -> int:
    """Return the sample that charts show first: the worst one of the leak or of a finding, or one with padding."""
    leak = report.check.leak
    if leak is not None and leak.leaks and _is_shown(leak.sample, report):
        assert leak.sample is not None  # noqa: S101 - checked above
        return leak.sample
    for matrix in report.leaks:
        largest = _measure_leaks(matrix)
        if largest.size and largest.max() > matrix.tolerance:
            return int(largest.argmax())
    for finding in report.check.findings:
        sample = locate_sample(finding, report)
        if sample is not None:
            return sample
    valid = report.inspection.valid
    if valid is None:
        return 0
    return int((~valid.all(axis=1)).argmax())


def choose_row(matrix: LeakMatrix, sample: int) -> int:
    """Return the sample of a leak matrix to show first: ``sample``, or the worst one if it has no leak there."""
    largest = _measure_leaks(matrix)
    if largest[sample] > matrix.tolerance:
        return sample
    return int(largest.argmax())


def _measure_leaks(matrix: LeakMatrix) -> Floats:
    """Return the largest change of each sample at a valid output, ``(samples,)``."""
    samples = matrix.places[:, 0]
    largest: Floats = np.zeros(len(matrix.valid))
    np.maximum.at(largest, samples, np.where(matrix.valid[samples], matrix.effects, 0.0).max(axis=1, initial=0.0))
    return largest


def locate_sample(finding: Finding, report: Report) -> int | None:
    """Return the row of a finding; None if it has none, or if the page does not show it."""
    sample = finding.evidence.get("sample")
    if sample is None and "max_abs_change" in finding.evidence and report.check.leak is not None:
        sample = report.check.leak.sample
    return sample if isinstance(sample, int) and _is_shown(sample, report) else None


def _is_shown(sample: int | None, report: Report) -> bool:
    return sample is not None and sample < report.origin.samples
