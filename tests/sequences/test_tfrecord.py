"""TFRecord files are those of TensorFlow, and damaged ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskcli.api.pad import pad
from maskcli.errors import InputError
from maskcli.sequences.files import read_sequences
from tests.conftest import Output

ROWS = [[1, -2, 3], [2**31 - 1], [], [-(2**31), 127, 128, 16383, 16384]]


def test_tensorflow_reads_written_records(call: Callable[..., Output], tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "a.jsonl").write_text("".join(f"{row}\n" for row in ROWS))
    assert call("pad", "a.jsonl", "-o", "out.tfrecord", "--padding", "pre").exit_status == 0
    kinds = {name: tf.io.FixedLenFeature([5], tf.int64) for name in ("tokens", "tokens.mask")}
    records = [
        tf.io.parse_single_example(record, kinds) for record in tf.data.TFRecordDataset(str(tmp_path / "out.tfrecord"))
    ]
    batch = pad(ROWS, padding="pre")
    assert np.array_equal([record["tokens"] for record in records], batch.tokens)
    assert np.array_equal([record["tokens.mask"] for record in records], batch.mask)
    assert call("pad", "out.tfrecord", "-f", "json").json["tokens"] == pad(ROWS).tokens.tolist()


def test_records_of_tensorflow_are_read(tmp_path: Path) -> None:
    import tensorflow as tf

    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number, row in enumerate(ROWS):
            features = {
                "ids": tf.train.Feature(int64_list=tf.train.Int64List(value=row)),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
                "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"])),
                "score": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    ragged = read_sequences([path]).ragged
    assert [ragged[index].tolist() for index in range(len(ragged))] == ROWS


def test_every_damage_of_a_record_is_noticed(call: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[1, 2, 3]\n[4, 5]\n")
    call("pad", "a.jsonl", "-o", "out.tfrecord")
    data = (tmp_path / "out.tfrecord").read_bytes()
    path = tmp_path / "damaged.tfrecord"
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(InputError, match=r"record \d"):
            read_sequences([str(path)])
        if place and place != len(data) // 2:
            path.write_bytes(data[:place])
            with pytest.raises(InputError, match=r"record \d"):
                read_sequences([str(path)])
