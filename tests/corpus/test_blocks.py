"""Files cut into blocks: every row is in one block, wherever the cuts are, and errors name the line of the file."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from maskcli.corpus.blocks import BlockTask, cut_files, divide_evenly, read_block
from maskcli.errors import InputError
from maskcli.sequences.files import read_sequences
from maskcli.sequences.lines import find_line_start
from maskcli.sequences.sources import Source

pytestmark = pytest.mark.quick

ROWS = [[index % 7] * (index % 13) + [1000 + index] for index in range(200)]


def write_jsonl(path: Path, rows: list[list[int]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_records(path: Path) -> Path:
    path.write_text("".join(json.dumps({"label": len(row) % 3, "ids": row}) + "\n" for row in ROWS))
    return path


def write_text(path: Path) -> Path:
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in ROWS))
    return path


def write_parquet(path: Path) -> Path:
    parquet.write_table(pa.table({"ids": ROWS}), path, row_group_size=9)
    return path


def cut(path: Path, block_size: int, **options: str) -> list[BlockTask]:
    return list(cut_files([Source(str(path))], block_size=block_size, **options))


def list_tokens(task: BlockTask) -> list[list[int]]:
    chunks = read_block(task, lambda ragged: [ragged[row].tolist() for row in range(len(ragged))])
    return [row for chunk in chunks for row in chunk.result]


def locate_rows(task: BlockTask) -> list[str]:
    return [chunk.where(row) for chunk in read_block(task, len) for row in range(chunk.rows)]


def read_all_rows(tasks: list[BlockTask]) -> list[list[int]]:
    return [row for task in tasks for row in list_tokens(task)]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_jsonl, "a.jsonl"),
        (write_records, "r.jsonl"),
        (write_text, "a.txt"),
        (write_text, "a.csv"),
        (write_parquet, "a.parquet"),
    ],
)
@pytest.mark.parametrize("block_size", [64, 700, 2500])
def test_blocks_have_every_row_once(tmp_path: Path, write, name: str, block_size: int) -> None:
    tasks = cut(write(tmp_path / name), block_size)
    assert len(tasks) > 1
    assert read_all_rows(tasks) == ROWS


def test_blocks_of_an_array_are_its_rows(tmp_path: Path) -> None:
    array = np.arange(600).reshape(100, 6)
    np.save(tmp_path / "a.npy", array)
    tasks = cut(tmp_path / "a.npy", 1000)
    assert len(tasks) > 3
    assert read_all_rows(tasks) == array.tolist()
    assert locate_rows(tasks[1])[0] == f"{tmp_path / 'a.npy'}, row {tasks[1].first_row + 1}"


def test_row_groups_know_their_first_row(tmp_path: Path) -> None:
    tasks = cut(write_parquet(tmp_path / "a.parquet"), 1500)
    assert len(tasks) > 1
    assert [task.first_row for task in tasks] == [
        sum(len(list_tokens(task)) for task in tasks[:index]) for index in range(len(tasks))
    ]
    assert locate_rows(tasks[1])[0].endswith(f", row {tasks[1].first_row + 1}")


@given(
    lines=st.lists(st.lists(st.integers(0, 10**6), max_size=5), min_size=1, max_size=30),
    block_size=st.integers(1, 80),
    ends=st.booleans(),
    windows=st.booleans(),
)
@settings(max_examples=40)
def test_cuts_anywhere_lose_nothing(tmp_path_factory, lines, block_size: int, ends: bool, windows: bool) -> None:
    path = tmp_path_factory.mktemp("cuts") / "a.jsonl"
    newline = "\r\n" if windows else "\n"
    path.write_bytes((newline.join(map(json.dumps, lines)) + newline * ends).encode())
    tasks = cut(path, block_size)
    assert read_all_rows(tasks) == lines
    assert sum(task.size for task in tasks) == path.stat().st_size
    places = [place for task in tasks for place in locate_rows(task)]
    assert places == [f"{path}:{line + 1}" for line in range(len(lines))]


@pytest.mark.parametrize("packed", ["a.jsonl.gz", "a.npz", "a.json", "h.csv"])
def test_what_cannot_be_cut_is_one_block(tmp_path: Path, packed: str) -> None:
    path = tmp_path / packed
    if packed.endswith(".gz"):
        path.write_bytes(gzip.compress(write_jsonl(tmp_path / "a.jsonl").read_bytes()))
    elif packed.endswith(".npz"):
        splits = np.cumsum([0, *map(len, ROWS)])
        np.savez(path, values=np.concatenate(ROWS), row_splits=splits)
    elif packed == "h.csv":
        path.write_text("ids\n" + "".join(f'"{json.dumps(row)}"\n' for row in ROWS))
    else:
        path.write_text(json.dumps(ROWS))
    [task] = cut(path, 10, **({"field": "ids"} if packed == "h.csv" else {}))
    assert task.unit == "file"
    assert list_tokens(task) == ROWS


def test_blocks_are_cut_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "holes.txt"
    with path.open("wb") as file:  # 1 TiB, of which nothing is on the disk.
        file.write(b"1 2 3\n")
        file.truncate(2**40)
    tasks = cut(path, 2**26)
    assert len(tasks) == 2**14
    assert max(len(pickle.dumps(task)) for task in tasks) < 500


def test_error_names_the_line_of_the_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*ROWS[:150], ["x"], *ROWS[150:]])
    errors = []
    for task in cut(path, 500):
        try:
            list_tokens(task)
        except InputError as error:
            errors.append(str(error))
    with pytest.raises(InputError) as whole:
        read_sequences([str(path)])
    assert errors == [str(whole.value)]
    assert f"{path}:151, value 1" in errors[0]


def test_error_in_bytes_has_the_offset_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1 2 3\n" * 100 + b"4 \xff 5\n" + b"1 2 3\n" * 100)
    with pytest.raises(InputError) as whole:
        read_sequences([str(path)])
    with pytest.raises(InputError) as divided:
        read_all_rows(cut(path, 250))
    assert str(divided.value) == str(whole.value)
    assert "offset 602" in str(divided.value)


def test_field_is_that_of_the_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = "".join(f'{{"ids": [{index}], "n": [[1]]}}\n' for index in range(50))
    path.write_text(first + '{"ids": [7], "n": [2]}\n' * 50)
    tasks = cut(path, 400)
    assert {task.field for task in tasks} == {"ids"}
    assert read_all_rows(tasks)[-1] == [7]


@pytest.mark.parametrize("later", ['{"ids": [1]}\n', "[1]\n"])
def test_later_block_of_another_kind_is_an_error(tmp_path: Path, later: str) -> None:
    path = tmp_path / "a.jsonl"
    long = json.dumps([1] * 1000)
    first = f"{long}\n" if later.startswith("{") else f'{{"ids": {long}}}\n'
    path.write_text(first * 500 + later * 1000)
    with pytest.raises(InputError) as divided:
        read_all_rows(cut(path, 2**18))
    assert str(divided.value).startswith(f"{path}:501: expected")


@pytest.mark.parametrize("block_size", [7, 16, 20, 23, 40])
def test_blank_line_in_the_middle_is_an_error(tmp_path: Path, block_size: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[1, 2]\n" * 4 + "\n\n" + "[3, 4]\n" * 4)
    with pytest.raises(InputError) as divided:
        read_all_rows(cut(path, block_size))
    assert str(divided.value).startswith(f"{path}:5: expected a JSON value on every line")


@pytest.mark.parametrize("block_size", [7, 16, 23, 40])
def test_blank_lines_at_the_end_are_no_rows(tmp_path: Path, block_size: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[1, 2]\n" * 4 + "\n" * 40)
    assert read_all_rows(cut(path, block_size)) == [[1, 2]] * 4


def test_file_that_cannot_be_read_is_a_block(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    good = write_jsonl(tmp_path / "good.jsonl")
    sources = [Source(str(tmp_path / name)) for name in ("missing.jsonl", "empty.jsonl", "good.jsonl")]
    missing, empty, *others = cut_files(sources, block_size=1000)
    for task in (missing, empty):
        with pytest.raises(InputError, match=task.file):
            list_tokens(task)
    assert {task.file for task in others} == {str(good)}


def test_file_cut_short_while_it_is_read_loses_no_message(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    tasks = cut(path, 500)
    path.write_bytes(path.read_bytes()[:1203])  # In the middle of a row.
    with pytest.raises(InputError, match=r"a\.jsonl:\d+"):
        read_all_rows(tasks)


@pytest.mark.parametrize(("offset", "start"), [(0, 0), (1, 3), (2, 3), (3, 3), (4, 4), (5, 9), (8, 9), (9, 9), (50, 9)])
def test_line_start_is_at_or_after_the_offset(offset: int, start: int) -> None:
    content = b"ab\n\ncdef\n"
    assert find_line_start(io.BytesIO(content), offset, len(content)) == start


@given(st.integers(0, 1000), st.integers(1, 50))
def test_division_is_even(count: int, parts: int) -> None:
    ranges = divide_evenly(count, parts)
    assert [number for start, length in ranges for number in range(start, start + length)] == list(range(count))
    assert len(ranges) == min(count, parts)
    assert max((length for _, length in ranges), default=0) - min((length for _, length in ranges), default=0) <= 1


def test_block_names_its_range() -> None:
    assert BlockTask("a.jsonl", "jsonl", "lines", 64, 64, 64).where == "a.jsonl, bytes 64 to 128"
    assert BlockTask("a.npy", "npy", "rows", 64, 64, 64).where == "a.npy, rows 65 to 128"
    assert BlockTask("a.pq", "parquet", "groups", 0, 2, 64).where == "a.pq, row groups 1 to 2"
    assert BlockTask("a.json", "json", "file", 0, 9, 9).where == "a.json"


def test_convert_receives_each_chunk(tmp_path: Path) -> None:
    tasks = cut(write_jsonl(tmp_path / "a.jsonl"), 700)
    assert sum(chunk.result for task in tasks for chunk in read_block(task, len)) == len(ROWS)
