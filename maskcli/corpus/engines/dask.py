"""The engine that works on a cluster of Dask distributed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from maskcli.corpus.engines.base import AnyTask, MapResult, Task, TaskAttempt, make_lost_error, reduce_results
from maskcli.corpus.engines.dask_client import LOOKING, Connection, connect_cluster, make_versions_error
from maskcli.corpus.engines.dask_worker import (
    BadInput,
    ClusterJob,
    OutOfMemory,
    WrongVersions,
    read_worker_versions,
    run_task,
)
from maskcli.corpus.engines.worker import Crash
from maskcli.errors import InputError, MaskcliError
from maskcli.sequences.bounds import get_memory_bound
from maskcli.sequences.sources import MISSING

R = TypeVar("R")
AHEAD = 2
"""Tasks for each thread of a worker that the scheduler knows at the same time: one in work, and one that waits.

A task costs the scheduler 3.4 KiB, so that a million of them at once would cost 3.3 GiB.
"""
MOST_TRIES = 2
"""Workers whose memory a task may use up."""


class DaskEngine:
    """Works on tasks in the threads of the workers of a cluster, and merges their results in this process.

    Merging on workers would move as many bytes, and would make the scheduler keep all tasks until the last merge: it
    keeps each task that a result depends on.
    """

    def __init__(self, scheduler: str | None = None, workers: int | None = None) -> None:
        """Keep the address of a scheduler, or the number of workers of a cluster on this machine."""
        self._scheduler, self._workers = scheduler, workers
        self._stack = contextlib.ExitStack()
        self._connection: Connection | None = None

    def __enter__(self) -> DaskEngine:
        """Connect to the cluster, and compare the versions of its workers; see ``connect_cluster``."""
        self._connection = self._stack.enter_context(connect_cluster(self._scheduler, self._workers))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster, and end it if it is local."""
        self._connection = None
        self._stack.close()

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
        """Return the merged results; see ``Engine``.

        Raises:
            InputError: also for a frozen worker, and a scheduler that is gone.
        """
        if self._connection is None:
            with self:
                return self.map_reduce(tasks, work, merge, keep_going=keep_going, on_done=on_done, on_result=on_result)
        job = ClusterJob(work, get_memory_bound(), str(Path.cwd()), read_worker_versions())
        run = _Run(self._connection, tasks, job)
        try:
            return reduce_results(run, merge, keep_going, on_done, on_result)
        finally:
            run.cancel()


class _Run(Generic[AnyTask]):
    """The tasks of a run that the cluster works on."""

    def __init__(self, connection: Connection, tasks: Iterable[AnyTask], job: ClusterJob) -> None:
        self._connection, self._client, self._job = connection, connection.client, job
        self._waiting = (TaskAttempt(index, task) for index, task in enumerate(tasks))
        self._name = f"maskcli-{uuid.uuid4().hex}"
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._in_work: dict[Any, TaskAttempt[AnyTask]] = {}
        self._alone: list[TaskAttempt[AnyTask]] = []
        self._last: int | None = None

    def stop_after(self, index: int) -> None:
        """Leave out all tasks after this one, which have no result that counts."""
        self._last = index if self._last is None else min(index, self._last)

    def cancel(self) -> None:
        """Take back all tasks that are still in work."""
        with contextlib.suppress(Exception):  # The cluster may be gone.
            self._connection.start(lambda: self._client.cancel(list(self._in_work), asynchronous=True, force=True))
        self._in_work.clear()

    def run(self) -> Iterator[tuple[TaskAttempt[AnyTask], Any]]:
        """Yield each task with its result, or with the error of a bad input, as they finish.

        Raises:
            RuntimeError: with the traceback of the worker, for any other error.
            InputError: for a cluster that does not work.
        """
        while self._submit():
            self._connection.look_at_workers(self._name_tasks)
            yield from self._collect(self._wait())

    def _name_tasks(self) -> dict[Any, Task]:
        return {future.key: item.task for future, item in self._in_work.items()}

    def _submit(self) -> bool:
        """Give tasks to the cluster; return whether any task is in work, or will be."""
        self._alone = [item for item in self._alone if self._is_needed(item)]
        if self._alone:
            # The scheduler blames all tasks that a worker has when it dies. Only a task that runs while no other does
            # is to blame for sure.
            if not self._in_work:
                self._submit_task(self._alone[0])
            return True
        while len(self._in_work) < AHEAD * self._connection.threads and (item := self._take()):
            self._submit_task(item)
        return any(self._is_needed(item) for item in self._in_work.values())

    def _take(self) -> TaskAttempt[AnyTask] | None:
        item = next(self._waiting, None)
        return item if item is not None and self._is_needed(item) else None

    def _is_needed(self, item: TaskAttempt[AnyTask]) -> bool:
        return self._last is None or item.index < self._last

    def _submit_task(self, item: TaskAttempt[AnyTask]) -> None:
        item.tries += 1
        # ``pure=False``: a result of a file that has changed since must not be used again.
        future = self._client.submit(
            run_task, self._job, item.task, key=(self._name, item.index, item.tries), pure=False, retries=0
        )
        self._in_work[future] = item
        future.add_done_callback(self._finished.put)

    def _wait(self) -> list[Any]:
        """Return the futures that have finished meanwhile, or none after some seconds."""
        futures = []
        with contextlib.suppress(queue.Empty):
            futures.append(self._finished.get(timeout=LOOKING))
            while True:
                futures.append(self._finished.get_nowait())
        return futures

    def _collect(self, futures: list[Any]) -> Iterator[tuple[TaskAttempt[AnyTask], Any]]:
        """Yield the results of futures with their tasks, except of tasks that are tried again."""
        results = self._gather([future for future in futures if future.status == "finished"])
        for future in futures:
            if future.status == "cancelled":
                raise self._connection.make_lost_error("a connection that ended")
            answer = results.get(future)
            if answer is None and future.status == "error":
                answer = future.exception(LOOKING)
            if answer is None:
                # The worker that had the result has died meanwhile; the scheduler gives the task to another one, which
                # may have finished while the other results were fetched.
                future.add_done_callback(self._finished.put)
                continue
            item = self._in_work.pop(future)
            result = self._read(item, answer)
            if result is not _AGAIN:
                self._alone = [other for other in self._alone if other is not item]
                yield item, result

    def _gather(self, futures: list[Any]) -> dict[Any, Any]:
        """Return the results of futures; of one that has failed meanwhile, because its workers died, the exception."""
        if not futures:
            return {}
        answer = self._connection.start(lambda: self._client.gather(futures, asynchronous=True))
        while not concurrent.futures.wait([answer], LOOKING).done:
            self._connection.look_at_workers(self._name_tasks)
        try:
            return dict(zip(futures, answer.result(), strict=True))
        except Exception as error:
            if len(futures) == 1:
                return {futures[0]: error}
        return {future: result for future in futures for result in self._gather([future]).values()}

    def _read(self, item: TaskAttempt[AnyTask], answer: Any) -> Any:
        """Return the result of a task or the error of a bad input, or ``_AGAIN`` for a task that is tried again."""
        from distributed import KilledWorker

        match answer:
            case BadInput():
                return _explain_missing_file(answer)
            case OutOfMemory():
                return self._blame(item, f"a worker without enough memory, {MOST_TRIES} times")
            case KilledWorker():
                return self._blame(item, f"a worker that died, {MOST_TRIES * (answer.allowed_failures + 1)} times")
            case WrongVersions():
                raise make_versions_error(answer.host, str(answer.versions))
            case ModuleNotFoundError():
                raise make_versions_error("of this cluster", f"a Python without {answer.name}")
            case Crash(traceback):
                raise RuntimeError(f"a worker failed at {item.task.where}\n{traceback}")
            case Exception():
                raise RuntimeError(f"a worker failed at {item.task.where}\n{answer!r}") from answer
        return answer

    def _blame(self, item: TaskAttempt[AnyTask], reason: str) -> Any:
        """Return the error of a task that killed workers while no other ran; one among others is tried again."""
        if item in self._alone:
            return make_lost_error(item.task, reason)
        self._alone = sorted([*self._alone, item], key=lambda other: other.index)
        return _AGAIN


_AGAIN = object()
"""Instead of the result of a task that is tried again."""


def _explain_missing_file(answer: BadInput) -> MaskcliError:
    """Return the error of a bad input; of a file that exists on this machine, one about shared files."""
    error = answer.error
    if error.received != MISSING or not Path(error.where).exists():
        return error
    return InputError(
        where=error.where,
        expected="a file that all workers can read",
        received=f"a worker on {answer.host} that does not see it",
        fix="Put the files on a file system that all workers share, under the same path, or name an address such as "
        "s3://bucket/corpus/.",
    )
