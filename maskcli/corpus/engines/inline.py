"""The engine that works in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from maskcli.corpus.engines.base import AnyTask, MapResult, MergeTree, TaskFailure, attempt
from maskcli.errors import MaskcliError

R = TypeVar("R")


class InlineEngine:
    """Works on one task after the other, in this process and its two threads."""

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
        tree, failures = MergeTree(merge), []
        for index, task in enumerate(tasks):
            result = attempt(work, task)
            if isinstance(result, MaskcliError):
                if not keep_going:
                    raise result
                failures.append(TaskFailure(index, result))
                tree.add(index, None)
            else:
                on_result(result)
                tree.add(index, result)
            on_done(task)
        return MapResult(tree.finish(), tuple(failures))
