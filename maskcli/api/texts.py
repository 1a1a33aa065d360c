"""Turn text from Python into ids, before a function of the library sees its data."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from maskcli.errors import InputError
from maskcli.inputs.objects import TableRows, list_texts, read_table_rows
from maskcli.sequences.files import load_texts
from maskcli.sequences.words import Tokenizer, make_tokenizer

Request = TypeVar("Request")


def encode_texts(request: Request) -> Request:
    """Return a request with the ids of its texts, and with the padding id of its tokenizer.

    Raises:
        UsageError: for a tokenizer of another kind.
        InputError: for data without text, and text that cannot be encoded.
    """
    source = getattr(request, "tokenizer", None)
    if source is None:
        return request
    tokenizer = make_tokenizer(source)
    name = "data" if hasattr(request, "data") else "sequences"
    changes: dict[str, Any] = {name: _encode(getattr(request, name), tokenizer)}
    if getattr(request, "value", None) == 0 and tokenizer.padding_id is not None:
        changes["value"] = tokenizer.padding_id
    return dataclasses.replace(request, **changes)  # type: ignore[type-var]


def _encode(data: object, tokenizer: Tokenizer) -> object:
    """Return texts as sequences; of ``(x, y)`` those of x, and of a table its rows, whose text is encoded later."""
    if isinstance(data, tuple) and len(data) in (2, 3) and not isinstance(data[0], str):
        return (_encode(data[0], tokenizer), *data[1:])
    table = read_table_rows(data)
    if table is not None:
        return TableRows(table, tokenizer=tokenizer)
    texts = list_texts(data)
    if texts is None:
        raise InputError(
            where="data",
            expected="a list of texts, or a table with a column of text, for a tokenizer",
            received=f"a value of type {type(data).__name__}",
            fix="Leave tokenizer= out if the data has ids.",
        )
    return load_texts(texts, tokenizer)
