"""The JSON Schemas of all commands, generated from the records.

    python -m maskcli.render.schemas

writes them to ``maskcli/schemas/``; run it after a change of a record, of its docstring or of its layout in
``maskcli.render.documents``. A test checks that the files are current.

The fields of an object come from its layout, their types from the annotations of the record, and their descriptions
from the record's docstring. msgspec makes a schema from each type. Types of ``maskcli.records.fields`` have limits that
Python's types cannot express; they are in ``LIMITS`` and ``DEFINITIONS``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import maskcli.records
from maskcli.records.fields import BACKENDS
from maskcli.render.documents import (
    DOCUMENTS,
    DTYPES,
    INTEGERS,
    PackedRecord,
    StoredArray,
    list_json_fields,
)

Schema = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/"

_CODE = Annotated[str, Meta(pattern="^MSK[0-9]{3}$")]
LIMITS: dict[str, Any] = {
    "Count": Annotated[int, Meta(ge=0)],
    "Positive": Annotated[int, Meta(ge=1)],
    "NonEmpty": Annotated[str, Meta(min_length=1)],
    "RuleCode": _CODE,
    "RuleCodes": Annotated[tuple[_CODE, ...], Meta(extra_json_schema={"uniqueItems": True})],
    "RuleName": Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")],
    "ProbeName": Literal["replace", "alone", "columns", "gradient", "rows", "segments", "future", "compiled"],
    "Effect": Literal["creates", "passes", "changes", "uses", "drops", "none"],
    "ComparedSource": Literal["embedding", "masking", "explicit"],
    "SourceOption": Literal["embedding", "masking", "explicit", "none", "all"],
    "TokenDtype": Literal[(*INTEGERS, "float16", "float32", "float64")],
    "Shape": Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)],
    "BatchShape": tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]],
}
"""Narrower types for the aliases of ``maskcli.records.fields``."""


def _refer_to(name: str) -> Schema:
    return {"$ref": REFERENCE + name}


def _list_of(items: Schema, **limits: Any) -> Schema:
    return {"type": "array", "items": items, **limits}


def _versions_of(*packages: str) -> Schema:
    """Return the schema of the versions of packages and of backends, of which only that of tensorflow may be null."""
    return {
        "type": "object",
        "properties": {
            **{package: {"description": "Its version.", "type": "string"} for package in packages},
            "tensorflow": {
                "description": "Its version; null if the model did not run on it.",
                "type": ["string", "null"],
            },
        },
        "additionalProperties": {
            "description": "The version of another backend, if the model ran on it.",
            "type": "string",
        },
        "required": [*packages, "tensorflow"],
    }


NUMBER = _refer_to("Number")
DEFINITIONS: dict[str, Schema] = {
    "Number": {
        "description": "A number; NaN and the infinities, which JSON lacks, are strings.",
        "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
    },
    "AnyMask": {
        "description": "true = valid; (batch, timesteps) unless a model makes other masks.",
        **_list_of({"anyOf": [{"type": "boolean"}, _refer_to("AnyMask")]}),
    },
    "Mask": {"description": "(batch, timesteps), true = valid.", **_list_of(_list_of({"type": "boolean"}))},
    "TokensOrFeatures": {
        "description": "(batch, timesteps) integers, or (batch, timesteps, ...) numbers.",
        **_list_of(_list_of({"anyOf": [{"type": "integer"}, _refer_to("Tensor")]})),
    },
    "Tokens": {"description": "(batch, timesteps)", **_list_of(_list_of({"type": "integer"}))},
    "Lengths": {
        "description": "(batch,), timesteps of each sequence.",
        **_list_of({"type": "integer", "minimum": 0}, minItems=1),
    },
    "Vector": {"description": "(n,)", **_list_of(NUMBER)},
    "Integers": {"description": "(n,)", **_list_of({"type": "integer"})},
    "Hashes": {"description": "(n,), integers below 2**64.", **_list_of({"type": "integer", "minimum": 0})},
    "Losses": {
        "description": "(batch, timesteps), or (batch,) without timesteps.",
        **_list_of({"anyOf": [NUMBER, _list_of(NUMBER)]}),
    },
    "Vectors": {
        "description": "(batch, timesteps, units), or (batch, units) without timesteps.",
        **_list_of(_list_of({"anyOf": [NUMBER, _list_of(NUMBER)]})),
    },
    "Tensor": {
        "description": "(batch, timesteps, ...), or (batch, ...) without timesteps.",
        **_list_of({"anyOf": [NUMBER, {"type": "boolean"}, _refer_to("Tensor")]}),
    },
    "Versions": _versions_of("keras", "numpy"),
    "CheckVersions": {
        "type": "object",
        "propertyNames": {"enum": ["keras", *BACKENDS, "numpy"]},
        "patternProperties": {
            "^tensorflow$": {"description": "Null if the model did not run on it.", "type": ["string", "null"]},
        },
        "additionalProperties": {"type": "string"},
    },
    "ReportVersions": _versions_of("maskcli", "python", "keras", "numpy"),
}
"""Schemas of types that have no Python type with one value: numbers, arrays, and the versions of packages."""

EXTRA: dict[str, Schema] = {
    "Inspection.inputs": {"minItems": 1},
    "LossReport.inputs": {"minItems": 1},
    "ModelList.models": {"minItems": 1},
    "RuleList.rules": {"minItems": 1},
    "StoredArray.dtype": {"enum": list(DTYPES)},
    "StoredArray.data": {"anyOf": [_list_of(NUMBER), {"type": "string", "pattern": "^[01]*$"}]},
    "Finding": {"additionalProperties": False},
}
"""Limits of single fields and objects."""

# Stand-ins for the types of DEFINITIONS, which msgspec passes to its hook; `float` is a Number everywhere.
_STAND_INS = {name: type(name, (), {}) for name in DEFINITIONS}
_NARROW = {**LIMITS, **_STAND_INS, "float": _STAND_INS["Number"]}


def make_schemas() -> dict[str, Schema]:
    """Return the schema of each command's document, by command."""
    records = find_records()
    return {command: _make_schema(command, name, records) for name, command in DOCUMENTS.items()}


def find_records() -> dict[str, Any]:
    """Return all record classes by name."""
    paths = maskcli.records.__path__
    modules = [importlib.import_module(f"maskcli.records.{entry.name}") for entry in pkgutil.iter_modules(paths)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {value.__name__: value for value in (*classes, PackedRecord, StoredArray)}


def _make_schema(command: str, record_name: str, records: dict[str, Any]) -> Schema:
    title = f"maskcli/{command}/1"
    document = _describe_object(records[record_name])
    if command == "report":
        document["properties"].update(_describe_object(PackedRecord)["properties"])
    properties = {"schema": {"const": title}, **document["properties"]}
    document.update(properties=properties, required=list(properties))
    definitions: dict[str, Schema] = {}
    pending = _find_references(document)
    while pending:
        name = pending.pop()
        definitions[name] = DEFINITIONS[name] if name in DEFINITIONS else _describe_object(records[name], True)
        pending |= _find_references(definitions[name]) - definitions.keys()
    schema = {"$schema": DIALECT, "title": title, **document}
    if definitions:
        schema["$defs"] = dict(sorted(definitions.items()))
    return schema


def _find_references(schema: Schema) -> set[str]:
    return set(re.findall(f'"{re.escape(REFERENCE)}(\\w+)"', json.dumps(schema)))


def _describe_object(record_class: Any, nested: bool = False) -> Schema:
    """Return the schema of a record's JSON object; other objects are references.

    Args:
        record_class: the record.
        nested: whether the object is within a document; one that is a document itself then has its schema.
    """
    fields = list_json_fields(record_class)
    members = [_find_member(record_class, field.path) for field in fields]
    # The components that msgspec returns are dropped: they hold all fields of a record, those of JSON are made here.
    schemas, _ = msgspec.json.schema_components(
        [member.type for member in members],
        schema_hook=lambda kind: _refer_to(kind.__name__),
        ref_template=REFERENCE + "{name}",
    )
    properties = {}
    for field, member, schema in zip(fields, members, schemas, strict=True):
        extra = EXTRA.get(f"{record_class.__name__}.{field.name}", {})
        properties[field.name] = {"description": member.description, **schema, **extra}
    if nested and record_class.__name__ in DOCUMENTS:
        properties = {"schema": {"const": f"maskcli/{DOCUMENTS[record_class.__name__]}/1"}, **properties}
    return {
        "description": _clean_text(_read_docstring(record_class).split("\n\n")[0]),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        **EXTRA.get(record_class.__name__, {}),
    }


@dataclasses.dataclass(frozen=True)
class Member:
    """A field or property of a record, with its type and its description."""

    type: Any
    description: str


def _find_member(record_class: Any, path: str) -> Member:
    """Return the member at the end of a path; it may be None if a record on the path may be."""
    attribute, _, further = path.partition(".")
    value = inspect.getattr_static(record_class, attribute, None)
    if isinstance(value, property):
        hint = typing.get_type_hints(value.fget, localns=_NARROW, include_extras=True)["return"]
        description = _clean_text(inspect.getdoc(value) or "")
    else:
        hint = typing.get_type_hints(record_class, localns=_NARROW, include_extras=True)[attribute]
        description = _describe_attribute(record_class, attribute)
    if not further:
        return Member(hint, description)
    if dataclasses.is_dataclass(hint):
        return _find_member(hint, further)
    inner = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    member = _find_member(inner, further)
    return Member(member.type | None, member.description)


def _read_docstring(record_class: Any) -> str:
    return inspect.cleandoc(record_class.__doc__ or "")


def _describe_attribute(record_class: Any, attribute: str) -> str:
    """Return the description of an attribute: in the docstring of its class or of a base class, or of its option."""
    for base in record_class.__mro__:
        attributes = _read_docstring(base).partition("Attributes:\n")[2]
        text = re.search(rf"^ {{4}}{attribute}: (.+?)(?=\n {{4}}\S|\Z)", attributes, re.DOTALL | re.MULTILINE)
        if text:
            return _clean_text(text[1])
    for field in dataclasses.fields(record_class):
        if field.name == attribute and "option" in field.metadata:
            return _clean_text(field.metadata["option"].text)
    raise LookupError(f"the docstring of {record_class.__name__} does not describe {attribute}")


def _clean_text(text: str) -> str:
    """Return a docstring as one line in the words of JSON."""
    text = " ".join(text.split()).replace("``", "`")
    for python, javascript in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", javascript, text)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def render_schema(schema: Schema) -> str:
    """Return the text of a schema file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for _name, _schema in make_schemas().items():
        (FOLDER / f"{_name}.json").write_text(render_schema(_schema), "utf-8")
