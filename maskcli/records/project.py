"""The checks of all models of a project."""

from __future__ import annotations

import dataclasses

from maskcli.records.check import CheckReport
from maskcli.records.fields import Count, NonEmpty
from maskcli.records.result import ResultRecord


@dataclasses.dataclass(frozen=True, eq=False)
class ModelCheck:
    """The check of one model of a project.

    Attributes:
        name: of the table ``[tool.maskcli.models.NAME]``.
        check: its result; None if the model or its data cannot be used.
        error: the reason why there is no result; None with a result.
        exit_code: that of ``maskcli check`` for this model.
    """

    name: NonEmpty
    check: CheckReport | None
    error: NonEmpty | None
    exit_code: Count

    @property
    def passed(self) -> bool:
        """Whether the model was checked, and the check did not fail."""
        return self.exit_code == 0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProjectReport(ResultRecord):
    """The checks of all models of a project.

    Attributes:
        checks: in the order of the project file.
    """

    checks: tuple[ModelCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether all models were checked, and no check failed."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> Count:
        """The largest exit code of the checks."""
        return max(check.exit_code for check in self.checks)

    @property
    def reports(self) -> tuple[CheckReport, ...]:
        """The results of the models that were checked."""
        return tuple(entry.check for entry in self.checks if entry.check is not None)

    def summarize(self) -> str:
        """Return how many checks passed."""
        return f"{sum(check.passed for check in self.checks)} of {len(self.checks)} passed"
