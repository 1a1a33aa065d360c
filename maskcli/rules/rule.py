"""The form of a rule: a file whose docstring explains the rule, with a bad and a good example that tests run."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Literal

from maskcli.records.fields import Severity

if TYPE_CHECKING:
    from maskcli.records.check import Examination, Finding

OF_BACKENDS = "MSK401"
"""The rule that compares backends."""
_DOCSTRING = re.compile(r'\A\s*(""".*?""")', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule, read from its file.

    Attributes:
        code: ``MSK`` and three digits; the codes of data rules start with ``MSK0``.
        name: in words joined by hyphens.
        severity: of its findings.
        literal: the docstring of its file, as it is written there.
    """

    code: str
    name: str
    severity: Severity
    literal: str

    @functools.cached_property
    def docstring(self) -> str:
        """The docstring of its file: a sentence, why it matters, and the examples."""
        return inspect.cleandoc(ast.literal_eval(self.literal))

    @property
    def about(self) -> Literal["data", "model"]:
        """The subject of the rule: ``data``, which needs no TensorFlow, or ``model``."""
        return "data" if self.code.startswith("MSK0") else "model"

    @property
    def compares(self) -> bool:
        """Whether ``maskcli compare`` checks the rule, and ``maskcli check``, which runs a model once, does not."""
        return self.code == OF_BACKENDS

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

    @property
    def judge(self) -> Callable[..., Iterable[Finding]]:
        """The function of its file, which yields findings.

        Of a data rule: ``judge(facts, model)`` for each input of ids, where ``model`` is None without a model; of a
        model rule: ``judge(model)``; of one that compares backends, ``judge(difference)``.
        """
        module = importlib.import_module(f"{__package__}.{self.name.replace('-', '_')}")
        judge: Callable[..., Iterable[Finding]] = module.judge
        return judge

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """Yield the findings of this rule."""
        if self.about == "data":
            for facts in examination.data:
                yield from self.judge(facts, examination.model)
        elif not self.compares and examination.model is not None:
            yield from self.judge(examination.model)


@functools.cache
def read_rule(module: str) -> Rule:
    """Return the rule of the file of ``module``, with its docstring and its constants.

    The file is read as text, because importing all rules loads NumPy, and parsing them takes even longer.

    Raises:
        ValueError: for a file without a docstring, a ``CODE`` or a ``SEVERITY``.
    """
    spec = importlib.util.find_spec(module)
    text = "" if spec is None else _read_source(spec)
    docstring = _DOCSTRING.match(text)
    constants: dict[str, Any] = {name: _read_constant(text, name) for name in ("CODE", "SEVERITY")}
    if docstring is None or not all(constants.values()):
        raise ValueError(f"{module}: expected a docstring in three double quotes, and a line CODE and a line SEVERITY")
    return Rule(
        code=constants["CODE"],
        name=module.rpartition(".")[2].replace("_", "-"),
        severity=constants["SEVERITY"],
        literal=docstring[1],
    )


def _read_constant(text: str, name: str) -> str:
    """Return the text of a constant of a module; empty without one. A pattern for all lines takes far longer."""
    return text.partition(f'\n{name} = "')[2].partition('"')[0]


def _read_source(spec: ModuleSpec) -> str:
    """Return the text of a module, also of one in a zip file."""
    loader: Any = spec.loader
    if hasattr(loader, "get_source"):
        return loader.get_source(spec.name) or ""
    # pytest loads the modules of a package that has a plugin, and its loader reads no text.
    with open(spec.origin or "", encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes as long as all rules
        return file.read()


def _split_paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _extract_block(text: str, title: str) -> str:
    """Return the indented lines after ``title::``, without their indentation."""
    lines = f"\n{text}".partition(f"\n{title}::\n")[2].split("\n")
    block = itertools.takewhile(lambda line: not line or line.startswith(" "), lines)
    return textwrap.dedent("\n".join(block)).strip("\n")
