"""Clusters of Dask on the loopback, as an administrator starts them: a scheduler and workers, each a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, scheduler: subprocess.Popen[bytes], worker: subprocess.Popen[bytes], file: Path) -> None:
        self.scheduler, self.worker, self.file = scheduler, worker, file

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def list_workers(self) -> list[int]:
        """Return the processes of the workers, which a nanny starts again if they die."""
        import psutil

        return [
            child.pid for child in psutil.Process(self.worker.pid).children() if "spawn_main" in str(child.cmdline())
        ]


@contextlib.contextmanager
def start_cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """Yield a cluster whose workers run in ``folder``, with the malloc setting and the retries of Dask."""
    import psutil

    file = folder / "scheduler.json"
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    place = {
        "cwd": folder,
        "env": {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m"]
    listen = ["--host", "127.0.0.1"]
    scheduler = subprocess.Popen(
        [*command, "distributed.cli.dask_scheduler", *listen, "--port", "0", *options], **place, **quiet
    )
    size = ["--nthreads", "1", "--nworkers", str(workers), "--local-directory", str(folder)]
    worker = subprocess.Popen([*command, "distributed.cli.dask_worker", *listen, *size, *options], **place, **quiet)
    try:
        deadline = time.monotonic() + 30
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield Cluster(scheduler, worker, file)
    finally:
        for process in (worker, scheduler):
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(signal.SIGKILL)
            process.kill()
            process.wait()
