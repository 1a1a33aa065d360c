"""Does a mask survive saving and loading?"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maskcli.errors import summarize_error
from maskcli.inputs.arguments import pack_arguments
from maskcli.records.arrays import Bools
from maskcli.records.evidence import SavingResult
from maskcli.records.inputs import ModelInput
from maskcli.trace.recorder import get_mask, record_run
from maskcli.trace.run import Run, list_output_tensors, trace_recording

LARGEST = 2**30
"""Bytes of weights up to which a model is saved to see what becomes of its masks."""


def probe_saving(model: Any, run: Run, inputs: Sequence[ModelInput], reload: Callable[[Any], Any]) -> SavingResult:
    """Save ``model``, load it with ``reload`` and compare the masks of every call and output with those of ``run``."""
    if sum(int(np.prod(weight.shape)) for weight in model.weights) * 4 > LARGEST:
        return SavingResult(None, why="its weights are too large to save them just for this")
    try:
        loaded = reload(model)
    except Exception as error:
        first = summarize_error(error).partition(". ")[0]
        return SavingResult(
            None, why=f"saving and loading it raises {type(error).__name__}: {textwrap.shorten(first, 120)}"
        )
    again = record_run(loaded, pack_arguments(loaded, inputs))
    if again.error is not None:
        return SavingResult(None, why=f"loaded again, it raises {summarize_error(again.error)}")
    return _compared(run, trace_recording(again, inputs))


def _compared(run: Run, again: Run) -> SavingResult:
    calls, others = ([call for call in each.calls if not call.code] for each in (run, again))
    if [call.type for call in calls] == [call.type for call in others]:
        for call, other in zip(calls, others, strict=True):
            if not _same(call.mask_out, other.mask_out):
                return SavingResult(False, call.call, _what(other.mask_out))
    outputs = zip(list_output_tensors(run.output), list_output_tensors(again.output), strict=False)
    for (_, one), (_, two) in outputs:
        if not _same(get_mask(one), get_mask(two)):
            return SavingResult(False, None, _what(get_mask(two)))
    return SavingResult(True)


def _same(one: Bools | None, two: Bools | None) -> bool:
    return (one is None and two is None) or (one is not None and two is not None and np.array_equal(one, two))


def _what(mask: Bools | None) -> str:
    return "no mask" if mask is None else "another mask"
