"""A check: the evidence that rules judge, and their findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from maskcli.records.baseline import BaselineEntry, IgnoredCall
from maskcli.records.data import FROM_PYTHON, DataFacts, DataOrigin
from maskcli.records.evidence import ModelEvidence
from maskcli.records.fields import (
    BackendName,
    CheckVersions,
    Count,
    NonEmpty,
    RepairKind,
    RuleCode,
    RuleCodes,
    RuleName,
    Severity,
    find_backend,
)
from maskcli.records.inputs import ShownBatch
from maskcli.records.leak import Leak
from maskcli.records.location import Location
from maskcli.records.model import ModelAbout, ModelIdentity
from maskcli.records.options import FailOn
from maskcli.records.result import ResultRecord
from maskcli.records.validity import InputSummary

CheckStatus = Literal[
    "passed", "failed", "nothing-to-prove", "unproven", "leaks", "leak-ignored", "not-run", "data-only"
]
"""All but ``failed`` have no finding at ``fail_on`` or above.

- ``passed``: padding does not leak.
- ``nothing-to-prove``: there is neither padding nor a mask.
- ``unproven``: no probe could decide; the rule that reports this was not selected, or is below ``fail_on``.
- ``leaks``: padding leaks, but the findings are below ``fail_on``.
- ``leak-ignored``: padding leaks, but the rules that report it were not selected.
- ``not-run``: the model does not run on this data.
- ``data-only``: there is no model.
"""


@dataclasses.dataclass(frozen=True)
class Repair:
    """A change of the model that was tried, and that removed the fault.

    Attributes:
        kind: the kind of change, such as ``keep-mask`` or ``pass-mask``.
        call: the path of the call to change; None for a change of the whole model or its data.
        code: the change as code, in the names of the model.
        tried: True, because a repair is only reported after it was tried.
        change_after: the largest change of a result by padding that remains.
    """

    kind: RepairKind
    call: NonEmpty | None
    code: NonEmpty
    change_after: float
    tried: bool = True


@dataclasses.dataclass(frozen=True)
class RepairAttempt:
    """A change of the model that was tried, and that did not remove the fault.

    Attributes:
        kind: the kind of change.
        call: the path of the call that was changed.
        change_after: the largest change of a result by padding that remains; None if the model did not run.
        why: the reason why it is no repair.
    """

    kind: RepairKind
    call: NonEmpty | None
    change_after: float | None
    why: NonEmpty


@dataclasses.dataclass(frozen=True)
class Finding:
    """A fault that a rule found.

    Attributes:
        code: of the rule, such as ``MSK101``.
        rule: the name of the rule.
        severity: ``error``: results are wrong; ``warning``: they may be, or will be with other data; ``info`` never
            fails a check.
        call: the path of the call at fault; None if the data or the whole model is at fault.
        type: the class name of the layer or operation at fault.
        message: the fault, with the name of its cause.
        fix: the remedy; code is between backticks and can be pasted.
        evidence: the measured values by name; the names depend on the rule.
        repair: the change that removed this fault when it was tried; None if there is none.
        location: the line of the user's code that made the call, or the model; None if it is unknown.
        fingerprint: recognises the fault in a later check: of the rule, the call and its cause, without measured
            values, lines of code, and the numbers that Keras gives to layers.
    """

    code: RuleCode
    rule: RuleName
    severity: Severity
    call: NonEmpty | None
    type: NonEmpty | None
    message: NonEmpty
    fix: NonEmpty
    evidence: dict[str, Any]
    repair: Repair | None = None
    location: Location | None = None
    fingerprint: str = ""

    def __str__(self) -> str:
        """Return the fault and its remedy, for the message of an exception."""
        place = "" if self.location is None else f"\nat: {self.location}"
        return f"{self.code} {self.rule}: {self.message}{place}\nfix: {self.fix}"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The findings that a baseline accepts, compared with those of a check.

    Attributes:
        file: the path of the baseline.
        accepted: findings of this check that are in the baseline, and do not fail it.
        stale: entries of the baseline that are no findings any more.
    """

    file: NonEmpty
    accepted: tuple[Finding, ...]
    stale: tuple[BaselineEntry, ...]


class FindingsError(AssertionError):
    """Findings, as the failure of an assertion.

    Attributes:
        findings: of a check.
        summary: a sentence that comes before them; empty without one.
    """

    def __init__(self, findings: Sequence[Finding], summary: str = "") -> None:
        """Make the message of the faults and their remedies."""
        super().__init__("\n\n".join(filter(None, (summary, *map(str, findings)))))
        self.findings: tuple[Finding, ...] = tuple(findings)
        self.summary = summary

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the findings, which ``Exception`` does not keep; pytest-xdist sends exceptions between processes."""
        return type(self), (self.findings, self.summary)


class MaskCheckWarning(UserWarning):
    """Findings about a model in training."""


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """All evidence that rules judge.

    Attributes:
        data: the facts of each input of ids.
        model: the evidence about the model; None if only the data is checked.
        inputs: all inputs, each with the source of its validity.
    """

    data: tuple[DataFacts, ...]
    model: ModelEvidence | None
    inputs: tuple[InputSummary, ...] = ()


@dataclasses.dataclass(frozen=True)
class ProbedRows:
    """How many rows of the data the probes ran on.

    Attributes:
        probed: rows that the probes ran on.
        total: rows of the data.
    """

    probed: Count
    total: Count


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CheckReport(ResultRecord):
    """A model with its data, checked against the rules.

    Attributes:
        model: the model; None if only the data was checked.
        versions: of keras, its backend and numpy; empty if only the data was checked.
        checked: the codes of the rules that ran.
        findings: sorted by severity, the worst first, then by code.
        passed: whether all findings are less severe than ``fail_on``.
        fail_on: the lowest severity that fails the check.
        examination: the evidence that the rules judged.
        repairs: the smallest set of changes that together remove every leak; empty if there is no leak, or no cure.
        attempts: changes that were tried in vain.
        ignored: the codes of rules that would report the leak, or that it is unproven, but that were not selected.
        quick: whether only the probes ran that decide, each of them once, and no repairs were tried.
        data: where the rows come from.
        batch: the timesteps, of data with words; None for other data.
        name: of the table ``[tool.maskcli.models.NAME]`` that was checked; None for another check.
        baseline: the findings that a baseline accepts; None without a baseline.
        ignored_calls: the findings that are ignored at single calls.
        fail_on_stale: whether stale entries of the baseline, and ignored calls without a finding, fail the check.
    """

    model: ModelAbout | None
    versions: CheckVersions
    checked: RuleCodes
    findings: tuple[Finding, ...]
    passed: bool
    fail_on: FailOn
    examination: Examination
    repairs: tuple[Repair, ...] = ()
    attempts: tuple[RepairAttempt, ...] = ()
    ignored: RuleCodes = ()
    quick: bool = False
    data: DataOrigin = FROM_PYTHON
    batch: ShownBatch | None = None
    name: NonEmpty | None = None
    baseline: Baseline | None = None
    ignored_calls: tuple[IgnoredCall, ...] = ()
    fail_on_stale: bool = False

    @property
    def backend(self) -> BackendName | None:
        """The backend of Keras that the model ran on; None if no model ran."""
        return find_backend(self.versions)

    def summarize(self) -> str:
        """Return the name of the model, the status and the number of findings of each severity."""
        name = "data" if self.model is None else self.model.name
        severities = [finding.severity for finding in self.findings]
        counts = [f"{severities.count(severity)} {severity}s" for severity in ("error", "warning", "info")]
        return f"{name}: {self.status}, {', '.join(counts)}"

    def raise_for_findings(self) -> None:
        """Raise FindingsError, an AssertionError, if the check fails: with its findings and their repairs."""
        __tracebackhide__ = True
        if not self.passed:
            raise FindingsError(self.findings, "\n".join(self.list_stale_failures()))

    def list_stale_failures(self) -> tuple[str, ...]:
        """Return a message for each stale entry of the baseline, and each ignored call without a finding.

        There is none unless these fail the check.
        """
        if not self.fail_on_stale or self.fail_on == "never":
            return ()
        stale = () if self.baseline is None else self.baseline.stale
        unused = [entry for entry in self.ignored_calls if entry.findings == 0]
        return (*(entry.describe_stale() for entry in stale), *(entry.describe_stale() for entry in unused))

    @property
    def inputs(self) -> tuple[InputSummary, ...]:
        """The inputs, each with the source of its validity."""
        return self.examination.inputs

    @property
    def identity(self) -> ModelIdentity | None:
        """The model; None if only the data was checked."""
        return None if self.model is None else self.model.identity

    @property
    def status(self) -> CheckStatus:
        """The result in a word: ``passed`` only if no padding leaks and no finding fails the check."""
        model = self.examination.model
        if not self.passed:
            return "failed"
        if model is None:
            return "data-only"
        match model.leak_answer:
            case None:
                return "not-run"
            case "yes":
                return "leak-ignored" if self.ignored else "leaks"
            case "no":
                return "passed"
            case "unproven":
                return "unproven"
            case _:
                return "nothing-to-prove"

    @property
    def rows(self) -> ProbedRows | None:
        """The rows that the probes ran on; None if only the data was checked."""
        evidence = self.examination.model
        return None if evidence is None else ProbedRows(*evidence.rows)

    @property
    def leak(self) -> Leak | None:
        """Whether padding, its content or its amount, changes a result; None if the model did not run.

        Its probes include ``rows``, ``segments``, ``future`` and ``compiled``, which have no part in the verdict.
        """
        evidence = self.examination.model
        if evidence is None or evidence.leak is None:
            return None
        return dataclasses.replace(evidence.leak, probes=(*evidence.leak.probes, *evidence.further_probes))

    @property
    def notes(self) -> tuple[NonEmpty, ...]:
        """The checks that could not run, each with the reason."""
        evidence = self.examination.model
        return () if evidence is None else evidence.list_gaps()
