"""The path of the mask: the effect of each call, in execution order."""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
from collections.abc import Iterator

from maskcli.records.trace import Call
from maskcli.render.numbers import DASH
from maskcli.render.parts import (
    Cell,
    Cells,
    Column,
    Heading,
    Limits,
    Part,
    Role,
    Table,
    make_cell,
    mark,
    measure_cells,
)
from maskcli.render.tables import (
    LONGEST_NAME,
    NARROWEST_NAME,
    ROW_GAP,
    elide_axis,
    flow_entries,
    make_elision_note,
    make_note,
    mark_mask,
    shorten_middle,
)

EFFECTS = {
    "computes": "the mask used by a later layer",
    "creates": "the mask starts here",
    "passes": "ignores the mask, forwards it",
    "changes": "returns a different mask",
    "uses": "consumes the mask",
    "drops": "receives a mask, returns none",
    "none": "no mask",
}
ATTENTION_ARGUMENTS = ("attention_mask", "use_causal_mask")
"""Mask arguments that restrict which query attends to which key. They are not padding masks."""
LONGEST_LINE = 40
"""Characters of a line below the name of a call up to which the column of names is widened."""
READABLE = len(EFFECTS["drops"])
"""Fewest characters of a readable column of descriptions."""
INDENT = "  "
KERAS_WARNED = "Keras warned"
_COMMA = re.compile("(?<=,) ")


@dataclasses.dataclass(frozen=True)
class _Widths:
    """Characters of the columns of a trace.

    Attributes:
        name: name of the call.
        type: type of the layer.
        description: description of the effect.
        path: path of another call within a description.
        has_column: whether descriptions have a column; otherwise they are below the name.
    """

    name: int
    type: int
    description: int
    path: int
    has_column: bool


def view_mask_path(trace: tuple[Call, ...], limits: Limits) -> list[Part]:
    """Return a row for each call, with the description in a column, or below the name if there is no room."""
    heading = Heading("Path of the mask", "effect of each call, in execution order")
    if not trace:
        return [heading, make_note("no calls recorded")]
    rows = elide_axis(len(trace), limits.rows, "call")
    calls = [None if row is None else trace[row] for row in rows.indices]
    names = _indent_names(calls)
    kept = [call for call in calls if call is not None]
    widths = _choose_widths(kept, [name for name in names if name], limits)
    columns = [Column("#"), *(Column(title, "left") for title in ("call", "type", "in", "out", "effect"))]
    if widths.has_column:
        columns.append(Column("", "left"))
    lines: list[tuple[Cells, ...]] = []
    for call, name in zip(calls if widths.has_column else _name_losses_once(calls), names, strict=True):
        if call is None:
            lines.append(tuple(make_cell(ROW_GAP, "faint") for _ in columns))
        else:
            lines += _make_rows(call, name, widths)
    parts: list[Part] = [heading, Table(tuple(columns), tuple(lines)), *make_elision_note(rows.note)]
    if not widths.has_column:
        effects = {find_effect(call) for call in kept}
        parts += [make_note(f"{name:<10}{gloss}") for name, gloss in EFFECTS.items() if name in effects]
    return [*parts, *_make_mask_legend(kept, limits)]


def _name_losses_once(calls: list[Call | None]) -> Iterator[Call | None]:
    """Yield calls, of which only the first after each other has the place where their mask was lost.

    A line below each of many calls would repeat it.
    """
    before: tuple[str | None, str | None] = (None, None)
    for call in calls:
        place = (None, None) if call is None else (call.lost_at, call.lost_after)
        is_repeated = call is not None and place == before and call.lost_at != call.call
        yield dataclasses.replace(call, lost_at=None, lost_after=None) if call is not None and is_repeated else call
        before = place


def _make_mask_legend(calls: list[Call], limits: Limits) -> list[Part]:
    """Return the meanings of the marks for masks."""
    masks = [received for call in calls for received in (call.mask_in, call.mask_out)]
    entries: list[Cells] = []
    if any(item is not None for item in masks):
        entries.append((mark("on"), Cell(" in, out: a mask")))
    if any(item is None for item in masks):
        entries.append((Cell(f"{DASH} in, out: no mask"),))
    return flow_entries(entries, limits)


def _indent_names(calls: list[Call | None]) -> list[str]:
    """Return the name of each call, indented below the call that contains it.

    A call whose container is not displayed above it has its whole path.
    """
    depths: dict[str, int] = {}
    names = []
    for call in calls:
        if call is None:
            depths = {}
            names.append("")
            continue
        container, _, name = call.call.rpartition("/")
        if container not in depths:
            depths[call.call] = 0
            names.append(call.call)
            continue
        depths[call.call] = depths[container] + 1
        names.append(INDENT * depths[call.call] + name)
    return names


def _choose_widths(calls: list[Call], names: list[str], limits: Limits) -> _Widths:
    name = max(len("call"), *map(len, names))
    type_ = max(len("type"), *(len(call.type) for call in calls))
    path = sys.maxsize if limits.everything else LONGEST_NAME
    if limits.everything or limits.flows:
        return _Widths(name, type_, sys.maxsize, path, has_column=True)
    longest = max(len("; ".join(_describe(call, path))) for call in calls)
    if any(call.warning is not None for call in calls):
        longest += len(f"; {KERAS_WARNED}")
    effect = max(len("effect"), *(len(find_effect(call)) for call in calls))
    room = limits.width - len(f"{calls[-1].index}  in  out  ") - effect - 2 * len("  ")
    description = room - name - type_ - len("  ")
    if description >= min(longest, READABLE):
        return _Widths(name, type_, description, path, has_column=True)
    type_ = max(NARROWEST_NAME, min(type_, room * 2 // 5))
    below = max(map(_measure_below, calls, names))
    name = max(NARROWEST_NAME, min(max(name, min(below, LONGEST_LINE)), room - type_))
    return _Widths(name, type_, name, path, has_column=False)


def _measure_below(call: Call, name: str) -> int:
    """Return the characters of the longest text below the name of a call."""
    indent = len(name) - len(name.lstrip()) + len(INDENT)
    return max((indent + len(clause) for clause in _describe(call, LONGEST_NAME, terse=True)), default=0)


def _make_rows(call: Call, indented: str, widths: _Widths) -> Iterator[tuple[Cells, ...]]:
    name = indented.lstrip()
    indent = (len(indented) - len(name)) % (widths.name // 2)
    role = _find_text_role(call)
    row = (
        make_cell(call.index, "label"),
        make_cell(" " * indent + shorten_middle(name, widths.name - indent), role),
        make_cell(shorten_middle(call.type, widths.type), role),
        mark_mask(call.mask_in),
        mark_mask(call.mask_out),
        make_cell(find_effect(call), "muted" if role == "muted" else "strong"),
    )
    if widths.has_column:
        first, *further = _wrap_description(call, widths, widths.description) or [()]
        yield (*row, first)
        yield from ((*((),) * len(row), line) for line in further)
    else:
        yield row
        below = Cell(" " * indent + INDENT)
        lines = _wrap_description(call, widths, widths.description - len(below.text))
        yield from (((), (below, *line), (), (), (), ()) for line in lines)


def _find_text_role(call: Call) -> Role:
    return "muted" if call.computes_mask else "plain"


def _wrap_description(call: Call, widths: _Widths, room: int) -> list[Cells]:
    """Return the description of a call in lines of ``room`` characters, broken between clauses if possible."""
    path = min(widths.path, max(NARROWEST_NAME, room - len("lost at ,")))
    role = _find_text_role(call)
    clauses = [(clause, role) for clause in _describe(call, path, terse=not widths.has_column)]
    if call.warning is not None:
        clauses.append((KERAS_WARNED, "muted"))
    lines: list[Cells] = []
    for clause, role in clauses:
        if lines and measure_cells(lines[-1]) + len(f"; {clause}") <= room:
            lines[-1] = (*lines[-1], Cell(f"; {clause}", role))
            continue
        # A long clause is broken after its commas if possible.
        widest = max(NARROWEST_NAME, room)
        pieces = [clause] if len(clause) <= widest else _COMMA.split(clause)
        lines += [make_cell(line, role) for piece in pieces for line in textwrap.wrap(piece, widest)]
    return lines


# The effect of a call in words.


def find_effect(call: Call) -> str:
    """Return the effect of a call, ``computes`` if it only makes a mask for a later call."""
    return "computes" if call.computes_mask else call.effect


def _describe(call: Call, longest_path: int, terse: bool = False) -> list[str]:
    """Return the clauses that describe a call; ``terse`` omits the effect, which has a column."""
    clauses = [_describe_effect(call, longest_path, terse)]
    names = _list_received_masks(call)
    if call.effect != "uses" and names:
        clauses.append(f"receives {', '.join(names)}")
    if call.takes_off:
        clauses.append("removes the mask from its input, too")
    return [clause for clause in clauses if clause]


def _describe_effect(call: Call, longest_path: int, terse: bool) -> str:
    gloss = "" if terse else EFFECTS[find_effect(call)]
    if call.computes_mask:
        return gloss
    if call.code:
        return "code between layers" if call.effect == "none" or terse else f"code between layers: {gloss}"
    if call.effect == "uses":
        return _describe_use(call, terse)
    if call.mask_in is not None and any(name not in ATTENTION_ARGUMENTS for name in call.mask_arguments):
        return "has a mask argument but receives none"
    if call.mask_in is None and call.lost_at not in (None, call.call):
        return _describe_loss(call, longest_path)
    return gloss


def _describe_loss(call: Call, longest_path: int) -> str:
    place = f"lost at {shorten_middle(str(call.lost_at), longest_path)}"
    if call.lost_after is None:
        return place
    return f"{place}, after {shorten_middle(call.lost_after, longest_path)}"


def _describe_use(call: Call, terse: bool) -> str:
    """Return how a call receives masks, and whether it forwards one."""
    names = _list_received_masks(call)
    use = EFFECTS["uses"]
    if names not in ([], ["mask"]):
        use = f"receives {', '.join(names)}"
    elif terse:
        return ""
    if terse:
        return use
    return f"{use}, forwards it" if call.mask_out is not None else f"{use}, returns none"


def _list_received_masks(call: Call) -> list[str]:
    """Return the names of the arguments in which a call receives masks."""
    return [name for name, masks in call.mask_arguments.items() if any(item is not None for item in masks)]
