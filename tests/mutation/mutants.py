"""Mutants of modules: each is a module with one changed expression or statement."""

from __future__ import annotations

import ast
import copy
import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
UNCHANGED = -1
"""The number of a mutant without a change."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        path: of the module, from the root of the repository.
        line: of the change.
        function: the first line of the function with the change.
        change: a description.
        number: the position among the changes of the module.
    """

    path: str
    line: int
    function: int
    change: str
    number: int

    def __str__(self) -> str:
        """Return the place and the change."""
        return f"{self.path}:{self.line}: {self.change}"


def list_mutants(root: Path, rooms: Sequence[str]) -> list[Mutant]:
    """Return all mutants of the modules in some rooms of the package."""
    mutants = []
    for room in rooms:
        for path in sorted((root / "maskcli" / room).rglob("*.py")):
            name = str(path.relative_to(root))
            changes = _list_changes(ast.parse(path.read_text()))
            mutants += [
                Mutant(name, node.lineno, function, change, number)
                for number, (node, function, change, _) in enumerate(changes)
            ]
    return mutants


def draw_mutants(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return a sample, the same for the same seed and program."""
    return random.Random(seed).sample(mutants, min(count, len(mutants)))


def mutate(source: str, number: int) -> str:
    """Return the source of a module with one of its changes; all other characters stay as they are."""
    if number == UNCHANGED:
        return source
    node, _, _, text = _list_changes(ast.parse(source))[number]
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
    changed = first[: node.col_offset] + text.encode() + last[node.end_col_offset :]
    return b"".join([*lines[: node.lineno - 1], changed, *lines[node.end_lineno :]]).decode()


Change = tuple[ast.expr | ast.stmt, int, str, str]


def _list_changes(tree: ast.Module) -> list[Change]:
    """Return the changes inside functions, in the order of the source."""
    changes: list[Change] = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
        for node in _walk_body(function):
            changes += [(changed, first, change, text) for changed, change, text in _change(node)]
    return changes


def _walk_body(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function, but not those of functions inside, of annotations, of texts or of its docstring."""
    pending: list[ast.AST] = list(reversed(function.body))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assert | ast.Raise | ast.JoinedStr):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        pending.extend(
            child
            for field, value in reversed(list(ast.iter_fields(node)))
            if field not in ("annotation", "returns")
            for child in reversed(value if isinstance(value, list) else [value])
            if isinstance(child, ast.AST)
        )


def _change(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Yield the changed part of a node, a description, and the text in its place."""
    if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp):
        changed = _change_operator(copy.deepcopy(node))
        if changed is not None:
            yield node, _describe(node, changed), f"({ast.unparse(changed)})"
    elif isinstance(node, ast.If | ast.IfExp):
        test = ast.unparse(node.test)
        yield node.test, f"if {test[:60]} -> if not", f"(not ({test}))"
    else:
        yield from _change_value(node)


def _change_operator(node: ast.Compare | ast.BoolOp | ast.BinOp) -> ast.expr | None:
    """Return an operation with another operator; None if there is no other one."""
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node
    if isinstance(node, ast.BinOp):
        if type(node.op) not in OPERATORS or _is_text(node):
            return None
        node.op = OPERATORS[type(node.op)]()
        return node
    if len(node.ops) > 1 or type(node.ops[0]) not in COMPARISONS:
        return None
    node.ops = [COMPARISONS[type(node.ops[0])]()]
    return node


def _change_value(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Yield the changes of a constant, a negation, or a statement that leaves."""
    match node:
        case ast.UnaryOp(op=ast.Not()):
            yield node, _describe(node, node.operand), f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool(value)):
            yield node, f"{value} -> {not value}", str(not value)
        case ast.Constant(value=int(value)):
            yield node, f"{value} -> {value + 1}", str(value + 1)
        case ast.Continue():
            yield node, "continue -> break", "break"
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield node, f"return {ast.unparse(value)[:60]} -> return None", "return None"


def _is_text(node: ast.BinOp) -> bool:
    """Return whether an operation joins text, or types in a call of isinstance."""
    return any(
        isinstance(child, ast.JoinedStr) or (isinstance(child, ast.Constant) and isinstance(child.value, str))
        for child in ast.walk(node)
    )


def _describe(before: ast.AST, after: ast.AST) -> str:
    return f"{ast.unparse(before)[:70]} -> {ast.unparse(after)[:70]}"
