"""The probes that change how long rows are: each alone, and all with more padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import said
from maskcli.inputs.arguments import arguments, lengthened, rows_of, with_free_length
from maskcli.probes.compare import first_apart, outputs_apart, paired
from maskcli.probes.context import Subject, judged, path_of
from maskcli.probes.local import timestep_by_timestep
from maskcli.records.leak import Probe
from maskcli.records.model import ModelInput
from maskcli.trace.recorder import Watched, watch
from maskcli.trace.run import traced

COLUMNS = 4
"""Columns of padding that are added: a multiple of the strides that pooling commonly has."""

MOST_GROUPS = 8
"""Rows of as many different lengths are run alone."""


_FIXED = "the model takes one length only, and a copy of it with free length cannot be built"
_POSITIONS = "the results depend on where a timestep stands, as position embeddings do, and pre-padding moves it"


@dataclasses.dataclass(frozen=True, eq=False)
class Alone:
    """Rows run alone, trimmed to their length, with all others of that length."""

    rows: NDArray[np.intp]
    run: Watched


def rows_alone(subject: Subject) -> list[Alone] | str:
    """Run each row alone, or say why that cannot be; learn on the way how many timesteps each result has of it."""
    model = of_any_length(subject)
    if model is None:
        return _FIXED
    done, why = [], "no row has padding and a valid timestep"
    for rows, columns in _groups(subject):
        cut = tuple(
            rows_of(given, rows, span) if span else rows_of(given, rows)
            for given, span in zip(subject.inputs, columns, strict=True)
        )
        run = watch(model, arguments(model, cut))
        if run.error is not None:
            why = f"trimmed to their length, rows make the model raise {said(run.error)}"
        elif any(0 in tensor.shape for entry in run.ended for tensor in entry.outputs):
            why = "trimmed to their length, rows are shorter than a window, and nothing is left of them"
        else:
            done.append(Alone(rows, run))
    for each in done:
        _learn(subject, each)
    return done or why


def _learn(subject: Subject, alone: Alone) -> None:
    """Note how many timesteps a row has of itself in results of other lengths than the data, as of pooling."""
    given = {id(one.valid) for one in subject.timed}
    for one, two in paired(subject.base, alone.run):
        for tensor, other in zip(one.outputs, two.outputs, strict=False):
            valid = subject.flow.valid.get(id(tensor))
            if valid is None or id(valid) in given or len(other.shape) < 2 or other.shape[0] != len(alone.rows):
                continue
            timesteps, own = valid.shape[1], min(int(other.shape[1]), valid.shape[1])
            counts = np.arange(timesteps) < own if subject.side == "post" else np.arange(timesteps) >= timesteps - own
            learned = valid.copy()
            learned[alone.rows] = counts
            subject.flow.valid[id(tensor)] = learned


def probe_alone(subject: Subject, alone: list[Alone] | str, clean: bool) -> Probe:
    """Compare each row with itself alone; ``clean`` says that the content of padding changes nothing."""
    if isinstance(alone, str):
        return Probe("alone", False, why=alone)
    found = [judged("alone", subject, each.run, subject.align(each.rows)) for each in alone]
    for each, probe in zip(alone, found, strict=True):
        if probe.leaks and clean and subject.side == "pre":
            return _without_positions(subject, probe, each.run, each.rows)
    tried = [probe for probe in found if probe.applicable]
    if not tried:
        return found[0]
    return max(tried, key=lambda probe: (probe.leaks, (probe.max_abs_change or 0) / (probe.tolerance or 1)))


def probe_columns(subject: Subject, clean: bool) -> Probe:
    """Add more padding to every row."""
    model = of_any_length(subject)
    if model is None:
        return Probe("columns", False, why=_FIXED)
    longer = tuple(lengthened(given, COLUMNS, subject.side) for given in subject.inputs)
    run = watch(model, arguments(model, longer))
    if run.error is not None:
        return Probe("columns", False, why=f"with {COLUMNS} more timesteps the model raises {said(run.error)}")
    probe = judged("columns", subject, run, subject.align())
    if probe.leaks and clean and subject.side == "pre":
        return _without_positions(subject, probe, run, np.flatnonzero(subject.counted))
    return probe


def _without_positions(subject: Subject, probe: Probe, run: Watched, rows: NDArray[np.intp]) -> Probe:
    """Return a probe under pre-padding, which shifts positions, without what comes of them.

    Where the difference first appears at a call that treats each timestep by itself, the rows are taken with their
    padding behind them, and compared with themselves alone: positions are equal then, and what is left is a leak.
    """
    align = subject.align(rows if len(rows) == run.inputs[0].shape[0] else None)
    first = first_apart(subject.base, subject.flow, run, align, subject.allowed)
    if first is None or not timestep_by_timestep(subject, first[0]):
        return probe
    model = of_any_length(subject)
    moved = tuple(_behind(given, rows) for given in subject.inputs)
    behind = watch(model, arguments(model, moved))
    if behind.error is not None:
        return probe
    seen = Subject(model, moved, traced(behind, moved), subject.labels[rows], model, subject.floors)
    alone = rows_alone(seen)
    leaking = (
        [] if isinstance(alone, str) else [judged("alone", seen, each.run, seen.align(each.rows)) for each in alone]
    )
    worst = max((each for each in leaking if each.leaks), key=lambda each: each.max_abs_change or 0.0, default=None)
    if worst is None:
        return dataclasses.replace(probe, leaks=False, why=_POSITIONS)
    return dataclasses.replace(worst, name=probe.name, first_call=_same_call(subject, seen, worst.first_call))


def _same_call(subject: Subject, seen: Subject, path: str | None) -> str | None:
    """Return the path in ``subject`` of a call that is called ``path`` in another run of the same model."""
    index = next((index for index, name in seen.run.names.items() if name == path), None)
    same = (entry for entry in subject.base.entries if entry.index == index)
    entry = next(same, None)
    return path if entry is None else path_of(subject, entry)


def _behind(given: ModelInput, rows: NDArray[np.intp]) -> ModelInput:
    """Return rows of an input with the padding in front of them put behind them."""
    chosen = rows_of(given, rows)
    if chosen.valid is None:
        return chosen
    shift = chosen.valid.argmax(axis=1)
    source = (np.arange(chosen.valid.shape[1]) + shift[:, None]) % chosen.valid.shape[1]
    line = np.arange(len(source))[:, None]
    return dataclasses.replace(chosen, values=chosen.values[line, source], valid=chosen.valid[line, source])


def _groups(subject: Subject) -> list[tuple[NDArray[np.intp], list[slice | None]]]:
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


def of_any_length(subject: Subject) -> Any | None:
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
        copy = with_free_length(subject.model)
        if copy is not None and _equal(subject, copy):
            subject.free = copy
    return subject.free


def _equal(subject: Subject, copy: Any) -> bool:
    """Return whether a copy gives what the model gives."""
    run = watch(copy, arguments(copy, subject.inputs))
    apart = None if run.error else outputs_apart(subject.base, subject.flow, run, subject.align(), subject.allowed)
    return apart is not None and not apart.counts
