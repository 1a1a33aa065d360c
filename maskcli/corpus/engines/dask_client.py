"""The connection to a scheduler of Dask: everything that can be wrong with a cluster becomes a message."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from maskcli.corpus.engines.base import Task, make_frozen_error
from maskcli.corpus.engines.dask_local import start_local_cluster
from maskcli.corpus.engines.dask_worker import WorkerVersions, read_worker_versions
from maskcli.errors import InputError, UsageError, suggest_install, summarize_error
from maskcli.sequences.sources import display_name

T = TypeVar("T")
CONNECTING = 20
"""Seconds until a scheduler must answer for the first time."""
ANSWERING = 20
"""Seconds until it must answer later."""
LOOKING = 5
"""Seconds between two looks at the workers."""
FROZEN = 30
"""Seconds after which a worker without a sign of life is frozen; its signs come each half second to six seconds."""
SLOWEST = 2**24
"""Bytes that the slowest reader reads in a second. It may hold the interpreter's lock, so that no sign comes."""
WITHOUT_WORKERS = 50
"""Seconds that a run waits for a first worker, or for one after all have died."""
LOGGERS = ("distributed", "distributed.client", "distributed.core", "distributed.comm", "tornado.application")
RESTARTING = (
    "Check that it runs, and run the command again. A directory of shards continues after the last shard that its "
    "manifest lists."
)


def check_distributed(where: str) -> None:
    """Raise UsageError if ``distributed`` is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise UsageError(
            where=where,
            expected="the package distributed, which runs clusters of Dask",
            received="a Python without distributed",
            fix=suggest_install("distributed"),
        ) from None


@contextlib.contextmanager
def connect_cluster(scheduler: str | None, workers: int | None) -> Iterator[Connection]:
    """Yield a connection to a scheduler, or to that of a new local cluster.

    Raises:
        UsageError: without the package distributed, and for workers with other versions.
        InputError: for a cluster that does not answer.
    """
    check_distributed("--workers" if scheduler is None else "--scheduler")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_silence_logs())
        if scheduler is None:
            scheduler = stack.enter_context(start_local_cluster(workers or 1))
        client = _open_client(scheduler)
        stack.callback(_close_client, client)
        connection = Connection(client, scheduler)
        connection.check_versions()
        yield connection


@contextlib.contextmanager
def _silence_logs() -> Iterator[None]:
    """Keep the messages of Dask from standard error: the errors of this module say the same."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _open_client(scheduler: str) -> Any:
    from distributed import Client

    is_file = scheduler.endswith(".json")
    if is_file and not Path(scheduler).is_file():
        raise _make_scheduler_error(scheduler, "a path that does not exist")
    address = {"scheduler_file": scheduler} if is_file else {"address": scheduler}
    try:
        return Client(**address, timeout=CONNECTING, set_as_default=False, name="maskcli")
    except Exception as error:  # Each protocol has kinds of its own.
        raise _make_scheduler_error(scheduler, summarize_error(error)) from None


def _close_client(client: Any) -> None:
    # A scheduler that is gone, or frozen, must not keep this process from ending.
    with contextlib.suppress(Exception):
        client.close(timeout=2)


def _make_scheduler_error(scheduler: str, received: str) -> InputError:
    return InputError(
        where=f"--scheduler {display_name(scheduler)}",
        expected="the address of a Dask scheduler that answers, such as tcp://host:8786, or its scheduler file",
        received=received,
        fix="Check the address, the network, and that the scheduler runs.",
    )


class Connection:
    """A client of Dask, and the workers of its cluster.

    Attributes:
        client: of Dask.
        threads: of all workers, as far as known.
    """

    def __init__(self, client: Any, scheduler: str) -> None:
        """Keep the client; ``scheduler`` is its address in messages."""
        self.client = client
        self.threads: int = 1
        self._scheduler = scheduler
        self._next_look = 0.0
        self._lonely = 0
        self._seen: dict[str, float] = {}
        self._silence: dict[str, int] = {}

    # Questions to the scheduler.

    def ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer of the scheduler; raise InputError if there is none soon."""
        try:
            return self.start(question).result(ANSWERING)
        except (concurrent.futures.TimeoutError, TimeoutError):
            raise self.make_lost_error(f"no answer for {ANSWERING} seconds") from None
        except (
            OSError,
            AttributeError,
            concurrent.futures.CancelledError,
        ) as error:  # A closed client has no scheduler.
            raise self.make_lost_error(summarize_error(error)) from None

    def start(self, question: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        """Return the future answer of the scheduler, or of workers."""

        async def answer() -> T:
            return await question()

        return asyncio.run_coroutine_threadsafe(answer(), self.client.loop.asyncio_loop)

    def make_lost_error(self, received: str) -> InputError:
        """Return the error of a scheduler that is gone."""
        return InputError(
            where=f"the Dask scheduler {self._scheduler}",
            expected="a scheduler that answers until the end of the run",
            received=received,
            fix=RESTARTING,
        )

    # The start.

    def check_versions(self) -> None:
        """Wait for the first worker, and raise UsageError for workers with other versions."""
        deadline = time.monotonic() + WITHOUT_WORKERS
        while not self._look():
            if time.monotonic() > deadline:
                raise self._make_lonely_error()
            time.sleep(0.1)
        mine = read_worker_versions()
        answers = self.ask(lambda: self.client._get_versions(packages=["maskcli"]))
        for worker, answer in sorted(answers["workers"].items()):
            packages = answer["packages"]
            # A worker that imports maskcli from a path knows no version of it; its first task compares it.
            python = ".".join(packages["python"].split(".")[:2])
            theirs = WorkerVersions(packages["maskcli"] or mine.maskcli, python)
            if theirs != mine:
                raise make_versions_error(worker, str(theirs))

    def _make_lonely_error(self) -> InputError:
        return InputError(
            where=f"the Dask scheduler {self._scheduler}",
            expected="at least one worker",
            received=f"none for {WITHOUT_WORKERS} seconds",
            fix=f"Start some: dask worker {self.client.scheduler.address} --nthreads 1. "
            "If blocks kill them, give them more memory.",
        )

    # Signs of life.

    def look_at_workers(self, tasks: Callable[[], dict[Any, Task]]) -> None:
        """Look at the workers from time to time.

        Args:
            tasks: returns the tasks in work, by their keys.

        Raises:
            InputError: for a scheduler that does not answer, no workers, and a frozen worker with a task.
        """
        if time.monotonic() < self._next_look:
            return
        seen = self._look()
        self._next_look = time.monotonic() + LOOKING
        # The time is counted in looks: if this process was stopped and continues, the clock has gone on.
        self._lonely = 0 if seen else self._lonely + 1
        if self._lonely * LOOKING >= WITHOUT_WORKERS:
            raise self._make_lonely_error()
        self._silence = {
            worker: self._silence.get(worker, 0) + 1 if self._seen.get(worker) == place else 0
            for worker, place in seen.items()
        }
        self._seen = seen
        frozen = [worker for worker, silence in self._silence.items() if silence * LOOKING >= self._choose_patience()]
        if frozen:
            self._check_frozen(frozen, tasks())

    def _look(self) -> dict[str, float]:
        """Return when the scheduler last heard of each worker, by its own clock, and count their threads."""
        if self.client.status != "running":
            raise self.make_lost_error("a connection that ended")
        info = self.ask(lambda: self.client.scheduler.identity())
        self.threads = max(1, sum(worker["nthreads"] for worker in info["workers"].values()))
        return {address: worker["last_seen"] for address, worker in info["workers"].items()}

    def _choose_patience(self) -> float:
        """Return the seconds after which a worker is frozen: of many workers, each gives rare signs of life."""
        return max(FROZEN, 5 * (1 + len(self._seen) / 200))

    def _check_frozen(self, frozen: Sequence[str], tasks: dict[Any, Task]) -> None:
        processing = self.ask(lambda: self.client.scheduler.processing(workers=frozen))
        results = self.ask(lambda: self.client.scheduler.has_what(workers=frozen))
        for worker in frozen:
            silence = self._silence[worker] * LOOKING
            for key in (*processing.get(worker, ()), *results.get(worker, ())):
                task = tasks.get(key)
                if task is not None and silence >= self._choose_patience() + getattr(task, "size", 0) / SLOWEST:
                    raise make_frozen_error(task.where, f"worker {worker}", silence)


def make_versions_error(worker: str, theirs: str) -> UsageError:
    """Return the error of a worker with other versions, or without them."""
    return UsageError(
        where=f"worker {worker}",
        expected=f"{read_worker_versions()}, as in the process that asks for the work",
        received=theirs,
        fix="Install the same versions on all workers, and restart them.",
    )
