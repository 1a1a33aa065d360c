"""How far each padded timestep, replaced alone, moves each timestep of the outputs.

One run has a row for each padded timestep: a copy of its sample with other values there, behind the embedding and under
the same masks, as the ``replace`` probe has them. It is set against a run of as many plain copies, which sums the same
numbers in the same order, so that what moves does not move by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.probes.padding_sources import PaddingSources, find_padding_sources
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput, find_primary
from maskcli.records.leak import LeakMatrix
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording, record_run
from maskcli.trace.rerun import make_noise, replace_padding
from maskcli.trace.run import Run, list_output_tensors, trace_model
from maskcli.trace.values import EPSILON, as_float64, get_dtype, is_float

MOST, FEWEST = 2048, 64
"""Padded timesteps that are tried, or fewer of a large model; of more, as many as lie evenly among them."""
WORK = 2**30
"""Numbers that all calls of these runs may make: some twenty seconds."""
BLOCK = 256
"""Rows of a run, or fewer of a model whose tensors would fill ``MEMORY``."""
MEMORY = 2**28
Pairs = NDArray[np.intp]


def compute_leak_matrices(model: Any, inputs: Sequence[ModelInput]) -> tuple[tuple[LeakMatrix, ...], str | None]:
    """Return a matrix for each output of floats, or none and why.

    Args:
        model: a Keras model; it is left as it was.
        inputs: what it is called with; of every row of them each padded timestep is tried.
    """
    primary = find_primary(inputs)
    if primary is None or primary.valid is None or primary.valid.all():
        return (), "There is no padding in the rows that are shown."
    run = trace_model(model, pack_arguments(model, inputs), inputs)
    sources = find_padding_sources(run.watched, run.flow, inputs)
    if isinstance(sources, str):
        return (), f"It could not be tried which padded timestep leaks where: {sources}."
    pairs = np.argwhere(~primary.valid)
    most = int(np.clip(WORK // _numbers(run.watched, len(primary.valid)), FEWEST, MOST))
    tried = pairs[np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))]
    return tuple(_matrices(model, inputs, run, sources, tried, primary.valid)), None


def _matrices(
    model: Any, inputs: Sequence[ModelInput], run: Run, sources: PaddingSources, tried: Pairs, valid: Bools
) -> Iterator[LeakMatrix]:
    outputs = list_output_tensors(run.output)
    followed = [at for at, (_, tensor) in enumerate(outputs) if _is_followed(tensor, len(valid))]
    shown = [_by_timestep(as_float64(outputs[at][1]), _valid_of(run, outputs[at][1])) for at in followed]
    changes = [np.full((*values.shape[:2], valid.shape[1]), np.nan) for values in shown]
    size = find_fixed_batch(model) or _block(run.watched, len(valid))
    for start in range(0, len(tried), size):
        pairs = tried[start : start + size]
        plain, other = _two_runs(
            model, inputs, sources, np.resize(pairs, (size, 2)) if find_fixed_batch(model) else pairs
        )
        if plain.error is not None or other.error is not None:
            continue
        for at, change in zip(followed, changes, strict=True):
            apart = _apart(
                list_output_tensors(plain.output)[at][1], list_output_tensors(other.output)[at][1], change.shape[1]
            )
            change[pairs[:, 0], :, pairs[:, 1]] = apart[: len(pairs)]
    for at, values, change in zip(followed, shown, changes, strict=True):
        name, tensor = outputs[at]
        own = _valid_of(run, tensor)
        yield LeakMatrix(
            output=name,
            change=_to_four_digits(change),
            valid=_counted(inputs)[:, None] & (np.ones(change.shape[:2], bool) if own is None else own),
            timed=own is not None,
            tolerance=EPSILON[get_dtype(tensor)] * float(np.abs(values[np.isfinite(values)]).max(initial=0.0)),
            tried=int(np.isfinite(change[:, 0]).sum()),
            padded=int((~valid).sum()),
        )


def _two_runs(
    model: Any, inputs: Sequence[ModelInput], sources: PaddingSources, pairs: Pairs
) -> tuple[Recording, Recording]:
    """Return a run of a copy of each pair's sample, and one in which the pair's timestep has other values."""
    chance = np.random.default_rng(0)
    rows, columns = pairs.T
    plain = tuple(select_rows(given, rows) for given in inputs)

    def kept(valid: Bools) -> Bools:
        """Return all timesteps of each copy but the one to replace, where that is padding here too."""
        keep = np.ones((len(rows), valid.shape[1]), bool)
        inside = columns < valid.shape[1]
        keep[np.flatnonzero(inside), columns[inside]] = valid[rows[inside], columns[inside]]
        return keep

    def alter(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        if entry.index not in sources.calls:
            return None
        return [replace_padding(tensors[0], kept(sources.calls[entry.index]), chance), *tensors[1:]]

    others = tuple(
        select_rows(given, rows)
        if position not in sources.inputs or given.valid is None
        else _with_noise(select_rows(given, rows), kept(given.valid), chance)
        for position, given in enumerate(inputs)
    )
    return record_run(model, pack_arguments(model, plain)), record_run(
        model, pack_arguments(model, others), alter=alter
    )


def _with_noise(given: ModelInput, keep: Bools, chance: np.random.Generator) -> ModelInput:
    import dataclasses

    return dataclasses.replace(given, values=make_noise(given.values, ~keep, chance))


def _is_followed(tensor: Any, rows: int) -> bool:
    return is_float(tensor) and len(tensor.shape) > 0 and tensor.shape[0] == rows


def _valid_of(run: Run, tensor: Any) -> Bools | None:
    return run.flow.valid.get(id(tensor))


def _by_timestep(values: NDArray[Any], valid: Bools | None) -> NDArray[Any]:
    """Return values as ``(batch, timesteps, features)``; one timestep where there are none."""
    return values.reshape(len(values), 1 if valid is None else valid.shape[1], -1)


def _apart(plain: Any, other: Any, timesteps: int) -> NDArray[np.float64]:
    """Return ``(rows, timesteps)``: the largest absolute change over the features."""
    one, two = as_float64(plain), as_float64(other)
    with np.errstate(invalid="ignore"):
        change = np.where(one == two, 0.0, np.abs(one - two))
    change = np.where(np.isnan(change), np.where(np.isnan(one) & np.isnan(two), 0.0, np.inf), change)
    largest: NDArray[np.float64] = change.reshape(len(one), timesteps, -1).max(axis=-1, initial=0.0)
    return largest


def _to_four_digits(change: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return changes as they are shown: more digits would make a page large, and say nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (3 - np.floor(np.log10(change)))
        digits = np.round(change * scale) / scale
    return np.where(np.isfinite(digits), digits, change).astype(np.float32)


def _counted(inputs: Sequence[ModelInput]) -> Bools:
    """Return rows with a valid timestep in every input; others have no result that could be wrong."""
    timed = [given.valid.any(axis=1) for given in inputs if given.valid is not None]
    counted: Bools = np.logical_and.reduce(timed)
    return counted


def _block(run: Recording, rows: int) -> int:
    """Return how many rows a run may have, whose tensors are all kept."""
    return int(np.clip(MEMORY // (8 * _numbers(run, rows)), 1, BLOCK))


def _numbers(run: Recording, rows: int) -> int:
    """Return how many numbers all calls make of one row."""
    numbers: int = sum(math.prod(tensor.shape) for entry in run.entries for tensor in entry.outputs)
    return max(1, numbers // rows)
