"""The engine on clusters of Dask: real processes on the loopback, which die, stop, and lose their scheduler."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import maskcli
from maskcli.corpus.blocks import cut_files
from maskcli.corpus.counting import CountOptions, count_block
from maskcli.corpus.engines import dask as engine_module
from maskcli.corpus.engines import dask_client, dask_worker
from maskcli.corpus.engines.base import TaskAttempt
from maskcli.corpus.engines.dask import DaskEngine, _Run
from maskcli.corpus.engines.inline import InlineEngine
from maskcli.corpus.merging import merge_states
from maskcli.corpus.shard_tasks import BlockRows, StripesTask, join_lists, write_stripes
from maskcli.corpus.shards import pad_to_shards
from maskcli.errors import InputError, UsageError
from maskcli.records.options import EngineOptions
from maskcli.sequences.sources import Source
from tests.conftest import ROOT, Output, clean_environment
from tests.corpus import works
from tests.corpus.test_shards import SETTINGS, read_folder
from tests.corpus.works import Number

distributed = pytest.importorskip("distributed", reason="the extra distributed is not installed")
from tests.corpus.clusters import Cluster, start_cluster  # noqa: E402 - it needs psutil, which comes with distributed

NUMBERS = [Number(value) for value in range(40)]
ROWS = [[index % 9 + 1] * (index % 7) + [1000 + index % 211] for index in range(4000)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster"), 4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[DaskEngine]:
    with DaskEngine(cluster.address) as engine:
        yield engine


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose patience soon."""
    for name, seconds in (("FROZEN", 3), ("LOOKING", 1), ("ANSWERING", 4), ("WITHOUT_WORKERS", 5)):
        monkeypatch.setattr(dask_client, name, seconds)
    monkeypatch.setattr(engine_module, "LOOKING", 1)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write files of several formats, and return their names in the present directory."""
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text("".join(f"{json.dumps({'ids': row})}\n" for row in ROWS))
    Path("b.txt").write_text("".join(f"{' '.join(map(str, row))}\n" for row in ROWS))
    np.save("c.npy", np.arange(1, 12001).reshape(-1, 6) % 300)
    parquet.write_table(pa.table({"ids": ROWS}), "d.parquet", row_group_size=500)
    return ["a.jsonl", "b.txt", "c.npy", "d.parquet"]


def after(seconds: float, act: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


# Results.


def test_results_are_merged_in_order(engine: DaskEngine) -> None:
    done: list[int] = []
    outcome = engine.map_reduce(NUMBERS, works.wrap, works.join, on_done=lambda task: done.append(task.value))
    assert (outcome.result, outcome.failures) == (list(range(40)), ())
    assert sorted(done) == list(range(40))
    assert engine.map_reduce([], works.wrap, works.join).result is None


def test_merge_tree_has_the_shape_of_all_engines(engine: DaskEngine) -> None:
    shapes = [other.map_reduce(NUMBERS, works.unit, works.nest).result for other in (engine, InlineEngine())]
    assert shapes[0] == shapes[1]


def test_profile_has_the_same_bytes(cluster: Cluster, corpus: list[str]) -> None:
    """The workers of the cluster run in another directory than this process, whose paths are relative."""
    expected = maskcli.profile(corpus, block_size=9000, by=None).to_json()
    assert len(list(cut_files([Source(name) for name in corpus], block_size=9000))) > 16
    for options in ({"processes": 2}, {"scheduler": cluster.address}, {"scheduler": str(cluster.file)}):
        assert maskcli.profile(corpus, block_size=9000, **options).to_json() == expected


def test_local_cluster_of_a_worker_has_the_same_bytes(corpus: list[str]) -> None:
    assert maskcli.profile(corpus, workers=1, block_size=9000).to_json() == maskcli.profile(corpus).to_json()


def test_changed_file_is_read_again(cluster: Cluster, corpus: list[str]) -> None:
    before = maskcli.profile(corpus[0], scheduler=cluster.address)
    Path(corpus[0]).write_text("[5, 6]\n")
    os.utime(corpus[0], ns=(1, 1))
    assert (before.data.rows, maskcli.profile(corpus[0], scheduler=cluster.address).data.rows) == (4000, 1)


def test_workers_import_only_numpy(engine: DaskEngine, corpus: list[str]) -> None:
    tasks = list(cut_files([Source(name) for name in corpus[:2]]))
    engine.map_reduce(tasks, partial(count_block, options=CountOptions()), merge_states)
    modules = set(engine.map_reduce(NUMBERS[:1], works.list_imports, works.join).result or ())
    assert "numpy" in modules
    assert modules & {"tensorflow", "keras", "rich", "pandas", "torch", "jax"} == set()


def test_tasks_are_taken_a_few_ahead(engine: DaskEngine) -> None:
    taken: list[int] = []
    finished: list[int] = []
    ahead: list[int] = []

    def note(task: Number) -> None:
        finished.append(task.value)
        ahead.append(len(taken) - len(finished))

    tasks = (taken.append(number.value) or number for number in (Number(value) for value in range(300)))
    engine.map_reduce(tasks, works.wrap, works.join, on_done=note)
    assert max(ahead) <= 4 * engine_module.AHEAD


def test_trim_threshold_of_dask_costs_no_page_faults(engine: DaskEngine) -> None:
    """160 MiB are allocated and used; without the setting, glibc maps all 41,000 pages each time."""
    setting = engine.map_reduce(NUMBERS[:1], works.read_malloc_setting, works.join).result
    counts = engine.map_reduce(NUMBERS[:6], works.count_faults, works.join).result
    assert setting == [65536]
    assert min(counts or ()) < 4000


# Shards.


SHARDS = [{"shards": 6}, {"shards": 5, "buckets": 3, "format": "parquet"}]


@pytest.mark.parametrize("changes", SHARDS, ids=["shards", "buckets"])
def test_shards_have_the_same_bytes(cluster: Cluster, corpus: list[str], changes: dict[str, Any]) -> None:
    sources = [Source(name) for name in corpus]
    settings = dataclasses.replace(SETTINGS, **changes)
    pad_to_shards(sources, Path("one/out"), settings)
    cases: dict[str, dict[str, Any]] = {"two": {"processes": 2}, "four": {"scheduler": cluster.address}}
    if "buckets" in changes:
        cases["local"] = {"workers": 1}
    for name, options in cases.items():
        manifest = pad_to_shards(
            sources, Path(name, "out"), settings, options=EngineOptions(**options), block_size=9000
        )
        assert manifest.complete
        assert read_folder(Path(name, "out")) == read_folder(Path("one/out")), name


def test_shards_of_a_killed_run_are_continued(cluster: Cluster, corpus: list[str]) -> None:
    """The process of the command is killed in the middle; the second run finishes in this process."""
    Path(corpus[0]).write_text(Path(corpus[0]).read_text() * 60)
    command = [sys.executable, "-m", "maskcli", "pad", "a.jsonl", "-o", "out/", "--shards", "300"]
    run = partial(subprocess.Popen, env=clean_environment(PYTHONPATH=str(ROOT)))
    process = run([*command, "--scheduler", cluster.address])
    deadline = time.monotonic() + 30
    while len(list(Path("out").glob("*-of-00300.npy"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(1)  # Workers finish the shards that they have begun.
    assert not json.loads(Path("out/manifest.json").read_text())["complete"]
    assert run(command).wait() == 0
    pad_to_shards([Source("a.jsonl")], Path("whole/out"), dataclasses.replace(SETTINGS, shards=300))
    assert read_folder(Path("out")) == read_folder(Path("whole/out"))


def test_killed_worker_leaves_no_trace_in_shards(cluster: Cluster, corpus: list[str]) -> None:
    sources, settings = [Source(corpus[0])], dataclasses.replace(SETTINGS, shards=40)
    options, killed = EngineOptions(scheduler=cluster.address), []

    def kill(share: float) -> None:
        if share > 0.6 and not killed:
            killed.append(cluster.list_workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    pad_to_shards(sources, Path("out"), settings, kill, options, block_size=2000)
    pad_to_shards(sources, Path("whole/out"), settings)
    assert read_folder(Path("out")) == read_folder(Path("whole/out"))


def test_file_cut_while_shards_are_written_is_named(cluster: Cluster, corpus: list[str]) -> None:
    def cut(share: float) -> None:
        if share > 0.6:
            os.truncate(corpus[0], 100)

    options = EngineOptions(scheduler=cluster.address)
    with pytest.raises(InputError, match=r"a\.jsonl: expected files that stay the same .* a file that has changed"):
        pad_to_shards(
            [Source(corpus[0])], Path("out"), dataclasses.replace(SETTINGS, shards=40), cut, options, block_size=2000
        )
    assert not json.loads(Path("out/manifest.json").read_text())["complete"]


def test_directory_that_workers_do_not_see_is_named(engine: DaskEngine, corpus: list[str], tmp_path: Path) -> None:
    manifest = pad_to_shards([Source(corpus[0])], Path("out"), SETTINGS)
    block = BlockRows(next(cut_files([Source(corpus[0])])), 0, (0,))
    task = StripesTask(str(tmp_path / "elsewhere"), 0, 1, (block,), 0)
    with pytest.raises(InputError, match="elsewhere: expected a directory that all workers and this machine share"):
        engine.map_reduce([task], partial(write_stripes, manifest=manifest), join_lists)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pack 64 --workers 2", "Error: --workers: expected options that fit rows of 64 timesteps"),
        ("--shards 2 --workers 2 --processes 2", "Error: --workers: expected one of --processes, --scheduler and"),
        ("--maxlen 4 --processes 2", "Error: --processes: expected --shards or --buckets"),
    ],
)
def test_engine_that_cannot_work_is_refused(call: Callable[..., Output], options: str, message: str) -> None:
    done = call("pad", "-", "-o", "out/" if "--maxlen" not in options else "out.npy", *options.split(), stdin="1 2\n")
    assert (done, done.exit_status) == ("", 2)
    assert done.stderr.startswith(message)


def test_standard_input_needs_no_cluster(call: Callable[..., Output], cluster: Cluster) -> None:
    done = call("profile", "-", "--scheduler", cluster.address, stdin="1 2\n")
    assert (done, done.exit_status) == ("", 2)
    assert done.stderr.startswith("Error: --scheduler: expected files, or addresses such as s3://")


# Bad input.


def test_first_bad_input_is_the_error(engine: DaskEngine) -> None:
    with pytest.raises(InputError, match="bytes 5 to 6: expected a number; received 5"):
        engine.map_reduce(NUMBERS, works.reject_multiples_of_five, works.join)
    outcome = engine.map_reduce(NUMBERS, works.reject_multiples_of_five, works.join, keep_going=True)
    assert [failure.index for failure in outcome.failures] == [5, 10, 15, 20, 25, 30, 35]
    assert outcome.result == [number for number in range(40) if number % 5 or not number]


def test_bad_line_is_named(cluster: Cluster, corpus: list[str]) -> None:
    with Path(corpus[0]).open("a") as file:
        file.write('{"ids": [1, "x"]}\n')
    command = [sys.executable, "-m", "maskcli", "profile", "a.jsonl", "b.txt", "--scheduler", cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(PYTHONPATH=str(ROOT)))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: a.jsonl:4001, value 2: expected")
    done = subprocess.run([*command, "--keep-going", "-q"], env=clean_environment(PYTHONPATH=str(ROOT)))
    assert done.returncode == 1


def test_bug_in_a_worker_has_its_traceback(engine: DaskEngine) -> None:
    with pytest.raises(RuntimeError, match=r"bytes 0 to 1\n(.|\n)*in divide_by_zero\n(.|\n)*ZeroDivisionError"):
        engine.map_reduce(NUMBERS[:1], works.divide_by_zero, works.join)


def test_file_that_workers_do_not_see_is_named(cluster: Cluster, corpus: list[str]) -> None:
    """Each process has other files in ``/dev/fd``."""
    with Path(corpus[0]).open() as file:
        descriptor = os.dup2(file.fileno(), 200)
    try:
        with pytest.raises(
            InputError, match=r"^/dev/fd/200: expected a file that all workers can read; .* on \S+ that"
        ):
            maskcli.profile("/dev/fd/200", input_format="jsonl", scheduler=cluster.address)
    finally:
        os.close(descriptor)


def test_file_cut_meanwhile_is_named(engine: DaskEngine, corpus: list[str]) -> None:
    tasks = list(cut_files([Source(corpus[1])], block_size=1500))

    def cut(_task: object) -> None:
        lines = Path("b.txt").read_bytes().splitlines(keepends=True)
        Path("b.txt").write_bytes(b"".join(lines[:-700]))

    with pytest.raises(InputError, match=r"b\.txt: expected a file that stays the same .* one that has become shorter"):
        engine.map_reduce(tasks, partial(count_block, options=CountOptions()), merge_states, on_done=cut)


def test_data_of_this_process_needs_no_cluster(cluster: Cluster) -> None:
    with pytest.raises(UsageError, match=r"^scheduler: expected files, .* received data in memory"):
        maskcli.profile([[1, 2]], scheduler=cluster.address)
    with pytest.raises(UsageError, match=r"^workers: expected one of processes=, scheduler= and workers="):
        maskcli.profile("a.jsonl", processes=2, workers=2)


# Workers and schedulers that fail.


def test_killed_worker_does_not_change_the_result(cluster: Cluster, corpus: list[str]) -> None:
    tasks = list(cut_files([Source(corpus[0])], block_size=2000))
    counting = partial(count_block, options=CountOptions())
    killed: list[int] = []

    def kill(_task: object) -> None:
        if not killed:
            killed.append(cluster.list_workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    with DaskEngine(cluster.address) as engine:
        outcome = engine.map_reduce(tasks, counting, merge_states, on_done=kill)
    expected = InlineEngine().map_reduce(tasks, counting, merge_states)
    assert np.array_equal(outcome.result.groups[""].hashes.hashes, expected.result.groups[""].hashes.hashes)
    assert (outcome.result.rows, outcome.failures) == (4000, ())


class Finished:
    """A future that has finished, or whose result is lost."""

    def __init__(self, status: str) -> None:
        self.status = status

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)


def test_result_that_comes_while_others_are_fetched_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker had died, and another one was ready before the other results were here."""
    quick, late = Finished("finished"), Finished("lost")
    run = _Run(SimpleNamespace(client=None), [], None)  # type: ignore[arg-type]
    run._in_work = {quick: TaskAttempt(0, NUMBERS[0]), late: TaskAttempt(1, NUMBERS[1])}

    def gather(futures: list[Finished]) -> dict[Finished, list[int]]:
        late.status = "finished"
        return {future: [5] for future in futures}

    monkeypatch.setattr(run, "_gather", gather)
    assert [(item.index, result) for item, result in run._collect([quick, late])] == [(0, [5])]
    assert [(item.index, result) for item, result in run._collect(run._wait())] == [(1, [5])]


def test_block_that_kills_its_workers_is_named() -> None:
    with DaskEngine(workers=2) as engine:
        with pytest.raises(InputError) as raised:
            engine.map_reduce(NUMBERS, works.die_at_seven, works.join)
        outcome = engine.map_reduce(NUMBERS, works.die_at_seven, works.join, keep_going=True)
    message = str(raised.value)
    assert message.startswith(
        "numbers.txt, bytes 7 to 8: expected a worker that finishes this block; received a worker"
    )
    assert "died" in message
    assert outcome.result == [number for number in range(40) if number != 7]
    assert [failure.index for failure in outcome.failures] == [7]


def test_worker_without_memory_names_its_block(engine: DaskEngine) -> None:
    with pytest.raises(InputError, match=r"bytes 0 to 1: (.|\n)*received a worker without enough memory"):
        engine.map_reduce(NUMBERS[:1], works.use_up_memory, works.join)


@pytest.mark.usefixtures("hurry")
def test_frozen_worker_ends_the_run(tmp_path: Path) -> None:
    with start_cluster(tmp_path, 2) as cluster, DaskEngine(str(cluster.file)) as engine:
        timer = after(1, lambda: [os.kill(pid, signal.SIGSTOP) for pid in cluster.list_workers()])
        with pytest.raises(
            InputError, match=r"bytes 7 to 8: expected a worker that runs; received worker tcp://\S+ without"
        ):
            engine.map_reduce(NUMBERS[7:8], works.wait_at_seven, works.join)
        timer.join()


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    ("number", "received"), [(signal.SIGKILL, "a connection that ended"), (signal.SIGSTOP, "no answer for 4 seconds")]
)
def test_lost_scheduler_ends_the_run(tmp_path: Path, number: int, received: str) -> None:
    with start_cluster(tmp_path, 1) as cluster, DaskEngine(str(cluster.file)) as engine:
        timer = after(0.5, lambda: os.kill(cluster.scheduler.pid, number))
        with pytest.raises(InputError, match=f"a scheduler that answers until the end of the run; received {received}"):
            engine.map_reduce(NUMBERS[7:8], works.wait_at_seven, works.join)
        timer.join()


def test_patience_ends_within_a_minute() -> None:
    """After the last sign of life: until it is missed, the answer, and the close of the client."""
    assert 2 * dask_client.LOOKING + dask_client.FROZEN + 2 < 60
    assert 2 * dask_client.LOOKING + dask_client.ANSWERING + 2 < 60


def test_other_versions_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = dask_worker.read_worker_versions()
    other = mine._replace(maskcli="9.9")
    monkeypatch.setattr(dask_client, "read_worker_versions", lambda: other)
    with pytest.raises(UsageError, match=rf"^worker tcp://\S+: expected maskcli 9\.9 .*; received {mine}"):
        DaskEngine(cluster.address).__enter__()
    # A worker that joins later is asked with its first task.
    monkeypatch.undo()
    monkeypatch.setattr(engine_module, "read_worker_versions", lambda: mine._replace(python="3.99"))
    with pytest.raises(UsageError, match="with Python 3"):
        DaskEngine(cluster.address).map_reduce(NUMBERS, works.wrap, works.join)


def test_wrong_address_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_client, "CONNECTING", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://1", str(tmp_path / "missing.json")):
        with pytest.raises(InputError, match=f"^--scheduler {address}: expected the address of a Dask scheduler"):
            DaskEngine(address).__enter__()


def test_missing_package_is_named() -> None:
    code = "import sys; sys.modules['distributed'] = None; from maskcli.cli import run; run(sys.argv[1:])"
    command = [sys.executable, "-c", code, "profile", "sample_data/sample.txt", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=clean_environment())
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
    assert done.stderr.startswith("Error: --workers: expected the package distributed, which runs clusters of Dask")
    assert "pip install" in done.stderr


SCRIPT = """
from maskcli.corpus.engines.base import TaskAttempt
from maskcli.corpus.engines.dask import DaskEngine, _Run
from tests.corpus import works
from tests.corpus.test_shards import SETTINGS, read_folder
from tests.corpus.works import Number
from maskcli.entry import leave
import signal
signal.signal(signal.SIGINT, leave)
# No guard against a second import of this script, which multiprocessing requires.
with DaskEngine(workers=2) as engine:
    print(engine.map_reduce([Number(value) for value in range(9)], works.wrap, works.join).result, flush=True)
    engine.map_reduce([Number(7)], works.wait_at_seven, works.join)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_local_cluster_ends_with_its_parent(number: int) -> None:
    """Also a worker that is stopped ends, and its folder is removed."""
    import psutil

    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{list(range(9))}\n"
    children = psutil.Process(process.pid).children(recursive=True)
    folder = next(word for word in children[0].cmdline() if "serve_cluster" in word).split("'")[-2]
    assert (len(children) > 2, Path(folder).is_dir()) == (True, True)
    children[-1].suspend()
    process.send_signal(number)
    process.communicate()
    deadline = time.monotonic() + 10
    while (any(map(_is_alive, children)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (list(filter(_is_alive, children)), Path(folder).exists()) == ([], False)


def _is_alive(process: Any) -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
