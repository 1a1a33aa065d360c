"""A worker process: receives tasks through a pipe, and returns results and errors as values.

It is started as a command of its own, not by ``multiprocessing``, which would run the script of the user once more.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from maskcli.corpus.engines.base import attempt
from maskcli.sequences.bounds import set_memory_bound
from maskcli.sequences.threads import use_single_thread

CODE = "import sys; sys.path[:] = {path!r}; from maskcli.corpus.engines.worker import serve; serve({read}, {write})"
"""The program of a worker, whose pipes have these descriptors."""
BEAT = b""
"""The message that is a sign of life; a result is never empty."""
MEMORY = 71
"""The exit code of a worker that ran out of memory."""


class Job(NamedTuple):
    """The first message to a worker: what it does with each task.

    Attributes:
        work: the function of a task.
        memory_bound: bytes that one input may take.
        beating: seconds between two signs of life.
    """

    work: Callable[[Any], Any]
    memory_bound: int
    beating: int


class Crash(NamedTuple):
    """An error of a worker that is a bug."""

    traceback: str


def serve(read: int, write: int) -> None:
    """Work on tasks until the pipe closes, which it does if the parent ends for whatever reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
    incoming, outgoing = Connection(read, writable=False), Connection(write, readable=False)
    use_single_thread()
    try:
        job: Job = incoming.recv()
        set_memory_bound(job.memory_bound)
        lock = threading.Lock()
        threading.Thread(target=_send_beats, args=(outgoing, lock, job.beating), daemon=True).start()
        while True:
            result = _work_on(job.work, incoming.recv())
            with lock:
                outgoing.send_bytes(result)
    except (EOFError, OSError):
        os._exit(0)


def _send_beats(outgoing: Connection, lock: threading.Lock, beating: int) -> None:
    """Send signs of life, so that the parent knows a worker that is stopped from one that is slow."""
    wait = threading.Event().wait
    with contextlib.suppress(OSError):
        while not wait(beating):
            with lock:
                outgoing.send_bytes(BEAT)


def _work_on(work: Callable[[Any], Any], task: Any) -> bytes:
    """Return the pickled result; of an error that is a bug, its traceback."""
    try:
        return pickle.dumps(attempt(work, task), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        os._exit(MEMORY)
    except Exception:
        import traceback

        return pickle.dumps(Crash(traceback.format_exc()))
