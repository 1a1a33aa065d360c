"""Lambda layers, whose code is followed like that of a class, and functions of several operations, such as ``std``."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers, ops

from maskcli.records.check import CheckReport
from tests.probes.test_public_models import IDS, Case, check, get_verdict, list_errors, look_up

pytestmark = pytest.mark.slow(share=1 / 2)

Function = Callable[..., Any]


def define(body: str, code: str = "", **names: Any) -> Function:
    """Return the function ``f(x, mask)`` with this body, before which printed code stands."""
    lines = textwrap.indent(f"{code}\n{textwrap.dedent(body)}", "    ")
    scope: dict[str, Any] = {"keras": keras, "ops": ops, **names}
    exec(f"def f(x, mask=None):\n{lines}", scope)  # noqa: S102 - the printed code is the subject of these tests
    return scope["f"]  # type: ignore[no-any-return]


def split_line(code: str) -> tuple[dict[str, Any], str]:
    """Return the classes that a repair defines, and the expression in its last line."""
    scope: dict[str, Any] = {"keras": keras}
    exec(code.rpartition("\n")[0], scope)  # noqa: S102
    return scope, code.rpartition("\n")[2].partition("  # instead of ")[0]


def get_code(report: CheckReport, kind: str) -> str:
    return next(repair.code for repair in report.repairs if repair.kind == kind)


def attend(function: Function) -> Case:
    ids, x = look_up()
    x = layers.LSTM(4, return_sequences=True)(x)
    x = layers.Lambda(function, name="weigh")([x, layers.Dense(1)(x)])
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


ATTENTION = "return ops.sum(x[0] * ops.softmax({scores}, axis=1), axis=1)"


def test_softmax_in_a_lambda_leaves_padding_out() -> None:
    report = check(lambda: attend(lambda x: ops.sum(x[0] * ops.softmax(x[1], axis=1), axis=1)))
    assert get_verdict(report) == "leaks"
    assert list_errors(report) == [("MSK101", "weigh")]
    code = get_code(report, "mask-before-softmax")
    # Keras also calls the function without a mask.
    assert code.startswith("if mask is not None:\n")
    assert "in weigh = Lambda(lambda ..., mask=None: ...)" in code
    repaired = define(ATTENTION.format(scores="scores"), f"scores = x[1]\n{code}")
    assert get_verdict(check(lambda: attend(repaired))) == "clean"


def test_function_of_a_lambda_is_named() -> None:
    def weigh(x: Any) -> Any:
        return ops.sum(x[0] * ops.softmax(x[1], axis=1), axis=1)

    assert "in weigh(..., mask=None)" in get_code(check(lambda: attend(weigh)), "mask-before-softmax")


def pool(function: Function) -> Case:
    ids, x = look_up()
    x = layers.Lambda(function, name="pool")(layers.LSTM(4, return_sequences=True)(x))
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


def test_mean_next_to_a_maximum_in_a_lambda_leaves_padding_out() -> None:
    """Padding repeats the last valid output of the LSTM, so that the maximum is right."""
    pools = "return ops.concatenate([{mean}, ops.max(x, axis=1)], axis=-1)"
    report = check(lambda: pool(define(pools.format(mean="ops.mean(x, axis=1)"))))
    assert get_verdict(report) == "leaks"
    scope, mean = split_line(get_code(report, "mask-before-mean"))
    assert get_verdict(check(lambda: pool(define(pools.format(mean=mean), **scope)))) == "clean"


def normalize(layer: Any) -> Case:
    ids, x = look_up()
    return {"ids": IDS}, keras.Model(ids, layers.LSTM(3)(layer(x)))


NORM = "return (x - {mean}) / ({std} + 1e-3)"
OPEN = NORM.format(mean="ops.mean(x, axis=1, keepdims=True)", std="ops.std(x, axis=1, keepdims=True)")


class Norm(layers.Layer):
    """Normalises by the statistics of all timesteps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return (x - ops.mean(x, axis=1, keepdims=True)) / (ops.std(x, axis=1, keepdims=True) + 1e-3)


@pytest.mark.parametrize("is_lambda", [True, False])
def test_statistics_of_several_operations_leave_padding_out(is_lambda: bool) -> None:
    """``keras.ops.std`` is a mean, a difference, a square, a mean and a root; code can only replace all of them."""
    keep = layers.Lambda(define(OPEN), name="norm")
    report = check(lambda: normalize(keep if is_lambda else Norm(name="norm")))
    assert get_verdict(report) == "leaks"
    assert [repair.kind for repair in report.repairs][-2:] == ["mask-before-mean", "mask-before-std"]
    scope, mean = split_line(get_code(report, "mask-before-mean"))
    classes, std = split_line(get_code(report, "mask-before-std"))
    repaired = define(NORM.format(mean=mean, std=std), **{**scope, **classes})
    layer = layers.Lambda(repaired, mask=lambda inputs, mask: mask)  # noqa: ARG005 - the printed code
    assert get_verdict(check(lambda: normalize(layer))) == "clean"


def test_turned_result_of_a_lambda_keeps_a_turned_mask() -> None:
    def reverse(**options: Any) -> Case:
        ids, x = look_up()
        return {"ids": IDS}, keras.Model(
            ids, layers.LSTM(3)(layers.Lambda(lambda x: ops.flip(x, axis=1), name="turn", **options)(x))
        )

    code = get_code(check(reverse), "keep-mask")
    assert code.startswith("keras.layers.Lambda(..., mask=lambda inputs, mask: ")
    mask = eval(code.partition("mask=")[2].removesuffix(")"))  # noqa: S307 - the printed code
    assert get_verdict(check(lambda: reverse(mask=mask))) == "clean"


def test_each_lambda_has_an_edit_of_its_own() -> None:
    """All Lambdas have one class, but the function of one of them says nothing about another."""

    def build() -> Case:
        ids, x = look_up()
        x = layers.LSTM(4, return_sequences=True)(layers.Lambda(lambda x: x * 2.0, name="scale")(x))
        return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(layers.Lambda(lambda x: ops.sum(x, axis=1))(x)))

    report = check(build)
    assert get_verdict(report) == "leaks"
    assert {repair.kind for repair in report.repairs} == {"keep-mask", "mask-before-sum"}
