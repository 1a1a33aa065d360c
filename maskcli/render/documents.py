"""Records to the JSON documents of the commands, and reports back to records.

A record becomes a JSON object with its fields, in their order. ``LAYOUTS`` lists the records whose JSON differs.
The JSON Schemas come from the same table, see ``maskcli.render.schemas``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from maskcli.records.arrays import Array
from maskcli.records.fields import Count
from maskcli.render.earlier import update_leaks
from maskcli.render.json_text import convert, encode_json, gather, make_plain

if TYPE_CHECKING:
    from maskcli.records.corpus import CorpusState
    from maskcli.records.data import DataOrigin
    from maskcli.records.manifest import Manifest
    from maskcli.records.profile import SkippedBlock
    from maskcli.records.report import Report

Record = TypeVar("Record")

DOCUMENTS = {
    "PaddedBatch": "pad",
    "Manifest": "manifest",
    "Inspection": "inspect",
    "LossReport": "loss",
    "CheckReport": "check",
    "ProjectReport": "checks",
    "Comparison": "compare",
    "Report": "report",
    "ProfileReport": "profile",
    "RuleList": "rules",
    "RuleExplanation": "explain",
    "ModelList": "models",
}
"""The command that prints a record. Records go by their names here, because importing all of them takes time."""

LAYOUTS = {
    "CheckReport": """
        name model=identity backend versions data inputs findings repairs attempts checked ignored passed status fail_on
        quick rows leak notes baseline ignored_calls fail_on_stale""",
    "ProjectReport": "passed checks",
    "Comparison": "kind equal sides differences findings calls rows inputs data",
    "SideDifference": """
        first side equal parts first_call first_result cause outputs weights only_in_first only_in_other""",
    "ModelCheck": "name passed exit_code error check",
    "Leak": "verdict leaks weights reason padded_by_maskcli max_abs_change first_call worst probes calls=entries",
    # Inspection.
    "Inspection": """
        model backend versions data batch=shown_batch inputs mask embedding trace outputs=first_output more_outputs
        output_mask unmasked mask_sources mask_sources_agree remarks edges""",
    "ModelAbout": "name source type notes *settings=ModelSettings",
    "ModelSettings": """
        mask_source input_dim embedding_dim units return_sequences logits zero_output_for_mask padding_id seed""",
    "ModelInput": "name kind shape dtype padded_timesteps validity column padded_places",
    "Call": """
        call index type effect mask_in mask_out given computes_mask warning masks_in masks_out mask_arguments shapes_in
        shapes_out code contains lost_at lost_after takes_off valid""",
    "Remark": "kind text",
    "Edge": "source from_input target to_output carries_mask lost argument",
    "OutputValues": "call shape values mask repeats_previous name",
    # Loss: single values first, arrays last.
    "LossReport": """
        model backend versions *first=LossOutput keras_evaluate regularization batch_size batch_sizes gradient_rows
        metrics more_outputs remarks data inputs batch=shown_batch""",
    "LossOutput": """
        output=name loss loss_weight targets shape dtype masked exact unmasked unmasked_model weighted_mean reported
        padding_share valid_timesteps total_timesteps not_finite lost_at by_length contributors reductions per_sample
        per_timestep mask valid ignored weights""",
    "PaddedBatch": """
        shape padding=layout.padding truncating=layout.truncating maxlen value dtype=layout.dtype lengths
        truncated_tokens data inputs features tokens mask""",
    # Report: the main results; `make_document` appends the whole record.
    "Report": """
        model *origin=Origin data inputs verdicts findings=check.findings checked=check.checked ignored=check.ignored
        status=check.status leak=check.leak notes=check.notes losses keras_evaluate no_loss""",
    "ProfileReport": """
        data part batch_size input_dim by *corpus=CorpusProfile groups skipped code state""",
    "CorpusProfile": """
        sequences tokens lengths empty ids padding_id duplicates maxlen sweep buckets batches findings""",
    "Origin": "backend versions command seed rows samples",
}
"""The JSON fields of a record, in order.

``name`` is a field or property of the record. ``name=path`` has another name in JSON. ``*path=Record`` puts the fields
of a nested record in its place; they are all null if that record is None.
"""


ARRAY = "$array"
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64")
"""Dtypes of stored arrays."""


@dataclasses.dataclass(frozen=True)
class JsonField:
    """A field of a JSON object.

    Attributes:
        name: its name in JSON.
        path: the attribute of the record, or several joined by dots.
    """

    name: str
    path: str


def list_json_fields(record_class: Any) -> tuple[JsonField, ...]:
    """Return the JSON fields of a record class, in order."""
    if record_class.__name__ in LAYOUTS:
        return _read_layout(record_class.__name__)
    return tuple(JsonField(field.name, field.name) for field in dataclasses.fields(record_class))


@functools.cache
def _read_layout(record_name: str) -> tuple[JsonField, ...]:
    fields: list[JsonField] = []
    for entry in LAYOUTS[record_name].split():
        name, _, path = entry.partition("=")
        if name.startswith("*"):
            fields += (JsonField(inner.name, f"{name[1:]}.{inner.path}") for inner in _read_layout(path))
        else:
            fields.append(JsonField(name, path or name))
    return tuple(fields)


def make_document(record: Any) -> dict[str, Any]:
    """Return the JSON document of a command's result; ``iterate_json`` encodes its values."""
    command = DOCUMENTS[type(record).__name__]
    document = {"schema": f"maskcli/{command}/1", **_select_fields(record)}
    if command == "report":
        document.update(vars(pack_record(record)))
    return document


def _select_fields(record: Any) -> dict[str, Any]:
    return {field.name: _follow_path(record, field.path) for field in list_json_fields(type(record))}


def _select_nested(record: Any) -> dict[str, Any]:
    """Return the JSON fields of a record within a document; a whole document has its schema."""
    return make_document(record) if type(record).__name__ in DOCUMENTS else _select_fields(record)


def _follow_path(record: Any, path: str) -> Any:
    value = record
    for attribute in path.split("."):
        if value is None:
            break
        value = getattr(value, attribute)
    return value


def iterate_json(document: dict[str, Any]) -> Iterator[bytes]:
    """Yield a document as strict JSON in UTF-8, part by part, with one top-level field per line."""
    return gather(_encode_document(document))


def _encode_document(document: dict[str, Any]) -> Iterator[bytes]:
    start = "{"
    for key, value in document.items():
        yield f"{start}{json.dumps(key)}: ".encode()
        yield from encode_json(value, _select_nested)
        start = ",\n "
    yield b"}\n"


def dumps(document: dict[str, Any]) -> bytes:
    """Return a document as ``iterate_json`` writes it."""
    return b"".join(iterate_json(document))


def make_strict(value: Any) -> Any:
    """Return ``value`` in JSON's own types; NaN and the infinities, which JSON lacks, become strings."""
    return make_plain(value, _select_nested)


# A whole record, as a report carries it.


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array that JSON can hold.

    Attributes:
        dtype: the name of its dtype.
        shape: the length of each axis.
        data: the numbers in row-major order, ``(n,)``; for booleans a string of 0 and 1.
    """

    dtype: str
    shape: list[Count]
    data: Any


@dataclasses.dataclass(frozen=True)
class PackedRecord:
    """A record with all its fields in JSON's own types, apart from its arrays.

    Attributes:
        record: the fields by name; {"$array": NAME} is an array of ``arrays``.
        arrays: each array once, by name.
    """

    record: dict[str, Any]
    arrays: dict[str, StoredArray]


def pack_record(record: Any) -> PackedRecord:
    """Return a record with all its fields; equal arrays are stored once."""
    arrays: dict[str, StoredArray] = {}
    names: dict[tuple[str, tuple[int, ...], bytes], str] = {}  # By a digest, for the arrays may be large.

    def store(array: Array) -> dict[str, str]:
        if array.dtype.name not in DTYPES:  # Such as bfloat16, which NumPy itself does not know.
            array = array.astype(np.float32)
        key = (array.dtype.name, array.shape, hashlib.blake2b(np.ascontiguousarray(array).tobytes()).digest())
        if key not in names:
            names[key] = f"a{len(names)}"
            data: Any = array.ravel()
            if array.dtype == bool:
                data = (data + np.uint8(ord("0"))).tobytes().decode()
            arrays[names[key]] = StoredArray(array.dtype.name, list(array.shape), data)
        return {ARRAY: names[key]}

    return PackedRecord(convert(record, store, list_fields), arrays)


def list_fields(record: Any) -> dict[str, Any]:
    """Return all fields of a record, by name."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def read_report_document(document: Any) -> Report:
    """Return the report from its JSON document.

    Raises:
        ValueError: for any other document, with the fault and its place.
    """
    from maskcli.records.report import Report

    if not isinstance(document, dict) or "schema" not in document:
        raise ValueError("a document that maskcli did not write")
    if document["schema"] != "maskcli/report/1":
        raise ValueError(f"schema {str(document['schema'])[:80]!r}")
    return unpack_record(Report, document)


def read_profile_part(document: Any) -> tuple[CorpusState, tuple[SkippedBlock, ...], DataOrigin]:
    """Return the counts of a part of a profile, its skipped blocks and its files, from its JSON document.

    Raises:
        ValueError: for any other document, with the fault and its place.
    """
    from maskcli.records.arrays import Hashes
    from maskcli.records.corpus import CorpusState
    from maskcli.records.data import DataOrigin
    from maskcli.records.profile import SkippedBlock

    if not isinstance(document, dict) or document.get("schema") != "maskcli/profile/1":
        raise ValueError("another document")
    if document.get("state") is None:
        raise ValueError("the profile of all data, which has no counts to merge")

    def make_array(kind: Any, value: Any) -> Array:
        return np.array(value, np.uint64 if kind == Hashes else np.int64)

    return (
        _convert(document["state"], CorpusState, make_array),
        _convert(document.get("skipped"), tuple[SkippedBlock, ...]),
        _convert(document.get("data"), DataOrigin),
    )


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest of shards from its JSON document.

    Raises:
        ValueError: for any other document, with the fault and its place.
    """
    from maskcli.records.manifest import SCHEMA, Manifest

    document: Any = json.loads(data)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"no document of the schema {SCHEMA}")
    return _convert(document, Manifest)


def unpack_record(record_class: type[Record], packed: Any) -> Record:
    """Return a record from the JSON of ``PackedRecord``.

    Documents of other versions can be read: a missing field has its default value, and unknown fields are ignored.
    Only the dataclasses that ``record_class`` declares are created.

    Raises:
        ValueError: for a missing field without a default, or a value of a wrong type, with its place.
    """
    if not isinstance(packed.get("arrays"), dict):
        raise ValueError("no arrays")
    arrays = {name: _restore_array(name, stored) for name, stored in packed["arrays"].items()}

    def look_up(value: Any) -> Array | None:
        return arrays.get(value.get(ARRAY)) if isinstance(value, dict) else None

    def find_array(_type: Any, value: Any) -> Any:
        array = look_up(value)
        if array is None:
            raise ValueError(f"no array {str(value)[:40]}")
        return array

    content = packed.get("record")
    if isinstance(content, dict) and "leaks" in content:
        leaks, more_arrays = update_leaks(content["leaks"], look_up)
        content = content | {"leaks": leaks}
        arrays.update(more_arrays)

    return _convert(content, record_class, find_array, numbers_in_text=True)


def _convert(
    content: Any,
    kind: type[Record],
    make_array: Callable[[Any, Any], Array] | None = None,
    numbers_in_text: bool = False,
) -> Record:
    """Return a record from JSON's own types.

    Args:
        content: the JSON.
        kind: the type of the record.
        make_array: returns an array from its declared type and its JSON.
        numbers_in_text: whether "NaN", "Infinity" and the keys of objects may be numbers.

    Raises:
        ValueError: for other content, with the fault and its place.
    """
    import msgspec  # Loaded here, because most commands read no records.

    try:
        return msgspec.convert(content, kind, strict=not numbers_in_text, str_keys=numbers_in_text, dec_hook=make_array)
    except (msgspec.ValidationError, OverflowError, TypeError) as error:
        message, _, place = str(error).partition(" - at ")
        raise ValueError(f"{place.strip('`').replace('$', 'record') or 'record'}: {message}") from None


def _restore_array(name: str, stored: Any) -> Array:
    try:
        dtype, shape, data = stored["dtype"], tuple(stored["shape"]), stored["data"]
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r}")
        if dtype == "bool":
            items: Any = np.frombuffer(data.encode("ascii"), np.uint8) == ord("1")
        else:
            items = np.array([float(item) if isinstance(item, str) else item for item in data], dtype)
        return items.reshape(shape)  # type: ignore[no-any-return]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"array {name}: {error}") from None
