"""Measure a task of Dask that has no work: the time, and the memory of the scheduler.

    python benchmarks/task_cost.py [--tasks 20000] [--workers 2]

A cluster on this machine runs tasks that return the size of their block. ``at once``: all are submitted, and their
results are kept, as a program for a few tasks would do it. ``in windows``: the engine of maskcli. The seconds of the
processors of the scheduler bound the tasks that any number of workers can begin; its process also watches the workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import operator
import time
from collections.abc import Callable, Sequence

import psutil
from distributed import Client
from distributed import wait as wait_for
from turns import print_header, print_row

from maskcli.corpus.blocks import BLOCK_SIZE, BlockTask
from maskcli.corpus.engines.dask import DaskEngine
from maskcli.corpus.engines.dask_local import start_local_cluster

work = operator.attrgetter("size")


@dataclasses.dataclass(frozen=True)
class TaskCost:
    """The cost of a task, in seconds and bytes.

    Attributes:
        seconds: between two results.
        scheduler: of its processor.
        client: of the processor of the process that submits.
        memory: by which the scheduler grows.
    """

    seconds: float
    scheduler: float
    client: float
    memory: float


def make_tasks(count: int) -> list[BlockTask]:
    """Return the tasks of a file."""
    return [
        BlockTask("corpus/part-0000.jsonl", "jsonl", "lines", index * BLOCK_SIZE, BLOCK_SIZE, BLOCK_SIZE, "ids")
        for index in range(count)
    ]


def submit_at_once(address: str, tasks: Sequence[BlockTask]) -> int:
    """Submit all tasks and keep their results; return their sum and the memory of the scheduler with them."""
    with Client(address) as client:
        futures = client.map(work, tasks, pure=False)
        wait_for(futures)
        memory = _find_scheduler().memory_info().rss
        if sum(client.gather(futures)) != sum(task.size for task in tasks):
            raise SystemExit("wrong result")
    return memory


def submit_in_windows(address: str, tasks: Sequence[BlockTask]) -> int:
    """Run the tasks by the engine; return the memory of the scheduler afterwards."""
    result = DaskEngine(scheduler=address).map_reduce(tasks, work, sum)
    if result.result != sum(task.size for task in tasks):
        raise SystemExit("wrong result")
    return _find_scheduler().memory_info().rss


def _find_scheduler() -> psutil.Process:
    """Return the process of the cluster that this process has started last."""
    return max(psutil.Process().children(), key=lambda process: process.create_time())


def measure_tasks(submit: Callable[[str, Sequence[BlockTask]], int], count: int, workers: int) -> TaskCost:
    """Return the cost of a task in a cluster of its own."""
    with start_local_cluster(workers) as address:
        submit(address, make_tasks(100))  # Imports, and the first connections.
        scheduler = _find_scheduler()
        memory, before = scheduler.memory_info().rss, sum(scheduler.cpu_times()[:2])
        start, cpu = time.perf_counter(), time.process_time()
        grown = submit(address, make_tasks(count)) - memory
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return TaskCost(seconds / count, (sum(scheduler.cpu_times()[:2]) - before) / count, cpu / count, grown / count)


def print_tasks(count: int, workers: int) -> TaskCost:
    """Print the cost of a task, and return that in windows."""
    print_header(f"{count:,} tasks", "ms a task", "of the scheduler", "of the client", "KiB a task in the scheduler")
    for name, submit in (("at once", submit_at_once), ("in windows", submit_in_windows)):
        cost = measure_tasks(submit, count, workers)
        milliseconds = [f"{1e3 * value:.2f}" for value in (cost.seconds, cost.scheduler, cost.client)]
        print_row(name, *milliseconds, f"{cost.memory / 1024:.2f}")
    print()
    return cost


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print_tasks(options.tasks, options.workers)
