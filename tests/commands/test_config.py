"""``[tool.maskcli]``: the nearest file with this table counts, and its values are checked."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest

from maskcli.api.project import KEYS, ProjectCheck, ProjectConfig, read_config
from maskcli.errors import UsageError

pytestmark = pytest.mark.quick

VALUES = """
select = ["MSK0"]
ignore = ["pre-padding"]
fail-on = "warning"
model = "src/train.py:build"
model-args = { units = 4 }
weights = "m.weights.h5"
custom-objects = "mine"
seed = 3
data = ["a.jsonl", "b.jsonl"]
field = "tokens"
targets = "shift"
targets-field = "y"
value = -1
loss = "mse"
causal = true
quick = true
baseline = "known.json"
fail-on-stale = true
ignore-calls = ["conv: MSK101  # padding is cut off later"]
"""


def write_config(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_config_without_a_file_is_empty(tmp_path: Path) -> None:
    assert read_config(tmp_path) == ProjectConfig(ProjectCheck(None, {}, None), ())
    assert read_config(tmp_path).list_checks() == ()


def test_config_reads_all_keys(tmp_path: Path) -> None:
    path = write_config(
        tmp_path, f"[tool.maskcli]\n{VALUES}\n[tool.maskcli.models.tagger]\nmodel = 'a.keras'\nquick = false\n"
    )
    config = read_config(tmp_path)
    settings = config.defaults.settings
    assert settings.keys() == {key.replace("-", "_") for key in KEYS}
    assert config.defaults.path == path.resolve()
    assert (settings["select"], settings["fail_on"], settings["value"]) == (("MSK0",), "warning", -1)
    assert settings["model"] == f"{path.resolve().parent}/src/train.py:build"
    assert (settings["model_args"], settings["custom_objects"]) == ({"units": 4}, ("mine",))
    assert settings["data"] == (f"{path.resolve().parent}/a.jsonl", f"{path.resolve().parent}/b.jsonl")
    (tagger,) = config.models
    assert config.list_checks() == (tagger,) and config.find("tagger") is tagger and config.find("x") is None
    assert tagger.name == "tagger"
    assert tagger.settings == {**settings, "model": f"{path.resolve().parent}/a.keras", "quick": False}
    assert tagger.name_key("fail_on") == f"{path.resolve()}, tool.maskcli.models.tagger.fail-on"
    assert pickle.loads(pickle.dumps(config)) == config


def test_config_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, '[tool.maskcli]\nmodel = "m.keras"\ndata = "d/a.jsonl"\n')
    monkeypatch.chdir(tmp_path)
    settings = read_config(tmp_path).defaults.settings
    assert (settings["model"], settings["data"]) == ("m.keras", ("d/a.jsonl",))
    (tmp_path / "d").mkdir()
    monkeypatch.chdir("d")
    settings = read_config(tmp_path).defaults.settings
    assert (settings["model"], settings["data"]) == (str(tmp_path / "m.keras"), ("a.jsonl",))


@pytest.mark.parametrize("model", ["embedding-lstm", "mine:build", "kerashub:bert"])
def test_config_names_of_models_are_no_paths(tmp_path: Path, model: str) -> None:
    write_config(tmp_path, f'[tool.maskcli]\nmodel = "{model}"\n')
    config = read_config(tmp_path)
    assert config.defaults.settings["model"] == model
    assert config.list_checks() == (config.defaults,)


def test_config_imports_from_its_folder(tmp_path: Path) -> None:
    write_config(tmp_path, "[tool.maskcli]\n")
    with read_config(tmp_path).defaults.importing():
        assert sys.path[-1] == str(tmp_path.resolve())
    assert str(tmp_path.resolve()) not in sys.path


def test_config_with_an_empty_table(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[tool.maskcli]\n")
    assert read_config(tmp_path).defaults.path == path.resolve()


def test_config_nearest_file_with_the_table(tmp_path: Path) -> None:
    write_config(tmp_path, '[tool.maskcli]\nselect = ["MSK001"]\n')
    write_config(tmp_path / "a", '[tool.maskcli]\nselect = ["MSK002"]\n')
    write_config(tmp_path / "a" / "b", "[project]\nname = 'x'\n")
    (tmp_path / "a" / "b" / "c").mkdir()
    assert read_config(tmp_path / "a" / "b" / "c").defaults.settings["select"] == ("MSK002",)
    assert read_config(tmp_path).defaults.settings["select"] == ("MSK001",)
    # A file to start at, and one that is not there.
    assert read_config(tmp_path / "a" / "pyproject.toml").defaults.settings["select"] == ("MSK002",)
    assert read_config(tmp_path / "nosuch" / "folder").defaults.settings["select"] == ("MSK001",)


def test_config_relative_paths_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, '[tool.maskcli]\nfail-on = "error"\n')
    (tmp_path / "a" / "pyproject.toml").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    assert read_config(Path()).defaults.settings["fail_on"] == "error"


@pytest.mark.parametrize(
    ("text", "where", "expected", "received"),
    [
        ('selct = ["MSK0"]', ".selct", "one of the keys select, ignore, fail-on, ", "'selct'"),
        ("fail_on = 'error'", ".fail_on", "one of the keys", "'fail_on'"),
        ('select = "MSK0"', ".select", "a list of strings", "'MSK0'"),
        ("ignore = [1]", ".ignore", "a list of strings", "[1]"),
        ("ignore = {a = 1}", ".ignore", "a list of strings", "{'a': 1}"),
        ("fail-on = 'info'", ".fail-on", "'error' or 'warning' or 'never'", "'info'"),
        ("fail-on = []", ".fail-on", "'error' or 'warning' or 'never'", "[]"),
        ("fail-on = true", ".fail-on", "'error' or 'warning' or 'never'", "True"),
        ("model = 3", ".model", "the name or the path of a model", "3"),
        ("data = []", ".data", "a path, or a list of paths", "[]"),
        ("value = true", ".value", "a number", "True"),
        ("seed = -1", ".seed", "an integer from 0", "-1"),
        ("quick = 1", ".quick", "true or false", "1"),
        ("model-args = ['a=1']", ".model-args", "a table", "['a=1']"),
        ("models = []", ".models", "a table for each model", "[]"),
        ("[tool.maskcli.models]\na = 1", ".models.a", "a table", "1"),
        ("[tool.maskcli.models.a]\nquick = true", ".models.a", "a key model", "none"),
        ("[tool.maskcli.models.a]\nmodels = {}", ".models.a.models", "one of the keys select", "'models'"),
        ("[tool.maskcli.models.'a:b']\nmodel = 'x'", ".models", "a name of letters", "'a:b'"),
        ("[tool.maskcli.models.embedding-lstm]\nmodel = 'x'", ".models", "a name of letters", "'embedding-lstm'"),
    ],
)
def test_config_error_names_the_key(tmp_path: Path, text: str, where: str, expected: str, received: str) -> None:
    path = write_config(tmp_path, f"[tool.maskcli]\n{text}\n")
    with pytest.raises(UsageError) as raised:
        read_config(tmp_path)
    assert raised.value.where == f"{path.resolve()}, tool.maskcli{where}"
    assert expected in raised.value.expected
    assert raised.value.received == received
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("[tool.maskcli\n", "Correct the file."),
        ("[tool.maskcli]\nselct = []\n", "Did you mean select? "),
        ("[tool.maskcli]\nnothing = 1\n", "The keys are options of `maskcli check`"),
        ("[tool.maskcli]\nseed = -1\n", "For example: seed = 0."),
        ("[tool.maskcli.models.a]\nmodel = 1\n", 'For example: model = "src/train.py:build_model".'),
        ("[tool.maskcli.models.a]\nmodels = {}\n", "Did you mean model? "),
        ("[tool.maskcli.models]\na = 1\n", "For example: a table [tool.maskcli.models.tagger] with model = "),
    ],
)
def test_config_error_has_a_remedy(tmp_path: Path, text: str, fix: str) -> None:
    write_config(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_config(tmp_path)
    assert raised.value.fix.startswith(fix)


@pytest.mark.parametrize("key", KEYS)
def test_examples_of_keys_are_valid(tmp_path: Path, key: str) -> None:
    write_config(tmp_path, f"[tool.maskcli]\n{key} = {KEYS[key].example}\n")
    assert list(read_config(tmp_path).defaults.settings) == [key.replace("-", "_")]


@pytest.mark.parametrize("text", ["tool = 3\n", "", "[tool]\nother = 1\n", "[[tool]]\nmaskcli = 1\n"])
def test_config_ignores_files_without_the_table(tmp_path: Path, text: str) -> None:
    write_config(tmp_path, text)
    assert read_config(tmp_path) == ProjectConfig()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[tool.maskcli\n", "TOML"),
        (b"a = '\xff'\n", "TOML"),
        ("a = " + "[" * 5000, "TOML"),
        ("[tool]\nmaskcli = 3\n", "a table"),
        ("[[tool.maskcli]]\nselect = []\n", "a table"),
    ],
    ids=["no end", "no UTF-8", "nested", "number", "list"],
)
def test_config_that_is_not_a_table(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = write_config(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_config(tmp_path)
    assert raised.value.where == f"{path.resolve()}, tool.maskcli"
    assert raised.value.expected == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_config_without_read_permission(tmp_path: Path) -> None:
    write_config(tmp_path, "[tool.maskcli]\n").chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        read_config(tmp_path)
