"""Shared by the rules: make a finding, and name its cause."""

from __future__ import annotations

from typing import Any

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.rule import read_rule


def make_finding(
    module: str,
    *,
    message: str,
    fix: str,
    call: str | None = None,
    type_: str | None = None,
    **evidence: Any,
) -> Finding:
    """Return a finding of the rule whose file has the ``__name__`` ``module``."""
    rule = read_rule(module)
    return Finding(rule.code, rule.name, rule.severity, call, type_, message, fix, evidence)


def locate(call: Call | None, model: ModelEvidence) -> dict[str, Any]:
    """Return the arguments of ``make_finding`` for a call, or for the whole model if there is no call."""
    if call is None:
        return {"call": None, "type_": model.type}
    return {"call": call.call, "type_": call.type}


def format_pair(first: float, second: float) -> tuple[str, str]:
    """Return two numbers of six digits, or of as many as show their difference, at most nine."""
    digits = next((digits for digits in range(6, 9) if f"{first:.{digits}g}" != f"{second:.{digits}g}"), 9)
    return f"{first:.{digits}g}", f"{second:.{digits}g}"


def format_exact_share(part: int, whole: int) -> str:
    """Return a share in percent; 0 and 100 % only if they are exact."""
    share = 100 * part / whole
    if 0 < share < 1:
        return "less than 1 %"
    if 99 < share < 100:
        return "more than 99 %"
    return f"{share:.0f} %"
