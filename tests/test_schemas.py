"""Every JSON output is what its schema says, strict, and the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema
import numpy as np
import pytest

from maskcli.render.documents import dumps, make_strict
from tests.conftest import ROOT, Output

SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "maskcli" / "schemas").glob("*.json")}
RUNS = [
    "pad",
    "pad --padding pre --truncating pre --maxlen 4 --value -1 --dtype int64",
    "models",
    "rules",
    "explain MSK001",
    "explain padding-waste",
    "inspect",
    "inspect --last-only --padding pre",
    "inspect --mask-source none",
    "inspect --mask-source masking --zero-output-for-mask",
    "inspect --mask-source explicit --model embedding-dense --units 1",
    "inspect --mask-source all --maxlen 8",
    "loss",
    "loss --mask-source none --loss mae",
    "loss --targets shift --loss sparse_categorical_crossentropy --batch-size 2",
    "loss --targets ones --loss binary_crossentropy --model embedding-dense",
    "loss --targets arange --loss categorical_crossentropy --mask-source masking",
    "loss --targets zeros --loss huber --mask-source explicit --seed 5",
    "report",
    "report --mask-source none --samples 2 --targets shift --loss sparse_categorical_crossentropy",
]


def test_there_is_a_schema_for_each_command() -> None:
    from maskcli.cli import COMMANDS

    assert sorted(SCHEMAS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas_and_require_what_they_name(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert next(iter(schema["properties"])) == "schema"
    assert schema["required"] == list(schema["properties"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_schema_prints_it(call: Callable[..., Output], name: str) -> None:
    assert call(name, "--json-schema").json == SCHEMAS[name]


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("arguments", RUNS)
def test_outputs_are_what_the_schema_says(call: Callable[..., Output], arguments: str) -> None:
    name, *options = arguments.split()
    output = call(name, *options, "--format", "json")
    assert (output.exit_status, output.stderr) == (0, "")
    jsonschema.validate(output.json, SCHEMAS[name])
    assert output.startswith(f'{{"schema": "maskcli/{name}/1",\n')
    assert output.endswith("}\n")
    assert call(name, *options, "--format", "json") == output


def test_a_schema_can_fail(call: Callable[..., Output]) -> None:
    document = call("inspect", "--format", "json").json
    for path, value in (
        (["mask"], [[1, 0]]),
        (["trace", 0, "effect"], "eats"),
        (["outputs", "shape"], []),
        (["schema"], "x"),
    ):
        broken = json.loads(json.dumps(document))
        *parents, last = path
        inner = broken
        for key in parents:
            inner = inner[key]
        inner[last] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMAS["inspect"])


def test_numbers_that_json_has_not_are_strings() -> None:
    values = {
        "a": np.array([1.0, np.nan, np.inf, -np.inf], "float32"),
        "b": float("nan"),
        "c": np.float32(0.5),
        "d": (1, None),
    }
    assert make_strict(values) == {"a": [1.0, "NaN", "Infinity", "-Infinity"], "b": "NaN", "c": 0.5, "d": [1, None]}
    assert json.loads(dumps({"schema": "x", "value": "ü", "list": values["a"]})) == {
        "schema": "x",
        "value": "ü",
        "list": [1.0, "NaN", "Infinity", "-Infinity"],
    }


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("first", ["pad", "inspect", "loss"])
@pytest.mark.parametrize("second", ["pad", "inspect", "loss"])
def test_what_one_command_prints_another_reads(call: Callable[..., Output], first: str, second: str) -> None:
    options = ("--padding", "pre", "--maxlen", "4", "--format", "json")
    piped = call(first, *options)
    document = call(second, "-", "--format", "json", stdin=piped).json
    expected = call(second, *options).json
    shown, wanted = (document if second == "pad" else document["batch"] for document in (document, expected))
    for field in ("tokens", "padding", "maxlen", "value", "dtype", "shape"):
        assert shown[field] == wanted[field], field
    assert document.get("mask") == expected.get("mask")
    assert document.get("masked") == expected.get("masked")
