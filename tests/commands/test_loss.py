"""``maskcli loss``: losses, targets and weights from the command line, and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from maskcli.errors import ExitCode
from tests.conftest import QUESTION, ROOT, Output

pytestmark = pytest.mark.slow(share=1 / 2)

SCHEMA = json.loads((ROOT / "maskcli" / "schemas" / "loss.json").read_text())
Call = Callable[..., Output]
Write = Callable[[str, bytes | str], Path]
LENGTHS = (4, 2, 3)
VALID = np.arange(4) < np.array(LENGTHS)[:, None]
CHANCE = np.random.default_rng(0)
TOKENS = np.where(VALID, CHANCE.integers(1, 10, VALID.shape), 0)
TAGS, MOOD = CHANCE.normal(size=(3, 4, 3)).round(2), CHANCE.normal(size=(3, 2)).round(2)
WEIGHTS = CHANCE.integers(1, 4, VALID.shape) / 2
CODE = """
import keras
from keras import layers, ops


def two():
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    hidden = layers.Embedding(10, 4, mask_zero=True)(tokens)
    pooled = layers.GlobalAveragePooling1D()(hidden)
    outputs = {"tags": layers.Dense(3)(hidden), "mood": layers.Dense(2)(pooled)}
    return keras.Model(tokens, outputs)


def one():
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.Dense(3)(layers.Embedding(10, 4, mask_zero=True)(tokens)))
    model.compile(loss="mse")
    return model


def cubed(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)


def largest(y_true, y_pred):
    return ops.max(ops.abs(y_true - y_pred), axis=-1)


NUMBER = 3
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's own, ``models``, in the folder where maskcli runs."""
    (tmp_path / "lossmodels.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("lossmodels", None)
    import lossmodels  # type: ignore[import-not-found]

    yield lossmodels
    sys.modules.pop("lossmodels", None)


@pytest.fixture
def arrays(tmp_path: Path) -> str:
    columns = {"tokens": TOKENS, "tags": TAGS, "mood": MOOD, "weights": WEIGHTS, "ids": TOKENS % 3}
    np.savez(tmp_path / "data.npz", **columns)
    return "data.npz"


@pytest.fixture
def records(write: Write) -> str:
    rows = [
        {"tokens": row[:length], "tags": tags[:length], "mood": mood, "weights": weights[:length]}
        for row, length, tags, mood, weights in zip(
            TOKENS.tolist(), LENGTHS, TAGS.tolist(), MOOD.tolist(), WEIGHTS.tolist(), strict=True
        )
    ]
    write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return "data.jsonl"


def read_document(output: Output) -> Any:
    assert output.exit_status == 0, output.stderr
    jsonschema.validate(output.json, SCHEMA)
    return output.json


def evaluate_loss(model: Any, targets: Any, weights: Any = None, **compiled: Any) -> float:
    model.compile(run_eagerly=True, **compiled)
    return float(model.evaluate(TOKENS, targets, sample_weight=weights, verbose=0, return_dict=True)["loss"])


@pytest.mark.parametrize("data", ["arrays", "records"])
def test_losses_of_several_outputs_by_name(call: Call, code: Any, data: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(data)
    fields = ("--targets-field", "mood", "--targets-field", "tags")
    by_name = ("--loss", "tags=mse", "--loss", "mood=mae")
    document = read_document(call("loss", path, "--model", "lossmodels:two", *fields, *by_name, "--format", "json"))
    padded = {"tags": np.where(VALID[..., None], TAGS, 0) if data == "records" else TAGS, "mood": MOOD}
    expected = evaluate_loss(code.two(), padded, loss={"tags": "mse", "mood": "mae"})
    assert document["keras_evaluate"] == pytest.approx(expected, rel=1e-6)
    assert [document["output"], *(entry["output"] for entry in document["more_outputs"])] == ["mood", "tags"]


def test_loss_of_one_of_several_outputs(call: Call, code: Any, arrays: str) -> None:
    options = ("--targets-field", "tags", "--loss", "tags=lossmodels:cubed", "--format", "json")
    document = read_document(call("loss", arrays, "--model", "lossmodels:two", *options))
    expected = evaluate_loss(code.two(), {"tags": TAGS, "mood": MOOD}, loss={"tags": code.cubed})
    assert document["keras_evaluate"] == pytest.approx(expected, rel=1e-6)
    assert document["loss"] == "cubed"


def test_loss_and_metric_functions_of_the_user(call: Call, code: Any, arrays: str) -> None:
    options = (
        "--targets-field",
        "tags",
        "--loss",
        "lossmodels:cubed",
        "--metrics",
        "lossmodels:largest",
        "--metrics",
        "mae",
    )
    document = read_document(call("loss", arrays, "--model", "lossmodels:one", *options, "--format", "json"))
    assert document["keras_evaluate"] == pytest.approx(evaluate_loss(code.one(), TAGS, loss=code.cubed), rel=1e-6)
    predictions = code.one().predict(TOKENS, verbose=0)
    reported = {entry["name"]: entry["reported"] for entry in document["metrics"]}
    assert reported["largest"] == pytest.approx(np.abs(predictions - TAGS).max(-1)[VALID].mean(), rel=1e-5)
    assert reported["mae"] == pytest.approx(np.abs(predictions - TAGS).mean(-1)[VALID].mean(), rel=1e-5)


def test_loss_options(call: Call, code: Any, arrays: str) -> None:
    import keras

    settings = ("from_logits=True", "ignore_class=0", "reduction=sum")
    options = [word for setting in settings for word in ("--loss-option", setting)]
    options += ["--loss", "sparse_categorical_crossentropy", "--targets-field", "ids", "--format", "json"]
    document = read_document(call("loss", arrays, "--model", "lossmodels:one", *options))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0, reduction="sum")
    assert document["keras_evaluate"] == pytest.approx(evaluate_loss(code.one(), TOKENS % 3, loss=loss), rel=1e-6)
    assert document["ignored"] == (TOKENS % 3 == 0).tolist()


@pytest.mark.parametrize("source", ["field", "file", "rows", "classes"])
def test_sample_and_class_weights(call: Call, write: Write, code: Any, arrays: str, source: str) -> None:
    import keras

    write("weights.jsonl", "".join(json.dumps({"w": row}) + "\n" for row in WEIGHTS.tolist()))
    np.save(Path("rows.npy"), WEIGHTS[:, 0])
    options, weights = {
        "field": (("--sample-weight-field", "weights"), WEIGHTS),
        "file": (("--sample-weight", "weights.jsonl", "--sample-weight-field", "w"), WEIGHTS),
        "rows": (("--sample-weight", "rows.npy"), np.repeat(WEIGHTS[:, :1], 4, axis=1)),
        "classes": (("--class-weight", "1=2.5", "--class-weight", "0=0.5"), np.array([0.5, 2.5, 1.0])[TOKENS % 3]),
    }[source]
    loss = ("--loss", "sparse_categorical_crossentropy", "--loss-option", "from_logits=true", "--targets-field", "ids")
    document = read_document(call("loss", arrays, "--model", "lossmodels:one", *options, *loss, "--format", "json"))
    loss_object = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = evaluate_loss(code.one(), TOKENS % 3, weights, loss=loss_object)
    assert document["keras_evaluate"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.usefixtures("code")
def test_batch_sizes_add_gradients(call: Call, arrays: str) -> None:
    options = ("--model", "lossmodels:one", "--targets-field", "tags", "--shuffles", "3", "--format", "json")
    document = read_document(call("loss", arrays, *options, "--batch-sizes", "1,2", "--batch-size", "2"))
    assert [entry["batch_size"] for entry in document["batch_sizes"]] == [1, 2]
    assert document["batch_sizes"][1]["keras_evaluate"] == document["keras_evaluate"]
    assert all(entry["gradient"]["norm"] > 0 for entry in document["batch_sizes"])
    bare = read_document(call("loss", arrays, *options))
    assert [(entry["batch_size"], entry["gradient"]) for entry in bare["batch_sizes"]] == [(1, None), (3, None)]


@pytest.mark.usefixtures("code")
def test_targets_from_another_file(call: Call, tmp_path: Path, arrays: str) -> None:
    np.save(tmp_path / "tags.npy", TAGS)
    np.savez(tmp_path / "aims.npz", tags=TAGS, mood=MOOD)
    model = ("--model", "lossmodels:one", "--format", "json")
    from_data = read_document(call("loss", arrays, "--targets-field", "tags", *model))
    for options in (("--targets", "tags.npy"), ("--targets", "aims.npz", "--targets-field", "tags")):
        assert read_document(call("loss", arrays, *options, *model))["keras_evaluate"] == from_data["keras_evaluate"]
    two = ("--model", "lossmodels:two", "--loss", "mse", "--format", "json")
    by_name = read_document(call("loss", arrays, "--targets", "aims.npz", *two))
    for fields in (("mood", "tags"), ("tags", "mood")):
        options = [word for field in fields for word in ("--targets-field", field)]
        assert read_document(call("loss", arrays, *options, *two))["keras_evaluate"] == by_name["keras_evaluate"]
    for kind in ("zeros", "ones", "arange"):
        assert read_document(call("loss", arrays, "--targets", kind, *two))["targets"].startswith(kind)


def test_pad_pipes_into_loss(run: Call) -> None:
    padded = run("pad", "--padding", "pre", "--format", "json")
    document = read_document(run("loss", "-", "--format", "json", stdin=padded))
    assert document["shape"] == [3, max(map(len, QUESTION)), 3]
    assert document["valid"][2] == [False, False, False, True, True, True]
    assert document["masked"] == pytest.approx(document["keras_evaluate"], rel=1e-6)


def test_loss_table_has_all_parts(call: Call) -> None:
    printed = call("loss", "--batch-sizes", "1,3")
    assert printed.exit_status == 0, printed.stderr
    for word in ("masked", "Keras evaluate", "unmasked model", "Batch sizes", "gradient", "keras-3"):
        assert word in printed


BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "two losses of all": (("--loss", "mse", "--loss", "mae"), ExitCode.USAGE, "--loss tags=mse --loss mood=mae"),
    "an output twice": (("--loss", "tags=mse", "--loss", "tags=mae"), ExitCode.USAGE, "OUTPUT=LOSS once for each"),
    "no output": (("--loss", "tag=mse", "--targets", "ones"), ExitCode.USAGE, "Did you mean tags?"),
    "no loss": (("--targets", "ones"), ExitCode.USAGE, "not compiled with one"),
    "no such loss": (
        ("--loss", "mean_square_error", "--targets", "ones"),
        ExitCode.USAGE,
        "Did you mean mean_squared_error?",
    ),
    "no such function": (("--loss", "lossmodels:cubd", "--targets", "ones"), ExitCode.MODEL, "cubd"),
    "no function": (
        ("--loss", "lossmodels:NUMBER", "--targets", "ones"),
        ExitCode.USAGE,
        "a keras.losses.Loss; received 3",
    ),
    "no such metric": (("--loss", "mse", "--targets", "ones", "--metrics", "acuracy"), ExitCode.USAGE, "--metrics"),
    "no option": (("--loss-option", "ignore_class"), ExitCode.USAGE, "NAME=VALUE"),
    "no such option": (
        ("--loss", "mse", "--targets", "ones", "--loss-option", "from_logit=1"),
        ExitCode.USAGE,
        "expected an option of MeanSquaredError",
    ),
    "no class": (("--class-weight", "a=1"), ExitCode.USAGE, "CLASS=WEIGHT"),
    "no sizes": (("--batch-sizes", "1,b"), ExitCode.USAGE, "--batch-sizes 1,2,8."),
    "size zero": (("--batch-sizes", "0"), ExitCode.USAGE, "--batch-sizes 1,2,8."),
    "no field": (("--loss", "mse", "--targets-field", "tag", "--targets-field", "mood"), ExitCode.INPUT, "tags"),
    "one field": (("--loss", "mse", "--targets-field", "tags"), ExitCode.USAGE, "one field for each output"),
    "no field of weights": (
        ("--loss", "mse", "--targets", "ones", "--sample-weight-field", "weight"),
        ExitCode.INPUT,
        "weights",
    ),
    "no file": (("--loss", "mse", "--targets", "none.npy"), ExitCode.INPUT, "none.npy"),
    "both weights": (
        ("--loss", "tags=mse", "--targets", "ones", "--class-weight", "1=2", "--sample-weight-field", "weights"),
        ExitCode.USAGE,
        "either sample weights or class weights",
    ),
    "shift": (("--loss", "mse", "--targets", "shift"), ExitCode.USAGE, "--targets shift"),
}


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("name", BAD)
def test_wrong_loss_options(call: Call, arrays: str, name: str) -> None:
    options, status, message = BAD[name]
    output = call("loss", arrays, "--model", "lossmodels:two", *options)
    assert (output, output.exit_status) == ("", status), output.stderr
    assert message in output.stderr
    assert "expected" in output.stderr
    assert "Traceback" not in output.stderr


@pytest.mark.parametrize("option", [("--targets-field", "a"), ("--sample-weight-field", "a")])
def test_fields_need_a_user_model(call: Call, option: tuple[str, str]) -> None:
    output = call("loss", *option)
    assert output.exit_status == ExitCode.USAGE
    assert f"{option[0]}: expected a model of your own" in output.stderr


def test_loss_of_a_builtin_model_by_output(call: Call) -> None:
    by_name, bare = (read_document(call("loss", "--loss", loss, "--format", "json")) for loss in ("output=mae", "mae"))
    assert by_name["keras_evaluate"] == bare["keras_evaluate"]


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize(
    ("reduction", "texts", "wrong"),
    [
        ("sum", ("the sum of the masked losses", "All timesteps count the same"), "the less each"),
        ("mean_with_sample_weight", ("divided by the sum of the weights",), "Keras divides by the count"),
    ],
)
def test_reduction_of_the_loss_is_named(
    call: Call, arrays: str, reduction: str, texts: tuple[str, ...], wrong: str
) -> None:
    """The masked mean is not the loss that training minimises there."""
    options = ("--loss", "sparse_categorical_crossentropy", "--loss-option", "from_logits=true", "--loss-option")
    weights = ("--sample-weight-field", "weights", "--targets-field", "ids")
    printed = call("loss", arrays, "--model", "lossmodels:one", *options, f"reduction={reduction}", *weights)
    text = " ".join(str(printed).split())
    assert all(part in text for part in texts)
    assert wrong not in text
    assert "Training minimizes" not in text
