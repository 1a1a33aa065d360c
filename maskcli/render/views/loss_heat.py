"""How much of a loss each timestep makes, as a character for each, or for several that stand together."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import LossOutput
from maskcli.render.fit import make_legend
from maskcli.render.grid import GAP
from maskcli.render.heatmap import LEVELS, quantize_level
from maskcli.render.numbers import format_count, format_significant
from maskcli.render.parts import HEAT, Cell, Cells, Limits, Part, Role

LEFT_OUT, COUNTS, HIDDEN, PADDING, NOT_FINITE = range(5)
"""What a timestep is to a loss; of several that share a character, the largest is shown."""
MARKS: dict[int, Role] = {LEFT_OUT: "padding", HIDDEN: "dropped", PADDING: "counted", NOT_FINITE: "error"}
Kinds = NDArray[np.int8]


@dataclasses.dataclass(frozen=True, eq=False)
class Heat:
    """What is drawn of a loss.

    Attributes:
        kinds: ``(batch, timesteps)``, what each timestep is; a sample without timesteps is one.
        drawn: ``(batch, characters)``, what each character is.
        parts: of the same shape, from 0 to 1: how much of the largest it is; zero where nothing counts.
        smallest: what 0 stands for: zero, or less where losses are.
        largest: what 1 stands for.
        each: timesteps that share a character.
    """

    kinds: Kinds
    drawn: Kinds
    parts: Floats
    smallest: float
    largest: float
    each: int

    def roles(self, row: int) -> list[Role]:
        """Return the role of each character of a row."""
        return [
            MARKS.get(int(kind), HEAT[quantize_level(part)])
            for kind, part in zip(self.drawn[row], self.parts[row], strict=True)
        ]

    def cells(self, row: int, shown: list[int | None] | None = None) -> Cells:
        """Return the characters of a row, or those ``shown``, as cells that stand together."""
        roles = self.roles(row)
        places = range(len(roles)) if shown is None else shown
        return tuple(Cell(GAP, "muted") if at is None else Cell("", roles[at]) for at in places)


def make_heat(output: LossOutput, losses: Floats, room: int | None = None) -> Heat:
    """Return the heat of losses ``(batch, timesteps)`` in rows of at most ``room`` characters."""
    kinds, weighted = classify_losses(output, losses), weigh_losses(output, losses)
    kinds, weighted = kinds.reshape(len(kinds), -1), weighted.reshape(len(kinds), -1)
    each = 1 if room is None else max(1, math.ceil(kinds.shape[1] / room))
    drawn, means = _together(kinds, weighted, each)
    counted = means[drawn == COUNTS]
    smallest, largest = min(0.0, counted.min(initial=0.0)), counted.max(initial=-np.inf)
    span = largest - smallest
    with np.errstate(invalid="ignore", over="ignore"):
        parts = (
            np.where(drawn == COUNTS, (means - smallest) / span, 0.0) if 0 < span < np.inf else np.zeros(drawn.shape)
        )
    return Heat(kinds, drawn, parts, float(smallest), float(largest), each)


def _together(kinds: Kinds, weighted: Floats, each: int) -> tuple[Kinds, Floats]:
    """Return what so many timesteps are together, and the mean of those that count."""
    filler = ((0, 0), (0, -kinds.shape[1] % each))
    kinds = np.pad(kinds, filler, constant_values=LEFT_OUT).reshape(len(kinds), -1, each)
    weighted = np.pad(weighted, filler).reshape(kinds.shape)
    counted = kinds == COUNTS
    total = np.where(counted, weighted, 0.0).sum(axis=2)
    return kinds.max(axis=2), total / np.maximum(1, counted.sum(axis=2))


def classify_losses(output: LossOutput, losses: Floats) -> Kinds:
    """Return what each place of ``losses`` is."""
    ignored = _or(output.ignored, losses, False)
    counted = _or(output.counted, losses, True) & ~ignored
    weights = broadcast_weights(output, losses)
    valid = _or(output.valid, losses, True)
    seen = ~ignored & (weights != 0)
    kinds = np.where(counted & (weights != 0), COUNTS, LEFT_OUT).astype(np.int8)
    kinds[_or(output.mask, losses, output.mask is None) & ~valid & seen] = PADDING
    kinds[~_or(output.mask, losses, True) & valid & seen] = HIDDEN
    kinds[~np.isfinite(weigh_losses(output, losses))] = NOT_FINITE
    return kinds


def broadcast_weights(output: LossOutput, losses: Floats) -> Floats:
    """Return a weight for each place of ``losses``."""
    weights = output.weights
    if weights is None or weights.shape != losses.shape[: weights.ndim]:
        return np.ones(losses.shape)
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim)), losses.shape)


def weigh_losses(output: LossOutput, losses: Floats) -> Floats:
    """Return the losses, each times its weight; what is infinite stays no number at a weight of zero."""
    with np.errstate(invalid="ignore", over="ignore"):
        weighted: Floats = losses * broadcast_weights(output, losses)
    return weighted


def _or(given: Bools | None, losses: Floats, otherwise: bool) -> Bools:
    """Return what is given, where it is of this shape."""
    return given if given is not None and given.shape == losses.shape else np.full(losses.shape, otherwise)


def make_heat_legend(output: LossOutput, heat: Heat, rows: list[int], limits: Limits) -> list[Part]:
    """Return what the glyphs of these rows mean, of those that occur."""
    roles = {role for row in rows for role in heat.roles(row)}
    levels = [(role, said) for role, said in zip(HEAT, LEVELS, strict=True) if role in roles]
    if levels and heat.largest > heat.smallest:
        role, said = levels[-1]
        levels[-1] = (role, f"{said}{' of' if role != HEAT[-1] else ''} {_whole(output, heat)}")
    marks = [(role, said) for role, said in describe_marks(output, heat) if role in roles]
    return [*make_legend(levels, limits), *make_legend(marks, limits)]


def _whole(output: LossOutput, heat: Heat) -> str:
    """Return what the levels are parts of."""
    what = ("loss" if output.weights is None else "weight × loss") if heat.each == 1 else "mean"
    largest = f"the largest {what}, {format_significant(heat.largest, 3)}"
    return largest if heat.smallest >= 0 else f"{largest}, from {format_significant(heat.smallest, 3)} on"


def describe_marks(output: LossOutput, heat: Heat) -> list[tuple[Role, str]]:
    """Return what the kinds that are no levels mean, each with its count."""
    counts = np.bincount(heat.kinds.ravel(), minlength=5)
    noun, real = ("timestep", "real token") if output.timed else ("sample", "real sample")
    left_out = "left out" if output.weights is None else "left out, or of weight 0"
    said = {
        LEFT_OUT: f"{format_count(int(counts[LEFT_OUT]), noun)} {left_out}",
        HIDDEN: f"{format_count(int(counts[HIDDEN]), real)} that the mask hides",
        PADDING: f"{format_count(int(counts[PADDING]), f'padded {noun}')} counted as data",
        NOT_FINITE: f"{counts[NOT_FINITE]:,} NaN or infinite",
    }
    return [(MARKS[kind], said[kind]) for kind in MARKS]
