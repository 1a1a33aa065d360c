"""A check to the JSON document of the contract."""

from __future__ import annotations

import dataclasses
from typing import Any

from maskcli.records.check import CheckReport, Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.leak import Leak


def make_check_document(report: CheckReport) -> dict[str, Any]:
    """Return ``maskcli/check/1``."""
    seen = report.examination.model
    about = report.model
    return {
        "schema": "maskcli/check/1",
        "model": None if about is None else {"name": about.name, "source": about.source, "type": about.type},
        "versions": report.versions,
        "findings": [_finding(finding) for finding in report.findings],
        "checked": report.checked,
        "passed": report.passed,
        "fail_on": report.fail_on,
        "rows": None if seen is None else {"probed": seen.rows[0], "total": seen.rows[1]},
        "leak": None if seen is None or seen.leak is None else _leak(seen.leak),
        "notes": () if seen is None else list_notes(seen),
    }


def list_notes(model: ModelEvidence) -> tuple[str, ...]:
    """Return what could not be seen of a model, and why."""
    found = list(model.notes)
    if model.not_run is not None:
        found.append(f"The model does not run on this data: {model.not_run}")
    if model.saving is not None and model.saving.why is not None:
        found.append(f"Whether its masks survive saving could not be tried: {model.saving.why}")
    return tuple(found)


def _finding(finding: Finding) -> dict[str, Any]:
    return {field.name: getattr(finding, field.name) for field in dataclasses.fields(finding)}


def _leak(leak: Leak) -> dict[str, Any]:
    return {
        "leaks": leak.leaks,
        "max_abs_change": leak.max_abs_change,
        "first_call": leak.first_call,
        "worst": None if leak.sample is None else {"sample": leak.sample, "timestep": leak.timestep},
        "probes": [dataclasses.asdict(probe) for probe in leak.probes],
        "calls": leak.entries,
    }
