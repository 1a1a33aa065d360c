"""The repairs of a model that were tried, as code to paste, and the changes that did not help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maskcli.records.check import CheckReport, Repair, RepairAttempt
from maskcli.records.wording import list_names
from maskcli.render.numbers import format_short
from maskcli.render.parts import Cell, Code, Heading, Part, Prose

MOST_ATTEMPTS = 6
"""Attempts that are listed."""


def view_repairs(report: CheckReport) -> Iterator[Part]:
    """Yield the repairs with their code, or the attempts if no repair helped."""
    of_outputs = [finding.repair for finding in report.findings if finding.repair is not None]
    # The fix of a finding often has the code of its repair, on one line. Several are only listed as a whole: a part of
    # them cures nothing.
    shown = {
        finding.repair
        for finding in report.findings
        if finding.repair is not None and " ".join(finding.repair.code.split()) in finding.fix
    }
    is_set = len(report.repairs) > 1
    unshown = [repair for repair in dict.fromkeys(report.repairs or of_outputs) if is_set or repair not in shown]
    if unshown:
        yield Heading("Repairs", _describe_trial(report))
        yield from _list_repairs(unshown)
    is_leak_left = report.leak is not None and report.leak.leaks and not report.repairs
    if report.attempts and not report.repairs and (is_leak_left or not unshown):
        yield Heading("Repairs", "tried in vain")
        for attempt in report.attempts[:MOST_ATTEMPTS]:
            yield Prose((Cell(_describe_attempt(attempt)),), indent=2, hang=4)
        more = len(report.attempts) - MOST_ATTEMPTS
        if more > 0:
            yield Prose((Cell(f"and {more:,} more", "muted"),), indent=2)


def _describe_trial(report: CheckReport) -> str:
    if not report.repairs:
        kinds = {finding.repair.kind for finding in report.findings if finding.repair is not None}
        if kinds == {"loss-weights"}:
            return "tried: the loss then leaves padding out"
        codes = {finding.code for finding in report.findings if finding.repair is not None}
        of_statistics = "tried: statistics in training then leave padding out"
        return of_statistics if codes == {"MSK109"} else "tried: the outputs then carry the mask"
    together = " together" if len(report.repairs) > 1 else ""
    return f"tried{together}: padding then changes results by {format_short(report.repairs[0].change_after)}"


def _list_repairs(repairs: Sequence[Repair]) -> Iterator[Part]:
    """Yield the code of the repairs; layers with the same code share it."""
    calls: dict[tuple[str, str], list[str]] = {}
    for repair in repairs:
        calls.setdefault((repair.kind, repair.code), []).extend(filter(None, [repair.call]))
    shown: set[str] = set()
    for (kind, code), places in calls.items():
        place = f" at {', '.join(places)}" if places else ""
        yield Prose((Cell(f"{kind}{place}", "strong"),))
        # A class that several repairs use is shown once.
        blocks = [block for block in code.split("\n\n\n") if not block.startswith("class ") or block not in shown]
        shown.update(blocks)
        yield Code("\n\n\n".join(blocks) or "# as above", "python")


def _describe_attempt(attempt: RepairAttempt) -> str:
    place = "" if attempt.call is None else f" at {list_names(attempt.call.split(', '))}"
    change = "" if attempt.change_after is None else f" (by {format_short(attempt.change_after)})"
    return f"{attempt.kind}{place}: {attempt.why}{change}"
