"""What a rule is: a file whose docstring explains it, with a bad and a good example that tests run."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Literal

from maskcli.records.check import Examination, Finding, Severity


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        code: ``MSK`` and three digits.
        name: in words joined by hyphens.
        severity: of its findings.
        about: what it judges: ``data``, which needs no TensorFlow, or ``model``.
        judge: evidence to findings.
        docstring: of its file: a sentence, why it matters, and the examples.
    """

    code: str
    name: str
    severity: Severity
    about: Literal["data", "model"]
    judge: Callable[[Examination], Iterable[Finding]]
    docstring: str

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return _paragraphs(self.docstring)[0]

    @property
    def explanation(self) -> tuple[str, ...]:
        """The paragraphs between the summary and the examples, each on one line."""
        return _paragraphs(f"\n{self.docstring}".partition("\nBad::\n")[0])[1:]

    @property
    def bad(self) -> str:
        """Python that the rule finds fault with."""
        return _block(self.docstring, "Bad")

    @property
    def good(self) -> str:
        """Python that no rule finds fault with."""
        return _block(self.docstring, "Good")


def read_rule(module: ModuleType) -> Rule:
    """Return the rule that a file states in its docstring and its constants."""
    return Rule(
        module.CODE,
        module.__name__.rpartition(".")[2].replace("_", "-"),
        module.SEVERITY,
        module.ABOUT,
        module.judge,
        inspect.cleandoc(module.__doc__ or ""),
    )


def read_examples(rule: Rule) -> tuple[str, str]:
    """Return the bad and the good example of a rule; one that is missing is empty."""
    return rule.bad, rule.good


def make_finding(
    module: str,
    *,
    message: str,
    fix: str,
    call: str | None = None,
    type_: str | None = None,
    **evidence: Any,
) -> Finding:
    """Return a finding of the rule in ``module``, whose ``__name__`` that is."""
    rule = read_rule(sys.modules[module])
    return Finding(rule.code, rule.name, rule.severity, call, type_, message, fix, evidence)


def pluralize(count: int, noun: str) -> str:
    """Return ``1 row`` or ``1,200 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_exact_share(part: int, whole: int) -> str:
    """Return a share, which is 0 or 100 % only where it is exactly that."""
    share = 100 * part / whole
    if 0 < share < 1:
        return "less than 1 %"
    if 99 < share < 100:
        return "more than 99 %"
    return f"{share:.0f} %"


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _block(text: str, title: str) -> str:
    """Return the indented lines behind ``title::``, without their indentation."""
    behind = f"\n{text}".partition(f"\n{title}::\n")[2].split("\n")
    lines = itertools.takewhile(lambda line: not line or line.startswith(" "), behind)
    return textwrap.dedent("\n".join(lines)).strip("\n")
