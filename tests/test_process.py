"""maskcli as a process: exit codes, streams, pipes, terminals and packaging, with nothing mocked."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT, SAMPLE, Output, clean_environment

pytestmark = pytest.mark.slow(share=1 / 2)

PYTHON = sys.executable


@pytest.fixture(scope="module")
def program() -> list[str]:
    """Return a program that starts a process of its own: nothing here runs in a fork."""
    return [PYTHON, "-m", "maskcli"]


@pytest.mark.parametrize(
    ("work", "freezes"),
    [("from maskcli.cli import run; run(['inspect', '--sample', '-q'])", True), ("maskcli.inspect([[1, 2]])", False)],
    ids=["command", "library"],
)
def test_command_freezes_objects_of_imports(work: str, freezes: bool) -> None:
    """Collections leave out the objects of TensorFlow; in the process of a user, nothing is frozen."""
    code = f"import gc, maskcli; {work}; assert (gc.get_freeze_count() > 10**5) is {freezes}, gc.get_freeze_count()"
    subprocess.run([PYTHON, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_lists_commands(run: Callable[..., Output]) -> None:
    top = run("--help")
    assert top == run("-h")
    assert top.exit_status == 0
    for command in ("pad", "inspect", "loss", "models"):
        assert re.search(rf"^  {command} +\w", top, re.M)
        assert run(command, "--help").exit_status == 0


@pytest.mark.parametrize(
    "arguments", ["--help", "pad --help", "check --help", "report --help", "rules", "explain MSK101", "models"]
)
@pytest.mark.parametrize("on_terminal", [False, True], ids=["pipe", "terminal"])
def test_look_up_imports_no_arrays(arguments: str, on_terminal: bool) -> None:
    look = (
        f"import sys; from maskcli.cli import run; assert run({arguments.split()}) == 0; "
        "loaded = {'numpy', 'msgspec', 'rich', 'keras', 'maskcli.records.sequences'} & {*sys.modules}; "
        "assert not loaded, loaded"
    )
    if not on_terminal:
        subprocess.run([PYTHON, "-c", look], check=True, stdout=subprocess.DEVNULL)
        return
    master, slave = pty.openpty()
    environment = clean_environment(TERM="xterm-256color")
    with subprocess.Popen([PYTHON, "-c", look], stdout=slave, stderr=subprocess.PIPE, env=environment) as process:
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # A terminal whose other end has closed.
            while data := os.read(master, 65536):
                text += data
        errors = process.stderr.read() if process.stderr is not None else b""
    os.close(master)
    assert (process.returncode, errors) == (0, b"")
    assert b"\x1b[" in text


def test_every_option_is_documented() -> None:
    import click

    from maskcli.cli import COMMANDS, cli

    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.help
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, f"{name} {parameter.name}"  # type: ignore[attr-defined]


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("arguments", [["inspect"], ["loss", "--format", "json"]])
def test_tensorflow_prints_nothing(run: Callable[..., Output], arguments: list[str]) -> None:
    output = run(*arguments, TF_CPP_MIN_LOG_LEVEL="0")
    assert (output.exit_status, output.stderr) == (0, "")
    assert "masked" in output or "mask" in output


def test_pad_pipes_into_inspect(tmp_path: Path) -> None:
    program = f"'{PYTHON}' -m maskcli"
    line = f"{program} pad '{SAMPLE}' --format json | {program} inspect - --format json | '{PYTHON}' -m json.tool"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=clean_environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"schema": "maskcli/inspect/1"' in done.stdout


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "reader"),
    [
        ("pad big.txt --format json", "head -1"),
        ("pad big.txt --all", "head -1"),
        ("pad big.txt --format json", "true"),
        ("--help", "true"),
        ("pad --help", "true"),
        ("inspect --json-schema", "true"),
    ],
)
def test_closed_pipe_ends_quietly(tmp_path: Path, arguments: str, reader: str, unbuffered: str) -> None:
    (tmp_path / "big.txt").write_text("1 2 3 4 5 6 7 8 9\n" * 20_000)
    line = f"'{PYTHON}' -m maskcli {arguments} | {reader}"
    environment = clean_environment(PYTHONUNBUFFERED=unbuffered)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == (reader != "true")


@pytest.mark.parametrize(
    ("redirected", "message"),
    [
        (
            "pad > /dev/full",
            "standard output: expected a path that can be written to; received No space left on device",
        ),
        ("pad >&-", "standard output: expected a path that can be written to; received a closed stream"),
        ("pad - <&-", "<stdin>: expected a file of sequences; received a closed stream"),
    ],
)
def test_unusable_streams_exit_3(tmp_path: Path, redirected: str, message: str) -> None:
    line = f"'{PYTHON}' -m maskcli {redirected}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=clean_environment())
    assert done.returncode == 3
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_documents_are_utf_8_in_any_locale(run: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "größe.txt").write_text("1 2 3 4 5 6\n1 2 3 4 5\n1 2 3\n")
    document = run("loss", "--targets", "größe.txt", "--format", "json", PYTHONIOENCODING="ascii").json
    assert document["targets"] == "größe.txt, one number per timestep"
    assert run("models", "--format", "json", PYTHONIOENCODING="ascii") == run("models", "--format", "json")


def test_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.txt"
    command = [PYTHON.encode(), b"-m", b"maskcli", b"pad", name]
    missing = subprocess.run(command, capture_output=True, env=clean_environment())
    assert (missing.returncode, missing.stdout) == (3, b"")
    assert "\ufffd.txt: expected a file of sequences; received a path that does not exist" in missing.stderr.decode()


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(
    ("command", "message"),
    [("inspect", "Loading Keras and running the model"), ("loss", r"Running the model.*6/6 rows")],
)
def test_terminal_shows_progress(tmp_path: Path, command: str, message: str) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [PYTHON, "-m", "maskcli", command, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=slave,
        cwd=tmp_path,
        env=clean_environment(TERM="xterm"),
    ) as process:
        os.close(slave)
        terminal, result = _read_both(master, process)
    assert process.returncode == 0
    assert re.search(message, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal))
    assert result.startswith(f'{{"schema": "maskcli/{command}/1"')
    assert "oneDNN" not in terminal


def _read_both(master: int, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    assert process.stdout is not None
    terminal, result = b"", b""
    streams = [master, process.stdout.fileno()]
    while streams:
        for stream in select.select(streams, [], [])[0]:
            try:
                data = os.read(stream, 65536)
            except OSError:  # A terminal whose other end has closed.
                data = b""
            if not data:
                streams.remove(stream)
            elif stream == master:
                terminal += data
            else:
                result += data
    process.wait()
    return terminal.decode(), result.decode()


def test_interrupt_exits_130_silently(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [PYTHON, "-m", "maskcli", "pad", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment(),
        # A shell lets its background processes ignore this signal, and the tests may be one of them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_closed_stderr_is_ignored(tmp_path: Path) -> None:
    line = f"'{PYTHON}' -m maskcli inspect --quiet 2>&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, env=clean_environment())
    assert (done.returncode, done.stdout) == (0, b"")


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("1 2 3 4 5 6 7 8 9\n" * 5_000)
    (tmp_path / "out.npy").write_text("old")
    line = f"ulimit -f 1; '{PYTHON}' -m maskcli pad big.txt --output out.npy"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=clean_environment())
    assert (done.returncode, done.stdout) == (3, "")
    assert "out.npy: expected a path that can be written to; received File too large" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.txt", "out.npy"]
    assert (tmp_path / "out.npy").read_text() == "old"


def test_traceback_option_shows_the_traceback(run: Callable[..., Output]) -> None:
    plain, traced = run("pad", "nofile"), run("pad", "nofile", "--traceback")
    assert plain.exit_status == traced.exit_status == 3
    assert "Traceback" not in plain.stderr
    assert "Traceback" in traced.stderr
    assert traced.stderr.endswith(plain.stderr)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "at most "),
        # With this bound it is TensorFlow that has no memory.
        (("--max-memory", "999999999999T"), "a model that Keras builds and runs; received"),
    ],
)
def test_model_that_keras_cannot_build_exits_4(
    run: Callable[..., Output], options: tuple[str, ...], expected: str
) -> None:
    arguments = ("inspect", "--units", 3 * 10**18, *options)
    output = run(*arguments)
    assert (output.exit_status, output) == (4, "")
    message = f"Error: --model embedding-lstm: expected {expected}"
    assert output.stderr.startswith(message)
    assert len(output.stderr.splitlines()) == 2
    traced = run(*arguments, "--traceback").stderr
    assert re.search(r'File ".*keras.*", line \d+', traced)
    assert message in traced


def test_internal_error_is_called_a_bug(call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskcli.sequences.padding.pad_ragged", lambda *_: 1 / 0)
    output = call("pad")
    assert (output.exit_status, output) == (70, "")
    assert "internal error: ZeroDivisionError" in output.stderr
    assert "This is a bug in maskcli" in output.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [PYTHON, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    return next(folder.glob("*.whl"))


def test_messages_escape_control_characters(call: Callable[..., Output]) -> None:
    output = call("pad", "no\x1b[2Jfile.txt")
    assert output.exit_status == 3
    assert "\x1b" not in output.stderr
    assert output.stderr.count("\n") == 2


def test_wheel_contains_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "py.typed",
        "sample_data/sample.txt",
        *(f"render/{name}.{kind}" for name in ("page/page", "graph/graph") for kind in ("css", "js")),
        *(f"schemas/{c}.json" for c in ("pad", "inspect", "loss", "models", "report")),
    ):
        assert f"maskcli/{name}" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed: pip install -e '.[lint]'")
def test_types_of_public_names_are_complete(wheel: Path, tmp_path: Path) -> None:
    """The wheel comes first on the path of Python, from which pyright takes its packages."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    programs = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [PYTHON, "-m", "pyright", "--verifytypes", "maskcli", "--ignoreexternal", "--outputjson"],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(tmp_path / "site"), PATH=programs),
        capture_output=True,
        text=True,
    )
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    assert len(symbols) > 1000
    untyped = {symbol["name"] for symbol in symbols if symbol["isExported"] and not symbol["isTypeKnown"]}
    # Its base class is one of Keras, which has no types.
    assert untyped <= {"maskcli.sample_data.tutorial.Twice"}


def test_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = clean_environment(PYTHONPATH=str(tmp_path / "site"))
    show = "import maskcli; print(maskcli.__file__)"
    where = subprocess.run([PYTHON, "-P", "-c", show], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert str(tmp_path) in where.stdout
    done = subprocess.run(
        [PYTHON, "-P", "-m", "maskcli", "pad"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "3215" in done.stdout
    schema = [PYTHON, "-P", "-m", "maskcli", "pad", "--json-schema"]
    assert subprocess.run(schema, capture_output=True, cwd=tmp_path, env=environment).returncode == 0
