"""The manifest of shards as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from maskcli.records.manifest import SCHEMA, Manifest
from maskcli.render.documents import iterate_json, make_document


def render_manifest(manifest: Manifest) -> Iterator[bytes]:
    """Return the JSON document of a manifest, in parts."""
    return iterate_json(make_document(manifest))


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest of a JSON document.

    Raises:
        ValueError: for any other document, with the fault and its place.
    """
    import msgspec  # Loaded here, because most commands read no records.

    document: Any = json.loads(data)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"no document of the schema {SCHEMA}")
    try:
        return msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
