"""The single pictures of a model with its data, as SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

from maskcli.commands.options import list_set_options
from maskcli.commands.output import OutputOptions
from maskcli.errors import UsageError
from maskcli.records.options import PICTURES, OptionGroup, option, read_specs

if TYPE_CHECKING:
    from maskcli.records.leak import LeakMatrix
    from maskcli.records.loss import LossOutput
    from maskcli.records.report import Report
    from maskcli.records.trace import AttentionMask, Inspection

INSPECTION_PICTURES = ("mask", "outputs", "graph")
REPORT_PICTURES = (*INSPECTION_PICTURES, "losses", "leaks", "future", "attention")
PICTURE_REQUEST = "--format svg or png, or --output picture.svg or .png"
_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectionPicture:
    """The picture of an inspection to draw, and the part of it."""

    GROUP: ClassVar[OptionGroup] = PICTURES

    picture: str = option("mask", "The picture to draw.", choices=INSPECTION_PICTURES)
    row: int = option(0, "Sample of a picture of one sample.", minimum=0)
    feature: int = option(0, "Feature of the picture of the outputs.", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportPicture(InspectionPicture):
    """The picture of a report to draw, and the part of it."""

    picture: str = option("graph", "The picture that --format svg or png draws.", choices=REPORT_PICTURES)
    of: str | None = option(None, "Output or attention layer to draw.", default_text="the first", metavar="NAME")


INSPECTION_CHOICES = {"row": ("outputs",), "feature": ("outputs",)}
REPORT_CHOICES: dict[str, tuple[str, ...]] = {
    "row": ("outputs", "leaks", "attention"),
    "feature": ("outputs",),
    "of": ("outputs", "losses", "leaks", "future", "attention"),
}
"""By option, the pictures that have a choice of it."""


def check_picture(options: InspectionPicture, output: OutputOptions) -> None:
    """Raise UsageError for picture options without a picture, or with a picture that does not have this choice."""
    if not output.draws_picture:
        for name in list_set_options(*read_specs(type(options))):
            raise UsageError(
                where=name, expected="a picture to draw", received="none", fix=f"Request one: {PICTURE_REQUEST}."
            )
    choices: Mapping[str, tuple[str, ...]] = INSPECTION_CHOICES
    if isinstance(options, ReportPicture):
        choices = REPORT_CHOICES
    for field, pictures in choices.items():
        if options.picture in pictures:
            continue
        for name in list_set_options(field):
            raise UsageError(
                where=name,
                expected=f"--picture {' or '.join(pictures)}",
                received=f"--picture {options.picture}",
                fix="Leave it out: this picture has no such choice.",
            )


def draw_inspection(inspection: Inspection, options: InspectionPicture) -> bytes:
    """Draw one of ``INSPECTION_PICTURES``; raise UsageError for a sample or a feature that does not exist."""
    if options.picture == "graph":
        from maskcli.render.graph.svg import render_graph_svg

        return render_graph_svg(inspection)
    if options.picture == "outputs":
        return _draw_outputs(inspection, options, 0)
    return _draw_mask(inspection)


def draw_report(report: Report, options: ReportPicture) -> bytes:
    """Draw one of ``REPORT_PICTURES``; raise UsageError for a part of it that does not exist."""
    if options.picture == "outputs":
        outputs = {output.name: index for index, output in enumerate(report.inspection.outputs)}
        return _draw_outputs(report.inspection, options, _select(options, outputs, None))
    if options.picture in INSPECTION_PICTURES:
        return draw_inspection(report.inspection, options)
    if options.picture == "losses":
        losses = () if report.loss is None else report.loss.outputs
        return draw_loss(_select(options, {output.name: output for output in losses}, report.no_loss))
    if options.picture == "leaks":
        matrices = {matrix.output: matrix for matrix in report.leaks}
        return _draw_leaks(_select(options, matrices, report.no_leaks), options.row)
    if options.picture == "future":
        return _draw_future(options, report)
    masks = {mask.call: mask for mask in report.attention}
    return _draw_attention(_select(options, masks, "the model has no attention layer of Keras."), options.row)


def draw_loss(output: LossOutput) -> bytes:
    """Draw the losses of an output; raise UsageError for a loss that is one number of a whole batch."""
    from maskcli.render.charts.losses import make_figure
    from maskcli.render.pictures import render_svg

    figure = make_figure(output)
    if figure is None:
        raise UsageError(
            where="a picture of the losses",
            expected="a loss of each timestep, or of each sample",
            received=f"{output.loss}, which computes one number of a whole batch",
            fix="--format table shows that number.",
        )
    return render_svg(figure)


def _draw_mask(inspection: Inspection) -> bytes:
    """Draw the inputs and the mask that the model computes from them."""
    from maskcli.render.charts.batch import make_inspection_figure
    from maskcli.render.pictures import render_svg

    figure = make_inspection_figure(inspection)
    if figure is None:
        raise UsageError(
            where="--picture mask",
            expected="an input with timesteps",
            received="none",
            fix="--picture outputs draws the outputs.",
        )
    return render_svg(figure)


def _draw_outputs(inspection: Inspection, options: InspectionPicture, index: int) -> bytes:
    """Draw one feature of an output, of one sample."""
    from maskcli.render.charts.outputs import count_choices, make_figure
    from maskcli.render.pictures import render_svg

    samples, features = count_choices(inspection, index)
    _check_index("--row", options.row, samples)
    _check_index("--feature", options.feature, features)
    return render_svg(make_figure(inspection, options.row, options.feature, index))


def _draw_leaks(matrix: LeakMatrix, sample: int) -> bytes:
    from maskcli.render.charts.leaks import make_figure
    from maskcli.render.pictures import render_svg

    _check_index("--row", sample, len(matrix.valid))
    return render_svg(make_figure(matrix, sample))


def _draw_future(options: ReportPicture, report: Report) -> bytes:
    from maskcli.render.charts.future import explain_no_matrix, make_figure
    from maskcli.render.pictures import render_svg

    model = report.check.examination.model
    effects = {effect.output: effect for effect in (() if model is None else model.future) if effect.matrix is not None}
    return render_svg(make_figure(_select(options, effects, explain_no_matrix(report))))


def _draw_attention(attention: AttentionMask, sample: int) -> bytes:
    from maskcli.render.charts.attention import make_figure
    from maskcli.render.pictures import render_svg

    _check_index("--row", sample, len(attention.mask))
    return render_svg(make_figure(attention, sample))


def _check_index(option: str, index: int, count: int) -> None:
    if index < max(1, count):
        return
    expected = f"0 to {count - 1}"
    if count == 1:
        expected = "0"
    elif count == 0:
        expected = "0: all are in the picture"
    raise UsageError(
        where=f"{option} {index}",
        expected=expected,
        received=str(index),
        fix="The indices start at 0, as in the table.",
    )


def _select(options: ReportPicture, items: dict[str, _Item], reason: str | None) -> _Item:
    """Return the item that ``--of`` names, or the first; ``reason`` explains why there may be none."""
    if not items:
        raise UsageError(
            where=f"--picture {options.picture}",
            expected="something to draw",
            received="none",
            fix=f"There is none: {reason}",
        )
    if options.of is not None and options.of not in items:
        raise UsageError(
            where=f"--of {options.of}",
            expected=f"one of {', '.join(items)}",
            received=repr(options.of),
            fix="Without --of the first one is drawn.",
        )
    return next(iter(items.values())) if options.of is None else items[options.of]
