"""Find the inputs that the data lacks and that are masks, and their inputs, from runs on made-up values."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from maskcli.inputs.columns import resolve_dtype
from maskcli.inputs.roles import MASK_NAMES, InputRoles, is_auxiliary_name
from maskcli.inputs.tables import find_leading_inputs, is_mask_input
from maskcli.inputs.validity import FindRoles
from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec, ModelInput

ROWS, TIMESTEPS = 2, 4
"""Sizes of axes that the model leaves open."""
MOST_WIDTHS = 3
"""Sizes of the time axis that are tried, where inputs of a model have different ones."""


def examine_missing(specs: Sequence[InputSpec], missing: Collection[str], find_roles: FindRoles) -> InputRoles:
    """Return the masks among the inputs ``missing`` in the data, with the inputs that each of them masks.

    It does not depend on the data. Where a single input is not a mask by its name, there is nothing to decide.
    """
    names = {spec.name for spec in specs if spec.name in missing and _may_be_mask(spec)}
    by_name = {spec.name for spec in specs if is_mask_input(spec)}
    if not names or (names <= by_name and len(find_leading_inputs(specs)) == 1):
        return InputRoles()
    best = InputRoles()
    for timesteps in _list_widths(specs):
        roles = find_roles(tuple(_make_trial(spec, spec.name in names | by_name, timesteps) for spec in specs))
        # An Embedding looks up ids, also where ``ids != 0`` is the mask of other inputs.
        masks = {name: masked for name, masked in roles.masks.items() if name in names and name not in roles.input_dims}
        if len(masks) > len(best.masks):
            best = InputRoles(masks=masks, input_dims=roles.input_dims)
        if masks and names & by_name <= masks.keys():
            break
    return best


def _may_be_mask(spec: InputSpec) -> bool:
    """Return whether an input may be ``(batch, timesteps)`` of 0 and 1; one of floats only by its name."""
    if len(spec.shape) != 2 or is_auxiliary_name(spec.name):
        return False
    return not spec.dtype.startswith(("float", "bfloat")) or MASK_NAMES.search(spec.name.lower()) is not None


def _list_widths(specs: Sequence[InputSpec]) -> list[int]:
    """Return sizes of the time axis for inputs that leave it open: those of other inputs, if any, longest first."""
    widths = [spec.shape[1] for spec in specs if len(spec.shape) > 1 and spec.shape[1] is not None]
    return sorted(set(widths), reverse=True)[:MOST_WIDTHS] or [TIMESTEPS]


def _make_trial(spec: InputSpec, has_flags: bool, timesteps: int) -> ModelInput:
    """Return an input of made-up values: flags that are 0 at the last timestep, or values that cannot be flags."""
    batch, *axes = spec.shape
    sizes = (batch or ROWS, *(size or (TIMESTEPS if axis else timesteps) for axis, size in enumerate(axes)))
    dtype = resolve_dtype(spec) or np.dtype("float32")
    valid = np.ones(sizes[:2], np.bool_) if axes else None
    if has_flags:
        values: Array = np.ones(sizes, dtype)
        values[:, -1] = sizes[1] < 2
        return ModelInput(spec.name, values, valid, "mask")
    if dtype.kind in "iub":
        return ModelInput(spec.name, np.zeros(sizes, dtype), valid, "ids")
    return ModelInput(spec.name, np.full(sizes, 0.5, dtype), valid, "features")
