"""Check whether masks survive saving and loading."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from maskcli.errors import summarize_error
from maskcli.records.arrays import Bools
from maskcli.records.evidence import SavingResult
from maskcli.trace.recorder import get_mask
from maskcli.trace.run import ModelRun, Run, list_output_tensors

LARGEST = 2**30
"""Bytes of weights up to which a model is saved for this check."""


def probe_saving(run: ModelRun, reload: Callable[[Any], Any]) -> SavingResult:
    """Save a model, load it with ``reload`` and compare the masks of every call and output."""
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


def _compare_masks(before: Run, after: Run) -> SavingResult:
    # Calls that compute a mask disappear from the graph of a loaded model if no layer receives that mask any more.
    old_calls, new_calls = (
        [call for call in run.calls if not call.code and not call.computes_mask] for run in (before, after)
    )
    if [call.type for call in old_calls] == [call.type for call in new_calls]:
        for old, new in zip(old_calls, new_calls, strict=True):
            if not _are_equal(old.mask_out, new.mask_out):
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
