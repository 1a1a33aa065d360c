"""``maskcli profile`` as a command: forms, parts, code that runs, and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import ROOT, Output, clean_environment
from tests.corpus.test_blocks import ROWS, write_jsonl

SCHEMA = json.loads((ROOT / "maskcli" / "schemas" / "profile.json").read_text())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", ROWS * 5)


def test_document_fits_its_schema(call: Callable[..., Output], corpus: Path) -> None:
    document = json.loads(call("profile", corpus, "--format", "json", "--input-dim", "900"))
    jsonschema.validate(document, SCHEMA)
    assert document["data"] == {"files": [str(corpus)], "sample": False, "rows": 1000, "skipped": [], "words": None}


def test_parts_merge_into_the_bytes_of_the_whole(call: Callable[..., Output], corpus: Path, tmp_path: Path) -> None:
    options = ["--input-dim", "1100", "--maxlens", "3,9"]
    whole = call("profile", corpus, "-f", "json", *options)
    for part in (1, 2, 3):
        assert call("profile", corpus, "--part", f"{part}/3", "-o", f"p{part}.json", *options).exit_status == 0
    merged = call("profile", "--merge", "p3.json", "p1.json", "p2.json", "-f", "json", "--maxlens", "3,9")
    assert merged == whole
    assert json.loads((tmp_path / "p2.json").read_text())["part"] == "2/3"


def test_parts_are_no_larger_than_the_parts(call: Callable[..., Output], corpus: Path) -> None:
    jsonschema.validate(json.loads(call("profile", corpus, "--part", "2/4", "-f", "json")), SCHEMA)
    output = call("profile", corpus, "--part", "4/3")
    assert (output.exit_status, output) == (2, "")
    assert "such as 3/8; received '4/3'" in output.stderr


def test_merge_needs_all_parts(call: Callable[..., Output], corpus: Path) -> None:
    for part in (1, 2, 3):
        call("profile", corpus, "--part", f"{part}/3", "-o", f"p{part}.json")
    call("profile", corpus, "--part", "2/3", "-o", "other.json", "--value", "7")
    call("profile", corpus, "-o", "whole.json")
    cases = {
        ("p1.json", "p3.json"): "expected parts 1 to 3, each once; received parts 1, 3",
        ("p1.json", "other.json", "p3.json"): "expected a part of the same data, with the same options",
        ("whole.json",): "the profile of all data, which has no counts to merge",
        (str(corpus),): "expected a part of a profile, as JSON",
        ("missing.json",): "received a path that does not exist",
    }
    for files, message in cases.items():
        output = call("profile", "--merge", *files)
        assert (output.exit_status, output) == (3, ""), files
        assert message in output.stderr
    output = call("profile", "--merge", "p1.json", "p2.json", "p3.json", "--value", "7")
    assert output.exit_status == 2
    assert "--value 7: expected 0, as in the parts" in output.stderr


def test_merge_reads_no_data(call: Callable[..., Output]) -> None:
    output = call("profile", "--merge", "p1.json", "--processes", "2")
    assert output.exit_status == 2
    assert "--processes: expected no option about reading data" in output.stderr


def test_keep_going_exits_with_1(call: Callable[..., Output], corpus: Path) -> None:
    bad = write_jsonl(corpus.parent / "b.jsonl", [["x"]])
    output = call("profile", corpus, bad)
    assert (output.exit_status, output) == (3, "")
    assert f"{bad}:1, value 1: expected an integer" in output.stderr
    output = call("profile", corpus, bad, "--keep-going")
    assert output.exit_status == 1
    assert "Left out  1 block" in output
    assert f"{bad}:1,value1:expectedaninteger" in "".join(output.split())


def test_standard_input_is_profiled(call: Callable[..., Output], corpus: Path) -> None:
    output = call("profile", "-f", "json", "--processes", "2", stdin=corpus.read_bytes())
    document = json.loads(output)
    assert document["sequences"] == 1000
    assert document["data"]["files"] == ["-"]
    assert document["ids"]["largest"]["place"] == "<stdin>:200"


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_the_terminal(run: Callable[..., Output], corpus: Path, width: int) -> None:
    output = run("profile", corpus, "--input-dim", "1150", COLUMNS=str(width))
    assert output.exit_status == 0
    assert max(map(len, output.splitlines())) <= width
    # Ids 1150 to 1199 are the last ones of the rows, five times each.
    assert "outside of --input-dim  250 tokens in 250 rows" in output


def test_library_prints_only_code(call: Callable[..., Output], corpus: Path) -> None:
    for library, key in (("tf.data", "tf_data"), ("keras", "keras"), ("torch", "torch")):
        code = call("profile", corpus, "--code", library, "-o", "profile.json")
        compile(code, library, "exec")
        assert code == json.loads((corpus.parent / "profile.json").read_text())["code"][key]


def test_options_that_make_no_sense_are_errors(call: Callable[..., Output], corpus: Path) -> None:
    for arguments in (["--maxlens", "3,x"], ["--maxlens", "0"], ["--buckets", "0"], ["--part", "x"], ["--maxlen", "0"]):
        output = call("profile", corpus, *arguments)
        assert (output.exit_status, output) == (2, ""), arguments


def test_progress_has_a_rate_and_the_time_left(program: list[str], corpus: Path, tmp_path: Path) -> None:
    master, slave = os.openpty()
    command = [*program, "profile", str(corpus), "--quiet"]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, env=clean_environment(COLUMNS="100")
    ) as process:
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # A terminal whose other end has closed.
            while data := os.read(master, 65536):
                text += data
    os.close(master)
    assert process.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode())
    assert re.search(r"Profiling .* [\d.]+/[\d.]+ KiB .*(\d:\d\d:\d\d|-:--:--)", plain)


def test_picture_has_bars_percentiles_and_buckets(call: Callable[..., Output], corpus: Path) -> None:
    pytest.importorskip("vl_convert")
    picture = call("profile", corpus, "--buckets", "3", "-f", "svg")
    document = json.loads(call("profile", corpus, "--buckets", "3", "-f", "json"))
    texts = re.findall(r">([^<>]+)</text>", picture)
    assert [f"bucket {bucket['maxlen']}" in texts for bucket in document["buckets"]] == [True] * 3
    assert {"50 %", "90 %", "99 %"} <= set(texts)
    assert "1,000 sequences of 1 to 13 tokens" in picture
