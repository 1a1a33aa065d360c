"""What makes each single picture of a model with its data, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from maskcli.commands.options import Command
from maskcli.errors import UsageError

if TYPE_CHECKING:
    from maskcli.records.leak import LeakMatrix
    from maskcli.records.loss import LossOutput
    from maskcli.records.report import Report
    from maskcli.records.trace import AttentionMask, Inspection

INSPECTION_PICTURES = ("mask", "outputs", "graph")
REPORT_PICTURES = (*INSPECTION_PICTURES, "losses", "leaks", "attention")
WITH_SAMPLE = ("outputs", "leaks", "attention")
"""Pictures of one sample."""
WITH_NAME = ("outputs", "losses", "leaks", "attention")
"""Pictures of one output, or of one call."""
_Named = TypeVar("_Named")


def picture_options(command: Command) -> Command:
    """Add ``--sample`` and ``--feature`` of a picture."""
    sample = click.option(
        "--sample", type=click.IntRange(min=0), default=0, help="Sample in a picture of one.  [default: 0]"
    )
    feature = click.option(
        "--feature", type=click.IntRange(min=0), default=0, help="Feature in the picture of the outputs.  [default: 0]"
    )
    return sample(feature(command))


def check_choice(picture: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise UsageError for an option of ``given`` that says what the picture shows, when all of it is shown."""
    for option in given:
        raise UsageError(
            where=option,
            expected=f"--picture {' or '.join(allowed)}",
            received=f"--picture {picture}",
            fix="Leave it out: this picture has no choice of it.",
        )


def draw_inspection(inspection: Inspection, picture: str, sample: int, feature: int) -> bytes:
    """Return one of ``INSPECTION_PICTURES``; raise UsageError for a sample or a feature that there is not."""
    if picture == "graph":
        from maskcli.render.graph.svg import render_graph_svg

        return render_graph_svg(inspection)
    return _outputs(inspection, sample, feature, 0) if picture == "outputs" else _mask(inspection)


def draw_report(report: Report, picture: str, sample: int, feature: int, name: str | None) -> bytes:
    """Return one of ``REPORT_PICTURES``; ``name`` is that of an output or a call, None takes the first."""
    if picture == "outputs":
        outputs = {one.name: number for number, one in enumerate(report.inspection.outputs)}
        return _outputs(report.inspection, sample, feature, _named(picture, name, outputs, None))
    if picture in INSPECTION_PICTURES:
        return draw_inspection(report.inspection, picture, sample, feature)
    if picture == "losses":
        judged = () if report.loss is None else report.loss.outputs
        return draw_loss(_named(picture, name, {one.name: one for one in judged}, report.no_loss))
    if picture == "leaks":
        return _leaks(_named(picture, name, {one.output: one for one in report.leaks}, report.no_leaks), sample)
    none = "the model has no attention layer of Keras."
    return _attention(_named(picture, name, {one.call: one for one in report.attention}, none), sample)


def draw_loss(output: LossOutput) -> bytes:
    """Return the picture of the loss of an output; raise UsageError where it is one number of a whole batch."""
    from maskcli.render.charts.losses import make_figure
    from maskcli.render.pictures import render_svg

    drawn = make_figure(output)
    if drawn is None:
        raise UsageError(
            where="a picture of the losses",
            expected="a loss of each timestep, or of each sample",
            received=f"{output.loss}, which makes one number of a whole batch",
            fix="--format table shows that number.",
        )
    return render_svg(drawn)


def _mask(inspection: Inspection) -> bytes:
    """Return the picture of what went in, and of the mask that the model made of it."""
    from maskcli.render.charts.batch import make_inspection_figure
    from maskcli.render.pictures import render_svg

    drawn = make_inspection_figure(inspection)
    if drawn is None:
        raise UsageError(
            where="--picture mask",
            expected="an input with timesteps",
            received="none",
            fix="--picture outputs draws what came out.",
        )
    return render_svg(drawn)


def _outputs(inspection: Inspection, sample: int, feature: int, number: int) -> bytes:
    """Return the picture of one feature of an output, of one sample."""
    from maskcli.render.charts.outputs import count_choices, make_figure
    from maskcli.render.pictures import render_svg

    samples, features = count_choices(inspection, number)
    _check_index("--sample", sample, samples)
    _check_index("--feature", feature, features)
    return render_svg(make_figure(inspection, sample, feature, number))


def _leaks(matrix: LeakMatrix, sample: int) -> bytes:
    from maskcli.render.charts.leaks import make_figure
    from maskcli.render.pictures import render_svg

    _check_index("--sample", sample, len(matrix.change))
    return render_svg(make_figure(matrix, sample))


def _attention(attention: AttentionMask, sample: int) -> bytes:
    from maskcli.render.charts.attention import make_figure
    from maskcli.render.pictures import render_svg

    _check_index("--sample", sample, len(attention.mask))
    return render_svg(make_figure(attention, sample))


def _check_index(option: str, at: int, count: int) -> None:
    if at >= max(1, count):
        raise UsageError(
            where=f"{option} {at}",
            expected=f"0 to {count - 1}" if count > 1 else "0: all are in the picture" if not count else "0",
            received=str(at),
            fix="They count from 0, as in the table.",
        )


def _named(picture: str, name: str | None, known: dict[str, _Named], none: str | None) -> _Named:
    if not known:
        raise UsageError(
            where=f"--picture {picture}",
            expected="something to draw",
            received="none",
            fix=f"There is none: {none}",
        )
    if name is not None and name not in known:
        raise UsageError(
            where=f"--of {name}",
            expected=f"one of {', '.join(known)}",
            received=repr(name),
            fix="Without --of it is the first one.",
        )
    return known[name] if name is not None else next(iter(known.values()))
