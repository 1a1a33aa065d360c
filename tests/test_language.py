"""The words of the package: names are nouns and verbs, and sentences read like an engineer talking."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.readme import PAGES

pytestmark = pytest.mark.quick

PACKAGE = ROOT / "maskcli"
FILLERS = frozenset(
    [
        "given",
        "found",
        "told",
        "said",
        "one",
        "each",
        "own",
        "seen",
        "made",
        "chance",
        "asked",
        "aside",
        "shown",
        "drawn",
        "wanted",
        "known",
        "named",
        "judged",
        "counted",
        "timed",
        "apart",
        "other",
        "others",
        "rest",
    ]
)
"""Identifiers that name nothing."""
STIFF = re.compile(
    r"\b(told|tells? (by|of|from|whether)|said|says|anew|besides?|behind|nobody|lest|wants?|as ever|stands? (in|for|at)"
    r"|(return|of|by|for|say) what|None in doubt)\b",
    re.IGNORECASE,
)
"""Phrases that a reader has to translate."""
MOST_STIFF = 0.5
"""Per 1,000 words."""


def read_prose(path: Path) -> str:
    """Return the docstrings and comments of a module."""
    source = path.read_text()
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    return "\n".join((*strings, *comments))


def bound_names(path: Path) -> Iterator[str]:
    """Yield every name that a module assigns or takes as a parameter."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_names_are_not_fillers() -> None:
    names = [name.strip("_") for path in PACKAGE.rglob("*.py") for name in bound_names(path)]
    fillers = [name for name in names if name in FILLERS]
    assert len(fillers) < 0.01 * len(names), sorted(set(fillers))


def test_conditional_expressions_are_simple() -> None:
    """A condition inside another, or inside a formatted string, needs a second reading."""
    holders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.IfExp | ast.JoinedStr)
        and any(isinstance(inner, ast.IfExp) for inner in ast.walk(node) if inner is not node)
    ]
    assert holders == []


@pytest.mark.parametrize("folder", ["maskcli", "tests", "benchmarks"])
def test_docstrings_and_comments_are_plain(folder: str) -> None:
    prose = "\n".join(read_prose(path) for path in (ROOT / folder).rglob("*.py") if path != Path(__file__))
    words = len(prose.split())
    stiff = [prose[max(0, match.start() - 40) : match.end() + 40] for match in STIFF.finditer(prose)]
    assert 1000 * len(stiff) < MOST_STIFF * words, stiff
    assert 1000 * len(re.findall(r"\bwhat\b", prose, re.IGNORECASE)) < 2 * words


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_pages_are_plain(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    assert [match[0] for match in STIFF.finditer(prose)] == []
