"""What a loss came to, masked and unmasked, where it comes from, and what else could be made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from maskcli.records.loss import LossOutput, LossReport, MetricReport, Reduction
from maskcli.render.fit import UNBROKEN, ProseCell, add_prose, make_legend, measure_table
from maskcli.render.grid import describe_left_out, make_elision_note, make_gap_row
from maskcli.render.numbers import format_count, format_percent, format_precise, format_short
from maskcli.render.parts import Cell, Cells, Column, Heading, Limits, Part, Remarks, Table, Text, elide, make_cell
from maskcli.render.views.loss_batches import view_batches
from maskcli.render.views.loss_shares import view_shares
from maskcli.render.views.trace import LONGEST_NAME, NARROWEST, shorten_middle
from maskcli.tolerance import SAME_IN_FLOAT64, SAME_MEAN

BY_HAND = UNBROKEN.join(("loss(y,", "model.predict(x))"))
Row = tuple[str, float | None, ProseCell]
"""A name, a loss, and what it is."""


def view(report: LossReport, limits: Limits) -> list[Part]:
    """Return the losses, where they come from, what batches and other reductions make of them, and what follows."""
    return [
        *_total(report, limits),
        *(part for output in report.outputs for part in _output(report, output, limits)),
        *view_batches(report, limits),
        *_reductions(report, limits),
        *_metrics(report, limits),
        *((Remarks(report.remarks),) if report.remarks else ()),
    ]


# The losses.


def _total(report: LossReport, limits: Limits) -> Iterator[Part]:
    """Yield what ``evaluate`` adds up, where that is more than one output."""
    if len(report.outputs) < 2:
        return
    rows = elide(len(report.outputs), limits.rows)
    columns = (Column("output", "left"), Column("loss"), Column("weight"), Column("weighted"), Column("", "left"))
    shown = (make_gap_row(5) if row is None else _weighted(report.outputs[row], limits) for row in rows)
    yield Heading("Loss", f"of {format_count(len(report.outputs), 'output')} of {report.model.name}")
    yield Table(columns, (*shown, *_sum(report)))
    yield from make_elision_note(describe_left_out(rows, len(report.outputs), "output"))


def _weighted(output: LossOutput, limits: Limits) -> tuple[Cells, ...]:
    half = max(NARROWEST, (limits.width - 40) // 2)
    weight = 1.0 if output.loss_weight is None else output.loss_weight
    return (
        make_cell(shorten_middle(output.name, half), "label"),
        make_cell(format_precise(output.reported)),
        make_cell(f"×{weight:g}", "muted" if weight == 1 else "plain"),
        make_cell(format_precise(weight * output.reported)),
        make_cell(shorten_middle(output.loss, half), "muted"),
    )


def _sum(report: LossReport) -> Iterator[tuple[Cells, ...]]:
    if report.regularization:
        yield make_cell("regularization", "label"), (), (), make_cell(format_precise(report.regularization)), ()
    total = make_cell(format_precise(report.keras_evaluate), "strong")
    yield make_cell("Keras evaluate", "label"), (), (), total, make_cell(_size(report), "muted")


def _size(report: LossReport) -> str:
    return f"batch size {report.batch_size:,}"


def _output(report: LossReport, output: LossOutput, limits: Limits) -> Iterator[Part]:
    several = len(report.outputs) > 1
    name = f" of {shorten_middle(output.name, LONGEST_NAME)}" if several else ""
    detail = f"targets: {output.targets}" if several else f"{report.model.name}, targets: {output.targets}"
    yield Heading(f"Loss {output.loss}{name}", detail)
    yield add_prose(
        (Column("", "left"), Column("loss"), Column("", "left")),
        [
            ((make_cell(title, "label"), make_cell(format_precise(value), "strong")), said)
            for title, value, said in _rows(report, output)
        ],
        limits,
    )
    yield from _padding(output)
    yield from _not_finite(output, limits)
    yield from view_shares(report, output, name, limits)


def _rows(report: LossReport, output: LossOutput) -> Iterator[Row]:
    """Yield each way to see the loss of an output; of one number of a whole batch there is one."""
    yield from _means(report, output) if output.per_timestep is not None else _one_number(report, output)
    if report.regularization and len(report.outputs) == 1:
        yield "regularization", report.regularization, ("", "what the model itself adds")


def _one_number(report: LossReport, output: LossOutput) -> Iterator[Row]:
    value, (_, said) = _evaluate(report, output)
    yield "Keras evaluate", value, ("", f"{said}; the loss makes one number of a whole batch")


def _means(report: LossReport, output: LossOutput) -> Iterator[Row]:
    carried, all_of = output.mask is not None, _all(output)
    yield "masked", output.masked, ("fit trains on it: " if carried else "", f"mean over {_counted(output)}")
    yield "Keras evaluate", *_evaluate(report, output)
    if (
        output.exact is not None
        and output.valid is not None
        and _apart(output.exact, output.masked) > SAME_IN_FLOAT64.value
    ):
        yield "exact", output.exact, ("", "the mean over all that is no padding, whatever the mask says")
    gives = f"what {BY_HAND} gives: " if carried else f"fit trains on it, and {BY_HAND} gives it: "
    yield "unmasked", output.unmasked, (gives, all_of)
    if output.unmasked_model is not None:
        yield "unmasked model", output.unmasked_model, ("", f"the same weights run without any mask, {all_of}")
    if output.weighted_mean is not None:
        yield (
            "weighted mean",
            output.weighted_mean,
            ("", "divided by the sum of the weights; Keras divides by the count"),
        )


def _evaluate(report: LossReport, output: LossOutput) -> tuple[float, ProseCell]:
    """Return what Keras reports of an output, what it is made of, and how far from the mean by hand it is."""
    name, by_hand = ("masked", output.masked) if output.mask is not None else ("unmasked", output.unmasked)
    from_hand = "" if by_hand is None else _distance(output.reported, by_hand, name)
    if len(report.outputs) > 1:
        return output.reported, ("", f"its part of evaluate{from_hand}")
    made_of = _made_of(report, output)
    return report.keras_evaluate, ("", f"{_size(report)}{made_of}{from_hand}")


def _distance(reported: float, by_hand: float, name: str) -> str:
    both = math.isfinite(reported) and math.isfinite(by_hand)
    if not both:
        return ""
    if abs(reported - by_hand) <= SAME_MEAN.value * abs(by_hand):  # How far is another number on every machine.
        return f"; within rounding of {name}"
    return f"; {format_short(abs(reported - by_hand))} from {name}"


def _made_of(report: LossReport, output: LossOutput) -> str:
    weight = "" if output.loss_weight in (None, 1.0) else f"{output.loss_weight:g} × "
    added = f" + {format_short(report.regularization)} of regularization" if report.regularization else ""
    return f"; {weight}{format_precise(output.reported)}{added}" if weight or added else ""


def _counted(output: LossOutput) -> str:
    """Return what ``masked`` counts, in words."""
    counted = 0 if output.counted is None else int(output.counted.sum())
    many = format_count(counted, "timestep" if output.timed else "sample")
    less = ", less what the loss ignores" if output.ignored is not None and output.ignored.any() else ""
    weighted = "" if output.weights is None else ", weighted"
    if output.mask is not None:
        return f"the mask's {many}{less}{weighted}"
    return f"the {many}{' that are no padding' if output.timed and output.valid is not None else ''}{less}{weighted}"


def _all(output: LossOutput) -> str:
    ignored = 0 if output.ignored is None else int(output.ignored.sum())
    count = (0 if output.per_timestep is None else output.per_timestep.size) - ignored
    return f"all {count:,} count" + (", less what the loss ignores" if ignored else "")


def _padding(output: LossOutput) -> Iterator[Part]:
    """Yield how much of the unmasked loss padding alone makes."""
    if not output.padding_share or not math.isfinite(output.padding_share):
        return
    said = f"Padding alone makes {format_percent(output.padding_share)} of the unmasked loss"
    if output.mask is not None:
        yield Text((Cell(f"{said}.", "muted"),))
        return
    lost = "" if output.lost_at is None else f": the mask was lost at {output.lost_at}"
    yield Text((Cell(f" {said}, on which fit trains{lost}.", "warning"),))


def _not_finite(output: LossOutput, limits: Limits) -> Iterator[Part]:
    here, elsewhere = output.not_finite
    if here or elsewhere:
        text = f"NaN or infinite predictions: {here:,} that count, {elsewhere:,} others"
        yield from make_legend((("error", text),), limits)


def _apart(one: float, other: float | None) -> float:
    """Return how far two losses are apart, of the larger one; all of it where one of them is no number."""
    if one == other or (other is not None and math.isnan(one) and math.isnan(other)):
        return 0.0
    if other is None or not (math.isfinite(one) and math.isfinite(other)):
        return 1.0
    return abs(one - other) / max(abs(one), abs(other))


# Other ways.


def _reductions(report: LossReport, limits: Limits) -> Iterator[Part]:
    """Yield other reductions; of several outputs those of the first, unless all is asked for."""
    shown = [output for output in report.outputs if output.reductions]
    for output in shown if limits.everything else shown[:1]:
        name = f" of {shorten_middle(output.name, LONGEST_NAME)}" if len(report.outputs) > 1 else ""
        told = output.mask is None and output.valid is not None and not output.valid.all()
        yield Heading(f"The same losses{name}, reduced in other ways", "mask: valid by length" if told else "")
        yield _table_of(output.reductions, limits)
    if len(shown) > 1 and not limits.everything:
        yield from make_elision_note(f"those of {format_count(len(shown) - 1, 'output')} not shown")


def _table_of(reductions: tuple[Reduction, ...], limits: Limits) -> Table:
    """Return the ways to reduce, and who reduces so where there is room for it."""
    columns = (Column("reduction", "left"), Column("value"), Column("formula", "left"), Column("source", "left"))
    rows = tuple(
        (
            make_cell(one.name, "label"),
            make_cell(format_precise(one.value)),
            make_cell(one.formula),
            make_cell(one.source, "muted"),
        )
        for one in reductions
    )
    whole = Table(columns, rows)
    if limits.everything or measure_table(whole) <= limits.width:
        return whole
    told = [(row[:2], (one.formula, "")) for row, one in zip(rows, reductions, strict=True)]
    return add_prose(columns[:3], told, limits)


def _metrics(report: LossReport, limits: Limits) -> Iterator[Part]:
    if not report.metrics:
        return
    several = len(report.outputs) > 1
    rows = elide(len(report.metrics), limits.rows)
    half = max(NARROWEST, (limits.width - 30) // 2)

    def show(metric: MetricReport) -> tuple[Cells, ...]:
        return (
            make_cell(shorten_middle(metric.name, half), "label"),
            *((make_cell(shorten_middle(metric.output, half)),) if several else ()),
            make_cell(format_precise(metric.reported), "warning" if metric.differs else "strong"),
            make_cell(format_precise(metric.valid), "muted" if metric.valid is None else "plain"),
        )

    names = (Column("metric", "left"), *((Column("output", "left"),) if several else ()))
    columns = (*names, Column("reported"), Column("valid alone"))
    yield Heading("Metrics", "as reported, and over valid timesteps alone")
    yield Table(
        columns, tuple(make_gap_row(len(columns)) if row is None else show(report.metrics[row]) for row in rows)
    )
    if any(metric.differs for metric in report.metrics):
        yield from make_legend((("warning", "not what the valid timesteps alone give"),), limits)
    yield from make_elision_note(describe_left_out(rows, len(report.metrics), "metric"))
