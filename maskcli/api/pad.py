"""Pad sequences in memory."""

from __future__ import annotations

from maskcli.records.sequences import Layout, PaddedBatch, Side
from maskcli.sequences.fast import pad_lists
from maskcli.sequences.padding import check_layout, pad_ragged
from maskcli.sequences.ragged import as_ragged


def pad(
    sequences: object,
    *,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
) -> PaddedBatch:
    """Pad and truncate sequences to one length.

    The tokens equal those of ``keras.utils.pad_sequences`` with the same arguments (whose defaults are ``pre``).

    Args:
        sequences: lists of integers, an integer array or tensor ``(n_sequences, timesteps)``, ``RaggedSequences``, an
            Arrow array of lists (or what offers one, such as a Polars series), or a ``tf.RaggedTensor``.
        maxlen: timesteps of the result; None takes the longest sequence.
        padding: ``pre`` puts padding before a short sequence, ``post`` behind it.
        truncating: ``pre`` cuts a long sequence at its start, ``post`` at its end.
        value: what padding is made of.
        dtype: an integer dtype of NumPy.

    Returns:
        Tokens ``(n_sequences, maxlen)``, the mask of the same shape, and the lengths ``(n_sequences,)`` before
        truncation.

    Raises:
        UsageError: for options that no batch can have, such as ``maxlen=0``.
        InputError: for no sequences, only empty ones without ``maxlen``, a value that is not an integer, or one
            that ``dtype`` cannot hold.
    """
    layout = Layout(padding, truncating, maxlen, value, dtype)
    quick = pad_lists(sequences, check_layout(layout))
    return quick if quick is not None else pad_ragged(as_ragged(sequences), layout)
