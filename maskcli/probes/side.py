"""The results of one run, with the rounding that they may have, for a comparison with a run of another model.

Other than for a leak, all numbers count here, those at padding as well: two backends compute them of the same padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.probes.compare import measure_change, pair_calls, share_scales
from maskcli.probes.rounding import SAMPLES, bound_rounding, record_rounded
from maskcli.records.sides import SideCall, SideOutput, SideResult
from maskcli.records.trace import Call
from maskcli.tolerance import MONTE_CARLO_MARGIN
from maskcli.trace.outputs import collect_outputs
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import ModelRun, Run, list_output_tensors
from maskcli.trace.values import as_float64, get_dtype, is_float

Key = tuple[int, int]
"""The index of a call, and the position of one of its results; the outputs of the model belong to call 0."""
SETTINGS = ("unroll", "go_backwards", "zero_output_for_mask", "stateful", "return_sequences")
"""Options of recurrent layers that change how they treat a mask, in some backend."""


def collect_side(run: ModelRun) -> tuple[tuple[SideCall, ...], tuple[SideOutput, ...]]:
    """Return the calls of layers and operations, in the order of the data, and the outputs of a run.

    Operations in code outside of layers are left out, because each backend has others, and so are those that only
    compute a mask for a later call.

    Raises:
        RaisedInCall: with the exception that the model raises.
    """
    trace = run.trace
    tolerances = _measure_tolerances(run)
    makers = _find_makers(trace)
    calls = tuple(
        _make_call(entry, trace.calls_of[entry.index], makers[entry.index], tolerances)
        for entry in run.recording.ended
        if entry.index in makers and not trace.calls_of[entry.index].computes_mask
    )
    return calls, tuple(_make_outputs(trace, tolerances))


def _make_call(
    entry: CallRecord, call: Call, makers: tuple[str | None, ...], tolerances: dict[Key, NDArray[np.float64]]
) -> SideCall:
    results = [
        SideResult(_read_values(tensor), tolerances[entry.index, position])
        for position, tensor in enumerate(entry.outputs)
        if is_float(tensor) and not entry.calls
    ]
    inputs = {id(tensor) for tensor in entry.inputs}
    return SideCall(
        call=call.call,
        type=call.type,
        effect=call.effect,
        mask_in=call.mask_in,
        mask_out=call.mask_out,
        valid=call.valid,
        results=tuple(results),
        shapes=call.shapes_out,
        returns_input=any(id(tensor) in inputs for tensor in entry.outputs),
        input_makers=makers,
        settings=_read_settings(entry.operation),
        location=call.location,
    )


def _make_outputs(trace: Run, tolerances: dict[Key, NDArray[np.float64]]) -> Iterator[SideOutput]:
    pairs = zip(collect_outputs(trace), list_output_tensors(trace.output), strict=True)
    for position, (output, (_, tensor)) in enumerate(pairs):
        tolerance = tolerances.get((0, position), np.zeros(1))
        yield SideOutput(output.name, output.call, _read_values(tensor), tolerance, output.mask, output.valid)


def _read_values(tensor: Any) -> NDArray[Any]:
    """Return the values of a tensor; float16 and bfloat16 as float32, which contains them."""
    return as_float64(tensor).astype(np.float32) if _is_half(tensor) else as_array(tensor)


def _is_half(tensor: Any) -> bool:
    return get_dtype(tensor) in ("float16", "bfloat16")


def _find_makers(trace: Run) -> dict[int, tuple[str | None, ...]]:
    """Return for each shown call, for each of its inputs, the path of the call that returned this very tensor."""
    makers: dict[int, str] = {}
    results: dict[int, tuple[str | None, ...]] = {}
    for entry in trace.recording.ended:
        if entry.index in trace.calls_of and not entry.code:
            results[entry.index] = tuple(makers.get(id(tensor)) for tensor in entry.inputs)
            makers.update((id(tensor), trace.names[entry.index]) for tensor in entry.outputs)
    return results


def _read_settings(operation: Any) -> dict[str, bool]:
    """Return the options of a layer, or of those in a wrapper such as Bidirectional, that are switched on."""
    inner = (getattr(operation, name, None) for name in ("forward_layer", "backward_layer", "layer"))
    layers = [operation, *(layer for layer in inner if layer is not None)]
    names = [name for name in SETTINGS if any(getattr(layer, name, None) is True for layer in layers)]
    if getattr(operation, "_remat_mode", None) is not None:
        names.append("rematerialized")
    return dict.fromkeys(names, True)


# Rounding.


def _measure_tolerances(run: ModelRun) -> dict[Key, NDArray[np.float64]]:
    """Return how far rounding may move each feature of each float result, and of each output.

    The bound of ``bound_rounding``, and runs with random rounding where numbers cancel.
    """
    base = run.recording
    relative = bound_rounding(base.ended).relative
    tolerances = {
        key: relative[key[0]] * share_scales(_measure_size(tensor)) for key, tensor in _list_floats(base).items()
    }
    for sample in range(SAMPLES):
        rounded = record_rounded(run, sample)
        if rounded.error is not None:
            break
        for key, (old, new) in _pair_floats(base, rounded).items():
            floor = MONTE_CARLO_MARGIN.value * share_scales(_measure_size(old), _measure_error(old, new))
            tolerances[key] = np.maximum(tolerances[key], floor)
    return tolerances


def _list_floats(recording: Recording) -> dict[Key, Any]:
    """Return the float results of calls, and the float outputs."""
    return {key: old for key, (old, _) in _pair_floats(recording, recording).items()}


def _pair_floats(base: Recording, other: Recording) -> dict[Key, tuple[Any, Any]]:
    pairs: dict[Key, tuple[Any, Any]] = {}
    for old, new in pair_calls(base, other):
        for position, tensors in enumerate(zip(old.outputs, new.outputs, strict=False)):
            if old.index and is_float(tensors[0]):
                pairs[old.index, position] = tensors
    outputs = zip(list_output_tensors(base.output), list_output_tensors(other.output), strict=True)
    for position, ((_, before), (_, after)) in enumerate(outputs):
        if is_float(before):
            pairs[0, position] = before, after
    return pairs


def _measure_size(tensor: Any) -> NDArray[np.float64]:
    """Return the largest absolute value of each feature, of those that are finite."""
    values = np.abs(as_float64(tensor))
    return _maximize_features(np.where(np.isfinite(values), values, 0.0))


def _measure_error(old: Any, new: Any) -> NDArray[np.float64]:
    """Return the largest change of each feature; overflow, which would allow any change, does not count."""
    change = measure_change(as_float64(old), as_float64(new))
    return _maximize_features(np.where(np.isfinite(change), change, 0.0))


def _maximize_features(values: NDArray[np.float64]) -> NDArray[np.float64]:
    features = values.shape[-1] if values.ndim > 1 else 1
    largest: NDArray[np.float64] = values.reshape(-1, features).max(axis=0, initial=0.0)
    return largest
