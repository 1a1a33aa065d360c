"""Measure how far each padded timestep, replaced by itself, changes each timestep of the outputs.

One run has a row for each padded timestep: a copy of its sample with other values there, after the embedding and under
the same masks, as in the ``replace`` probe. It is compared with a run of as many plain copies, which sums the same
numbers in the same order, so that a change is never caused by rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import select_rows
from maskcli.probes.compare import measure_change
from maskcli.probes.padding_sources import PaddingSources, find_padding_sources
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput, find_primary
from maskcli.records.leak import LeakMatrix
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.rerun import make_noise, replace_padding
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64, get_ulp, is_float

MOST, FEWEST = 2048, 64
"""Padded timesteps that are tried at most, and the least that are tried of a large model; evenly spread if not all."""
EFFECTS = 2**17
"""Numbers that the matrices of all outputs may have, for a page to be a page."""
WORK = 2**30
"""Numbers that all calls of these runs may compute: about twenty seconds."""
BLOCK = 256
"""Rows of a run, or fewer of a model whose tensors would fill ``MEMORY``."""
MEMORY = 2**28
Pairs = NDArray[np.intp]


def compute_leak_matrices(run: ModelRun) -> tuple[tuple[LeakMatrix, ...], str | None]:
    """Return a matrix for each output of floats, or none and the reason.

    Args:
        run: a model with its inputs; each padded timestep of every row of them is tried.
    """
    primary = find_primary(run.inputs)
    if primary is None or primary.valid is None or primary.valid.all():
        return (), "There is no padding in the rows that are shown."
    sources = find_padding_sources(run.trace.recording, run.flow, run.inputs)
    if isinstance(sources, str):
        return (), f"It could not be tried which padded timestep leaks where: {sources}."
    pairs = np.argwhere(~primary.valid)
    most = int(np.clip(WORK // _count_numbers(run.recording, len(primary.valid)), FEWEST, MOST))
    most = max(1, min(most, EFFECTS // max(1, _count_output_timesteps(run, len(primary.valid)))))
    tried = pairs[np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))]
    return tuple(_compute_matrices(run, sources, tried, primary.valid)), None


def _count_output_timesteps(run: ModelRun, rows: int) -> int:
    """Return the timesteps of all outputs; an output without timesteps has one."""
    validities = [
        run.flow.valid.get(id(tensor))
        for _, tensor in list_output_tensors(run.recording.output)
        if _is_followed(tensor, rows)
    ]
    return sum(1 if valid is None else valid.shape[1] for valid in validities)


def _compute_matrices(run: ModelRun, sources: PaddingSources, tried: Pairs, valid: Bools) -> Iterator[LeakMatrix]:
    """Yield the matrix of each output.

    Args:
        run: the run whose rows are copied.
        sources: where padding becomes numbers.
        tried: ``(n, 2)``, the row and the timestep of each padded timestep to replace.
        valid: ``(batch, timesteps)``, of the primary input.
    """
    outputs = list_output_tensors(run.recording.output)
    positions = [index for index, (_, tensor) in enumerate(outputs) if _is_followed(tensor, len(valid))]
    validities = [run.flow.valid.get(id(outputs[index][1])) for index in positions]
    lengths = [1 if output_valid is None else output_valid.shape[1] for output_valid in validities]
    effects: list[list[NDArray[np.float64]]] = [[] for _ in positions]
    places: list[Pairs] = []
    fixed = find_fixed_batch(run.model)
    size = fixed or _choose_block(run.recording, len(valid))
    for start in range(0, len(tried), size):
        pairs = tried[start : start + size]
        copies = np.resize(pairs, (size, 2)) if fixed else pairs  # The last block may be short of a fixed batch.
        plain, replaced = _record_pair(run, sources, copies)
        if plain.error is not None or replaced.error is not None:
            continue
        plain_outputs, replaced_outputs = list_output_tensors(plain.output), list_output_tensors(replaced.output)
        places.append(pairs)
        for index, length, parts in zip(positions, lengths, effects, strict=True):
            largest = _find_largest_change(plain_outputs[index][1], replaced_outputs[index][1], length)
            parts.append(largest[: len(pairs)])
    all_places = np.concatenate([np.empty((0, 2), np.intp), *places])
    for index, length, output_valid, parts in zip(positions, lengths, validities, effects, strict=True):
        name, tensor = outputs[index]
        values = as_float64(tensor)
        yield LeakMatrix(
            output=name,
            places=all_places,
            effects=_round_to_four_digits(np.concatenate([np.empty((0, length)), *parts])),
            timesteps=valid.shape[1],
            valid=_find_relevant_rows(run.inputs)[:, None]
            & (np.ones((len(valid), 1), bool) if output_valid is None else output_valid),
            timed=output_valid is not None,
            tolerance=get_ulp(tensor) * float(np.abs(values[np.isfinite(values)]).max(initial=0.0)),
            tried=len(all_places),
            padded=int((~valid).sum()),
        )


def _record_pair(run: ModelRun, sources: PaddingSources, pairs: Pairs) -> tuple[Recording, Recording]:
    """Return a run of a copy of each pair's sample, and one in which the pair's timestep has other values."""
    rng = np.random.default_rng(0)
    rows, columns = pairs.T
    plain = [select_rows(model_input, rows) for model_input in run.inputs]

    def find_kept(valid: Bools) -> Bools:
        """Return True at all timesteps of each copy but the one to replace, if that is padding here too."""
        keep = np.ones((len(rows), valid.shape[1]), bool)
        inside = columns < valid.shape[1]
        keep[np.flatnonzero(inside), columns[inside]] = valid[rows[inside], columns[inside]]
        return keep

    def alter(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        if entry.index not in sources.calls:
            return None
        return [replace_padding(tensors[0], find_kept(sources.calls[entry.index]), rng), *tensors[1:]]

    replaced = [
        _add_noise(copies, find_kept(model_input.valid), rng)
        if position in sources.inputs and model_input.valid is not None
        else copies
        for position, (model_input, copies) in enumerate(zip(run.inputs, plain, strict=True))
    ]
    return run.vary(plain), run.vary(replaced, alter=alter)


def _add_noise(model_input: ModelInput, keep: Bools, rng: np.random.Generator) -> ModelInput:
    return dataclasses.replace(model_input, values=make_noise(model_input.values, ~keep, rng))


def _is_followed(tensor: Any, rows: int) -> bool:
    return is_float(tensor) and len(tensor.shape) > 0 and tensor.shape[0] == rows


def _find_largest_change(plain: Any, replaced: Any, timesteps: int) -> NDArray[np.float64]:
    """Return ``(rows, timesteps)``: the largest absolute change over the features."""
    change = measure_change(as_float64(plain), as_float64(replaced))
    largest: NDArray[np.float64] = change.reshape(len(change), timesteps, -1).max(axis=-1, initial=0.0)
    return largest


def _round_to_four_digits(change: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return changes with the digits that are shown; more would only make a page large."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (3 - np.floor(np.log10(change)))
        digits = np.round(change * scale) / scale
    return np.where(np.isfinite(digits), digits, change).astype(np.float32)


def _find_relevant_rows(inputs: Sequence[ModelInput]) -> Bools:
    """Return the rows with a valid timestep in every input; the results of other rows do not count."""
    has_valid = [model_input.valid.any(axis=1) for model_input in inputs if model_input.valid is not None]
    relevant: Bools = np.logical_and.reduce(has_valid)
    return relevant


def _choose_block(run: Recording, rows: int) -> int:
    """Return how many rows a run may have; all of its tensors are kept."""
    return int(np.clip(MEMORY // (8 * _count_numbers(run, rows)), 1, BLOCK))


def _count_numbers(run: Recording, rows: int) -> int:
    """Return how many numbers all calls compute for one row."""
    numbers: int = sum(math.prod(tensor.shape) for entry in run.entries for tensor in entry.outputs)
    return max(1, numbers // rows)
