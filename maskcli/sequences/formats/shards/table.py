"""The formats of shards."""

from __future__ import annotations

from maskcli.sequences.formats.shards.array_record_files import (
    check_array_record,
    open_array_record_columns,
    read_array_record_columns,
)
from maskcli.sequences.formats.shards.arrow_files import (
    check_pyarrow,
    open_arrow_columns,
    open_parquet_columns,
    read_arrow_columns,
    read_parquet_columns,
)
from maskcli.sequences.formats.shards.columns import MARKS, TOKENS_MASK, ShardFormat
from maskcli.sequences.formats.shards.numpy_files import (
    open_npy_columns,
    open_npz_columns,
    read_npy_columns,
    read_npz_columns,
)
from maskcli.sequences.formats.shards.tfrecord_files import check_crc32c, open_tfrecord_columns, read_tfrecord_columns

SHARD_FORMATS = {
    "npy": ShardFormat(".npy", open_npy_columns, read_npy_columns, splits=True),
    "npz": ShardFormat(".npz", open_npz_columns, read_npz_columns, MARKS, compresses=True),
    "parquet": ShardFormat(
        ".parquet", open_parquet_columns, read_parquet_columns, TOKENS_MASK, check_packages=check_pyarrow
    ),
    "arrow": ShardFormat(".arrow", open_arrow_columns, read_arrow_columns, TOKENS_MASK, check_packages=check_pyarrow),
    "tfrecord": ShardFormat(
        ".tfrecord", open_tfrecord_columns, read_tfrecord_columns, TOKENS_MASK, check_packages=check_crc32c
    ),
    "array_record": ShardFormat(
        ".array_record",
        open_array_record_columns,
        read_array_record_columns,
        TOKENS_MASK,
        check_packages=check_array_record,
    ),
}
"""The formats of shards, by the name that ``--format`` takes."""
