"""The first line of a result: the data that it is about."""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.data import DataOrigin
from maskcli.records.wording import format_count
from maskcli.render.parts import Cell, Part, Section, Text, make_sections
from maskcli.render.tables import make_note

MOST_FILES = 3
"""Files that the line names; of more it names the first and the last."""


def view_data(record: object) -> list[Section]:
    """Return the section that names the data of a record; empty for a record without data, such as a list of rules."""
    origin = getattr(record, "data", None)
    return [] if not isinstance(origin, DataOrigin) else make_sections(("data", _view_origin(origin)))


def _view_origin(origin: DataOrigin) -> Iterator[Part]:
    yield Text((Cell(name_source(origin), "strong"), Cell(f", {format_count(origin.rows, 'row')}", "muted")))
    if origin.skipped:
        names = ", ".join(origin.skipped[:MOST_FILES])
        more = f" and {len(origin.skipped) - MOST_FILES:,} more" if len(origin.skipped) > MOST_FILES else ""
        yield make_note(f"skipped, not of a format that maskcli reads: {names}{more}")


def name_source(origin: DataOrigin) -> str:
    """Return the names of the files, or where else the rows come from."""
    if origin.sample:
        return "built-in sample"
    if not origin.files:
        return "data from Python"
    names = ["standard input" if name == "-" else name for name in origin.files]
    if len(names) <= MOST_FILES:
        return ", ".join(names)
    return f"{len(names):,} files, {names[0]} to {names[-1]}"
