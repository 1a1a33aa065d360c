"""What a new user tries: files as other programs write them, a usual model, and no options."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import maskcli
from maskcli.errors import ExitCode
from tests.conftest import ROOT, Output

Call = Callable[..., Output]
Write = Callable[[str, bytes | str], Path]
IDS = [[7, 2, 9], [4], [5, 3]]
TOKENS = [[7, 2, 9], [4, 0, 0], [5, 3, 0]]
SCRIPT = """
import keras

def build():
    return keras.Sequential([keras.layers.Embedding(10, 2, mask_zero=True), keras.layers.LSTM(2)])
"""
SUBCLASSED = """
import keras

class Classifier(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(10, 2, mask_zero=True)
        self.lstm = keras.layers.LSTM(2)

    def call(self, ids):
        return self.lstm(self.embedding(ids))
"""


def make_records(**more: list[Any]) -> list[dict[str, Any]]:
    columns = {"text": ["a b, c", "d", "e f"], **more, "labels": [1, 0, 1]}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def make_lines(**more: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in make_records(**more))


def make_csv(delimiter: str = ",", show: Callable[[list[int]], str] = str, index: bool = True) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    rows = [("", "text", "ids", "label"), *((i, "a, b", show(ids), "pos") for i, ids in enumerate(IDS))]
    writer.writerows(rows if index else [row[1:] for row in rows])
    return text.getvalue()


def make_parquet() -> bytes:
    columns = {"text": ["a", "b", "c"], "input_ids": TOKENS, "attention_mask": [[1, 1, 1], [1, 0, 0], [1, 1, 0]]}
    out = io.BytesIO()
    pq.write_table(pa.table({**columns, "labels": [1, 0, 1], "__index_level_0__": [0, 1, 2]}), out)
    return out.getvalue()


PADDED = {"input_ids": TOKENS, "token_type_ids": [[0, 0, 0]] * 3, "attention_mask": [[1, 1, 1], [1, 0, 0], [1, 1, 0]]}
FILES: dict[str, bytes | str] = {
    "rows.jsonl": make_lines(input_ids=IDS),
    "tokenized.jsonl": make_lines(**PADDED),
    "lines.json": make_lines(**PADDED),
    "language.jsonl": make_lines(
        input_ids=TOKENS, target=[[2, 9, 1], [1, 0, 0], [3, 1, 0]], position_ids=[[0, 1, 2]] * 3
    ),
    "set.parquet": make_parquet(),
    "index.csv": make_csv(),
    "windows.csv": b"\xef\xbb\xbf" + make_csv(index=False).replace("\n", "\r\n").encode(),
    "german.csv": make_csv(";"),
    "numpy.csv": make_csv(show=lambda ids: "[" + " ".join(map(str, ids)) + "]"),
    "tabs.tsv": make_csv("\t", show=lambda ids: " ".join(map(str, ids))),
}
"""Files that hold the same ids next to columns that are none."""


@pytest.mark.parametrize("name", FILES)
def test_ids_are_found_next_to_other_columns(call: Call, write: Write, name: str) -> None:
    write("train.py", SCRIPT)
    result = call("inspect", write(name, FILES[name]), "--model", "train.py:build", "--format", "json")
    assert result.exit_status == 0, result.stderr
    assert result.json["batch"]["tokens"] == TOKENS
    assert result.json["mask"] == [[bool(token) for token in row] for row in TOKENS]


def test_subclassed_model_of_one_array_takes_the_ids(call: Call, write: Write) -> None:
    """Its code shows no inputs; a dict, a list and a tuple of all columns fail."""
    write("train.py", SUBCLASSED)
    result = call(
        "inspect", write("a.jsonl", FILES["tokenized.jsonl"]), "--model", "train.py:Classifier", "--format", "json"
    )
    assert result.exit_status == 0, result.stderr
    assert [item["name"] for item in result.json["inputs"]] == ["input_ids"]
    assert result.json["batch"]["tokens"] == TOKENS


def test_sequential_takes_other_data_after_its_first_batch() -> None:
    model = keras.Sequential([keras.layers.Embedding(10, 2, mask_zero=True), keras.layers.LSTM(2)])
    model(np.ones((5, 3), np.int32))
    assert maskcli.inspect(IDS, model=model).mask.tolist() == [[token > 0 for token in row] for row in TOKENS]


def test_two_columns_of_ids_are_an_error(call: Call, write: Write) -> None:
    write("train.py", SCRIPT)
    data = write("two.jsonl", make_lines(question=IDS, answer=IDS))
    result = call("inspect", data, "--model", "train.py:build")
    assert result.exit_status == ExitCode.INPUT
    assert "received 'question', 'answer' among" in result.stderr
    assert "--field" in result.stderr
    assert call("inspect", data, "--model", "train.py:build", "--field", "answer", "--quiet").exit_status == 0


def test_folder_of_hugging_face_is_read(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write("set/state.json", '{"_data_files": [{"filename": "a.jsonl"}]}')
    write("set/dataset_info.json", '{"features": {}}')
    write("set/a.jsonl", FILES["tokenized.jsonl"])
    result = call("pad", "set", "--format", "json")
    assert result.json["tokens"] == TOKENS
    assert result.json["data"]["skipped"] == ["set/dataset_info.json", "set/state.json"]


def test_labels_of_text_have_a_remedy(call: Call, write: Write) -> None:
    write("train.py", SCRIPT.replace("return ", "model = ") + "    model.compile(loss='mse')\n    return model\n")
    data = write("index.csv", FILES["index.csv"])
    result = call("loss", data, "--model", "train.py:build", "--targets-field", "label")
    assert result.exit_status == ExitCode.INPUT
    assert "index.csv:2, field 'label'" in result.stderr
    assert "map classes to 0, 1, ..." in result.stderr


def test_ignored_labels_have_a_remedy(call: Call, write: Write) -> None:
    script = SCRIPT.replace("LSTM(2)", "Dense(10)").replace("return ", "model = ")
    write("train.py", script + "    model.compile(loss='sparse_categorical_crossentropy')\n    return model\n")
    labels = [[7, 2, 9], [4, -100, -100], [5, 3, -100]]
    data = write(
        "a.jsonl", "".join(json.dumps({"ids": row, "labels": y}) + "\n" for row, y in zip(IDS, labels, strict=True))
    )
    arguments = ("loss", data, "--model", "train.py:build", "--targets-field", "labels", "--quiet")
    result = call(*arguments)
    assert result.exit_status == ExitCode.INPUT
    remedy = re.search(r"--loss sparse_categorical_crossentropy --loss-option ignore_class=-100", result.stderr)
    assert remedy, result.stderr
    assert call(*arguments, *remedy[0].split()).exit_status == 0


def test_script_that_reads_its_data_has_a_remedy(call: Call, write: Write) -> None:
    write("train.py", SCRIPT + "\nopen('train.npz')\n")
    result = call("check", write("a.jsonl", FILES["rows.jsonl"]), "--model", "train.py:build")
    assert result.exit_status == ExitCode.MODEL
    assert "No such file or directory: 'train.npz', at train.py:7" in result.stderr
    assert '`if __name__ == "__main__":`' in result.stderr


@pytest.mark.parametrize("model", ["model.keras", "train.py", "train.py:build"])
def test_model_as_data_has_a_remedy(call: Call, write: Write, model: str) -> None:
    write("train.py", SCRIPT)
    write("model.keras", "PK")
    result = call("check", model)
    assert result.exit_status == ExitCode.INPUT
    assert f"--model {model}" in result.stderr


def test_text_has_a_remedy(call: Call) -> None:
    result = call("pad", stdin="the cat sat\n")
    assert result.exit_status == ExitCode.INPUT
    assert "--tokenizer FILE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "status"),
    [
        (("--model", "train.py:build"), None, ExitCode.USAGE),
        (("--model", "train.py:build"), "", ExitCode.INPUT),
        (("--model", "train.py:build"), "\n\n", ExitCode.INPUT),
        (("--model", "train.py:build", "none/*.jsonl"), None, ExitCode.INPUT),
        (("--data-only",), None, ExitCode.USAGE),
        (("--output", "result.json"), None, ExitCode.USAGE),
    ],
)
def test_check_without_data_never_passes(
    call: Call, write: Write, arguments: tuple[str, ...], stdin: str | None, status: ExitCode
) -> None:
    write("train.py", SCRIPT)
    result = call("check", *arguments, stdin=stdin)
    assert (result.exit_status, result) == (status, "")


def test_files_of_the_recipes_exist() -> None:
    names = set(re.findall(r"sample_data/[\w.]+\w", (ROOT / "docs" / "recipes.md").read_text()))
    assert len(names) > 5
    assert {name for name in names if not (ROOT / name).exists()} == set()
