"""Files at addresses, read by fsspec: a store in memory, local files by URL, and an S3 server on the loopback."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import maskcli
from maskcli.corpus.blocks import cut_files
from maskcli.corpus.shards import pad_to_shards
from maskcli.errors import InputError, UsageError
from maskcli.records.options import EngineOptions
from maskcli.sequences.files import read_sequences
from maskcli.sequences.input_files import expand_files
from maskcli.sequences.remote import list_urls
from maskcli.sequences.sources import Source
from tests.conftest import clean_environment
from tests.corpus.test_shards import SETTINGS, read_folder

fsspec = pytest.importorskip("fsspec")
pytestmark = pytest.mark.quick

ROWS = [[index % 9 + 1] * (index % 7) + [1000 + index] for index in range(300)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/corpus/a.jsonl", LINES)
    filesystem.pipe("/corpus/b.jsonl.gz", gzip.compress(LINES))
    parquet.write_table(pa.table({"ids": ROWS}), tmp_path / "c.parquet", row_group_size=20)
    filesystem.pipe("/corpus/c.parquet", (tmp_path / "c.parquet").read_bytes())
    np.save(tmp_path / "d.npy", np.arange(12).reshape(4, 3))
    filesystem.pipe("/other/d.npy", (tmp_path / "d.npy").read_bytes())
    filesystem.pipe("/corpus/notes.doc", b"not data")
    yield filesystem
    filesystem.rm("/corpus", recursive=True)
    filesystem.rm("/other", recursive=True)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.parquet"])
def test_sequences_at_an_address(name: str) -> None:
    ragged = read_sequences([f"memory://corpus/{name}"]).ragged
    assert [ragged[row].tolist() for row in range(len(ragged))] == ROWS


@pytest.mark.usefixtures("memory")
def test_array_at_an_address() -> None:
    assert read_sequences(["memory://other/d.npy"]).ragged.values.tolist() == list(range(12))


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("name", ["a.jsonl", "c.parquet"])
def test_blocks_at_an_address_equal_the_whole(name: str) -> None:
    path = f"memory://corpus/{name}"
    size = Source(path).size
    assert len(list(cut_files([Source(path)], block_size=size // 5))) > 3
    divided = maskcli.profile(path, block_size=size // 5)
    assert divided.to_json() == maskcli.profile(path).to_json()
    assert divided.corpus.ids.largest.place.startswith(f"{path}{', row 300' if 'parquet' in name else ':300'}")


@pytest.mark.usefixtures("memory")
def test_directories_and_patterns_at_an_address() -> None:
    files = expand_files(["memory://corpus"])
    assert [path.rpartition("/")[2] for path in files.paths] == ["a.jsonl", "b.jsonl.gz", "c.parquet"]
    assert [path.rpartition("/")[2] for path in files.skipped] == ["notes.doc"]
    assert [path.rpartition("/")[2] for path in expand_files(["memory://corpus/*.jsonl*"]).paths] == [
        "a.jsonl",
        "b.jsonl.gz",
    ]
    assert maskcli.profile("memory://corpus", field=None).data.rows == 900
    with pytest.raises(InputError, match="files that end in"):
        expand_files(["memory://corpus/*.xyz"])


def test_missing_address_is_an_input_error() -> None:
    with pytest.raises(
        InputError, match=r"memory://nowhere/a\.jsonl: expected a file .* received an address without a file"
    ):
        maskcli.profile("memory://nowhere/a.jsonl")
    with pytest.raises(UsageError, match="protocol whose package is installed"):
        list_urls("nosuch://a", bool)


def test_error_at_an_address_names_the_line() -> None:
    fsspec.filesystem("memory").pipe("/bad.jsonl", LINES + b'["x"]\n')
    with pytest.raises(InputError, match=r"memory://bad\.jsonl:301, value 1"):
        maskcli.profile("memory://bad.jsonl", block_size=1000)


def test_processes_read_addresses(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    path = f"file://{tmp_path}/a.jsonl"
    report = maskcli.profile(path, block_size=1000, processes=2)
    assert report.to_json() == maskcli.profile(path).to_json()


def test_pad_reads_an_address(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    command = [sys.executable, "-m", "maskcli", "pad", f"file://{tmp_path}/a.jsonl", "-o", "out.npy"]
    subprocess.run(command, check=True, cwd=tmp_path, env=clean_environment())
    assert np.array_equal(np.load(tmp_path / "out.npy"), maskcli.pad(ROWS).tokens)


def test_local_files_load_no_fsspec(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    code = "import sys, maskcli; maskcli.profile('a.jsonl'); print('fsspec' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout == "False\n"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Start an S3 server on the loopback, with one bucket."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        filesystem = fsspec.filesystem("s3")
        filesystem.mkdir("corpus")
        filesystem.pipe("corpus/train/a.jsonl", LINES)
        filesystem.pipe("corpus/train/b.jsonl", LINES)
        yield "s3://corpus/train"
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()


@pytest.mark.parametrize("processes", [1, 2])
def test_bucket_is_profiled(bucket: str, processes: int) -> None:
    report = maskcli.profile(bucket, block_size=1500, processes=processes)
    assert report.data.rows == 600
    assert report.corpus.ids.largest.place == f"{bucket}/a.jsonl:300"
    with pytest.raises(InputError, match=r"s3://corpus/missing\.jsonl"):
        maskcli.profile("s3://corpus/missing.jsonl")


@pytest.mark.parametrize("options", [{}, {"processes": 2}, {"workers": 2}], ids=str)
def test_bucket_is_padded_into_shards(bucket: str, tmp_path: Path, options: dict[str, int]) -> None:
    """Workers read the ranges of the addresses; the bytes are those of local files."""
    if "workers" in options:
        pytest.importorskip("distributed", reason="the extra distributed is not installed")
    addresses = list_urls(bucket, lambda _name: True)[0]
    sources = [Source(address) for address in addresses]
    assert [address.rpartition("/")[2] for address in addresses] == ["a.jsonl", "b.jsonl"]
    settings = dataclasses.replace(SETTINGS, shards=4, buckets=2)
    manifest = pad_to_shards(
        sources, tmp_path / "remote" / "out", settings, options=EngineOptions(**options), block_size=1500
    )
    assert (manifest.counts.sequences, [source.name for source in manifest.sources]) == (600, addresses)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    pad_to_shards([Source(str(tmp_path / "a.jsonl"))] * 2, tmp_path / "local" / "out", settings)
    remote, local = (read_folder(tmp_path / name / "out") for name in ("remote", "local"))
    assert remote.pop("manifest.json") != local.pop("manifest.json")
    assert remote == local
    # A second run reads the addresses once more, to compare their checksums, and writes nothing.
    assert pad_to_shards(sources, tmp_path / "remote" / "out", settings) == manifest
