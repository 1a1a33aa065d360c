"""Choose the engine for the blocks of a corpus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from maskcli.corpus.blocks import BlockTask
from maskcli.corpus.engines.base import Engine
from maskcli.corpus.engines.inline import InlineEngine
from maskcli.corpus.engines.processes import ProcessEngine
from maskcli.errors import UsageError
from maskcli.records.options import EngineOptions, read_specs
from maskcli.sequences.threads import THREADS, count_processors

PAYS_FROM = 2**28
"""Bytes of input from which more processes than two pay: the start of each costs half a second of a processor.

On two processors it depends on their load: on busy ones, two threads profiled 857 MB in 7.6 and 8.2 seconds, and two
processes in 7.9 and 10.6; on free ones, 1,315 MB in 10.7 and 7.8. There, `--processes 2` chooses them.
"""


@contextlib.contextmanager
def open_engine(tasks: Sequence[BlockTask], options: EngineOptions) -> Iterator[Engine]:
    """Yield the engine that the options ask for; a cluster is connected meanwhile.

    Raises:
        UsageError: for options that contradict each other, and data that a cluster cannot read.
        InputError: for a cluster that does not answer.
    """
    check_engine(options)
    if options.cluster_option is None:
        yield choose_engine(tasks, options.processes)
        return
    if any(task.source is not None for task in tasks):
        raise make_cluster_error(options, "standard input, or a pipe, which only this process can read")
    # Imported late: only a cluster needs Dask.
    from maskcli.corpus.engines.dask import DaskEngine

    with DaskEngine(options.scheduler, options.workers) as engine:
        yield engine


def check_engine(options: EngineOptions) -> None:
    """Raise UsageError for options of two engines."""
    names = [name for name in read_specs(EngineOptions) if getattr(options, name) is not None]
    if len(names) > 1:
        raise UsageError(
            where=f"--{names[1]}",
            expected="one of --processes, --scheduler and --workers",
            received=" and ".join(f"--{name}" for name in names),
            fix="Leave out all but one.",
        )


def make_cluster_error(options: EngineOptions, received: str) -> UsageError:
    """Return the error of data or options that a cluster cannot work on."""
    return UsageError(
        where=str(options.cluster_option),
        expected="files, or addresses such as s3://, which the workers of a cluster read",
        received=received,
        fix=f"Leave out {options.cluster_option}, or write the data into files before.",
    )


def choose_engine(tasks: Sequence[BlockTask], processes: int | None = None) -> Engine:
    """Return the engine of this machine with this number of processes; None chooses by the size of the data."""
    if any(task.source is not None for task in tasks):
        return InlineEngine()  # Another process cannot read standard input.
    if processes is None:
        pays = sum(task.size for task in tasks) >= PAYS_FROM and count_processors() > THREADS
        processes = count_processors() if pays else 1
    workers = min(processes, len(tasks))
    return ProcessEngine(workers) if workers > 1 else InlineEngine()
