"""Objects of other libraries: Arrow lists, ragged tensors, tensors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import maskcli
from maskcli.errors import InputError
from tests.conftest import clean_environment

ROWS = [[1, 2, 3], [], [4]]
PADDED = [[1, 2, 3], [0, 0, 0], [4, 0, 0]]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.list_(pa.uint8()), pa.list_view(pa.int16())], ids=str
)
def test_arrow_lists(kind: Any) -> None:
    array = pa.array(ROWS, kind)
    assert maskcli.pad(array).tokens.tolist() == PADDED
    assert maskcli.pad(array[2:]).tokens.tolist() == [[4]]
    assert maskcli.pad(array[1:], maxlen=2).tokens.tolist() == [[0, 0], [4, 0]]
    assert maskcli.pad(pa.chunked_array([array, array[:1], array[:0]])).tokens.tolist() == [*PADDED, [1, 2, 3]]
    assert maskcli.pad(pa.table({"tokens": array})["tokens"]).lengths.tolist() == [3, 0, 1]


def test_arrow_lists_of_one_length() -> None:
    array = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16(), 2))
    assert maskcli.pad(array[1:]).tokens.tolist() == [[3, 4], [5, 6]]


def test_arrow_protocol_of_any_library() -> None:
    class Series:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.chunked_array([ROWS]).__arrow_c_stream__(requested_schema)

    assert maskcli.pad(Series()).tokens.tolist() == PADDED


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pa.array([[1], None]), "row 2: expected a list of integers; received null"),
        (pa.array([[1], [], [2, None]]), "row 3, value 2: expected an integer; received null"),
        (pa.chunked_array([[[1]], [[1, None]]]), "row 2, value 2: expected an integer; received null"),
        (pa.array([[1.5]]), "lists of integers; received list<item: double>"),
        (pa.array([[True]]), "lists of integers; received list<item: bool>"),
        (pa.array([1, 2]), "lists of integers; received int64"),
        (pa.table({"a": [[1]]}), "lists of integers; received "),
        (pa.array([], pa.list_(pa.int32())), "at least one sequence"),
        (pa.chunked_array([], pa.list_(pa.int32())), "at least one sequence"),
        (pa.array([[2**63]], pa.list_(pa.uint64())), "9223372036854775808"),
    ],
    ids=str,
)
def test_arrow_data_without_sequences(data: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        maskcli.pad(data)
    assert message in str(raised.value)


def test_tensors() -> None:
    import tensorflow as tf

    assert maskcli.pad(tf.ragged.constant(ROWS)).tokens.tolist() == PADDED
    assert maskcli.pad(tf.ragged.constant(ROWS, row_splits_dtype=tf.int32)[1:]).tokens.tolist() == [[0], [4]]
    assert maskcli.pad(tf.constant([[1, 2], [3, 4]])).tokens.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(InputError, match="float32"):
        maskcli.pad(tf.ragged.constant([[1.5]]))
    with pytest.raises(InputError, match=r"RaggedTensor of shape \(n_sequences, None\)"):
        maskcli.pad(tf.ragged.constant([[[1], [2, 3]]]))


def test_verbs_take_them_too() -> None:
    assert np.array_equal(maskcli.inspect(pa.array(ROWS)).mask, np.array(PADDED) != 0)


def test_lists_import_no_further_library() -> None:
    code = "import sys, maskcli; maskcli.pad([[1, 2]]); print({'pyarrow', 'tensorflow', 'keras'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert (process.stdout, process.stderr) == ("set()\n", "")


def test_missing_pyarrow_is_reported_with_fix() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import maskcli\n"
        "class Series:\n"
        "    def __arrow_c_stream__(self, schema=None): ...\n"
        "try: maskcli.pad(Series())\n"
        "except maskcli.MaskcliError as error: print(error)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert "pip install 'pyarrow>=" in process.stdout
