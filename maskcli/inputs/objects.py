"""Take data of other libraries apart: datasets in batches, tables, and tuples of inputs, targets and weights.

Objects are recognised by the names of their classes, so that no library is imported. Keras calls the three parts x, y
and sample_weight; a model is called with the inputs only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.errors import InputError, UsageError
from maskcli.records.arrays import Array
from maskcli.sequences.formats.csv_table import parse_cell
from maskcli.sequences.words import Tokenizer

MOST_ROWS = 1_000_000
"""Rows of a dataset that does not know its length; more of them may be endless."""


@dataclasses.dataclass(frozen=True, eq=False)
class TableRows:
    """The rows of a table, like the records of a file.

    Attributes:
        records: lists, numbers and text by the name of their column.
        field: the column of the first input; None matches all columns by name.
        tokenizer: maps columns of text to ids; None for a table without text.
    """

    records: list[dict[str, Any]]
    field: str | None = None
    tokenizer: Tokenizer | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class DataParts:
    """The parts of data, as Keras's ``fit`` takes them.

    Attributes:
        inputs: sequences, an array, arrays by name, or ``TableRows``.
        targets: rows or an array, or a dict or list of these for several outputs; None without any.
        sample_weight: the same.
    """

    inputs: object
    targets: object = None
    sample_weight: object = None


def split_data(data: object, value: float = 0, field: str | None = None, model: object = None) -> DataParts:
    """Return the inputs, targets and weights of data; data of a kind that is not known here is unchanged.

    Args:
        data: ``(x, y)`` or ``(x, y, sample_weight)``, a list of arrays for several inputs, a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, a ``DataLoader`` of PyTorch, a list of records, or a table of pandas, polars or
            Hugging Face datasets.
        value: the number that fills up batches which were padded to different lengths.
        field: the column of a table that feeds the first input.
        model: the model that the data is for; the number of its inputs shows whether a list of arrays holds these.

    Raises:
        InputError: for an empty or endless dataset, and values that are neither numbers nor lists.
        UsageError: for a field of data without columns.
    """
    parts = _split_parts(data, value, _count_inputs(model))
    if field is None:
        return parts
    if not isinstance(parts.inputs, TableRows):
        raise UsageError(
            where="field",
            expected="a table with columns, such as a DataFrame",
            received=f"a value of type {type(data).__name__}",
            fix="Leave field out, or pass a dict of arrays by the names of the inputs.",
        )
    return dataclasses.replace(parts, inputs=dataclasses.replace(parts.inputs, field=field))


def _split_parts(data: object, value: float, n_inputs: int | None) -> DataParts:
    if _is_of(data, "keras", "Model"):
        raise UsageError(
            where="data",
            expected="data, such as one list of token ids for each sample",
            received="a Keras model",
            fix="Pass the data first, and the model by name: model=model. Assertions take the model first.",
        )
    if isinstance(data, tuple) and len(data) in (2, 3) and _is_pair(*data[:2]):
        inputs, *labels = data
        if isinstance(inputs, tuple):  # Of several inputs, in their order.
            return DataParts(_name_inputs(inputs), *map(_convert_labels, labels))
        return DataParts(_split_parts(inputs, value, n_inputs).inputs, *map(_convert_labels, labels))
    joined = _join_dataset(data, value)
    if joined is not None:
        return joined
    records = read_table_rows(data)
    if records is not None:
        return DataParts(TableRows(records))
    if _is_series(data):
        return DataParts(_convert_labels(data))
    return DataParts(_name_inputs(data) if _holds_inputs(data, n_inputs) else data)


def _count_inputs(model: object) -> int | None:
    """Return the number of inputs of a model of Keras; None if it does not declare them."""
    inputs = getattr(model, "inputs", None) if _is_of(model, "keras", "Model") else None
    return len(inputs) if isinstance(inputs, list | tuple) and inputs else None


def _holds_inputs(data: object, n_inputs: int | None) -> TypeGuard[list[Any]]:
    """Return whether a list holds an array for each input, as ``fit`` takes it, and not one for each row.

    Without declared inputs it does if the arrays cannot be rows of one input, or are batches of ids.
    """
    if not isinstance(data, list) or len(data) < 2 or not all(map(_is_tensor, data)):
        return False
    shapes = [tuple(item.shape) for item in data]
    if min(map(len, shapes)) < 1 or len({shape[0] for shape in shapes}) > 1:
        return False
    if n_inputs is not None:
        return len(data) == n_inputs and max(map(len, shapes)) > 1
    if min(map(len, shapes)) < 2:
        return False
    of_ids = all(len(shape) == 2 and "int" in str(item.dtype) for shape, item in zip(shapes, data, strict=True))
    return of_ids or len({(shape[2:] if len(shape) > 2 else shape) for shape in shapes}) > 1


def _is_tensor(item: object) -> bool:
    """Return whether an object is an array or a tensor of any library."""
    is_array = isinstance(item, np.ndarray) or hasattr(type(item), "__array__")
    return is_array and hasattr(item, "shape") and hasattr(item, "dtype")


def _is_of(data: object, package: str, *names: str) -> bool:
    """Return whether the class of an object, or one that it inherits from, is one of a package."""
    return any(kind.__module__.partition(".")[0] == package and kind.__name__ in names for kind in type(data).__mro__)


def _is_series(data: object) -> bool:
    return _is_of(data, "pandas", "Series") or _is_of(data, "polars", "Series")


def _is_pair(inputs: object, labels: object) -> bool:
    """Return whether a tuple holds inputs and labels, and is no tuple of rows; inputs without rows need labels."""
    is_empty = isinstance(inputs, list | tuple) and not inputs
    return _is_batch(labels) if is_empty else _is_batch(inputs)


def _is_batch(inputs: object) -> bool:
    """Return whether an object holds several rows."""
    if isinstance(inputs, list | tuple):
        return bool(inputs) and (isinstance(inputs[0], list | tuple) or np.ndim(inputs[0]) > 0)
    shape = getattr(inputs, "shape", None)
    if isinstance(inputs, np.ndarray) or hasattr(type(inputs), "__array__"):
        is_object = getattr(inputs, "dtype", None) == np.dtype(object)
        return is_object or (shape is not None and len(shape) > 1) or _is_series(inputs)
    return not isinstance(inputs, str | bytes | int | float)


# Datasets that yield batches, or single rows.


def _join_dataset(data: Any, value: float) -> DataParts | None:
    """Return the rows of a dataset; None for anything else."""
    if _is_tensorflow_dataset(data):
        return _join_elements(_iterate_tensorflow(data), _is_batched(data), value)
    if _is_of(data, "keras", "PyDataset"):
        return _join_elements(_iterate_py_dataset(data), True, value)
    return join_fit_batches(data, value) if _is_of(data, "torch", "DataLoader") else None


def _is_tensorflow_dataset(data: object) -> bool:
    return hasattr(type(data), "element_spec") and hasattr(data, "as_numpy_iterator")


def _is_batched(dataset: Any) -> bool:
    """Return whether a dataset yields batches, as ``fit`` takes them, and not rows of ids or rows with one label."""
    inputs, *labels = dataset.element_spec if isinstance(dataset.element_spec, tuple) else (dataset.element_spec,)
    ranks = [_find_rank(spec) for spec in _list_leaves(inputs)]
    label_ranks = [_find_rank(spec) for spec in _list_leaves(labels[0])] if labels else []
    return max(ranks, default=2) > 1 and 0 not in label_ranks


def _find_rank(spec: Any) -> int:
    rank = spec.shape.rank
    return 2 if rank is None else int(rank)


def _list_leaves(nest: Any) -> list[Any]:
    if isinstance(nest, Mapping):
        return [leaf for value in nest.values() for leaf in _list_leaves(value)]
    return [leaf for value in nest for leaf in _list_leaves(value)] if isinstance(nest, tuple | list) else [nest]


def _iterate_tensorflow(dataset: Any) -> Iterator[Any]:
    if int(dataset.cardinality()) == -1:
        raise _make_endless_error("a tf.data.Dataset that repeats forever")
    yield from dataset


def _iterate_py_dataset(dataset: Any) -> Iterator[Any]:
    batches = dataset.num_batches
    if batches is None:
        raise _make_endless_error("a PyDataset without a number of batches")
    for index in range(batches):
        yield dataset[index]


def _make_endless_error(received: str) -> InputError:
    return InputError(
        expected="a dataset with an end", received=received, fix="Take a part of it, as with dataset.take(10)."
    )


def _join_elements(elements: Iterable[Any], is_batched: bool, value: float) -> DataParts:
    """Return the rows of all batches of a dataset."""
    parts: list[list[Any]] = [[], [], []]
    rows = 0
    for element in elements:
        contents = element if isinstance(element, tuple) else (element,)
        if len(contents) > 3:
            raise InputError(
                expected="x, (x, y) or (x, y, sample_weight) in each batch",
                received=f"a tuple of {len(contents)}",
                fix="Put several inputs into a dict or a tuple of their own.",
            )
        for part, content in zip(parts, contents, strict=False):
            part.append(content)
        rows += _count_rows(contents[0]) if is_batched else 1
        if rows > MOST_ROWS:
            raise _make_endless_error(f"more than {MOST_ROWS:,} rows")
    if not parts[0]:
        raise InputError(
            expected="at least one batch", received="an empty dataset", fix="Check what the dataset reads."
        )
    inputs, *labels = [_join_nests(part, is_batched, value) if part else None for part in parts]
    if isinstance(inputs, list) and not isinstance(inputs, _Rows):
        inputs = _name_inputs(inputs)
    return DataParts(inputs, *labels)


def join_fit_batches(batches: Iterable[Any], value: float = 0) -> DataParts:
    """Return the rows of batches as ``fit`` takes them; raise InputError as ``split_data`` does.

    Args:
        batches: each is x, ``(x, y)`` or ``(x, y, sample_weight)``, a tuple or a list.
        value: the number that fills up batches which were padded to different lengths.
    """
    return _join_elements(map(_drop_missing, batches), True, value)


def _drop_missing(batch: Any) -> Any:
    """Return a batch without missing targets and weights, which Keras replaces by an optional value."""
    if not isinstance(batch, tuple | list):
        return batch
    return tuple(part for part in batch if part is not None and type(part).__name__ != "_OptionalImpl")


def _count_rows(nest: Any) -> int:
    leaves = _list_leaves(nest)
    return len(_convert_leaf(leaves[0])) if leaves else 0


class _Rows(list[Any]):
    """Rows of a leaf; a plain list is a nest of several leaves."""


def _join_nests(nests: Sequence[Any], is_batched: bool, value: float) -> Any:
    """Join the same part of all batches: arrays by name, a list of arrays, or one array."""
    first = nests[0]
    if isinstance(first, Mapping):
        return {name: _join_nests([nest[name] for nest in nests], is_batched, value) for name in first}
    if isinstance(first, tuple | list):
        return [_join_nests(list(part), is_batched, value) for part in zip(*nests, strict=True)]
    leaves = [_convert_leaf(leaf) for leaf in nests]
    if not is_batched:
        return _stack_rows(leaves)
    if any(isinstance(leaf, list) for leaf in leaves):  # Ragged batches have the lengths of their rows.
        return _Rows(row for leaf in leaves for row in (leaf if isinstance(leaf, list) else leaf.tolist()))
    return _concatenate(leaves, value)


def _stack_rows(rows: list[Any]) -> Any:
    """Return rows as an array, or as lists if they differ in length."""
    arrays = [np.asarray(row) for row in rows]
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    return _Rows(array.tolist() for array in arrays)


def _concatenate(batches: list[Array], value: float) -> Array:
    """Return all batches as one array; batches that were padded to different lengths are filled up with ``value``.

    The rows of such a batch have padding of their own, so that the length of the batch is not theirs.
    """
    shapes = {batch.shape[1:] for batch in batches}
    if len(shapes) == 1 or len({len(shape) for shape in shapes}) > 1:
        return np.concatenate(batches)
    size = tuple(np.max(list(shapes), axis=0))
    filled = []
    for batch in batches:
        widths = [(0, 0), *((0, most - axis) for most, axis in zip(size, batch.shape[1:], strict=True))]
        filled.append(np.pad(batch, widths, constant_values=value))
    return np.concatenate(filled)


def _name_inputs(arrays: Iterable[Any]) -> dict[str, Any]:
    """Return several inputs in order by names that no model has, so that they are matched by their order."""
    return {f"input {index + 1}": _convert_leaf(array) for index, array in enumerate(arrays)}


def _convert_leaf(leaf: Any) -> Any:
    """Return a tensor as an array, and a ragged tensor as a list of rows."""
    if type(leaf).__name__ == "RaggedTensor":
        return leaf.to_list()
    if type(leaf).__name__ == "SparseTensor":
        raise InputError(
            expected="dense tensors", received="a SparseTensor", fix="Convert it: tf.sparse.to_dense(tensor)."
        )
    return leaf if isinstance(leaf, list) else as_array(leaf)


# Tables.


def list_texts(data: object) -> list[Any] | None:
    """Return rows of which some are text, from a list, an array or a column; None for other data."""
    is_listed = isinstance(data, list | tuple | np.ndarray) or _is_series(data)
    rows = [_convert_cell(row) for row in data] if is_listed else []  # type: ignore[attr-defined]
    return rows if any(isinstance(row, str) for row in rows) else None


def read_table_rows(data: Any) -> list[dict[str, Any]] | None:
    """Return the rows of a table; None for anything else."""
    rows = _iterate_table(data)
    if rows is None:
        return None
    records = [{str(name): _convert_cell(cell) for name, cell in row.items()} for row in rows]
    if not records:
        raise InputError(expected="at least one row", received="an empty table", fix="Check what fills the table.")
    if len(records) > MOST_ROWS and _is_of(data, "datasets", "IterableDataset"):
        raise _make_endless_error(f"more than {MOST_ROWS:,} rows")
    return records


def _iterate_table(data: Any) -> Iterable[Mapping[Any, Any]] | None:
    if _is_of(data, "datasets", "DatasetDict", "IterableDatasetDict"):
        raise InputError(
            expected="one split of a dataset",
            received=f"the splits {', '.join(map(str, data))}",
            fix="Choose one, such as dataset['train'].",
        )
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        return data
    readers: dict[tuple[str, str], Callable[[], Any]] = {
        ("pandas", "DataFrame"): lambda: data.to_dict("records"),
        ("polars", "LazyFrame"): lambda: data.collect().to_dicts(),
        ("polars", "DataFrame"): lambda: data.to_dicts(),
        ("datasets", "Dataset"): lambda: data.with_format(None),
        ("datasets", "IterableDataset"): lambda: itertools.islice(data, MOST_ROWS + 1),
    }
    for (package, name), read in readers.items():
        if _is_of(data, package, name):
            rows: Iterable[Mapping[Any, Any]] = read()
            return rows
    return None


def _convert_cell(cell: Any) -> Any:
    """Return a cell of a table in the types of JSON; pandas reads a list in a file of CSV as text."""
    if isinstance(cell, str) and cell.startswith(("[", "(")):
        parsed = parse_cell(cell)
        return parsed if isinstance(parsed, list) else cell
    if isinstance(cell, np.ndarray | np.generic):
        return cell.tolist()
    if isinstance(cell, list | tuple):
        return [_convert_cell(entry) for entry in cell]
    return cell


# Targets and weights.


def _convert_labels(labels: Any) -> Any:
    """Return targets or weights as arrays or lists of rows, by output if there are several."""
    if isinstance(labels, Mapping):
        return {name: _convert_labels(part) for name, part in labels.items()}
    if isinstance(labels, tuple):
        return [_convert_labels(part) for part in labels]
    if _is_of(labels, "pandas", "DataFrame") or _is_of(labels, "polars", "DataFrame"):
        return labels.to_numpy()
    if _is_series(labels):
        cells = [_convert_cell(cell) for cell in labels.to_list()]
        return cells if any(isinstance(cell, list) for cell in cells) else np.asarray(cells)
    is_tensor = hasattr(type(labels), "__array__") or type(labels).__name__ in ("RaggedTensor", "SparseTensor")
    return _convert_leaf(labels) if is_tensor else labels


def refuse_twice(option: str, explicit: object, of_data: object) -> None:
    """Raise UsageError for targets or weights that come both with the data and as an argument."""
    if explicit is not None and of_data is not None:
        raise UsageError(
            where=option,
            expected=f"{option} either in the data, as in (x, y), or as an argument",
            received="both",
            fix=f"Leave {option} out, or pass only x.",
        )
