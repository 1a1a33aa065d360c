"""All that a model shows with its data, for rules to judge."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import said
from maskcli.inputs.arguments import arguments, rows_of
from maskcli.losses.per_output import seen_losses, seen_metrics
from maskcli.probes.calls import failure_of, mask_sources, misused_masks, mixing, taken_timestep
from maskcli.probes.context import Subject
from maskcli.probes.empty_rows import empty_rows
from maskcli.probes.leak import probe
from maskcli.probes.saving import saving
from maskcli.records.evidence import ModelEvidence
from maskcli.records.model import ModelInput
from maskcli.trace.embeddings import lookups, unknown_ids
from maskcli.trace.mask_flow import flow_of
from maskcli.trace.outputs import chosen_rows, seen_outputs
from maskcli.trace.recorder import Watched, watch
from maskcli.trace.run import Run, traced


def examine(
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
    chosen = chosen_rows(inputs)
    some = tuple(rows_of(given, chosen) for given in inputs)
    padded = sum(int((~given.valid).sum()) for given in some if given.valid is not None)
    rows = (len(chosen), len(inputs[0].values))
    watched = watch(model, arguments(model, some))
    if watched.error is not None:
        seen = tuple(lookups(watched, flow_of(watched, some), some))
        failed = ModelEvidence(name, type(model).__name__, padded, rows, lookups=seen, notes=tuple(notes))
        return _explained(failed, watched, some)
    subject = Subject(model, some, traced(watched, some), chosen)
    aims = None if targets is None else np.asarray(targets)[chosen]
    with warnings.catch_warnings(action="ignore"):
        leak = probe(subject)
        evidence = ModelEvidence(
            name=name,
            type=type(model).__name__,
            padded_timesteps=padded,
            rows=rows,
            sources=mask_sources(subject.run, some, chosen),
            leak=leak,
            taken=taken_timestep(subject, leak.first_call),
            misused=tuple(misused_masks(subject)),
            mixing=tuple(mixing(subject, leak.first_call)),
            empty=empty_rows(subject),
            losses=tuple(seen_losses(subject, loss, aims)) if loss is not None else (),
            metrics=tuple(seen_metrics(subject, metrics, aims)) if metrics else (),
            saving=saving(model, subject.run, some, reload) if reload is not None else None,
            lookups=tuple(lookups(watched, subject.flow, some)),
            notes=tuple(notes),
        )
    return _with_trace(evidence, subject.run, some)


def _explained(failed: ModelEvidence, watched: Watched, inputs: Sequence[ModelInput]) -> ModelEvidence:
    """Return the evidence with why the model raised; raise that again where it has nothing to do with padding."""
    assert watched.error is not None  # noqa: S101 - asked before
    failure = failure_of(watched)
    if failure is not None:
        return dataclasses.replace(failed, failure=failure)
    if unknown_ids(failed.lookups, inputs):
        return dataclasses.replace(failed, not_run=said(watched.error))
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
        evidence, trace=run.calls, outputs=tuple(seen_outputs(run)), notes=(*evidence.notes, *why)
    )
