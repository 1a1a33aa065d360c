"""The outputs of a model, one by one, with the validity of their timesteps for all rows of the data."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.inputs.arguments import select_rows
from maskcli.records.arrays import Bools
from maskcli.records.evidence import OutputEvidence
from maskcli.records.inputs import ModelInput
from maskcli.tolerance import bound_sum_error
from maskcli.trace.recorder import get_mask
from maskcli.trace.run import (
    FEWEST_ROWS,
    PROBED_ROWS,
    Run,
    RunCache,
    get_path,
    is_large_run,
    list_output_tensors,
    trace_model,
)
from maskcli.trace.values import as_float64, get_dtype, get_ulp, is_float

BLOCK = 256
"""Rows that are traced together where validity must be followed through the model for each row."""
TRACED = 4096
"""Rows that are traced for that, at most; tracing is slow."""
SHORT = 128
"""Timesteps of rows that the probes of a large model prefer to longer ones: scores grow with the square of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class ModelOutput:
    """One output of a model.

    Attributes:
        index: its position among the outputs, flattened.
        name: its name in their nest.
        sample: the output of a traced run on some ``rows`` of the data.
        rows: the rows of the sample.
        dtype: of the tensor.
        mask_shape: of the mask that it carries; None without one.
        valid: ``(batch, timesteps)`` for all rows; None without timesteps, or where that is not known.
        timed: whether it has timesteps.
        lost_at: the call that lost the mask which it would carry; None where none was lost.
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


def find_model_outputs(runs: RunCache, inputs: Sequence[ModelInput]) -> list[ModelOutput]:
    """Trace a model on some rows of its data and return its outputs.

    Raises:
        RaisedInCall: with the exception that the model raises.
    """
    fixed = find_fixed_batch(runs.model)
    rows = choose_rows(inputs) if fixed is None else np.arange(min(fixed, len(inputs[0].values)))
    some = tuple(select_rows(model_input, rows) for model_input in inputs)
    run = runs.get_run(some).trace
    pairs = zip(collect_outputs(run), list_output_tensors(run.output), strict=True)
    return [
        ModelOutput(
            index=index,
            name=output.name,
            sample=as_array(tensor),
            rows=rows,
            dtype=get_dtype(tensor),
            mask_shape=None if output.mask is None else output.mask.shape,
            valid=None if output.valid is None else _extend_validity(runs.model, inputs, run, index, output.valid),
            timed=output.valid is not None or output.mask is not None,
            lost_at=output.lost_at,
        )
        for index, (output, (_, tensor)) in enumerate(pairs)
    ]


def find_fixed_batch(model: Any) -> int | None:
    """Return the fixed batch size of a model, such as one with states; None if it takes any.

    Keras builds a ``Sequential`` without an input for the batch that it is first called with, and takes others, too.
    """
    import keras

    if isinstance(model, keras.Sequential) and not any(
        getattr(part, "stateful", False) for part in model._flatten_layers()
    ):
        return None
    sizes = (tensor.shape[0] for tensor in getattr(model, "inputs", None) or ())
    return next((int(size) for size in sizes if size is not None), None)


def _extend_validity(model: Any, inputs: Sequence[ModelInput], run: Run, index: int, valid: Bools) -> Bools | None:
    """Return the validity of an output for all rows: from the timesteps that it comes from, or else a traced one."""
    rows = len(inputs[0].values)
    _, tensor = list_output_tensors(run.output)[index]
    is_known = id(tensor) in run.flow.exact or any(valid is truth for truth in run.flow.truths)
    extended = run.flow.positions.extend_validity(tensor, inputs) if is_known else None
    if extended is not None or len(valid) == rows:
        return valid if extended is None else extended
    if rows > TRACED:
        return None
    size = find_fixed_batch(model) or BLOCK
    starts = range(0, rows, size)
    blocks = [_trace_validity(model, inputs, slice(start, start + size), index) for start in starts]
    complete = [block for block in blocks if block is not None]
    return np.concatenate(complete) if len(complete) == len(blocks) else None


def _trace_validity(model: Any, inputs: Sequence[ModelInput], rows: slice, index: int) -> Bools | None:
    run = trace_model(model, tuple(select_rows(model_input, rows) for model_input in inputs))
    return collect_outputs(run)[index].valid


def collect_outputs(run: Run) -> list[OutputEvidence]:
    """Return the outputs of a run, each with its mask and its validity."""
    return [_make_output(run, name, tensor) for name, tensor in list_output_tensors(run.output)]


def _make_output(run: Run, name: str, tensor: Any) -> OutputEvidence:
    mask = get_mask(tensor)
    valid = run.flow.valid.get(id(tensor))
    lost = run.flow.lost.get(id(tensor)) if mask is None else None
    has_padding = valid is not None and not valid.all()
    if lost is not None and not has_padding and tuple(tensor.shape[: lost.mask.ndim]) != lost.mask.shape:
        lost = None  # A result for each span, say, which has no timesteps that a mask could mark.
    if len(run.flow.positions.find_time_axes(tensor) - {0}) > 1:
        lost = None  # A result for each pair of timesteps, of which a mask (batch, timesteps) could mark one only.
    again = () if lost is None else lost.again
    return OutputEvidence(
        name=name,
        shape=tuple(tensor.shape),
        mask=mask,
        valid=valid,
        call=get_path(run.names, run.flow.maker.get(id(tensor))),
        lost_at=get_path(run.names, None if lost is None else lost.at),
        lost_mask=None if lost is None else lost.mask,
        lost_again=tuple(run.names[later.index] for later in again if later.index in run.names),
        is_distribution=_is_distribution(tensor, valid),
    )


def _is_distribution(tensor: Any, valid: Bools | None) -> bool:
    """Return whether a result has probabilities of the timesteps of each row, as a pointer to one of them has."""
    if valid is None or len(tensor.shape) != valid.ndim or valid.shape[-1] < 2 or not is_float(tensor):
        return False
    shares = as_float64(tensor)[valid.any(axis=-1)]
    allowed = bound_sum_error(get_ulp(tensor), valid.shape[-1], 4)
    return bool(shares.size and (shares >= 0).all() and (np.abs(shares.sum(axis=-1) - 1) <= allowed).all())


def choose_rows(inputs: Sequence[ModelInput], most: int = PROBED_ROWS) -> NDArray[np.intp]:
    """Return the rows to probe, in order: of different lengths first, at most two without a valid timestep."""
    n_rows = len(inputs[0].values)
    if n_rows <= most:
        return np.arange(n_rows)
    by_input = [model_input.valid.sum(axis=1) for model_input in inputs if model_input.valid is not None]
    lengths = np.stack(by_input or [np.zeros(n_rows)])
    padded = np.stack(
        [~item.valid.all(axis=1) for item in inputs if item.valid is not None] or [np.zeros(n_rows, bool)]
    )
    all_empty = np.flatnonzero((lengths == 0).any(axis=0))
    empty = all_empty[: 2 if most > FEWEST_ROWS else 1]
    # One row of each length, evenly spread over the lengths; then any rows up to the limit.
    _, firsts = np.unique(lengths, axis=1, return_index=True)
    firsts = np.setdiff1d(firsts, all_empty)
    room = max(FEWEST_ROWS, most - len(empty))
    by_length = firsts[np.lexsort((lengths[:, firsts].sum(axis=0), (~padded[:, firsts]).sum(axis=0)))]
    spread = by_length[np.unique(np.linspace(0, len(by_length) - 1, min(room, len(by_length))).astype(int))]
    # Of each input that has padding, some padding is probed, maybe in one row more.
    missed = [firsts[row[firsts]][:1] for row in padded if row[firsts].any() and not row[spread].any()]
    spread = np.unique(np.concatenate([spread, *missed]))
    remaining = np.setdiff1d(np.arange(n_rows), np.concatenate([spread, all_empty]))
    return np.sort(np.concatenate([empty, spread, remaining[: max(0, room - len(spread))]])).astype(np.intp)


def select_probed_rows(runs: RunCache, inputs: Sequence[ModelInput]) -> tuple[NDArray[np.intp], tuple[ModelInput, ...]]:
    """Return the rows to probe, and their inputs: of a large model short rows, without the columns of longer ones."""
    short = None
    may_be_short = runs.takes_short_rows and not _has_fixed_length(runs.model, inputs)
    # A mask that is computed from features may also hide data, of which each row has other values.
    has_features = any(item.kind == "features" and item.valid is not None for item in inputs)
    if may_be_short and not has_features and is_large_run(runs.model, inputs):
        short = choose_short_rows(inputs, runs.most_rows, list_feature_sizes(runs.model))
    rows, columns = (choose_rows(inputs, runs.most_rows), slice(None)) if short is None else short
    return rows, tuple(select_rows(model_input, rows, columns) for model_input in inputs)


def list_feature_sizes(model: Any) -> frozenset[int]:
    """Return the axes of the weights of a model, which are those of its features."""
    return frozenset(int(size) for weight in model.weights for size in weight.shape)


def choose_short_rows(
    inputs: Sequence[ModelInput], most: int = FEWEST_ROWS, avoided: Set[int] = frozenset()
) -> tuple[NDArray[np.intp], slice] | None:
    """Return rows of at most ``SHORT`` timesteps, or of the two shortest lengths, and the columns that they have.

    A batch of these rows would be padded like that, too. ``avoided`` are numbers of columns that could be taken for
    features. Returns None where a batch would be padded otherwise: if padding comes first, if inputs differ in their
    timesteps, and if no row is longer than others.
    """
    timed = [item for item in inputs if item.valid is not None]
    timesteps = {item.values.shape[1] for item in timed}
    others = {size for item in inputs for size in item.values.shape[1 if item.valid is None else 2 :]}
    if len(timesteps) != 1 or timesteps & others:
        return None
    of_inputs = []
    for item in timed:
        assert item.valid is not None  # noqa: S101 - these inputs have timesteps
        if (~item.valid[:, 0] & item.valid.any(axis=1)).any():
            return None
        last = item.valid.shape[1] - item.valid[:, ::-1].argmax(axis=1)
        of_inputs.append(np.where(item.valid.any(axis=1), last, 0))
    lengths = np.max(of_inputs, axis=0)
    shortest = np.unique(lengths[lengths > 0])[:2]
    limit = max(SHORT, shortest.max(initial=0))
    if len(shortest) < 2 or limit >= lengths.max():
        return None
    few = np.flatnonzero(lengths <= limit)
    rows = few[choose_rows([select_rows(item, few) for item in inputs], most)]
    width = next(width for width in itertools.count(int(lengths[rows].max())) if width not in avoided)
    if width >= min(timesteps):
        return None
    columns = slice(0, width)
    if any(item.valid[rows][:, columns].all() and not item.valid.all() for item in timed if item.valid is not None):
        return None  # Each input that has padding needs some to be probed.
    return rows, columns


def _has_fixed_length(model: Any, inputs: Sequence[ModelInput]) -> bool:
    """Return whether a model declares the timesteps of an input."""
    pairs = zip(getattr(model, "inputs", None) or (), inputs, strict=False)
    return any(item.valid is not None and tensor.shape[1] is not None for tensor, item in pairs)
