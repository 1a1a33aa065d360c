"""A line for each finding: for people, and as annotations of GitHub Actions."""

from __future__ import annotations

from maskcli.records.fields import Severity
from maskcli.render.ci.issues import Issue, iterate_issues, list_failures
from maskcli.render.text_flow import split_printable_lines

GITHUB_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def render_concise(record: object) -> bytes:
    """Return ``FILE:LINE: SEVERITY CODE MODEL: MESSAGE`` for each finding that a baseline does not accept.

    Other reasons why the check fails, such as a model that cannot be loaded, follow as ``NAME: error: REASON``.
    """
    lines = [_make_line(issue) for issue in iterate_issues(record) if not issue.is_accepted]
    lines += [f"{name}: error: {_join(text)}" for name, text in list_failures(record)]
    return "".join(f"{line}\n" for line in lines).encode()


def _make_line(issue: Issue) -> str:
    place = ":".join(filter(None, (issue.file, str(issue.line or ""))))
    head = " ".join(filter(None, (issue.finding.severity, issue.finding.code, issue.model)))
    return ": ".join(filter(None, (place, head, _join(issue.text_with_place))))


def _join(text: str) -> str:
    """Return text on one line."""
    return " ".join(" ".join(split_printable_lines(text)).split())


def render_github(record: object, folder: str = "") -> bytes:
    """Return a workflow command for each finding that a baseline does not accept; GitHub shows it at the line.

    Args:
        record: the result of ``maskcli check``.
        folder: the working directory, as a path from the root of the repository.
    """
    commands = [_annotate(issue) for issue in iterate_issues(record, folder) if not issue.is_accepted]
    commands += [
        _make_command("error", {"title": f"{name}: check failed"}, text) for name, text in list_failures(record)
    ]
    return "".join(f"{command}\n" for command in commands).encode()


def _annotate(issue: Issue) -> str:
    properties = {"file": issue.file, "line": issue.line, "title": issue.title}
    return _make_command(GITHUB_LEVELS[issue.finding.severity], properties, issue.text_with_place)


def _make_command(level: str, properties: dict[str, str | int | None], text: str) -> str:
    pairs = (f"{name}={_escape_property(str(value))}" for name, value in properties.items() if value is not None)
    return f"::{level} {','.join(pairs)}::{_escape_text(text)}"


def _escape_text(text: str) -> str:
    """Escape the message of a workflow command, as the toolkit of GitHub Actions does, without control characters."""
    return "\n".join(split_printable_lines(text)).replace("%", "%25").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_text(text).replace(":", "%3A").replace(",", "%2C")
