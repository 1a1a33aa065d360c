"""Measure how far each timestep of the inputs changes each timestep of an output.

A run has a copy of a row for each of its timesteps, with other content at that timestep only. It is compared with a run
of as many plain copies, which sums the same numbers in the same order. Where rows are long, a block of timesteps
changes at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import select_rows
from maskcli.probes.compare import hides_leaks, measure_change
from maskcli.probes.content import list_content_inputs, replace_content
from maskcli.probes.context import ProbeContext
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput, is_same_validity
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float

MOST_BLOCKS, FEWEST_BLOCKS = 64, 4
"""Blocks of timesteps that change separately, at most, and the least of a large model."""
ROWS = 2
"""Rows that are copied: those with the most valid timesteps."""
WORK = 2**27
"""Numbers that all calls of these runs may compute: a few seconds."""
MEMORY = 2**27
"""Numbers that the calls of one run may compute; all of them are kept."""
SLACK = 4
"""Timesteps that an output may have less, or more, than an input whose timesteps it has."""


@dataclasses.dataclass(frozen=True, eq=False)
class TimedOutput:
    """An output with timesteps.

    Attributes:
        position: among the outputs.
        name: in their nest.
        valid: ``(batch, timesteps)``, its valid timesteps in the run.
        inputs: the positions of the inputs whose timesteps it has.
    """

    position: int
    name: str
    valid: Bools
    inputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """A row, and the timesteps of it that change.

    Attributes:
        row: of the run.
        where: ``(timesteps,)``, True where the content changes.
        column: the number of the block of timesteps.
        block: the number of timesteps of each block.
    """

    row: int
    where: Bools
    column: int
    block: int

    @property
    def start(self) -> int:
        """The first timestep that changes."""
        return int(self.where.argmax())


@dataclasses.dataclass(frozen=True, eq=False)
class OutputPair:
    """An output without and with other content, ``(trials, timesteps, ...)``."""

    plain: NDArray[np.float64]
    changed: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Ahead:
    """A change of an output by a later timestep.

    Attributes:
        change: its size.
        tolerance: the largest change of that feature that counts as rounding.
        row: of the run.
        timestep: of the output.
        by_timestep: the first timestep that changed.
    """

    change: float
    tolerance: float
    row: int
    timestep: int
    by_timestep: int


@dataclasses.dataclass(frozen=True, eq=False)
class TimestepMatrix:
    """The changes of one output by the timesteps of its inputs.

    Attributes:
        change: ``(output blocks, blocks)``, the largest change, 0 up to rounding, NaN where no row has that timestep.
        block: timesteps of each row and column.
        timesteps: of the input.
        shift: by how many timesteps the output starts later than the input.
        ahead: the largest change of an earlier output; None if there is none.
        tolerance: the largest tolerance of a feature.
        uncertain: whether rounding is so large that an effect may be smaller.
        faint: whether a later timestep changes an earlier output, but by so little that it may be rounding.
    """

    change: NDArray[np.float64]
    block: int
    timesteps: int
    shift: int
    ahead: Ahead | None
    tolerance: float
    uncertain: bool = False
    faint: bool = False


def find_timed_outputs(context: ProbeContext) -> list[TimedOutput]:
    """Return the outputs of floats that have the timesteps of an input."""
    outputs = []
    for position, (name, tensor) in enumerate(list_output_tensors(context.base.output)):
        if not is_float(tensor) or len(tensor.shape) < 2 or tensor.shape[0] != len(context.relevant):
            continue
        valid = find_validity(context, tensor)
        if valid is None:
            continue
        inputs = _find_inputs_of(context, tensor, valid)
        if inputs and _has_same_timesteps(context, inputs, valid):
            outputs.append(TimedOutput(position, name, valid, inputs))
    return outputs


def _has_same_timesteps(context: ProbeContext, inputs: tuple[int, ...], valid: Bools) -> bool:
    """Return whether an output has about as many timesteps as its input, unlike that of a strided layer."""
    truth = context.inputs[inputs[0]].valid
    return truth is not None and abs(truth.shape[1] - valid.shape[1]) <= min(SLACK, valid.shape[1] // 2)


def find_validity(context: ProbeContext, tensor: Any) -> Bools | None:
    """Return the valid timesteps of a result; None if it has none.

    Where they were not followed, as those of ``ids[:, :-1]``, an axis of about as many timesteps as an input has counts
    as time.
    """
    valid = context.flow.valid.get(id(tensor))
    if valid is not None and valid.ndim > 2:  # Timesteps with padding inside count if any of it is valid.
        return np.asarray(valid.reshape(*valid.shape[:2], -1).any(axis=2))
    if valid is not None or id(tensor) in context.flow.pooled or len(tensor.shape) < 3:
        return valid
    if context.flow.positions.get_labels(tensor):
        return None  # Its timesteps were followed, and are on another axis, as after a transposition.
    timesteps = int(tensor.shape[1])
    for position in list_content_inputs(context.inputs):
        truth = context.inputs[position].valid
        missing = 0 if truth is None else truth.shape[1] - timesteps
        if truth is not None and 0 < abs(missing) <= min(SLACK, timesteps // 2):
            # Whether the first or the last timesteps are missing is not known: those that are valid either way count.
            if missing > 0:
                both: Bools = truth[:, :timesteps] & truth[:, missing:]
                return both
            return np.pad(truth, [(0, 0), (-missing, 0)], constant_values=True) & np.pad(
                truth, [(0, 0), (0, -missing)], constant_values=True
            )
    return None


def _find_inputs_of(context: ProbeContext, tensor: Any, valid: Bools) -> tuple[int, ...]:
    """Return the positions of the inputs whose timesteps a result has.

    A decoder may look at all timesteps of its encoder's input. So inputs do not count that only have as many timesteps:
    the timesteps that were followed through the model are those of one input, and of others that share its validity.
    """
    inputs = context.inputs
    content = list_content_inputs(inputs)
    source = _find_source(context, tensor)
    if source is not None:
        truth = inputs[source].valid
        shared = tuple(position for position in content if position == source or inputs[position].valid is truth)
        alike = tuple(position for position in content if is_same_validity(inputs[position].valid, truth))
        if shared or alike:
            return shared or alike
    alike = tuple(position for position in content if is_same_validity(inputs[position].valid, valid))
    if alike:
        return alike[:1]
    # A model that cuts off or prepends timesteps returns a few less, or more, than its input has.
    slack = min(SLACK, valid.shape[1] // 2)
    lengths = [(position, truth.shape[1]) for position in content if (truth := inputs[position].valid) is not None]
    near = [(abs(length - valid.shape[1]), position) for position, length in lengths]
    near = [(distance, position) for distance, position in near if distance <= slack]
    return (min(near)[1],) if near else ()


def _find_source(context: ProbeContext, tensor: Any) -> int | None:
    """Return the position of the input that most timesteps of a result come from; None if that is not known."""
    positions = context.flow.positions
    origin = positions.read_origin(tensor)
    if origin is None:
        return None
    sources = positions.cells.source[origin.layer]
    sources = sources[sources >= 0]
    return int(np.bincount(sources).argmax()) if sources.size else None


def list_trials(context: ProbeContext, output: TimedOutput) -> list[Trial]:
    """Return the trials for an output; empty if no row has two valid timesteps."""
    driver = context.inputs[output.inputs[0]].valid
    assert driver is not None  # noqa: S101 - these inputs have timesteps
    counts = np.where(context.relevant, driver.sum(axis=1), 0)
    numbers = _count_numbers(context.base, len(counts))
    if (counts > 1).all() and (context.run.is_large or WORK // (2 * ROWS * numbers) <= FEWEST_BLOCKS):
        return _list_few_trials(driver)
    rows = [int(row) for row in np.argsort(-counts, kind="stable")[:ROWS] if counts[row] > 1]
    block = _choose_block(context, driver.shape[1], len(rows))
    return [trial for row in rows for trial in _split_row(row, driver[row], block)]


def _list_few_trials(valid: Bools) -> list[Trial]:
    """Return one trial for each row, so that the run of the rows themselves serves as the one without changes.

    Other rows change at other timesteps, always with valid timesteps before these.
    """
    rows, timesteps = valid.shape
    block = math.ceil(timesteps / FEWEST_BLOCKS)
    trials = []
    for row in range(rows):
        places = np.flatnonzero(valid[row])
        start = places[max(1, len(places) * (row + 1) // (rows + 1))]
        column = int(start) // block
        where = valid[row] & (np.arange(timesteps) >= start) & (np.arange(timesteps) < (column + 1) * block)
        trials.append(Trial(row, where, column, block))
    return trials


def _choose_block(context: ProbeContext, timesteps: int, rows: int) -> int:
    numbers = 2 * max(1, rows) * _count_numbers(context.base, len(context.relevant))
    return math.ceil(timesteps / int(np.clip(WORK // numbers, FEWEST_BLOCKS, MOST_BLOCKS)))


def _count_numbers(run: Recording, rows: int) -> int:
    """Return how many numbers all calls compute for one row."""
    numbers: int = sum(math.prod(tensor.shape) for entry in run.entries for tensor in entry.outputs)
    return max(1, numbers // rows)


def _split_row(row: int, valid: Bools, block: int) -> Iterator[Trial]:
    for start in range(0, len(valid), block):
        where = np.zeros(len(valid), bool)
        where[start : start + block] = valid[start : start + block]
        if where.any():
            yield Trial(row, where, start // block, block)


def record_trials(
    context: ProbeContext, inputs: tuple[int, ...], outputs: Sequence[TimedOutput], trials: Sequence[Trial]
) -> list[OutputPair] | str:
    """Return the outputs without and with other content at some inputs, or the reason if that fails.

    Args:
        context: the run whose rows are copied.
        inputs: the positions of the inputs to change.
        outputs: the outputs to return.
        trials: the rows to copy, with the timesteps to change.
    """
    rng = np.random.default_rng(7)
    fixed = find_fixed_batch(context.model)
    numbers = _count_numbers(context.base, len(context.relevant))
    size = fixed or int(np.clip(MEMORY // numbers, 1, len(trials)))
    parts: list[list[OutputPair]] = []
    for start in range(0, len(trials), size):
        some = list(trials[start : start + size])
        # The last run may be short of a fixed batch.
        copies = [some[index % len(some)] for index in range(size)] if fixed else some
        plain = copy_rows(context.inputs, [trial.row for trial in copies])
        changed = change_timesteps(context, plain, inputs, np.stack([trial.where for trial in copies]), rng)
        is_base = [trial.row for trial in copies] == list(range(len(context.relevant)))
        recordings = context.base if is_base else context.run.vary(plain), context.run.vary(changed)
        if any(recording.error is not None for recording in recordings):
            return "with copies of a row the model raises an error"
        before, after = (list_output_tensors(recording.output) for recording in recordings)
        part = [
            OutputPair(as_float64(before[output.position][1]), as_float64(after[output.position][1]))
            for output in outputs
        ]
        shapes = [(len(copies), output.valid.shape[1]) for output in outputs]
        if any(
            pair.plain.shape != pair.changed.shape or pair.plain.shape[:2] != shape
            for pair, shape in zip(part, shapes, strict=True)
        ):
            return "with copies of a row the outputs have other shapes"
        parts.append([OutputPair(pair.plain[: len(some)], pair.changed[: len(some)]) for pair in part])
    return [
        OutputPair(np.concatenate([pair.plain for pair in pairs]), np.concatenate([pair.changed for pair in pairs]))
        for pairs in zip(*parts, strict=True)
    ]


def copy_rows(inputs: Sequence[ModelInput], rows: Sequence[int]) -> tuple[ModelInput, ...]:
    """Return inputs with these rows, which may repeat."""
    order = np.asarray(rows, np.intp)
    return tuple(
        dataclasses.replace(
            select_rows(model_input, order), cells=None if model_input.cells is None else model_input.cells[order]
        )
        for model_input in inputs
    )


def change_timesteps(
    context: ProbeContext,
    copies: tuple[ModelInput, ...],
    positions: tuple[int, ...],
    where: Bools,
    rng: np.random.Generator,
) -> tuple[ModelInput, ...]:
    """Return copies of rows with other content at some timesteps of some inputs."""
    return tuple(
        replace_content(model_input, context.inputs[position], where, rng) if position in positions else model_input
        for position, model_input in enumerate(copies)
    )


def make_timestep_matrix(
    output: TimedOutput, trials: Sequence[Trial], pair: OutputPair, relative: float, floor: float | Sequence[float]
) -> TimestepMatrix:
    """Return the changes of an output.

    Args:
        output: the output.
        trials: the rows, with the timesteps that changed.
        pair: the output in these trials.
        relative: the tolerance, as a part of the largest number of a feature.
        floor: the smallest tolerance, of all features or of each.
    """
    counts = output.valid[[trial.row for trial in trials]]
    measured, tolerance = measure_by_feature(pair, counts, relative, floor)
    features = np.where((measured > tolerance) & counts[..., None], measured, 0.0)
    change = features.max(axis=-1)
    starts = np.array([trial.start for trial in trials])
    timesteps, block = len(trials[0].where), trials[0].block
    shift = _find_shift(change, starts, timesteps)
    matrix = np.full((math.ceil(change.shape[1] / block), math.ceil(timesteps / block)), np.nan)
    for trial, row in zip(trials, change, strict=True):
        blocks = np.maximum.reduceat(row, np.arange(0, len(row), block))
        matrix[:, trial.column] = np.fmax(matrix[:, trial.column], blocks)
    ahead = None
    later = _is_later(starts, change.shape[1], shift)
    excess = np.where(later[..., None], features, 0.0)
    excess = excess / np.where(tolerance > 0, tolerance, np.finfo(float).tiny)
    if excess.any():
        index, timestep, feature = map(int, np.unravel_index(int(excess.argmax()), excess.shape))
        ahead = Ahead(
            change=float(features[index, timestep, feature]),
            tolerance=float(tolerance[feature]),
            row=trials[index].row,
            timestep=timestep,
            by_timestep=int(starts[index]),
        )
    uncertain = hides_leaks(_measure_sizes(pair, counts), floor)
    faint = ahead is None and bool(measured[later & counts].any())
    return TimestepMatrix(matrix, block, timesteps, shift, ahead, float(tolerance.max()), uncertain, faint)


def measure_by_feature(
    pair: OutputPair, counts: Bools, relative: float, floor: float | Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the changes ``(trials, timesteps, features)``, and for each feature the change that is only rounding.

    Features of one output may differ by many orders of magnitude.
    """
    change = measure_change(pair.plain, pair.changed).reshape(*counts.shape, -1, _count_features(pair)).max(axis=2)
    floors = np.asarray(floor, np.float64).reshape(-1)
    if len(floors) != change.shape[-1]:
        floors = floors.max(initial=0.0, keepdims=True)
    return change, np.maximum(relative * _measure_sizes(pair, counts), floors)


def _measure_sizes(pair: OutputPair, counts: Bools) -> NDArray[np.float64]:
    """Return ``(features,)``: the largest absolute results that count."""
    finite = np.abs(np.where(np.isfinite(pair.plain), pair.plain, 0.0))
    sizes = finite.reshape(*counts.shape, -1, _count_features(pair)).max(axis=2)
    largest: NDArray[np.float64] = sizes[counts].max(axis=0, initial=0.0)
    return largest


def _count_features(pair: OutputPair) -> int:
    return int(pair.plain.shape[-1]) if pair.plain.ndim > 2 else 1


def _is_later(starts: NDArray[np.intp], timesteps: int, shift: int) -> Bools:
    """Return ``(trials, timesteps)``: whether a trial changes only later timesteps than that of the output."""
    later: Bools = np.arange(timesteps)[None, :] + shift < starts[:, None]
    return later


def _find_shift(change: NDArray[np.float64], starts: NDArray[np.intp], timesteps: int) -> int:
    """Return by how many timesteps an output starts later than the input.

    An output with fewer timesteps lacks some at the start, as after ``ids[:, 1:]``, or at the end. The smallest shift
    counts with which no later timestep changes it; if there is none, the largest, which assumes the least.
    """
    missing = max(0, timesteps - change.shape[1])
    shifts = range(missing + 1)
    return next((shift for shift in shifts if not change[_is_later(starts, change.shape[1], shift)].any()), missing)
