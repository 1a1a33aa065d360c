"""A cluster of Dask on this machine: a scheduler and workers, in processes of their own.

It is started as a command, not within the process of the user: Dask starts its workers by ``multiprocessing``, which
would run the script of the user once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from maskcli.errors import InputError

CODE = (
    "import sys; sys.path[:] = {path!r}; "
    "from maskcli.corpus.engines.dask_local import serve_cluster; serve_cluster({workers}, {folder!r})"
)
"""The program of the cluster."""
LOG = "cluster.log"
MOST_DEATHS = 2
"""Workers that may die of a task."""
SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": MOST_DEATHS - 1,
    # A worker holds only the task that it works on, so that no other one is blamed for its death.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.profile.enabled": False,
    # The processes are on one machine: one that does not answer soon is dead.
    "distributed.comm.timeouts.connect": "5s",
    "logging.distributed": "warning",
}


@contextlib.contextmanager
def start_local_cluster(workers: int) -> Iterator[str]:
    """Yield the address of the scheduler of a new cluster, which listens on the loopback only.

    Raises:
        InputError: if it does not start.
    """
    folder = tempfile.mkdtemp(prefix="maskcli-cluster-")
    with (Path(folder) / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", CODE.format(path=sys.path, workers=workers, folder=folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches the whole group; this process decides.
        )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe
        address = process.stdout.readline().decode().strip()
        if not address:
            raise _make_start_error(workers, Path(folder) / LOG)
        yield address
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _make_start_error(workers: int, log: Path) -> InputError:
    lines = log.read_text(errors="replace").strip().splitlines()
    return InputError(
        where=f"--workers {workers}",
        expected="a cluster of this machine that starts",
        received=lines[-1] if lines else "a process that ended",
        fix="Check the memory and the limits of processes of this machine, or use --processes.",
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the scheduler and the workers."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # It starts no worker again that is killed before it.
        _kill_children(process.pid)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        _close(pipe)


def _kill_children(pid: int) -> None:
    """Kill the processes that a process has started, also those that are stopped and would not end with it."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


def serve_cluster(workers: int, folder: str) -> None:
    """Run a scheduler and workers until standard input closes, which it does if the parent ends in any way."""
    import dask

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.dup(1)
    os.dup2(2, 1)  # A library of a worker may print.
    with dask.config.set(SETTINGS):
        asyncio.run(_run_cluster(workers, folder, output))


async def _run_cluster(workers: int, folder: str, output: int) -> None:
    # Not a ``LocalCluster``: it gives up workers that die often.
    from distributed import Nanny, Scheduler
    from distributed.system import MEMORY_LIMIT

    async with contextlib.AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(Scheduler(host="127.0.0.1", port=0, dashboard=False))
        nannies = [
            Nanny(
                scheduler.address,
                host="127.0.0.1",
                nthreads=1,
                memory_limit=MEMORY_LIMIT // workers,
                local_directory=folder,
                dashboard=False,
            )
            for _ in range(workers)
        ]
        await asyncio.gather(*(stack.enter_async_context(nanny) for nanny in nannies))
        os.write(output, f"{scheduler.address}\n".encode())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        _kill_children(os.getpid())
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
