"""What a model returns, output by output, with the truth about padding for all rows of its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.records.arrays import Bools
from maskcli.records.evidence import OutputEvidence
from maskcli.records.inputs import ModelInput
from maskcli.trace.recorder import get_mask
from maskcli.trace.run import Run, list_output_tensors, trace_model
from maskcli.trace.values import get_dtype

BLOCK = 256
"""Rows that are traced together where the truth must be followed through the model for each of them."""
TRACED = 4096
"""Rows that are traced for that at the most; a traced run is no fast one."""
PROBED_ROWS = 16
"""Rows that the probes run on: as many different lengths as there are, and two without a valid timestep."""


@dataclasses.dataclass(frozen=True, eq=False)
class ModelOutput:
    """One output of a model.

    Attributes:
        index: its place among the outputs, flattened.
        name: its name in their nest.
        sample: what a traced run of some ``rows`` of the data returned.
        rows: which rows these are.
        dtype: of the tensor.
        mask_shape: of the mask that it carries; None without one.
        valid: ``(batch, timesteps)`` for all rows; None without timesteps, or where that is not known.
        timed: whether it has timesteps.
        lost_at: the call at which the mask was lost that it would carry; None where none was.
    """

    index: int
    name: str
    sample: NDArray[Any]
    rows: NDArray[np.intp]
    dtype: str
    mask_shape: tuple[int, ...] | None
    valid: Bools | None
    timed: bool
    lost_at: str | None


def find_model_outputs(model: Any, inputs: Sequence[ModelInput]) -> list[ModelOutput]:
    """Run a model on some rows of its data, traced, and return its outputs.

    Raises:
        RaisedInCall: with whatever the model raises.
    """
    fixed = find_fixed_batch(model)
    rows = choose_rows(inputs) if fixed is None else np.arange(min(fixed, len(inputs[0].values)))
    some = tuple(select_rows(given, rows) for given in inputs)
    run = trace_model(model, pack_arguments(model, some), some)
    return [
        ModelOutput(
            index=index,
            name=seen.name,
            sample=np.asarray(tensor),
            rows=rows,
            dtype=get_dtype(tensor),
            mask_shape=None if seen.mask is None else seen.mask.shape,
            valid=None if seen.valid is None else _of_all_rows(model, inputs, some, seen.valid, index),
            timed=seen.valid is not None or seen.mask is not None,
            lost_at=seen.lost_at,
        )
        for index, (seen, (_, tensor)) in enumerate(
            zip(collect_outputs(run), list_output_tensors(run.output), strict=True)
        )
    ]


def find_fixed_batch(model: Any) -> int | None:
    """Return the one size of batches that a model is built for, as one with states is; None where it takes any."""
    sizes = (tensor.shape[0] for tensor in getattr(model, "inputs", None) or ())
    return next((int(size) for size in sizes if size is not None), None)


def _of_all_rows(
    model: Any, inputs: Sequence[ModelInput], some: Sequence[ModelInput], valid: Bools, index: int
) -> Bools | None:
    """Return the truth for all rows: that of the input whose timesteps they are, or else what a trace tells."""
    for given, part in zip(inputs, some, strict=True):
        if part.valid is not None and part.valid.shape == valid.shape and (part.valid == valid).all():
            return given.valid
    if len(valid) == len(inputs[0].values):
        return valid
    if len(inputs[0].values) > TRACED:
        return None
    size = find_fixed_batch(model) or BLOCK
    starts = range(0, len(inputs[0].values), size)
    blocks = [_traced(model, inputs, slice(start, start + size), index) for start in starts]
    known = [block for block in blocks if block is not None]
    return np.concatenate(known) if len(known) == len(blocks) else None


def _traced(model: Any, inputs: Sequence[ModelInput], rows: slice, index: int) -> Bools | None:
    some = tuple(select_rows(given, rows) for given in inputs)
    run: Run = trace_model(model, pack_arguments(model, some), some)
    return collect_outputs(run)[index].valid


def collect_outputs(run: Run) -> list[OutputEvidence]:
    """Return the outputs of a run, each with its mask and the truth."""
    return [_output(run, name, tensor) for name, tensor in list_output_tensors(run.output)]


def _output(run: Run, name: str, tensor: Any) -> OutputEvidence:
    maker, loss = run.flow.maker.get(id(tensor)), run.flow.lost.get(id(tensor))
    mask = get_mask(tensor)
    return OutputEvidence(
        name=name,
        shape=tuple(tensor.shape),
        mask=mask,
        valid=run.flow.valid.get(id(tensor)),
        call=run.names.get(maker.index) if maker is not None else None,
        lost_at=run.names.get(loss.at.index) if loss is not None and mask is None else None,
        lost_mask=loss.mask if loss is not None and mask is None else None,
    )


def choose_rows(inputs: Sequence[ModelInput]) -> NDArray[np.intp]:
    """Return the rows to probe, in order: of different lengths first, at most two without a valid timestep."""
    n_rows = len(inputs[0].values)
    if n_rows <= PROBED_ROWS:
        return np.arange(n_rows)
    lengths = np.stack([given.valid.sum(axis=1) for given in inputs if given.valid is not None] or [np.zeros(n_rows)])
    empty = np.flatnonzero((lengths == 0).any(axis=0))[:2]
    _, firsts = np.unique(lengths, axis=1, return_index=True)
    firsts = np.setdiff1d(firsts, np.flatnonzero((lengths == 0).any(axis=0)))
    room = PROBED_ROWS - len(empty)
    by_length = firsts[np.argsort(lengths[0, firsts], kind="stable")]
    spread = by_length[np.unique(np.linspace(0, len(by_length) - 1, min(room, len(by_length))).astype(int))]
    rest = np.setdiff1d(np.arange(n_rows), np.concatenate([spread, np.flatnonzero((lengths == 0).any(axis=0))]))
    return np.sort(np.concatenate([empty, spread, rest[: room - len(spread)]])).astype(np.intp)
