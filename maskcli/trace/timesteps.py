"""Outputs timestep by timestep, and how they move when the mask is taken away."""

from __future__ import annotations

import numpy as np

from maskcli.records.arrays import Bools, Floats
from maskcli.records.trace import OutputValues, SourceResult, Unmasked


def make_output_values(
    call: str, values: Floats, mask: Bools | None, valid: Bools | None, name: str = "output"
) -> OutputValues:
    """Return the outputs of ``call``, with the masked timesteps marked that repeat the one before."""
    repeats = None
    if valid is not None:
        fits = mask is not None and mask.shape == valid.shape
        repeats = find_repeats(values.reshape(*valid.shape, -1), mask if fits else None)
    return OutputValues(call, values, mask, repeats, name, valid)


def find_repeats(values: Floats, mask: Bools | None) -> Bools:
    """Return ``(batch, timesteps)``: masked outputs that carry the one before on, exactly.

    A run of masked timesteps must carry on the unmasked output that it follows. Two that are equal to each other alone
    do not count: a Dense layer makes the same of the same padding vector.
    """
    repeats = np.zeros(values.shape[:2], bool)
    if mask is not None:
        equal = (values[:, 1:] == values[:, :-1]).all(axis=-1)
        for timestep in range(1, values.shape[1]):
            carried = mask[:, timestep - 1] | repeats[:, timestep - 1]
            repeats[:, timestep] = ~mask[:, timestep] & equal[:, timestep - 1] & carried
    return repeats


def compare_unmasked(output: OutputValues, unmasked: Floats) -> Unmasked:
    """Return how far an output is from that of the same weights run without a mask, which has its shape."""
    valid = output.valid
    places = output.values.shape[:1] if valid is None else valid.shape
    with np.errstate(invalid="ignore"):  # Two infinities.
        apart = np.abs(output.values.astype(np.float64) - unmasked.astype(np.float64))
    change = apart.astype(output.values.dtype if output.values.dtype.kind == "f" else np.float64)
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
    """Return what one mask source gave, set against the ``first`` one."""
    if first is None:
        return SourceResult(mask_source, mask, values, 0, 0.0)
    if mask is None or first.mask is None:
        differing = 0 if mask is first.mask else int(np.prod(values.shape[:2]))
    else:
        differing = int((mask != first.mask).sum())
    return SourceResult(mask_source, mask, values, differing, float(np.abs(values - first.values).max()))


def do_sources_agree(results: tuple[SourceResult, ...], timesteps: int) -> bool:
    """Return whether mask sources gave one mask and, but for rounding, one output.

    Rounding is bounded by one unit in the last place of the largest output for each timestep that a recurrent layer
    adds on: ``eps * timesteps * max(1, max|output|)``.
    """
    largest = max(float(np.abs(result.values).max(initial=1.0)) for result in results)
    tolerance = float(np.finfo(results[0].values.dtype).eps) * timesteps * largest
    return all(not result.differing_timesteps and result.max_abs_difference <= tolerance for result in results)
