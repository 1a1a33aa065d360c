"""One file a format; a new one is a file here and a line in the table below.

The table is in the order in which content without a suffix is looked at; text, which anything may be, comes last.
"""

from __future__ import annotations

from maskcli.sequences.formats import arrow, json_array, json_lines, numpy_arrays, text
from maskcli.sequences.formats.base import Format

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        *json_array.FORMATS,
        *json_lines.FORMATS,
        *numpy_arrays.FORMATS,
        *arrow.FORMATS,
        *text.FORMATS,
    )
}
