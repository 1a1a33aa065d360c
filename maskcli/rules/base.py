"""The form of a rule: a file whose docstring explains the rule, with a bad and a good example that tests run."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule, read from its file.

    Attributes:
        code: ``MSK`` and three digits; the codes of data rules start with ``MSK0``.
        name: in words joined by hyphens.
        severity: of its findings.
        judge: of a data rule: ``judge(facts, model)`` for each input of ids, where ``model`` is None without a model;
            of a model rule: ``judge(model)``. Both return findings.
        docstring: of its file: a sentence, why it matters, and the examples.
    """

    code: str
    name: str
    severity: Severity
    judge: Callable[..., Iterable[Finding]]
    docstring: str

    @property
    def about(self) -> Literal["data", "model"]:
        """The subject of the rule: ``data``, which needs no TensorFlow, or ``model``."""
        return "data" if self.code.startswith("MSK0") else "model"

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return _split_paragraphs(self.docstring)[0]

    @property
    def explanation(self) -> tuple[str, ...]:
        """The paragraphs between the summary and the examples, each on one line."""
        return _split_paragraphs(f"\n{self.docstring}".partition("\nBad::\n")[0])[1:]

    @property
    def bad(self) -> str:
        """Python code that this rule reports."""
        return _extract_block(self.docstring, "Bad")

    @property
    def good(self) -> str:
        """Python code that no rule reports."""
        return _extract_block(self.docstring, "Good")

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """Yield the findings of this rule."""
        if self.about == "data":
            for facts in examination.data:
                yield from self.judge(facts, examination.model)
        elif examination.model is not None:
            yield from self.judge(examination.model)


def read_rule(module: ModuleType) -> Rule:
    """Return the rule that a file defines by its name, docstring, constants and ``judge``."""
    return Rule(
        code=module.CODE,
        name=module.__name__.rpartition(".")[2].replace("_", "-"),
        severity=module.SEVERITY,
        judge=module.judge,
        docstring=inspect.cleandoc(module.__doc__ or ""),
    )


def make_finding(
    module: str,
    *,
    message: str,
    fix: str,
    call: str | None = None,
    type_: str | None = None,
    **evidence: Any,
) -> Finding:
    """Return a finding of the rule whose file has the ``__name__`` ``module``."""
    rule = read_rule(sys.modules[module])
    return Finding(rule.code, rule.name, rule.severity, call, type_, message, fix, evidence)


def locate(call: Call | None, model: ModelEvidence) -> dict[str, Any]:
    """Return the arguments of ``make_finding`` for a call, or for the whole model if there is no call."""
    if call is None:
        return {"call": None, "type_": model.type}
    return {"call": call.call, "type_": call.type}


def pluralize(count: int, noun: str) -> str:
    """Return ``1 row`` or ``1,200 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_exact_share(part: int, whole: int) -> str:
    """Return a share in percent; 0 and 100 % only if they are exact."""
    share = 100 * part / whole
    if 0 < share < 1:
        return "less than 1 %"
    if 99 < share < 100:
        return "more than 99 %"
    return f"{share:.0f} %"


def _split_paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _extract_block(text: str, title: str) -> str:
    """Return the indented lines after ``title::``, without their indentation."""
    lines = f"\n{text}".partition(f"\n{title}::\n")[2].split("\n")
    block = itertools.takewhile(lambda line: not line or line.startswith(" "), lines)
    return textwrap.dedent("\n".join(block)).strip("\n")
