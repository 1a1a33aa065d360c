"""Tables that fit a screen: long axes elided in the middle, spare columns left out, and legends."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np

from maskcli.records.arrays import Array, Bools, Floats
from maskcli.records.wording import format_count
from maskcli.render.numbers import DASH, FormatNumber
from maskcli.render.parts import (
    KIND_ROLES,
    Cell,
    Cells,
    Column,
    Limits,
    Part,
    Role,
    Table,
    Text,
    elide,
    make_cell,
    mark,
    measure_cells,
    measure_table,
)
from maskcli.render.timesteps import TimestepKind

GAP = "…"
ROW_GAP = "⋮"
SEE_ALL = " (--all shows everything)"
LEGEND_GAP = "   "
TOKEN = 3
"""Characters of the narrowest column of tokens, with the gap to the next."""
NARROWEST_NAME = 8
"""Fewest characters of a shortened name, also on a narrow screen."""
LONGEST_NAME = 32
"""Most characters of a name within a sentence or a heading."""
Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ItemColumn(Generic[Item]):
    """A column of a table of items: its title, and the cells that it shows of an item; see ``Column``."""

    title: str
    show: Callable[[Item], Cells]
    align: Literal["left", "right"] = "right"
    rule: bool = False


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Elision:
    """An axis of numbered items, some of which are displayed; None in ``indices`` is a gap."""

    count: int
    noun: str
    indices: tuple[int | None, ...]

    @property
    def kept(self) -> list[int]:
        """The items that are displayed."""
        return [index for index in self.indices if index is not None]

    @property
    def note(self) -> str:
        """The number of items left out; empty if there are none."""
        return note_missing(self.count - len(self.kept), self.noun)


def note_missing(count: int, noun: str) -> str:
    """Return a note of items left out; empty if there are none."""
    if not count:
        return ""
    return f"{format_count(count, noun)} not shown"


def elide_axis(count: int, limit: int | None, noun: str) -> Elision:
    """Return an axis of ``count`` items, of which at most ``limit`` are displayed."""
    return Elision(count, noun, tuple(elide(count, limit)))


def fill_table(fields: Sequence[ItemColumn[int]], rows: Elision) -> Table:
    """Return a table with a row for each index that is displayed, and one for the gap."""
    return _fill_rows(fields, rows, range(rows.count))


def _fill_rows(fields: Sequence[ItemColumn[Item]], rows: Elision, items: Sequence[Item]) -> Table:
    gap = tuple(make_cell(ROW_GAP, "faint") for _ in fields)
    columns = tuple(Column(field.title, field.align, rule=field.rule) for field in fields)
    cells = (gap if row is None else tuple(field.show(items[row]) for field in fields) for row in rows.indices)
    return Table(columns, tuple(cells))


def list_items(
    fields: Sequence[ItemColumn[Item]], items: Sequence[Item], noun: str, limits: Limits, spare: Sequence[str] = ()
) -> list[Part]:
    """Return a table with a row for each item, and notes of rows and columns left out.

    Args:
        fields: the columns.
        items: one for each row.
        noun: of an item.
        limits: how many rows there may be, and how wide they may be.
        spare: titles of columns to leave out if the table is too wide, the first one first.
    """
    rows = elide_axis(len(items), limits.rows, noun)
    table, dropped = _drop_columns(_fill_rows(fields, rows, items), spare, limits)
    notes = make_elision_note(rows.note)
    if dropped:
        notes = [*make_elision_note(f"{', '.join(dropped)} not shown"), *notes]
    return [table, *notes]


def _drop_columns(table: Table, spare: Sequence[str], limits: Limits) -> tuple[Table, list[str]]:
    dropped: list[str] = []
    for title in spare:
        if limits.everything or measure_table(table) <= limits.width:
            break
        kept = [index for index, column in enumerate(table.columns) if column.title != title]
        if len(kept) < len(table.columns):
            columns = tuple(table.columns[index] for index in kept)
            table = Table(columns, tuple(tuple(row[index] for index in kept) for row in table.rows))
            dropped.append(title)
    return table, dropped


def make_elision_note(*notes: str) -> list[Part]:
    """Return a line that reports omissions and how to see everything; none if all notes are empty."""
    text = ", ".join(filter(None, notes))
    if not text:
        return []
    return [make_note(f"{GAP} {text}{SEE_ALL}")]


def make_note(text: str) -> Text:
    """Return a comment on the parts above it."""
    return Text(make_cell(text, "muted"))


# Widths.


def find_room(
    make: Callable[[int | None], list[Part]], count: int, limits: Limits, narrowest: int = TOKEN
) -> int | None:
    """Return how many of ``count`` items of an axis fit on the screen; None for all, if everything is requested.

    Args:
        make: makes a table or a line and its notes, with at most that many items of the axis.
        count: the items of the axis.
        limits: the width of the screen. A number of columns that the user chose is kept.
        narrowest: characters that an item takes at least, which bounds the search.
    """
    if limits.everything:
        return None
    if limits.columns is not None:
        return limits.columns
    rooms = range(2, min(count, limits.width // narrowest) + 1)
    return 1 + bisect.bisect_left(rooms, True, key=lambda room: _measure_part(make(room)[0]) > limits.width)


def _measure_part(part: Part) -> int:
    if isinstance(part, Table):
        return measure_table(part)
    return measure_cells(part.cells) + 1 if isinstance(part, Text) else 0


def shorten_middle(text: str, width: int) -> str:
    """Return ``text`` without its middle if it is longer than ``width``."""
    if len(text) <= width:
        return text
    kept = max(2, width - len(GAP))
    return text[: (kept + 1) // 2] + GAP + text[-(kept // 2) :]


# Timesteps and masks.


def make_timestep_fields(timesteps: Elision, show: Callable[[int, int], Cells]) -> list[ItemColumn[int]]:
    """Return a column for each timestep that is displayed; ``show`` takes a row and a timestep."""
    return [_make_timestep_field(timestep, show) for timestep in timesteps.indices]


def _make_timestep_field(timestep: int | None, show: Callable[[int, int], Cells]) -> ItemColumn[int]:
    if timestep is None:
        return ItemColumn(GAP, lambda _row: make_cell(GAP, "faint"))
    return ItemColumn(str(timestep), lambda row: show(row, timestep))


LONGEST_WORD = 16
"""Characters of a word; more are shortened in the middle."""


def label_tokens(tokens: Array, words: Mapping[int, str] | None) -> Array:
    """Return the words of tokens, of any shape; an id without a word stays, and so do all if ``words`` is None."""
    if words is None:
        return tokens
    # Blanks, such as those of byte-level tokenizers, would be invisible.
    labels = {token: shorten_middle(word.replace(" ", "␣") or "∅", LONGEST_WORD) for token, word in words.items()}
    ids, inverse = np.unique(tokens, return_inverse=True)
    named = np.array([labels.get(int(token), str(token)) for token in ids], dtype=object)
    return named[inverse.reshape(tokens.shape)]


def make_token_cell(token: object, kind: int) -> Cells:
    """Return a token; all but valid ones are marked by the glyph of their kind."""
    if kind == TimestepKind.VALID:
        return make_cell(token)
    return make_cell(token, KIND_ROLES[kind])


def make_token_fields(tokens: Array, kinds: Array, timesteps: Elision) -> list[ItemColumn[int]]:
    """Return the column of samples, and one for each timestep of tokens ``(batch, timesteps)`` that is displayed."""
    return [
        ItemColumn("sample", lambda row: make_cell(row, "label")),
        *make_timestep_fields(
            timesteps, lambda row, timestep: make_token_cell(tokens[row, timestep], kinds[row, timestep])
        ),
    ]


def make_glyphs(timesteps: Elision, find_role: Callable[[int], Role]) -> Cells:
    """Return a glyph for each timestep that is displayed."""
    gap = Cell(GAP, "faint")
    return tuple(gap if timestep is None else mark(find_role(timestep)) for timestep in timesteps.indices)


def make_mask_field(title: str, mask: Bools | None, timesteps: Elision) -> ItemColumn[int]:
    """Return a column with the rows of a mask ``(batch, timesteps)`` as glyphs."""
    roles: tuple[Role, Role] = ("off", "on")

    def show(row: int) -> Cells:
        if mask is None:
            return make_cell("no mask", "muted")
        return make_glyphs(timesteps, lambda timestep: roles[int(mask[row, timestep])])

    return ItemColumn(title, show, "left")


def mark_mask(mask: Bools | None) -> Cells:
    """Return the glyph of a mask, or a dash if there is none."""
    if mask is None:
        return make_cell(DASH, "faint")
    return make_cell("", "on")


def mark_fault(is_fault: bool, fault: str = "yes", otherwise: str = "no") -> Cells:
    """Return one of two answers, of which ``fault`` is an error."""
    return make_cell(f" {fault}", "error") if is_fault else make_cell(otherwise)


# Legends and bars.


def make_legend(entries: Iterable[tuple[Role, str]], limits: Limits) -> list[Part]:
    """Return the meanings of glyphs."""
    return flow_entries([(mark(role), Cell(f" {meaning}", "muted")) for role, meaning in entries], limits)


def flow_entries(entries: Iterable[Cells], limits: Limits) -> list[Part]:
    """Return entries on as few lines as they need, none of them broken."""
    lines: list[Cells] = []
    for entry in entries:
        # A line begins with a margin of one character.
        if lines and 1 + measure_cells(lines[-1]) + len(LEGEND_GAP) + measure_cells(entry) < limits.width:
            lines[-1] = (*lines[-1], Cell(LEGEND_GAP), *entry)
        else:
            lines.append(entry)
    return [Text(line) for line in lines]


def make_bar(share: float, room: int, role: Role) -> Cells:
    """Return a bar that fills ``share`` of the room; any share above zero gets at least one character."""
    length = round(min(share, 1.0) * room)
    if share > 0:
        length = max(1, length)
    return tuple(mark(role) for _ in range(length))


def format_vector(values: Floats, features: Elision, number: FormatNumber) -> str:
    """Return the numbers of a vector, separated by spaces."""
    return " ".join(GAP if index is None else number(values[index]) for index in features.indices)
