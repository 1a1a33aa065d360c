"""The engine that works in local processes: workers with NumPy, which begin with a fresh interpreter."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from maskcli.corpus.engines.base import (
    AnyTask,
    MapResult,
    TaskAttempt,
    make_frozen_error,
    make_lost_error,
    reduce_results,
)
from maskcli.corpus.engines.worker import BEAT, CODE, MEMORY, Crash, Job
from maskcli.errors import MaskcliError
from maskcli.sequences.bounds import get_memory_bound

R = TypeVar("R")
MOST_TRIES = 2
"""Workers that may die of a task. The first may have been killed for another one, which took all the memory."""
PATIENCE = 5
"""Seconds between the end of a worker's pipe and the end of the worker."""


BEATING = 5
"""Seconds between two signs of life of a worker."""
FROZEN = 40
"""Seconds after which a worker without a sign of life is frozen: a process that is stopped, for instance."""


class ProcessEngine:
    """Works on one task in each of several processes of this machine."""

    def __init__(self, workers: int) -> None:
        """Keep the number of processes; each starts with its first task."""
        self._most_workers = workers

    def map_reduce(
        self,
        tasks: Iterable[AnyTask],
        work: Callable[[AnyTask], R],
        merge: Callable[[list[R]], R],
        *,
        keep_going: bool = False,
        on_done: Callable[[AnyTask], None] = lambda _task: None,
        on_result: Callable[[R], None] = lambda _result: None,
    ) -> MapResult[R]:
        """Return the merged results; see ``Engine``."""
        with _Pool(tasks, Job(work, get_memory_bound(), BEATING), self._most_workers) as pool:
            return reduce_results(pool, merge, keep_going, on_done, on_result)


class _Pool(Generic[AnyTask]):
    """Workers, and the tasks that they have."""

    def __init__(self, tasks: Iterable[AnyTask], job: Job, most_workers: int) -> None:
        self._waiting = (TaskAttempt(index, task) for index, task in enumerate(tasks))
        self._again: deque[TaskAttempt[AnyTask]] = deque()
        self._job, self._most_workers = job, most_workers
        self._workers: list[_Worker] = []
        self._busy: dict[_Worker, TaskAttempt[AnyTask]] = {}
        self._last: int | None = None
        self._next_look = time.monotonic() + BEATING

    def __enter__(self) -> _Pool[AnyTask]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def stop_after(self, index: int) -> None:
        """Leave out all tasks after this one, which have no result that counts."""
        self._last = index if self._last is None else min(index, self._last)

    def run(self) -> Iterator[tuple[TaskAttempt[AnyTask], Any]]:
        """Yield each task with its result, or with the error of a bad input, as they finish.

        Raises:
            RuntimeError: with the traceback of the worker, for any other error.
        """
        while self._hand_out():
            receivers = {worker.receiver: worker for worker in self._busy}
            ready = wait(list(receivers), BEATING)
            self._look_for_frozen()
            for receiver in ready:
                worker = receivers[receiver]  # type: ignore[index]
                try:
                    message = worker.receive()
                    if message == BEAT:
                        continue
                    item = self._busy.pop(worker)
                    result = pickle.loads(message)  # noqa: S301 - from a process of this program
                except (EOFError, OSError):
                    item = self._busy.pop(worker)
                    result = self._bury(worker, item)
                if isinstance(result, Crash):
                    raise RuntimeError(f"a worker failed at {item.task.where}\n{result.traceback}")
                if item not in self._again:
                    yield item, result

    def _look_for_frozen(self) -> None:
        """Raise InputError for a worker without a sign of life for ``FROZEN`` seconds."""
        # The time is counted in looks: if the whole group was stopped and continues, the clock has gone on.
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + BEATING
        for worker, item in self._busy.items():
            if worker.count_silence() * BEATING >= FROZEN:
                raise make_frozen_error(item.task.where, f"process {worker.pid}", FROZEN)

    def _hand_out(self) -> bool:
        """Give tasks to idle workers; return whether any task is in work."""
        while len(self._busy) < self._most_workers and (item := self._take()):
            worker = self._find_idle()
            item.tries += 1
            self._busy[worker] = item
            worker.send(item.task)
        return any(self._is_needed(item) for item in self._busy.values())

    def _take(self) -> TaskAttempt[AnyTask] | None:
        item = self._again.popleft() if self._again else next(self._waiting, None)
        return item if item is not None and self._is_needed(item) else None

    def _is_needed(self, item: TaskAttempt[AnyTask]) -> bool:
        return self._last is None or item.index < self._last

    def _find_idle(self) -> _Worker:
        for worker in self._workers:
            if worker not in self._busy:
                return worker
        self._workers.append(_Worker(self._job))
        return self._workers[-1]

    def _bury(self, worker: _Worker, item: TaskAttempt[AnyTask]) -> MaskcliError | None:
        """Remove a worker that died; return an error if its task is not tried again."""
        self._workers.remove(worker)
        reason = worker.describe_death()
        if item.tries < MOST_TRIES:
            self._again.append(item)
            return None
        return make_lost_error(item.task, f"{reason}, {MOST_TRIES} times")


class _Worker:
    """A process that works on one task at a time.

    Attributes:
        receiver: the end of the pipe from which results are read.
    """

    def __init__(self, job: Job) -> None:
        from_parent, to_worker = os.pipe()
        from_worker, to_parent = os.pipe()
        code = CODE.format(path=sys.path, read=from_parent, write=to_parent)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", code],
            pass_fds=(from_parent, to_parent),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(from_parent)
        os.close(to_parent)
        self._sender = Connection(to_worker, readable=False)
        self.receiver = Connection(from_worker, writable=False)
        self._silence, self._work_before = 0, 0
        _running.append(self._process)
        self.send(job)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def receive(self) -> bytes:
        """Return the next message; raise EOFError at the end of the pipe."""
        self._silence = 0
        return self.receiver.recv_bytes()

    def count_silence(self) -> int:
        """Return how often this was called since the worker last sent a message, or used its processor."""
        # While a long call of a library holds the interpreter's lock, a worker is busy and cannot send.
        work = _read_processor_time(self.pid)
        self._silence = 0 if work != self._work_before else self._silence + 1
        self._work_before = work
        return self._silence

    def send(self, message: object) -> None:
        # If the worker is dead, its receiver is at its end, and the pool learns it from there.
        with contextlib.suppress(OSError):
            self._sender.send(message)

    def describe_death(self) -> str:
        """Return how the process ended, whose pipe is closed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        return _describe_end(self.stop())

    def stop(self) -> int:
        """End the process and return its exit code."""
        self._sender.close()
        self.receiver.close()
        self._process.kill()
        code = self._process.wait()
        _running.remove(self._process)
        return code


_running: list[subprocess.Popen[bytes]] = []
"""The workers of this process."""


def kill_workers() -> None:
    """End all workers, because the process is about to end."""
    for process in _running:
        process.kill()


def _read_processor_time(pid: int) -> int:
    """Return the time that a process has used, in ticks of the system; 0 on systems without ``/proc``."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - quicker
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[11]) + int(fields[12])
    except OSError:
        return 0


def _describe_end(code: int) -> str:
    if code == MEMORY:
        return "a worker without enough memory"
    if code < 0:
        return f"a worker that was killed by {signal.Signals(-code).name}"
    return f"a worker that ended with exit code {code}"
