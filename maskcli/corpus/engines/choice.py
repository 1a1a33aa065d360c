"""Choose the engine for the blocks of a corpus."""

from __future__ import annotations

from collections.abc import Sequence

from maskcli.corpus.blocks import BlockTask
from maskcli.corpus.engines.base import Engine
from maskcli.corpus.engines.inline import InlineEngine
from maskcli.corpus.engines.processes import ProcessEngine
from maskcli.sequences.threads import THREADS, count_processors

PAYS_FROM = 2**28
"""Bytes of input from which more processes than two pay: the start of each costs half a second of a processor.

On two processors they do not pay: two threads profiled 857 MB in 7.6 and 8.2 seconds, two processes in 7.9 and 10.6.
"""


def choose_engine(tasks: Sequence[BlockTask], processes: int | None = None) -> Engine:
    """Return the engine with this number of processes; None chooses by the size of the data."""
    if any(task.source is not None for task in tasks):
        return InlineEngine()  # Another process cannot read standard input.
    if processes is None:
        pays = sum(task.size for task in tasks) >= PAYS_FROM and count_processors() > THREADS
        processes = count_processors() if pays else 1
    workers = min(processes, len(tasks))
    return ProcessEngine(workers) if workers > 1 else InlineEngine()
