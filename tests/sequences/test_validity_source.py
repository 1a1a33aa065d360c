"""``pad`` shows how it is known which timesteps are padding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskcli.inputs.dataset import select_sequences
from maskcli.inputs.objects import TableRows
from maskcli.inputs.padding import check_batch_value, find_validity_source
from maskcli.records.layout import Layout
from maskcli.records.validity import Validity
from maskcli.sequences import blocks
from maskcli.sequences.files import read_sequences
from maskcli.sequences.padding import find_valid_timesteps, pad_ragged
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.sources import Source
from maskcli.sequences.streaming import SequenceFiles, pad_files
from tests.conftest import Output

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("rows", "options", "source", "line"),
    [
        ([[1, 2, 3], [4]], {}, "lengths", "tokens: padding by the lengths of the rows"),
        ([[1, 2], [4, 0]], {}, "none", "tokens: no padding"),
        ([[1, 2], [4, 5]], {"maxlen": 3}, "lengths", "tokens: padding by the lengths of the rows"),
        ([[1, 2, 3], [4]], {"maxlen": 1}, "lengths", "tokens: padding by the lengths of the rows"),
    ],
)
def test_source_of_rows(
    call: Callable[..., Output], tmp_path: Path, rows: Any, options: dict[str, int], source: str, line: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(str(rows))
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    (entry,) = call("pad", path, *arguments, "--format", "json").json["inputs"]
    assert (entry["name"], entry["kind"], entry["validity"]["source"]) == ("tokens", "ids", source)
    output = call("pad", path, *arguments)
    assert output.count(line) == 1
    document = call("pad", path, *arguments, "--format", "json").json
    assert entry["padded_timesteps"] == np.logical_not(document["mask"]).sum()


def test_source_of_a_marked_array(call: Callable[..., Output], tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    tokens = np.array([[1, 2, 3], [4, 0, 0]])
    np.savez(path, tokens=tokens, mask=np.array([[True, True, True], [True, True, False]]))
    document = call("pad", path, "--format", "json").json
    assert document["inputs"][0]["validity"] == {"source": "given", "of": "mask", "value": None, "filled_with": None}
    assert document["inputs"][0]["padded_timesteps"] == 1
    assert "tokens: padding as marked in mask" in call("pad", path)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("second", "source", "of"),
    [
        ({"ids": [4, 0], "attention_mask": [1, 1]}, "given", "attention_mask"),
        ({"ids": [4, 0]}, "lengths", None),
        ({"ids": [4, 0], "padding_mask": [1, 1]}, "lengths", None),
    ],
)
def test_source_of_several_files(
    call: Callable[..., Output],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    second: dict[str, list[int]],
    source: str,
    of: str | None,
    streamed: bool,
) -> None:
    """Marks are the source only if all rows have them, whatever files and blocks the rows are in."""
    monkeypatch.setattr(blocks, "BLOCK", 50)
    first = {"ids": [1, 2, 3, 0], "attention_mask": [1, 1, 1, 0]}
    for name, records in (("a.jsonl", [first] * 3), ("b.jsonl", [second] * 3), ("c.jsonl", [first, second])):
        (tmp_path / name).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    for names in (("a.jsonl", "b.jsonl"), ("c.jsonl",)):
        if streamed:
            files = SequenceFiles(tuple(Source(str(tmp_path / name)) for name in names), "auto", "ids")
            excerpts = [pad_files(files, Layout(maxlen=maxlen), None) for maxlen in (None, 3)]
            sources = [excerpt.inputs[0].validity for excerpt in excerpts]
        else:
            document = call("pad", *names, "--field", "ids", "--format", "json").json
            sources = [Validity(**entry["validity"]) for entry in document["inputs"]]
        assert set(sources) == {Validity(source, of)}  # type: ignore[arg-type]


def test_token_of_the_padding_value_is_valid_where_marks_say_so(call: Callable[..., Output], tmp_path: Path) -> None:
    """Rows that keep the same number of tokens form a full array, whose 0 would be padding without marks."""
    line = json.dumps({"ids": [5, 0, 9, 9], "attention_mask": [1, 1, 0, 0]})
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(f"{line}\n{line}\n")
    for names, options in ((["a.jsonl"], []), (["a.jsonl", "b.jsonl"], []), (["a.jsonl", "b.jsonl"], ["--value", 7])):
        document = call("check", *names, "--field", "ids", "--data-only", "--format", "json", *options).json
        (entry,) = document["inputs"]
        assert entry["validity"]["source"] == "given"
        assert entry["validity"]["of"] == "attention_mask"
    ragged = read_sequences([str(tmp_path / "a.jsonl")], "auto", "ids").ragged
    batch = pad_ragged(ragged, Layout(value=7, sets_value=True))
    assert find_valid_timesteps(batch).all()
    assert find_validity_source(batch, batch.mask) == Validity("given", "attention_mask")
    check_batch_value(batch)


def test_source_of_a_table_from_python() -> None:
    records = [{"ids": [4, 5, 0], "attention_mask": [1, 1, 0]}, {"ids": [6, 0, 0], "attention_mask": [1, 0, 0]}]
    batch = pad_ragged(as_ragged(select_sequences(TableRows(records))), Layout())
    assert batch.inputs[0].validity == Validity("given", "attention_mask")
    np.testing.assert_array_equal(batch.tokens, [[4, 5], [6, 0]])
