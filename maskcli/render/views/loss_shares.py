"""Where a loss comes from: which timesteps, which samples, which lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.inputs import find_primary
from maskcli.records.loss import Contribution, LossOutput, LossReport
from maskcli.render.fit import fit_table, make_bar, measure_table
from maskcli.render.grid import GAP, describe_left_out, make_elision_note, make_gap_row, make_timestep_columns
from maskcli.render.heatmap import quantize_level
from maskcli.render.numbers import format_count, format_percent, format_significant, make_fixed_formatter
from maskcli.render.parts import HEAT, Cells, Column, Heading, Limits, Part, Role, Table, elide, make_cell
from maskcli.render.views.loss_heat import COUNTS, MARKS, Heat, make_heat, make_heat_legend, weigh_losses
from maskcli.render.views.outputs import convert_ids
from maskcli.tolerance import FIXED_BELOW, FIXED_FROM, SAME_DECIMALS

FEWEST_RANKED = 20
"""Timesteps that count, up to which the eye finds the largest share by itself."""
RANKED = 5
BAR = 20
NARROWEST_NUMBER = 4
"""Characters of the narrowest column of numbers, with the gap to the next."""


def view_shares(report: LossReport, output: LossOutput, name: str, limits: Limits) -> Iterator[Part]:
    """Yield where the loss of an output comes from; nothing of a loss that makes one number of a whole batch."""
    if output.per_timestep is None or not output.per_timestep.size:
        return
    yield from (_timesteps if output.timed else _samples)(output, output.per_timestep, name, limits)
    yield from _lengths(output, name, limits)
    yield from _largest(report, output, output.per_timestep, name, limits)


# Timestep by timestep.


def _timesteps(output: LossOutput, losses: Floats, name: str, limits: Limits) -> list[Part]:
    """Return a number for each timestep beside the heat where all fit, and the heat alone otherwise."""
    rows = elide(len(losses), limits.rows)
    made = _numbers(output, losses, rows, limits) or _characters(output, losses, rows, limits)
    table, heat, columns = made
    shown = [row for row in rows if row is not None]
    detail = "each timestep's loss" if heat.each == 1 else f"a character is {heat.each} timesteps"
    return [
        Heading(f"Where the loss{name} comes from", detail),
        table,
        *make_heat_legend(output, heat, shown, limits),
        *make_elision_note(
            describe_left_out(rows, len(losses), "sequence"),
            "" if columns is None else describe_left_out(columns, losses.shape[1], "timestep"),
        ),
    ]


FormatNumber = Callable[[float], str]
SharesTable = tuple[Table, Heat, list[int | None] | None]
"""A table, the heat in it, and which timesteps have a column of their own."""


def _numbers(output: LossOutput, losses: Floats, rows: list[int | None], limits: Limits) -> SharesTable | None:
    """Return a table with four digits, or with three where that makes room for all timesteps; None without room."""
    chosen = limits.everything or limits.columns is not None
    if not chosen and losses.shape[1] * NARROWEST_NUMBER > limits.width:
        return None
    heat, columns = make_heat(output, losses), elide(losses.shape[1], None if limits.everything else limits.columns)
    for digits in (4, 3):
        table = _table_of_numbers(output, losses, heat, rows, columns, digits)
        if chosen or measure_table(table) <= limits.width:
            return table, heat, columns
    return None


def _table_of_numbers(
    output: LossOutput, losses: Floats, heat: Heat, rows: list[int | None], columns: list[int | None], digits: int
) -> Table:
    number = _number(losses[[row for row in rows if row is not None]], digits)

    def show(row: int) -> tuple[Cells, ...]:
        return (
            make_cell(row, "label"),
            *(
                make_cell(GAP, "muted") if at is None else make_cell(number(losses[row, at]), _role(heat, row, at))
                for at in columns
            ),
            *_means(output, row, number),
            heat.cells(row, columns),
        )

    titles = (
        Column("sample"),
        *make_timestep_columns(columns),
        Column("masked"),
        Column("unmasked"),
        Column("", "left"),
    )
    return Table(titles, tuple(make_gap_row(len(titles)) if row is None else show(row) for row in rows))


def _number(values: Floats, digits: int) -> FormatNumber:
    """Return a formatter with the same decimals for all, or where that would make nothing of some, the same digits."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    alike = not sizes.size or (
        FIXED_FROM.value <= sizes.max() < FIXED_BELOW.value and sizes.max() < SAME_DECIMALS.value * sizes.min()
    )
    return make_fixed_formatter(values, digits) if alike else partial(format_significant, digits=digits)


def _role(heat: Heat, row: int, at: int) -> Role:
    return MARKS.get(int(heat.kinds[row, at]), "valid")


def _means(output: LossOutput, row: int, number: FormatNumber) -> list[Cells]:
    return [make_cell("–" if mean is None else number(mean), "strong") for mean in output.per_sample[row]]


def _characters(output: LossOutput, losses: Floats, rows: list[int | None], limits: Limits) -> SharesTable:
    """Return a table with a row of characters for each sample."""
    parts = _shares_of_samples(output, losses)
    means = [mean for row in rows if row is not None for mean in output.per_sample[row] if mean is not None]
    number = _number(np.array(means), 4)

    def show(row: int) -> tuple[Cells, ...]:
        return (make_cell(row, "label"), (), *_means(output, row, number), make_cell(format_percent(parts[row])))

    titles = (Column("sample"), Column("", "left"), Column("masked"), Column("unmasked"), Column("share"))
    beside = Table(titles, tuple(make_gap_row(5) if row is None else show(row) for row in rows))
    heat = make_heat(output, losses, max(2, limits.width - measure_table(beside)))
    width = heat.drawn.shape[1]
    ruler = Column("0" + str(losses.shape[1] - 1).rjust(width - 1) if width > 1 else "0", "left")
    drawn = tuple(
        line if row is None else (line[0], heat.cells(row), *line[2:])
        for row, line in zip(rows, beside.rows, strict=True)
    )
    return Table((titles[0], ruler, *titles[2:]), drawn), heat, None


def _shares_of_samples(output: LossOutput, losses: Floats) -> list[float | None]:
    """Return the part of the sum of all losses that count which each sample makes; None where that is no number."""
    counted = np.ones(losses.shape, bool) if output.counted is None else output.counted
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.where(counted, weigh_losses(output, losses), 0.0).reshape(len(losses), -1).sum(axis=1)
        total = sums.sum()
    if not np.isfinite(total) or total == 0:
        return [None] * len(losses)
    return [float(part) for part in sums / total]


# Sample by sample, where timesteps are gone.


def _samples(output: LossOutput, losses: Floats, name: str, limits: Limits) -> list[Part]:
    rows = elide(len(losses), limits.rows)
    heat, parts = make_heat(output, losses), _shares_of_samples(output, losses)
    number = _number(losses[[row for row in rows if row is not None]], 4)

    def show(row: int) -> tuple[Cells, ...]:
        loss = make_cell(number(losses[row]), _role(heat, row, 0))
        return make_cell(row, "label"), loss, make_cell(format_percent(parts[row])), _bar_of(heat, row)

    titles = (Column("sample"), Column("loss"), Column("share"), Column("", "left"))
    return [
        Heading(f"Where the loss{name} comes from", "each sample's loss"),
        Table(titles, tuple(make_gap_row(4) if row is None else show(row) for row in rows)),
        *make_heat_legend(output, heat, [row for row in rows if row is not None], limits),
        *make_elision_note(describe_left_out(rows, len(losses), "sample")),
    ]


def _bar_of(heat: Heat, row: int) -> Cells:
    return (heat.drawn[row, 0] == COUNTS and _bar(float(heat.parts[row, 0]))) or heat.cells(row)


def _bar(part: float) -> Cells:
    """Return a bar that is that part of the longest, and of the heat that has."""
    return make_bar(part, BAR, HEAT[quantize_level(part)])


# By length, and the largest.


def _lengths(output: LossOutput, name: str, limits: Limits) -> Iterator[Part]:
    """Yield the mean of sequences of like length; where each is alone in its group, the samples say as much."""
    groups = output.by_length
    if len(groups) < 2 or (all(group.sequences < 2 for group in groups) and not limits.everything):
        return
    rows = elide(len(groups), limits.rows)
    number = _number(np.array([group.mean for group in groups if group.mean is not None]), 4)
    largest = max((group.share or 0.0 for group in groups), default=0.0)

    def show(index: int) -> tuple[Cells, ...]:
        group = groups[index]
        ends = dict.fromkeys(map(str, (group.shortest, group.longest)))
        return (
            make_cell("–".join(ends), "label"),
            make_cell(f"{group.sequences:,}"),
            make_cell(f"{group.timesteps:,}"),
            make_cell("–" if group.mean is None else number(group.mean), "strong"),
            make_cell(format_percent(group.share)),
            _bar((group.share or 0.0) / largest if largest > 0 else 0.0),
        )

    titles = ("length", "sequences", "timesteps", "mean loss", "share")
    shown = tuple(make_gap_row(len(titles) + 1) if row is None else show(row) for row in rows)
    yield Heading(f"The loss{name} by length of sequence")
    yield from fit_table(Table((*map(Column, titles), Column("", "left")), shown), ("timesteps",), limits)
    yield from make_elision_note(describe_left_out(rows, len(groups), "group"))


def _largest(report: LossReport, output: LossOutput, losses: Floats, name: str, limits: Limits) -> Iterator[Part]:
    """Yield which timesteps have the largest shares, unless so few count that the eye finds them."""
    ranked = output.contributors[: None if limits.everything else RANKED]
    counted = losses.size if output.counted is None else int(output.counted.sum())
    if ranked and counted > FEWEST_RANKED:
        said = f"{format_count(len(ranked), 'timestep' if output.timed else 'sample')} of {counted:,}"
        whole = sum(one.share for one in ranked)
        yield Heading(
            f"Largest shares of the loss{name}",
            f"{said} make {format_percent(whole)}" if math.isfinite(whole) else said,
        )
        yield _ranked(ranked, output.timed, _tokens(report, losses))


def _ranked(ranked: tuple[Contribution, ...], timed: bool, tokens: NDArray[np.integer[Any]] | None) -> Table:
    """Return a row for each, with its token where there is one."""
    number = _number(np.array([one.loss for one in ranked]), 4)
    told = {"sample": True, "timestep": timed, "token": tokens is not None, "loss": True, "share": True}

    def show(one: Contribution) -> tuple[Cells, ...]:
        cells = {
            "sample": make_cell(one.sample, "label"),
            "timestep": make_cell(one.timestep),
            "token": make_cell("" if tokens is None else tokens[one.sample, one.timestep]),
            "loss": make_cell(number(one.loss), "strong"),
            "share": make_cell(format_percent(one.share)),
        }
        return tuple(cells[title] for title in told if told[title])

    return Table(tuple(Column(title) for title in told if told[title]), tuple(map(show, ranked)))


def _tokens(report: LossReport, losses: Floats) -> NDArray[np.integer[Any]] | None:
    """Return the ids that went in, where they stand at the same timesteps."""
    given = find_primary(report.inputs)
    if given is None or given.kind != "ids" or losses.ndim < 2 or given.values.shape != losses.shape:
        return None
    return convert_ids(given)
