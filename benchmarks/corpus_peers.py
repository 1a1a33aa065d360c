"""The programs that people would write to profile and pad a corpus, for ``corpus.py``.

Each reads ``in/*.jsonl`` in the current directory. A profile is written to ``result.json``: the histogram of lengths,
and the smallest, the largest and the number of different ids. Shards are written to ``out/``, in the order of their
names; their rows are cut to ``MAXLEN`` ids and padded with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

WRITE = """
def write(lengths, smallest, largest, distinct):
    histogram = sorted((int(length), int(count)) for length, count in lengths)
    with open("result.json", "w") as file:
        json.dump({"lengths": histogram, "ids": [int(smallest), int(largest), int(distinct)]}, file)
"""
COUNT_BY_DATASETS = """
import collections, glob, itertools, json
import datasets

def count(batch):
    # A row for each batch, since rows for each sequence would be written to disk and read again.
    lengths = collections.Counter(map(len, batch["ids"]))
    return {"lengths": [list(lengths.items())], "ids": [list(set(itertools.chain.from_iterable(batch["ids"])))]}

if __name__ == "__main__":
    rows = datasets.load_dataset("json", data_files=sorted(glob.glob("in/*.jsonl")), split="train", cache_dir="cache")
    counts = rows.map(count, batched=True, batch_size=10_000, remove_columns=rows.column_names, num_proc={processes})
    lengths, ids = collections.Counter(), set()
    for row in counts:
        lengths.update(dict(map(tuple, row["lengths"])))
        ids.update(row["ids"])
    write(lengths.items(), min(ids), max(ids), len(ids))
"""
PAD_BY_DATASETS = """
import glob
import datasets, numpy

def pad(batch):
    return {"tokens": [(ids + [0] * MAXLEN)[:MAXLEN] for ids in batch["ids"]]}

if __name__ == "__main__":
    rows = datasets.load_dataset("json", data_files=sorted(glob.glob("in/*.jsonl")), split="train", cache_dir="cache")
    features = datasets.Features(tokens=datasets.Sequence(datasets.Value("int32"), length=MAXLEN))
    rows = rows.map(pad, batched=True, remove_columns=rows.column_names, features=features, num_proc={processes})
    for index in range({shards}):
        shard = rows.shard({shards}, index, contiguous=True).with_format("numpy")
        numpy.save(f"out/tokens-{index:05d}.npy", shard[:]["tokens"].astype("int32"))
"""
COUNT_BY_BAG = """
import collections, itertools, json
import dask.bag
from dask.distributed import Client

def count(lines):
    lengths, ids = collections.Counter(), set()
    for line in lines:
        row = json.loads(line)["ids"]
        lengths[len(row)] += 1
        ids.update(row)
    return [(lengths, ids)]

def merge(one, other):
    return one[0] + other[0], one[1] | other[1]

if __name__ == "__main__":
    client = Client(n_workers={processes}, threads_per_worker=1)
    lines = dask.bag.read_text("in/*.jsonl", blocksize=2**26)
    lengths, ids = lines.map_partitions(count).fold(merge).compute()
    write(lengths.items(), min(ids), max(ids), len(ids))
    client.shutdown()
"""
PAD_BY_BAG = """
import json
import dask, dask.bag, numpy
from dask.distributed import Client

def save(lines, index):
    rows = [json.loads(line)["ids"][:MAXLEN] for line in lines]
    tokens = numpy.zeros((len(rows), MAXLEN), "int32")
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    numpy.save(f"out/tokens-{index:05d}.npy", tokens)

if __name__ == "__main__":
    client = Client(n_workers={processes}, threads_per_worker=1)
    blocks = dask.bag.read_text("in/*.jsonl", blocksize=2**26).to_delayed()
    dask.compute(*[dask.delayed(save)(block, index) for index, block in enumerate(blocks)])
    client.shutdown()
"""
COUNT_BY_POLARS = """
import json
import polars as pl

schema = {"source": pl.String, "ids": pl.List(pl.Int32)}
column = pl.scan_ndjson("in/*.jsonl", schema=schema).select("ids")
lengths = column.group_by(pl.col("ids").list.len()).len()
tokens = pl.col("ids").explode()
ids = column.select(tokens.min().alias("min"), tokens.max().alias("max"), tokens.n_unique().alias("distinct"))
lengths, ids = pl.collect_all([lengths, ids], engine="streaming")
write(lengths.rows(), *ids.row(0))
"""
PAD_BY_POLARS = """
import glob
import numpy
import polars as pl

schema = {"source": pl.String, "ids": pl.List(pl.Int32)}
zeros = pl.lit([0] * MAXLEN, dtype=pl.List(pl.Int32))
tokens = pl.concat_list("ids", zeros).list.head(MAXLEN).list.to_array(MAXLEN)
for index, path in enumerate(sorted(glob.glob("in/*.jsonl"))):
    column = pl.scan_ndjson(path, schema=schema).select(tokens).collect()["ids"]
    numpy.save(f"out/tokens-{index:05d}.npy", column.to_numpy())
"""


def make_peers(maxlen: int, shards: int) -> Mapping[str, Mapping[str, str]]:
    """Return the source code of each program, by its name, for each of the two jobs."""
    alternatives = {
        "profile": {
            "`datasets` `map`, two processes": COUNT_BY_DATASETS,
            "Dask bag, two workers": COUNT_BY_BAG,
            "polars, two threads": COUNT_BY_POLARS,
        },
        "shards": {
            "`datasets` `map`, two processes": PAD_BY_DATASETS,
            "Dask bag, two workers": PAD_BY_BAG,
            "polars, two threads": PAD_BY_POLARS,
        },
    }
    values = {"MAXLEN": str(maxlen), "{processes}": "2", "{shards}": str(shards)}
    return {
        job: {name: _fill(WRITE + code, values) for name, code in programs.items()}
        for job, programs in alternatives.items()
    }


def _fill(code: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        code = code.replace(name, value)
    return code
