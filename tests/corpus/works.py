"""Functions of tasks that tests send to worker processes."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from maskcli.errors import InputError


@dataclasses.dataclass(frozen=True)
class Number:
    """A task without a file."""

    value: int
    folder: str = ""

    @property
    def where(self) -> str:
        return f"numbers.txt, bytes {self.value} to {self.value + 1}"


def join(parts: list[list[int]]) -> list[int]:
    return [item for part in parts for item in part]


def wrap(task: Number) -> list[int]:
    return [task.value]


def nest(parts: list[object]) -> object:
    """Show the shape of the merge tree; not associative."""
    return tuple(parts)


def unit(task: Number) -> object:
    return task.value


def reject_multiples_of_five(task: Number) -> list[int]:
    if task.value % 5 == 0 and task.value:
        time.sleep(0.2 if task.value == 5 else 0)  # A later failure comes first.
        raise InputError(expected="a number", received=str(task.value), fix="Count again.")
    return [task.value]


def die_at_seven(task: Number) -> list[int]:
    if task.value == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return [task.value]


def die_once_at_seven(task: Number) -> list[int]:
    mark = Path(task.folder) / "died"
    if task.value == 7 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [task.value]


def use_up_memory(_task: Number) -> list[int]:
    raise MemoryError


def divide_by_zero(_task: Number) -> list[int]:
    return [1 // 0]


def list_imports(_task: Number) -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def report_process(_task: Number) -> list[int]:
    time.sleep(0.1)
    return [os.getpid()]


def wait_at_seven(task: Number) -> list[int]:
    time.sleep(3600 if task.value == 7 else 0)
    return [task.value]


def stop_at_seven(task: Number) -> list[int]:
    if task.value == 7:
        os.kill(os.getpid(), signal.SIGSTOP)
    return [task.value]


def work_long(task: Number) -> list[int]:
    """Use the processor without a pause in which another thread could run, or wait, for 4 seconds."""
    if task.value == 2:
        sys.setswitchinterval(1000)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            pass
        sys.setswitchinterval(0.005)
    else:
        time.sleep(4)
    return [task.value]


def count_faults(_task: Number) -> list[int]:
    """Return the page faults of 20 rounds that allocate, use and free arrays, as a reader does for each chunk."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(2**20, np.uint8) for _ in range(8)]
        assert all(map(np.any, arrays))
    return [resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]


def read_malloc_setting(_task: Number) -> list[int]:
    return [int(os.environ.get("MALLOC_TRIM_THRESHOLD_", 0))]
