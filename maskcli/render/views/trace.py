"""The path of the mask: what each call does to it, in the order of running."""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
from collections.abc import Iterator

from maskcli.records.arrays import Bools
from maskcli.records.trace import Call
from maskcli.render.grid import GAP, describe_left_out, make_elision_note, make_gap_row
from maskcli.render.parts import Cell, Cells, Column, Heading, Limits, Part, Role, Table, Text, elide, make_cell

EFFECTS = {
    "computes": "the mask that a later call is given",
    "creates": "no mask came in, one goes out",
    "passes": "does not look at it, passes it on",
    "changes": "another mask goes out",
    "uses": "is given it",
    "drops": "a mask came in, none goes out",
    "none": "knows no mask",
}
NO_PADDING_MASKS = ("attention_mask", "use_causal_mask")
"""Mask arguments that say who may look at whom, and not what is padding."""
LONGEST_NAME = 32
"""Characters of a path within a sentence."""
LONGEST_LINE = 40
"""Characters of a line below the name of a call, for which its column is made wider."""
NARROWEST = 8
"""Characters that a name is left, however narrow the screen."""
INDENT = "  "
_COMMA = re.compile("(?<=,) ")
ENOUGH = len(EFFECTS["drops"])
"""Characters that make a column of what calls do readable."""


@dataclasses.dataclass(frozen=True)
class _Widths:
    """Characters of what a trace has in its columns.

    Attributes:
        name: of the call.
        type: of its class.
        said: of what it does.
        path: of the path of another call in that.
        beside: whether what it does has a column, and does not stand below the name.
    """

    name: int
    type: int
    said: int
    path: int
    beside: bool


def view_mask_path(trace: tuple[Call, ...], limits: Limits) -> list[Part]:
    """Return a row for each call; what it does stands beside it, or below it where long names leave no room."""
    heading = Heading("Path of the mask", "what each call does to it, in the order of running")
    if not trace:
        return [heading, Text((Cell("no call was seen", "muted"),))]
    rows = elide(len(trace), limits.rows)
    calls = [None if row is None else trace[row] for row in rows]
    names = _names(calls)
    shown = [call for call in calls if call is not None]
    widths = _widths(shown, [name for name in names if name], limits)
    columns = [Column("#"), *(Column(title, "left") for title in ("call", "type", "in", "out", "effect"))]
    if widths.beside:
        columns.append(Column("", "left"))
    table_rows: list[tuple[Cells, ...]] = []
    for call, name in zip(calls, names, strict=True):
        table_rows += [make_gap_row(len(columns))] if call is None else _call_rows(call, name, widths)
    return [
        heading,
        Table(tuple(columns), tuple(table_rows)),
        *make_elision_note(describe_left_out(rows, len(trace), "call")),
        *(() if widths.beside else _glossary(shown)),
    ]


def _names(calls: list[Call | None]) -> list[str]:
    """Return the name of each call, set in below the call that made it; its path, where that is not shown above it."""
    depths: dict[str, int] = {}
    names = []
    for call in calls:
        if call is None:
            depths = {}
            names.append("")
            continue
        above, _, own = call.call.rpartition("/")
        depth = depths[above] + 1 if above in depths else 0
        depths[call.call] = depth
        names.append(INDENT * depth + (own if depth else call.call))
    return names


def _widths(calls: list[Call], names: list[str], limits: Limits) -> _Widths:
    name = max(len("call"), *map(len, names))
    kind = max(len("type"), *(len(call.type) for call in calls))
    longest = sys.maxsize if limits.everything else LONGEST_NAME
    said = max(len("; ".join((*_said(call, longest), *_warned(call)))) for call in calls)
    if limits.everything or limits.flows:
        return _Widths(name, kind, said, longest, beside=True)
    effect = max(len("effect"), *(len(_effect(call)) for call in calls))
    room = limits.width - len(f"{calls[-1].index}  in  out  ") - effect - 2 * len("  ")
    beside = room - name - kind - len("  ")
    if beside >= min(said, ENOUGH):
        return _Widths(name, kind, beside, longest, beside=True)
    kind = max(NARROWEST, min(kind, room * 2 // 5))
    below = max(map(_below, calls, names))
    name = max(NARROWEST, min(max(name, min(below, LONGEST_LINE)), room - kind))
    return _Widths(name, kind, name, longest, beside=False)


def _below(call: Call, name: str) -> int:
    """Return the characters of what would stand below the name of a call."""
    indent = len(name) - len(name.lstrip()) + len(INDENT)
    return max((indent + len(clause) for clause in _said(call, LONGEST_NAME, terse=True)), default=0)


def _call_rows(call: Call, name: str, widths: _Widths) -> Iterator[tuple[Cells, ...]]:
    aside: Role = "muted" if call.computes_mask else "plain"
    own = name.lstrip()
    indent = (len(name) - len(own)) % (widths.name // 2)
    row = (
        make_cell(call.index, "label"),
        make_cell(" " * indent + shorten_middle(own, widths.name - indent), aside),
        make_cell(shorten_middle(call.type, widths.type), aside),
        mark_mask(call.mask_in),
        mark_mask(call.mask_out),
        make_cell(_effect(call), "muted" if call.computes_mask else "strong"),
    )
    if widths.beside:
        first, *others = _lines(call, widths, widths.said) or [()]
        yield (*row, first)
        yield from ((*((),) * len(row), line) for line in others)
    else:
        yield row
        below = Cell(" " * indent + INDENT)
        lines = _lines(call, widths, widths.said - len(below.text))
        yield from (((), (below, *line), (), (), (), ()) for line in lines)


def _lines(call: Call, widths: _Widths, room: int) -> list[Cells]:
    """Return what a call does in lines of at most ``room`` characters, broken between clauses where that will do."""
    aside: Role = "muted" if call.computes_mask else "plain"
    path = min(widths.path, max(NARROWEST, room - len("lost at ,")))
    lines: list[Cells] = []
    clauses = [(clause, aside) for clause in _said(call, path, terse=not widths.beside)]
    for clause, role in (*clauses, *((warned, "muted") for warned in _warned(call))):
        if lines and measure_mask_cells(lines[-1]) + len(f"; {clause}") <= room:
            lines[-1] = (*lines[-1], Cell(f"; {clause}", role))
        else:
            lines += [make_cell(line, role) for line in _broken(clause, max(NARROWEST, room))]
    return lines


def _broken(clause: str, room: int) -> list[str]:
    """Return a clause in lines, broken behind its commas where that will do."""
    if len(clause) <= room:
        return [clause]
    return [line for part in _COMMA.split(clause) for line in textwrap.wrap(part, room)]


# What a call does, in words.


def _effect(call: Call) -> str:
    return "computes" if call.computes_mask else call.effect


def _warned(call: Call) -> list[str]:
    return ["Keras warned"] if call.warning is not None else []


def _said(call: Call, longest: int, terse: bool = False) -> list[str]:
    """Return what a call does, in words; ``terse`` leaves out what its effect and the columns of masks say already."""
    said = [_mostly(call, longest, terse)]
    if call.effect != "uses" and _given(call):
        said.append(f"given {', '.join(_given(call))}")
    if call.takes_off:
        said.append("takes it off its input too")
    return [clause for clause in said if clause]


def _mostly(call: Call, longest: int, terse: bool) -> str:
    gloss = "" if terse else EFFECTS[_effect(call)]
    if call.computes_mask:
        return gloss
    if call.code:
        return f"code between layers: {gloss}" if gloss and call.effect != "none" else "code between layers"
    if call.effect == "uses":
        return _uses(call, terse)
    if call.mask_in is not None and any(name not in NO_PADDING_MASKS for name in call.mask_arguments):
        return "has a mask argument and is not given it"
    if call.mask_in is None and call.lost_at not in (None, call.call):
        return _lost(call, longest)
    return gloss


def _lost(call: Call, longest: int) -> str:
    after = "" if call.lost_after is None else f", after {shorten_middle(call.lost_after, longest)}"
    return f"lost at {shorten_middle(str(call.lost_at), longest)}{after}"


def _uses(call: Call, terse: bool) -> str:
    """Return by which arguments a call is given masks, but for a lone ``mask``."""
    names = _given(call)
    given = EFFECTS["uses"] if names in ([], ["mask"]) else f"given {', '.join(names)}"
    if terse:
        return "" if given == EFFECTS["uses"] else given
    return given + (", passes it on" if call.mask_out is not None else ", returns none")


def _given(call: Call) -> list[str]:
    return [name for name, masks in call.mask_arguments.items() if any(mask is not None for mask in masks)]


def _glossary(calls: list[Call]) -> list[Part]:
    """Return what the effects mean, of those that occur."""
    occur = {_effect(call) for call in calls}
    return [Text((Cell(f"{name:<10}{gloss}", "muted"),)) for name, gloss in EFFECTS.items() if name in occur]


# What other tables need too.


def mark_mask(mask: Bools | None) -> Cells:
    """Return a glyph for a mask, or a dash for none."""
    return make_cell("–", "muted") if mask is None else (Cell("", "on"),)


def measure_mask_cells(cells: Cells) -> int:
    """Return the characters of cells that stand together; a role with a glyph takes one more."""
    return sum(len(cell.text) + (cell.role in ("padding", "dropped", "on", "off")) for cell in cells)


def shorten_middle(text: str, width: int) -> str:
    """Return ``text`` with its middle left out where it is longer than ``width``."""
    if len(text) <= width:
        return text
    kept = max(2, width - len(GAP))
    return text[: (kept + 1) // 2] + GAP + text[-(kept // 2) :]
