"""The table of names, which ``--help`` shows, is that of the formats."""

from __future__ import annotations

import pytest

from maskcli.sequences.format_names import FORMAT_NAMES, FormatName
from maskcli.sequences.formats import FORMATS

pytestmark = pytest.mark.quick


def test_format_names_are_those_of_formats() -> None:
    names = [
        FormatName(
            name, entry.read.__module__.rpartition(".")[2], entry.suffixes[0], entry.is_text, entry.writer is not None
        )
        for name, entry in FORMATS.items()
    ]
    assert list(FORMAT_NAMES) == names
