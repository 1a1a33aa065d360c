"""The inspect view on hand-made evidence: the screen and the JSON document."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import jsonschema
import ml_dtypes
import numpy as np
import pytest
from rich.console import Console

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.layout import Layout
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Call, EmbeddingRow, Inspection, OutputValues, Unmasked
from maskcli.render.documents import dumps, make_document
from maskcli.render.parts import Limits
from maskcli.render.tables import shorten_middle
from maskcli.render.terminal import render_text
from maskcli.render.views import inspect as inspect_view
from tests.conftest import ROOT

pytestmark = pytest.mark.quick

SCHEMA = json.loads((ROOT / "maskcli" / "schemas" / "inspect.json").read_text())
IDS = np.array([[5, 6, 7, 8], [9, 0, 11, 0], [12, 13, 0, 0]], "int32")
VALID = np.array([[True] * 4, [True] * 3 + [False], [True] * 2 + [False] * 2])
MASK = IDS != 0
TOKENS = ModelInput("tokens", IDS, VALID, "ids")
FEATURES = ModelInput("features", np.ones((3, 4, 5), "float32"), VALID, "features")
STATIC = ModelInput("static", np.ones((3, 2), "float32"), None, "static")
LONG = "encoder_with_a_long_name/transformer_block_number_11/multi_head_attention_of_the_block"


def call(path: str, effect: str = "none", type_: str = "Dense", **more: Any) -> Call:
    """Return a call whose masks are those that its effect speaks of."""
    came_in = effect in ("passes", "changes", "uses", "drops")
    goes_out = effect in ("creates", "passes", "changes", "uses")
    fields: dict[str, Any] = {
        "index": 0,
        "mask_in": MASK if came_in else None,
        "mask_out": MASK if goes_out else None,
        "given": effect == "uses",
        "computes_mask": False,
        "warning": None,
        "masks_in": (MASK if came_in else None,),
        "masks_out": (MASK if goes_out else None,),
        "mask_arguments": {"mask": (MASK,)} if effect == "uses" else {},
        "shapes_in": ((3, 4, 5),),
        "shapes_out": ((3, 4, 5),),
        "valid": VALID,
    }
    return Call(call=path, type=type_, effect=effect, **{**fields, **more})


def numbered(*calls: Call) -> tuple[Call, ...]:
    return tuple(Call(**{**vars(record), "index": index}) for index, record in enumerate(calls))


def output(values: Any, valid: Bools | None = VALID, mask: Bools | None = None, **more: Any) -> OutputValues:
    repeats = None if valid is None else np.zeros_like(valid)
    return OutputValues(
        **{
            "call": "dense",
            "values": np.asarray(values),
            "mask": mask,
            "repeats_previous": repeats,
            "valid": valid,
            **more,
        }
    )


def inspection(**fields: Any) -> Inspection:
    defaults: dict[str, Any] = {
        "model": ModelAbout("tagger.keras", "file", "Functional"),
        "versions": {"keras": "3", "tensorflow": "2", "numpy": "2"},
        "inputs": (TOKENS,),
        "batch": None,
        "mask": MASK,
        "embedding": None,
        "trace": numbered(call("embedding", "creates", "Embedding"), call("dense", "passes")),
        "outputs": (output(np.linspace(-1, 1, 36, dtype="float32").reshape(3, 4, 3)),),
        "unmasked": None,
        "mask_sources": (),
        "mask_sources_agree": None,
        "remarks": (),
    }
    return Inspection(**{**defaults, **fields})


def text(
    inspected: Inspection, width: int = 80, rows: int | None = 24, columns: int | None = None, everything: bool = False
) -> str:
    limits = Limits(None if everything else rows, columns, width, everything)
    return render_text(inspect_view.view(inspected, limits), Console(width=width, color_system=None))


def document(inspected: Inspection) -> Any:
    """Return the document as a reader of JSON has it, after it was held against the schema."""
    read = json.loads(dumps(make_document(inspected)))
    jsonschema.validate(read, SCHEMA)
    assert [*read] == SCHEMA["required"]
    return read


def rows_of(screen: str, title: str) -> list[str]:
    """Return the lines below a heading."""
    lines = screen.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(title))
    return [*lines[start + 1 :], ""][: [*lines[start + 1 :], ""].index("")]


def unmasked(of: OutputValues, by: float = 0.5) -> Unmasked:
    axes = tuple(range(1 if of.valid is None else 2, of.values.ndim))
    values = of.values + np.asarray(by, of.values.dtype)
    with np.errstate(invalid="ignore"):
        return Unmasked(values, np.abs(values - of.values).max(axis=axes), by, by)


NOT_FINITE = np.array([np.nan, np.inf, -np.inf, 0.25] * 9, "float32").reshape(3, 4, 3)
MANY = numbered(
    call("embedding", "creates", "Embedding"),
    *(call(f"encoder/block_{index}/dense", "passes") for index in range(998)),
    call("head", "none", lost_at="encoder/block_997/dense"),
)
CASES = {
    "one output": inspection(),
    "without a mask": inspection(mask=None, trace=numbered(call("embedding", type_="Embedding"))),
    "with an unmasked run": inspection(unmasked=unmasked(inspection().outputs[0])),
    "several outputs": inspection(
        outputs=(
            output(np.ones((3, 4, 3), "float32"), mask=MASK, name="tags", call="tags_head"),
            output(np.ones((3, 1), "float32"), None, name="score", call=LONG),
            output(np.ones((3, 4), "int64"), mask=np.ones(3, bool), name=LONG, call="argmax"),
        )
    ),
    "features": inspection(inputs=(FEATURES, STATIC), embedding=None),
    "two inputs of ids": inspection(inputs=(TOKENS, ModelInput(LONG, IDS[:, :3], VALID[:, :3], "ids"))),
    "nothing with timesteps": inspection(inputs=(STATIC,), mask=None, outputs=(output(np.ones((3, 2)), None),)),
    "a mask as an input": inspection(
        inputs=(TOKENS, ModelInput("mask", VALID, VALID, "mask")), trace=numbered(call("lstm", "uses"))
    ),
    "a mask for samples": inspection(mask=np.ones(3, bool)),
    "a mask for words": inspection(
        mask=np.ones((3, 4, 2), bool), outputs=(output(np.ones((3, 4, 3)), mask=np.ones((3, 4, 2), bool)),)
    ),
    "features, a mask for words": inspection(inputs=(FEATURES,), mask=np.ones((3, 4, 2), bool)),
    "no calls": inspection(trace=(), mask=None),
    "1000 calls": inspection(trace=MANY),
    "long paths": inspection(
        model=ModelAbout("/a/long/folder/" * 8 + "model.keras", "file", "Functional"),
        trace=numbered(
            call("embedding", "creates", "TokenAndPositionEmbeddingOfTheUsersOwn"),
            call(LONG, "drops", "MultiHeadAttention", warning="Layer ...", takes_off=True),
            call(f"{LONG}/dense", "none", lost_at=LONG),
        ),
        outputs=(output(np.ones((3, 4, 3)), call=LONG * 2),),
    ),
    "numbers that are not finite": inspection(outputs=(output(NOT_FINITE),), unmasked=unmasked(output(NOT_FINITE))),
    "nothing but NaN": inspection(outputs=(output(np.full((3, 4, 3), np.nan)),)),
    "bfloat16": inspection(outputs=(output(NOT_FINITE.astype(ml_dtypes.bfloat16)),)),
    "integers": inspection(outputs=(output(IDS * 10**6),), unmasked=unmasked(output(IDS * 10**6), 2)),
    "booleans": inspection(outputs=(output(IDS > 6),)),
    "rank 5": inspection(outputs=(output(np.ones((3, 4, 2, 3, 4), "float16")),)),
    "a number for each sample": inspection(
        outputs=(output(np.arange(3.0), None),), unmasked=unmasked(output(np.arange(3.0), None))
    ),
    "no units": inspection(outputs=(output(np.ones((3, 4, 0))),)),
    "four units": inspection(
        outputs=(output(np.full((3, 4, 4), -0.125)),), unmasked=unmasked(output(np.full((3, 4, 4), -0.125)), 1e-6)
    ),
    "other timesteps": inspection(outputs=(output(np.ones((3, 2, 3)), VALID[:, ::2], MASK[:, ::2]),)),
    "an embedding": inspection(embedding=EmbeddingRow("embedding", 0, np.ones(3, "float32"), False)),
}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", CASES)
def test_lines_fit_the_screen(name: str, width: int) -> None:
    screen = text(CASES[name], width)
    assert not [line for line in screen.splitlines() if len(line) > width]


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", CASES)
def test_documents_match_the_schema(name: str) -> None:
    read = document(CASES[name])
    assert read["output_mask"] == read["outputs"]["mask"]
    assert [len(read[key]) for key in ("more_outputs", "inputs", "trace")] == [
        len(CASES[name].outputs) - 1,
        len(CASES[name].inputs),
        len(CASES[name].trace),
    ]


def test_model_and_inputs_are_named() -> None:
    first = (
        "tagger.keras  Functional, from a file\n • The mask starts at embedding (Embedding).\n\nTokens and mask (3, 4)"
    )
    assert text(inspection()).startswith(first)
    screen = text(CASES["features"])
    assert "features  (3, 4, 5)  float32  features           3 of 12\n" in screen
    assert re.search(r"static +\(3, 2\) +float32 +static +–\n", screen)
    assert "Tokens and mask of tokens (3, 4)" in text(CASES["two inputs of ids"])


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        ({}, "starts at embedding (Embedding)"),
        ({"mask": None, "trace": ()}, None),
        ({"trace": numbered(call("lstm", "uses"))}, "starts in the model's own code"),
        (
            {
                "trace": numbered(
                    call("encoder", "creates", contains=True),
                    call("encoder/reshape"),
                    call("encoder/masking", "creates", "Masking"),
                    call("masking", "creates", "Masking"),
                )
            },
            "starts at encoder/masking (Masking)",
        ),
    ],
)
def test_mask_origin(fields: dict[str, Any], origin: str | None) -> None:
    sentence = "The model has no mask." if origin is None else f"The mask {origin}"
    assert f"\n • {sentence}" in text(inspection(**fields))
    assert "\n • The mask is passed as an input" in text(CASES["a mask as an input"])


def test_mask_end_is_in_the_answer() -> None:
    """The mask reaches the output, or ends at a call, or a remark has the reason for its end."""
    masked = dataclasses.replace(inspection().outputs[0], mask=MASK)
    reaches = text(inspection(outputs=(masked,)))
    assert "embedding (Embedding) and reaches the output of dense." in reaches
    trace = numbered(call("embedding", "creates", "Embedding"), call("sum", "drops", "Add"))
    assert "embedding (Embedding) and ends at sum (Add)." in text(inspection(trace=trace))
    remarks = (
        Remark("warning", "The vocabulary is small."),
        Remark("fact", "It is Tuesday."),
        Remark("warning", "The outputs carry no mask.", "mask-end"),
        Remark("fact", "Disabling the mask changes nothing.", "change"),
    )
    screen = text(inspection(trace=trace, remarks=remarks))
    assert [line for line in screen.splitlines() if line.startswith((" •", " !"))] == [
        " • The mask starts at embedding (Embedding).",
        " ! The outputs carry no mask.",
        " • Disabling the mask changes nothing.",
        " ! The vocabulary is small.",
        " • It is Tuesday.",
    ]
    assert screen.index("It is Tuesday") > screen.index("Path of the mask") > screen.index("The vocabulary")


def test_features_mark_masked_timesteps() -> None:
    lines = rows_of(text(CASES["features"]), "Timesteps and mask (3, 4, 5)")
    assert [line.split() for line in lines[:4]] == [
        ["sample", "valid", "mask"],
        ["0", "■■■■", "■■■■"],
        ["1", "■!■·", "■□■□"],
        ["2", "■■··", "■■□□"],
    ]
    assert "! valid, but masked" in lines[4]
    assert "token" not in text(CASES["features"])


def test_padding_is_marked_without_tokens() -> None:
    screen = text(CASES["other timesteps"])
    marks = [re.findall(r"[·!]?\d(?=  [■□])", line) for line in rows_of(screen, "Outputs of dense")[1:]]
    assert marks[:6] == [["0"], ["1"], ["0"], ["1"], ["0"], ["·1"]]
    assert "token" not in rows_of(screen, "Outputs of dense")[0]


@pytest.mark.parametrize("name", ["a mask for samples", "a mask for words", "features, a mask for words"])
def test_mask_of_another_shape_is_noted(name: str) -> None:
    screen = text(CASES[name])
    mask = CASES[name].mask
    assert mask is not None
    assert f"The mask has shape {mask.shape} and is not drawn here." in screen
    assert "mask" not in rows_of(screen, "T")[0]
    assert ("Its mask has shape" in screen) is (name == "a mask for words")


def test_no_timesteps_no_mask() -> None:
    screen = text(CASES["nothing with timesteps"])
    assert "Tokens" not in screen and "Timesteps" not in screen
    assert document(CASES["nothing with timesteps"])["batch"] is None


@pytest.mark.parametrize(
    ("call_record", "description"),
    [
        (call("a", "uses"), "consumes the mask, forwards it"),
        (call("a", "uses", mask_out=None), "consumes the mask, returns none"),
        (
            call(
                "a",
                "uses",
                mask_arguments={"query_mask": (MASK,), "value_mask": (MASK,), "key_mask": ()},
                takes_off=True,
            ),
            "receives query_mask, value_mask, forwards it; removes the mask from its input, too",
        ),
        (call("a", "drops", mask_arguments={"mask": ()}), "has a mask argument but receives none"),
        (call("a", "drops", mask_arguments={"attention_mask": ()}), "receives a mask, returns none"),
        (call("a", "none", mask_arguments={"attention_mask": (MASK,)}), "no mask; receives attention_mask"),
        (call("mul", "drops", "Mul", code=True), "code between layers: receives a mask, returns none"),
        (call("a", "drops", warning="Layer 'a' ..."), "receives a mask, returns none; Keras warned"),
        (call("a", "none", lost_at="mul"), "lost at mul"),
        (call("a", "none", lost_at="mul", lost_after="embedding"), "lost at mul, after embedding"),
        (call("a", "none", lost_at="a"), "no mask"),
        (call("a", "passes", lost_at="b"), "ignores the mask, forwards it"),
        (call("a", "none", computes_mask=True, lost_at="mul"), "the mask used by a later layer"),
    ],
)
def test_call_description(call_record: Call, description: str) -> None:
    row = rows_of(text(inspection(trace=(call_record,)), width=120), "Path of the mask")[1]
    assert row.endswith(f"  {description}")


def test_descriptions_move_below_long_names() -> None:
    trace = numbered(
        call("embedding", "creates", "Embedding"),
        call("encoder_of_a_longer_name", "uses", "Functional", contains=True),
        call("encoder_of_a_longer_name/attention", "uses", "MultiHeadAttention", mask_arguments={"query_mask": (MASK,)}),
        call("encoder_of_a_longer_name/layer_normalization", "none", "LayerNormalization", lost_at="encoder_of_a_longer_name/attention", lost_after="embedding"),
    )  # fmt: skip
    assert rows_of(text(inspection(trace=trace)), "Path of the mask") == [
        "#  call                                     type                in  out  effect",
        "0  embedding                                Embedding           –   ■    creates",
        "1  encoder_of_a_longer_name                 Functional          ■   ■    uses",
        "2    attention                              MultiHeadAttention  ■   ■    uses",
        "       receives query_mask",
        "3    layer_normalization                    LayerNormalization  –   –    none",
        "       lost at encoder_of_a_…me/attention,",
        "       after embedding",
        " creates   the mask starts here",
        " uses      consumes the mask",
        " none      no mask",
        " ■ in, out: a mask   – in, out: no mask",
    ]


def test_thousand_calls_are_elided() -> None:
    lines = rows_of(text(CASES["1000 calls"], rows=6), "Path of the mask")
    assert [line.split()[0] for line in lines[1:8]] == ["0", "1", "2", "⋮", "997", "998", "999"]
    assert lines[8:10] == [
        "       lost at encoder/blo…_997/dense",
        " … 994 calls not shown (--all shows everything)",
    ]
    assert lines[5].split()[1] == "encoder/block_996/dense"
    whole = rows_of(text(CASES["1000 calls"], everything=True), "Path of the mask")
    assert len(whole) == 1002
    assert whole[-2].endswith("lost at encoder/block_997/dense")


def test_all_shows_whole_paths() -> None:
    assert LONG not in text(CASES["long paths"])
    assert LONG in text(CASES["long paths"], everything=True)


def test_further_outputs_have_a_line_each() -> None:
    screen = text(CASES["several outputs"], width=200)
    assert "Output tags of tags_head (3, 4, 3)" in screen
    assert [re.split(r"  +", line) for line in rows_of(screen, "Further outputs")] == [
        ["output", "shape", "dtype", "call", "mask"],
        ["score", "(3, 1)", "float32", shorten_middle(LONG, 76), "–"],
        [shorten_middle(LONG, 76), "(3, 4)", "int64", "argmax", "■ (3,)"],
    ]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("integers", ["5000000", "│", "5000002", "│", "2"]),
        ("booleans", ["False"]),
        ("nothing but NaN", ["nan", "nan", "nan"]),
        ("numbers that are not finite", ["nan", "inf", "-inf", "│", "nan", "inf", "-inf", "│", "nan"]),
        ("bfloat16", ["nan", "inf", "-inf"]),
        ("rank 5", ["1.00"] * 3 + ["…"] + ["1.00"] * 3),
        ("no units", []),
    ],
)
def test_outputs_of_any_kind(name: str, texts: list[str]) -> None:
    lines = rows_of(text(CASES[name], columns=6), "Outputs of dense")
    assert lines[1].split()[4:] == texts
    ends = [line.index(lines[1].split()[3]) for line in lines[1:5]]
    assert len(set(ends)) == 1


def test_one_number_per_sample() -> None:
    assert rows_of(text(CASES["a number for each sample"]), "Outputs of dense (3,)") == [
        "sample  output │ without mask │ change",
        "     0    0.00 │         0.50 │    0.5",
        "     1    1.00 │         1.50 │    0.5",
        "     2    2.00 │         2.50 │    0.5",
        " change: largest difference of the two outputs",
    ]


def test_document_of_arrays_has_nulls() -> None:
    """Fields that only padded sequences have are null for arrays."""
    read = document(CASES["features"])
    assert read["model"]["name"] == "tagger.keras"
    assert {read["model"][key] for key in ("mask_source", "input_dim", "units", "logits", "seed")} == {None}
    assert read["batch"] == {
        **dict.fromkeys(("padding", "truncating", "maxlen", "value", "dtype", "truncated_tokens", "tokens")),
        "shape": [3, 4],
        "lengths": [4, 3, 2],
        "valid": VALID.tolist(),
    }
    assert read["inputs"][1] == {
        "name": "static",
        "validity": {"source": "none", "of": None, "value": None, "filled_with": None},
        "kind": "static",
        "shape": [3, 2],
        "dtype": "float32",
        "padded_timesteps": None,
        "column": None,
        "padded_places": None,
    }
    assert read["embedding"] is None
    assert document(inspection())["batch"]["tokens"] == IDS.tolist()


def test_document_of_sequences_has_the_layout() -> None:
    batch = PaddedBatch(IDS, VALID, np.array([4, 3, 7]), Layout(maxlen=4), 5)
    read = document(inspection(batch=batch))["batch"]
    assert (read["padding"], read["maxlen"], read["lengths"], read["truncated_tokens"]) == ("post", 4, [4, 3, 7], 5)
    assert read["tokens"] == IDS.tolist()


def test_document_has_every_field_of_a_call() -> None:
    call_record = call("a", "uses", mask_arguments={"query_mask": (MASK,), "key_mask": ()}, lost_at="b", takes_off=True)
    read = document(inspection(trace=(call_record,)))["trace"][0]
    assert [*read] == SCHEMA["$defs"]["Call"]["required"]
    assert read["mask_arguments"] == {"query_mask": [MASK.tolist()], "key_mask": []}
    assert (read["masks_in"], read["shapes_in"], read["lost_at"]) == ([MASK.tolist()], [[3, 4, 5]], "b")


@pytest.mark.parametrize(
    ("whole", "width", "short"),
    [("attention", 9, "attention"), ("attention", 8, "atte…ion"), ("attention", 3, "a…n"), ("attention", 1, "a…n")],
)
def test_shorten_middle(whole: str, width: int, short: str) -> None:
    assert shorten_middle(whole, width) == short


def test_lost_mask_is_named_once_below_its_calls() -> None:
    names = ("first_call_with_a_long_name", "second_call_with_a_long_name", "third_call_with_a_long_name")
    calls = [call(name, "none", "LayerNormalization", lost_at="mul", lost_after="embedding") for name in names]
    lines = rows_of(text(inspection(trace=(*calls, call("last", "none", lost_at="sum"))), width=70), "Path of the mask")
    assert [line.strip() for line in lines if "lost at" in line] == ["lost at mul, after embedding", "lost at sum"]
    wide = text(inspection(trace=tuple(calls)), everything=True)
    assert wide.count("lost at mul, after embedding") == 3
