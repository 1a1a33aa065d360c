"""Check whether masks survive saving and loading."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from maskcli.errors import summarize_error
from maskcli.records.arrays import Bools
from maskcli.records.evidence import SavingResult
from maskcli.trace.recorder import CallRecord, get_mask, has_own_code
from maskcli.trace.run import ModelRun, Run, list_output_tensors

LARGEST = 2**28
"""Bytes of weights up to which a model is saved for this check."""


def probe_saving(run: ModelRun, reload: Callable[[Any], Any]) -> SavingResult | None:
    """Save a model, load it with ``reload`` and compare the masks of calls and outputs; None if none can be lost."""
    if not can_lose_masks(run):
        return None
    if sum(int(np.prod(weight.shape)) for weight in run.model.weights) * 4 > LARGEST:
        return SavingResult(None, why="its weights are too large to be saved only for this check")
    try:
        loaded = reload(run.model)
    except Exception as error:
        first = summarize_error(error).partition(". ")[0]
        return SavingResult(
            None, why=f"saving and loading it raises {type(error).__name__}: {textwrap.shorten(first, 120)}"
        )
    again = ModelRun(loaded, run.inputs)
    if again.recording.error is not None:
        return SavingResult(None, why=f"after loading, it raises {summarize_error(again.recording.error)}")
    return _compare_masks(run.trace, again.trace)


def can_lose_masks(run: ModelRun) -> bool:
    """Return whether a loaded copy of a model may treat masks in another way.

    It does not where only layers of Keras have masks, as their configuration describes them, and where every call
    receives the masks that its inputs carry: then the model is built again like the first time.
    """
    entries = run.recording.entries
    if all(mask is None for entry in entries for mask in (*entry.carried, *entry.masks_out)):
        return False
    return any(map(_receives_other_masks, entries)) or any(map(_has_unsaved_code, run.model._flatten_layers()))


def _receives_other_masks(entry: CallRecord) -> bool:
    """Return whether the masks that reach a call are not those that its inputs carry."""
    if not entry.accepts:
        return False
    received = [mask for masks in entry.mask_values.values() for mask in masks if mask is not None]
    carried = [mask for mask in entry.carried if mask is not None]
    is_carried = [any(np.array_equal(mask, other) for other in carried) for mask in received]
    return not all(is_carried) or (bool(carried) and not received)


def _has_unsaved_code(layer: Any) -> bool:
    """Return whether a layer may treat masks in a way that its configuration does not describe."""
    import keras

    if type(layer) in (keras.Sequential, keras.src.models.Functional):
        return "compute_mask" in vars(layer)
    if has_own_code(layer) or isinstance(layer, keras.layers.Lambda) or "compute_mask" in vars(layer):
        return True
    try:
        loaded = type(layer).from_config(layer.get_config())
    except Exception:
        return True
    return bool(loaded.supports_masking != layer.supports_masking)


def _compare_masks(before: Run, after: Run) -> SavingResult:
    # Calls that compute a mask disappear from the graph of a loaded model if no layer receives that mask any more.
    old_calls, new_calls = (
        [call for call in run.calls if not call.code and not call.computes_mask] for run in (before, after)
    )
    if [call.type for call in old_calls] == [call.type for call in new_calls]:
        pairs = list(zip(old_calls, new_calls, strict=True))
        # A mask may have no effect: a graph that was saved passes masks of its own to the layers that take one.
        reaches = [not _are_equal(old.mask_in, new.mask_in) for old, new in pairs]
        for place, (old, new) in enumerate(pairs):
            if not _are_equal(old.mask_out, new.mask_out) and any(reaches[place:]):
                return SavingResult(False, old.call, _describe_mask(new.mask_out))
    outputs = zip(list_output_tensors(before.output), list_output_tensors(after.output), strict=False)
    for (_, old), (_, new) in outputs:
        if not _are_equal(get_mask(old), get_mask(new)):
            return SavingResult(False, None, _describe_mask(get_mask(new)))
    return SavingResult(True)


def _are_equal(old: Bools | None, new: Bools | None) -> bool:
    if old is None or new is None:
        return old is new
    return np.array_equal(old, new)


def _describe_mask(mask: Bools | None) -> str:
    return "no mask" if mask is None else "another mask"
