"""Pad rows with a vector, or several axes of numbers, at each timestep."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskcli.errors import InputError
from maskcli.inputs.columns import pad_rows
from maskcli.inputs.dataset import Dataset
from maskcli.records.arrays import Array
from maskcli.records.inputs import ModelInput, find_primary
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch


def list_feature_rows(dataset: Dataset, name: str | None) -> list[Array]:
    """Return the rows of the features in a dataset, ``(timesteps, ...)`` each, without marked and added padding.

    ``name`` is that of the field or array; None takes the only one.
    """
    chosen = find_primary([entry for entry in dataset.inputs if name in (None, entry.name)])
    if chosen is None or chosen.valid is None or chosen.kind != "features":
        raise InputError(
            expected="a vector of numbers at each timestep",
            received=", ".join(f"{entry.name} {entry.values.shape}" for entry in dataset.inputs),
            fix="Name the field or array with --field.",
        )
    return [values[valid] for values, valid in zip(chosen.values, _find_entries(chosen), strict=True)]


def _find_entries(features: ModelInput) -> Array:
    """Return which timesteps belong to a row; without a mask or lengths all do, whatever their numbers are."""
    assert features.valid is not None  # noqa: S101 - features have timesteps
    is_known = features.validity.source in ("given", "lengths")
    return features.valid if is_known else np.ones_like(features.valid)


def has_fractions(rows: Sequence[object]) -> bool:
    """Return whether nested rows hold floats; nested integers are more likely ids with a bracket too many."""
    arrays = (np.asarray(row) for row in rows)
    return any(row.size and row.dtype.kind == "f" for row in arrays)  # An empty row is of floats for NumPy.


def pad_features(rows: Sequence[Array], layout: Layout) -> PaddedBatch:
    """Return rows of features as a padded batch of float32, or of the dtype of the rows if that is smaller.

    Args:
        rows: ``(timesteps, ...)`` each.
        layout: its ``value`` may be any number.

    Raises:
        InputError: with the index of a row of another width.
    """
    floats = {row.dtype for row in rows if row.dtype.kind == "f"}
    dtype = np.dtype(np.float16) if floats == {np.dtype(np.float16)} else np.dtype(np.float32)
    values, mask, lengths, resolved = pad_rows([row.astype(dtype) for row in rows], layout)
    values[~mask] = layout.value
    resolved = dataclasses.replace(resolved, dtype=dtype.name)
    return PaddedBatch(values, mask, lengths, resolved, int(lengths.sum() - mask.sum()))
