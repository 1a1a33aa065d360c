"""The loss at different batch sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from operator import attrgetter

from maskcli.records.loss import BatchSizeLoss, LossOutput, LossReport
from maskcli.records.wording import format_count
from maskcli.render.numbers import DASH, format_optional, format_precise, format_short, format_span
from maskcli.render.parts import Cells, Heading, Limits, Part, make_cell
from maskcli.render.tables import ItemColumn, list_items, make_legend, make_note
from maskcli.tolerance import SAME_IN_FLOAT64, SAME_MEAN

SPARE = ("std", "cosine", "max ratio", "shuffled", "gradient")
"""Columns that a narrow screen may leave out, the first one first."""
NEW_GROUPS = ("shuffled", "max ratio", "gradient")
"""Columns that begin a group of numbers."""


def view_batches(report: LossReport, limits: Limits) -> list[Part]:
    """Return the loss and the gradient at each batch size, compared with the exact loss."""
    sizes = report.batch_sizes
    if not any(size.batch_size < report.first.shape[0] or size.gradient for size in sizes):
        return []  # All sizes make a single batch.
    exact = compute_exact_total(report)
    detail = ""
    if exact is not None:
        detail = f"exact loss: {format_precise(exact)} (independent of batching)"
    reference = _choose_reference(report, exact)
    table = list_items(_choose_fields(sizes, reference), sizes, "batch size", limits, SPARE)
    return [Heading("Batch sizes", detail), *table, *_make_batch_legend(report, exact, reference, limits)]


def _choose_reference(report: LossReport, exact: float | None) -> float | None:
    """Return the loss that every batch size would report if batching changed nothing; None without an exact loss.

    That is the loss of all rows in one batch: the exact loss differs from it by the padding that counts, too.
    """
    if exact is None:
        return None
    rows = report.first.shape[0]
    whole = (size.keras_evaluate for size in report.batch_sizes if size.batch_size >= rows)
    return next(whole, exact)


def compute_exact_total(report: LossReport) -> float | None:
    """Return the loss that an exact ``evaluate`` would report; None if it is unknown or not finite."""
    total = report.regularization
    for output in report.outputs:
        if output.exact is None:
            return None
        total += output.exact * get_loss_weight(output)
    if not math.isfinite(total):
        return None
    return total


def get_loss_weight(output: LossOutput) -> float:
    """Return the factor of an output's loss in the total."""
    return output.loss_weight if output.loss_weight is not None else 1.0


def differs(value: float, reference: float | None) -> bool:
    """Return whether a loss differs from a reference by more than rounding."""
    return reference is not None and not abs(value - reference) <= SAME_MEAN.value * max(abs(value), abs(reference))


def _choose_fields(sizes: tuple[BatchSizeLoss, ...], reference: float | None) -> list[ItemColumn[BatchSizeLoss]]:
    """Return the columns with at least one value; a loss that batching changes has a mark."""

    def show_loss(size: BatchSizeLoss) -> Cells:
        loss = size.keras_evaluate
        return make_cell(format_precise(loss), "warning" if differs(loss, reference) else "strong")

    optional: tuple[tuple[str, Callable[[BatchSizeLoss], object], Callable[[BatchSizeLoss], str]], ...] = (
        ("shuffled", attrgetter("smallest"), _format_range),
        ("std", attrgetter("std"), _format_spread),
        ("max ratio", attrgetter("heaviest"), lambda size: _format_factor(size.heaviest)),
        ("gradient", attrgetter("gradient"), _format_gradient),
        ("cosine", attrgetter("gradient"), _format_cosine),
    )
    return [
        ItemColumn("batch size", lambda size: make_cell(f"{size.batch_size:,}", "label")),
        ItemColumn("evaluate", show_loss),
        *(
            _make_field(title, format_)
            for title, get_value, format_ in optional
            if any(get_value(size) is not None for size in sizes)
        ),
    ]


def _make_field(title: str, format_: Callable[[BatchSizeLoss], str]) -> ItemColumn[BatchSizeLoss]:
    return ItemColumn(title, lambda size: make_cell(format_(size)), rule=title in NEW_GROUPS)


def _format_range(size: BatchSizeLoss) -> str:
    """Return the smallest and the largest loss of shuffled batches."""
    if size.smallest is None or size.largest is None:
        return DASH
    return format_span(f"{size.smallest:.5g}", f"{size.largest:.5g}")


def _format_spread(size: BatchSizeLoss) -> str:
    """Return the standard deviation, or zero if it is only rounding."""
    if size.std is not None and size.std <= SAME_IN_FLOAT64.value * abs(size.keras_evaluate):
        return "0"
    return format_short(size.std)


def _format_factor(factor: float | None) -> str:
    return format_optional(factor, "×{:.3g}".format)


def _format_gradient(size: BatchSizeLoss) -> str:
    if size.gradient is None:
        return DASH
    return _format_factor(size.gradient.relative)


def _format_cosine(size: BatchSizeLoss) -> str:
    if size.gradient is None:
        return DASH
    return format_optional(size.gradient.cosine, "{:.4f}".format)


def _make_batch_legend(
    report: LossReport, exact: float | None, reference: float | None, limits: Limits
) -> Iterator[Part]:
    """Yield the meanings of marks and columns, and a difference from the exact loss that no batch size explains."""
    sizes = report.batch_sizes
    is_exact = reference is None or not differs(reference, exact)
    if any(differs(size.keras_evaluate, reference) for size in sizes):
        yield from make_legend(
            (("warning", "not the exact loss" if is_exact else "changed by the batch size"),), limits
        )
    if not is_exact:
        yield make_note("All rows in one batch do not have the exact loss either: the batch size is not the cause.")
    if any(size.smallest is not None for size in sizes):
        yield make_note("shuffled: smallest and largest loss over shuffles of the rows; std: their standard deviation")
    if any(size.heaviest is not None for size in sizes):
        yield make_note("max ratio: weight of a timestep in the sparsest batch vs. one in the fullest")
    if any(size.gradient is not None for size in sizes):
        yield make_note("gradient, cosine: norm and direction relative to the exact-loss gradient")
        if 0 < report.gradient_rows < len(report.inputs[0].values):
            yield make_note(f"Gradients are of the first {format_count(report.gradient_rows, 'sequence')}.")
