"""The table of file formats: their names, which ``--help`` shows without loading the formats and NumPy.

Content without a suffix is compared with the formats in the order of the table. Text, which matches anything, is last.
"""

from __future__ import annotations

from typing import NamedTuple


class FormatName(NamedTuple):
    """A format: the module that defines it, and the attributes of its ``Format`` that ``--help`` shows.

    Attributes:
        name: as ``--input-format`` spells it.
        module: its module in ``sequences/formats``.
        suffix: the first suffix of its files.
        is_text: whether the format is text.
        writes: whether maskcli also writes the format.
    """

    name: str
    module: str
    suffix: str
    is_text: bool = False
    writes: bool = True


FORMAT_NAMES = (
    FormatName("shards", "shards", "manifest.json", writes=False),
    FormatName("json", "json_array", ".json", is_text=True, writes=False),
    FormatName("jsonl", "json_lines", ".jsonl", is_text=True),
    FormatName("npy", "numpy_arrays", ".npy"),
    FormatName("npz", "numpy_arrays", ".npz"),
    FormatName("parquet", "arrow", ".parquet"),
    FormatName("arrow", "arrow", ".arrow"),
    FormatName("tfrecord", "tfrecord", ".tfrecord"),
    FormatName("csv", "csv_table", ".csv", is_text=True),
    FormatName("text", "text", ".txt", is_text=True, writes=False),
)
