"""SARIF 2.1.0, which code scanning reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from maskcli.records.fields import Severity
from maskcli.records.rules import RuleExplanation
from maskcli.render.ci.issues import Issue, iterate_issues, list_checks, list_failures
from maskcli.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
ROOT = "%SRCROOT%"
"""The folder that relative paths start at, in the words of SARIF."""
FINGERPRINT = "maskcli/v1"


def render_sarif(record: object, rules: Sequence[RuleExplanation], folder: str = "") -> bytes:
    """Return a SARIF log with the findings of a check, and with the rules that ran.

    Args:
        record: the result of ``maskcli check``.
        rules: the explanations of all rules.
        folder: the working directory, as a path from the root of the repository.
    """
    checks = list_checks(record)
    checked = {code for entry in checks if entry.check is not None for code in entry.check.checked}
    listed = [rule for rule in rules if rule.code in checked]
    positions = {rule.code: index for index, rule in enumerate(listed)}
    failures = (f"{name}: {text}" for name, text in list_failures(record))
    errors = [{"level": "error", "message": {"text": text}} for text in failures]
    was_checked = all(entry.error is None for entry in checks)
    run = {
        "tool": {"driver": {"name": "maskcli", "version": __version__, "rules": list(map(_describe_rule, listed))}},
        "invocations": [{"executionSuccessful": was_checked, "toolExecutionNotifications": errors}],
        "columnKind": "unicodeCodePoints",
        "results": [_describe(issue, positions) for issue in iterate_issues(record, folder)],
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _describe_rule(rule: RuleExplanation) -> dict[str, Any]:
    text = f"{rule.summary}\n\n{rule.explanation}"
    examples = f"Bad:\n\n```python\n{rule.bad}\n```\n\nGood:\n\n```python\n{rule.good}\n```"
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.explanation or rule.summary},
        "help": {"text": text, "markdown": f"{text}\n\n{examples}"},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": ["masking", rule.about]},
    }


def _describe(issue: Issue, positions: dict[str, int]) -> dict[str, Any]:
    finding = issue.finding
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": positions[finding.code],
        "level": LEVELS[finding.severity],
        "message": {"text": issue.text_with_place},
        "locations": _locate(issue),
        "partialFingerprints": {FINGERPRINT: issue.fingerprint},
    }
    if issue.is_new or issue.is_accepted:
        result["baselineState"] = "new" if issue.is_new else "unchanged"
    if issue.is_accepted:
        result["suppressions"] = [{"kind": "external", "justification": "The baseline accepts it."}]
    if issue.model is not None:
        result["properties"] = {"model": issue.model}
    return result


def _locate(issue: Issue) -> list[dict[str, Any]]:
    location: dict[str, Any] = {}
    if issue.file is not None:
        region = {"region": {"startLine": issue.line or 1}}
        location["physicalLocation"] = {"artifactLocation": _name_artifact(issue.file), **region}
    if issue.finding.call is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": issue.finding.call, "kind": "member"}]
    return [location] if location else []


def _name_artifact(file: str) -> dict[str, str]:
    if PurePath(file).is_absolute():
        return {"uri": PurePath(file).as_uri()}
    return {"uri": quote(PurePath(file).as_posix()), "uriBaseId": ROOT}
