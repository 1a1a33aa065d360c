"""A line of the user's code."""

from __future__ import annotations

import dataclasses

from maskcli.records.fields import NonEmpty, Positive


@dataclasses.dataclass(frozen=True)
class Location:
    """A line of the user's code.

    Attributes:
        file: the path from the working directory, with slashes; absolute for a file outside of it.
        line: the number of the line, from 1.
        function: the qualified name of the function or method; ``<module>`` for code outside of functions.
    """

    file: NonEmpty
    line: Positive
    function: NonEmpty

    def __str__(self) -> str:
        """Return the line as ``train.py:14 in build``."""
        return f"{self.file}:{self.line} in {self.function}"
