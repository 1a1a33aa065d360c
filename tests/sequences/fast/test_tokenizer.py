"""Blocks of integers that the tokenizer reads, and blocks that it rejects."""

from __future__ import annotations

import numpy as np
import pytest

from maskcli.sequences.fast.tokenizer import Frame, Workspace, tokenize

pytestmark = pytest.mark.quick

LINES = Frame(b"[", b"[", b"]\n", b", ")
DENSE = Frame(b"[", b"[", b"]\n", b",")
TEXT = Frame(b"", b"", b"\n", b" ", loose=True)
COMMAS = Frame(b"", b"", b"\n", b",", loose=True)
ARRAY = Frame(b",[", b", [", b"]", b", ")
RECORDS = Frame(b'{"ids": [', b'{"ids": [', b"]}\n", b", ")
INDENTED = Frame(b"  ", b"  ", b" \n", b" ", loose=True)
"""Lines with blanks at both ends."""


@pytest.mark.parametrize(
    ("frame", "block", "rows"),
    [
        (LINES, b"[1, 22, 333]\n[4444, 55555]\n", [[1, 22, 333], [4444, 55555]]),
        (LINES, b"[]\n[]\n[7]\n[]\n", [[], [], [7], []]),
        (LINES, b"[-1, 0, -0]\n[-100, 5]\n", [[-1, 0, 0], [-100, 5]]),
        (LINES, b"[99999999, 100000000]\n", [[99999999, 100000000]]),
        (LINES, b"[1234567890123456, -999999999999999]\n", [[1234567890123456, -999999999999999]]),
        (DENSE, b"[1,2]\n[3]\n", [[1, 2], [3]]),
        (TEXT, b"1 2\n\n007 -5\n", [[1, 2], [], [7, -5]]),
        (TEXT, b"1 2 \n  \n\n7   \n", [[1, 2], [], [], [7]]),
        (COMMAS, b",,,\n1,,,\n1,2,3,\n", [[], [1], [1, 2, 3]]),
        (ARRAY, b",[1, 2], [], [3]", [[1, 2], [], [3]]),
        (RECORDS, b'{"ids": [1, 2]}\n{"ids": []}\n', [[1, 2], []]),
        (INDENTED, b"  1 2 \n  3 \n   \n", [[1, 2], [3], []]),
        (TEXT, b"1\n", [[1]]),
        (TEXT, b"1\n2\n", [[1], [2]]),
        (LINES, b"[1]\n", [[1]]),
        (COMMAS, b"1,2\n3,\n", [[1, 2], [3]]),
    ],
)
def test_tokenize_reads(frame: Frame, block: bytes, rows: list[list[int]]) -> None:
    ragged = tokenize(block, frame, Workspace())
    assert ragged is not None
    assert [row.tolist() for row in map(ragged.__getitem__, range(len(ragged)))] == rows
    assert ragged.values.dtype == (
        np.int64 if max(map(abs, ragged.values.tolist()), default=0) > 99999999 else np.int32
    )


@pytest.mark.parametrize(
    ("frame", "block"),
    [
        (LINES, b""),
        (LINES, b"[1, 2]"),
        (LINES, b"[1, 2]\n[3"),
        (LINES, b"[1, 2\n"),
        (LINES, b"1, 2]\n"),
        (LINES, b"[1,2]\n"),
        (LINES, b"[1, 2, ]\n"),
        (LINES, b"[, 1]\n"),
        (LINES, b"[1, , 2]\n"),
        (LINES, b"[1 2]\n"),
        (LINES, b"[1.5]\n"),
        (LINES, b"[1e5]\n"),
        (LINES, b"[01]\n"),
        (LINES, b"[-01]\n"),
        (LINES, b"[-]\n"),
        (LINES, b"[1-2]\n"),
        (LINES, b"[--1]\n"),
        (LINES, b"[true]\n"),
        (LINES, b"[[1]]\n"),
        (LINES, b"[1]\n\n[2]\n"),
        (LINES, b"[1]]\n[2\n"),
        (LINES, b"[12345678901234567]\n"),
        (LINES, b"[-1234567890123456]\n"),
        (COMMAS, b",1\n"),
        (COMMAS, b"1,,2\n"),
        (COMMAS, b"1,2,,\n,3\n"),
        (COMMAS, b"1x\n"),
        (DENSE, b"[1,]\n"),
        (ARRAY, b",[1], [2] [3]"),
        (ARRAY, b", [1], [2]"),
        (ARRAY, b",[1], [2]]"),
        (ARRAY, b"x[1], [2]"),
        (RECORDS, b'{"ids": [1]}\n{"idz": [2]}\n'),
        # One row is too short for its frame, and another one is too long by the same number of bytes.
        (INDENTED, b"  1 \n  \n  5x \n"),
        (Frame(b"   ", b"", b"\n", b" ", loose=True), b"  \n1 2x\n"),
        (Frame(b"ab", b"ab", b"b\n", b","), b"ab1,2b\nab\nabx1,2b\n"),
    ],
)
def test_tokenize_rejects(frame: Frame, block: bytes) -> None:
    assert tokenize(block, frame, Workspace()) is None


@pytest.mark.parametrize(
    "frame",
    [
        Frame(b"[", b"[", b"", b","),
        Frame(b'{"1": [', b'{"1": [', b"]}\n", b", "),
        Frame(b"[-", b"[-", b"]\n", b", "),
        Frame(b"", b"", b" ", b" ", loose=True),
        Frame(b"]", b"]", b"]", b","),
    ],
)
def test_tokenize_rejects_ambiguous_frame(frame: Frame) -> None:
    assert not frame.is_plain
    assert tokenize(frame.head + b"1" + frame.suffix, frame, Workspace()) is None


def test_workspace_does_not_leak_last_block() -> None:
    work = Workspace()
    long, short = b"[" + b"98765432, " * 500 + b"1]\n", b"[1]\n[2]\n"
    for block in (long, short, long, short):
        ragged, fresh = tokenize(block, LINES, work), tokenize(block, LINES, Workspace())
        assert ragged is not None
        assert fresh is not None
        np.testing.assert_array_equal(ragged.values, fresh.values)
        np.testing.assert_array_equal(ragged.row_splits, fresh.row_splits)
