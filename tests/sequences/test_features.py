"""Features, with a vector of numbers at each timestep, are padded like ids."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings

import maskcli
from maskcli.errors import InputError
from tests.conftest import Output

pytestmark = pytest.mark.quick
Write = Callable[[str, bytes | str], Path]
ROWS = [[[0.5, 1], [0.25, 2], [0, 0]], [[3, 4.5]]]
PADDED = [[[0.5, 1], [0.25, 2], [0, 0]], [[3, 4.5], [0, 0], [0, 0]]]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.sampled_from(["pre", "post"]),
    st.sampled_from(["pre", "post"]),
    st.none() | st.integers(1, 5),
    st.floats(-9, 9, width=32),
    st.data(),
)
def test_features_equal_those_of_keras(
    lengths: list[int], axes: list[int], padding: Any, truncating: Any, maxlen: int | None, value: float, data: Any
) -> None:
    """``pad_sequences`` of Keras, in NumPy's words: it copies the end or the start of each row into a full array."""
    numbers = st.floats(-100, 100, width=32)
    rows = [data.draw(hnp.arrays(np.float32, (length, *axes), elements=numbers)) for length in lengths]
    width = maxlen or max(lengths)
    expected = np.full((len(rows), width, *axes), value, np.float32)
    for row, values in enumerate(rows):
        kept = values[-width:] if truncating == "pre" else values[:width]
        if len(kept):
            expected[row, width - len(kept) :] = kept if padding == "pre" else expected[row, width - len(kept) :]
            if padding == "post":
                expected[row, : len(kept)] = kept
    batch = maskcli.pad(rows, padding=padding, truncating=truncating, maxlen=maxlen, value=value)
    np.testing.assert_array_equal(batch.tokens, expected)
    assert batch.lengths.tolist() == lengths
    assert batch.mask.sum(axis=1).tolist() == [min(length, width) for length in lengths]


def save(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


FILES: dict[str, bytes | str] = {
    "a.json": json.dumps(ROWS),
    "a.jsonl": "".join(f"{json.dumps(row)}\n" for row in ROWS),
    "records.jsonl": "".join(f"{json.dumps({'x': row, 'label': 1})}\n" for row in ROWS),
    "columns.json": json.dumps({"x": ROWS, "label": [0, 1]}),
    "masked.npz": save(
        x=np.array(PADDED, "float32"), **{"x.mask": np.array([[True, True, True], [True, False, False]])}
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_features_of_files(call: Callable[..., Output], write: Write, name: str) -> None:
    write(name, FILES[name])
    field = ("--field", "x") if name in ("records.jsonl", "columns.json", "masked.npz") else ()
    document = call("pad", name, *field, "--format", "json").json
    assert document["tokens"] == PADDED
    assert document["mask"] == [[True, True, True], [True, False, False]]
    assert (document["shape"], document["features"], document["dtype"]) == ([2, 3], [2], "float32")
    jsonschema.validate(document, call("pad", "--json-schema").json)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl", ".jsonl.gz"])
def test_written_features_read_back(call: Callable[..., Output], write: Write, suffix: str, tmp_path: Path) -> None:
    write("a.json", FILES["a.json"])
    assert call("pad", "a.json", "--output", f"b{suffix}", "--mask-output", "mask.npy") == ""
    assert np.load(tmp_path / "mask.npy").tolist() == [[True, True, True], [True, False, False]]
    assert call("pad", f"b{suffix}", "--format", "json").json["tokens"] == PADDED


def test_features_through_a_pipe_and_on_a_screen(call: Callable[..., Output]) -> None:
    lines = call("pad", "--value", "-1.5", "--maxlen", "2", "--format", "jsonl", stdin=json.dumps(ROWS))
    assert [json.loads(line) for line in lines.splitlines()] == [[[0.5, 1], [0.25, 2]], [[3, 4.5], [-1.5, -1.5]]]
    shown = call("pad", stdin=json.dumps(ROWS))
    assert [line.replace("│", "").split() for line in shown.splitlines()[5:7]] == [
        ["0", "0.5", "0.25", "0", "3"],
        ["1", "3", "·0", "·0", "1"],
    ]
    assert "2 features at each timestep; the first one is shown" in shown
    assert "4 timesteps, 2 padding" in shown


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "svg"])
def test_features_need_a_form_that_holds_them(call: Callable[..., Output], form: str) -> None:
    failed = call("pad", "--format", form, stdin=json.dumps(ROWS))
    assert (failed, failed.exit_status) == ("", 2)
    assert f"--format {form}: expected a form that holds features" in failed.stderr


BAD = {
    "widths": ([[[1, 2], [3]]], "row 1|sequence 1"),
    "rows": ([[[1.5, 2]], [[1, 2, 3]]], "a vector of 2 a timestep"),
    "text": ([[["a"]]], "expected an integer.*\n.*tokenizer=FILE"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_features(name: str) -> None:
    rows, message = BAD[name]
    with pytest.raises(InputError, match=message):
        maskcli.pad(rows)


def test_vectors_at_the_ends_of_rows_are_a_hint(call: Callable[..., Output], tmp_path: Path) -> None:
    values = np.ones((3, 4, 2), "float32") * np.arange(1, 9, dtype="float32").reshape(4, 2)
    np.savez(tmp_path / "whole.npz", x=values)
    assert "end in vectors" not in call("pad", "whole.npz")
    values[0, 2:] = values[1, 3:] = -1
    np.savez(tmp_path / "padded.npz", x=values)
    output = " ".join(call("pad", "padded.npz").split())
    assert "some rows end in vectors of -1: if these are padding, inspect and check need --value -1" in output
