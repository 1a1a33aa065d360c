"""Does padding leak? Four ways to try it on the whole model, and one on each call.

Each probe changes the padding and nothing else, and compares what counts: outputs at valid timesteps, and pooled
outputs. No single one finds every leak. Other content says nothing of a mean over repeated states; more columns nothing
of a maximum; a row alone cannot be tried where the length is fixed, unless a copy of the model takes any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskcli.errors import summarize_error
from maskcli.inputs.arguments import pack_arguments
from maskcli.probes.compare import allow_one_ulp, compare_outputs
from maskcli.probes.context import ProbeContext, estimate_rounding, make_probe
from maskcli.probes.gradients import compute_padding_gradient
from maskcli.probes.lengths import probe_alone, probe_columns, run_rows_alone
from maskcli.probes.local import probe_calls
from maskcli.probes.padding_sources import PaddingSources, find_padding_sources
from maskcli.records.leak import Leak, Probe
from maskcli.trace.recorder import CallRecord, record_run
from maskcli.trace.rerun import make_noise, replace_padding
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import EPSILON, get_dtype


def probe_leak(subject: ProbeContext) -> Leak:
    """Try all probes and return the verdict."""
    if not any((~given.valid).any() for given in subject.timed if given.valid is not None):
        return Leak(False, 0.0, None, None, None, (), {})
    settled = _settled(subject) if subject.counted.any() else "no row has a valid timestep in every input"
    if settled is not None:
        names = ("replace", "alone", "columns", "gradient")
        return Leak(False, 0.0, None, None, None, tuple(Probe(name, False, why=settled) for name in names), {})
    alone = run_rows_alone(subject)
    estimate_rounding(subject)
    sources = find_padding_sources(subject.base, subject.flow, subject.inputs)
    other, gradient = _replace(subject, sources), _gradient(subject, sources)
    clean = not (other.leaks or gradient.leaks)
    probes = (other, probe_alone(subject, alone, clean), probe_columns(subject, clean), gradient)
    leaking = [each for each in probes if each.leaks]
    entries = probe_calls(subject) if leaking else {}
    worst = max(
        (each for each in leaking if each.name != "gradient"),
        key=lambda each: each.max_abs_change or 0.0,
        default=leaking[0] if leaking else None,
    )
    return Leak(
        leaks=bool(leaking),
        max_abs_change=max(
            (each.max_abs_change or 0.0 for each in probes if each.name != "gradient" and not each.why), default=0.0
        ),
        first_call=_first_call(leaking, entries),
        sample=worst.sample if worst else None,
        timestep=worst.timestep if worst else None,
        probes=probes,
        entries=entries,
        output=worst.output if worst else None,
    )


def _first_call(leaking: Sequence[Probe], entries: dict[str, float]) -> str | None:
    named = next((each.first_call for each in leaking if each.first_call is not None), None)
    return named or next(iter(entries), None)


def _settled(subject: ProbeContext) -> str | None:
    """Return why no probe can be trusted: two equal runs differ."""
    again = record_run(subject.model, pack_arguments(subject.model, subject.inputs))
    apart = (
        None if again.error else compare_outputs(subject.base, subject.flow, again, subject.align(), subject.allowed)
    )
    if again.error is not None or (apart is not None and apart.counts):
        return "two runs on the same data differ: the model is random, or keeps a state that maskcli cannot put back"
    return None


def _replace(subject: ProbeContext, sources: PaddingSources | str) -> Probe:
    """Put other values where padding is, behind the embedding, under the same masks."""
    if isinstance(sources, str):
        return Probe("replace", False, why=sources)
    chance = np.random.default_rng(0)

    def alter(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        if entry.index not in sources.calls:
            return None
        return [replace_padding(tensor, sources.calls[entry.index], chance) for tensor in tensors[:1]] + tensors[1:]

    inputs = tuple(
        dataclasses.replace(given, values=make_noise(given.values, ~given.valid, chance))
        if position in sources.inputs and given.valid is not None
        else given
        for position, given in enumerate(subject.inputs)
    )
    other = record_run(subject.model, pack_arguments(subject.model, inputs), alter=alter)
    if other.error is not None:
        return Probe(
            "replace", False, why=f"with other values at padding the model raises {summarize_error(other.error)}"
        )
    subject.replaced = other
    return make_probe("replace", subject, other, subject.align(), allow_one_ulp(subject.base.ended))


def _gradient(subject: ProbeContext, sources: PaddingSources | str) -> Probe:
    """Differentiate the outputs that count by the padding behind the embedding."""
    if isinstance(sources, str):
        return Probe("gradient", False, why=sources)
    valids = [subject.flow.valid.get(id(tensor)) for _, tensor in list_output_tensors(subject.base.output)]
    found = compute_padding_gradient(subject.model, subject.inputs, sources, subject.counted, valids)
    if isinstance(found, str):
        return Probe("gradient", False, why=found)
    epsilon = max(EPSILON.get(get_dtype(tensor), 0.0) for _, tensor in list_output_tensors(subject.base.output))
    tolerance = epsilon * found.largest_valid
    return Probe(
        name="gradient",
        applicable=True,
        leaks=found.at_padding > tolerance,
        max_abs_change=found.at_padding,
        tolerance=tolerance,
        sample=int(subject.labels[found.sample]),
        timestep=found.timestep,
    )
