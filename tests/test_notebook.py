"""Notebooks: a real kernel runs cells, whose HTML has the texts of the commands."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest

import maskcli
from maskcli.records.result import ResultRecord
from maskcli.render.html import STYLE
from maskcli.render.results import render_html_of
from tests.conftest import ROOT, clean_environment

KERNEL = "under-test"
CELLS = {
    "pad": "import maskcli\nmaskcli.pad([[1, 2], [3]])",
    "inspect": (
        "import keras\n"
        "tokens = keras.Input((None,), dtype='int32')\n"
        "x = keras.layers.Embedding(9, 2, mask_zero=True, name='<script>alert(1)<|script>')(tokens)\n"
        "model = keras.Model(tokens, keras.layers.Dense(2)(x * 2.0))\n"
        "maskcli.inspect([[1, 2], [3]], model=model)"
    ),
    "loss": "maskcli.loss([[1, 2], [3]])",
    "check": "maskcli.check([[1, 2], [3]], model=model)",
    "magic": (
        "%load_ext maskcli\n"
        "get_ipython().run_cell_magic('maskcheck', 'ROWS, quick=True', "
        "'ROWS = [[1, 2], [3]]\\nother = 1\\nlast = keras.Model(tokens, x * 3.0)\\nother = model.name')"
    ),
    "shown model": "%%maskcheck ROWS\nmodel",
    "print": "print(maskcli.pad([[7]]).tokens)",
    "recipe": re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "recipes.md").read_text(), re.M | re.S)[0],
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the outputs of each cell by type, from a kernel of this interpreter."""
    folder = tmp_path_factory.mktemp("notebook")
    kernel = folder / "data" / "kernels" / KERNEL
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.joinpath("kernel.json").write_text(
        json.dumps({"argv": command, "display_name": KERNEL, "language": "python"})
    )
    path = folder / "shown.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS.values()]), path)
    _execute(path, folder)
    cells = nbformat.read(path, as_version=4).cells
    return {
        name: {kind: text for output in cell.outputs for kind, text in output.get("data", {}).items()}
        for name, cell in zip(CELLS, cells, strict=True)
    }


def _execute(path: Path, folder: Path) -> None:
    """Run a notebook in place, in a process of its own, so that no loop or socket stays open."""
    code = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=180, kernel_name=sys.argv[2]).execute(cwd=sys.argv[3])
nbformat.write(notebook, sys.argv[1])
"""
    env = clean_environment(
        JUPYTER_PATH=str(folder / "data"), JUPYTER_RUNTIME_DIR=str(folder / "runtime"),
        JUPYTER_CONFIG_DIR=str(folder / "config"), JUPYTER_DATA_DIR=str(folder / "own"),
        IPYTHONDIR=str(folder / "ipython"), TF_CPP_MIN_LOG_LEVEL="3",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), KERNEL, str(folder)],
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def plain(html: str) -> str:
    """Return the text of HTML without its style, with a line for each row."""
    html = re.sub("<style>.*?</style>", "", html, flags=re.DOTALL)
    html = re.sub("</(th|td)>", " ", html)
    text = re.sub("<[^>]*>", "", html.replace("<br>", "\n"))
    return "\n".join(" ".join(line.split()) for line in unescape(text).splitlines())


def test_notebook_shows_a_batch(outputs: dict[str, dict[str, Any]]) -> None:
    html = outputs["pad"]["text/html"]
    assert "sample 0 1 length\n" in plain(html)
    assert "0 1 2 2\n1 3 ·0 1\n" in plain(html)
    assert '<span class="mk-padding">·0</span>' in html
    assert html.startswith(f'<div class="maskcli">\n<style>{STYLE}</style>')


def test_notebook_shows_an_inspection(outputs: dict[str, dict[str, Any]]) -> None:
    """A script in the name of a layer does not run."""
    html = outputs["inspect"]["text/html"]
    text = plain(html)
    assert "<script>alert(1)<|script>" in text
    assert "<script" not in html
    assert re.search(r"Multiply ■ – drops receives a mask, returns none", text)
    assert '<span class="mk-on">■</span><span class="mk-off">□</span>' in html
    assert "Warning:" in html


def test_notebook_of_the_recipes_shows_a_check(outputs: dict[str, dict[str, Any]]) -> None:
    assert "passed: padding does not leak" in plain(outputs["recipe"]["text/html"])


def test_notebook_shows_loss_and_check(outputs: dict[str, dict[str, Any]]) -> None:
    loss, check = plain(outputs["loss"]["text/html"]), plain(outputs["check"]["text/html"])
    assert re.search(r"^masked \d+\.\d+ training loss: mean over the 3 unmasked timesteps", loss, re.MULTILINE)
    assert re.search(r"^Keras evaluate \d", loss, re.MULTILINE)
    assert "! warning MSK101 mask-dropped: multiply (Multiply)\n" in check
    assert "\nfix: Let the result of multiply keep the mask of " in check
    assert "class KeepMask(keras.layers.Layer):" in check
    assert "<script" not in outputs["check"]["text/html"]
    assert "× failed: there are findings, although padding does not leak" in check
    assert "0 errors, 1 warning, 0 infos" in check


def test_magic_shows_the_check_of_the_last_model(outputs: dict[str, dict[str, Any]]) -> None:
    check = outputs["magic"]["text/html"]
    assert "\nfunctional_1 Functional" in plain(check)
    assert "MSK101 mask-dropped: multiply" in plain(check)
    assert f"<style>{STYLE}</style>" in check
    assert outputs["magic"]["text/plain"].startswith("<CheckReport ")
    shown = plain(outputs["shown model"]["text/html"])
    assert "\nfunctional Functional" in shown
    assert "MSK101 mask-dropped: multiply (Multiply)" in shown


def test_notebook_prints_text(outputs: dict[str, dict[str, Any]]) -> None:
    assert outputs["print"] == {}
    assert outputs["pad"]["text/plain"].startswith("<PaddedBatch (2, 2) int32")


# Without a notebook.


@pytest.fixture
def shell() -> Iterator[Any]:
    """A shell of IPython without a kernel, as on a terminal, with the extension."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.extension_manager.load_extension("maskcli")
    yield shell
    shell.extension_manager.unload_extension("maskcli")
    assert "maskcheck" not in shell.magics_manager.magics["cell"]
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


def test_magic_prints_on_a_terminal(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns["build"] = build
    assert shell.run_cell_magic("maskcheck", "[[1, 2], [3]], select=['MSK101']", "model = build()") is None
    printed = capsys.readouterr().out
    assert "MSK101 mask-dropped: multiply" in printed
    assert "\n 0 errors, 1 warning, 0 infos; 1 rule checked" in printed


@pytest.mark.parametrize(
    ("line", "cell", "message"),
    [
        ("", "model = build()", "needs data"),
        ("[[1, 2], [3]]", "number = 3", "the cell assigns no Keras model"),
        ("ROWS", "model = build()", "NameError: name 'ROWS' is not defined"),
        ("[['a']]", "model = build()", "expected .*; received"),
    ],
)
def test_magic_explains_wrong_usage(shell: Any, line: str, cell: str, message: str) -> None:
    from IPython.core.error import UsageError

    shell.user_ns["build"] = build
    with pytest.raises(UsageError, match=message):
        shell.run_cell_magic("maskcheck", line, cell)


def test_magic_leaves_an_error_of_the_cell_to_ipython(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run_cell_magic("maskcheck", "[[1]]", "1 / 0") is None
    assert "ZeroDivisionError" in capsys.readouterr().out


def build() -> Any:
    """Return a model in which a multiplication drops the mask."""
    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, 2, mask_zero=True)(tokens)
    return keras.Model(tokens, x * 2.0)


def test_html_omits_command_line_options() -> None:
    """Notes of omissions do not mention an option of the command line."""
    batch = maskcli.pad([[row + 1] * (row % 90 + 1) for row in range(300)])
    text = plain(batch._repr_html_())
    assert "… 276 sequences not shown, " in text
    assert "--all" not in text
    assert len(re.findall(r"<tr>", batch._repr_html_())) == 1 + 25
    assert len(batch._repr_html_()) < 100_000


def test_report_has_verdicts_and_parts() -> None:
    report = maskcli.report([[1, 2], [3]])
    text = plain(report._repr_html_())
    for verdict in report.verdicts:
        assert verdict.question in text
        assert verdict.text in text
    for words in (f"{len(report.check.checked)} rules checked", "Loss mse", "Path of the mask", "Outputs of lstm"):
        assert words in text


def test_html_is_reproducible() -> None:
    batch = maskcli.pad([[1, 2], [3]])
    assert render_html_of(batch) == batch._repr_html_() == render_html_of(pickle.loads(pickle.dumps(batch)))


def test_unknown_type_has_no_html() -> None:
    with pytest.raises(TypeError, match="no view of a int"):
        render_html_of(3)


def test_records_keep_their_behaviour() -> None:
    batch = maskcli.pad([[1, 2], [3]])
    assert isinstance(batch, ResultRecord)
    assert batch != maskcli.pad([[1, 2], [3]])
    assert vars(batch).keys() == {field.name for field in dataclasses.fields(batch)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.truncated_tokens = 1  # type: ignore[misc]


def test_records_load_no_renderer() -> None:
    code = "import sys, maskcli; maskcli.pad([[1]]); print([name for name in sys.modules if '.render' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
