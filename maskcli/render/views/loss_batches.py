"""What batch sizes make of a loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

from maskcli.records.loss import BatchSizeLoss, LossGradient, LossReport
from maskcli.render.fit import fit_table, make_legend
from maskcli.render.grid import describe_left_out, make_elision_note, make_gap_row
from maskcli.render.numbers import format_count, format_precise, format_short
from maskcli.render.parts import Cell, Cells, Column, Heading, Limits, Part, Table, Text, elide, make_cell
from maskcli.tolerance import SAME_IN_FLOAT64, SAME_MEAN


def view_batches(report: LossReport, limits: Limits) -> Iterator[Part]:
    """Yield what ``evaluate`` and the gradient come to at each batch size, beside the exact loss."""
    sizes = report.batch_sizes
    if not any(size.batch_size < report.first.shape[0] or size.gradient for size in sizes):  # One batch of all alone.
        return
    exact = compute_exact_total(report)
    rows = elide(len(sizes), limits.rows)
    titles, spare = _titles(sizes)
    shown = tuple(make_gap_row(len(titles)) if row is None else _row(sizes[row], titles, exact) for row in rows)
    yield Heading(
        "Batch sizes", "" if exact is None else f"the exact loss is {format_precise(exact)}, whatever the batches"
    )
    yield from fit_table(Table(tuple(map(Column, titles)), shown), spare, limits)
    yield from make_elision_note(describe_left_out(rows, len(sizes), "batch size"))
    yield from _legend(report, exact, limits)


def compute_exact_total(report: LossReport) -> float | None:
    """Return what ``evaluate`` would report if it were exact; None where that is not known, or is no number."""
    total = report.regularization
    for output in report.outputs:
        if output.exact is None:
            return None
        total += output.exact * (1.0 if output.loss_weight is None else output.loss_weight)
    return total if math.isfinite(total) else None


def differs(one: float, other: float | None) -> bool:
    """Return whether a loss differs from another by more than rounding."""
    return other is not None and not abs(one - other) <= SAME_MEAN.value * max(abs(one), abs(other))


def _titles(sizes: tuple[BatchSizeLoss, ...]) -> tuple[list[str], list[str]]:
    """Return the columns that have something to say, and those that may be left out, the first one first."""
    told = {
        "batch size": True,
        "evaluate": True,
        "shuffled": any(size.smallest is not None for size in sizes),
        "std": any(size.std is not None for size in sizes),
        "heaviest": any(size.heaviest is not None for size in sizes),
        "gradient": any(size.gradient is not None for size in sizes),
        "cosine": any(size.gradient is not None for size in sizes),
    }
    return [title for title, says in told.items() if says], ["std", "cosine", "heaviest", "shuffled", "gradient"]


def _row(size: BatchSizeLoss, titles: list[str], exact: float | None) -> tuple[Cells, ...]:
    gradient = size.gradient or LossGradient(0.0, None, None)
    cells = {
        "batch size": make_cell(f"{size.batch_size:,}", "label"),
        "evaluate": make_cell(
            format_precise(size.keras_evaluate), "warning" if differs(size.keras_evaluate, exact) else "strong"
        ),
        "shuffled": make_cell(_between(size.smallest, size.largest)),
        "std": make_cell(format_short(_spread(size))),
        "heaviest": _times(size.heaviest),
        "gradient": _times(gradient.relative),
        "cosine": make_cell("–" if gradient.cosine is None else f"{gradient.cosine:.4f}"),
    }
    return tuple(cells[title] for title in titles)


def _between(smallest: float | None, largest: float | None) -> str:
    if smallest is None or largest is None:
        return "–"
    ends = dict.fromkeys(f"{end:.5g}" for end in (smallest, largest))
    return "–".join(ends)


def _spread(size: BatchSizeLoss) -> float | None:
    """Return the standard deviation, zero where it is of rounding alone."""
    return 0.0 if size.std is not None and size.std <= SAME_IN_FLOAT64.value * abs(size.keras_evaluate) else size.std


def _times(factor: float | None) -> Cells:
    return make_cell("–" if factor is None else f"×{factor:.3g}")


def _legend(report: LossReport, exact: float | None, limits: Limits) -> Iterator[Part]:
    """Yield what the columns mean that do not say it themselves."""
    sizes = report.batch_sizes
    if any(differs(size.keras_evaluate, exact) for size in sizes):
        yield from make_legend((("warning", "not the exact loss"),), limits)
    if any(size.heaviest is not None and size.heaviest > 1 for size in sizes):
        yield _note("heaviest: weight of a timestep in the emptiest batch beside one in the fullest")
    if any(size.gradient is not None for size in sizes):
        yield _note("gradient, cosine: its length and direction beside those of the exact loss's")
        if 0 < report.gradient_rows < len(report.inputs[0].values):
            yield _note(f"Gradients are of the first {format_count(report.gradient_rows, 'sequence')}.")


def _note(text: str) -> Text:
    return Text((Cell(text, "muted"),))
