"""Data for models with one or several inputs, of any dtype and rank: from a file, or from arrays in memory.

Data is a table of named columns. Each input of the model is matched with a column, each column is laid out as an array,
and each array is held against what the model says of that input. A mask that the model wants and the data lacks is made
of what is valid.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from maskcli.errors import InputError, ModelError
from maskcli.inputs.columns import DataColumn, check_lengths, lay_out_column, make_row_array, pad_rows
from maskcli.inputs.tables import (
    DataTable,
    find_leading_inputs,
    make_single_column,
    make_table,
    make_unknown_column_error,
    match_columns,
    read_table,
)
from maskcli.inputs.validity import fit_columns, match_rank
from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec, ModelInput
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.sources import display_name

EMPTY: Mapping[str, str] = types.MappingProxyType({})
WHAT = {"--targets-field": "targets", "--sample-weight-field": "weights"}
"""What a column is that feeds no input, by the option that named it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """What a model is called with, and the memory of where it came from.

    Attributes:
        inputs: in the order of the model's inputs, or of the data where the model names none.
        more: arrays that feed no input, such as targets and weights, by the name of their column: ``(batch,)``,
            ``(batch, units)`` or ``(batch, timesteps[, units])``.
        where: names the place of row ``i``, for messages.
        batch: the first input that maskcli padded itself from sequences of integers; None when there is none.
        ragged: the sequences of ``batch``.
    """

    inputs: tuple[ModelInput, ...]
    more: dict[str, Array]
    where: Callable[[int], str]
    batch: PaddedBatch | None
    ragged: RaggedSequences | None


def read_dataset(
    path: str,
    specs: Sequence[InputSpec],
    layout: Layout,
    input_format: str = "auto",
    field: str | None = None,
    also: Mapping[str, str] = EMPTY,
) -> Dataset:
    """Return the data of one file as the inputs of a model.

    Args:
        path: an ``.npz`` with an array for each input, records with a field for each, or any file of sequences for a
            model with one input; ``-`` is standard input.
        specs: what the model says of its inputs; empty when it says nothing, and all of the data becomes inputs.
        layout: how sequences are padded. What a file says of its own padding holds where this is ``Layout()``.
        input_format: a name of ``FORMATS``, or ``auto``.
        field: the array or field that feeds the first input that is not a mask.
        also: arrays or fields that feed no input, such as the targets, each with the option that named it.

    Raises:
        InputError: for a file, or a value in it, that cannot be used, with the place.
        ModelError: for data that does not fit the model, with what both say.
    """
    wanted = [spec.name for spec in specs]
    table = read_table(path, input_format, field, wanted)
    with _placed(table.where, display_name(path)):
        return _dataset(table, specs, layout, field, also)


def make_dataset(arrays: Mapping[str, Array], specs: Sequence[InputSpec], layout: Layout) -> Dataset:
    """Return arrays in memory, ``{"tokens": ..., "tokens.mask": ...}``, as the inputs of a model; see above."""

    def where(row: int) -> str:
        return f"row {row + 1}"

    with _placed(where):
        return _dataset(make_table(arrays, where, [spec.name for spec in specs]), specs, layout)


def make_ragged_dataset(ragged: RaggedSequences, specs: Sequence[InputSpec], layout: Layout) -> Dataset:
    """Return sequences as the one input of a model that is not a mask; see ``read_dataset``."""
    table = make_single_column(ragged, lambda row: f"row {row + 1}")
    with _placed(table.where):
        return _dataset(table, specs, layout)


def _dataset(
    table: DataTable,
    specs: Sequence[InputSpec],
    layout: Layout,
    field: str | None = None,
    also: Mapping[str, str] = EMPTY,
) -> Dataset:
    for name, option in also.items():
        if name not in table.known:
            raise make_unknown_column_error(table, name, option)
    names = match_columns(table, specs, field, also)
    wanted: list[InputSpec | None] = list(specs) or [None] * len(names)
    alone = find_leading_inputs(specs)[0] if len(find_leading_inputs(specs)) == 1 else None
    columns = [
        lay_out_column(table, name, spec, layout, sole=spec is alone if specs else len(names) == 1) if name else None
        for name, spec in zip(names, wanted, strict=True)
    ]
    inputs = fit_columns(
        [column and match_rank(column, spec) for column, spec in zip(columns, wanted, strict=True)], wanted, table
    )
    first = next((column for column in columns if column is not None and column.framed is not None), None)
    padded = next((column for column in columns if column is not None and column.batch is not None), None)
    return Dataset(
        inputs,
        {name: _beside(table, name, WHAT.get(option, name), first) for name, option in also.items()},
        table.where,
        None if padded is None else padded.batch,
        None if padded is None else padded.ragged,
    )


def _beside(table: DataTable, name: str, what: str, first: DataColumn | None) -> Array:
    """Return a column that feeds no input: an array as it is, or rows laid out as the ``first`` padded input is."""
    raw = table.column(name)
    if isinstance(raw, np.ndarray):
        return raw
    rows = [raw[index] for index in range(len(raw))]
    with _placed(lambda row: f"{table.where(row)}, {table.noun} {name!r}"):
        arrays = [make_row_array(row, index) for index, row in enumerate(rows)]
        lengths = [len(row) if row.ndim else -1 for row in arrays]
        if first is not None and first.lengths is not None and lengths == first.lengths.tolist():
            return pad_rows(arrays, first.layout)[0]
        if len({row.shape for row in arrays}) == 1:
            return np.stack(arrays)
        if first is not None and first.lengths is not None:
            check_lengths(arrays, first.lengths, what)
        return pad_rows(arrays, Layout())[0]


@contextlib.contextmanager
def _placed(where: Callable[[int], str], name: str = "") -> Iterator[None]:
    """Give errors the place of their row, or else the name of the file."""
    try:
        yield
    except (InputError, ModelError) as error:
        raise error.at(name if error.row is None else where(error.row)) from None
