"""Rules are found by walking their folder, and all have one form."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskcli.rules
from maskcli.records.check import Examination
from maskcli.records.data import DataFacts
from maskcli.rules import HELPERS, RULES, load_rules
from maskcli.rules.rule import Rule
from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.quick

FOLDER = Path(maskcli.rules.__file__).parent
NEW_RULE = '''
"""Rows are a prime number.

This rule exists only in a test. It needs no entry in any table.
"""

from maskcli.rules.base import make_finding

CODE = "MSK099"
SEVERITY = "info"


def judge(facts, _model):
    if facts.shape[0] == 7:
        yield make_finding(__name__, message=f"{facts.name}: 7 rows.", fix="Add a row.")
'''


@pytest.fixture
def extra_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of rules; rules that were loaded from it are forgotten at the end."""
    monkeypatch.setattr(maskcli.rules, "__path__", [str(FOLDER), str(tmp_path)])
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"maskcli.rules.{path.stem}", None)
        vars(maskcli.rules).pop(path.stem, None)


def test_load_rules_finds_every_file_by_code() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")}
    assert files > HELPERS
    assert {file.replace("_", "-") for file in files - HELPERS - {"__init__"}} == {rule.name for rule in RULES}
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_load_rules_finds_new_file(extra_folder: Path) -> None:
    (extra_folder / "prime_rows.py").write_text(NEW_RULE)
    rules = load_rules()
    (rule,) = set(rules) - set(RULES)
    assert (rule.code, rule.name, rule.severity, rule.about) == ("MSK099", "prime-rows", "info", "data")
    assert rule.summary == "Rows are a prime number."
    assert [rule.code for rule in rules] == sorted(rule.code for rule in rules)
    facts = DataFacts(name="tokens", shape=(7, 2))
    (finding,) = rule.examine(Examination((facts,), None))
    assert (finding.code, finding.rule, finding.message) == ("MSK099", "prime-rows", "tokens: 7 rows.")


def test_load_rules_with_duplicate_code(extra_folder: Path) -> None:
    (extra_folder / "zeros.py").write_text(NEW_RULE.replace("MSK099", "MSK001"))
    with pytest.raises(ValueError, match="MSK001 is the code of two rules: padding-id-as-token and zeros"):
        load_rules()


def test_load_rules_from_zip_file(tmp_path: Path) -> None:
    """A wheel may be imported without unpacking it."""
    shutil.copytree(ROOT / "maskcli", tmp_path / "unpacked" / "maskcli", ignore=shutil.ignore_patterns("__pycache__"))
    archive = shutil.make_archive(str(tmp_path / "maskcli"), "zip", tmp_path / "unpacked")
    code = "import maskcli.rules as rules; print(rules.__file__, *(rule.code for rule in rules.RULES))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=archive),
        check=True,
    )
    path, *codes = done.stdout.split()
    assert path.startswith(archive)
    assert codes == [rule.code for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_has_form(rule: Rule) -> None:
    assert re.fullmatch(r"MSK\d{3}", rule.code)
    assert rule.severity in ("error", "warning", "info")
    assert rule.summary.endswith(".")
    assert rule.summary.count(". ") == 0
    assert len(rule.summary) <= 120
    sentences = re.findall(r"[.:;](?= |$)", " ".join(rule.explanation))
    assert len(sentences) >= 2
    assert 100 <= len(" ".join(rule.explanation)) <= 900
    for example in (rule.bad, rule.good):
        compile(example, rule.code, "exec")
        assert re.search("^(sequences|arrays) = ", example, re.M)
        assert ("\nmodel = " in example) is (rule.about == "model" and not rule.compares)
        assert max(map(len, example.split("\n"))) <= 76
    assert rule.bad != rule.good


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_text_is_that_of_its_module(rule: Rule) -> None:
    """The text of a file is read without importing it."""
    module = importlib.import_module(f"maskcli.rules.{rule.name.replace('-', '_')}")
    assert (rule.code, rule.severity) == (module.CODE, module.SEVERITY)
    assert rule.docstring == inspect.cleandoc(module.__doc__ or "")
    assert rule.judge is module.judge


def test_load_rules_without_severity(extra_folder: Path) -> None:
    (extra_folder / "halves.py").write_text(NEW_RULE.replace("SEVERITY", "WEIGHT"))
    with pytest.raises(ValueError, match=r"maskcli\.rules\.halves: expected a docstring .* and a line SEVERITY"):
        load_rules()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_rule_imports_no_arrays_and_no_keras(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert not {name.split(".")[0] for name in names} & {"numpy", "keras", "tensorflow", "click", "rich"}
