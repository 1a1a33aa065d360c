"""The file formats. A new format is a file here and a line in ``sequences/format_names.py``."""

from __future__ import annotations

import importlib

from maskcli.sequences.format_names import FORMAT_NAMES
from maskcli.sequences.formats.base import Format

_MODULES = dict.fromkeys(entry.module for entry in FORMAT_NAMES)
FORMATS: dict[str, Format] = {
    entry.name: entry for module in _MODULES for entry in importlib.import_module(f"{__name__}.{module}").FORMATS
}
