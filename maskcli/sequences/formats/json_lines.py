"""JSON Lines: a list a line, or an object a line of which one field holds the sequence."""

from __future__ import annotations

import json
from typing import Any

from maskcli.errors import InputError
from maskcli.records import PaddedBatch
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import Field, Format, Parsed, decode


def read(data: bytes, name: str, field: Field) -> Parsed:
    """Return a row for each line; ``field`` is found when only one holds lists of integers."""
    lines = decode(data, name).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    entries = [_parse(line, f"{name}:{number}") for number, line in enumerate(lines, 1)]

    def where(row: int) -> str:
        return f"{name}:{row + 1}"

    if field.name is None and not any(isinstance(entry, dict) for entry in entries):
        return Parsed(entries, where)
    return Parsed(json_text.field_rows(entries, field, name, where), where)


def write(batch: PaddedBatch) -> bytes:
    """Return the tokens, a list a line."""
    return "".join(json.dumps(row) + "\n" for row in batch.tokens.tolist()).encode()


def _parse(line: str, where: str) -> Any:
    if not line.strip():
        raise InputError(
            where=where,
            expected="a JSON value on every line",
            received="an empty line",
            fix="Write [] for an empty sequence, or remove the line.",
        )
    fix = "Look for a missing bracket, comma or quote. A document over several lines wants --input-format json."
    try:
        return json_text.parse(line, lambda error: f"{where}:{error.pos + 1}", fix)
    except InputError as error:
        raise error.at(where) from None


FORMATS = (Format("jsonl", (".jsonl", ".ndjson"), read, lambda data: data.startswith((b"[", b"{")), write),)
