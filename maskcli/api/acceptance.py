"""Findings that a project accepts: those of a baseline, and those that it ignores at single calls."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskcli.errors import InputError, UsageError
from maskcli.records.baseline import BaselineEntry, IgnoredCall
from maskcli.records.check import Baseline, CheckReport, Finding
from maskcli.records.requests import CheckRequest
from maskcli.rules.rule import Rule
from maskcli.rules.selection import LEAK_REPORTERS, is_failing, select_rules
from maskcli.sequences.sources import display_name, explain_os_error
from maskcli.sequences.writing import write_file

SCHEMA = "maskcli/baseline/1"
_ENTRY = re.compile(r"\s*([^:]+?)\s*:\s*([^#]+?)\s*(?:#\s*(.*\S))?\s*")
_REWRITE = "`maskcli check --write-baseline FILE` writes one."


@dataclasses.dataclass(frozen=True)
class CallSelector:
    """Findings to ignore at some calls.

    Attributes:
        call: the path of a call, or a pattern with ``*``.
        rules: the codes of the rules.
        text: the selector as the user wrote it, without the reason.
        reason: why the findings are no faults; None if the user gave none.
    """

    call: str
    rules: frozenset[str]
    text: str
    reason: str | None

    def matches(self, finding: Finding) -> bool:
        """Return whether a finding is to be ignored."""
        pattern = self.call.replace("[", "[[]").replace("?", "[?]")  # Only * is special, as the documentation has it.
        return finding.code in self.rules and fnmatch.fnmatchcase(finding.call or "", pattern)


def read_call_selectors(texts: str | Sequence[str]) -> tuple[CallSelector, ...]:
    """Return selectors from texts such as ``encoder/conv: MSK101  # the mask is applied later``.

    Raises:
        UsageError: for text of another form, and for rules that do not exist.
    """
    return tuple(map(_read_selector, [texts] if isinstance(texts, str) else texts))


def _read_selector(text: str) -> CallSelector:
    parts = _ENTRY.fullmatch(text)
    if parts is None:
        raise UsageError(
            where="--ignore-call",
            expected="CALL: RULE  # REASON",
            received=repr(text),
            fix="For example 'encoder/conv: MSK101  # the mask is applied later'; CALL may contain *.",
        )
    call, rules, reason = parts.groups()
    try:
        selected: tuple[Rule, ...] = select_rules(rules, ())
    except UsageError as error:
        raise error.at(f"--ignore-call {text!r}") from None
    return CallSelector(call, frozenset(rule.code for rule in selected), f"{call}: {rules}", reason)


def accept_findings(report: CheckReport, request: CheckRequest) -> CheckReport:
    """Return a report without the findings that the request accepts; they no longer fail the check.

    Raises:
        UsageError: for a selector of another form.
        InputError: for a baseline that cannot be read.
    """
    selectors = read_call_selectors(request.ignore_calls)
    baseline = None if request.baseline is None else read_baseline(request.baseline, request.check_name)
    if not selectors and baseline is None:
        return dataclasses.replace(report, name=request.check_name)
    findings, ignored_calls = _ignore_calls(report.findings, selectors)
    findings, accepted, stale = _compare_baseline(findings, () if baseline is None else baseline.entries)
    left_out = {finding.code for finding in report.findings} - {finding.code for finding in findings}
    accepting = dataclasses.replace(
        report,
        findings=findings,
        ignored=tuple(sorted({*report.ignored, *(left_out & LEAK_REPORTERS)})),
        name=request.check_name,
        baseline=None if baseline is None else Baseline(baseline.file, accepted, stale),
        ignored_calls=ignored_calls,
        fail_on_stale=request.fail_on_stale,
    )
    fails = is_failing(findings, report.fail_on) or bool(accepting.list_stale_failures())
    return dataclasses.replace(accepting, passed=not fails)


def _ignore_calls(
    findings: Sequence[Finding], selectors: Sequence[CallSelector]
) -> tuple[tuple[Finding, ...], tuple[IgnoredCall, ...]]:
    """Return the findings that no selector matches, and how many each selector matches."""
    kept = tuple(finding for finding in findings if not any(selector.matches(finding) for selector in selectors))
    counts = [sum(map(selector.matches, findings)) for selector in selectors]
    pairs = zip(selectors, counts, strict=True)
    return kept, tuple(IgnoredCall(selector.text, selector.reason, count) for selector, count in pairs)


def _compare_baseline(
    findings: Sequence[Finding], entries: Sequence[BaselineEntry]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...], tuple[BaselineEntry, ...]]:
    """Return new findings, findings in the baseline, and entries of the baseline without a finding."""
    fingerprints = {entry.fingerprint for entry in entries}
    present = {finding.fingerprint for finding in findings}
    return (
        tuple(finding for finding in findings if finding.fingerprint not in fingerprints),
        tuple(finding for finding in findings if finding.fingerprint in fingerprints),
        tuple(entry for entry in entries if entry.fingerprint not in present),
    )


# The file of a baseline.


@dataclasses.dataclass(frozen=True)
class BaselineFile:
    """The entries of a baseline file for one check.

    Attributes:
        file: its path.
        entries: the findings that are accepted.
    """

    file: str
    entries: tuple[BaselineEntry, ...]


def read_baseline(path: str | os.PathLike[str], name: str | None) -> BaselineFile:
    """Return the findings that a baseline accepts for the check of a name.

    Raises:
        InputError: for a file that cannot be read, or that is not a baseline.
    """
    file = os.fspath(path)
    entries = _read_entries(Path(file))
    return BaselineFile(file, tuple(entry for entry in entries if entry.model == name))


def _read_entries(path: Path) -> list[BaselineEntry]:
    where = display_name(str(path))
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(where=where, expected="a baseline", received=explain_os_error(error), fix=_REWRITE) from None
    except (ValueError, RecursionError) as error:
        raise InputError(where=where, expected="a baseline, in JSON", received=str(error), fix=_REWRITE) from None
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(document["schema"])
        return [_read_entry(entry) for entry in document["findings"]]
    except (TypeError, LookupError, ValueError):
        expected = f'JSON with "schema": "{SCHEMA}" and "findings"'
        raise InputError(where=where, expected=expected, received="other content", fix=_REWRITE) from None


def _read_entry(fields: dict[str, object]) -> BaselineEntry:
    """Return an entry from its JSON; raise TypeError or ValueError for another one."""
    required, optional = (fields["code"], fields["fingerprint"]), (fields["model"], fields["call"])
    if not all(isinstance(text, str) for text in (*required, *(text or "" for text in optional))):
        raise ValueError(fields)
    return BaselineEntry(**fields)  # type: ignore[arg-type]


def write_baseline(path: str, reports: Iterable[CheckReport], *, keeps_others: bool) -> int:
    """Write the findings of reports as a baseline; return how many it has.

    Args:
        path: of the file.
        reports: the reports, each with the name of its check.
        keeps_others: whether the entries of other checks stay in the file.

    Raises:
        InputError: if the file cannot be written, or is not a baseline.
    """
    reports = tuple(reports)
    names = {report.name for report in reports}
    entries = [entry for entry in _read_entries(Path(path)) if entry.model not in names] if keeps_others else []
    entries += [_make_entry(finding, report.name) for report in reports for finding in _list_findings(report)]
    entries.sort(key=lambda entry: (entry.model or "", entry.code, entry.call or "", entry.fingerprint))
    document = {"schema": SCHEMA, "findings": list(map(dataclasses.asdict, entries))}
    write_file(path, [json.dumps(document, indent=1, ensure_ascii=False).encode(), b"\n"])
    return len(entries)


def _list_findings(report: CheckReport) -> tuple[Finding, ...]:
    """Return the findings of a report that can fail a check, those of its baseline included."""
    accepted = () if report.baseline is None else report.baseline.accepted
    return tuple(finding for finding in (*report.findings, *accepted) if finding.severity != "info")


def _make_entry(finding: Finding, name: str | None) -> BaselineEntry:
    return BaselineEntry(name, finding.code, finding.call, finding.fingerprint)
