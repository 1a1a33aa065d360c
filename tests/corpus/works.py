"""Functions of tasks that tests send to worker processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

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
