"""JUnit XML: a suite for each model, and a test case for each rule that ran."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType

from maskcli.errors import UsageError, suggest_install
from maskcli.records.check import CheckReport
from maskcli.records.fields import Severity
from maskcli.records.options import FailOn
from maskcli.records.project import ModelCheck
from maskcli.records.rules import RuleExplanation
from maskcli.render.ci.issues import Issue, iterate_issues, list_checks

FAILING: dict[FailOn, tuple[Severity, ...]] = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
"""The severities that fail a check."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold."""


def import_junitparser() -> ModuleType:
    """Return junitparser.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import junitparser
    except ImportError:
        raise UsageError(
            where="--format junit",
            expected="the package junitparser",
            received="an environment without it",
            fix=f"{suggest_install('ci')} installs it.",
        ) from None
    module: ModuleType = junitparser
    return module


def render_junit(record: object, rules: Sequence[RuleExplanation]) -> bytes:
    """Return JUnit XML; a rule fails with the findings at ``--fail-on`` or above.

    Args:
        record: the result of ``maskcli check``.
        rules: the explanations of all rules.

    Raises:
        UsageError: if junitparser is not installed.
    """
    junit = import_junitparser()
    names = {rule.code: f"{rule.code} {rule.name}" for rule in rules}
    issues = list(iterate_issues(record))
    document = junit.JUnitXml("maskcli")
    for entry in list_checks(record):
        suite = junit.TestSuite(_clean(entry.name))
        of_entry = [issue for issue in issues if issue.model in (None, entry.name)]
        for case in _make_cases(junit, entry, of_entry, names):
            suite.add_testcase(case)
        document.add_testsuite(suite)
    text: bytes = document.tostring()
    return text.rstrip(b"\n") + b"\n"


def _make_cases(junit: ModuleType, entry: ModelCheck, issues: Sequence[Issue], names: dict[str, str]) -> list[object]:
    if entry.check is None:
        case = junit.TestCase("check", classname=_clean(entry.name))
        case.result = [_make_result(junit.Error, "not checked", str(entry.error))]
        return [case]
    cases = []
    for code in entry.check.checked:
        case = junit.TestCase(names[code], classname=_clean(entry.name))
        of_rule = [issue for issue in issues if issue.finding.code == code]
        case.result = [_judge(junit, issue) for issue in of_rule if issue.is_accepted or _fails(issue, entry.check)]
        passing = [_describe(issue) for issue in of_rule if not issue.is_accepted and not _fails(issue, entry.check)]
        if passing:
            case.system_out = _clean("\n\n".join(passing))
        cases.append(case)
    if stale := entry.check.list_stale_failures():
        case = junit.TestCase("stale entries", classname=_clean(entry.name))
        case.result = [_make_result(junit.Failure, text, text) for text in stale]
        cases.append(case)
    return cases


def _fails(issue: Issue, report: CheckReport) -> bool:
    """Return whether a finding fails the check."""
    return issue.finding.severity in FAILING[report.fail_on]


def _judge(junit: ModuleType, issue: Issue) -> object:
    if issue.is_accepted:
        return _make_result(junit.Skipped, "accepted by the baseline", _describe(issue))
    return _make_result(junit.Failure, issue.finding.message, _describe(issue), issue.finding.severity)


def _make_result(kind: type, message: str, text: str, type_: str | None = None) -> object:
    result = kind(_clean(message), type_)
    result.text = _clean(text)
    return result


def _describe(issue: Issue) -> str:
    """Return the place, the message and the fix of a finding."""
    line = f":{issue.line}" if issue.line is not None else ""
    return "\n".join(filter(None, (f"{issue.file}{line}" if issue.file else "", issue.place, issue.text)))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
