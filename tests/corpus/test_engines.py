"""Engines: one result for any number of workers, errors as values, and workers that die."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.corpus.blocks import BlockTask
from maskcli.corpus.engines import choice, processes
from maskcli.corpus.engines.base import FAN_IN, Engine, MergeTree
from maskcli.corpus.engines.inline import InlineEngine
from maskcli.corpus.engines.processes import BEATING, FROZEN, ProcessEngine
from maskcli.errors import InputError
from tests.conftest import ROOT
from tests.corpus import works
from tests.corpus.works import Number

pytestmark = pytest.mark.slow(share=1 / 2)

NUMBERS = [Number(value) for value in range(40)]
ENGINES = [InlineEngine(), ProcessEngine(1), ProcessEngine(2)]
BY_NAME = pytest.mark.parametrize("engine", ENGINES, ids=["inline", "1 process", "2 processes"])


@BY_NAME
def test_results_are_merged_in_order(engine: Engine) -> None:
    done: list[int] = []
    outcome = engine.map_reduce(NUMBERS, works.wrap, works.join, on_done=lambda task: done.append(task.value))
    assert outcome.result == list(range(40))
    assert outcome.failures == ()
    assert sorted(done) == list(range(40))


@BY_NAME
def test_no_tasks_have_no_result(engine: Engine) -> None:
    assert engine.map_reduce([], works.wrap, works.join).result is None


def test_merge_tree_has_one_shape_for_all_engines() -> None:
    shapes = [engine.map_reduce(NUMBERS, works.unit, works.nest).result for engine in ENGINES]
    assert shapes[0] == (tuple(range(16)), tuple(range(16, 32)), tuple(range(32, 40)))
    assert shapes[0] == shapes[1] == shapes[2]


@given(count=st.integers(0, 700), seed=st.integers(0, 2**32))
def test_merge_tree_does_not_depend_on_order(count: int, seed: int) -> None:
    in_order, shuffled = MergeTree(works.nest), MergeTree(works.nest)
    for index in range(count):
        in_order.add(index, index)
    for index in random.Random(seed).sample(range(count), count):
        shuffled.add(index, index)
    expected = in_order.finish()
    assert shuffled.finish() == expected
    flat = [expected] if count == 1 else list(expected or ())
    while any(isinstance(item, tuple) for item in flat):
        flat = [inner for item in flat for inner in (item if isinstance(item, tuple) else (item,))]
    assert flat == list(range(count))


def test_merge_tree_keeps_few_results() -> None:
    tree, most = MergeTree(works.join), 0
    for index in range(1, 5000):  # The first one is late.
        tree.add(index, [index])
        most = max(most, tree.waiting)
    tree.add(0, [0])
    assert most <= 2 * 4 * FAN_IN  # Two incomplete groups on each of four levels.
    assert tree.finish() == list(range(5000))


@BY_NAME
def test_first_bad_input_is_the_error(engine: Engine) -> None:
    with pytest.raises(InputError) as raised:
        engine.map_reduce(NUMBERS, works.reject_multiples_of_five, works.join)
    assert str(raised.value) == "numbers.txt, bytes 5 to 6: expected a number; received 5.\nCount again."


def test_bad_input_ends_the_run_soon() -> None:
    taken: list[int] = []
    numbers = (taken.append(value) or Number(value) for value in range(1000))
    with pytest.raises(InputError, match="bytes 5 to 6"):
        ProcessEngine(2).map_reduce(numbers, works.reject_multiples_of_five, works.join)
    assert len(taken) < 500


@BY_NAME
def test_keep_going_leaves_bad_input_out(engine: Engine) -> None:
    outcome = engine.map_reduce(NUMBERS, works.reject_multiples_of_five, works.join, keep_going=True)
    assert outcome.result == [number for number in range(40) if number % 5 or not number]
    assert [failure.index for failure in outcome.failures] == [5, 10, 15, 20, 25, 30, 35]
    assert outcome.failures[-1].error.where == "numbers.txt, bytes 35 to 36"


def test_dead_worker_names_its_block() -> None:
    with pytest.raises(InputError) as raised:
        ProcessEngine(2).map_reduce(NUMBERS, works.die_at_seven, works.join)
    message = str(raised.value)
    assert message.startswith("numbers.txt, bytes 7 to 8: expected a worker that finishes this block")
    assert "received a worker that was killed by SIGKILL, 2 times" in message


def test_dead_worker_is_replaced(tmp_path: Path) -> None:
    numbers = [Number(value, str(tmp_path)) for value in range(20)]
    outcome = ProcessEngine(2).map_reduce(numbers, works.die_once_at_seven, works.join)
    assert outcome.result == list(range(20))


def test_dead_workers_do_not_stop_the_others() -> None:
    outcome = ProcessEngine(2).map_reduce(NUMBERS, works.die_at_seven, works.join, keep_going=True)
    assert outcome.result == [number for number in range(40) if number != 7]
    assert [failure.index for failure in outcome.failures] == [7]


def test_worker_without_memory_names_its_block() -> None:
    with pytest.raises(InputError, match=r"bytes 0 to 1: (.|\n)*received a worker without enough memory"):
        ProcessEngine(1).map_reduce(NUMBERS[:1], works.use_up_memory, works.join)


def test_bug_in_a_worker_has_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"bytes 0 to 1\n(.|\n)*in divide_by_zero\n(.|\n)*ZeroDivisionError"):
        ProcessEngine(1).map_reduce(NUMBERS[:1], works.divide_by_zero, works.join)


def test_worker_imports_no_tensorflow() -> None:
    outcome = ProcessEngine(1).map_reduce(NUMBERS[:1], works.list_imports, works.join)
    assert {"tensorflow", "keras", "click", "rich"} & set(outcome.result or ()) == set()


def test_two_workers_are_two_processes() -> None:
    pids = ProcessEngine(2).map_reduce(NUMBERS[:6], works.report_process, works.join).result
    assert len(set(pids or ())) == 2


def test_tasks_are_taken_a_few_ahead() -> None:
    taken: list[int] = []
    ahead: list[int] = []

    def tasks():
        for number in NUMBERS:
            taken.append(number.value)
            yield number

    finished: list[int] = []

    def note(task: Number) -> None:
        finished.append(task.value)
        ahead.append(len(taken) - len(finished))

    ProcessEngine(2).map_reduce(tasks(), works.wrap, works.join, on_done=note)
    assert max(ahead) <= 2


SCRIPT = """
import time
from maskcli.corpus.engines.processes import BEATING, FROZEN, ProcessEngine
from tests.corpus import works
from tests.corpus.works import Number
# No guard against a second import of this script, which multiprocessing requires.
print(ProcessEngine(2).map_reduce([Number(value) for value in range(9)], works.wrap, works.join).result, flush=True)
ProcessEngine(2).map_reduce([Number(0)] * 1000, works.report_process, works.join, on_done=lambda _: print("on", flush=True))
"""


def test_workers_end_with_a_killed_parent() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{list(range(9))}\n"
    assert process.stdout.readline() == "on\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(_is_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [child for child in children if _is_alive(child)] == []


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_partial_functions_reach_workers() -> None:
    outcome = ProcessEngine(2).map_reduce(NUMBERS, partial(works.wrap), works.join)
    assert outcome.result == list(range(40))


def make_tasks(size: int, count: int = 9) -> list[BlockTask]:
    return [BlockTask("a.jsonl", "jsonl", "lines", size * index, size, size) for index in range(count)]


@pytest.mark.parametrize(
    ("size", "processors", "processes", "workers"),
    [(2**26, 4, None, 4), (2**26, 2, None, 1), (2**20, 4, None, 1), (2**20, 2, 3, 3), (2**26, 64, None, 9)],
)
def test_engine_suits_the_data_and_the_machine(
    monkeypatch: pytest.MonkeyPatch, size: int, processors: int, processes: int | None, workers: int
) -> None:
    monkeypatch.setattr(choice, "count_processors", lambda: processors)
    engine = choice.choose_engine(make_tasks(size), processes)
    assert (engine._most_workers if isinstance(engine, ProcessEngine) else 1) == workers


def test_frozen_worker_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FROZEN", 3)
    monkeypatch.setattr(processes, "BEATING", 1)
    # A slow block whose worker gives signs of life is waited for, as is one that only uses its processor.
    assert ProcessEngine(1).map_reduce([Number(2), Number(3)], works.work_long, works.join).result == [2, 3]
    with pytest.raises(
        InputError, match=r"bytes 7 to 8: expected a worker that runs; received process \d+ without a sign"
    ):
        ProcessEngine(2).map_reduce(NUMBERS[:9], works.stop_at_seven, works.join)
    assert processes._running == []


def test_patience_with_processes_ends_within_a_minute() -> None:
    assert FROZEN + 2 * BEATING < 60
