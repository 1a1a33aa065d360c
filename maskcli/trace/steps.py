"""Report the progress of long runs: the step that runs, such as a probe, and how many calls of its run are finished."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

from maskcli.records.options import StepProgress


@dataclasses.dataclass(eq=False)
class StepReporter:
    """Passes on the progress of each recorded run.

    Attributes:
        report: receives the name of the step, the number of finished calls of its run, and the number of all its calls.
        step: the name of the step that runs.
        calls: the number of calls of the latest run; a run of the same model has about as many.
    """

    report: StepProgress
    step: str = "model"
    calls: int = 0

    def count(self, done: int) -> None:
        """Report that a run has finished some of its calls."""
        self.report(self.step, done, max(done, self.calls))


_reporter: contextvars.ContextVar[StepReporter | None] = contextvars.ContextVar("reporter", default=None)


def get_reporter() -> StepReporter | None:
    """Return the reporter of the running command; None if nobody follows its progress."""
    return _reporter.get()


@contextlib.contextmanager
def report_steps(progress: StepProgress | None) -> Iterator[None]:
    """Report the progress of all runs that are recorded while this is open."""
    if progress is None:
        yield
        return
    token = _reporter.set(StepReporter(progress))
    try:
        yield
    finally:
        _reporter.reset(token)


@contextlib.contextmanager
def name_step(name: str) -> Iterator[None]:
    """Name the runs that are recorded while this is open, unless they are part of a step that has a name already."""
    reporter = _reporter.get()
    if reporter is None or reporter.step != "model":
        yield
        return
    reporter.step = name
    try:
        yield
    finally:
        reporter.step = "model"
