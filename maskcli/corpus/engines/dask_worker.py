"""The function that a worker of Dask runs for each task; it returns errors as values, and needs only NumPy."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from maskcli.corpus.engines.allocator import keep_freed_memory
from maskcli.corpus.engines.base import attempt
from maskcli.corpus.engines.worker import Crash
from maskcli.errors import MaskcliError
from maskcli.sequences.bounds import set_memory_bound
from maskcli.sequences.sources import set_folder
from maskcli.sequences.threads import use_single_thread
from maskcli.version import __version__


class WorkerVersions(NamedTuple):
    """The versions that all processes of a run share.

    Attributes:
        maskcli: its version.
        python: major and minor version.
    """

    maskcli: str
    python: str

    def __str__(self) -> str:
        """Return ``maskcli 1.0.0 with Python 3.12``."""
        return f"maskcli {self.maskcli} with Python {self.python}"


def read_worker_versions() -> WorkerVersions:
    """Return the versions of this process."""
    return WorkerVersions(__version__, ".".join(platform.python_version_tuple()[:2]))


class ClusterJob(NamedTuple):
    """The part of a task that is the same for all tasks.

    Attributes:
        work: the function of a task.
        memory_bound: bytes that one input may take.
        folder: from which relative paths start.
        versions: of the process that the user has started.
    """

    work: Callable[[Any], Any]
    memory_bound: int
    folder: str
    versions: WorkerVersions


class OutOfMemory(NamedTuple):
    """A task that needs more memory than the worker has."""


class WrongVersions(NamedTuple):
    """A worker with other versions.

    Attributes:
        host: the machine of the worker.
        versions: of the worker.
    """

    host: str
    versions: WorkerVersions


class BadInput(NamedTuple):
    """An error of a bad input.

    Attributes:
        error: with its place.
        host: the machine of the worker.
    """

    error: MaskcliError
    host: str


def run_task(job: ClusterJob, task: Any) -> Any:
    """Return the result of a task, or one of the classes above, or a ``Crash`` for a bug."""
    if read_worker_versions() != job.versions:
        return WrongVersions(socket.gethostname(), read_worker_versions())
    use_single_thread()
    set_memory_bound(job.memory_bound)
    set_folder(job.folder)
    try:
        with keep_freed_memory():
            result = attempt(job.work, task)
    except MemoryError:
        return OutOfMemory()
    except Exception:
        import traceback

        return Crash(traceback.format_exc())
    return BadInput(result, socket.gethostname()) if isinstance(result, MaskcliError) else result
