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
from maskcli.render.documents import dumps
from maskcli.render.report_document import make_report_document
from tests.conftest import QUESTION, ROOT, Output

Call = Callable[..., Output]
LARGEST = 1_500_000


def test_the_page_of_the_sample(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    shown = call("report", "--output", str(path))
    assert (shown.exit_status, shown.stderr) == (0, "")
    assert "Does padding leak? ■ no" in shown
    page = path.read_bytes()
    assert page.lower().startswith(b"<!doctype html>")
    assert len(page) <= LARGEST
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_page_asks_nothing_of_the_network(call: Call) -> None:
    page = str(call("report", "--format", "html"))
    attributes = re.findall(r"(?:src|href|srcset|action|poster|data)=[\"']?([^\"'\s>]+)", page.split("<script", 1)[0])
    assert all(value.startswith("#") for value in attributes)
    assert "default-src 'none'" in page


@pytest.mark.slow(share=2 / 5)
@pytest.mark.parametrize("form", ["html", "json", "markdown", "table", "mermaid"])
def test_equal_questions_have_equal_answers(call: Call, form: str) -> None:
    first, second = (call("report", "--format", form) for _ in range(2))
    assert first.exit_status == 0, first.stderr
    assert first == second


def test_a_report_is_read_again_from_its_page_and_from_its_json(call: Call, tmp_path: Path) -> None:
    page, document = tmp_path / "report.html", tmp_path / "report.json"
    call("report", "--mask-source", "none", "--output", str(page), "--quiet")
    for form, ending in (("html", ".html"), ("json", ".json"), ("table", ".txt"), ("markdown", ".md")):
        again = call("report", "--from", str(page), "--format", form)
        assert (again.exit_status, again.stderr) == (0, "")
        call("report", "--from", str(page), "--output", str(tmp_path / f"again{ending}"), "--quiet")
        call("report", "--from", str(tmp_path / "again.html"), "--output", str(document), "--quiet")
        assert call("report", "--from", str(document), "--format", form) == again
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_reading_it_again_loads_no_tensorflow(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    call("report", "--output", str(page), "--quiet")
    script = (
        "import sys; from maskcli.cli import run; code = run(['report', '--from', sys.argv[1]]); "
        "sys.exit(code or ('tensorflow' in sys.modules) * 9 or ('keras' in sys.modules) * 8)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(page)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Does padding leak?" in done.stdout


def test_its_json_is_piped_on(call: Call) -> None:
    document = call("report", "--format", "json")
    assert document.json["command"] == ["maskcli", "report", "--format", "json"]
    again = call("report", "--from", "-", stdin=document)
    assert again.exit_status == 0
    assert again == call("report")


def test_what_it_says_is_what_the_other_commands_say(call: Call) -> None:
    document = call("report", "--format", "json").json
    check, loss = call("check", "--format", "json").json, call("loss", "--format", "json").json
    assert document["findings"] == check["findings"]
    assert document["leak"] == check["leak"]
    assert document["keras_evaluate"] == loss["keras_evaluate"]
    assert document["losses"][0]["unmasked_model"] == loss["unmasked_model"]


def test_a_model_of_ones_own(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "sample_data")
    data = ("tagged.jsonl", "--model", "models:tagger", "--field", "tokens")
    without = call("report", *data, "--format", "json").json
    assert without["no_loss"].startswith("No targets were given")
    document = call("report", *data, "--targets-field", "classes", "--format", "json")
    assert document.exit_status == 0, document.stderr
    assert document.json["no_loss"] is None
    assert document.json["model"]["source"] == "factory"


def test_of_wide_outputs_it_holds_the_first_features(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = ("--units", "100", "--all")
    path = tmp_path / "report.json"
    assert call("report", *wide, "--output", str(path)).exit_status == 0
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
def test_a_pooled_output_is_cut_and_one_number_a_timestep_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FEATURES", 4)
    layers = keras.layers
    rows = [[1, 2, 3, 4, 5, 6], [4, 5]]
    for last, shape in ((layers.LSTM(5), (2, 4)), (layers.Lambda(lambda each: each[..., 0]), (2, 6))):
        model = keras.Sequential([layers.Embedding(10, 6, mask_zero=True), last])
        inspection = maskcli.report(rows, model=model).inspection
        assert inspection.outputs[0].values.shape == shape
        assert inspection.outputs[0].all_features == (5 if shape == (2, 4) else None)


def test_pictures_are_of_the_first_rows_and_findings_of_all(call: Call) -> None:
    document = call("report", "--samples", "2", "--format", "json").json
    assert (document["rows"], document["samples"]) == (3, 2)
    arrays = document["arrays"]

    def shape(reference: dict[str, str]) -> Any:
        return arrays[reference["$array"]]["shape"]

    record = document["record"]
    assert shape(record["inspection"]["outputs"][0]["values"]) == [2, 6, 3]
    assert shape(record["loss"]["outputs"][0]["per_timestep"]) == [3, 6]
    assert document["keras_evaluate"] == call("loss", "--format", "json").json["keras_evaluate"]


@pytest.mark.parametrize("option", [["--seed", "1"], ["--model", "embedding-dense"], ["--targets", "ones"], ["x.txt"]])
def test_from_goes_with_no_other_data_or_model(call: Call, option: list[str]) -> None:
    output = call("report", "--from", "report.html", *option)
    assert (output.exit_status, output) == (2, "")
    assert "expected --from with options on what is shown alone" in output.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "received no document that maskcli wrote"),
        (b"<!doctype html><p>hello</p>", "received no document that maskcli wrote"),
        (b'{"other": 1}', "received no document that maskcli wrote"),
        (b'{"schema": "maskcli/loss/1"}', "schema 'maskcli/loss/1'"),
        (b'{"schema": "maskcli/report/1"', "Expecting"),
        (b'{"schema": "maskcli/report/1", "record": {}, "arrays": {}}', "Report: "),
        (b"\xff\xfe\x00", "received no document that maskcli wrote"),
        (b'{"schema": ' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_report_is_an_input_that_cannot_be_read(
    call: Call, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "other.html"
    path.write_bytes(content)
    output = call("report", "--from", str(path))
    assert (output.exit_status, output) == (3, "")
    assert output.stderr.startswith(f"Error: {path}: expected a report, .html or .json")
    assert said in output.stderr
    assert "Traceback" not in output.stderr


def test_a_report_whose_parts_do_not_fit_is_an_input_that_cannot_be_read(call: Call, tmp_path: Path) -> None:
    path, target = tmp_path / "report.json", tmp_path / "again.html"
    call("report", "--output", str(path), "--quiet")
    document = json.loads(path.read_text("utf-8"))
    for array in document["arrays"].values():
        array.update(shape=[2], data="10" if array["dtype"] == "bool" else [1, 2])
    path.write_text(json.dumps(document), "utf-8")
    output = call("report", "--from", str(path), "--format", "html")
    assert (output.exit_status, output) == (3, "")
    assert output.stderr.startswith(f"Error: {path}: expected a report whose parts fit together; received what cannot")
    assert call("report", "--from", str(path), "--output", str(target)).exit_status == 3
    assert not target.exists()


def test_a_file_that_is_not_there(call: Call) -> None:
    output = call("report", "--from", "nowhere.html")
    assert output.exit_status == 3
    assert "nowhere.html: expected a file of a report; received no such file" in output.stderr


def test_another_suffix_is_refused_before_anything_is_run(call: Call) -> None:
    output = call("report", "--output", "report.pdf")
    assert (output.exit_status, output) == (2, "")
    assert ".html" in output.stderr


def test_without_what_draws_it_it_says_what_to_install(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['vl_convert'] = None; from maskcli.cli import run; sys.exit(run(sys.argv[1:]))"
    target = tmp_path / "report.html"
    arguments = [sys.executable, "-c", hidden, "report", "--output", str(target)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'maskcli[report]'" in done.stderr
    assert not target.exists()


def test_the_library_reads_what_the_command_wrote(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    call("report", "--output", str(path), "--quiet")
    report = maskcli.read_report(str(path))
    assert [verdict.answer for verdict in report.verdicts] == ["no", "nothing", "valid timesteps"]
    assert json.loads(path.read_text())["rows"] == report.origin.rows == len(QUESTION)
    with pytest.raises(InputError):
        maskcli.read_report(str(ROOT / "README.md"))


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("picture", REPORT_PICTURES)
def test_each_picture(call: Call, tmp_path: Path, picture: str) -> None:
    made = maskcli_report_of_attention(tmp_path)
    svg = call("report", "--from", made, "--format", "svg", "--picture", picture)
    assert (svg.exit_status, svg.stderr) == (0, "")
    assert svg.startswith("<svg")
    target = tmp_path / "picture.png"
    assert call("report", "--from", made, "--picture", picture, "--output", str(target), "--quiet").exit_status == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def maskcli_report_of_attention(folder: Path) -> str:
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
    return dumps(make_report_document(maskcli.report(QUESTION, model=model, loss="mse", targets="zeros")))


def test_a_picture_of_one_thing_of_several(call: Call, tmp_path: Path) -> None:
    made = maskcli_report_of_attention(tmp_path)
    asked = ("report", "--from", made, "--format", "svg", "--picture", "attention")
    first, again, other = call(*asked), call(*asked, "--of", "again"), call(*asked, "--sample", "2")
    assert len({str(first), str(again), str(other)}) == 3
    assert call(*asked, "--of", "attention") == first
    for option, said in (
        (["--of", "nobody"], "--of nobody: expected one of attention, again; received 'nobody'"),
        (["--sample", "3"], "--sample 3: expected 0 to 2; received 3"),
        (["--feature", "1"], "--feature: expected --picture outputs; received --picture attention"),
    ):
        output = call(*asked, *option)
        assert (output.exit_status, output) == (2, "")
        assert said in output.stderr


def test_every_input_and_every_output_has_its_chart(call: Call, tmp_path: Path) -> None:
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
    made, page = tmp_path / "report.json", tmp_path / "report.html"
    made.write_bytes(dumps(make_report_document(report)))
    call("report", "--from", str(made), "--output", str(page), "--quiet")
    titles = re.findall("<figcaption><h3>(.*?)</h3>", page.read_text("utf-8"))
    assert titles[:2] == ["Tokens and mask of words", "Tokens and padding of tags"]
    assert [title.split(" of ")[0] for title in titles[2:4]] == ["Output mood", "Output words"]
    asked = ("report", "--from", str(made), "--format", "svg", "--picture", "outputs")
    assert "Output mood" in call(*asked)
    assert "Output words" in call(*asked, "--of", "words", "--feature", "63")


def test_what_was_not_tried_is_not_called_good(call: Call) -> None:
    output = call("report", f"{ROOT}/sample_data/rhyme.jsonl", "--model", "sample_data.models:right")
    assert "What does the loss count? not tried\n" in output


def test_a_picture_of_what_is_not_there(call: Call) -> None:
    output = call("report", "--format", "svg", "--picture", "attention")
    assert (output.exit_status, output) == (2, "")
    assert "the model has no attention layer of Keras" in output.stderr
    lonely = call("report", "--picture", "leaks")
    assert lonely.exit_status == 2
    assert "--picture: expected a picture to draw; received none" in lonely.stderr
