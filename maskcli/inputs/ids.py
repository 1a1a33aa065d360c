"""Check token ids for an Embedding, which takes ids from 0 to ``input_dim`` - 1."""

from __future__ import annotations

import numpy as np

from maskcli.errors import InputError, UsageError
from maskcli.records.sequences import RaggedSequences

LARGEST_GUESS = 10_000_000
"""A vocabulary larger than this counts as a mistake, unless ``input_dim`` is specified."""


def resolve_input_dim(ragged: RaggedSequences, padding_id: int, input_dim: int | None) -> int:
    """Check that an Embedding can look up every id, and return ``input_dim``, by default the largest id + 1.

    Raises:
        InputError: with the row of the first id that is negative, or not below ``input_dim``.
        UsageError: if it cannot look up the padding id.
    """
    largest = max(int(ragged.values.max(initial=0)), padding_id)
    limit = largest + 1 if input_dim is None else input_dim
    if padding_id < 0 or padding_id >= limit:
        raise UsageError(
            where="--value",
            expected=f"a padding id that an Embedding can look up, from 0 to {limit - 1}",
            received=str(padding_id),
            fix="Choose another --value, or a larger --input-dim.",
        )
    past = np.flatnonzero((ragged.values < 0) | (ragged.values >= limit))
    if len(past):
        row, position = ragged.place(int(past[0]))
        token = int(ragged[row][position])
        negative = "An Embedding has no negative ids."
        raise InputError(
            row=row,
            value=position,
            expected=f"an id from 0 to {limit - 1}",
            received=str(token),
            fix=negative if token < 0 else f"Use --input-dim {largest + 1}, the largest id + 1.",
        )
    if input_dim is None and largest > LARGEST_GUESS:
        row, position = ragged.place(int(ragged.values.argmax()))
        raise InputError(
            row=row,
            value=position,
            expected=f"a token id, below {LARGEST_GUESS}",
            received=str(largest),
            fix=f"If the id is correct, confirm it with --input-dim {largest + 1}.",
        )
    return limit
