"""``maskcli report``: one page, and the same read again."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import maskcli
from maskcli.api import report
from maskcli.commands.pictures import REPORT_PICTURES
from maskcli.errors import InputError
from maskcli.probes.context import LEFT_OUT
from maskcli.render.documents import dumps, make_document
from tests.conftest import QUESTION, ROOT, Output

pytestmark = pytest.mark.slow(share=1 / 2)

Call = Callable[..., Output]
LARGEST = 1_500_000


def test_page_of_the_sample(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    printed = call("report", "--sample", "--output", str(path))
    assert (printed, printed.exit_status, printed.stderr) == ("", 0, "")
    again = call("report", "--from", str(path))
    assert again.startswith(" built-in sample, 3 rows\n")
    assert "Does padding leak? ■ no" in again
    page = path.read_bytes()
    assert page.lower().startswith(b"<!doctype html>")
    assert len(page) <= LARGEST
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_page_needs_no_network(call: Call) -> None:
    page = str(call("report", "--format", "html"))
    attributes = re.findall(r"(?:src|href|srcset|action|poster|data)=[\"']?([^\"'\s>]+)", page.split("<script", 1)[0])
    assert all(value.startswith("#") for value in attributes)
    assert "default-src 'none'" in page


def test_quick_report_names_left_out_probes(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    call("report", "--sample", "--quick", "--output", str(path))
    check = maskcli.read_report(path).check
    leak = check.leak
    assert leak is not None
    assert (check.quick, leak.verdict) == (True, "clean")
    left_out = {probe.name for probe in leak.probes if probe.why == LEFT_OUT}
    assert left_out == {"columns", "gradient", "rows", "future", "compiled"}
    assert "columns, gradient: not tried: left out of a quick check" in call("report", "--from", str(path))


@pytest.mark.slow(share=2 / 5)
@pytest.mark.parametrize("form", ["html", "json", "markdown", "table", "mermaid"])
def test_report_is_reproducible(call: Call, form: str) -> None:
    first, second = (call("report", "--format", form) for _ in range(2))
    assert first.exit_status == 0, first.stderr
    assert first == second


def test_from_reads_page_and_json(call: Call, tmp_path: Path) -> None:
    page, document = tmp_path / "report.html", tmp_path / "report.json"
    call("report", "--sample", "--mask-source", "none", "--output", str(page), "--quiet")
    for form, ending in (("html", ".html"), ("json", ".json"), ("table", ".txt"), ("markdown", ".md")):
        again = call("report", "--from", str(page), "--format", form)
        assert (again.exit_status, again.stderr) == (0, "")
        call("report", "--from", str(page), "--output", str(tmp_path / f"again{ending}"), "--quiet")
        call("report", "--from", str(tmp_path / "again.html"), "--output", str(document), "--quiet")
        assert call("report", "--from", str(document), "--format", form) == again
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_from_loads_no_tensorflow(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    call("report", "--sample", "--output", str(page), "--quiet")
    script = (
        "import sys; from maskcli.cli import run; code = run(['report', '--from', sys.argv[1]]); "
        "sys.exit(code or ('tensorflow' in sys.modules) * 9 or ('keras' in sys.modules) * 8)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(page)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Does padding leak?" in done.stdout


def test_from_reads_standard_input(call: Call) -> None:
    document = call("report", "--format", "json")
    assert document.json["command"] == ["maskcli", "report", "--format", "json"]
    again = call("report", "--from", "-", stdin=document)
    assert again.exit_status == 0
    assert again == call("report")


def test_report_agrees_with_check_and_loss(call: Call) -> None:
    document = call("report", "--format", "json").json
    check, loss = call("check", "--format", "json").json, call("loss", "--format", "json").json
    assert document["findings"] == check["findings"]
    assert document["leak"] == check["leak"]
    assert document["keras_evaluate"] == loss["keras_evaluate"]
    assert document["losses"][0]["unmasked_model"] == loss["unmasked_model"]


def test_report_of_a_user_model(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "sample_data")
    data = ("tagged.jsonl", "--model", "models:tagger", "--field", "tokens")
    without = call("report", *data, "--format", "json").json
    assert without["no_loss"].startswith("No targets were given")
    document = call("report", *data, "--targets-field", "classes", "--format", "json")
    assert document.exit_status == 0, document.stderr
    assert document.json["no_loss"] is None
    assert document.json["model"]["source"] == "factory"


def test_report_limits_wide_outputs(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = ("--units", "100", "--all")
    path = tmp_path / "report.json"
    assert call("report", "--sample", *wide, "--output", str(path)).exit_status == 0
    page = call("report", "--from", str(path), "--format", "html")
    assert "The report holds the first 64 of the 100 features of lstm." in page
    held = maskcli.read_report(path).inspection
    whole = json.loads(str(call("inspect", *wide, "--format", "json")))["outputs"]
    assert (list(held.outputs[0].shape), held.outputs[0].values.shape) == (whole["shape"], (3, 6, 64))
    assert np.allclose(held.outputs[0].values, np.array(whole["values"])[..., :64], rtol=1e-6)
    assert held.unmasked is not None and held.unmasked.values.shape == (3, 6, 64)
    assert "of shape (3, 6, 100)" in page
    assert "The report holds" not in call("report", "--units", "64", "--format", "json")
    monkeypatch.setattr(report, "MOST_NUMBERS", 2 * 6 * report.FEATURES)
    fewer = json.loads(str(call("report", *wide, "--format", "json")))
    assert (fewer["rows"], fewer["samples"]) == (3, 2)


@pytest.mark.filterwarnings("ignore")
def test_report_limits_pooled_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FEATURES", 4)
    layers = keras.layers
    rows = [[1, 2, 3, 4, 5, 6], [4, 5]]
    for last, shape in ((layers.LSTM(5), (2, 4)), (layers.Lambda(lambda tensor: tensor[..., 0]), (2, 6))):
        model = keras.Sequential([layers.Embedding(10, 6, mask_zero=True), last])
        inspection = maskcli.report(rows, model=model).inspection
        assert inspection.outputs[0].values.shape == shape
        assert inspection.outputs[0].all_features == (5 if shape == (2, 4) else None)


def test_samples_limit_only_the_pictures(call: Call) -> None:
    document = call("report", "--samples", "2", "--format", "json").json
    assert (document["rows"], document["samples"]) == (3, 2)
    arrays = document["arrays"]

    def shape(reference: dict[str, str]) -> Any:
        return arrays[reference["$array"]]["shape"]

    record = document["record"]
    assert shape(record["inspection"]["outputs"][0]["values"]) == [2, 6, 3]
    assert shape(record["loss"]["outputs"][0]["per_timestep"]) == [3, 6]
    assert document["keras_evaluate"] == call("loss", "--format", "json").json["keras_evaluate"]


def test_samples_of_a_time_major_output() -> None:
    """The first axis of this output is time: it is not cut to the samples as rows are."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.LSTM(3, return_sequences=True)(layers.Embedding(10, 4, mask_zero=True)(tokens))
    model = keras.Model(tokens, keras.ops.transpose(x, (1, 0, 2)))
    report = maskcli.report([[1, 2, 3, 4, 5], [4, 5], [6]], model=model, samples=1)
    assert report.inspection.inputs[0].values.shape == (1, 5)
    assert report.inspection.outputs[0].values.shape == (5, 1, 3)
    assert report.inspection.outputs[0].valid is None


def test_loss_of_a_module(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses_of_mine.py").write_text("def twice(y, p):\n    return 2 * abs(y - p)[..., 0]\n")
    monkeypatch.syspath_prepend(tmp_path)
    options = ("--sample", "--targets", "ones", "--format", "json")
    document = call("report", "--loss", "losses_of_mine:twice", *options).json
    single = call("loss", "--loss", "losses_of_mine.py:twice", *options).json
    assert document["record"]["loss"]["outputs"][0]["loss"] == "twice"
    assert document["keras_evaluate"] == single["keras_evaluate"] > 1.5


@pytest.mark.parametrize("option", [["--seed", "1"], ["--model", "embedding-dense"], ["--targets", "ones"], ["x.txt"]])
def test_from_excludes_data_and_model(call: Call, option: list[str]) -> None:
    output = call("report", "--from", "report.html", *option)
    assert (output.exit_status, output) == (2, "")
    assert "expected --from with options about the output only" in output.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "received a document that maskcli did not write"),
        (b"<!doctype html><p>hello</p>", "received a document that maskcli did not write"),
        (b'{"other": 1}', "received a document that maskcli did not write"),
        (b'{"schema": "maskcli/loss/1"}', "schema 'maskcli/loss/1'"),
        (b'{"schema": "maskcli/report/1"', "Expecting"),
        (b'{"schema": "maskcli/report/1", "record": {}, "arrays": {}}', "record: "),
        (b"\xff\xfe\x00", "received a document that maskcli did not write"),
        (b'{"schema": ' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_from_rejects_other_files(call: Call, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "other.html"
    path.write_bytes(content)
    output = call("report", "--from", str(path))
    assert (output.exit_status, output) == (3, "")
    assert output.stderr.startswith(f"Error: {path}: expected a report, .html or .json")
    assert message in output.stderr
    assert "Traceback" not in output.stderr


def test_from_rejects_a_damaged_report(call: Call, tmp_path: Path) -> None:
    path, target = tmp_path / "report.json", tmp_path / "again.html"
    call("report", "--sample", "--output", str(path), "--quiet")
    document = json.loads(path.read_text("utf-8"))
    for array in document["arrays"].values():
        array.update(shape=[2], data="10" if array["dtype"] == "bool" else [1, 2])
    path.write_text(json.dumps(document), "utf-8")
    output = call("report", "--from", str(path), "--format", "html")
    assert (output.exit_status, output) == (3, "")
    assert output.stderr.startswith(
        f"Error: {path}: expected a report whose parts fit together; received parts that cannot"
    )
    assert call("report", "--from", str(path), "--output", str(target)).exit_status == 3
    assert not target.exists()


def test_from_missing_file(call: Call) -> None:
    output = call("report", "--from", "nowhere.html")
    assert output.exit_status == 3
    assert "nowhere.html: expected a file of a report; received a path that does not exist" in output.stderr


def test_unknown_suffix_fails_before_any_work(call: Call) -> None:
    output = call("report", "--sample", "--output", "report.pdf")
    assert (output.exit_status, output) == (2, "")
    assert ".html" in output.stderr


def test_report_without_vl_convert(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['vl_convert'] = None; from maskcli.cli import run; sys.exit(run(sys.argv[1:]))"
    target = tmp_path / "report.html"
    arguments = [sys.executable, "-c", hidden, "report", "--output", str(target)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'igraph>=" in done.stderr
    assert not target.exists()


def test_read_report_of_the_command(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    call("report", "--sample", "--output", str(path), "--quiet")
    report = maskcli.read_report(str(path))
    assert [verdict.answer for verdict in report.verdicts] == ["no", "nothing", "valid timesteps"]
    assert json.loads(path.read_text())["rows"] == report.origin.rows == len(QUESTION)
    with pytest.raises(InputError):
        maskcli.read_report(str(ROOT / "README.md"))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("picture", REPORT_PICTURES)
def test_report_pictures(call: Call, tmp_path: Path, picture: str) -> None:
    saved = save_attention_report(tmp_path)
    svg = call("report", "--from", saved, "--format", "svg", "--picture", picture)
    assert (svg.exit_status, svg.stderr) == (0, "")
    assert svg.startswith("<svg")
    target = tmp_path / "picture.png"
    assert call("report", "--from", saved, "--picture", picture, "--output", str(target), "--quiet").exit_status == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def save_attention_report(folder: Path) -> str:
    """Write a report on a model with attention, which loses its mask, and return its path."""
    path = folder / "report.json"
    path.write_bytes(document_of_attention())
    return str(path)


@functools.cache
def document_of_attention() -> bytes:
    ids = keras.Input((None,), name="ids", dtype="int32")
    hidden = keras.layers.Embedding(4000, 4, mask_zero=True)(ids)
    attention = keras.layers.MultiHeadAttention(2, 2, name="attention")
    again = keras.layers.MultiHeadAttention(1, 2, name="again")
    model = keras.Model(ids, again(*[attention(hidden, hidden) + 1.0] * 2))
    return dumps(make_document(maskcli.report(QUESTION, model=model, loss="mse", targets="zeros")))


def test_of_selects_the_layer(call: Call, tmp_path: Path) -> None:
    saved = save_attention_report(tmp_path)
    arguments = ("report", "--from", saved, "--format", "svg", "--picture", "attention")
    first, again, third = call(*arguments), call(*arguments, "--of", "again"), call(*arguments, "--row", "2")
    assert len({str(first), str(again), str(third)}) == 3
    assert call(*arguments, "--of", "attention") == first
    for option, message in (
        (["--of", "nobody"], "--of nobody: expected one of attention, again; received 'nobody'"),
        (["--row", "3"], "--row 3: expected 0 to 2; received 3"),
        (["--feature", "1"], "--feature: expected --picture outputs; received --picture attention"),
    ):
        output = call(*arguments, *option)
        assert (output.exit_status, output) == (2, "")
        assert message in output.stderr


def test_page_has_a_chart_per_input_and_output(call: Call, tmp_path: Path) -> None:
    words, tags = (keras.Input((None,), name=name, dtype="int32") for name in ("words", "tags"))
    both = [keras.layers.Embedding(4000, 4, mask_zero=True)(ids) for ids in (words, tags)]
    hidden = keras.layers.LSTM(3, return_sequences=True)(keras.layers.Add()(both))
    pooled = keras.layers.GlobalAveragePooling1D()(hidden)
    model = keras.Model([words, tags], {"mood": pooled, "words": keras.layers.Dense(70)(hidden)})
    ids = maskcli.pad(QUESTION).tokens
    report = maskcli.report({"words": ids, "tags": ids}, model=model)
    bare = report.inspection.further_unmasked[0]
    assert bare is not None
    assert bare.values.shape == report.inspection.outputs[1].values.shape == (3, 6, 64)
    assert bare.max_abs_change_padding is not None
    assert bare.max_abs_change_padding > 0
    saved, page = tmp_path / "report.json", tmp_path / "report.html"
    saved.write_bytes(dumps(make_document(report)))
    call("report", "--from", str(saved), "--output", str(page), "--quiet")
    titles = re.findall("<figcaption><h3>(.*?)</h3>", page.read_text("utf-8"))
    assert titles[:2] == ["Tokens and mask of words", "Tokens and padding of tags"]
    assert [title.split(" of ")[0] for title in titles[2:4]] == ["Output mood", "Output words"]
    arguments = ("report", "--from", str(saved), "--format", "svg", "--picture", "outputs")
    assert "Output mood" in call(*arguments)
    assert "Output words" in call(*arguments, "--of", "words", "--feature", "63")


def test_verdict_of_an_untested_loss(call: Call) -> None:
    output = call("report", f"{ROOT}/sample_data/rhyme.jsonl", "--model", "sample_data.models:right")
    assert "What does the loss count? not tried\n" in output


def test_picture_of_a_missing_part(call: Call) -> None:
    output = call("report", "--format", "svg", "--picture", "attention")
    assert (output.exit_status, output) == (2, "")
    assert "the model has no attention layer of Keras" in output.stderr
    lonely = call("report", "--picture", "leaks")
    assert lonely.exit_status == 2
    assert "--picture: expected a picture to draw; received none" in lonely.stderr
