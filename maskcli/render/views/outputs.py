"""What came out: the first output beside the same weights run without a mask, and a line for each further one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Inspection, OutputValues, Unmasked
from maskcli.render.grid import (
    count_fitting_columns,
    describe_left_out,
    find_token_role,
    format_vector,
    make_elision_note,
    make_gap_row,
)
from maskcli.render.numbers import format_short, make_fixed_formatter
from maskcli.render.parts import Cell, Cells, Column, Heading, Limits, Part, Table, Text, elide, make_cell
from maskcli.render.views.trace import LONGEST_NAME, NARROWEST, mark_mask, measure_mask_cells, shorten_middle


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """The first output, laid out for a table.

    Attributes:
        output: it.
        runs: its values, and those without a mask where there are any: ``(batch, timesteps, units)``, or
            ``(batch, units)`` when pooled.
        mask: ``(batch, timesteps)``; None where it carries none, or one of another shape.
        tokens: ``(batch, timesteps)``; None where its timesteps are not those of the tokens.
        hidden: ``(batch, timesteps)``, timesteps that the mask of the inputs hides.
    """

    output: OutputValues
    runs: tuple[NDArray[Any], ...]
    mask: Bools | None
    tokens: NDArray[Any] | None
    hidden: Bools | None

    @property
    def pooled(self) -> bool:
        return self.output.valid is None


def view_first_output(inspection: Inspection, limits: Limits) -> list[Part]:
    """Return the first output, beside that of the same weights run without any mask."""
    run, unmasked = _laid_out(inspection), inspection.unmasked
    several = len(inspection.outputs) > 1
    name = f"Output {run.output.name}" if several else "Outputs"
    call = shorten_middle(run.output.call, max(LONGEST_NAME, limits.width - len(f"{name} of  {run.output.shape!s}")))
    return [
        Heading(
            f"{name} of {call} {run.output.shape!s}",
            "" if unmasked is None else "beside the same weights run without any mask",
        ),
        *_values(run, unmasked, limits),
        *describe_mask_shape(run.output.mask, run.output.valid, "Its mask"),
    ]


def view_further_outputs(outputs: tuple[OutputValues, ...], limits: Limits) -> list[Part]:
    """Return a line for each output behind the first."""
    if not outputs:
        return []
    rows = elide(len(outputs), limits.rows)
    columns = tuple(Column(title, "left") for title in ("output", "shape", "dtype", "call", "mask"))
    half = max(NARROWEST, (limits.width - 48) // 2)

    def show(output: OutputValues) -> tuple[Cells, ...]:
        odd = output.mask is not None and not has_timesteps(output.mask, output.valid)
        shape = Cell(f" {output.mask.shape!s}" if output.mask is not None and odd else "", "muted")
        return (
            make_cell(shorten_middle(output.name, half), "label"),
            make_cell(output.shape),
            make_cell(output.values.dtype),
            make_cell(shorten_middle(output.call, half)),
            (*mark_mask(output.mask), shape),
        )

    return [
        Heading("Further outputs"),
        Table(columns, tuple(make_gap_row(5) if row is None else show(outputs[row]) for row in rows)),
        *make_elision_note(describe_left_out(rows, len(outputs), "output")),
    ]


# The first output as a table.


def _laid_out(inspection: Inspection) -> _Run:
    output, unmasked, given = inspection.outputs[0], inspection.unmasked, inspection.primary
    valid = output.valid
    values = (output.values,) if unmasked is None else (output.values, unmasked.values)
    places = output.values.shape[:1] if valid is None else valid.shape
    runs = tuple(_printable(run.reshape(*places, -1) if run.size else run.reshape(*places, 0)) for run in values)
    if valid is None:
        return _Run(output, runs, None, None, None)
    same = given is not None and given.valid is not None and given.valid.shape == valid.shape
    tokens = convert_ids(given) if given is not None and same and given.kind == "ids" else None
    mask = output.mask if has_timesteps(output.mask, valid) else None
    told = inspection.mask if same else output.mask
    return _Run(output, runs, mask, tokens, ~told if told is not None and has_timesteps(told, valid) else None)


def _printable(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers of a dtype that NumPy has, which bfloat16 is not."""
    return values.astype(np.float64) if values.dtype.kind == "V" else values


def _values(run: _Run, unmasked: Unmasked | None, limits: Limits) -> list[Part]:
    """Return a row for each timestep, or for each sample of a pooled output."""
    units = run.runs[0].shape[-1]
    taken = _taken(run)
    number, width = _number(run.runs, limits, taken)
    places = list(np.ndindex(run.runs[0].shape[:-1]))
    shown = elide(len(places), limits.rows)
    starts = {after for before, after in zip([None, *shown], shown, strict=False) if before is None}
    columns = (
        Column("sample"),
        *_timestep_titles(run),
        Column("output"),
        *(() if unmasked is None else (Column("without mask"), Column("moves"))),
    )

    def make(room: int | None) -> list[Part]:
        features = elide(units, room)

        def show(index: int) -> tuple[Cells, ...]:
            at = places[index]
            first = run.pooled or at[1] == 0 or index in starts
            vectors = (
                make_cell(format_vector(of[at], features, lambda value: number(value).rjust(width))) for of in run.runs
            )
            return (
                make_cell(at[0] if first else "", "label"),
                *(() if run.pooled else _timestep(run, at)),
                *vectors,
                *(() if unmasked is None else (make_cell(format_short(float(unmasked.change[at]))),)),
            )

        return [
            Table(columns, tuple(make_gap_row(len(columns)) if index is None else show(index) for index in shown)),
            *make_elision_note(
                describe_left_out(shown, len(places), "sample" if run.pooled else "timestep"),
                describe_left_out(features, units, "unit"),
            ),
        ]

    return fit_axis(make, count_fitting_columns(limits, (width + 1) * len(run.runs), taken), limits)


def _timestep_titles(run: _Run) -> tuple[Column, ...]:
    if run.pooled:
        return ()
    return (Column("t"), *(() if run.tokens is None else (Column("token"),)), Column("mask", "left"))


def _taken(run: _Run) -> int:
    """Return the characters that the columns beside those of vectors take, with their gaps."""
    vectors = len(run.runs)
    beside = 6 + (2 - 1) * vectors + (2 + 7 if vectors > 1 else 0)
    if run.pooled:
        return beside
    timestep = len(str(run.runs[0].shape[1] - 1))
    token = 1 if run.tokens is None else 2 + max(5, len(str(run.tokens.min())), len(str(run.tokens.max())))
    note = 5 + timestep
    return beside + 2 + timestep + token + 2 + note


def _number(runs: tuple[NDArray[Any], ...], limits: Limits, taken: int) -> tuple[Callable[[Any], str], int]:
    """Return a formatter and its width: with three digits, or with two where that makes room for all units."""
    both, units = np.stack(runs), runs[0].shape[-1]
    number, width = _formatter(both, 3)
    room = count_fitting_columns(limits, (width + 1) * len(runs), taken)
    return (number, width) if room is None or units <= room else _formatter(both, 2)


def _formatter(values: NDArray[Any], digits: int) -> tuple[Callable[[Any], str], int]:
    number = make_fixed_formatter(values, digits) if values.dtype.kind == "f" else str
    if values.dtype.kind not in "iuf":
        return number, max((len(number(value)) for value in np.unique(values)), default=1)
    finite = values[np.isfinite(values)]
    ends = [finite.min(), finite.max()] if finite.size else []
    return number, max((len(number(value)) for value in (*ends, *_not_finite(values))), default=1)


def _not_finite(values: NDArray[Any]) -> list[float]:
    numbers = (np.nan, np.isnan(values)), (np.inf, np.isposinf(values)), (-np.inf, np.isneginf(values))
    return [number for number, where in numbers if where.any()]


def _timestep(run: _Run, at: tuple[int, ...]) -> tuple[Cells, ...]:
    """Return the cells of one timestep; without a token its number says whether it is padding."""
    assert run.output.valid is not None  # noqa: S101 - a pooled output has no timesteps
    hidden = run.hidden is not None and bool(run.hidden[at])
    role = find_token_role(bool(run.output.valid[at]), hidden)
    told = Cell("–", "muted") if run.mask is None else Cell("", "on" if run.mask[at] else "off")
    note = f" {_note(run, at)}" if run.mask is not None and not run.mask[at] else ""
    shown = (told, Cell(note, "muted"))
    if run.tokens is None:
        return make_cell(at[1], role), shown
    return make_cell(at[1], "label"), make_cell(run.tokens[at], role), shown


def _note(run: _Run, at: tuple[int, ...]) -> str:
    """Return what a masked output is: zero, that of the timestep before, or a value of its own."""
    if not run.runs[0][at].any():
        return "zero"
    repeats = run.output.repeats_previous
    return f"= t{at[1] - 1}" if repeats is not None and repeats[at] else "own"


# What other tables need too.


def fit_axis(make: Callable[[int | None], list[Part]], room: int | None, limits: Limits) -> list[Part]:
    """Return what ``make`` makes, a table and more, of as much of an axis as fits; ``room`` is a first estimate."""
    parts = make(room)
    while room is not None and limits.columns is None and room > 1 and _table_width(parts[0]) > limits.width:
        room -= 1
        parts = make(room)
    return parts


def _table_width(part: Part) -> int:
    assert isinstance(part, Table)  # noqa: S101 - the first part is the table
    titles = tuple((Cell(column.title),) for column in part.columns)
    return sum(max(map(measure_mask_cells, cells)) + 2 for cells in zip(titles, *part.rows, strict=True)) - 2


def convert_ids(given: ModelInput) -> NDArray[Any]:
    """Return ids as integers, which a model may take as floats."""
    return given.values.astype(np.int64) if given.values.dtype.kind == "f" else given.values


def has_timesteps(mask: Bools | None, valid: Bools | None) -> bool:
    """Return whether there is a mask of these timesteps."""
    return mask is not None and valid is not None and mask.shape == valid.shape


def describe_mask_shape(mask: Bools | None, valid: Bools | None, name: str) -> list[Part]:
    """Return the shape of a mask that is not of these timesteps, and cannot be drawn beside them."""
    if mask is None or has_timesteps(mask, valid):
        return []
    return [Text((Cell(f"{name} is of shape {mask.shape!s}, and not drawn here.", "muted"),))]
