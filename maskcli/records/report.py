"""A report on a model with its data."""

from __future__ import annotations

import dataclasses

from maskcli.records.check import CheckReport, Severity
from maskcli.records.html import HtmlRecord
from maskcli.records.leak import LeakMatrix
from maskcli.records.loss import LossReport
from maskcli.records.trace import AttentionMask, Inspection

NOT_TRIED = "not tried"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer to one of the questions that a report begins with.

    Attributes:
        question: such as ``Does padding leak?``.
        answer: in a word or two.
        severity: how bad it is; None where it is good, or not bad.
        text: a sentence or two that say why.
    """

    question: str
    answer: str
    severity: Severity | None
    text: str

    @property
    def known(self) -> bool:
        """Whether there is an answer: what was not tried is neither good nor bad."""
        return self.answer != NOT_TRIED


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a report came to be.

    Attributes:
        command: the command line, without the program's path; empty in Python.
        versions: of maskcli, Python, keras, tensorflow and numpy.
        seed: of the weights of a built-in model; None for others.
        rows: of the data.
        samples: the first rows of them that are shown timestep by timestep; fewer than asked for where outputs are
            large.
    """

    command: tuple[str, ...]
    versions: dict[str, str]
    seed: int | None
    rows: int
    samples: int


@dataclasses.dataclass(frozen=True, eq=False)
class Report(HtmlRecord):
    """What happened to the mask of a model: all that is known, to be shown to someone else.

    Attributes:
        origin: how it came to be.
        verdicts: what it begins with.
        inspection: of the first ``origin.samples`` rows.
        check: of all rows.
        loss: of all rows; None without one.
        no_loss: why there is none.
        leaks: a matrix for each output that can be followed; of the rows of ``inspection``.
        no_leaks: why there is none, or what was left out.
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
