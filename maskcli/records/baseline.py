"""Findings that a project accepts."""

from __future__ import annotations

import dataclasses

from maskcli.records.fields import Count, NonEmpty, RuleCode


@dataclasses.dataclass(frozen=True)
class BaselineEntry:
    """A finding that a baseline accepts.

    Attributes:
        model: the name of the table ``[tool.maskcli.models.NAME]`` that was checked; None for another check.
        code: of the rule.
        call: the path of the call at fault; None if there is none.
        fingerprint: of the finding.
    """

    model: str | None
    code: RuleCode
    call: NonEmpty | None
    fingerprint: NonEmpty

    def describe_stale(self) -> str:
        """Return the message about an entry that no finding matches."""
        place = f" at {self.call}" if self.call else ""
        return f"Stale in the baseline: {self.code}{place} is not a finding any more."


@dataclasses.dataclass(frozen=True)
class IgnoredCall:
    """Findings that are ignored at some calls.

    Attributes:
        ignore: the calls and the rules, as the user wrote them.
        reason: why the findings are no faults; None if the user gave none.
        findings: how many findings of this check it matches.
    """

    ignore: NonEmpty
    reason: NonEmpty | None
    findings: Count

    def describe_stale(self) -> str:
        """Return the message about calls that match no finding."""
        return f"Ignored calls {self.ignore} match no finding; leave the entry out."
