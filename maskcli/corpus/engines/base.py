"""The interface of an engine, and the parts that all engines share: the merge tree, and errors as values.

An engine applies ``work`` to tasks and merges the results. ``work`` is a function of a module, or a partial call of
it, so that other processes can receive it. ``merge`` is associative, takes the results of up to ``FAN_IN`` neighbours
in the order of their tasks, and runs in the process of the caller, which can learn from it for later tasks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from maskcli.errors import InputError, MaskcliError

FAN_IN = 16
"""Results that are merged at once."""


class Task(Protocol):
    """A unit of work: a small record that a worker can receive."""

    @property
    def where(self) -> str:
        """The file and the range in it, for messages."""


AnyTask = TypeVar("AnyTask", bound=Task)
R = TypeVar("R")


@dataclasses.dataclass(eq=False)
class TaskAttempt(Generic[AnyTask]):
    """A task, its index, and how many workers began it."""

    index: int
    task: AnyTask
    tries: int = 0


@dataclasses.dataclass(frozen=True)
class TaskFailure:
    """A task whose input is bad, or whose workers died.

    Attributes:
        index: of the task.
        error: the message, with the place.
    """

    index: int
    error: MaskcliError


@dataclasses.dataclass(frozen=True)
class MapResult(Generic[R]):
    """The result of all tasks.

    Attributes:
        result: of ``merge``; None without tasks, and if all of them failed.
        failures: the tasks that were left out, in order; only with ``keep_going``.
    """

    result: R | None
    failures: tuple[TaskFailure, ...] = ()


class Engine(Protocol):
    """Applies a function to tasks, here or elsewhere, and merges the results."""

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
        """Return the merged results, the same for every engine and any number of workers.

        Args:
            tasks: read only a few ahead of the work.
            work: called once for each task; again if its worker dies. A ``MaskcliError`` is a bad input.
            merge: associative; gets 2 to ``FAN_IN`` results in the order of their tasks.
            keep_going: whether tasks with bad input are left out, instead of raising the error of the first.
            on_done: receives each finished task, in the order in which they finish.
            on_result: receives the result of each task before, unless its input is bad.

        Raises:
            MaskcliError: of the first task with a bad input.
        """


def attempt(work: Callable[[AnyTask], R], task: AnyTask) -> R | MaskcliError:
    """Return the result of ``work``, or the error of a bad input as a value, with a place."""
    try:
        return work(task)
    except MaskcliError as error:
        return error.at(task.where)


def make_lost_error(task: Task, reason: str) -> InputError:
    """Return the error of a block whose worker died each time it was read."""
    return InputError(
        where=task.where,
        expected="a worker that finishes this block",
        received=reason,
        fix="If it was killed for its memory: use fewer workers, smaller blocks, or a machine with more memory. "
        "--keep-going leaves such blocks out.",
    )


def make_frozen_error(where: str, worker: str, seconds: int) -> InputError:
    """Return the error of a worker that neither works nor ends."""
    return InputError(
        where=where,
        expected="a worker that runs",
        received=f"{worker} without a sign of life for {seconds} seconds",
        fix="It was stopped, or its machine is down. Run the command again when it continues or is gone. A directory "
        "of shards continues after the last shard that its manifest lists.",
    )


class MergeTree(Generic[R]):
    """Merges results in groups of ``FAN_IN`` neighbours, as soon as a group is complete.

    The shape of the tree depends only on the indices, so that results do too, in whatever order they come. On each
    level at most ``FAN_IN - 1`` results wait for each group that is incomplete.
    """

    def __init__(self, merge: Callable[[list[R]], R]) -> None:
        """Begin without results."""
        self._merge = merge
        self._levels: list[dict[int, dict[int, R | None]]] = []

    def add(self, index: int, result: R | None) -> None:
        """Add the result of task ``index``, None for one that is left out; each index once, from 0, none missing."""
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append({})
            group, place = divmod(index, FAN_IN)
            members = self._levels[level].setdefault(group, {})
            members[place] = result
            if len(members) < FAN_IN:
                return
            del self._levels[level][group]
            result, index, level = self._merge_group(members), group, level + 1

    def finish(self) -> R | None:
        """Return the merged result of all; None if there are none."""
        # Only the last group of a level can be incomplete, so each level passes at most one result on to the next.
        carried: tuple[int, R | None] | None = None
        for level in self._levels:
            groups = dict(level)
            if carried is not None:
                group, place = divmod(carried[0], FAN_IN)
                groups.setdefault(group, {})[place] = carried[1]
            carried = next(((group, self._merge_group(members)) for group, members in groups.items()), None)
        return None if carried is None else carried[1]

    @property
    def waiting(self) -> int:
        """The number of results that wait for their neighbours."""
        return sum(len(members) for level in self._levels for members in level.values())

    def _merge_group(self, members: dict[int, R | None]) -> R | None:
        ordered = [members[place] for place in sorted(members)]
        results = [result for result in ordered if result is not None]
        return self._merge(results) if len(results) > 1 else next(iter(results), None)


class Pool(Protocol[AnyTask]):
    """Workers of another process, and the tasks that they have."""

    def run(self) -> Iterator[tuple[TaskAttempt[AnyTask], Any]]:
        """Yield each task with its result, or with the error of a bad input, as they finish."""

    def stop_after(self, index: int) -> None:
        """Leave out all tasks after this one, which have no result that counts."""


def reduce_results(
    pool: Pool[AnyTask],
    merge: Callable[[list[R]], R],
    keep_going: bool,
    on_done: Callable[[AnyTask], None],
    on_result: Callable[[R], None],
) -> MapResult[R]:
    """Return the merged results of the workers of a pool; see ``Engine``."""
    tree, failures = MergeTree(merge), []
    for item, result in pool.run():
        if isinstance(result, MaskcliError):
            failures.append(TaskFailure(item.index, result))
            if not keep_going:
                # Earlier tasks still run: as in a single process, the error is that of the first bad input.
                pool.stop_after(item.index)
            result = None
        else:
            on_result(result)
        tree.add(item.index, result)
        on_done(item.task)
    if not keep_going:
        raise_first(failures)
    return MapResult(tree.finish(), tuple(sorted(failures, key=lambda failure: failure.index)))


def raise_first(failures: Iterable[TaskFailure]) -> None:
    """Raise the error of the first failed task, if any."""
    first = min(failures, key=lambda failure: failure.index, default=None)
    if first is not None:
        raise first.error
