"""The file formats. A new format is a file here and a line in the table below.

Content without a suffix is compared with the formats in the order of the table. Text, which matches anything, is last.
"""

from __future__ import annotations

from maskcli.sequences.formats import arrow, csv_table, json_array, json_lines, numpy_arrays, text
from maskcli.sequences.formats.base import Format

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        *json_array.FORMATS,
        *json_lines.FORMATS,
        *numpy_arrays.FORMATS,
        *arrow.FORMATS,
        *csv_table.FORMATS,
        *text.FORMATS,
    )
}
