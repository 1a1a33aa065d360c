"""The findings of one check or of several, each with a file to show it in."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import PurePath

from maskcli.records.check import CheckReport, Finding
from maskcli.records.project import ModelCheck, ProjectReport
from maskcli.render.views.check_answer import name_place

DEFAULT_FILE = "pyproject.toml"
"""The file of a finding about no file, for forms that require one."""
STDIN = "-"


@dataclasses.dataclass(frozen=True)
class Issue:
    """A finding, ready for a tool that shows findings in files.

    Attributes:
        finding: the finding.
        model: the name of the model in the project; None for a single check.
        file: the file to show it in; None if there is none.
        line: the line in the file; None for the whole file.
        is_accepted: whether a baseline accepts the finding.
        is_new: whether a baseline was read, and does not have the finding.
    """

    finding: Finding
    model: str | None
    file: str | None
    line: int | None
    is_accepted: bool = False
    is_new: bool = False

    @property
    def title(self) -> str:
        """The rule, and the model if there are several."""
        name = f"{self.finding.code} {self.finding.rule}"
        return name if self.model is None else f"{self.model}: {name}"

    @property
    def place(self) -> str:
        """The call and its type; empty for the data."""
        return name_place(self.finding)

    @property
    def text(self) -> str:
        """The message and the fix, on two lines."""
        return f"{self.finding.message}\nfix: {self.finding.fix}"

    @property
    def text_with_place(self) -> str:
        """The message and the fix, after the call unless the message starts with it."""
        if not self.place or self.finding.message.startswith((f"{self.place} ", f"{self.place}:")):
            return self.text
        return f"{self.place}: {self.text}"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the finding, another one for each model."""
        if self.model is None:
            return self.finding.fingerprint
        return hashlib.sha256(f"{self.model}\n{self.finding.fingerprint}".encode()).hexdigest()[:16]


def list_checks(record: object) -> tuple[ModelCheck, ...]:
    """Return the checks of a result of ``maskcli check``; a single one is named like its model."""
    if isinstance(record, ProjectReport):
        return record.checks
    assert isinstance(record, CheckReport)  # noqa: S101 - only this command has these forms
    name = "data" if record.model is None else record.model.name
    return (ModelCheck(record.name or name, record, None, int(not record.passed)),)


def list_failures(record: object) -> list[tuple[str, str]]:
    """Return the reasons, other than findings, why checks fail: the name of the check, and a message."""
    failures = []
    for entry in list_checks(record):
        if entry.error is not None:
            failures.append((entry.name, entry.error))
        if entry.check is not None:
            failures += [(entry.name, text) for text in entry.check.list_stale_failures()]
    return failures


def iterate_issues(record: object, folder: str = "") -> Iterator[Issue]:
    """Yield the findings of a result of ``maskcli check``, those that a baseline accepts included.

    Args:
        record: the result.
        folder: the working directory, as a path from the root of the repository.
    """
    named = isinstance(record, ProjectReport)
    for entry in list_checks(record):
        if entry.check is not None:
            yield from _iterate_report(entry.check, entry.name if named else None, folder)


def _iterate_report(report: CheckReport, model: str | None, folder: str) -> Iterator[Issue]:
    accepted = () if report.baseline is None else report.baseline.accepted
    for finding in (*report.findings, *accepted):
        place = finding.location
        file, line = (_find_file(finding, report), None) if place is None else (place.file, place.line)
        if file is not None:
            file = (PurePath(folder) / file).as_posix()
        is_accepted = finding in accepted
        is_new = report.baseline is not None and not is_accepted
        yield Issue(finding, model, file, line, is_accepted, is_new)


def _find_file(finding: Finding, report: CheckReport) -> str | None:
    """Return the file of the data, or of the model; None if neither is a file."""
    if finding.code.startswith("MSK0"):
        return next((file for file in report.data.files if file != STDIN), None)
    if report.model is None or report.model.source != "file":
        return None
    return report.model.name
