"""Does the model compute the same as a compiled function, which ``fit`` and ``predict`` run?

An eager run shows every mask. A compiled function is traced with other tensors, and code may treat these differently:
on JAX, an array that an operation returns unchanged keeps its mask, and the tensor that stands for it does not.
"""

from __future__ import annotations

import dataclasses

from maskcli.backends.choice import get_backend
from maskcli.inputs.arguments import pack_arguments
from maskcli.probes.compare import compare_outputs
from maskcli.probes.context import ProbeContext
from maskcli.records.evidence import CompiledDifference
from maskcli.records.leak import Probe
from maskcli.trace.compiled import describe_failure, find_unequal_mask, run_compiled
from maskcli.trace.recorder import Recording, is_of_keras

ONLY_KERAS = "Keras's own layers run the same operations eagerly and compiled"
RUNS_EAGERLY = "on {title}, fit and predict run a model eagerly unless it is compiled with jit_compile=True"


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledResult:
    """The answer of the probe.

    Attributes:
        difference: the result that differs most; None if none does.
        max_abs_change: the largest difference; None if the probe could not run.
        why: the reason why the probe could not run.
        fails: whether the reason is an error of the model.
    """

    difference: CompiledDifference | None
    max_abs_change: float | None = None
    why: str | None = None
    fails: bool = False


def probe_compiled(context: ProbeContext, also_keras: bool = False) -> CompiledResult:
    """Run the model once more as a compiled function, and compare its results at valid timesteps.

    Args:
        context: the run to compare with.
        also_keras: whether a model of Keras's own layers is compiled as well, where the backend needs no proof.
    """
    backend = get_backend()
    if not backend.compiles_steps and not getattr(context.run.model, "jit_compile", False):
        return CompiledResult(None, why=RUNS_EAGERLY.format(title=backend.title))
    if not also_keras and not backend.is_stateless and not _has_code(context.base):
        return CompiledResult(None, why=ONLY_KERAS)
    arguments = pack_arguments(context.run.model, context.inputs)
    compiled = run_compiled(context.run.model, arguments)
    if compiled.error is not None:
        return CompiledResult(None, why=describe_failure(compiled), fails=True)
    worst = compare_outputs(context.base, context.flow, compiled, context.align(), context.tolerance)
    if worst is None:
        return CompiledResult(None, why="no output has a result for each row")
    if not worst.counts:
        return CompiledResult(None, worst.change)
    if _is_random(context):
        return CompiledResult(None, why="two runs on the same data differ")
    path = find_unequal_mask(context.run.model, arguments)
    call = next((call for call in context.trace.calls if call.call == path), None)
    difference = CompiledDifference(
        max_abs_change=worst.change,
        tolerance=worst.tolerance,
        sample=int(context.labels[worst.sample]),
        timestep=worst.timestep,
        output=worst.output,
        first_call=None if call is None else call.call,
        has_mask=call is not None and any(mask is not None for mask in (*call.masks_in, call.mask_in)),
    )
    return CompiledResult(difference, worst.change)


def _is_random(context: ProbeContext) -> bool:
    """Return whether a second eager run has other results as well, as a model that samples has."""
    again = context.run.vary()
    worst = None
    if again.error is None:
        worst = compare_outputs(context.base, context.flow, again, context.align(), context.tolerance)
    return worst is None or worst.counts


def _has_code(recording: Recording) -> bool:
    """Return whether a model runs code that is not Keras's."""
    named = (entry for entry in recording.entries if not entry.code)
    return any(not is_of_keras(type(entry.operation)) or entry.type == "Lambda" for entry in named)


def make_compiled_probe(result: CompiledResult) -> Probe:
    """Return the probe ``compiled`` for the list of probes."""
    difference = result.difference
    if result.why is not None:
        return Probe("compiled", False, why=result.why)
    if difference is None:
        return Probe("compiled", True, max_abs_change=result.max_abs_change)
    return Probe(
        name="compiled",
        applicable=True,
        leaks=True,
        max_abs_change=difference.max_abs_change,
        tolerance=difference.tolerance,
        first_call=difference.first_call,
        sample=difference.sample,
        timestep=difference.timestep,
    )
