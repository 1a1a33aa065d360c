"""The fast readers and the strict readers: the same verdict and the same values for any file.

``MASKCLI_MUTATIONS=100000`` sets the number of damaged files.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.errors import MaskcliError
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences import blocks
from maskcli.sequences.files import read_chunks
from maskcli.sequences.formats import FORMATS, blockwise, json_array, json_lines, text
from maskcli.sequences.formats.base import Field, check_rows
from maskcli.sequences.padding import pad_ragged
from maskcli.sequences.sources import Source

MUTATIONS = int(os.environ.get("MASKCLI_MUTATIONS", "4000"))
AT_ONCE = 100
"""Damaged files of one case."""
Rows = list[list[int]]


@pytest.fixture(autouse=True, scope="module")
def _use_fast_readers_for_small_files() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockwise, "SMALL", 0)
        yield


def as_lines(rows: Rows, separator: str = ", ", end: str = "\n") -> str:
    return "".join(f"[{separator.join(map(str, row))}]{end}" for row in rows)


def as_records(rows: Rows, key: str = '"ids"', end: str = "\n") -> str:
    return "".join(f"{{{key}: {row}}}{end}" for row in rows)


def as_cells(rows: Rows, separator: str, end: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + end for row in rows)


def as_padded_cells(rows: Rows) -> str:
    width = max(map(len, rows))
    return "".join(",".join([*map(str, row), *[""] * (width - len(row))]) + "\n" for row in rows)


def as_array(rows: Rows, separator: str = ", ", between: str = ", ") -> str:
    return "[" + between.join(f"[{separator.join(map(str, row))}]" for row in rows) + "]"


WRITTEN: dict[str, tuple[str, Any]] = {
    "lines": ("jsonl", as_lines),
    "close lines": ("jsonl", lambda rows: as_lines(rows, ",")),
    "odd lines": ("jsonl", lambda rows: as_lines(rows, " , ").replace("[", "[ ")),
    "carriage returns": ("jsonl", lambda rows: as_lines(rows, end="\r\n")),
    "no last line end": ("jsonl", lambda rows: as_lines(rows)[:-1]),
    "records": ("jsonl", as_records),
    "records of an odd name": ("jsonl", lambda rows: as_records(rows, '"my ids é"').replace("[", "[ ")),
    "records of two": ("jsonl", lambda rows: as_records(rows).replace("}", ', "label": 1}')),
    "records that all differ": (
        "jsonl",
        lambda rows: "".join(f'{{"id": {place}, "ids": {row}}}\n' for place, row in enumerate(rows)),
    ),
    "records of three": (
        "jsonl",
        lambda rows: "".join(f'{{"text": "é, [{row}]", "ids":{row}, "tags": null}}\n' for row in rows),
    ),
    "records of nested records": ("jsonl", lambda rows: as_records(rows).replace("}", ', "of": {"id": [1]}}')),
    "array": ("json", as_array),
    "close array": ("json", lambda rows: as_array(rows, ",", ",")),
    "array of lines": ("json", lambda rows: " " + as_array(rows, ",", ",\n ") + "\n"),
    "indented array": ("json", lambda rows: as_array(rows, ",\n    ", ",\n  ")),
    "array of records": ("json", lambda rows: as_array(rows).replace("[", '{"ids": [').replace("]", "]}")[8:-1]),
    "blanks": ("text", lambda rows: as_cells(rows, " ")),
    "columns": ("text", lambda rows: as_cells(rows, "   ").replace("\n", "  \n")),
    "commas": ("csv", lambda rows: as_cells(rows, ",")),
    "commas and blanks": ("csv", lambda rows: as_cells(rows, ", ")),
    "blanks before commas": ("csv", lambda rows: as_cells(rows, "  ,")),
    "tabs": ("csv", lambda rows: as_cells(rows, "\t", "\r\n")),
    "empty cells": ("csv", as_padded_cells),
}


def draw_id(rng: random.Random, kind: str) -> int:
    if kind == "mixed":
        return rng.choice([0, -1, 7, -100, 30521, 123456, 99999999, 2**31 - 1, -(2**31), 10**12])
    return rng.randrange(1, 30000)


def draw_rows(rng: random.Random) -> Rows:
    kind, shortest = rng.choice(["plain", "mixed"]), rng.choice([0, 1])
    return [[draw_id(rng, kind) for _ in range(rng.randrange(shortest, 9))] for _ in range(rng.randrange(1, 30))]


def get_outcome(read: Iterator[RaggedSequences]) -> Any:
    """Return the rows, or the type of the error."""
    try:
        parts = list(read)
    except MaskcliError as error:
        return type(error)
    return [row.tolist() for part in parts for row in map(part.__getitem__, range(len(part)))]


def read_strictly(path: Path, entry: str) -> Iterator[RaggedSequences]:
    yield check_rows(FORMATS[entry].read(path.read_bytes(), path.name, Field()), path.name)


def read_fast(path: Path, entry: str) -> Iterator[RaggedSequences]:
    for chunk in read_chunks(Source(str(path)), entry, Field(), lambda ragged: ragged):
        assert chunk.rows == len(chunk.result)
        yield chunk.result


def set_block_size(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in (blocks, json_array):
        monkeypatch.setattr(module, "BLOCK", size)


class StrictBlocks:
    """Counts the blocks that are read by the strict reader."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for module in (json_array, json_lines, text):
            plain = module._Reader.parse_strict

            def count_and_parse(reader: Any, *args: Any, plain: Any = plain) -> Any:
                self.count += 1
                return plain(reader, *args)

            monkeypatch.setattr(module._Reader, "parse_strict", count_and_parse)


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("size", [30, 300, blocks.BLOCK])
def test_fast_readers_read_common_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, size: int) -> None:
    set_block_size(monkeypatch, size)
    entry, write = WRITTEN[form]
    path, strict_blocks = tmp_path / "data", StrictBlocks(monkeypatch)
    for seed in range(40):
        rows = draw_rows(random.Random(seed))
        path.write_text(write(rows), newline="")
        expected = get_outcome(read_strictly(path, entry))
        assert expected == rows
        assert get_outcome(read_fast(path, entry)) == expected
    assert strict_blocks.count == 0, "common forms must not be read value by value"


HOSTILE = [
    ("json", b"[[1], [2]}"),
    ("json", b"[[1], [2], ]"),
    ("json", b"[[1], [2]] 3"),
    ("json", b"[[1], [2]"),
    ("json", b"[[1] [2]]"),
    ("json", b"[[1], [2]], [3]]"),
    ("json", b'[{"a": [1]}, {"b": [2]}]'),
    ("json", b'[{"a": [1]}, [2]]'),
    ("json", b'[{"a": [1], "b": {"c": [2]}}, {"a": [3], "b": {"c": [4]}}]'),
    ("json", b'[{"a": [1], "b": "], ["}, {"a": [3], "b": "}, {"}]'),
    ("json", b'[{"[1]},y": [2, 3]}]'),
    ("json", b"\xef\xbb\xbf [[1],\n [2]]"),
    ("jsonl", b'{"a": [1]}\n[2]\n'),
    ("jsonl", b'[1]\n{"a": [2]}\n'),
    ("jsonl", b'{"a": [1]}\n{"b": [2]}\n'),
    ("jsonl", b'{"a b": [1]}\n{"ab": [ 2]}\n'),
    ("jsonl", b'{"a b": [1]}\n{"a  b": [ 2]}\n'),
    ("jsonl", b'{"a": [1]}\n{"a": [2], "a": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "a": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [1],\n"a": [2]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": [3], "a": [2}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": {"a": [2]}}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": {"a": [2]}, "c": {"d": [3]}}\n'),
    ("jsonl", b'{"a": [1], "b": {"c": "}"}}\n{"b": {"a": [2]}}\n'),
    ("jsonl", b'{"a": [1], "a": [2]}\n{"b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n[{"a": [2]}]\n'),
    ("jsonl", b'{"a": [], "b": ["x"]}\n{"a": [], "b": ["y"]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2],\n"b": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2\n], "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "a":[]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": {"a": [2]}, "a":[]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "\\u0061": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "\\u0061": []}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": "\\"a\\": [5]", "a": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": "a", "a": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"b": "}{", "a": [3]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2] "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": 2, "b": []}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [[2]], "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2,], "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": ["2"], "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [], "b": [1]}\n'),
    ("jsonl", b'{"a": [], "b": [1]}\n{"a": [1], "b": []}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "b": 1},{"a": [3], "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2],\n"b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": 1\n}{"a": [2], "b": 1}\n'),
    ("jsonl", b'{"a": [0], "b": 0}\n{"a": [1], "b": 1},{"a": [2], "b": 2}\n{"a": [3], "b": [1\n2]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "b": 2},5\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2\n3], "b": {"a": [4]}}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "c": {"a": [3]}, "b": [1\n2]}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "b": "maskcli: end of a row"}\n'),
    (
        "jsonl",
        b'{"a": [0], "b": 0}\n{"a": [1], "b": 1},"maskcli: end of a row",{"a": [2], "b": 2}\n{"a": [3], "b": [1\n2]}\n',
    ),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "b": NaN}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n{"a": [2], "b": "x\x01"}\n'),
    ("jsonl", b'{"a": [1], "b": 1}\r\n{"a": [2], "b": 1}\r\n'),
    ("jsonl", b'{"a": [1], "b": 1} \n {"a": [2], "b": 1}\t\n'),
    ("jsonl", b'{"a": [1], "b": 1}\x0b\n'),
    ("jsonl", b'{"a": [1], "b": 1}\n[2]\n'),
    ("jsonl", b'[2]\n{"a": [1], "b": 1}\n'),
    ("jsonl", b'{"a": [1], "b": [1]}\n{"a": [1], "b": ["x"]}\n'),
    ("jsonl", b'{"a]": [1]}\n{"a]": [2]}\n'),
    ("jsonl", b'{"a1": [1]}\n{"a1": [2]}\n'),
    ("jsonl", b"\xef\xbb\xbf[1]\n\xef\xbb\xbf[2]\n"),
    ("jsonl", b"[1]\n\n\n[2]\n"),
    ("jsonl", b"\n[1]\n"),
    ("jsonl", b"[1]\n\x0c\n[2]\n"),
    ("jsonl", b"[1]\n\x0c\n\n"),
    ("jsonl", b"[1]\r[2]\n"),
    ("text", b"1 2\r3\n"),
    ("text", b"  1 \n  \n  5x \n"),
    ("text", b"1,,2\n"),
    ("text", b",1\n"),
    ("text", b"1 , 2,, \n,,\n3\t\t\n"),
    ("text", b"\xef\xbb\xbf1\n2\n"),
    ("text", "\u0661\n".encode()),
    ("csv", b'"1","2"\n'),
]


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("size", [6, 8, blocks.BLOCK])
@pytest.mark.parametrize(("entry", "data"), HOSTILE)
def test_fast_readers_on_hostile_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, entry: str, data: bytes, size: int
) -> None:
    if data.count(b'"b": [') and size < len(data):
        pytest.skip("the first block decides which of several fields has the sequences")
    set_block_size(monkeypatch, size)
    path = tmp_path / "data"
    path.write_bytes(data)
    assert get_outcome(read_fast(path, entry)) == get_outcome(read_strictly(path, entry))


def test_field_of_an_array_does_not_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_block_size(monkeypatch, 40)
    start = [{"a": [1], "b": []} for _ in range(5)]
    end = [{"a": [2.5], "b": [7], "c": "}, {"}]  # Blocks cannot be cut here.
    path = tmp_path / "data"
    path.write_text(json.dumps(start + end))
    with pytest.raises(MaskcliError, match=r"\(sequence 6\), value 1: expected an integer; received 2\.5"):
        list(read_fast(path, "json"))
    path.write_text(json.dumps(start + [{**record, "a": [2]} for record in end]))
    assert get_outcome(read_fast(path, "json")) == [[1]] * 5 + [[2]]


ALPHABET = b"0123456789-+,. []{}\":\n\r\t eE_x;'\\\xc3\xa9\x00\xff"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return data with some bytes inserted, removed, replaced or moved."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        to = min(to, at + 6)
        some = bytes(rng.choices(ALPHABET, k=rng.choice([1, 1, 2])))
        data = rng.choice(
            [
                data[:at] + some + data[at:],
                data[:at] + data[at + 1 :],
                data[:at] + some + data[at + len(some) :],
                data[:at] + data[to:],
                data[:to] + data[at:to] + data[to:],
                data[:at],
                data + data[at:to],
            ]
        )
    return data


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("first", range(0, MUTATIONS, AT_ONCE))
def test_fast_readers_on_damaged_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: int) -> None:
    path, verdicts = tmp_path / "data", set()
    for seed in range(first, first + AT_ONCE):
        rng = random.Random(seed)
        form = rng.choice(list(WRITTEN))
        entry, write = WRITTEN[form]
        data = mutate(write(draw_rows(rng)).encode(), rng)
        path.write_bytes(data)
        size = rng.choice([20, 60, 200, 2**18])
        set_block_size(monkeypatch, size)
        expected = get_outcome(read_strictly(path, entry)) if data else get_outcome(read_fast(path, entry))
        assert get_outcome(read_fast(path, entry)) == expected, (seed, form, size, data)
        verdicts.add(isinstance(expected, list))
    assert verdicts == {True, False}


@given(
    st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=12), min_size=1, max_size=20).filter(any),
    st.sampled_from(list(WRITTEN)),
    st.sampled_from(["pre", "post"]),
    st.sampled_from(["pre", "post"]),
    st.integers(1, 14) | st.none(),
    st.integers(-5, 5),
)
def test_padded_file_equals_keras(
    tmp_path_factory: pytest.TempPathFactory,
    rows: Rows,
    form: str,
    padding: Any,
    truncating: Any,
    maxlen: int | None,
    value: int,
) -> None:
    entry, write = WRITTEN[form]
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_text(write(rows), newline="")
    parts = list(read_fast(path, entry))
    whole = RaggedSequences(
        np.concatenate([part.values for part in parts]),
        np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))]),
    )
    batch = pad_ragged(whole, Layout(padding=padding, truncating=truncating, maxlen=maxlen, value=value))
    expected = keras.utils.pad_sequences(rows, maxlen, "int32", padding, truncating, value)
    np.testing.assert_array_equal(batch.tokens, expected)
