"""The plugin of pytest, in projects of its own: fixtures, the marker, and models of ``[tool.maskcli]``."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import maskcli.integrations.project_models  # noqa: F401 - a run in this process would remove it again
from tests.conftest import ROOT, clean_environment
from tests.integrations.plugin import ARGUMENTS, MODULE

pytestmark = pytest.mark.slow(share=1 / 2)

pytest_plugins = ["pytester"]

GUIDE = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "pytest.md").read_text(), re.M | re.S)[0]
SHOP = """
import keras
from keras import layers


def build(scale=1.0):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(50, 8, mask_zero=True, name="embedding")(tokens)
    if scale != 1.0:
        x = x * scale
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    model = keras.Model(tokens, layers.Dense(1, name="score")(x), name="shop")
    model.compile(loss="mse")
    return model


def build_scaled():
    return build(2.0)
"""
TESTS = """
import pytest
import maskcli
from shop import build

ROWS = [[3, 4, 5], [6]]


def test_function():
    maskcli.assert_padding_invariant(build(2.0), ROWS)


def test_fixtures(assert_causal, assert_mask_reaches, assert_masked_loss, assert_padding_invariant):
    model = build()
    assert_padding_invariant(model, ROWS)
    assert_mask_reaches(model, ROWS, "mean")
    with pytest.raises(AssertionError, match="not proved that the loss"):
        assert_masked_loss(model, [[3], [6]], [[1.0], [2.0]])
    with pytest.raises(AssertionError, match="not proved that no later timestep"):
        assert_causal(model, ROWS)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.maskcli(ROWS, ignore=["MSK0"])
def test_marked(scale):
    return build(scale)


@pytest.mark.maskcli(quick=True)
class TestPairs:
    def test_pair(self):
        return build(), ROWS

    def test_no_data(self):
        return build()

    @pytest.mark.maskcli(ROWS)
    def test_no_model(self):
        pass

    @pytest.mark.maskcli([[99]])
    def test_wrong_data(self):
        return "no model"
"""
PROJECT = """
[tool.maskcli]
data = "rows.json"

[tool.maskcli.models.shop]
model = "shop:build"

[tool.maskcli.models.scaled]
model = "shop.py:build_scaled"

[tool.maskcli.models.missing]
model = "shop:nosuch"

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
addopts = "--strict-markers --strict-config"
filterwarnings = ["error"]
"""
FAILED = "MSK101 mask-dropped: multiply (Multiply) drops the mask from embedding (Embedding).*"
TRIED = "fix: Pass the mask in the call of mean: `mean(..., mask=embedding.compute_mask(tokens))`. Tried: *"


AT = "at: shop.py:10 in build"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with models and tests, whose pytest runs in a process of its own."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    files = {"shop.py": SHOP, "pyproject.toml": PROJECT, "rows.json": "[[3, 4, 5], [6]]", "tests/test_shop.py": TESTS}
    files["tests/test_guide.py"] = GUIDE
    for name, text in files.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:cacheprovider", *ARGUMENTS, *arguments)


def collect(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest in this process, on tests that import nothing which a process cannot import twice."""
    project.path.joinpath("tests", "test_guide.py").unlink(missing_ok=True)
    project.path.joinpath("tests", "test_shop.py").write_text("def test_plain(): pass")
    return project.runpytest_inprocess("-p", "no:cacheprovider", *ARGUMENTS, *arguments)


def test_plugin_shows_finding_and_repair(project: pytest.Pytester) -> None:
    result = run(project, "--maskcli", "-v")
    result.assert_outcomes(passed=7, failed=7)
    for name, outcome in {
        "tests/test_shop.py::test_fixtures": "PASSED",
        "tests/test_shop.py::test_marked[[]1.0[]]": "PASSED",
        "tests/test_shop.py::test_marked[[]3.0[]]": "FAILED",
        "tests/test_shop.py::TestPairs::test_pair": "PASSED",
        "pyproject.toml::shop": "PASSED",
        "pyproject.toml::scaled": "FAILED",
    }.items():
        result.stdout.fnmatch_lines(f"{name} {outcome}*")
    sections = dict(zip(*[iter(_split_failures(result.outlines))] * 2, strict=True))
    text = "\n".join(sections["test_function"])
    assert text.startswith(
        "\n    def test_function():\n>       maskcli.assert_padding_invariant(build(2.0), ROWS)\nE  "
    )
    assert "/maskcli/" not in text
    assert re.search(r"^E +at: shop.py:10 in build$", text, re.M)
    for name in ("test_marked[3.0]", "maskcli scaled"):
        # The finding comes first, and nothing else.
        pytest.LineMatcher(sections[name][:3]).fnmatch_lines([FAILED, AT, TRIED], consecutive=True)
        assert len(sections[name]) == 3
    for name, message in {
        "TestPairs.test_no_data": "The marker maskcli needs data: *",
        "TestPairs.test_no_model": "A test that is marked with maskcli returns its model, or (model, data).",
        "TestPairs.test_wrong_data": "*expected a built-in model *; received 'no model'.",
        "maskcli missing": "*shop:nosuch*",
    }.items():
        pytest.LineMatcher(sections[name][:1]).fnmatch_lines(message)


def _split_failures(lines: list[str]) -> list[object]:
    """Return the headings of failures, each followed by its lines."""
    parts: list[object] = []
    for line in lines[lines.index(next(line for line in lines if " FAILURES " in line)) + 1 :]:
        if line.startswith("="):
            break
        if line.startswith("___"):
            parts += [line.strip("_ "), []]
        elif parts and isinstance(parts[-1], list):
            parts[-1].append(line)
    return parts


@pytest.mark.slow(share=0)
def test_plugin_works_with_xdist(project: pytest.Pytester) -> None:
    """A failure reaches the other process with its finding; only these tests run, so that they import Keras once."""
    result = run(project, "--maskcli", "-n1", "-k", "test_function or scaled", "-v")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([FAILED, AT, TRIED])
    result.stdout.fnmatch_lines([f"E   *FindingsError: {FAILED}", "E *at: shop.py:10 in build"])


def test_marker_and_fixtures_are_listed(project: pytest.Pytester) -> None:
    collect(project, "--markers").stdout.fnmatch_lines("@pytest.mark.maskcli(data, [*][*]options): *")
    fixtures = collect(project, "--fixtures", "-q").stdout
    for name in ("assert_causal", "assert_mask_reaches", "assert_masked_loss", "assert_padding_invariant"):
        fixtures.fnmatch_lines(f"{name} [[]session scope[]] -- *")


@pytest.mark.parametrize(
    ("arguments", "collected"),
    [
        ((), ["tests/test_shop.py::test_plain"]),
        (("--maskcli",), ["pyproject.toml::shop", "tests/test_shop.py::test_plain"]),
        (("--maskcli", "."), ["pyproject.toml::shop", "tests/test_shop.py::test_plain"]),
        (("--maskcli", "pyproject.toml::shop"), ["pyproject.toml::shop"]),
        (("--maskcli", "-m", "maskcli"), ["pyproject.toml::shop"]),
    ],
    ids=["without", "testpaths", "folder", "one", "marker"],
)
def test_models_are_collected_once(project: pytest.Pytester, arguments: tuple[str, ...], collected: list[str]) -> None:
    text = '[tool.maskcli.models.shop]\nmodel = "shop:build"\n[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'
    project.path.joinpath("pyproject.toml").write_text(text)
    result = collect(project, "--collect-only", "-q", *arguments)
    assert sorted(line for line in result.outlines if "::" in line) == collected


@pytest.mark.parametrize("text", ["", "[tool.maskcli]\nselect = ['MSK1']\n", "[tool.maskcli]\nnosuch = 1\n"])
def test_project_without_model_is_an_error(project: pytest.Pytester, text: str) -> None:
    project.path.joinpath("pyproject.toml").write_text(text)
    result = collect(project, "--maskcli")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("ERROR: *received *")


def test_plugin_imports_nothing_before_it_is_used(project: pytest.Pytester) -> None:
    project.path.joinpath("tests", "test_guide.py").unlink(missing_ok=True)
    project.path.joinpath("tests", "test_shop.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    assert 'maskcli.integrations.pytest_plugin' in sys.modules\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "    assert not loaded & {'tensorflow', 'keras', 'numpy', 'rich', 'click', 'msgspec'}\n"
        "    ours = {name for name in sys.modules if name.startswith('maskcli.')}\n"
        "    assert {name.split('.')[1] for name in ours} <= {'integrations', 'records', 'version'}, ours\n"
    )
    run(project).assert_outcomes(passed=1)


def test_rules_are_read_where_pytest_loads_them(project: pytest.Pytester) -> None:
    """Of an installed package with a plugin, pytest loads all modules, to rewrite their assertions."""
    project.path.joinpath("tests", "test_guide.py").unlink(missing_ok=True)
    project.path.joinpath("conftest.py").write_text("import pytest\npytest.register_assert_rewrite('maskcli')\n")
    project.path.joinpath("tests", "test_shop.py").write_text(
        "def test_rules():\n"
        "    from maskcli.rules import RULES, pre_padding\n"
        "    assert 'Rewriting' in type(pre_padding.__loader__).__name__\n"
        "    assert all(rule.summary and rule.bad for rule in RULES)\n"
    )
    run(project, "-W", "ignore").assert_outcomes(passed=1)


def test_importing_the_plugin_needs_only_pytest() -> None:
    code = f"import sys, pytest; before = set(sys.modules); import {MODULE}; print(len(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert int(done.stdout) < 40
