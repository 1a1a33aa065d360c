"""Reports of earlier versions in today's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from maskcli.records.arrays import Array

LEAK_FIELDS = ("places", "effects")
"""Fields of a leak matrix that replace ``change`` of version 0.1, which had NaN where nothing was tried."""


def update_leaks(leaks: Any, read_array: Callable[[Any], Array | None]) -> tuple[Any, dict[str, Array]]:
    """Return packed leak matrices in today's form, and the arrays that they add, by name.

    Args:
        leaks: packed leak matrices; anything else is returned unchanged.
        read_array: returns the array of a packed reference; None if there is none.
    """
    arrays: dict[str, Array] = {}
    if not isinstance(leaks, list):
        return leaks, arrays
    updated = []
    for number, matrix in enumerate(leaks):
        change = read_array(matrix.get("change")) if isinstance(matrix, dict) and "effects" not in matrix else None
        if change is None or change.ndim != 3:
            updated.append(matrix)
            continue
        places = np.argwhere(~np.isnan(change).all(axis=1))
        values = (places, change[places[:, 0], :, places[:, 1]])
        names = {field: f"leaks.{number}.{field}" for field in LEAK_FIELDS}
        arrays.update(zip(names.values(), values, strict=True))
        updated.append(matrix | {"timesteps": change.shape[2], **{field: {"$array": names[field]} for field in names}})
    return updated, arrays
