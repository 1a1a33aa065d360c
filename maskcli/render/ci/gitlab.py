"""The code quality report of GitLab."""

from __future__ import annotations

import json
from typing import Any

from maskcli.records.fields import Severity
from maskcli.render.ci.issues import DEFAULT_FILE, Issue, iterate_issues

SEVERITIES: dict[Severity, str] = {"error": "critical", "warning": "major", "info": "info"}


def render_gitlab(record: object, folder: str = "") -> bytes:
    """Return a JSON list with an object for each finding that a baseline does not accept.

    Args:
        record: the result of ``maskcli check``.
        folder: the working directory, as a path from the root of the repository.
    """
    issues = [_describe(issue) for issue in iterate_issues(record, folder) if not issue.is_accepted]
    return json.dumps(issues, indent=1, ensure_ascii=False).encode() + b"\n"


def _describe(issue: Issue) -> dict[str, Any]:
    return {
        "description": issue.text_with_place,
        "check_name": f"{issue.finding.code} {issue.finding.rule}",
        "fingerprint": issue.fingerprint,
        "severity": SEVERITIES[issue.finding.severity],
        "location": {"path": issue.file or DEFAULT_FILE, "lines": {"begin": issue.line or 1}},
    }
