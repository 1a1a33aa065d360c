"""A report on a model with its data."""

from __future__ import annotations

import dataclasses

from maskcli.records.check import CheckReport
from maskcli.records.data import DataOrigin
from maskcli.records.fields import (
    BackendName,
    Count,
    NonEmpty,
    Positive,
    ReportVersions,
    Severity,
    find_backend,
)
from maskcli.records.leak import LeakMatrix
from maskcli.records.loss import LossReport, LossSummary
from maskcli.records.model import ModelIdentity
from maskcli.records.result import ResultRecord
from maskcli.records.trace import AttentionMask, Inspection
from maskcli.records.validity import InputSummary

NOT_TRIED = "not tried"
NOTHING_TO_PROVE = "nothing to prove"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer to one of the questions at the top of a report.

    Attributes:
        question: such as ``Does padding leak?``.
        answer: one or two words.
        severity: of a bad answer; None if the answer is good or neutral.
        text: the reason, in one or two sentences.
    """

    question: NonEmpty
    answer: NonEmpty
    severity: Severity | None
    text: str

    @property
    def known(self) -> bool:
        """Whether the question was tried; otherwise the answer is neither good nor bad."""
        return self.answer not in (NOT_TRIED, NOTHING_TO_PROVE)


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a report was made.

    Attributes:
        command: the command line, without the program's path; empty for a report made in Python.
        versions: of maskcli, Python, keras, its backend and numpy.
        seed: of the weights of a built-in model; None for other models.
        rows: the number of rows of the data.
        samples: the number of first rows that are shown timestep by timestep, fewer than requested if outputs are
            large.
    """

    command: tuple[str, ...]
    versions: ReportVersions
    seed: Count | None
    rows: Positive
    samples: Positive

    @property
    def backend(self) -> BackendName | None:
        """The backend of Keras that the model ran on."""
        return find_backend(self.versions)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Report(ResultRecord):
    """What happened to the mask of a model with its data: a summary, then the whole record for ``--from``.

    Attributes:
        origin: how the report was made.
        verdicts: the answers to the questions at the top of the report.
        inspection: of the first ``origin.samples`` rows.
        check: of all rows.
        loss: of all rows; None without a loss.
        no_loss: the reason why there is no loss; None if there is one.
        leaks: a matrix for each output that can be followed; of the rows of ``inspection``.
        no_leaks: the reason why there is no matrix, or why it is incomplete.
        attention: each call of an attention layer; of the rows of ``inspection``.
    """

    origin: Origin
    verdicts: tuple[Verdict, ...]
    inspection: Inspection
    check: CheckReport
    loss: LossReport | None
    no_loss: str | None
    leaks: tuple[LeakMatrix, ...]
    no_leaks: str | None
    attention: tuple[AttentionMask, ...]

    def summarize(self) -> str:
        """Return the name of the model, the status and the number of findings of each severity."""
        return self.check.summarize()

    def raise_for_findings(self) -> None:
        """Raise FindingsError, an AssertionError, if the check fails: with its findings and their repairs."""
        __tracebackhide__ = True
        self.check.raise_for_findings()

    @property
    def model(self) -> ModelIdentity:
        """The model."""
        return self.inspection.model.identity

    @property
    def data(self) -> DataOrigin:
        """Where the rows come from."""
        return self.check.data.count(self.origin.rows)

    @property
    def inputs(self) -> tuple[InputSummary, ...]:
        """The inputs, each with the source of its validity."""
        return self.check.inputs

    @property
    def losses(self) -> tuple[LossSummary, ...]:
        """The loss of each output, as in maskcli/loss/1; empty without a loss."""
        return () if self.loss is None else tuple(output.summary for output in self.loss.outputs)

    @property
    def keras_evaluate(self) -> float | None:
        """The loss that Keras reports for all outputs; None without a loss."""
        return None if self.loss is None else self.loss.keras_evaluate
