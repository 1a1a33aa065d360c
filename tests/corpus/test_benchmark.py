"""The benchmark of a corpus runs, and all alternatives return the same results."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow(share=1 / 2)
PEERS = ("datasets", "polars")


def run_benchmark(folder: Path, name: str, *options: str) -> str:
    process = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / name, *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def list_rows(output: str, start: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(start)]


needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs distributed")


@needs_dask
def test_engines_return_equal_results(tmp_path: Path) -> None:
    output = run_benchmark(tmp_path, "corpus.py", "--rows", "2000", "--peers", "none")
    assert len(list_rows(output, "| `maskcli profile`")) == 4
    assert len(list_rows(output, "| `maskcli pad --shards`")) == 4


@needs_dask
@pytest.mark.skipif(not all(map(importlib.util.find_spec, PEERS)), reason=f"needs {' and '.join(PEERS)}")
def test_peers_return_equal_results(tmp_path: Path) -> None:
    output = run_benchmark(tmp_path, "corpus.py", "--rows", "2000")
    for peer in ("`datasets` `map`", "Dask bag", "polars"):
        assert len(list_rows(output, f"| {peer}")) == 2


def test_wrong_result_ends_the_benchmark(tmp_path: Path) -> None:
    code = """
import sys
from corpus import Path, Runner, read_counts, run_in_turn

script = "import json; json.dump({'lengths': [[2, 1]], 'ids': [1, 2, NUMBER]}, open('result.json', 'w'))"
commands = {name: [sys.executable, "-c", script.replace("NUMBER", name[-1])] for name in sys.argv[1:]}
run_in_turn(commands, 1, Runner(Path(), commands, read_counts).run_once)
"""
    for names, message in ((["first 2", "other 2"], ""), (["first 2", "other 3"], "other 3: wrong result\n")):
        process = subprocess.run(
            [sys.executable, "-c", code, *names],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), *filter(None, sys.path)])},
        )
        assert process.stderr == message


def test_merge_tree_keeps_all_rows(tmp_path: Path) -> None:
    output = run_benchmark(
        tmp_path, "merge_tree.py", "--blocks", "600", "--workers", "20", "--block-size", "1M", "--tasks", "0"
    )
    assert list_rows(output, "| blocks of 64 MiB")
