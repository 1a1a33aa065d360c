"""Records go to JSON and come back complete, also from reports of earlier versions."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import maskcli
from maskcli.records.check import CheckReport
from maskcli.records.inputs import ModelInput
from maskcli.records.loss import LossReport
from maskcli.records.report import Origin, Report
from maskcli.records.trace import Inspection
from maskcli.render import json_text
from maskcli.render.documents import (
    ARRAY,
    DOCUMENTS,
    DTYPES,
    LAYOUTS,
    dumps,
    iterate_json,
    make_document,
    pack_record,
    read_report_document,
    unpack_record,
)
from tests.conftest import QUESTION, ROOT
from tests.traps import TRAPS, built

EARLIER = ROOT / "tests" / "earlier"


@functools.cache
def write_report() -> bytes:
    """Return the JSON of a report, which takes long to make."""
    return dumps(make_document(maskcli.report(QUESTION)))


def pack_and_unpack(record: Any) -> Any:
    return unpack_record(type(record), read_back(pack_record(record)))


def read_back(value: Any) -> Any:
    return json.loads(dumps({"value": value}), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["value"]


def assert_same(first: Any, second: Any, where: str = "") -> None:
    assert type(first) is type(second), where
    if isinstance(first, np.ndarray):
        assert (first.dtype, first.shape) == (second.dtype, second.shape), where
        assert np.array_equal(first, second, equal_nan=first.dtype.kind == "f"), where
    elif dataclasses.is_dataclass(first):
        for field in dataclasses.fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name), f"{where}.{field.name}")
    elif isinstance(first, tuple | list):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(first, dict):
        assert list(first) == list(second), where
        for name in first:
            assert_same(first[name], second[name], f"{where}.{name}")
    else:
        assert first == second or (first != first and second != second), where


# Documents.


def test_dumps_writes_nan_and_infinity_as_strings() -> None:
    values = {
        "a": np.array([1.0, np.nan, np.inf, -np.inf], "float32"),
        "b": float("nan"),
        "c": np.float32(0.5),
        "d": (1, None),
    }
    assert read_back(values) == {"a": [1.0, "NaN", "Infinity", "-Infinity"], "b": "NaN", "c": 0.5, "d": [1, None]}
    assert json.loads(dumps({"schema": "x", "value": "ü", "list": values["a"]})) == {
        "schema": "x",
        "value": "ü",
        "list": [1.0, "NaN", "Infinity", "-Infinity"],
    }


def test_dumps_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large arrays and lists are encoded in parts, none of which is large."""
    numbers = np.random.default_rng(0).normal(size=(5, 7, 9)).astype("float32")
    value = {
        "numbers": numbers,
        "ids": np.arange(300).reshape(3, 100),
        "mask": numbers > 0,
        "wide": np.where(numbers > 1, np.nan, numbers)[0],
        "empty": [np.zeros((0, 3)), np.zeros((3, 0)), [], {}],
        "pairs": tuple((float(number), None) for number in numbers.ravel()),
    }
    whole = dumps(value)
    monkeypatch.setattr(json_text, "BLOCK", 10)
    parts = list(iterate_json(value))
    assert b"".join(parts) == whole
    assert max(map(len, parts)) < 600
    assert json.loads(whole)["pairs"] == [[float(number), None] for number in numbers.ravel()]
    monkeypatch.undo()
    large = list(iterate_json({"numbers": np.zeros(2**21, "float32")}))
    assert max(map(len, large)) < 2**20


@given(values=arrays.arrays(st.sampled_from(["float16", "float32"]), 50))
def test_dumps_writes_at_most_nine_digits(values: Any) -> None:
    value = values[np.isfinite(values)]
    text = dumps({"value": value}).decode()
    assert np.array_equal(np.array(json.loads(text)["value"], value.dtype), value)
    digits = [re.sub(r"e.*|[^0-9]", "", number).strip("0") for number in text.split("[")[1].split(",")]
    assert max(map(len, digits)) <= {"float16": 5, "float32": 9}[value.dtype.name]


def test_dumps_escapes_surrogates() -> None:
    assert json.loads(dumps({"file": "caf\udce9.txt"})) == {"file": "caf\udce9.txt"}


def test_layouts_name_records() -> None:
    from maskcli.render.schemas import find_records

    assert {*DOCUMENTS, *LAYOUTS} <= find_records().keys()


# Whole records.


@given(
    values=st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    )
)
def test_unpack_restores_any_array(values: Any) -> None:
    record = ModelInput("x", values, None, "static")
    assert_same(record, pack_and_unpack(record))


def test_pack_stores_equal_arrays_once() -> None:
    mask = np.array([[True, False], [False, True]])
    assert read_back(pack_record((mask, mask.copy(), ~mask))) == {
        "record": [{"$array": "a0"}, {"$array": "a0"}, {"$array": "a1"}],
        "arrays": {
            "a0": {"dtype": "bool", "shape": [2, 2], "data": "1001"},
            "a1": {"dtype": "bool", "shape": [2, 2], "data": "0110"},
        },
    }


def test_pack_uses_the_fewest_digits() -> None:
    values = np.array([0.1, 1 / 3, np.inf, -np.inf, np.nan, 1e-45, -0.0], "float32")
    text = dumps({"data": pack_record(values).arrays["a0"].data}).decode()
    assert (
        text.removeprefix('{"data": ').removesuffix("}\n")
        == '[0.1, 0.33333334, "Infinity", "-Infinity", "NaN", 1e-45, -0.0]'
    )


def test_unpack_restores_every_result() -> None:
    for record, record_class in (
        (maskcli.inspect(QUESTION, mask_source="all"), Inspection),
        (maskcli.loss(QUESTION, batch_sizes=(1, 2), metrics=("mae",)), LossReport),
        (maskcli.check(QUESTION, mask_source="none"), CheckReport),
        (maskcli.check([[1, 0, 2], []], data_only=True, maxlen=2), CheckReport),
        (maskcli.report(QUESTION, mask_source="none"), Report),
    ):
        assert isinstance(record, record_class)
        assert_same(record, pack_and_unpack(record))


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_read_report_document_restores_traps(make: Any) -> None:
    trap = built(make)
    report = maskcli.report(trap.arrays, model=trap.model, targets=trap.targets)
    document = dumps(make_document(report))
    restored = read_report_document(json.loads(document))
    assert_same(report, restored)
    assert dumps(make_document(restored)) == document


def test_unpack_restores_text_that_looks_like_a_number() -> None:
    record = ModelInput("NaN", np.zeros((1, 2)), None, "static")
    assert pack_and_unpack(record).name == "NaN"


# Reports of other versions. Those in tests/earlier were written by the version in their names.


@pytest.mark.parametrize("name", ["report-0.1.0.json", "attention-0.1.0.json"])
def test_read_report_reads_earlier_json(name: str) -> None:
    """If this fails, a record has a new field without a default, or a field was removed or renamed."""
    earlier = json.loads((EARLIER / name).read_text())
    report = maskcli.read_report(str(EARLIER / name))
    today = json.loads(dumps(make_document(report)))
    # The matrix of version 0.1 has NaN wherever nothing was tried.
    for matrix, dense in zip(report.leaks, earlier["record"]["leaks"], strict=True):
        stored = earlier["arrays"][dense.pop("change")[ARRAY]]
        filled = np.full(stored["shape"], np.nan, "float32")
        filled[matrix.places[:, 0], :, matrix.places[:, 1]] = matrix.effects
        expected = np.array(stored["data"], "float32").reshape(stored["shape"])
        assert np.array_equal(filled, expected, equal_nan=True)
    assert restrict(without_arrays(today), without_arrays(earlier)) == without_arrays(earlier)


def without_arrays(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its arrays in their places: their names depend on how many there are."""
    arrays = document["arrays"]

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return (
                arrays[value[ARRAY]] if set(value) == {ARRAY} else {key: resolve(item) for key, item in value.items()}
            )
        return [resolve(item) for item in value] if isinstance(value, list) else value

    return {key: resolve(value) for key, value in document.items() if key != "arrays"}


def restrict(value: Any, earlier: Any) -> Any:
    """Return a value with only the fields that an earlier one has."""
    if isinstance(value, dict) and isinstance(earlier, dict):
        return {key: restrict(value[key], item) for key, item in earlier.items() if key in value}
    if isinstance(value, list) and isinstance(earlier, list) and len(value) == len(earlier):
        return [restrict(item, old) for item, old in zip(value, earlier, strict=True)]
    return value


def test_read_report_reads_earlier_page(tmp_path: Path) -> None:
    """The page is stored without its scripts, styles and pictures."""
    page = tmp_path / "report.html"
    page.write_bytes(gzip.decompress((EARLIER / "report-0.1.0.html.gz").read_bytes()))
    from_page, from_json = maskcli.read_report(str(page)), maskcli.read_report(str(EARLIER / "report-0.1.0.json"))
    assert from_page.origin.command[:2] == ("maskcli", "report")
    assert_same(from_page.check, from_json.check)


def extend(record_class: type[Any], *fields: Any) -> type[Any]:
    """Return a record class with more fields, as a later version may have it."""
    return dataclasses.make_dataclass(record_class.__name__, fields, bases=(record_class,), frozen=True, eq=False)


def test_unpack_fills_a_new_field_with_its_default() -> None:
    later_origin = extend(Origin, ("mood", str, "calm"))
    later_report = extend(Report, ("origin", later_origin), ("moods", tuple[str, ...], ()))
    report = unpack_record(later_report, json.loads((EARLIER / "report-0.1.0.json").read_text()))
    assert (report.origin.mood, report.moods, report.origin.rows) == ("calm", (), 3)


def test_unpack_reports_a_renamed_field() -> None:
    renamed = dataclasses.make_dataclass("Origin", [("program", tuple[str, ...])])
    later_report = extend(Report, ("origin", renamed))
    with pytest.raises(ValueError, match=r"record\.origin: Object missing required field `program`"):
        unpack_record(later_report, json.loads((EARLIER / "report-0.1.0.json").read_text()))


def test_unpack_ignores_fields_of_a_later_version() -> None:
    document = json.loads(write_report())
    document["record"]["mood"] = document["record"]["origin"]["mood"] = "new"
    assert read_report_document(document).origin.seed == 0


# Damaged reports.


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda document: document.update(schema="maskcli/loss/1"), "schema 'maskcli/loss/1'"),
        (lambda document: document.pop("arrays"), "no arrays"),
        (lambda document: document["arrays"]["a0"].update(dtype="object"), "array a0: dtype 'object'"),
        (lambda document: document["arrays"]["a0"].update(shape=[7, 7, 7]), "array a0: cannot reshape"),
        (lambda document: document["arrays"]["a0"].update(data=[{"a": 1}]), "array a0"),
        (lambda document: document["arrays"].pop("a0"), "no array {'$array': 'a0'}"),
        (lambda document: document["record"].pop("origin"), "record: Object missing required field `origin`"),
        (lambda document: document["record"]["origin"].update(rows="three"), "record.origin.rows: Expected `int`"),
        (lambda document: document["record"]["origin"].update(seed=1.5), "record.origin.seed: Expected `int | null`"),
        (lambda document: document["record"].update(verdicts={}), "record.verdicts: Expected `array`, got `object`"),
        (
            lambda document: document["record"]["verdicts"][0].update(severity="mild"),
            "record.verdicts[0].severity: Invalid enum value 'mild'",
        ),
        (lambda document: document["record"].update(check=[]), "record.check: Expected `object`, got `array`"),
        (
            lambda document: document["record"]["inspection"].update(mask=[[True]]),
            "record.inspection.mask: no array [[True]]",
        ),
        (
            lambda document: document["record"]["inspection"].update(mask={"$array": ["a0"]}),
            "record.inspection.mask",
        ),
    ],
)
def test_read_report_document_locates_damage(damage: Callable[[Any], Any], message: str) -> None:
    document = json.loads(write_report())
    damage(document)
    with pytest.raises(ValueError, match=r".") as raised:
        read_report_document(document)
    assert message in str(raised.value)


@pytest.mark.parametrize("document", [None, [], "report", {"schema": 1}, {}])
def test_read_report_document_rejects_others(document: Any) -> None:
    with pytest.raises(ValueError, match=r"schema '1'|a document that maskcli did not write"):
        read_report_document(document)
