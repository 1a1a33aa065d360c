"""The probes that change how long rows are: each alone, and all with more padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.inputs.arguments import lengthen, pack_arguments, rebuild_with_free_length, select_rows
from maskcli.probes.compare import compare_outputs, find_first_difference, pair_calls
from maskcli.probes.context import ProbeContext, find_path, make_probe
from maskcli.probes.local import is_timestepwise
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.trace.recorder import Recording, record_run
from maskcli.trace.run import trace_recording

COLUMNS = 4
"""Columns of padding that are added: a multiple of the strides that pooling commonly has."""

MOST_GROUPS = 8
"""Rows of as many different lengths are run alone."""


_FIXED = "the model takes one length only, and a copy of it with free length cannot be built"
_POSITIONS = "the results depend on where a timestep stands, as position embeddings do, and pre-padding moves it"


@dataclasses.dataclass(frozen=True, eq=False)
class RowsAlone:
    """Rows run alone, trimmed to their length, with all others of that length."""

    rows: NDArray[np.intp]
    run: Recording


def run_rows_alone(subject: ProbeContext) -> list[RowsAlone] | str:
    """Run each row alone, or say why that cannot be; learn on the way how many timesteps each result has of it."""
    model = adapt_to_any_length(subject)
    if model is None:
        return _FIXED
    done, why = [], "no row has padding and a valid timestep"
    for rows, columns in _groups(subject):
        cut = tuple(
            select_rows(given, rows, span) if span else select_rows(given, rows)
            for given, span in zip(subject.inputs, columns, strict=True)
        )
        run = record_run(model, pack_arguments(model, cut))
        if run.error is not None:
            why = f"trimmed to their length, rows make the model raise {summarize_error(run.error)}"
        elif any(0 in tensor.shape for entry in run.ended for tensor in entry.outputs):
            why = "trimmed to their length, rows are shorter than a window, and nothing is left of them"
        else:
            done.append(RowsAlone(rows, run))
    for each in done:
        _learn(subject, each)
    return done or why


def _learn(subject: ProbeContext, alone: RowsAlone) -> None:
    """Note how many timesteps a row has of itself in results of other lengths than the data, as of pooling."""
    given = {id(one.valid) for one in subject.timed}
    for one, two in pair_calls(subject.base, alone.run):
        for tensor, other in zip(one.outputs, two.outputs, strict=False):
            valid = subject.flow.valid.get(id(tensor))
            if valid is None or id(valid) in given or len(other.shape) < 2 or other.shape[0] != len(alone.rows):
                continue
            timesteps, own = valid.shape[1], min(int(other.shape[1]), valid.shape[1])
            counts = np.arange(timesteps) < own if subject.side == "post" else np.arange(timesteps) >= timesteps - own
            learned = valid.copy()
            learned[alone.rows] = counts
            subject.flow.valid[id(tensor)] = learned


def probe_alone(subject: ProbeContext, alone: list[RowsAlone] | str, clean: bool) -> Probe:
    """Compare each row with itself alone; ``clean`` says that the content of padding changes nothing."""
    if isinstance(alone, str):
        return Probe("alone", False, why=alone)
    found = [make_probe("alone", subject, each.run, subject.align(each.rows)) for each in alone]
    for each, probe in zip(alone, found, strict=True):
        if probe.leaks and clean and subject.side == "pre":
            return _without_positions(subject, probe, each.run, each.rows)
    tried = [probe for probe in found if probe.applicable]
    if not tried:
        return found[0]
    return max(tried, key=lambda probe: (probe.leaks, (probe.max_abs_change or 0) / (probe.tolerance or 1)))


def probe_columns(subject: ProbeContext, clean: bool) -> Probe:
    """Add more padding to every row."""
    model = adapt_to_any_length(subject)
    if model is None:
        return Probe("columns", False, why=_FIXED)
    longer = tuple(lengthen(given, COLUMNS, subject.side) for given in subject.inputs)
    run = record_run(model, pack_arguments(model, longer))
    if run.error is not None:
        return Probe(
            "columns", False, why=f"with {COLUMNS} more timesteps the model raises {summarize_error(run.error)}"
        )
    probe = make_probe("columns", subject, run, subject.align())
    if probe.leaks and clean and subject.side == "pre":
        return _without_positions(subject, probe, run, np.flatnonzero(subject.counted))
    return probe


def _without_positions(subject: ProbeContext, probe: Probe, run: Recording, rows: NDArray[np.intp]) -> Probe:
    """Return a probe under pre-padding, which shifts positions, without what comes of them.

    Where the difference first appears at a call that treats each timestep by itself, the rows are taken with their
    padding behind them, and compared with themselves alone: positions are equal then, and what is left is a leak.
    """
    align = subject.align(rows if len(rows) == run.inputs[0].shape[0] else None)
    first = find_first_difference(subject.base, subject.flow, run, align, subject.allowed)
    if first is None or not is_timestepwise(subject, first[0]):
        return probe
    model = adapt_to_any_length(subject)
    moved = tuple(_behind(given, rows) for given in subject.inputs)
    behind = record_run(model, pack_arguments(model, moved))
    if behind.error is not None:
        return probe
    seen = ProbeContext(model, moved, trace_recording(behind, moved), subject.labels[rows], model, subject.floors)
    alone = run_rows_alone(seen)
    leaking = (
        [] if isinstance(alone, str) else [make_probe("alone", seen, each.run, seen.align(each.rows)) for each in alone]
    )
    worst = max((each for each in leaking if each.leaks), key=lambda each: each.max_abs_change or 0.0, default=None)
    if worst is None:
        return dataclasses.replace(probe, leaks=False, why=_POSITIONS)
    return dataclasses.replace(worst, name=probe.name, first_call=_same_call(subject, seen, worst.first_call))


def _same_call(subject: ProbeContext, seen: ProbeContext, path: str | None) -> str | None:
    """Return the path in ``subject`` of a call that is called ``path`` in another run of the same model."""
    index = next((index for index, name in seen.run.names.items() if name == path), None)
    same = (entry for entry in subject.base.entries if entry.index == index)
    entry = next(same, None)
    return path if entry is None else find_path(subject, entry)


def _behind(given: ModelInput, rows: NDArray[np.intp]) -> ModelInput:
    """Return rows of an input with the padding in front of them put behind them."""
    chosen = select_rows(given, rows)
    if chosen.valid is None:
        return chosen
    shift = chosen.valid.argmax(axis=1)
    source = (np.arange(chosen.valid.shape[1]) + shift[:, None]) % chosen.valid.shape[1]
    line = np.arange(len(source))[:, None]
    return dataclasses.replace(chosen, values=chosen.values[line, source], valid=chosen.valid[line, source])


def _groups(subject: ProbeContext) -> list[tuple[NDArray[np.intp], list[slice | None]]]:
    """Return rows of equal length in every input, with the columns that are left of each input; the most different."""
    spans = [_spans(given) for given in subject.inputs]
    by_span: dict[tuple[Any, ...], list[int]] = {}
    for row in np.flatnonzero(subject.counted):
        key = tuple(None if span is None else (int(span[0][row]), int(span[1][row])) for span in spans)
        whole = all(
            part is None or part == (0, given.values.shape[1]) for part, given in zip(key, subject.inputs, strict=True)
        )
        if not whole:
            by_span.setdefault(key, []).append(int(row))
    keys = sorted(by_span)
    if len(keys) > MOST_GROUPS:
        keys = [keys[at] for at in np.linspace(0, len(keys) - 1, MOST_GROUPS).astype(int)]
    return [(np.array(by_span[key]), [None if part is None else slice(*part) for part in key]) for key in keys]


def _spans(given: ModelInput) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Return the first valid timestep of each row, and the one behind the last."""
    if given.valid is None:
        return None
    return given.valid.argmax(axis=1), given.valid.shape[1] - given.valid[:, ::-1].argmax(axis=1)


def adapt_to_any_length(subject: ProbeContext) -> Any | None:
    """Return the model, or a copy with the same weights, for other lengths than that of the data."""
    tensors = getattr(subject.model, "inputs", None) or ()
    fixed = [
        tensor
        for tensor, given in zip(tensors, subject.inputs, strict=False)
        if given.valid is not None and tensor.shape[1] is not None
    ]
    if not fixed:
        return subject.model
    if subject.free is None:
        copy = rebuild_with_free_length(subject.model)
        if copy is not None and _equal(subject, copy):
            subject.free = copy
    return subject.free


def _equal(subject: ProbeContext, copy: Any) -> bool:
    """Return whether a copy gives what the model gives."""
    run = record_run(copy, pack_arguments(copy, subject.inputs))
    apart = None if run.error else compare_outputs(subject.base, subject.flow, run, subject.align(), subject.allowed)
    return apart is not None and not apart.counts
