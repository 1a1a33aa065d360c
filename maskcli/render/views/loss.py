"""Masked against unmasked loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from maskcli.evidence import LossReport
from maskcli.records import Floats
from maskcli.render.grid import GAP, Cells, elision_note, fitting, gap_row, left_out, timestep_columns
from maskcli.render.numbers import plural, short
from maskcli.render.parts import Column, Heading, Limits, Part, Remarks, Table, cell, elided


def view(report: LossReport, limits: Limits) -> list[Part]:
    """Return the losses side by side, each timestep's and sample's, other reductions, and what follows."""
    return [*_losses(report), *_timesteps(report, limits), *_reductions(report), Remarks(report.remarks)]


def _losses(report: LossReport) -> list[Part]:
    counted = f"{report.valid_timesteps:,} timesteps"
    by_hand = f"over the mask's {counted}" if report.mask is not None else f"over {counted}, valid by length"
    apart = "–" if report.masked is None else short(abs(report.keras_evaluate - report.masked))
    rows = (
        ("masked", report.masked, f"NumPy mean {by_hand}"),
        ("Keras evaluate", report.keras_evaluate, f"batch size {report.batch_size}; {apart} from the mean by hand"),
        ("unmasked", report.unmasked, f"the same predictions, all {report.total_timesteps} timesteps counted"),
        ("unmasked model", report.unmasked_model, "the same weights without any mask, all counted"),
    )
    return [
        Heading(f"Loss {report.loss}", f"{report.model.name}, targets: {report.targets}"),
        Table(
            (Column("", "left"), Column("loss"), Column("", "left")),
            tuple(
                (cell(name, "label"), cell(_loss(value), "strong"), cell(about, "muted")) for name, value, about in rows
            ),
        ),
    ]


def _timesteps(report: LossReport, limits: Limits) -> list[Part]:
    losses = report.per_timestep
    n_sequences, maxlen = losses.shape
    rows = elided(n_sequences, limits.rows)
    shown = losses[[row for row in rows if row is not None]]
    number, columns = _columns(shown, limits)

    def loss_cell(row: int, timestep: int | None) -> Cells:
        if timestep is None:
            return cell(GAP, "muted")
        counts = report.mask[row, timestep] if report.mask is not None else report.valid[row, timestep]
        return cell(number(losses[row, timestep]), "valid" if counts else "padding")

    def mean_cell(value: float | None) -> Cells:
        return cell("–" if value is None else number(value), "strong")

    table = Table(
        (Column("sample"), *timestep_columns(columns), Column("masked"), Column("unmasked")),
        tuple(
            gap_row(len(columns) + 3)
            if row is None
            else (
                cell(row, "label"),
                *(loss_cell(row, timestep) for timestep in columns),
                *(mean_cell(value) for value in report.per_sample[row]),
            )
            for row in rows
        ),
    )
    masked = int(losses.size - report.valid_timesteps)
    detail = f"· marks {plural(masked, 'timestep')} left out of masked" if masked else ""
    return [
        Heading("Each timestep's loss, and each sample's", detail),
        table,
        *elision_note(left_out(rows, n_sequences, "sequence"), left_out(columns, maxlen, "timestep")),
    ]


def _reductions(report: LossReport) -> list[Part]:
    return [
        Heading("The same losses, reduced in other ways"),
        Table(
            (Column("reduction", "left"), Column("value"), Column("formula", "left")),
            tuple((cell(r.name, "label"), cell(_loss(r.value)), cell(r.formula, "muted")) for r in report.reductions),
        ),
    ]


def _columns(losses: Floats, limits: Limits) -> tuple[Callable[[float], str], list[int | None]]:
    """Return a formatter and the timesteps to show: four digits, or three where that makes room for more timesteps."""
    timesteps = losses.shape[1]
    for digits in (4, 3):
        number = partial(_significant, digits=digits)
        width = max(map(len, map(number, losses.ravel().tolist()))) + 3
        room = fitting(limits, width, taken=6 + 2 * max(10, width - 1))
        if room is None or timesteps <= room:
            break
    return number, elided(timesteps, room)


def _significant(value: float, digits: int) -> str:
    """Return so many significant digits, more of a number that has more before its point."""
    return f"{value:.0f}" if 10.0**digits <= abs(value) < 1e6 else f"{value:.{digits}g}"


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}" if 1e-3 <= abs(value) < 1e7 or not value else f"{value:.6e}"
