"""``[tool.maskcli]``: the nearest file with this table counts, and its values are checked."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from maskcli.commands.config import ProjectConfig, read_config
from maskcli.errors import UsageError

pytestmark = pytest.mark.quick


def write_config(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_config_without_a_file_is_empty(tmp_path: Path) -> None:
    assert read_config(tmp_path) == ProjectConfig((), (), None, None)


def test_config_reads_all_keys(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[tool.maskcli]\nselect = ["MSK0"]\nignore = ["pre-padding"]\nfail-on = "warning"\n')
    config = read_config(tmp_path)
    assert config == ProjectConfig(("MSK0",), ("pre-padding",), "warning", path.resolve())
    assert pickle.loads(pickle.dumps(config)) == config


def test_config_with_an_empty_table(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[tool.maskcli]\n")
    assert read_config(tmp_path).path == path.resolve()


def test_config_nearest_file_with_the_table(tmp_path: Path) -> None:
    write_config(tmp_path, '[tool.maskcli]\nselect = ["MSK001"]\n')
    write_config(tmp_path / "a", '[tool.maskcli]\nselect = ["MSK002"]\n')
    write_config(tmp_path / "a" / "b", "[project]\nname = 'x'\n")
    (tmp_path / "a" / "b" / "c").mkdir()
    assert read_config(tmp_path / "a" / "b" / "c").select == ("MSK002",)
    assert read_config(tmp_path).select == ("MSK001",)
    # A file to start at, and one that is not there.
    assert read_config(tmp_path / "a" / "pyproject.toml").select == ("MSK002",)
    assert read_config(tmp_path / "nosuch" / "folder").select == ("MSK001",)


def test_config_relative_paths_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, '[tool.maskcli]\nfail-on = "error"\n')
    (tmp_path / "a" / "pyproject.toml").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    assert read_config(Path()).fail_on == "error"


@pytest.mark.parametrize(
    ("text", "where", "expected", "received"),
    [
        ('selct = ["MSK0"]', ".selct", "one of the keys select, ignore, fail-on", "'selct'"),
        ("fail_on = 'error'", ".fail_on", "one of the keys", "'fail_on'"),
        ('select = "MSK0"', ".select", "a list of strings", "'MSK0'"),
        ("ignore = [1]", ".ignore", "a list of strings", "[1]"),
        ("ignore = {a = 1}", ".ignore", "a list of strings", "{'a': 1}"),
        ("fail-on = 'info'", ".fail-on", "'error' or 'warning'", "'info'"),
        ("fail-on = []", ".fail-on", "'error' or 'warning'", "[]"),
        ("fail-on = true", ".fail-on", "'error' or 'warning'", "True"),
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
