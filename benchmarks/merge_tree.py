"""Measure the parts of a profile on a cluster, and simulate the merge tree of a million blocks with them.

    python benchmarks/merge_tree.py [--blocks 1000000] [--workers 1600] [--block-size 64M] [--max-memory 1G]

A block of the corpus of ``corpus.py`` is read by one thread, which measures the cost per byte and the record that a
worker returns. Records of this content then pass through the merge tree of maskcli, in the order in which workers would
finish: they take 30 % more or less time for a block, and 1 % of them three times as long. Only the hashes of rows are
random, in the number and range that the block would send. The tasks are cut from files of that size, which are sparse.
A cluster of Dask on this machine measures the cost of a task without work. From these, the last table computes the time
of a trillion tokens on 100 machines. The tables are those of docs/scale.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import importlib.util
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from corpus import SLICE, write_rows
from turns import MIB, print_header, print_row, read_peak

from maskcli.corpus.blocks import BlockTask, cut_files
from maskcli.corpus.counting import CountOptions, count_block
from maskcli.corpus.engines.base import FAN_IN, MergeTree
from maskcli.corpus.merging import compute_limit, merge_states
from maskcli.corpus.sampling import SharedSample
from maskcli.records.corpus import CorpusState, RowHashes
from maskcli.sequences.bounds import parse_size
from maskcli.sequences.sources import Source
from maskcli.sequences.threads import use_single_thread

if TYPE_CHECKING:
    from task_cost import TaskCost

TOKENS, WORKERS = 10**12, (100, 400, 1600)
HASH_BYTES = 512
"""Bytes of ``--max-memory`` for each hash of a row, as in ``maskcli/api/profile.py``."""
FILE_SIZE = 2**43
"""Bytes of a sparse file; file systems have a limit."""
JITTER, SLOW_SHARE, SLOWNESS = 0.3, 0.01, 3


@dataclasses.dataclass(frozen=True)
class BlockCost:
    """The measured cost of a block.

    Attributes:
        state: the record that a worker returns.
        size: bytes of the block.
        tokens: in it.
        seconds: of a processor.
    """

    state: CorpusState
    size: int
    tokens: int
    seconds: float


def measure_block(folder: Path, block_size: int) -> BlockCost:
    """Read a block several times and return its cost."""
    path = folder / "block.jsonl"
    rows, size = 0, 0
    while size < block_size:
        write_rows(folder / "more.jsonl", rows, SLICE)
        with path.open("ab") as file:
            file.write((folder / "more.jsonl").read_bytes())
        rows, size = rows + SLICE, path.stat().st_size
    task = BlockTask(str(path), "jsonl", "lines", 0, block_size, block_size, "ids")
    use_single_thread()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        state = count_block(task, CountOptions(most_hashes=2**30))
        seconds.append(time.process_time() - start)
    return BlockCost(state, block_size, state.groups[""].lengths.tokens, statistics.median(seconds))


class Records:
    """Pickled records of blocks like the measured one, each with other rows."""

    def __init__(self, cost: BlockCost, most: int = 2**30) -> None:
        """Draw the hashes of a few blocks; those of others are the same ones plus a number, modulo 2**64."""
        self._state, self._most = cost.state, most
        self._rng = np.random.default_rng(0)
        count = len(cost.state.groups[""].hashes.hashes)
        self._drawn = [np.sort(self._rng.integers(0, 2**64, count, np.uint64)) for _ in range(8)]

    def make(self, level: int) -> bytes:
        """Return a record with the hashes of a level."""
        hashes = self._drawn[self._rng.integers(len(self._drawn))]
        if level:
            hashes = self._take_sample(hashes, int(compute_limit(level)))
        else:
            place = int(self._rng.integers(len(hashes)))
            hashes = np.roll(hashes, -place) - hashes[place]
        group = self._state.groups[""]
        sample = RowHashes(level, self._most, hashes, hashes[:0], np.zeros(0, np.int64))
        state = dataclasses.replace(self._state, groups={"": dataclasses.replace(group, hashes=sample)})
        return pickle.dumps(state, pickle.HIGHEST_PROTOCOL)

    def _take_sample(self, hashes: np.ndarray, limit: int) -> np.ndarray:
        """Return hashes from a random range of that many numbers, as if it began at 0."""
        start = self._rng.integers(0, 2**64 - limit, dtype=np.uint64, endpoint=True)
        first, last = np.searchsorted(hashes, [start, start + np.uint64(limit - 1)])
        return hashes[first:last] - start


def print_block(cost: BlockCost) -> None:
    """Print the cost of a block, and the size of its record."""
    records = Records(cost)
    print_header("a block", "rows", "tokens", "seconds", "MB/s", "record", "without hashes")
    print_row(
        f"{cost.size / MIB:.0f} MiB",
        f"{cost.state.rows:,}",
        f"{cost.tokens:,}",
        f"{cost.seconds:.2f}",
        f"{cost.size / 1e6 / cost.seconds:.0f}",
        f"{len(records.make(0)) / 1024:,.1f} KiB",
        f"{len(records.make(64)) / 1024:,.1f} KiB",
    )
    print()


def print_merges(cost: BlockCost) -> None:
    """Print the seconds of a merge of records with few and many hashes."""
    records = Records(cost)
    print_header(f"a merge of {FAN_IN} records", "hashes in each", "milliseconds", "ns for each hash")
    for level in (64, 8, 4, 2, 0):
        states = [pickle.loads(records.make(level)) for _ in range(FAN_IN)]  # noqa: S301 - records of this program
        hashes = sum(len(state.groups[""].hashes.hashes) for state in states)
        seconds = min(measure_cpu(lambda states=states: merge_states(states)) for _ in range(3))
        each = f"{1e9 * seconds / hashes:.0f}" if hashes else "–"
        print_row(
            f"1 of {2**level:,} rows" if level < 64 else "none", f"{hashes // FAN_IN:,}", f"{1e3 * seconds:.2f}", each
        )
    print()


def measure_cpu(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that ``work`` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cut_sparse_files(folder: Path, blocks: int, block_size: int) -> list[BlockTask]:
    """Return the tasks of files with so many blocks."""
    left, paths = blocks * block_size, []
    while left > 0:
        paths.append(folder / f"sparse-{len(paths)}.jsonl")
        with paths[-1].open("wb") as file:
            file.write(b'{"ids": [1]}\n' * 2**17)  # The start of a file is read to find its field.
            file.truncate(min(left, FILE_SIZE))
        left -= FILE_SIZE
    return list(cut_files(map(Source, map(str, paths)), field="ids", block_size=block_size))


def order_of_finish(tasks: Iterable[BlockTask], workers: int) -> Iterator[tuple[int, BlockTask]]:
    """Yield the index and the task of each block as workers finish them; each takes the next task then."""
    rng = np.random.default_rng(0)
    speeds = np.where(rng.random(workers) < SLOW_SHARE, SLOWNESS, 1)
    waiting = enumerate(tasks)
    busy: list[tuple[float, int, int, BlockTask]] = []

    def begin(now: float, worker: int) -> None:
        item = next(waiting, None)
        if item is not None:
            seconds = speeds[worker] * rng.uniform(1 - JITTER, 1 + JITTER)
            heapq.heappush(busy, (now + seconds, item[0], worker, item[1]))

    for worker in range(workers):
        begin(0, worker)
    while busy:
        now, index, worker, task = heapq.heappop(busy)
        yield index, task
        begin(now, worker)


@dataclasses.dataclass
class Simulation:
    """The measurements of a simulated run.

    Attributes:
        tree_seconds: of the processor, for results and merges.
        record_bytes: that arrived.
        merges: their number.
        most_waiting: results that wait for their neighbours at most.
        peak: bytes of the process at most.
        rows: in the merged result.
        level: of its sample.
    """

    tree_seconds: float = 0.0
    record_bytes: int = 0
    merges: int = 0
    most_waiting: int = 0
    peak: int = 0
    rows: int = 0
    level: int = 0


def simulate(cost: BlockCost, tasks: list[BlockTask], workers: int, most: int, shares_sample: bool) -> Simulation:
    """Pass the records of all tasks through a merge tree."""
    run, sample, records = Simulation(), SharedSample(), Records(cost, most)

    def merge(states: list[CorpusState]) -> CorpusState:
        run.merges += 1
        return sample.merge(states) if shares_sample else merge_states(states)

    tree: MergeTree[CorpusState] = MergeTree(merge)
    read_peak(reset=True)
    order = order_of_finish(sample.add_level(tasks), workers)
    # Some results at once, because reading the clock of the processor takes as long as a small result.
    while arrived := [(index, records.make(task.hash_level)) for index, task in islice(order, 32)]:
        run.record_bytes += sum(len(record) for _, record in arrived)
        start = time.process_time()
        for index, record in arrived:
            tree.add(index, pickle.loads(record))  # noqa: S301 - a record of this program
        run.tree_seconds += time.process_time() - start
        run.most_waiting = max(run.most_waiting, tree.waiting)
    start = time.process_time()
    result = tree.finish()
    run.tree_seconds += time.process_time() - start
    run.peak = read_peak()
    if result is None or result.rows != len(tasks) * cost.state.rows:
        raise SystemExit("the tree lost rows")
    run.rows, run.level = result.rows, result.groups[""].hashes.level
    return run


def print_simulation(cost: BlockCost, folder: Path, options: argparse.Namespace) -> Simulation:
    """Print the simulated runs, and return the largest."""
    before = read_peak(reset=True)
    start = time.process_time()
    tasks = cut_sparse_files(folder, options.blocks, cost.size)
    seconds, size = time.process_time() - start, read_peak() - before
    print(f"cut {len(tasks):,} blocks: {seconds:.1f} s, {size / MIB:,.0f} MiB\n", flush=True)
    most = parse_size(options.max_memory) // HASH_BYTES
    print_header(
        f"blocks, {options.workers:,} workers",
        "seconds",
        "ms a result",
        "merges",
        "received",
        "most results waiting",
        "memory",
        "rows compared",
    )
    few = tasks[: 2 * FAN_IN**2]
    simulate_and_print("without a shared sample", cost, few, options.workers, most, False)
    return simulate_and_print("", cost, tasks, options.workers, most, True)


def simulate_and_print(
    remark: str, cost: BlockCost, tasks: list[BlockTask], workers: int, most: int, shares_sample: bool
) -> Simulation:
    """Print and return a simulated run."""
    run = simulate(cost, tasks, workers, most, shares_sample)
    print_row(
        f"{len(tasks):,} {remark}".strip(),
        f"{run.tree_seconds:,.1f}",
        f"{1e3 * run.tree_seconds / len(tasks):.2f}",
        f"{run.merges:,}",
        f"{run.record_bytes / 2**30:,.2f} GiB",
        f"{run.most_waiting:,}",
        f"{run.peak / MIB:,.0f} MiB",
        f"1 of {2**run.level:,}",
    )
    return run


def print_estimate(cost: BlockCost, run: Simulation, blocks: int, task: TaskCost | None) -> None:
    """Print the time of a trillion tokens for several sizes of blocks, computed from the measurements."""
    size = TOKENS * cost.size / cost.tokens
    reading = [f"reading, {workers:,} workers" for workers in WORKERS]
    print_header(f"{size / 1e12:.1f} TB", "blocks", *reading, "scheduler", "client", "workers that are busy")
    seconds = size / cost.size * cost.seconds
    scheduler, client = (0, 0) if task is None else (task.scheduler, task.client)
    client += run.tree_seconds / blocks
    for block_size in (2**26, 2**28):
        n_blocks = size / block_size
        print_row(
            f"blocks of {block_size / MIB:.0f} MiB",
            f"{n_blocks:,.0f}",
            *(f"{seconds / workers:,.0f} s" for workers in WORKERS),
            f"{n_blocks * scheduler:,.0f} s",
            f"{n_blocks * client:,.0f} s",
            f"{seconds / n_blocks / max(scheduler, client):,.0f}",
        )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1600)
    parser.add_argument("--block-size", default="64M")
    parser.add_argument("--max-memory", default="1G")
    parser.add_argument("--tasks", type=int, default=20_000, help="Tasks of Dask without work.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cost = measure_block(Path(name), parse_size(options.block_size))
        print_block(cost)
        print_merges(cost)
        run = print_simulation(cost, Path(name), options)
    print()
    task = None
    if importlib.util.find_spec("distributed") is None or not options.tasks:
        print("without Dask, the cost of a task is not measured", file=sys.stderr)
    else:
        from task_cost import print_tasks

        task = print_tasks(options.tasks, 2)
    print_estimate(cost, run, options.blocks, task)


if __name__ == "__main__":
    main()
