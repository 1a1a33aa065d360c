"""CSV with a header, objects of columns, and patterns of columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from maskcli.errors import InputError
from maskcli.sequences.files import read_rows, read_sequences
from maskcli.sequences.formats.base import Field
from tests.conftest import Output

pytestmark = pytest.mark.quick
Write = Callable[[str, bytes | str], Path]
ROWS = [[83, 91, 1], [], [711, 632], [5]]
LABELS = [1, 0, 2, 1]


def table(**columns: list[Any]) -> str:
    """Return CSV as Python's own writer quotes it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def read(path: Path, field: str | None = None) -> list[list[int]]:
    ragged = read_sequences([str(path)], field=field).ragged
    return [ragged[index].tolist() for index in range(len(ragged))]


LISTS = {
    "json": [json.dumps(row) for row in ROWS],
    "python": [str(tuple(row)) for row in ROWS],
    "numpy": [str(np.array(row, int)) for row in ROWS],
    "blanks": [" ".join(map(str, row)) for row in ROWS],
    "commas": [", ".join(map(str, row)) for row in ROWS],
}


@pytest.mark.parametrize("kind", LISTS)
def test_column_of_lists(write: Write, kind: str) -> None:
    path = write("a.csv", table(text=["a, b", "", 'say "c"', "two\nlines"], ids=LISTS[kind], label=LABELS))
    assert read(path, "ids") == ROWS
    assert read_rows(str(path), field=Field("label", "--targets-field", numbers=True)).rows == LABELS


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_pattern_of_columns(write: Write, delimiter: str) -> None:
    """Like a frame of pandas with an index, an empty cell at the end of short rows, and a label."""
    width = max(map(len, ROWS))
    cells = [[*map(str, row), *[""] * (width - len(row))] for row in ROWS]
    lines = [["", *(f"w{index}" for index in range(width)), "label"]]
    lines += [[str(index), *row, str(label)] for index, (row, label) in enumerate(zip(cells, LABELS, strict=True))]
    path = write("a.csv", "".join(f"{delimiter.join(line)}\n" for line in lines))
    assert read(path, "w*") == ROWS
    assert read(path, "w[01]") == [row[:2] for row in ROWS]
    with pytest.raises(InputError, match="the columns '', 'w0', 'w1', 'w2', 'label'"):
        read(path)


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), min_size=1, max_size=6).filter(any), st.data())
def test_any_table_is_read_like_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=len(rows), max_size=len(rows)))
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(table(note=texts, ids=[json.dumps(row) for row in rows]).encode())
    assert read(path, "ids") == rows


def test_marks_of_a_table_are_applied(write: Write) -> None:
    ids, marks = [[1, 2, 0], [3, 0, 0]], [[1, 1, 0], [1, 0, 0]]
    path = write("a.csv", table(input_ids=map(str, ids), attention_mask=map(str, marks)))  # type: ignore[arg-type]
    assert read(path, "input_ids") == [[1, 2], [3]]


BAD = {
    "cells": ("a,b\n1,2\n3\n", "a", "a.csv:3: expected 2 cells, as in the header; received 1"),
    "quote": ('a,b\n"1,2\n', "a", "a.csv:2: expected cells of CSV"),
    "twice": ("a,a\n1,2\n", "a", "expected columns of different names"),
    "no such": ("a,b\n1,2\n", "c", "a.csv:2: expected the field 'c'; received the fields 'a', 'b'"),
    "words": ("a,b\n1,the cat\n", "b", "a.csv:2: expected a sequence (a list of integers); received 'the cat'"),
    "gap": ("w0,w1,n\n,2,5\n", "w*", "a.csv:2: expected a number in 'w0'; received nothing there"),
    "floats": ('a,b\n"[1, 2]",0\n"[1.5]",0\n', "a", "a.csv:3, value 1: expected an integer; received 1.5"),
    "only a header": ("a,b\n", "a", "expected at least one sequence"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_table_is_reported_with_its_line(call: Callable[..., Output], write: Write, name: str) -> None:
    content, field, message = BAD[name]
    write("a.csv", content)
    output = call("pad", "a.csv", "--field", field)
    assert (output, output.exit_status) == ("", 3)
    assert message in output.stderr


def test_line_numbers_count_lines_inside_of_quotes(call: Callable[..., Output], write: Write) -> None:
    write("a.csv", 'text,ids\n"two\nlines",[1]\nx,[2.5]\n')
    assert "a.csv:4, value 1: expected an integer; received 2.5" in call("pad", "a.csv", "--field", "ids").stderr


def test_table_through_a_pipe(call: Callable[..., Output]) -> None:
    lines = call("pad", "--field", "ids", "--format", "jsonl", stdin=table(ids=LISTS["json"], label=LABELS))
    assert [json.loads(line) for line in lines.splitlines()] == [[83, 91, 1], [0, 0, 0], [711, 632, 0], [5, 0, 0]]


COLUMNS: dict[str, Any] = {"ids": [[1, 2], [3]], "ids.mask": [[1, 0], [1]], "label": [0, 1]}


@pytest.mark.parametrize("by_name", [False, True], ids=["lists", "pandas"])
@pytest.mark.parametrize("indent", [None, 1])
def test_object_of_columns(call: Callable[..., Output], write: Write, by_name: bool, indent: int | None) -> None:
    columns = {key: dict(enumerate(column)) if by_name else column for key, column in COLUMNS.items()}
    text = json.dumps(columns, indent=indent)
    assert read(write("a.json", text)) == [[1], [3]]
    assert call("pad", "--format", "jsonl", stdin=text) == "[1]\n[3]\n"


def test_object_of_one_tokenized_text(write: Write) -> None:
    path = write("a.json", json.dumps({"input_ids": [7, 8, 0], "attention_mask": [1, 1, 0]}))
    assert read(path) == [[7, 8]]


def test_one_record_is_no_object_of_columns(call: Callable[..., Output]) -> None:
    assert call("pad", "--format", "jsonl", stdin='{"ids": [4, 5], "label": 1}\n') == "[4, 5]\n"
    assert call("pad", "--format", "jsonl", stdin='{"ids": [4, 5]}\n{"ids": [6]}\n') == "[4, 5]\n[6, 0]\n"


def test_columns_of_different_lengths(write: Write) -> None:
    with pytest.raises(InputError, match="an object of columns with as many entries in each"):
        read(write("a.json", json.dumps({"a": [[1]], "b": [1, 2]})))


def test_patterns_select_fields_of_other_formats(tmp_path: Path, write: Write) -> None:
    records = [{"w0": 1, "w1": 2, "label": 0}, {"w0": 3, "w1": None, "label": 1}]
    lines = write("a.jsonl", "".join(f"{json.dumps(record)}\n" for record in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    for path in (lines, tmp_path / "a.parquet", write("a.json", json.dumps(records))):
        assert read(path, "w*") == [[1, 2], [3]]
