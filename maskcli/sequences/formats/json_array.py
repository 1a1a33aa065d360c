"""JSON: an array of sequences, an array of records, or what a maskcli command printed."""

from __future__ import annotations

import json
from typing import Any

from maskcli.errors import InputError, MaskcliError
from maskcli.records import Layout, PaddedBatch, RaggedSequences
from maskcli.render.documents import dumps, pad_document
from maskcli.sequences.formats import json_text
from maskcli.sequences.formats.base import Field, Format, Parsed, decode, quoted
from maskcli.sequences.padding import check_layout, validity
from maskcli.sequences.ragged import describe, ragged_from_rows, unpad


def read(data: bytes, name: str, field: Field) -> Parsed:
    """Return the sequences of one JSON document."""
    text = decode(data, name)
    document = _parse(text, name)
    if isinstance(document, dict):
        if field.name is not None:
            raise _no_field(field, name, "one object")
        return _from_maskcli(document, name)
    if not isinstance(document, list):
        raise InputError(
            where=name, expected="a JSON array of sequences", received=describe(document), fix="Write [[1, 2], [3]]."
        )

    def where(row: int) -> str:
        return f"{name}:{_line_of(text, row)} (sequence {row + 1})"

    if any(isinstance(entry, dict) for entry in document):
        return Parsed(json_text.field_rows(document, field, name, where), where)
    if field.name is not None:
        raise _no_field(field, name, "an array of bare sequences")
    return Parsed(document, where)


def write(batch: PaddedBatch) -> bytes:
    """Return the document that ``maskcli pad --format json`` prints."""
    return dumps(pad_document(batch))


def _no_field(field: Field, name: str, received: str) -> InputError:
    return InputError(
        where=name,
        expected=f"records with the field {field.name!r}",
        received=received,
        fix=f"Leave {field.option} out.",
    )


def looks_like(data: bytes) -> bool:
    """Return whether content is one document: an array of arrays or objects, or an object that no line ends."""
    if data.startswith(b"["):
        inside = data[1:].lstrip()
        return inside[:1] in (b"[", b"{") or inside.strip() == b"]"
    if not data.startswith(b"{"):
        return False
    try:
        first = json.loads(data.split(b"\n", 1)[0])
    except ValueError:
        return True
    return isinstance(first, dict) and str(first.get("schema", "")).startswith("maskcli/")


def _parse(text: str, name: str) -> Any:
    if not text.strip():
        raise InputError(
            where=name, expected="a JSON array of sequences", received="nothing but blanks", fix="Write [[1, 2], [3]]."
        )
    fix = "Look for a missing bracket, comma or quote there or just before. JSON Lines wants --input-format jsonl."
    try:
        return json_text.parse(text, lambda error: f"{name}:{error.lineno}:{error.colno}", fix)
    except InputError as error:
        raise error.at(name) from None


def _line_of(text: str, row: int) -> int:
    """Return the line on which entry ``row`` of the outer array starts; read again only for a message."""
    decoder, position = json.JSONDecoder(), text.index("[") + 1
    for _ in range(row + 1):
        while text[position] in " \t\r\n,":
            position += 1
        start = position
        _, position = decoder.raw_decode(text, position)
    return text.count("\n", 0, start) + 1


def _from_maskcli(found: dict[str, Any], name: str) -> Parsed:
    """Return the padded batch of a maskcli document: its own fields, or those of its ``batch``."""
    schema = str(found.get("schema", ""))
    if not schema.startswith("maskcli/"):
        raise InputError(
            where=name,
            expected="a JSON array of sequences, or a document that maskcli printed",
            received=f"an object with the fields {quoted(list(found))}",
            fix="Write [[1, 2], [3]]; objects, one a line, are JSON Lines (--input-format jsonl).",
        )
    try:
        padded = found.get("batch", found)
        layout = Layout(*(padded[key] for key in ("padding", "truncating", "maxlen", "value", "dtype")))
        layout = check_layout(layout)
        if layout.dtype not in ("int32", "int64"):
            raise InputError(expected="dtype int32 or int64", received=layout.dtype, fix="Pad it again.")
        return Parsed(_unpadded(padded, layout), lambda row: f"{name} (sequence {row + 1})", layout)
    except MaskcliError as error:
        raise InputError(where=name, expected=error.expected, received=error.received, fix=error.fix) from None
    except (KeyError, TypeError) as error:
        raise InputError(
            where=name,
            expected=f"the padded batch of a {schema} document",
            received=f"none with {error}" if isinstance(error, KeyError) else str(error),
            fix="Pass on what `maskcli pad`, `inspect` or `loss` printed as it is.",
        ) from None


def _unpadded(padded: dict[str, Any], layout: Layout) -> RaggedSequences:
    """Return the sequences of a padded batch, whose every row must have ``maxlen`` tokens."""
    tokens, lengths = ragged_from_rows(padded["tokens"]), ragged_from_rows([padded["lengths"]]).values
    if set(tokens.lengths.tolist()) != {layout.maxlen} or len(lengths) != len(tokens) or (lengths < 0).any():
        raise InputError(
            expected=f"rows of {layout.maxlen} tokens, and a length for each",
            received=f"rows of {sorted(set(tokens.lengths.tolist()))} tokens, and {len(lengths)} lengths",
            fix="Pass on what maskcli printed as it is.",
        )
    return unpad(tokens.values.reshape(len(tokens), -1), validity(lengths, layout))


FORMATS = (Format("json", (".json",), read, looks_like, write),)
