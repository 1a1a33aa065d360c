"""The origin of a loss: which timesteps, which samples, which lengths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Floats
from maskcli.records.inputs import find_primary
from maskcli.records.loss import Contribution, LengthGroup, LossOutput, LossReport
from maskcli.records.wording import format_count
from maskcli.render.heatmap import draw_row, find_level, list_row_glyphs, quantize_level
from maskcli.render.numbers import (
    FormatNumber,
    format_optional,
    format_percent,
    format_significant,
    format_span,
    make_fixed_formatter,
)
from maskcli.render.parts import (
    HEAT,
    Cells,
    Heading,
    Heatmap,
    Limits,
    Part,
    Section,
    Table,
    make_cell,
    make_sections,
    measure_table,
)
from maskcli.render.tables import (
    Elision,
    ItemColumn,
    elide_axis,
    fill_table,
    list_items,
    make_bar,
    make_elision_note,
    make_legend,
    make_note,
    make_timestep_fields,
    make_token_cell,
)
from maskcli.render.views.loss_heat import count_shared, get_losses, make_loss_heatmap, name_unit, weigh_losses
from maskcli.render.views.outputs import find_ids
from maskcli.tolerance import FIXED_BELOW, FIXED_FROM, SAME_DECIMALS

FEWEST_RANKED = 20
"""Valid timesteps up to which a ranking is not needed."""
RANKED = 5
BAR = 20
NARROWEST_NUMBER = 4
"""Characters of the narrowest column of numbers, with the gap to the next."""


@dataclasses.dataclass(frozen=True)
class _Shares:
    """A table of shares.

    Attributes:
        table: the table.
        heatmap: the matrix in it.
        group: timesteps that share a character.
        note: a note of timesteps left out.
    """

    table: Table
    heatmap: Heatmap
    group: int = 1
    note: str = ""


def view_shares(report: LossReport, output: LossOutput, name: str, limits: Limits) -> list[Section]:
    """Return the origin of the loss of an output; nothing for a loss that is a single number per batch."""
    if output.per_timestep is None or not output.per_timestep.size:
        return []
    view_places = _view_timesteps if output.timed else _view_samples
    return make_sections(
        ("shares", view_places(output, name, limits)),
        ("lengths", _view_lengths(output, name, limits)),
        ("largest", _view_largest(report, output, name, limits)),
    )


# By timestep.


def _view_timesteps(output: LossOutput, name: str, limits: Limits) -> list[Part]:
    """Return a number for each timestep if all fit, or else a character for each."""
    losses = get_losses(output)
    rows = elide_axis(len(losses), limits.rows, "sequence")
    shares = _tabulate_numbers(output, rows, limits) or _tabulate_characters(output, rows, limits)
    detail = "each timestep's loss; row means"
    if shares.group > 1:
        detail = f"one character is {shares.group} timesteps"
    return [
        Heading(f"Where the loss{name} comes from", detail),
        shares.table,
        *_make_shares_legend(shares.heatmap, rows, limits),
        *make_elision_note(rows.note, shares.note),
    ]


def _make_shares_legend(heatmap: Heatmap, rows: Elision, limits: Limits) -> list[Part]:
    """Return the meanings of the glyphs in these rows: levels first, marks on further lines."""
    glyphs = list_row_glyphs(heatmap, rows.kept)
    levels = [(role, text) for role, text in glyphs if role in HEAT]
    marks = [(role, text) for role, text in glyphs if role not in HEAT]
    return [*make_legend(levels, limits), *make_legend(marks, limits)]


def _tabulate_numbers(output: LossOutput, rows: Elision, limits: Limits) -> _Shares | None:
    """Return numbers with four digits, or with three if only these fit; None if neither fit."""
    losses = get_losses(output)
    must_fit = not limits.everything and limits.columns is None
    if must_fit and losses.shape[1] * NARROWEST_NUMBER > limits.width:
        return None
    heatmap = make_loss_heatmap(output, limits)
    timesteps = elide_axis(losses.shape[1], limits.columns, "timestep")
    if limits.everything:
        timesteps = elide_axis(losses.shape[1], None, "timestep")
    for digits in (4, 3):
        number = _choose_formatter(losses[rows.kept], digits)
        table = fill_table(_make_number_fields(output, heatmap, timesteps, number), rows)
        if not must_fit or measure_table(table) <= limits.width:
            return _Shares(table, heatmap, note=timesteps.note)
    return None


def _make_number_fields(
    output: LossOutput, heatmap: Heatmap, timesteps: Elision, number: FormatNumber
) -> list[ItemColumn[int]]:
    losses = get_losses(output)

    def show_loss(row: int, timestep: int) -> Cells:
        return make_token_cell(number(losses[row, timestep]), heatmap.kinds[row, timestep])

    return [
        ItemColumn("sample", lambda row: make_cell(row, "label")),
        *make_timestep_fields(timesteps, show_loss),
        *_make_mean_fields(output, number),
        ItemColumn("", lambda row: draw_row(heatmap, row, timesteps), "left"),
    ]


def _make_mean_fields(output: LossOutput, number: FormatNumber) -> list[ItemColumn[int]]:
    return [
        ItemColumn("masked", lambda row: _show_mean(output.per_sample[row][0], number), rule=True),
        ItemColumn("unmasked", lambda row: _show_mean(output.per_sample[row][1], number)),
    ]


def _show_mean(mean: float | None, number: FormatNumber) -> Cells:
    return make_cell(format_optional(mean, number), "strong")


def _choose_formatter(values: Floats, digits: int) -> FormatNumber:
    """Return a formatter with the same decimals for all values, or with the same digits if values differ widely."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    is_narrow = not sizes.size or (
        FIXED_FROM.value <= sizes.max() < FIXED_BELOW.value and sizes.max() < SAME_DECIMALS.value * sizes.min()
    )
    if is_narrow:
        return make_fixed_formatter(values, digits)
    return partial(format_significant, digits=digits)


def _tabulate_characters(output: LossOutput, rows: Elision, limits: Limits) -> _Shares:
    """Return a row of characters for each sample, as wide as the other columns permit."""
    timesteps = get_losses(output).shape[1]
    shares = compute_sample_shares(output)
    means = [mean for row in rows.kept for mean in output.per_sample[row] if mean is not None]
    number = _choose_formatter(np.array(means), 4)

    def make_table(title: str, draw: Callable[[int], Cells]) -> Table:
        fields: list[ItemColumn[int]] = [
            ItemColumn("sample", lambda row: make_cell(row, "label")),
            ItemColumn(title, draw, "left"),
            *_make_mean_fields(output, number),
            ItemColumn("share", lambda row: make_cell(format_percent(shares[row]))),
        ]
        return fill_table(fields, rows)

    room = max(2, limits.width - measure_table(make_table("", lambda _row: ())))
    heatmap = make_loss_heatmap(output, limits, room)
    width = heatmap.kinds.shape[1]
    ruler = "0"
    if width > 1:
        ruler += str(timesteps - 1).rjust(width - 1)
    return _Shares(make_table(ruler, lambda row: draw_row(heatmap, row)), heatmap, count_shared(timesteps, room))


def compute_sample_shares(output: LossOutput) -> list[float | None]:
    """Return the share of each sample in the sum of all losses that count; None if it is not finite."""
    losses = get_losses(output)
    with np.errstate(invalid="ignore", over="ignore"):
        weighted = weigh_losses(output, losses)
        if output.counted is not None:
            weighted = np.where(output.counted, weighted, 0.0)
        sums = weighted.reshape(len(losses), -1).sum(axis=1)
        total = sums.sum()
    if not np.isfinite(total) or total == 0:
        return [None] * len(losses)
    return [float(part) for part in sums / total]


# By sample, for outputs without timesteps.


def _view_samples(output: LossOutput, name: str, limits: Limits) -> list[Part]:
    losses = get_losses(output)
    heatmap, shares = make_loss_heatmap(output, limits), compute_sample_shares(output)
    rows = elide_axis(len(losses), limits.rows, "sample")
    number = _choose_formatter(losses[rows.kept], 4)
    fields: list[ItemColumn[int]] = [
        ItemColumn("sample", lambda row: make_cell(row, "label")),
        ItemColumn("loss", lambda row: make_token_cell(number(losses[row]), heatmap.kinds[row, 0])),
        ItemColumn("share", lambda row: make_cell(format_percent(shares[row]))),
        ItemColumn("", lambda row: _draw_loss_bar(heatmap, row), "left"),
    ]
    return [
        Heading(f"Where the loss{name} comes from", "each sample's loss"),
        fill_table(fields, rows),
        *_make_shares_legend(heatmap, rows, limits),
        *make_elision_note(rows.note),
    ]


def _draw_loss_bar(heatmap: Heatmap, row: int) -> Cells:
    """Return the loss of a sample as a bar, or the mark of its kind if it does not count."""
    level = find_level(heatmap, row, 0)
    if not level:
        return draw_row(heatmap, row)
    return _draw_bar(level)


def _draw_bar(level: float) -> Cells:
    """Return a bar whose length and glyph show the level."""
    return make_bar(level, BAR, HEAT[quantize_level(level)])


# By length, and the largest.


def _view_lengths(output: LossOutput, name: str, limits: Limits) -> list[Part]:
    """Return the mean loss of sequences of similar length, unless each group has only one sequence."""
    groups = output.by_length
    if len(groups) < 2 or (all(group.sequences < 2 for group in groups) and not limits.everything):
        return []
    number = _choose_formatter(np.array([group.mean for group in groups if group.mean is not None]), 4)
    largest = max(group.share or 0.0 for group in groups)

    def show_bar(group: LengthGroup) -> Cells:
        if largest > 0:  # False for NaN, too.
            return _draw_bar((group.share or 0.0) / largest)
        return ()

    fields: list[ItemColumn[LengthGroup]] = [
        ItemColumn("length", lambda group: make_cell(format_span(group.shortest, group.longest), "label")),
        ItemColumn("sequences", lambda group: make_cell(f"{group.sequences:,}")),
        ItemColumn("timesteps", lambda group: make_cell(f"{group.timesteps:,}")),
        ItemColumn("mean loss", lambda group: _show_mean(group.mean, number), rule=True),
        ItemColumn("share", lambda group: make_cell(format_percent(group.share))),
        ItemColumn("", show_bar, "left"),
    ]
    heading = Heading(f"The loss{name} by length of sequence")
    legend = [make_note("bar: the share, compared with the largest")] if largest > 0 else []
    return [heading, *list_items(fields, groups, "group", limits, ("timesteps",)), *legend]


def _view_largest(report: LossReport, output: LossOutput, name: str, limits: Limits) -> list[Part]:
    """Return the timesteps with the largest shares, unless there are only a few timesteps."""
    losses = get_losses(output)
    ranked = output.contributors
    if not limits.everything:
        ranked = ranked[:RANKED]
    size = int(np.sum(output.counted)) if output.counted is not None else losses.size
    if not ranked or size <= FEWEST_RANKED:
        return []
    share = sum(contribution.share for contribution in ranked)
    detail = f"{format_count(len(ranked), name_unit(output))} of {size:,}"
    if math.isfinite(share):
        detail += f" make {format_percent(share)}"
    number = _choose_formatter(np.array([contribution.loss for contribution in ranked]), 4)
    tokens = find_ids(find_primary(report.inputs), losses.shape) if losses.ndim > 1 else None
    fields = _make_rank_fields(output, tokens, number)
    table = list_items(fields, ranked, "timestep", dataclasses.replace(limits, rows=None))
    return [Heading(f"Largest shares of the loss{name}", detail), *table]


def _make_rank_fields(
    output: LossOutput, tokens: NDArray[np.integer[Any]] | None, number: FormatNumber
) -> list[ItemColumn[Contribution]]:
    fields: list[ItemColumn[Contribution]] = [
        ItemColumn("sample", lambda contribution: make_cell(contribution.sample, "label")),
    ]
    if output.timed:
        fields.append(ItemColumn("timestep", lambda contribution: make_cell(contribution.timestep)))
    if tokens is not None:
        fields.append(
            ItemColumn("token", lambda contribution: make_cell(tokens[contribution.sample, contribution.timestep]))
        )
    return [
        *fields,
        ItemColumn("loss", lambda contribution: make_cell(number(contribution.loss), "strong"), rule=True),
        ItemColumn("share", lambda contribution: make_cell(format_percent(contribution.share))),
    ]
