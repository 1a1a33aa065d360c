"""The engine that works in local processes: workers with NumPy, which begin with a fresh interpreter."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from maskcli.corpus.engines.base import AnyTask, MapResult, MergeTree, TaskFailure, make_lost_error, raise_first
from maskcli.corpus.engines.worker import CODE, MEMORY, Crash, Job
from maskcli.errors import MaskcliError
from maskcli.sequences.bounds import get_memory_bound

R = TypeVar("R")
MOST_TRIES = 2
"""Workers that may die of a task. The first may have been killed for another one, which took all the memory."""
PATIENCE = 5
"""Seconds between the end of a worker's pipe and the end of the worker."""


@dataclasses.dataclass(eq=False)
class _Attempt(Generic[AnyTask]):
    """A task, its index, and how many workers began it."""

    index: int
    task: AnyTask
    tries: int = 0


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
    ) -> MapResult[R]:
        """Return the merged results; see ``Engine``."""
        tree, failures = MergeTree(merge), []
        with _Pool(tasks, Job(work, get_memory_bound()), self._most_workers) as pool:
            for item, result in pool.run():
                if isinstance(result, MaskcliError):
                    failures.append(TaskFailure(item.index, result))
                    if not keep_going:
                        # Earlier tasks still run: as in a single process, the error is that of the first bad input.
                        pool.stop_after(item.index)
                    result = None
                tree.add(item.index, result)
                on_done(item.task)
        if not keep_going:
            raise_first(failures)
        return MapResult(tree.finish(), tuple(sorted(failures, key=lambda failure: failure.index)))


class _Pool(Generic[AnyTask]):
    """Workers, and the tasks that they have."""

    def __init__(self, tasks: Iterable[AnyTask], job: Job, most_workers: int) -> None:
        self._waiting = (_Attempt(index, task) for index, task in enumerate(tasks))
        self._again: deque[_Attempt[AnyTask]] = deque()
        self._job, self._most_workers = job, most_workers
        self._workers: list[_Worker] = []
        self._busy: dict[_Worker, _Attempt[AnyTask]] = {}
        self._last: int | None = None

    def __enter__(self) -> _Pool[AnyTask]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def stop_after(self, index: int) -> None:
        """Leave out all tasks after this one, which have no result that counts."""
        self._last = index if self._last is None else min(index, self._last)

    def run(self) -> Iterator[tuple[_Attempt[AnyTask], Any]]:
        """Yield each task with its result, or with the error of a bad input, as they finish.

        Raises:
            RuntimeError: with the traceback of the worker, for any other error.
        """
        while self._hand_out():
            receivers = {worker.receiver: worker for worker in self._busy}
            for receiver in wait(list(receivers)):
                worker = receivers[receiver]  # type: ignore[index]
                item = self._busy.pop(worker)
                try:
                    result = pickle.loads(worker.receiver.recv_bytes())  # noqa: S301 - from a process of this program
                except (EOFError, OSError):
                    result = self._bury(worker, item)
                if isinstance(result, Crash):
                    raise RuntimeError(f"a worker failed at {item.task.where}\n{result.traceback}")
                if item not in self._again:
                    yield item, result

    def _hand_out(self) -> bool:
        """Give tasks to idle workers; return whether any task is in work."""
        while len(self._busy) < self._most_workers and (item := self._take()):
            worker = self._find_idle()
            item.tries += 1
            self._busy[worker] = item
            worker.send(item.task)
        return any(self._is_needed(item) for item in self._busy.values())

    def _take(self) -> _Attempt[AnyTask] | None:
        item = self._again.popleft() if self._again else next(self._waiting, None)
        return item if item is not None and self._is_needed(item) else None

    def _is_needed(self, item: _Attempt[AnyTask]) -> bool:
        return self._last is None or item.index < self._last

    def _find_idle(self) -> _Worker:
        for worker in self._workers:
            if worker not in self._busy:
                return worker
        self._workers.append(_Worker(self._job))
        return self._workers[-1]

    def _bury(self, worker: _Worker, item: _Attempt[AnyTask]) -> MaskcliError | None:
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
        _running.append(self._process)
        self.send(job)

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


def _describe_end(code: int) -> str:
    if code == MEMORY:
        return "a worker without enough memory"
    if code < 0:
        return f"a worker that was killed by {signal.Signals(-code).name}"
    return f"a worker that ended with exit code {code}"
