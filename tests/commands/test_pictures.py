"""``--format svg|png`` of ``pad``, ``inspect`` and ``loss``, and how it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from maskcli.errors import ExitCode
from tests.conftest import Output, clean_environment

pytestmark = pytest.mark.slow(share=1 / 2)

pytest.importorskip("vl_convert")
Call = Callable[..., Output]
PNG = b"\x89PNG\r\n\x1a\n"


def list_texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - made here
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def run_process(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "maskcli", *args]
    return subprocess.run(command, capture_output=True, cwd=cwd, env=clean_environment(**environment), timeout=120)


def test_pad_draws_without_tensorflow(tmp_path: Path) -> None:
    program = "import sys; from maskcli import cli; status = cli.run(sys.argv[1:]); print('tensorflow' in sys.modules, file=sys.stderr); sys.exit(status)"
    done = subprocess.run(
        [sys.executable, "-c", program, "pad", "--format", "svg"], capture_output=True, cwd=tmp_path, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, b"False\n")
    assert {"83", "3215", "timestep"} <= set(list_texts(done.stdout.decode()))


@pytest.mark.parametrize("command", [("pad",), ("inspect",), ("inspect", "--picture", "outputs"), ("loss",)])
def test_png_to_a_pipe(command: tuple[str, ...], program: list[str], tmp_path: Path) -> None:
    arguments = [*program, *command, "--format", "png"]
    done = subprocess.run(arguments, capture_output=True, cwd=tmp_path, env=clean_environment(), timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(PNG)
    assert done.stdout.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("command", ["pad", "profile", "inspect", "loss"])
def test_output_suffix_selects_the_picture(command: str, call: Call) -> None:
    assert call(command, "--sample", "--output", "x.svg", "--quiet") == ""
    assert call(command, "--sample", "--output", "x.png", "--quiet").exit_status == 0
    printed = call(command, "--format", "svg")
    assert Path("x.svg").read_text() == printed
    assert Path("x.png").read_bytes().startswith(PNG)


def test_outputs_picture_of_a_sample_and_a_feature(call: Call) -> None:
    printed = call("inspect", "--format", "svg", "--picture", "outputs", "--row", "2", "--feature", "1")
    assert "Output of lstm, sample 2, feature 1" in list_texts(printed)
    pooled = call("inspect", "--format", "svg", "--picture", "outputs", "--last-only", "--row", "1")
    assert "Output of lstm, sample 1" in list_texts(pooled)
    assert "Tokens and mask" in list_texts(call("inspect", "--format", "svg"))


def test_picture_keeps_the_exit_code(call: Call) -> None:
    printed = call("inspect", "--mask-source", "all", "--format", "svg")
    table = call("inspect", "--mask-source", "all")
    assert printed.exit_status == table.exit_status
    assert printed.startswith("<svg")


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no picture": (("inspect", "--picture", "outputs"), "--picture: expected a picture to draw; received none."),
    "a sample of none": (("inspect", "--row", "0"), "--row: expected a picture to draw"),
    "a sample of a mask": (("inspect", "--format", "svg", "--row", "1"), "--row: expected --picture outputs"),
    "too large a sample": (
        ("inspect", "--format", "svg", "--picture", "outputs", "--row", "3"),
        "--row 3: expected 0 to 2; received 3.",
    ),
    "too large a feature": (
        ("inspect", "--sample", "--output", "x.svg", "--quiet", "--picture", "outputs", "--feature", "3"),
        "--feature 3: expected 0 to 2; received 3.",
    ),
    "a feature where all are drawn": (
        ("inspect", "--format", "png", "--picture", "outputs", "--last-only", "--feature", "1"),
        "--feature 1: expected 0: all are in the picture",
    ),
    "no such picture": (("inspect", "--format", "svg", "--picture", "loss"), "--picture"),
    "a sample below zero": (("inspect", "--format", "svg", "--picture", "outputs", "--row", "-1"), "--row"),
    "no such form": (("pad", "--sample", "--output", "x.gif"), "a path that ends in"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_picture_options(name: str, call: Call) -> None:
    arguments, message = BAD[name]
    failed = call(*arguments)
    assert failed.exit_status == ExitCode.USAGE
    assert message in failed.stderr
    assert failed == ""
    assert os.listdir() == []  # noqa: PTH208 - nothing was written


@pytest.mark.parametrize("command", ["pad", "inspect", "loss"])
@pytest.mark.parametrize("arguments", [("--format", "svg"), ("--output", "x.png")])
def test_missing_vl_convert_fails_before_any_work(command: str, arguments: tuple[str, str], tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "vl_convert.py").write_text("raise ImportError('not here')")
    (hidden / "tensorflow.py").write_text("raise SystemExit('loaded TensorFlow')")
    done = run_process(command, *arguments, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(hidden), *sys.path[:1]]))
    assert done.returncode == ExitCode.USAGE
    assert b"pip install 'igraph>=" in done.stderr
    assert done.stdout == b""


def test_other_forms_need_no_vl_convert(tmp_path: Path) -> None:
    (tmp_path / "vl_convert.py").write_text("raise ImportError('not here')")
    assert run_process("pad", cwd=tmp_path).returncode == 0


def test_data_without_timesteps_has_no_mask_picture(call: Call, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "flatmodel.py").write_text(
        "import keras\n\n\ndef flat():\n    keras.utils.set_random_seed(0)\n"
        "    given = keras.Input((3,))\n    return keras.Model(given, keras.layers.Dense(2)(given))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    np.save(tmp_path / "x.npy", np.ones((4, 3), "float32"))
    arguments = ("inspect", "x.npy", "--model", "flatmodel:flat", "--format", "svg")
    assert "sample 1" in str(call(*arguments, "--picture", "outputs", "--row", "1"))
    assert "--picture mask: expected an input with timesteps" in call(*arguments).stderr
