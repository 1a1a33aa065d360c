"""Shards of ArrayRecord, compared with its own library and TensorFlow's reader of Examples."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import maskcli
from maskcli.corpus.shards import pad_to_shards
from maskcli.records.options import EngineOptions
from tests.conftest import ROOT, Output, clean_environment
from tests.corpus.test_shards import ROWS, SETTINGS, read_folder, write_corpus

array_record = pytest.importorskip("array_record.python.array_record_module", reason="no array_record")
RECORDS = dataclasses.replace(SETTINGS, format="array_record", shards=3)


def test_records_are_read_by_other_libraries(tmp_path: Path) -> None:
    import tensorflow as tf

    manifest = pad_to_shards(write_corpus(tmp_path, ROWS), tmp_path / "out", RECORDS)
    batch, row = maskcli.pad(ROWS), 0
    for shard in manifest.shards:
        (file,) = shard.files
        reader = array_record.ArrayRecordReader(str(tmp_path / "out" / file.name))
        assert reader.num_records() == shard.rows
        features = tf.io.parse_single_example(
            reader.read([shard.rows - 1])[0],
            {name: tf.io.FixedLenFeature([39], tf.int64) for name in ("tokens", "tokens.mask")},
        )
        row += shard.rows
        assert np.array_equal(features["tokens"], batch.tokens[row - 1])
        assert np.array_equal(features["tokens.mask"], batch.mask[row - 1])


def test_processes_write_the_same_records(tmp_path: Path) -> None:
    sources = write_corpus(tmp_path, ROWS)
    pad_to_shards(sources, tmp_path / "one" / "out", RECORDS)
    pad_to_shards(sources, tmp_path / "two" / "out", RECORDS, options=EngineOptions(processes=2), block_size=4000)
    assert read_folder(tmp_path / "two" / "out") == read_folder(tmp_path / "one" / "out")


def test_damaged_records_are_not_read(call: Callable[..., Output], tmp_path: Path) -> None:
    manifest = pad_to_shards(write_corpus(tmp_path, ROWS), tmp_path / "out", RECORDS)
    path = tmp_path / "out" / manifest.shards[1].files[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 8] ^= 255
    path.write_bytes(content)
    done = call("pad", "out")
    assert (done, done.exit_status) == ("", 3)
    assert "expected the file that the manifest lists; received a damaged file" in done.stderr


def test_array_record_is_for_shards(call: Callable[..., Output], tmp_path: Path) -> None:
    write_corpus(tmp_path, ROWS)
    done = call("pad", "a.jsonl", "-f", "array_record", "-o", "out")
    assert (done, done.exit_status) == ("", 2)
    assert done.stderr.startswith("Error: --format array_record: expected --shards, --buckets or --pack")


def test_array_record_needs_its_package_but_no_tensorflow(tmp_path: Path) -> None:
    write_corpus(tmp_path, ROWS)
    code = "import sys; {}from maskcli.cli import run; run('pad a.jsonl -o out/ --shards 2 -f array_record'.split())\n"
    code += "print([name for name in ('tensorflow', 'keras', 'jax') if name in sys.modules], file=sys.stderr)"
    run = {"capture_output": True, "text": True, "cwd": tmp_path, "env": clean_environment(PYTHONPATH=str(ROOT))}
    missing = "sys.modules['array_record.python'] = None; "
    done = subprocess.run([sys.executable, "-c", code.format(missing)], **run)
    assert "--format array_record: expected the package array_record" in done.stderr
    assert not (tmp_path / "out").exists()
    done = subprocess.run([sys.executable, "-c", code.format("")], **run)
    assert (done.stderr, len(list((tmp_path / "out").iterdir()))) == ("[]\n", 3)
