"""CONTRIBUTING.md: in a copy of the package, only the steps that it names add a dummy of each kind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow(share=1 / 2)

Maskcli = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, which the test changes."""
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    copy = tmp_path / "maskcli"
    shutil.copytree(ROOT / "maskcli", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def maskcli(package: Path) -> Maskcli:
    """Run the copy, and return its standard output."""

    def maskcli(*arguments: str, exit_status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "maskcli", *arguments],
            capture_output=True,
            cwd=package.parent,
            env=clean_environment(PYTHONPATH=str(package.parent), PYTHONDONTWRITEBYTECODE="1"),
            timeout=120,
        )
        assert done.returncode == exit_status, done.stderr.decode()
        return done.stdout.decode()

    return maskcli


def insert(path: Path, before: str, text: str) -> None:
    """Insert text before the only occurrence of ``before``."""
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1
    path.write_text(content.replace(before, text + before), encoding="utf-8")


FORMAT = '''
"""Integers, separated by semicolons."""

from maskcli.sequences.formats.base import Field, Format, ParsedRows


def read_semicolons(data: bytes, name: str, field: Field) -> ParsedRows:
    lines = data.decode().removeprefix("!").splitlines()
    rows = [[int(cell) for cell in line.split(";")] for line in lines]
    return ParsedRows(rows, lambda row: f"{name}:{row + 1}")


FORMATS = (Format("semicolons", (".semi",), read_semicolons, lambda head: head.startswith(b"!")),)
'''


def test_format_is_a_file_and_an_entry(package: Path, maskcli: Maskcli) -> None:
    formats = package / "sequences" / "formats"
    (formats / "semicolons.py").write_text(FORMAT)
    insert(package / "sequences" / "format_names.py", '    FormatName("text"', FORMAT_NAME)
    (package.parent / "a.semi").write_text("1;2;3\n4\n")
    (package.parent / "content").write_text("!1;2;3\n4\n")
    for path in ("a.semi", "content"):
        batch = json.loads(maskcli("pad", path, "--format", "json"))
        assert batch["tokens"] == [[1, 2, 3], [4, 0, 0]]
    assert "semicolons" in maskcli("pad", "--help")


FORMAT_NAME = '    FormatName("semicolons", "semicolons", ".semi", writes=False),\n'

MODEL = '''
"""Embedding, then GRU."""

from typing import Any

from maskcli.records.model import BuiltinModel, ModelSettings

ABOUT = BuiltinModel(name="embedding-gru", layers="Embedding → GRU", about="GRU uses the mask")
BOUNDED = True


def check_settings(settings: ModelSettings) -> None:
    """Accept all settings."""


def make_head(settings: ModelSettings) -> Any:
    import keras

    return keras.layers.GRU(settings.units, return_sequences=settings.return_sequences, name="gru")
'''


def test_builtin_model_is_a_file_and_an_entry(package: Path, maskcli: Maskcli) -> None:
    builtin = package / "models" / "builtin"
    (builtin / "embedding_gru.py").write_text(MODEL, encoding="utf-8")
    insert(builtin / "__init__.py", "embedding_lstm, embedding_dense)", "embedding_gru, ")
    insert(builtin / "__init__.py", "\nBUILTIN =", "from maskcli.models.builtin import embedding_gru\n")
    assert "embedding-gru" in maskcli("models")
    document = json.loads(maskcli("inspect", "--model", "embedding-gru", "--format", "json"))
    assert [(call["call"], call["effect"]) for call in document["trace"]][-1] == ("gru", "uses")


def test_output_form_is_one_entry(package: Path, maskcli: Maskcli) -> None:
    """A form without a suffix is printed by every command, and changes nothing else."""
    forms = package / "render" / "forms.py"
    insert(
        forms,
        '    OutputForm("mermaid",',
        '    OutputForm("schema", lambda *arguments: [b"".join(_render_json(*arguments)).split(b\'"\')[3]]),\n',
    )
    for command in ("pad", "rules", "models"):
        assert maskcli(command, "--format", "schema") == f"maskcli/{command}/1"
        assert re.search(r"[|,]schema\b", "".join(maskcli(command, "--help").split()))
    assert maskcli("pad", "--sample", "--output", "batch.json", "--format", "schema", exit_status=2) == ""
    assert maskcli("pad", "--sample", "--output", "batch.schema", exit_status=2) == ""
    assert maskcli("inspect", "--format", "mermaid").startswith("flowchart")


def test_output_form_of_one_command(package: Path, maskcli: Maskcli) -> None:
    forms = package / "render" / "forms.py"
    entry = 'OutputForm("shape", lambda result, *_: [str(result.record.tokens.shape).encode()], ".shape", ("pad",))'
    insert(forms, '    OutputForm("mermaid",', f"    {entry},\n")
    assert maskcli("pad", "--format", "shape") == "(3, 6)"
    assert maskcli("pad", "--sample", "--output", "a.shape") == ""
    assert (package.parent / "a.shape").read_text() == "(3, 6)"
    assert "shape" not in maskcli("models", "--help")
    assert maskcli("models", "--format", "shape", exit_status=2) == ""


RULE = '''
"""The data has seven rows.

A dummy, which only a test adds.

Bad::

    sequences = [[1]] * 7
    options = dict(data_only=True)

Good::

    sequences = [[1]] * 6
    options = dict(data_only=True)
"""

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding

CODE = "MSK099"
SEVERITY = "error"


def judge(facts: DataFacts, _model: ModelEvidence | None) -> Iterator[Finding]:
    if facts.shape[0] == 7:
        yield make_finding(__name__, message="The data has seven rows.", fix="Add a row.")
'''


def test_rule_is_a_file(package: Path, maskcli: Maskcli) -> None:
    (package / "rules" / "seven_rows.py").write_text(RULE)
    assert "seven-rows" in maskcli("rules")
    assert "The data has seven rows" in maskcli("explain", "MSK099")
    (package.parent / "seven.txt").write_text("3 1\n" * 7)
    check = ("check", "seven.txt", "--data-only", "--select", "seven-rows", "--format", "json")
    document = json.loads(maskcli(*check, exit_status=1))
    assert [(finding["code"], finding["fix"]) for finding in document["findings"]] == [("MSK099", "Add a row.")]


PROBE = '''
"""Run the model again, without any change."""

from maskcli.probes.context import ProbeContext, ProbeResult, make_probe


def probe_repetition(context: ProbeContext) -> ProbeResult:
    return make_probe("repetition", context, context.run.vary(), context.align())
'''


def test_probe_is_a_file_an_entry_and_a_label(package: Path, maskcli: Maskcli) -> None:
    (package / "probes" / "repetition.py").write_text(PROBE)
    leak = package / "probes" / "leak.py"
    insert(leak, "from maskcli.probes.rounding", "from maskcli.probes.repetition import probe_repetition\n")
    insert(leak, "by_content[1])", "probe_repetition(context), ")
    insert(leak, '"gradient")\n', '"repetition", ')
    insert(package / "render" / "views" / "check.py", '    "gradient":', '    "repetition": "the same once more",\n')
    assert "the same once more" in maskcli("check")
    probes = json.loads(maskcli("check", "--format", "json"))["leak"]["probes"]
    names = [(probe["name"], probe["applicable"], probe["max_abs_change"]) for probe in probes]
    assert names[3] == ("repetition", True, 0.0)
