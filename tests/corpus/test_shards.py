"""Shards hold the batch that ``pad`` makes, in every format, and a killed run leaves no trace in them."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.ipc
import pyarrow.parquet
import pytest

from maskcli.api.pad import pad
from maskcli.corpus import packing
from maskcli.corpus.blocks import cut_files
from maskcli.corpus.shards import pad_to_shards
from maskcli.errors import InputError, UsageError
from maskcli.records.manifest import Manifest, ShardSettings
from maskcli.records.options import EngineOptions
from maskcli.render.schemas import FOLDER
from maskcli.sequences import blocks, padding
from maskcli.sequences.formats import blockwise
from maskcli.sequences.formats.shards.table import SHARD_FORMATS
from maskcli.sequences.sources import Source
from tests.conftest import ROOT, Output, clean_environment

pytestmark = pytest.mark.quick

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(1, 5000, size).tolist() for size in RNG.integers(0, 40, 500)]
SETTINGS = ShardSettings(
    format="npy",
    compress=False,
    shards=4,
    buckets=None,
    pack=None,
    maxlen=None,
    padding="post",
    truncating="post",
    value=0,
    dtype="int32",
    pad_to_multiple_of=None,
    input_format="auto",
    field=None,
)
Shards = list[dict[str, Any]]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """Write two files, which are read in many blocks."""
    monkeypatch.setattr(blocks, "BLOCK", 2000)
    monkeypatch.setattr(blockwise, "SMALL", 0)
    monkeypatch.setattr(padding, "PART", 4000)
    monkeypatch.setattr(packing, "WINDOW", 2500)
    monkeypatch.setattr(packing, "FEWEST_ROWS", 2)
    return write_corpus(tmp_path, ROWS)


def write_corpus(folder: Path, rows: list[list[int]]) -> list[Source]:
    half = len(rows) // 3
    for name, part in (("a.jsonl", rows[:half]), ("b.jsonl", rows[half:])):
        (folder / name).write_text("".join(f'{{"ids": {row}}}\n' for row in part))
    return [Source(str(folder / name)) for name in ("a.jsonl", "b.jsonl")]


def write(corpus: list[Source], folder: Path, **changes: Any) -> Manifest:
    return pad_to_shards(corpus, folder, dataclasses.replace(SETTINGS, **changes))


def load(path: Path, column: str) -> dict[str, Any]:
    """Read a file with the library of its format."""
    match path.suffix:
        case ".npy":
            return {column: np.load(path)}
        case ".npz":
            return dict(np.load(path))
        case ".parquet":
            table = pyarrow.parquet.read_table(path)
        case ".arrow":
            table = pyarrow.ipc.open_file(path).read_all()
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def load_shards(folder: Path, manifest: Manifest) -> Shards:
    return [
        {
            name: column
            for file in shard.files
            for name, column in load(folder / file.name, file.columns[0].name).items()
        }
        for shard in manifest.shards
    ]


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


READABLE = sorted(SHARD_FORMATS.keys() - {"array_record", "tfrecord"})
NEEDS_PACKAGE = {"array_record": [pytest.mark.skipif(find_spec("array_record") is None, reason="no array_record")]}
ALL_FORMATS = [pytest.param(form, marks=NEEDS_PACKAGE.get(form, ())) for form in sorted(SHARD_FORMATS)]


@pytest.mark.parametrize("form", READABLE)
def test_shards_are_the_batch(corpus: list[Source], tmp_path: Path, form: str) -> None:
    settings: dict[str, Any] = {"maxlen": 30, "padding": "pre", "truncating": "pre", "value": -1, "dtype": "int64"}
    manifest = write(corpus, tmp_path / "out", format=form, shards=3, **settings)
    parts = load_shards(tmp_path / "out", manifest)
    batch = pad(ROWS, **settings)
    assert [len(part["tokens"]) for part in parts] == [166, 167, 167]
    tokens = np.concatenate([part["tokens"] for part in parts])
    assert np.array_equal(tokens, batch.tokens)
    assert tokens.dtype == batch.tokens.dtype
    assert np.array_equal(np.concatenate([part["lengths"] for part in parts]), batch.lengths)
    for name in {"mask", "tokens.mask"} & parts[0].keys():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), batch.mask)
    counts = manifest.counts
    assert counts.truncated_tokens == batch.truncated_tokens
    assert counts.truncated_sequences == batch.truncated_sequences
    assert counts.tokens == batch.mask.sum()
    assert counts.padded_timesteps == (~batch.mask).sum()
    assert counts.empty_sequences == ROWS.count([])


@pytest.mark.parametrize("form", READABLE)
def test_buckets_hold_every_row_once(corpus: list[Source], tmp_path: Path, form: str) -> None:
    manifest = write(corpus, tmp_path / "out", format=form, shards=2, buckets=3)
    parts = load_shards(tmp_path / "out", manifest)
    assert sorted(np.concatenate([part["row_numbers"] for part in parts]).tolist()) == list(range(len(ROWS)))
    for part, shard in zip(parts, manifest.shards, strict=True):
        group = manifest.groups[shard.group]
        assert part["tokens"].shape == (shard.rows, group.maxlen)
        shorter = manifest.groups[shard.group - 1].maxlen if shard.group else -1
        for tokens, number in zip(part["tokens"], part["row_numbers"], strict=True):
            row = ROWS[number]
            assert shorter < len(row) <= group.maxlen
            assert tokens.tolist() == row + [0] * (group.maxlen - len(row))
    assert manifest.counts.padded_timesteps < (~pad(ROWS).mask).sum() / 2


def test_buckets_are_multiples_and_truncated(corpus: list[Source], tmp_path: Path) -> None:
    manifest = write(corpus, tmp_path / "out", buckets=3, maxlen=32, pad_to_multiple_of=8, shards=1)
    assert [group.maxlen for group in manifest.groups] == [8, 24, 32]
    kept = sum(min(32, len(row)) for row in ROWS)
    assert (manifest.counts.tokens, manifest.counts.truncated_tokens) == (kept, sum(map(len, ROWS)) - kept)


@pytest.mark.parametrize("form", READABLE)
@pytest.mark.parametrize("side", ["pre", "post"])
def test_packed_rows_hold_every_sequence_once(corpus: list[Source], tmp_path: Path, form: str, side: str) -> None:
    manifest = write(corpus, tmp_path / "out", format=form, shards=3, pack=64, maxlen=30, padding=side, value=-1)
    unpacked = []
    for part in load_shards(tmp_path / "out", manifest):
        for tokens, segments, positions in zip(part["tokens"], part["segment_ids"], part["position_ids"], strict=True):
            used = segments[segments > 0]
            assert (tokens[segments == 0] == -1).all()
            assert (positions[segments == 0] == 0).all()
            # Padding is on one side, and segments follow each other.
            assert np.array_equal(
                used, segments[len(segments) - len(used) :] if side == "pre" else segments[: len(used)]
            )
            assert np.array_equal(np.unique(used), np.arange(1, segments.max() + 1))
            assert (np.diff(used) >= 0).all()
            for segment in range(1, segments.max() + 1):
                unpacked.append(tokens[segments == segment].tolist())
                assert positions[segments == segment].tolist() == list(range(len(unpacked[-1])))
    assert sorted(unpacked) == sorted(row[:30] for row in ROWS if row)
    assert manifest.counts.tokens / (manifest.groups[0].rows * 64) > 0.9


def test_manifest_lists_files_with_checksums(corpus: list[Source], tmp_path: Path) -> None:
    manifest = write(corpus, tmp_path / "train", buckets=2)
    document = json.loads((tmp_path / "train" / "manifest.json").read_text())
    jsonschema.validate(document, json.loads((FOLDER / "manifest.json").read_text()))
    names = {file["name"]: file for shard in document["shards"] for file in shard["files"]}
    assert names.keys() == {path.name for path in (tmp_path / "train").iterdir()} - {"manifest.json"}
    for name, file in names.items():
        content = (tmp_path / "train" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        array = np.load(tmp_path / "train" / name)
        (column,) = file["columns"]
        assert (list(array.shape), array.dtype.name) == (column["shape"], column["dtype"])
    assert [source["sequences"] for source in document["sources"]] == [166, 334]
    assert f"train-len-{manifest.groups[0].maxlen}-00000-of-00004.npy" in names


# Interrupted runs.


CASES: list[dict[str, Any]] = [
    {"format": "npz", "shards": 40},
    {"format": "parquet", "shards": 8, "buckets": 5},
    {"format": "npy", "shards": 30, "pack": 128},
]


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("changes", CASES, ids=lambda changes: "-".join(map(str, changes.values())))
def test_killed_runs_leave_the_same_bytes(tmp_path: Path, changes: dict[str, Any]) -> None:
    source, _ = write_corpus(tmp_path, ROWS * 24)
    begin = time.monotonic()
    write([source], tmp_path / "whole" / "out", **changes)
    seconds = time.monotonic() - begin
    settings = json.dumps(dataclasses.asdict(dataclasses.replace(SETTINGS, **changes)))
    (tmp_path / "killed" / "out").mkdir(parents=True)
    (tmp_path / "killed" / "out" / "notes.txt").write_text("mine")
    command = [source.path, str(tmp_path / "killed" / "out"), settings, "1", str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.corpus.killing", *command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) > 2
    assert read_folder(tmp_path / "killed" / "out") == {
        **read_folder(tmp_path / "whole" / "out"),
        "notes.txt": b"mine",
    }


# Several processes.

TWO = EngineOptions(processes=2)
ENGINE_CASES: list[dict[str, Any]] = [
    {"shards": 1},
    {"shards": 7, "format": "npz"},
    {"shards": 60, "maxlen": 20, "truncating": "pre"},
    {"shards": 5, "buckets": 3},
    {"shards": 200, "buckets": 4, "format": "tfrecord"},
]


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("changes", ENGINE_CASES, ids=lambda changes: "-".join(map(str, changes.values())))
def test_processes_write_the_same_bytes(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The last buckets have fewer rows than shards, and lengths grow in the second file."""
    sources = write_corpus(tmp_path, ROWS[:250] + sorted(ROWS[250:], key=len) + [[1] * 90] * 3)
    settings = dataclasses.replace(SETTINGS, **changes)
    assert len(list(cut_files(sources, block_size=4000))) > 8
    for name, options in (("one", EngineOptions(processes=1)), ("two", TWO)):
        pad_to_shards(sources, tmp_path / name / "out", settings, options=options, block_size=4000)
    assert read_folder(tmp_path / "two" / "out") == read_folder(tmp_path / "one" / "out")


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("changes", [{"shards": 20}, {"shards": 6, "buckets": 3}, {"shards": 9, "pack": 64}], ids=str)
@pytest.mark.parametrize("processes", [1, 2])
def test_run_continues_with_any_shards_finished(tmp_path: Path, changes: dict[str, Any], processes: int) -> None:
    """Workers finish shards in any order, so that a run that was killed leaves gaps."""
    sources, folder = write_corpus(tmp_path, ROWS), tmp_path / "out"
    settings = dataclasses.replace(SETTINGS, **changes)
    write(sources, folder, **changes)
    whole = read_folder(folder)
    document = json.loads((folder / "manifest.json").read_text())
    lost = document["shards"][2:4] + document["shards"][-5:-2]
    for file in (file for shard in lost for file in shard["files"]):
        (folder / file["name"]).unlink()
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    pad_to_shards(sources, folder, settings, options=EngineOptions(processes=processes), block_size=4000)
    assert read_folder(folder) == whole
    rewritten = {name for name, time in times.items() if (folder / name).stat().st_mtime_ns != time} - {"manifest.json"}
    indices = {shard["index"] for shard in lost}
    stripes = {file["name"] for shard in document["shards"] if shard["index"] in indices for file in shard["files"]}
    assert rewritten <= (stripes if processes > 1 else set())


class _StopError(Exception):
    pass


def interrupt(corpus: list[Source], folder: Path, share: float, **changes: Any) -> None:
    """Begin a run and end it by an error; unlike after a kill, its temporary files are removed."""

    def stop(progress: float) -> None:
        if progress > share:
            raise _StopError

    with pytest.raises(_StopError):
        pad_to_shards(corpus, folder, dataclasses.replace(SETTINGS, **changes), stop)


@pytest.mark.parametrize("changes", [{}, {"buckets": 3}, {"pack": 50}], ids=str)
@pytest.mark.parametrize("share", [0.55, 0.7, 0.9])
def test_resumed_run_writes_only_missing_shards(
    corpus: list[Source], tmp_path: Path, changes: dict[str, Any], share: float
) -> None:
    settings = {"shards": 12, "format": "parquet", **changes}
    whole, again = tmp_path / "whole" / "out", tmp_path / "again" / "out"
    write(corpus, whole, **settings)
    interrupt(corpus, again, share, **settings)
    before = {path.name: path.stat().st_mtime_ns for path in again.iterdir()}
    listed = json.loads((again / "manifest.json").read_text())
    assert not listed["complete"]
    write(corpus, again, **settings)
    assert read_folder(again) == read_folder(whole)
    for shard in listed["shards"]:
        for file in shard["files"]:
            assert (again / file["name"]).stat().st_mtime_ns == before[file["name"]]


def test_complete_directory_stays_as_it_is(corpus: list[Source], tmp_path: Path) -> None:
    manifest = write(corpus, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert write(corpus, tmp_path / "out") == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_damaged_shard_is_written_again(corpus: list[Source], tmp_path: Path) -> None:
    write(corpus, tmp_path / "out")
    before = read_folder(tmp_path / "out")
    (tmp_path / "out" / "out-00002-of-00004.npy").write_bytes(b"x" * 9)
    (tmp_path / "out" / "out-00003-of-00004.lengths.npy").unlink()
    write(corpus, tmp_path / "out")
    assert read_folder(tmp_path / "out") == before


def test_only_files_of_a_dead_run_are_removed(corpus: list[Source], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    interrupt(corpus, folder, 0.7)
    prefix = hashlib.blake2s(b"out-00003-of-00004.npy", digest_size=6).hexdigest()
    dead, alive = (folder / f".out-00003-of-00004.npy.{prefix}.{number}.part" for number in ("0123abcd", "0123abce"))
    leftover, foreign = folder / "out-00003-of-00004.npy", folder / "out-00003-of-00009.npy"
    for path in (dead, alive, leftover, foreign, folder / ".mine.part"):
        path.write_bytes(b"content")
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write(corpus, folder)
    names = {path.name for path in folder.iterdir()}
    assert dead.name not in names
    assert {alive.name, foreign.name, ".mine.part"} <= names
    assert leftover.read_bytes() != b"content"


def test_foreign_file_with_the_name_of_a_shard_stays(corpus: list[Source], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("out-00003-of-00004.npy", "manifest.json"):
        (folder / name).write_bytes(b"mine")
        with pytest.raises(InputError, match=f"'{name}', which no manifest of maskcli lists"):
            write(corpus, folder)
        assert read_folder(folder) == {name: b"mine"}
        (folder / name).unlink()


def test_second_process_is_refused(corpus: list[Source], tmp_path: Path) -> None:
    write(corpus, tmp_path / "out")
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="one that another maskcli is writing"):
        write(corpus, tmp_path / "out")
    os.close(descriptor)
    write(corpus, tmp_path / "out")


@pytest.mark.parametrize("complete", [True, False])
def test_other_content_or_options_are_refused(corpus: list[Source], tmp_path: Path, complete: bool) -> None:
    if complete:
        write(corpus, tmp_path / "out")
    else:
        interrupt(corpus, tmp_path / "out", 0.7)
    before = read_folder(tmp_path / "out")
    with pytest.raises(UsageError, match=r"--pack: expected no such option, .* received 9") as error:
        write(corpus, tmp_path / "out", pack=9)
    assert "remove" in str(error.value)
    with pytest.raises(InputError, match="the same 2 files; received 1 files"):
        write(corpus[:1], tmp_path / "out")
    path = Path(corpus[1].path)
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(InputError, match=r"b\.jsonl: expected the content that .* was begun with"):
        write(corpus, tmp_path / "out")
    assert read_folder(tmp_path / "out") == before


@pytest.mark.parametrize(("mode", "line"), [("a", '{"ids": [1]}\n'), ("r+", '{"ids": [')], ids=["longer", "touched"])
def test_source_that_changes_meanwhile_is_refused(corpus: list[Source], tmp_path: Path, mode: str, line: str) -> None:
    def append(progress: float) -> None:
        if 0.6 < progress < 0.7:
            with Path(corpus[1].path).open(mode) as file:
                file.write(line)

    with pytest.raises(InputError, match="a file that has changed"):
        pad_to_shards(corpus, tmp_path / "out", SETTINGS, append)
    assert not json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"]


def test_bad_input_leaves_no_directory(corpus: list[Source], tmp_path: Path) -> None:
    with Path(corpus[1].path).open("a") as file:
        file.write('{"ids": [1, "x"]}\n')
    with pytest.raises(InputError, match=r"b\.jsonl:335.*value 2"):
        write(corpus, tmp_path / "new" / "out")
    assert not (tmp_path / "new" / "out").exists()
    with pytest.raises(UsageError, match="at most 500 shards"):
        write(write_corpus(tmp_path, ROWS), tmp_path / "out", shards=501)


# The command, and reading back.


@pytest.mark.parametrize("form", ALL_FORMATS)
@pytest.mark.parametrize("options", ["", "--buckets 3", "--pack 64"])
def test_shards_are_read_back(call: Callable[..., Output], tmp_path: Path, form: str, options: str) -> None:
    write_corpus(tmp_path, ROWS)
    rest = [*options.split(), "--padding", "pre", "--value", "7"]
    done = call("pad", "a.jsonl", "b.jsonl", "-o", "out/", "--shards", "3", "-f", form, *rest)
    assert (done, done.stderr, done.exit_status) == ("", "", 0)
    document = call("pad", "out", "-f", "json").json
    assert document["data"]["files"] == ["out/manifest.json"]
    assert (document["padding"], document["value"]) == ("pre", 7)
    tokens, mask = np.array(document["tokens"]), np.array(document["mask"])
    kept = [row[is_valid].tolist() for row, is_valid in zip(tokens, mask, strict=True)]
    if not options:
        assert kept == ROWS
    elif "buckets" in options:
        assert sorted(kept) == sorted(ROWS)
    else:
        assert sorted(itertools.chain(*kept)) == sorted(itertools.chain(*ROWS))


def test_incomplete_directory_is_not_read(call: Callable[..., Output], corpus: list[Source], tmp_path: Path) -> None:
    interrupt(corpus, tmp_path / "out", 0.8)
    done = call("pad", "out")
    assert done.exit_status == 3
    assert "of 4 shards" in done.stderr


def test_changed_shard_is_not_read(call: Callable[..., Output], corpus: list[Source], tmp_path: Path) -> None:
    for form in READABLE:
        manifest = write(corpus, tmp_path / form, format=form)
        path = tmp_path / form / manifest.shards[1].files[0].name
        path.write_bytes(path.read_bytes()[:-10])
        done = call("pad", form)
        assert (done.exit_status, "the file that the manifest lists" in done.stderr) == (3, True)
        path.unlink()
        assert "a path that does not exist" in call("pad", form).stderr


def test_manifest_that_leaves_its_directory_is_refused(
    call: Callable[..., Output], corpus: list[Source], tmp_path: Path
) -> None:
    write(corpus, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(path.read_text().replace("out-00000-of-00004.npy", "../out-00000-of-00004.npy"))
    done = call("pad", "out")
    assert (done.exit_status, "a damaged one" in done.stderr) == (3, True)


ERRORS = [
    ("--shards 2", "a directory for the shards"),
    ("--shards 2 -o x.npy", "a directory for the shards"),
    ("--shards 2 -o out/ -f csv", "a format of shards"),
    ("--shards 2 -o out/ --compress", "--format npz"),
    ("--shards 2 -o out/ --mask-output m.npy", "--mask-output"),
    ("--pack 8 -o out/ --buckets 2", "--buckets"),
    ("--pack 8 -o out/ --maxlen 9", "--maxlen 9"),
    ("--pack 8 -o out/ --pad-to-multiple-of 4", "--pad-to-multiple-of"),
    ("--shards 0 -o out/", "--shards"),
    ("--shards 2 -o file/", "a file"),
]


@pytest.mark.parametrize(("options", "message"), ERRORS)
def test_wrong_options_are_refused(call: Callable[..., Output], tmp_path: Path, options: str, message: str) -> None:
    write_corpus(tmp_path, ROWS)
    (tmp_path / "file").write_text("")
    done = call("pad", "a.jsonl", *options.split())
    assert (done.exit_status in (2, 3), message in done.stderr) == (True, True)
    assert not (tmp_path / "out").exists()


def test_sharding_loads_no_tensorflow(tmp_path: Path) -> None:
    write_corpus(tmp_path, ROWS)
    code = """
import sys
from maskcli.cli import run
run("pad a.jsonl -o out/ --shards 2 -f tfrecord".split())
run("pad out".split())
print([name for name in ("tensorflow", "keras") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=clean_environment(), check=False
    )
    assert "166, 39" in done.stdout
    assert done.stderr == "[]\n"
