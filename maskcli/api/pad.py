"""Pad sequences in memory."""

from __future__ import annotations

import dataclasses

from maskcli.api.keywords import take_keywords
from maskcli.errors import InputError
from maskcli.inputs.columns import make_row_array
from maskcli.inputs.dataset import read_nested_rows, select_sequences
from maskcli.inputs.features import has_fractions, pad_features
from maskcli.inputs.objects import split_data
from maskcli.inputs.tables import RawColumn
from maskcli.records.arrays import Array
from maskcli.records.layout import Layout
from maskcli.records.options import select_options
from maskcli.records.requests import PadRequest
from maskcli.records.sequences import PaddedBatch
from maskcli.sequences.fast import pad_lists
from maskcli.sequences.files import LoadedSequences
from maskcli.sequences.padding import check_layout, pad_ragged
from maskcli.sequences.ragged import as_ragged


@take_keywords(PadRequest)
def pad(request: PadRequest) -> PaddedBatch:
    """Pad and truncate sequences to one length.

    The tokens equal those of ``keras.utils.pad_sequences`` with the same arguments (whose defaults are ``pre``).

    Returns:
        Tokens ``(n_sequences, maxlen)``, the mask of the same shape, and the lengths ``(n_sequences,)`` before
        truncation.

    Raises:
        UsageError: for options that no batch can have, such as ``maxlen=0``.
        InputError: for an empty list of sequences, only empty sequences without ``maxlen``, a value that is not an
            integer, or one outside the range of ``dtype``.
    """
    layout = select_options(Layout, request)
    data = select_sequences(split_data(request.sequences, layout.value).inputs)
    if isinstance(data, LoadedSequences):
        return dataclasses.replace(pad_ragged(data.ragged, layout), origin=data.origin)
    rows = read_nested_rows(data)
    listed = [] if rows is None else _list_arrays(rows)
    if has_fractions(listed):
        return pad_features(listed, layout)
    batch = pad_lists(data, check_layout(layout))
    if batch is not None:
        return batch
    return pad_ragged(as_ragged(data), layout)


def _list_arrays(rows: RawColumn) -> list[Array]:
    """Return rows as arrays; none for rows of integers that make no array, whose reader has the better message."""
    arrays = []
    for index in range(len(rows)):
        row = rows[index]
        try:
            arrays.append(make_row_array(row, index))
        except InputError:
            if _holds_vectors(row):
                raise
            return []
    return arrays


def _holds_vectors(row: object) -> bool:
    """Return whether a row is a list of lists of numbers, some of them floats."""
    if not isinstance(row, list) or not all(isinstance(vector, list) for vector in row):
        return False
    numbers = [number for vector in row for number in vector]
    return all(isinstance(number, int | float) for number in numbers) and any(isinstance(n, float) for n in numbers)
