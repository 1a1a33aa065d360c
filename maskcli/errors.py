"""The errors of maskcli, and the exit codes."""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

LONGEST_ERROR = 10_000
"""Characters of an error message that are searched; a file can make it long, and the search would take hours."""

ON_COMMAND_LINE: ContextVar[bool] = ContextVar("ON_COMMAND_LINE", default=False)
"""Whether a command runs, whose errors name options as ``--maxlen``; a call from Python has ``maxlen=``."""


class ExitCode(enum.IntEnum):
    """The exit codes of the process; scripts rely on these numbers."""

    OK = 0
    DIFFERENT = 1
    FINDINGS = DIFFERENT
    USAGE = 2
    INPUT = 3
    MODEL = 4
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


class MaskcliError(Exception):
    """An error that a user can act on: position, expected and received value, and a fix.

    ``row`` and ``value`` are 0-based indices of the sequence and the value at fault. They serve where the position in
    the file is not known; ``at`` adds the position later.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(
        self,
        *,
        expected: str,
        received: str,
        fix: str,
        where: str = "",
        row: int | None = None,
        value: int | None = None,
    ) -> None:
        """Store the parts of the message."""
        super().__init__(expected, received, fix)
        self.expected: str = expected
        self.received: str = received
        self.fix: str = fix
        self.where: str = where
        self.row = row
        self.value = value

    def at(self, where: str) -> MaskcliError:
        """Set the position, unless it is already set, and return this error."""
        if not self.where:
            self.where = where
        return self

    def respell(self, spell: Callable[[str], str]) -> None:
        """Replace the names of options in all parts of the message, which Python spells differently."""
        self.where, self.expected, self.received, self.fix = map(
            spell, (self.where, self.expected, self.received, self.fix)
        )
        self.args: tuple[Any, ...] = (self.expected, self.received, self.fix)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the keyword arguments, which ``Exception`` does not keep."""
        return _rebuild, (type(self), vars(self).copy())

    def __str__(self) -> str:
        """Return the one message: ``where: expected ...; received .... Fix.``."""
        place = self.where or (f"row {self.row + 1}" if self.row is not None else "")
        if self.value is not None:
            place = f"{place}, value {self.value + 1}".removeprefix(", ")
        message = f"expected {self.expected}; received {self.received}.\n{self.fix}"
        return f"{place}: {message}" if place else message


def _rebuild(kind: type[MaskcliError], parts: dict[str, Any]) -> MaskcliError:
    error = kind(expected=parts["expected"], received=parts["received"], fix=parts["fix"])
    vars(error).update(parts)
    return error


class UsageError(MaskcliError, ValueError):
    """Options that contradict each other, the data or Keras."""

    exit_code = ExitCode.USAGE


class InputError(MaskcliError, ValueError):
    """A file, or a value in it, that cannot be used."""

    exit_code = ExitCode.INPUT


class NestedRowsError(InputError):
    """Rows with a vector at each timestep, where a reader of ids expects integers."""


class ModelError(MaskcliError, RuntimeError):
    """A model that cannot be built, loaded or run."""

    exit_code = ExitCode.MODEL


class RaisedInCall(Exception):  # noqa: N818 - it adds the position to another error
    """An error that a model raised, with the path of the call."""

    def __init__(self, call: str, error: BaseException) -> None:
        """Store the path of the call and its error."""
        super().__init__(str(error))
        self.call = call
        self.error = error


def suggest_install(extra: str) -> str:
    """Return the command that installs an extra of maskcli: its packages, which works from a clone, too.

    ``pip install 'maskcli[report]'`` would look for maskcli itself in a package index.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("maskcli") or []
    except PackageNotFoundError:  # Imported from a path without being installed.
        lines = []
    matches = (re.fullmatch(rf"([^;]+?) *; *extra == ['\"]{extra}['\"]", line) for line in lines)
    packages = " ".join(f"'{match[1]}'" for match in matches if match) or f"'maskcli[{extra}]'"
    return f"pip install {packages}"


def summarize_error(error: BaseException) -> str:
    """Return the message of a foreign error on one line, without the colours and arguments that Keras adds."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)[:LONGEST_ERROR]).split("Arguments received by")[0]
    text = re.sub(r"\{\{.*?\}\}", "", text)  # The device TensorFlow ran on.
    text = re.sub(r"\s*\[Op:\w+\](?: name:\s*$)?", "", text)  # The name of its kernel.
    text = re.sub(r"^Exception encountered when calling \S+\s+", "", text.strip())
    return textwrap.shorten(text, 400) or "no message"
