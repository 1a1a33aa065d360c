"""Records go to JSON and come back whole, and nothing else does."""

from __future__ import annotations

import dataclasses
import functools
import json
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
from maskcli.records.report import Report
from maskcli.records.trace import Inspection
from maskcli.render.codec import DTYPES, decode, encode
from maskcli.render.documents import dumps
from maskcli.render.report_document import make_report_document, read_report_document
from tests.conftest import QUESTION
from tests.traps import TRAPS, built


def again(record: Any) -> Any:
    return decode(type(record), json.loads(json.dumps(encode(record), allow_nan=False)))


def same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), where
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, tuple | list):
        assert len(one) == len(other), where
        for at, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{at}]")
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for name in one:
            same(one[name], other[name], f"{where}.{name}")
    else:
        assert one == other or (one != one and other != other), where


@given(
    values=st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    )
)
def test_any_array_comes_back(values: Any) -> None:
    same(ModelInput("x", values, None, "static"), again(ModelInput("x", values, None, "static")))


def test_an_array_that_many_share_is_written_once() -> None:
    mask = np.array([[True, False], [False, True]])
    document = encode((mask, mask.copy(), ~mask))
    assert document == {
        "record": [{"$array": "a0"}, {"$array": "a0"}, {"$array": "a1"}],
        "arrays": {
            "a0": {"dtype": "bool", "shape": [2, 2], "data": "1001"},
            "a1": {"dtype": "bool", "shape": [2, 2], "data": "0110"},
        },
    }


def test_numbers_have_as_few_digits_as_tell_them() -> None:
    values = np.array([0.1, 1 / 3, np.inf, -np.inf, np.nan, 1e-45, -0.0], "float32")
    text = json.dumps(encode(values)["arrays"]["a0"]["data"])
    assert text == '[0.1, 0.33333334, "Infinity", "-Infinity", "NaN", 1e-45, -0.0]'


def test_what_the_verbs_return_comes_back() -> None:
    for record, kind in (
        (maskcli.inspect(QUESTION, mask_source="all"), Inspection),
        (maskcli.loss(QUESTION, batch_sizes=(1, 2), metrics=("mae",)), LossReport),
        (maskcli.check(QUESTION, mask_source="none"), CheckReport),
        (maskcli.check([[1, 0, 2], []], data_only=True, maxlen=2), CheckReport),
        (maskcli.report(QUESTION, mask_source="none"), Report),
    ):
        assert isinstance(record, kind)
        same(record, again(record))


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_reports_on_traps_come_back_through_their_document(make: Any) -> None:
    trap = built(make)
    report = maskcli.report(trap.arrays, model=trap.model, targets=trap.targets)
    document = dumps(make_report_document(report))
    back = read_report_document(json.loads(document))
    same(report, back)
    assert dumps(make_report_document(back)) == document


def test_what_a_later_release_adds_is_left_out() -> None:
    document = json.loads(written())
    document["record"]["mood"] = document["record"]["origin"]["mood"] = "new"
    assert read_report_document(document).origin.seed == 0


@functools.cache
def written() -> bytes:
    """Return the document of a report, which takes long to make."""
    return dumps(make_report_document(maskcli.report(QUESTION)))


def damaged(change: Any) -> Any:
    document = json.loads(written())
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(schema="maskcli/loss/1"), "schema 'maskcli/loss/1'"),
        (lambda document: document.pop("arrays"), "no arrays"),
        (lambda document: document["arrays"]["a0"].update(dtype="object"), "array a0: dtype 'object'"),
        (lambda document: document["arrays"]["a0"].update(shape=[7, 7, 7]), "array a0: cannot reshape"),
        (lambda document: document["arrays"]["a0"].update(data=[{"a": 1}]), "array a0"),
        (lambda document: document["arrays"].pop("a0"), "no array 'a0'"),
        (lambda document: document["record"].pop("origin"), "Report: "),
        (lambda document: document["record"]["origin"].update(rows="three"), "Report.origin.rows: str 'three'"),
        (lambda document: document["record"]["origin"].update(seed=1.5), "Report.origin.seed: float '1.5'"),
        (lambda document: document["record"].update(verdicts={}), "Report.verdicts: dict does not fit"),
        (lambda document: document["record"]["verdicts"][0].update(severity="mild"), "severity: str 'mild'"),
        (lambda document: document["record"].update(check=[]), "Report.check: list instead of CheckReport"),
    ],
)
def test_what_is_damaged_is_named(change: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        read_report_document(damaged(change))
    assert said in str(raised.value)


@pytest.mark.parametrize("document", [None, [], "report", {"schema": 1}, {}])
def test_what_is_no_report_is_named(document: Any) -> None:
    with pytest.raises(ValueError, match=r"schema '1'|no document that maskcli wrote"):
        read_report_document(document)
