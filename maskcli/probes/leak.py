"""Does padding leak? Four probes of the whole model, and one of each call.

Each probe changes the padding and nothing else, and compares the results that count: outputs at valid timesteps, and
pooled outputs. No single probe finds every leak. Other content does not change a mean over repeated states; more
columns do not change a maximum; a row without its padding cannot run where the length is fixed, unless a copy of the
model takes any length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.probes.compare import compare_outputs
from maskcli.probes.context import ProbeContext, ProbeResult, make_context, make_probe, name_first_calls, show_calls
from maskcli.probes.gradients import TapedRun, compute_padding_gradient, record_under_tape
from maskcli.probes.lengths import LengthProbes, adapt_to_any_length, learn_lengths, run_rows_alone
from maskcli.probes.local import probe_calls
from maskcli.probes.padding_sources import PaddingSources, find_padding_sources
from maskcli.probes.rounding import allow_one_ulp, estimate_rounding
from maskcli.records.leak import Leak, Probe
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.rerun import make_noise, replace_padding
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import get_ulp

NAMES = ("replace", "alone", "columns", "gradient")


@dataclasses.dataclass(frozen=True, eq=False)
class LeakResult:
    """The verdict on a leak, and the facts that further questions need.

    Attributes:
        leak: the verdict.
        context: the probed run, with all that the probes learned of it.
        replaced: the run with other values at padding; None if there is none.
    """

    leak: Leak
    context: ProbeContext
    replaced: Recording | None = None


def probe_leak(run: ModelRun, labels: NDArray[np.intp]) -> LeakResult:
    """Run all probes and return the verdict.

    Args:
        run: the run to probe.
        labels: ``(batch,)``, the rows of the data that it has.

    Raises:
        RaisedInCall: with the exception that the model raises.
    """
    context = make_context(run, labels)
    if not any((~model_input.valid).any() for model_input in context.with_timesteps if model_input.valid is not None):
        return LeakResult(_make_clean_leak(()), context)
    if not context.relevant.any():
        return _refuse(context, "no row has a valid timestep in every input")
    # A second, equal run shows whether the model is deterministic; under a tape, it also yields the gradient.
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    taped = None if isinstance(sources, str) else record_under_tape(run, sources)
    if not _is_deterministic(context, taped):
        return _refuse(
            context,
            "two runs on the same data differ: the model is random, or keeps a state that maskcli cannot restore",
        )
    free = adapt_to_any_length(context)
    alone = run_rows_alone(context, free)
    context = learn_lengths(context, () if isinstance(alone, str) else alone)
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    gradient = _probe_gradient(context, sources, taped)
    del taped  # The tape keeps every intermediate result of its run.
    tolerance = estimate_rounding(run, context.flow, context.align(), context.tolerance)
    context = dataclasses.replace(context, tolerance=tolerance)
    replace, replaced = _probe_replace(context, sources)
    lengths = LengthProbes(context, free, alone, clean=not (replace.probe.leaks or gradient.leaks))
    results = (replace, lengths.probe_alone(), lengths.probe_columns(), ProbeResult(gradient))
    context = show_calls(context, [call for result in results for call in result.calls])
    probes = name_first_calls(context, results)
    return LeakResult(_make_leak(context, probes), context, replaced)


def _refuse(context: ProbeContext, why: str) -> LeakResult:
    """Return the result of probes none of which can be trusted."""
    return LeakResult(_make_clean_leak(tuple(Probe(name, False, why=why) for name in NAMES)), context)


def _make_clean_leak(probes: tuple[Probe, ...]) -> Leak:
    return Leak(False, 0.0, None, None, None, probes, {})


def _make_leak(context: ProbeContext, probes: tuple[Probe, ...]) -> Leak:
    """Return the verdict of the probes; only if one leaks, each call is probed by itself."""
    leaking = [probe for probe in probes if probe.leaks]
    # A gradient is no change of an output, and so has no part in the largest change.
    changes = [probe.max_abs_change or 0.0 for probe in probes if probe.name != "gradient" and not probe.why]
    largest = max(changes, default=0.0)
    if not leaking:
        return Leak(False, largest, None, None, None, probes, {})
    entries = probe_calls(context)
    worst = max(
        (probe for probe in leaking if probe.name != "gradient"),
        key=lambda probe: probe.max_abs_change or 0.0,
        default=leaking[0],
    )
    return Leak(
        leaks=True,
        max_abs_change=largest,
        first_call=_find_first_call(leaking, entries),
        sample=worst.sample,
        timestep=worst.timestep,
        probes=probes,
        entries=entries,
        output=worst.output,
    )


def _find_first_call(leaking: Sequence[Probe], entries: dict[str, float]) -> str | None:
    first = next((probe.first_call for probe in leaking if probe.first_call is not None), None)
    return first or next(iter(entries), None)


def _is_deterministic(context: ProbeContext, taped: TapedRun | None) -> bool:
    """Return whether two runs on the same data agree; otherwise no probe can be trusted.

    A tape changes no result, so that the taped run is the second one, unless a tape breaks the model.
    """
    again = context.run.vary() if taped is None or taped.recording.error is not None else taped.recording
    if again.error is not None:
        return False
    worst = compare_outputs(context.base, context.flow, again, context.align(), context.tolerance)
    return worst is None or not worst.counts


def _probe_replace(context: ProbeContext, sources: PaddingSources | str) -> tuple[ProbeResult, Recording | None]:
    """Put other values at padding, after the embedding, under the same masks; return the probe and the run."""
    if isinstance(sources, str):
        return ProbeResult(Probe("replace", False, why=sources)), None
    rng = np.random.default_rng(0)

    def alter(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        if entry.index not in sources.calls:
            return None
        return [replace_padding(tensors[0], sources.calls[entry.index], rng), *tensors[1:]]

    inputs = tuple(
        dataclasses.replace(model_input, values=make_noise(model_input.values, ~model_input.valid, rng))
        if position in sources.inputs and model_input.valid is not None
        else model_input
        for position, model_input in enumerate(context.inputs)
    )
    replaced = context.run.vary(inputs, alter=alter)
    if replaced.error is not None:
        why = f"with other values at padding the model raises {summarize_error(replaced.error)}"
        return ProbeResult(Probe("replace", False, why=why)), None
    # Both runs sum the same numbers in the same order, so that a change needs no margin for rounding.
    tolerance = allow_one_ulp(context.base.ended)
    return make_probe("replace", context, replaced, context.align(), tolerance), replaced


def _probe_gradient(context: ProbeContext, sources: PaddingSources | str, taped: TapedRun | None) -> Probe:
    """Differentiate the outputs that count with respect to the padding after the embedding."""
    if isinstance(sources, str):
        return Probe("gradient", False, why=sources)
    assert taped is not None  # noqa: S101 - with sources there is a tape
    outputs = [tensor for _, tensor in list_output_tensors(context.base.output)]
    valids = [context.flow.valid.get(id(tensor)) for tensor in outputs]
    gradient = compute_padding_gradient(taped, context.run, sources, context.relevant, valids)
    if isinstance(gradient, str):
        return Probe("gradient", False, why=gradient)
    # Where padding has no effect, its derivative is zero, or the rounding of terms that cancel.
    tolerance = max(map(get_ulp, outputs)) * gradient.largest_valid
    return Probe(
        name="gradient",
        applicable=True,
        leaks=gradient.at_padding > tolerance,
        max_abs_change=gradient.at_padding,
        tolerance=tolerance,
        sample=int(context.labels[gradient.sample]),
        timestep=gradient.timestep,
    )
