"""Report the sample of rows that memory allows to the blocks that are still to be read.

The sample of all rows is never larger than that of some of them. When the first parts of a large corpus exceed the
memory, the blocks that follow leave out the hashes that would be dropped later, and their results become smaller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from maskcli.corpus.blocks import BlockTask
from maskcli.corpus.merging import merge_states
from maskcli.records.corpus import CorpusState


class SharedSample:
    """The smallest sample so far, for the tasks of a run and for the merges of their results."""

    def __init__(self) -> None:
        """Begin with all rows."""
        self._level = 0

    def add_level(self, tasks: Iterable[BlockTask]) -> Iterator[BlockTask]:
        """Yield tasks with the level of the sample at the moment at which an engine takes them."""
        for task in tasks:
            yield dataclasses.replace(task, hash_level=self._level) if self._level else task

    def merge(self, states: Sequence[CorpusState]) -> CorpusState:
        """Return the state of consecutive parts, and note the level of its sample; see ``merge_states``."""
        merged = merge_states(states)
        # Groups have a sample each, and large ones a smaller share of their rows.
        if list(merged.groups) == [""]:
            self._level = max(self._level, merged.groups[""].hashes.level)
        return merged
