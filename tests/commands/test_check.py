"""``maskcli check``: findings, selection of rules, data and models from the command line, and errors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import maskcli
from maskcli.commands.source import SourceOptions
from maskcli.errors import ExitCode, UsageError
from maskcli.records.data import DataOrigin
from maskcli.rules import RULES
from tests.conftest import ROOT, Output

pytestmark = pytest.mark.slow(share=1 / 2)

SCHEMA = json.loads((ROOT / "maskcli" / "schemas" / "check.json").read_text())
TOKENS = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
POSITIONS = np.tile(np.arange(4), (2, 1))
FACTORY = """
import keras

print("built by a talkative function")


def build():
    print("again")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    return keras.Model(tokens, keras.layers.LSTM(3)(x{times}))
"""
Call = Callable[..., Output]


def save_model(folder: Path, model: Any, name: str = "m.keras") -> str:
    with warnings.catch_warnings(action="ignore"):  # Keras converts its variables as NumPy 2 does not like it.
        model.save(folder / name)
    return name


@pytest.fixture
def trap(tmp_path: Path) -> str:
    """A model with positions that have no mask, so that the sum has none either."""
    import keras

    keras.utils.set_random_seed(0)
    tokens, positions = (keras.Input((4,), dtype="int32", name=name) for name in ("tokens", "positions"))
    summed = keras.layers.Add(name="sum")(
        [
            keras.layers.Embedding(10, 4, mask_zero=True)(tokens),
            keras.layers.Embedding(4, 4)(positions),
        ]
    )
    np.savez(tmp_path / "two.npz", positions=POSITIONS, tokens=TOKENS)
    return save_model(tmp_path, keras.Model([tokens, positions], keras.layers.LSTM(3, name="lstm")(summed)))


@pytest.fixture
def right(tmp_path: Path) -> str:
    """A model that keeps the mask, compiled with a loss."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="tokens"),
            keras.layers.Embedding(10, 4, mask_zero=True),
            keras.layers.LSTM(3, return_sequences=True),
            keras.layers.Dense(1),
        ]
    )
    model.compile(loss="mse")
    return save_model(tmp_path, model, "right.keras")


def read_document(output: Output) -> Any:
    """Return the document of a run with --format json, after comparing it with the schema."""
    document = output.json
    jsonschema.validate(document, SCHEMA)
    assert output.exit_status == (0 if document["passed"] else 1)
    return document


def codes(document: Any) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


def test_check_reports_place_and_fix(run: Call, trap: str) -> None:
    output = run("check", "two.npz", "--model", trap)
    assert (output.exit_status, output.stderr) == (1, "")
    assert output.startswith(
        " two.npz, 2 rows\n\nm.keras  Functional, from a file\n × failed: padding leaks into results\n"
    )
    assert "\nData  2 of 2 rows probed" in output
    assert " × error MSK101 mask-dropped: sum (Add)\n" in output
    assert "     fix: " in output
    assert "Does padding leak?  yes\n" in output
    assert "enters at lstm (LSTM)" in " ".join(output.split())
    assert "\n 1 error, 0 warnings, 0 infos; " in output
    assert output.endswith("Next: `maskcli explain MSK101` explains this rule, with a bad and a good\n example.\n")


def test_check_with_a_printing_factory(run: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY.format(times=" * 2.0"))
    (tmp_path / "a.txt").write_text("1 2 3 4\n5 6\n")
    output = run("check", "a.txt", "--model", "mine:build", "--format", "json")
    assert output.stderr == ""
    document = read_document(output)
    assert document["model"] == {"name": "mine:build", "source": "factory", "type": "Functional"}
    assert [(finding["code"], finding["type"]) for finding in document["findings"]] == [("MSK101", "Multiply")]


def test_check_passes_for_a_correct_model(call: Call, right: str, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2 3 4\n5 6\n")
    document = read_document(call("check", "a.txt", "--model", right, "--format", "json"))
    assert (document["findings"], document["passed"], document["fail_on"]) == ([], True, "warning")
    # MSK401 compares backends, which was not asked for.
    assert document["checked"] == [rule.code for rule in RULES if rule.code != "MSK401"]
    assert document["rows"] == {"probed": 2, "total": 2}
    assert document["leak"]["leaks"] is False
    assert [probe["name"] for probe in document["leak"]["probes"]] == [
        "replace",
        "alone",
        "columns",
        "gradient",
        "rows",
        "future",
        "compiled",
    ]
    text = call("check", "a.txt", "--model", right)
    assert (text.exit_status, text.stderr) == (0, "")
    assert "\n 0 errors, 0 warnings, 0 infos; " in text
    assert "■ passed: padding does not leak (probes: " in text
    assert "maskcli explain" not in text


def test_document_names_the_call_at_fault(call: Call, trap: str) -> None:
    document = read_document(call("check", "two.npz", "--model", trap, "--format", "json"))
    assert list(document) == SCHEMA["required"]
    finding = document["findings"][0]
    assert {key: finding[key] for key in ("code", "rule", "severity", "call", "type")} == {
        "code": "MSK101", "rule": "mask-dropped", "severity": "error", "call": "sum", "type": "Add",
    }  # fmt: skip
    assert finding["evidence"]["max_abs_change"] == document["leak"]["max_abs_change"] > 0
    assert document["leak"]["first_call"].startswith("lstm")
    assert document["leak"]["worst"] == {"sample": 1, "timestep": None}
    assert document["leak"]["first_call"] in document["leak"]["calls"]
    assert set(document["versions"]) == {"keras", "tensorflow", "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--mask-source", "masking"],
        ["--mask-source", "explicit", "--model", "embedding-dense"],
        ["--padding", "pre", "--maxlen", "8"],
        ["--data-only", "--sample"],
        ["--data-only", "--sample", "--input-dim", "5"],
        ["--mask-source", "none", "--fail-on", "error"],
    ],
    ids=" ".join,
)
def test_document_of_the_sample_is_reproducible(call: Call, arguments: list[str]) -> None:
    output = call("check", *arguments, "--format", "json")
    assert output.stderr == ""
    read_document(output)
    assert output.startswith('{"schema": "maskcli/check/1",\n')
    assert call("check", *arguments, "--format", "json") == output


def test_sample_fails_without_a_mask(call: Call) -> None:
    assert call("check").exit_status == 0
    output = call("check", "--mask-source", "none", "--padding", "pre")
    assert output.exit_status == 1
    assert "MSK104 no-mask-source" in output


def test_select_and_ignore_take_commas(call: Call, trap: str) -> None:
    base = ("check", "two.npz", "--model", trap, "--format", "json")
    chosen = read_document(call(*base, "--select", "MSK001, MSK002", "--select", "mask-widened"))
    assert (chosen["checked"], chosen["passed"]) == (["MSK001", "MSK002", "MSK102"], True)
    assert (chosen["status"], chosen["ignored"]) == ("leak-ignored", ["MSK101"])
    remaining = read_document(call(*base, "--ignore", "MSK0,MSK2", "--ignore", "MSK101"))
    assert {code[:4] for code in remaining["checked"]} == {"MSK1", "MSK3", "MSK4"}
    assert "MSK101" not in remaining["checked"]
    assert codes(remaining) == []


def test_fail_on_error_lets_warnings_pass(call: Call, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2 0 3\n4 5\n")
    base = ("check", "a.txt", "--data-only", "--select", "MSK006", "--padding", "pre")
    output = call(*base, "--format", "json")
    assert codes(read_document(output)) == ["MSK006"]
    severity = output.json["findings"][0]["severity"]
    assert output.exit_status == (severity != "info")
    assert call(*base, "--fail-on", "error").exit_status == 0


def test_configuration_yields_to_the_command_line(call: Call, write: Callable[..., Path]) -> None:
    write("pyproject.toml", '[tool.maskcli]\nselect = ["MSK00"]\nignore = ["MSK001"]\nfail-on = "error"\n')
    configured = read_document(call("check", "--data-only", "--sample", "--format", "json"))
    assert configured["fail_on"] == "error"
    assert "MSK002" in configured["checked"] and "MSK001" not in configured["checked"]
    overridden = read_document(
        call(
            "check", "--data-only", "--sample", "--format", "json", "--select", "MSK001,MSK002", "--fail-on", "warning"
        )
    )
    assert (overridden["checked"], overridden["fail_on"]) == (["MSK002"], "warning")
    both = read_document(
        call("check", "--data-only", "--sample", "--format", "json", "--select", "MSK001", "--ignore", "MSK003")
    )
    assert both["checked"] == ["MSK001"]


def test_configuration_names_model_and_data(call: Call, trap: str, right: str, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2 3 4\n5 6\n")
    write("pyproject.toml", f'[tool.maskcli]\nmodel = "{trap}"\ndata = "two.npz"\nfield = "tokens"\nquick = true\n')
    configured = read_document(call("check", "--format", "json"))
    assert (configured["model"]["name"], configured["data"]["files"]) == (trap, ["two.npz"])
    assert configured["quick"] and codes(configured) == ["MSK101"]
    # Another model and other data leave out the keys that go with those of the project.
    other = read_document(call("check", "a.txt", "--model", right, "--format", "json"))
    assert (other["model"]["name"], other["data"]["files"], other["quick"]) == (right, ["a.txt"], True)
    data = read_document(call("check", "--data-only", "--select", "MSK0", "--format", "json"))
    assert (data["model"], data["data"]["files"], data["status"]) == (None, ["two.npz"], "data-only")


def test_fail_on_never_reports_only(call: Call, trap: str, write: Callable[..., Path]) -> None:
    document = read_document(call("check", "two.npz", "--model", trap, "--format", "json", "--fail-on", "never"))
    assert (codes(document), document["passed"], document["status"]) == (["MSK101"], True, "leaks")
    write("a.txt", "1 2 0 3\n4 5\n")
    assert "data: findings do not fail the check" in call("check", "a.txt", "--data-only", "--fail-on", "never")


def test_configuration_with_an_unknown_rule(call: Call, write: Callable[..., Path]) -> None:
    path = write("pyproject.toml", '[tool.maskcli]\nignore = ["NOPE"]\n')
    output = call("check")
    assert (output, output.exit_status) == ("", 2)
    assert f"{path.resolve()}, tool.maskcli.ignore: expected a code" in output.stderr


def test_data_only_runs_data_rules(call: Call, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2 0 3\n4 5\n")
    document = read_document(call("check", "a.txt", "--data-only", "--format", "json"))
    assert codes(document) == ["MSK001"]
    assert (document["model"], document["versions"], document["rows"], document["leak"]) == (None, {}, None, None)
    assert document["checked"] == [rule.code for rule in RULES if rule.about == "data"]
    text = call("check", "a.txt", "--data-only")
    assert text.startswith(" a.txt, 2 rows\n\nData only  no model\n × failed: the data has findings\n")
    assert "\nData  tokens: 2 rows of 4 timesteps, 2 padding\n" in text
    assert "Does padding leak" not in text
    assert "MSK004" in codes(call("check", "a.txt", "--data-only", "--input-dim", "3", "--format", "json").json)


@pytest.mark.parametrize("arguments", [[], ["--data-only"]], ids=["built-in", "data-only"])
def test_several_files_and_standard_input(call: Call, write: Callable[..., Path], arguments: list[str]) -> None:
    write("a.txt", "1 2 0 3\n")
    write("b.txt", "4 5\n")
    document = read_document(call("check", "a.txt", "b.txt", *arguments, "--format", "json"))
    assert "MSK001" in codes(document)
    assert document.pop("data") == {
        "files": ["a.txt", "b.txt"],
        "sample": False,
        "rows": 2,
        "skipped": [],
        "words": None,
    }
    for stdin in ((), ("-",)):
        piped = read_document(call("check", *stdin, *arguments, "--format", "json", stdin="1 2 0 3\n4 5\n"))
        assert piped.pop("data") == {"files": ["-"], "sample": False, "rows": 2, "skipped": [], "words": None}
        assert piped == document


def test_several_files_for_a_user_model(call: Call, right: str, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2 3\n")
    write("b.txt", "4 5\n6 77\n")
    assert read_document(call("check", "a.txt", "b.txt", "--model", right, "--ignore", "MSK0", "--format", "json"))[
        "rows"
    ] == {
        "probed": 3,
        "total": 3,
    }
    assert "MSK004" in call("check", "a.txt", "b.txt", "--model", right)


def test_several_inputs_from_records(call: Call, trap: str, write: Callable[..., Path]) -> None:
    rows = [{"positions": [0, 1, 2, 3], "tokens": tokens} for tokens in TOKENS.tolist()]
    write("two.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    from_records = read_document(call("check", "two.jsonl", "--model", trap, "--format", "json"))
    from_arrays = read_document(call("check", "two.npz", "--model", trap, "--format", "json"))
    assert codes(from_records) == codes(from_arrays) == ["MSK101"]
    assert from_records["leak"] == from_arrays["leak"]


def test_inputs_of_one_shape_have_their_own_ids(call: Call, write: Callable[..., Path], tmp_path: Path) -> None:
    import keras

    inputs = [keras.Input((None,), dtype="int32", name=name) for name in ("words", "pos")]
    looked_up = [keras.layers.Embedding(dim, 2, mask_zero=True)(ids) for dim, ids in zip((40, 9), inputs, strict=True)]
    both = keras.layers.Concatenate()(looked_up)
    save_model(tmp_path, keras.Model(inputs, keras.layers.LSTM(3)(both)))
    write("a.jsonl", '{"words": [39, 2, 3], "pos": [8, 1, 2]}\n{"words": [4, 5], "pos": [3, 4]}\n')
    output = call("check", "a.jsonl", "--model", "m.keras", "--select", "MSK004,MSK005")
    assert (output.exit_status, "MSK" in output) == (0, False)
    write("b.jsonl", '{"words": [3, 2, 3], "pos": [12, 1, 2]}\n{"words": [4, 5], "pos": [3, 4]}\n')
    assert "pos: the largest id is 12" in call("check", "b.jsonl", "--model", "m.keras", "--select", "MSK004")


def test_targets_enable_the_loss_rules(call: Call, right: str, write: Callable[..., Path], tmp_path: Path) -> None:
    write("a.txt", "1 2 3 4\n5\n")
    targets = [[[0.0]] * 4, [[9.0]]]
    write("y.jsonl", "".join(json.dumps(row) + "\n" for row in targets))
    base = ("check", "--model", right, "--format", "json", "--select", "MSK302")
    assert codes(read_document(call(*base, "a.txt"))) == []
    from_file = read_document(call(*base, "a.txt", "--targets", "y.jsonl"))
    assert codes(from_file) == ["MSK302"]
    records = [{"tokens": [1, 2, 3, 4], "y": targets[0]}, {"tokens": [5], "y": targets[1]}]
    write("both.jsonl", "".join(json.dumps(row) + "\n" for row in records))
    assert read_document(call(*base, "both.jsonl", "--targets-field", "y"))["findings"] == from_file["findings"]
    np.savez(tmp_path / "both.npz", tokens=[[1, 2, 3, 4], [5, 0, 0, 0]], y=[[[0.0]] * 4, [[9.0]] * 4])
    assert read_document(call(*base, "both.npz", "--targets-field", "y"))["findings"] == from_file["findings"]


def test_loss_replaces_the_compiled_one(call: Call, right: str, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2 3 4\n5\n")
    write("y.jsonl", "[[0.0], [0], [0], [0]]\n[[9.0]]\n")
    base = ("check", "a.txt", "--model", right, "--targets", "y.jsonl", "--select", "MSK302", "--format", "json")
    assert "mse" in call(*base).json["findings"][0]["message"]
    assert "mae" in call(*base, "--loss", "mae").json["findings"][0]["message"]


def test_custom_objects_load_user_layers(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twice_layer.py").write_text(
        "import keras\nclass Twice(keras.layers.Layer):\n    def call(self, inputs):\n        return inputs * 2.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import keras
    import twice_layer  # type: ignore[import-not-found]

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    with pytest.warns(UserWarning, match="destroy the mask"):
        model = keras.Model(tokens, keras.layers.LSTM(3)(twice_layer.Twice()(x)))
    name = save_model(tmp_path, model)
    output = call("check", "--sample", "--model", name)
    assert (output, output.exit_status) == ("", 4)
    assert "--custom-objects twice_layer" in output.stderr
    (tmp_path / "a.txt").write_text("1 2 3 4\n5 6\n")
    output = call("check", "a.txt", "--model", name, "--custom-objects", "twice_layer")
    assert "MSK101 mask-dropped: twice" in output


def test_data_errors_name_their_source(call: Call, right: str, write: Callable[..., Path]) -> None:
    write("a.txt", "1 2\n3 x\n")
    broken = call("check", "a.txt", "--model", right)
    assert (broken, broken.exit_status) == ("", 3)
    assert "a.txt:2" in broken.stderr
    np.savez("b.npz", one=TOKENS, two=TOKENS)
    unfit = call("check", "b.npz", "--model", right)
    assert (unfit, unfit.exit_status) == ("", 4)
    assert "b.npz: expected tokens (any, any) int32; received arrays one (2, 4) int64, two" in unfit.stderr


def test_factory_that_raises(call: Call, tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text("def build():\n    raise ValueError('no such thing')\n")
    output = call("check", "--sample", "--model", "raises:build")
    assert (output, output.exit_status) == ("", 4)
    assert "raises:build: expected" in output.stderr
    assert "no such thing" in output.stderr
    assert "Traceback" in call("check", "--sample", "--model", "raises:build", "--traceback").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--select NOPE", "--select: expected a code"),
        ("--ignore MSK101,NOPE", "--ignore: expected a code"),
        ("--select MSK101,", "received ''"),
        ("--fail-on info", "'info' is not one of"),
        ("--model embedding-lstn", "Did you mean embedding-lstm?"),
        ("--model nosuch", "or kerashub:NAME; received 'nosuch'"),
        ("--data-only --model embedding-dense", "--model: expected a model to check; received --data-only"),
        ("--data-only --mask-source none", "--mask-source: expected a model to check"),
        ("--data-only --loss mse", "Leave out --loss, or --data-only."),
        ("--data-only --unsafe-load", "--unsafe-load: expected a model to check"),
        ("--model m.keras --mask-source none", "--mask-source: expected a built-in model; received --model m.keras"),
        ("--custom-objects a.b", "--custom-objects: expected a model of your own"),
        ("--model embedding-dense --unsafe-load", "--unsafe-load: expected a model of your own"),
        ("--targets-field y", "--targets-field y: expected --targets FILE"),
        ("--targets-field y --model m.keras", "--targets FILE, or one FILE of data that has the field; received none"),
        ("a b --targets-field y --model m.keras", "received 2 files of data"),
        ("- --targets -", "expected `-` once"),
        ("- --targets - --model m.keras", "expected `-` once"),
        ("--mask-source all", "'all' is not one of"),
        ("--loss nosuch", "--loss: expected the name of a Keras loss"),
        ("--output x.csv", "--output x.csv"),
    ],
)
def test_wrong_usage(call: Call, arguments: str, message: str) -> None:
    output = call("check", *arguments.split())
    assert (output, output.exit_status) == ("", 2)
    assert message in output.stderr


@pytest.mark.parametrize(
    ("option", "spelled"),
    [
        ("--mask-source none", "--mask-source"),
        ("--input-dim 9", "--input-dim"),
        ("--embedding-dim 4", "--embedding-dim"),
        ("--units 3", "--units"),
        ("--last-only", "--return-sequences/--last-only"),
        ("--zero-output-for-mask", "--zero-output-for-mask"),
    ],
)
def test_builtin_options_need_a_builtin_model(call: Call, option: str, spelled: str) -> None:
    output = call("inspect", "--model", "m.keras", *option.split())
    assert (output, output.exit_status) == ("", 2)
    assert f"Error: {spelled}: expected a built-in model; received --model m.keras." in output.stderr


def test_loading_options_need_a_user_model(call: Call) -> None:
    options = (["--unsafe-load"], ["--custom-objects", "a.b"], ["--weights", "w.h5"], ["--model-arg", "a=1"])
    for option in options:
        output = call("inspect", *option)
        assert (output, output.exit_status) == ("", 2)
        assert f"{option[0]}: expected a model of your own" in output.stderr


def test_results_are_written_to_files(call: Call, trap: str, tmp_path: Path) -> None:
    quiet = call("check", "two.npz", "--model", trap, "--quiet", "--output", "a.json")
    assert (quiet, quiet.exit_status) == ("", 1)
    assert (tmp_path / "a.json").read_text() == call("check", "two.npz", "--model", trap, "--format", "json")
    assert call("check", "two.npz", "--model", trap, "--output", "a.txt") == ""
    assert (tmp_path / "a.txt").read_text() == call("check", "two.npz", "--model", trap)


def test_source_leaves_one_file_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskcli.api.model_data import DataFile

    monkeypatch.chdir(tmp_path)
    Path("x.npz").touch()
    source = SourceOptions(files=("x.npz",), input_format="npz", field="ids", padding={"padding": "pre", "maxlen": 7})
    data, layout, _ = source.load_data(builtin=False)
    assert data == DataFile("x.npz", "npz", "ids", DataOrigin(("x.npz",)))
    assert (layout.padding, layout.maxlen, layout.value) == ("pre", 7, 0)
    with pytest.raises(UsageError, match="once"):
        SourceOptions(files=("-",), padding={}).load_data(False, "-")


def test_findings_and_differences_exit_1() -> None:
    assert ExitCode.FINDINGS == ExitCode.DIFFERENT == 1


def test_library_check_returns_findings(trap: str, tmp_path: Path) -> None:
    report = maskcli.check({"tokens": TOKENS, "positions": POSITIONS}, model=str(tmp_path / trap))
    assert isinstance(report, maskcli.CheckReport)
    assert not report.passed
    assert all(isinstance(finding, maskcli.Finding) for finding in report.findings)
