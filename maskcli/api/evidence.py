"""All that a model shows with its data, for rules to judge."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.losses.per_output import examine_losses, examine_metrics
from maskcli.probes.calls import find_failure, find_mask_sources, find_misused_masks, find_mixing, find_taken_timestep
from maskcli.probes.context import ProbeContext
from maskcli.probes.empty_rows import examine_empty_rows
from maskcli.probes.leak import probe_leak
from maskcli.probes.saving import probe_saving
from maskcli.records.evidence import ModelEvidence
from maskcli.records.inputs import ModelInput
from maskcli.trace.embeddings import find_lookups, has_unknown_ids
from maskcli.trace.mask_flow import follow_masks
from maskcli.trace.outputs import choose_rows, collect_outputs
from maskcli.trace.recorder import Recording, record_run
from maskcli.trace.run import Run, trace_recording


def collect_evidence(
    model: Any,
    inputs: Sequence[ModelInput],
    *,
    name: str,
    targets: NDArray[Any] | None = None,
    loss: Any = None,
    metrics: Any = None,
    reload: Callable[[Any], Any] | None = None,
    notes: Sequence[str] = (),
) -> ModelEvidence:
    """Run ``model`` on its data in every way that shows what it does with padding; it is left as it was.

    Args:
        model: a Keras model.
        inputs: all rows of the data; the probes run on some of them.
        name: of the model, as the user named it.
        targets: for the loss and the metrics, with a row for each row of the data.
        loss: what it is compiled with, or None.
        metrics: what it is compiled with, or None.
        reload: saves a model and loads it again; None leaves that out.
        notes: what is already known not to be seen.

    Raises:
        RaisedInCall: with whatever the model raises, unless a mask or an id makes it raise.
    """
    chosen = choose_rows(inputs)
    some = tuple(select_rows(given, chosen) for given in inputs)
    padded = sum(int((~given.valid).sum()) for given in some if given.valid is not None)
    rows = (len(chosen), len(inputs[0].values))
    watched = record_run(model, pack_arguments(model, some))
    if watched.error is not None:
        seen = tuple(find_lookups(watched, follow_masks(watched, some), some))
        failed = ModelEvidence(name, type(model).__name__, padded, rows, lookups=seen, notes=tuple(notes))
        return _explained(failed, watched, some)
    subject = ProbeContext(model, some, trace_recording(watched, some), chosen)
    aims = None if targets is None else np.asarray(targets)[chosen]
    with warnings.catch_warnings(action="ignore"):
        leak = probe_leak(subject)
        evidence = ModelEvidence(
            name=name,
            type=type(model).__name__,
            padded_timesteps=padded,
            rows=rows,
            sources=find_mask_sources(subject.run, some, chosen),
            leak=leak,
            taken=find_taken_timestep(subject, leak.first_call),
            misused=tuple(find_misused_masks(subject)),
            mixing=tuple(find_mixing(subject, leak.first_call)),
            empty=examine_empty_rows(subject),
            losses=tuple(examine_losses(subject, loss, aims)) if loss is not None else (),
            metrics=tuple(examine_metrics(subject, metrics, aims)) if metrics else (),
            saving=probe_saving(model, subject.run, some, reload) if reload is not None else None,
            lookups=tuple(find_lookups(watched, subject.flow, some)),
            notes=tuple(notes),
        )
    return _with_trace(evidence, subject.run, some)


def _explained(failed: ModelEvidence, watched: Recording, inputs: Sequence[ModelInput]) -> ModelEvidence:
    """Return the evidence with why the model raised; raise that again where it has nothing to do with padding."""
    assert watched.error is not None  # noqa: S101 - asked before
    failure = find_failure(watched)
    if failure is not None:
        return dataclasses.replace(failed, failure=failure)
    if has_unknown_ids(failed.lookups, inputs):
        return dataclasses.replace(failed, not_run=summarize_error(watched.error))
    raise watched.raised()


def _not_probed(inputs: Sequence[ModelInput]) -> Iterator[str]:
    """Yield what the probes leave alone: padding inside timesteps, as of words in sentences."""
    for given in inputs:
        if given.kind == "features" and given.values.dtype.kind in "iu":
            yield f"{given.name}: padding inside its timesteps, such as of words in sentences, is not probed."


def _with_trace(evidence: ModelEvidence, run: Run, inputs: Sequence[ModelInput]) -> ModelEvidence:
    """Return the evidence with the calls, among which the probes may have asked to show more."""
    why = (*(loss.why for loss in evidence.losses if loss.why is not None), *_not_probed(inputs))
    return dataclasses.replace(
        evidence, trace=run.calls, outputs=tuple(collect_outputs(run)), notes=(*evidence.notes, *why)
    )
