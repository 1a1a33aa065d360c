"""The door to the fast readers and to fast padding; other modules import them only from here.

A fast reader checks its own result. If it cannot prove that the result is right, it returns None, and its caller uses
the strict code, whose result or error counts:

- files: ``parse_json_array``, ``parse_json_lines`` and ``parse_text``, or else the reader in ``formats``;
- lists of Python: ``convert_lists`` and ``pad_lists``, or else ``ragged.join_rows``, value by value.

``fill_matrix`` has no strict twin: padding of integers always works, or raises an error.

The readers of files are imported at their first call, because small files never need them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from maskcli.sequences.fast.lists import convert_lists, pad_lists
from maskcli.sequences.fast.padding import MisfitError, Rows, can_hold, fill_matrix, get_maxlen, mark_tokens
from maskcli.sequences.fast.rows import FastRows

if TYPE_CHECKING:
    from maskcli.sequences.fast.tokenizer import Workspace

__all__ = [
    "FastRows",
    "MisfitError",
    "Rows",
    "can_hold",
    "convert_lists",
    "fill_matrix",
    "get_maxlen",
    "mark_tokens",
    "pad_lists",
    "parse_json_array",
    "parse_json_lines",
    "parse_text",
]
_LOCAL = threading.local()


def parse_json_array(block: bytes) -> FastRows | None:
    """Return the rows of a JSON array; None if they cannot be verified.

    ``block`` has a comma before each row.
    """
    from maskcli.sequences.fast.json_frames import find_array_frame, parse_framed

    return parse_framed(block, find_array_frame, True, _get_workspace())


def parse_json_lines(block: bytes, field: str | None) -> FastRows | None:
    """Return the rows of JSON Lines; None if they cannot be verified.

    ``field`` of the records is None if the records decide it.
    """
    from maskcli.sequences.fast.json_frames import find_line_frame, parse_framed
    from maskcli.sequences.fast.json_records import parse_records

    workspace = _get_workspace()
    return parse_framed(block, find_line_frame, False, workspace) or parse_records(block, field, workspace)


def parse_text(block: bytes) -> FastRows | None:
    """Return the rows of lines of integers; None if they cannot be verified.

    ``block`` ends with a line end.
    """
    from maskcli.sequences.fast.text_lines import parse_lines

    return parse_lines(block, _get_workspace())


def _get_workspace() -> Workspace:
    """Return the buffers in which this thread tokenizes."""
    workspace: Workspace | None = getattr(_LOCAL, "workspace", None)
    if workspace is None:
        from maskcli.sequences.fast.tokenizer import Workspace

        workspace = _LOCAL.workspace = Workspace()
    return workspace
