"""The door to the fast readers: one function for each kind of file.

Each takes whole rows of a file as bytes and returns their sequences, or None if it has any doubt about them. The strict
reader of the format then reads the same rows, and its result or error counts. Nothing is imported before the first
call, because small files never need it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from maskcli.sequences.fast.rows import FastRows

if TYPE_CHECKING:
    from maskcli.sequences.fast.tokenizer import Workspace

_LOCAL = threading.local()


def parse_json_array(block: bytes) -> FastRows | None:
    """Return the rows of a JSON array, each with a comma before it."""
    from maskcli.sequences.fast.json_frames import find_array_frame, parse_framed

    return parse_framed(block, find_array_frame, True, _workspace())


def parse_json_lines(block: bytes, field: str | None) -> FastRows | None:
    """Return the rows of JSON Lines; ``field`` None leaves the choice of a field to the records."""
    from maskcli.sequences.fast.json_frames import find_line_frame, parse_framed
    from maskcli.sequences.fast.json_records import parse_records

    return parse_framed(block, find_line_frame, False, _workspace()) or parse_records(block, field, _workspace())


def parse_text(block: bytes) -> FastRows | None:
    """Return the rows of lines of integers, the last with its end."""
    from maskcli.sequences.fast.text_lines import parse_lines

    return parse_lines(block, _workspace())


def _workspace() -> Workspace:
    """Return the buffers in which this thread tokenizes."""
    workspace: Workspace | None = getattr(_LOCAL, "workspace", None)
    if workspace is None:
        from maskcli.sequences.fast.tokenizer import Workspace

        workspace = _LOCAL.workspace = Workspace()
    return workspace
