"""Compare outputs timestep by timestep: with the output before, without the mask, and between mask sources."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Bools, Floats
from maskcli.records.trace import OutputValues, SourceResult, Unmasked
from maskcli.tolerance import one_ulp


def make_output_values(
    call: str, values: Floats, mask: Bools | None, valid: Bools | None, name: str = "output"
) -> OutputValues:
    """Return the outputs of ``call``, with a mark at masked timesteps that repeat the output before."""
    repeats = None
    if valid is not None:
        fits = mask is not None and mask.shape == valid.shape
        repeats = find_repeats(values.reshape(*valid.shape, -1), mask if fits else None)
    return OutputValues(call, values, mask, repeats, name, valid)


def find_repeats(values: Floats, mask: Bools | None) -> Bools:
    """Return ``(batch, timesteps)``: masked outputs that repeat the last unmasked output exactly.

    Masked outputs that only equal each other do not count: a Dense layer returns equal vectors for equal padding.
    """
    repeats = np.zeros(values.shape[:2], bool)
    if mask is not None:
        equal = (values[:, 1:] == values[:, :-1]).all(axis=-1)
        for timestep in range(1, values.shape[1]):
            carried = mask[:, timestep - 1] | repeats[:, timestep - 1]
            repeats[:, timestep] = ~mask[:, timestep] & equal[:, timestep - 1] & carried
    return repeats


def compare_unmasked(output: OutputValues, unmasked: Floats) -> Unmasked:
    """Return the changes of an output when the same weights run without a mask; both have the same shape."""
    valid = output.valid
    places = output.values.shape[:1] if valid is None else valid.shape
    with np.errstate(invalid="ignore"):  # Two infinities.
        difference = np.abs(output.values.astype(np.float64) - unmasked.astype(np.float64))
    change = difference.astype(output.values.dtype if output.values.dtype.kind == "f" else np.float64)
    change = change.reshape(*places, -1).max(axis=-1)
    if valid is None:
        return Unmasked(unmasked, change, float(change.max()), None)
    padding = change[~valid]
    return Unmasked(
        values=unmasked,
        change=change,
        max_abs_change_valid=float(change[valid].max(initial=0.0)),
        max_abs_change_padding=float(padding.max()) if len(padding) else None,
    )


def compare_source(mask_source: str, mask: Bools | None, values: Floats, first: SourceResult | None) -> SourceResult:
    """Return the result of one mask source, compared with the ``first`` one."""
    if first is None:
        return SourceResult(mask_source, mask, values, 0, 0.0)
    if mask is None or first.mask is None:
        differing = 0 if mask is first.mask else int(np.prod(values.shape[:2]))
    else:
        differing = int((mask != first.mask).sum())
    return SourceResult(mask_source, mask, values, differing, float(np.abs(values - first.values).max()))


def do_sources_agree(results: tuple[SourceResult, ...], timesteps: int) -> bool:
    """Return whether mask sources gave the same mask and, up to rounding, the same output.

    Rounding is bounded by one unit in the last place of the largest output for each timestep that a recurrent layer
    adds: ``ulp * timesteps * max(1, max|output|)``.
    """
    largest = max(float(np.abs(result.values).max(initial=1.0)) for result in results)
    tolerance = one_ulp(results[0].values.dtype.name) * timesteps * largest
    return all(not result.differing_timesteps and result.max_abs_difference <= tolerance for result in results)
