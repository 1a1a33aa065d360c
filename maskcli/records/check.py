"""A check: what the rules judge, and their findings."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.html import HtmlRecord
from maskcli.records.model import ModelAbout
from maskcli.records.options import FailOn

Severity = Literal["error", "warning", "info"]
"""``error``: results are wrong; ``warning``: they may be, or will be with other data; ``info`` never fails a check."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes:
        code: of the rule, such as ``MSK101``.
        rule: its name.
        severity: how bad it is.
        call: the path of the call at fault; None where the data or the whole model is.
        type: the class name of the layer or operation at fault.
        message: what is wrong, with the culprit named.
        fix: what to do, to be pasted where it is code.
        evidence: the numbers that say so, by name.
    """

    code: str
    rule: str
    severity: Severity
    call: str | None
    type: str | None
    message: str
    fix: str
    evidence: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """All evidence that rules judge.

    Attributes:
        data: the facts of each input of ids.
        model: what was seen of the model; None when only the data is judged.
    """

    data: tuple[DataFacts, ...]
    model: ModelEvidence | None


@dataclasses.dataclass(frozen=True, eq=False)
class CheckReport(HtmlRecord):
    """What rules found.

    Attributes:
        model: what model it was; None when only the data was judged.
        versions: of keras, tensorflow and numpy; empty when only the data was judged.
        checked: the codes of the rules that judged.
        findings: the worst first.
        passed: whether none of them is as bad as what was to fail.
        fail_on: ``error`` or ``warning``.
        examination: the evidence that was judged.
    """

    model: ModelAbout | None
    versions: dict[str, str]
    checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    passed: bool
    fail_on: FailOn
    examination: Examination
