"""A loss: masked and unmasked, its origin, and the results of other batch sizes and reductions."""

from __future__ import annotations

import math
from collections.abc import Iterator

from maskcli.records.loss import LossOutput, LossReport, MetricReport, Reduction
from maskcli.records.wording import format_count
from maskcli.render.numbers import format_precise, format_short
from maskcli.render.parts import (
    Cell,
    Cells,
    Column,
    Heading,
    Limits,
    Part,
    Section,
    Table,
    make_cell,
    make_sections,
    measure_table,
    suggest_next,
)
from maskcli.render.tables import (
    LONGEST_NAME,
    NARROWEST_NAME,
    ItemColumn,
    list_items,
    make_elision_note,
    make_legend,
    shorten_middle,
)
from maskcli.render.views.answers import answer_loss, introduce_model, select_further_remarks
from maskcli.render.views.loss_batches import get_loss_weight, view_batches
from maskcli.render.views.loss_heat import name_unit
from maskcli.render.views.loss_shares import view_shares
from maskcli.render.views.validity import view_validity
from maskcli.tolerance import SAME_IN_FLOAT64, SAME_MEAN

PREDICT = "loss(y, model.predict(x))"
LossRow = tuple[str, float | None, Cells]
"""A name, a loss, and a description."""


def view(report: LossReport, limits: Limits) -> list[Section]:
    """Return the losses, their origin, other batch sizes and reductions, and the conclusions."""
    first, *further = [_view_output(report, output, limits) for output in report.outputs]
    return [
        *make_sections(
            ("about", [introduce_model(report.model)]),
            ("answer", answer_loss(report)),
            ("total", _view_total(report, limits)),
        ),
        first[0],
        *make_sections(("validity", view_validity(report.inputs))),
        *first[1:],
        *(section for sections in further for section in sections),
        *make_sections(
            ("batch-sizes", view_batches(report, limits)),
            ("reductions", _view_reductions(report, limits)),
            ("metrics", _view_metrics(report, limits)),
            ("remarks", select_further_remarks(report.remarks)),
            ("next", suggest_next(_choose_next(report))),
        ),
    ]


def _choose_next(report: LossReport) -> str:
    """Return the command that goes on from here: to the cause of a loss that counts padding, or to batch sizes."""
    if any(output.mask is None and output.padding_share for output in report.outputs):
        return "`maskcli check` with the same arguments finds where the mask is lost, and tries repairs."
    if not report.gradient_rows:
        return "`maskcli loss --batch-sizes 1,8,32` with the same arguments compares gradients, too."
    return "`maskcli check` with the same arguments judges the model by rules."


def make_output_suffix(report: LossReport, output: LossOutput) -> str:
    """Return the name of an output as part of a heading; empty if it is the only one."""
    if len(report.outputs) < 2:
        return ""
    return f" of {shorten_middle(output.name, LONGEST_NAME)}"


# The losses.


def _view_total(report: LossReport, limits: Limits) -> list[Part]:
    """Return the sum that ``evaluate`` reports for several outputs."""
    if len(report.outputs) < 2:
        return []
    width = max(NARROWEST_NAME, (limits.width - 40) // 2)
    fields: list[ItemColumn[LossOutput]] = [
        ItemColumn("output", lambda output: make_cell(shorten_middle(output.name, width), "label"), "left"),
        ItemColumn("loss", lambda output: make_cell(format_precise(output.reported))),
        ItemColumn("weight", _show_weight),
        ItemColumn("weighted", lambda output: make_cell(format_precise(get_loss_weight(output) * output.reported))),
        ItemColumn("", lambda output: make_cell(shorten_middle(output.loss, width), "muted"), "left"),
    ]
    heading = Heading("Loss", f"of {format_count(len(report.outputs), 'output')}")
    table, *notes = list_items(fields, report.outputs, "output", limits)
    assert isinstance(table, Table)  # noqa: S101 - a list of items begins with its table
    return [heading, Table(table.columns, (*table.rows, *_sum_rows(report))), *notes]


def _show_weight(output: LossOutput) -> Cells:
    weight = get_loss_weight(output)
    return make_cell(f"×{weight:g}", "muted" if weight == 1 else "plain")


def _sum_rows(report: LossReport) -> Iterator[tuple[Cells, ...]]:
    if report.regularization:
        yield make_cell("regularization", "label"), (), (), make_cell(format_precise(report.regularization)), ()
    total = make_cell(format_precise(report.keras_evaluate), "strong")
    yield make_cell("Keras evaluate", "label"), (), (), total, make_cell(_describe_batch_size(report), "muted")


def _describe_batch_size(report: LossReport) -> str:
    return f"batch size {report.batch_size:,}"


def _view_output(report: LossReport, output: LossOutput, limits: Limits) -> list[Section]:
    name = make_output_suffix(report, output)
    columns = (Column("", "left"), Column("loss"), Column("", "left", prose=True))
    rows = (
        (make_cell(title, "label"), make_cell(format_precise(value), "strong"), description)
        for title, value, description in _list_losses(report, output)
    )
    parts = (
        Heading(f"Loss {output.loss}{name}", f"targets: {output.targets}"),
        Table(columns, tuple(rows)),
        *_note_not_finite(output, limits),
    )
    return [Section("losses", parts), *view_shares(report, output, name, limits)]


def _list_losses(report: LossReport, output: LossOutput) -> Iterator[LossRow]:
    """Yield the losses of an output; only one if its loss is a single number per batch."""
    if output.per_timestep is not None:
        yield from _list_means(report, output)
    else:
        value, description = _compare_evaluate(report, output)
        yield "Keras evaluate", value, _describe(f"{description}; the loss is a single number per batch")
    if report.regularization and len(report.outputs) == 1:
        yield "regularization", report.regularization, _describe("added by the model itself")


def _list_means(report: LossReport, output: LossOutput) -> Iterator[LossRow]:
    everything = _count_everything(output)
    mean_text = f"mean over the {_count_masked(output)}"
    value, comparison = _compare_evaluate(report, output)
    if output.mask is not None:
        yield "masked", output.masked, _describe(mean_text, "training loss: " * (output.reported_reduction is None))
        source = f"{PREDICT}: "
    else:
        yield "masked", output.masked, _describe(mean_text)
        source = f"training loss, and {PREDICT}: "
    yield "Keras evaluate", value, _describe(comparison)
    if (
        output.exact is not None
        and output.valid is not None
        and measure_gap(output.exact, output.masked) > SAME_IN_FLOAT64.value
    ):
        yield "exact", output.exact, _describe("mean over all non-padding timesteps, regardless of the mask")
    yield "unmasked", output.unmasked, _describe(f"averages {everything}", source)
    if output.unmasked_model is not None:
        yield "unmasked model", output.unmasked_model, _describe(f"same weights with masking disabled, {everything}")
    if output.weighted_mean is not None:
        division = "divided by the sum of the weights"
        if output.reported_reduction is None:
            division = f"{division}; Keras divides by the count"
        yield "weighted mean", output.weighted_mean, _describe(division)


def _describe(text: str, emphasis: str = "") -> Cells:
    """Return a description, with emphasis on its beginning."""
    return (Cell(emphasis), Cell(text, "muted"))


def _compare_evaluate(report: LossReport, output: LossOutput) -> tuple[float, str]:
    """Return the loss that Keras reports, its composition, and its distance from the mean by hand."""
    distance = _describe_distance(output)
    if len(report.outputs) > 1:
        return output.reported, f"its part of evaluate{distance}"
    composition = _describe_composition(report, output)
    return report.keras_evaluate, f"{_describe_batch_size(report)}{composition}{distance}"


def _describe_distance(output: LossOutput) -> str:
    """Return the distance of the reported loss from the mean that it should be equal to."""
    name, mean = "masked", output.masked
    if output.mask is None:
        name, mean = "unmasked", output.unmasked
    if mean is None or not (math.isfinite(output.reported) and math.isfinite(mean)):
        return ""
    reduction = output.reported_reduction
    if reduction is not None:
        return "; the sum of the masked losses" if reduction == "sum" else "; divided by the sum of the weights"
    distance = abs(output.reported - mean)
    # Rounding differs between machines, so its size is not displayed.
    if distance <= SAME_MEAN.value * abs(mean):
        return f"; equals {name} (up to rounding)"
    return f"; differs from {name} by {format_short(distance)}"


def _describe_composition(report: LossReport, output: LossOutput) -> str:
    """Return the terms of the reported loss, if there is more than one."""
    loss = format_precise(output.reported)
    terms = loss
    if output.loss_weight not in (None, 1.0):
        terms = f"{output.loss_weight:g} × {loss}"
    if report.regularization:
        terms += f" + {format_short(report.regularization)} of regularization"
    return "" if terms == loss else f"; {terms}"


def _count_masked(output: LossOutput) -> str:
    """Return the number of timesteps or samples that the masked loss counts."""
    kind = ""
    if output.mask is not None:
        kind = "unmasked "
    elif output.timed and output.valid is not None:
        kind = "non-padding "
    size = 0 if output.counted is None else int(output.counted.sum())
    count = format_count(size, f"{kind}{name_unit(output)}") + _note_ignored(output)
    return count if output.weights is None else f"{count}, weighted"


def _count_everything(output: LossOutput) -> str:
    """Return the number of timesteps or samples that the unmasked loss counts."""
    size = 0 if output.per_timestep is None else output.per_timestep.size
    return f"all {format_count(size - _count_ignored(output), name_unit(output))}{_note_ignored(output)}"


def _count_ignored(output: LossOutput) -> int:
    return 0 if output.ignored is None else int(output.ignored.sum())


def _note_ignored(output: LossOutput) -> str:
    return ", excluding those that the loss ignores" if _count_ignored(output) else ""


def _note_not_finite(output: LossOutput, limits: Limits) -> list[Part]:
    counting, ignored = output.not_finite
    if not counting and not ignored:
        return []
    text = f"NaN or infinite predictions: {counting:,} that count, {ignored:,} others"
    return make_legend((("error", text),), limits)


def measure_gap(value: float, reference: float | None) -> float:
    """Return the difference of two losses, relative to the larger one; 1 if only one of them is finite."""
    if value == reference or (reference is not None and math.isnan(value) and math.isnan(reference)):
        return 0.0
    if reference is None or not (math.isfinite(value) and math.isfinite(reference)):
        return 1.0
    return abs(value - reference) / max(abs(value), abs(reference))


# Other reductions, and metrics.


def _view_reductions(report: LossReport, limits: Limits) -> list[Part]:
    """Return other reductions: those of the first output, or of all with ``--all``."""
    outputs = [output for output in report.outputs if output.reductions]
    displayed = outputs
    if not limits.everything:
        displayed = outputs[:1]
    parts: list[Part] = []
    for output in displayed:
        uses_lengths = output.mask is None and output.valid is not None and not output.valid.all()
        detail = "mask derived from sequence lengths" if uses_lengths else ""
        parts.append(Heading(f"The same losses{make_output_suffix(report, output)}, reduced in other ways", detail))
        parts += _tabulate_reductions(output.reductions, limits)
    if len(outputs) > len(displayed):
        missing = format_count(len(outputs) - len(displayed), "output")
        parts += make_elision_note(f"those of {missing} not shown")
    return parts


def _tabulate_reductions(reductions: tuple[Reduction, ...], limits: Limits) -> list[Part]:
    """Return the reductions, with their sources if there is room."""
    columns = (Column("reduction", "left"), Column("value"), Column("formula", "left"), Column("source", "left"))
    rows = tuple(
        (
            make_cell(reduction.name, "label"),
            make_cell(format_precise(reduction.value)),
            make_cell(reduction.formula),
            make_cell(reduction.source, "muted"),
        )
        for reduction in reductions
    )
    table = Table(columns, rows)
    if limits.everything or measure_table(table) <= limits.width:
        return [table]
    narrow = (*columns[:2], Column("formula", "left", prose=True))
    return [Table(narrow, tuple(row[:3] for row in rows)), *make_elision_note("source not shown")]


def _name_metric(metric: MetricReport, count: int, width: int) -> Cells:
    """Return the name of a metric; of two with the same name, one receives the weights."""
    weighted = " weighted" if metric.weighted and count > 1 else ""
    return make_cell(shorten_middle(f"{metric.name}{weighted}", width), "label")


def _view_metrics(report: LossReport, limits: Limits) -> list[Part]:
    if not report.metrics:
        return []
    names = [(metric.output, metric.name) for metric in report.metrics]
    width = max(NARROWEST_NAME, (limits.width - 30) // 2)
    fields: list[ItemColumn[MetricReport]] = [
        ItemColumn(
            "metric", lambda metric: _name_metric(metric, names.count((metric.output, metric.name)), width), "left"
        ),
        ItemColumn("output", lambda metric: make_cell(shorten_middle(metric.output, width)), "left"),
        ItemColumn("reported", _show_reported),
        ItemColumn("valid only", _show_valid),
    ]
    if len(report.outputs) < 2:
        del fields[1]
    parts: list[Part] = [Heading("Metrics", "as reported, and over valid timesteps only")]
    parts += list_items(fields, report.metrics, "metric", limits)
    if any(metric.differs for metric in report.metrics):
        parts += make_legend((("warning", "differs from the value over valid timesteps"),), limits)
    return parts


def _show_reported(metric: MetricReport) -> Cells:
    return make_cell(format_precise(metric.reported), "warning" if metric.differs else "strong")


def _show_valid(metric: MetricReport) -> Cells:
    return make_cell(format_precise(metric.valid), "muted" if metric.valid is None else "plain")
