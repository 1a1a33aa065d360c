"""Work shared by threads: the same results in the same order, and no remaining threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from maskcli.sequences import threads
from maskcli.sequences.threads import map_in_order, prefetch

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_map_in_order_keeps_order(monkeypatch: pytest.MonkeyPatch, processors: int, count: int) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: processors)

    def work(item: int) -> int:
        time.sleep((item % 3) / 500)
        return item * item

    assert list(map_in_order(work, range(count))) == [(item, item * item) for item in range(count)]


@pytest.mark.parametrize("take", [prefetch, lambda items: (item for item, _ in map_in_order(lambda item: item, items))])
def test_only_a_few_items_are_taken_ahead(
    monkeypatch: pytest.MonkeyPatch, take: Callable[[Iterator[int]], Iterator[int]]
) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: 2)
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    for item in take(items()):
        assert taken[-1] <= item + threads.AHEAD


@pytest.mark.parametrize("bad", [0, 5])
def test_map_in_order_raises_in_order_and_ends_threads(monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: 2)

    def work(item: int) -> int:
        return 1 // (item - bad) and item

    results = []
    with pytest.raises(ZeroDivisionError):
        for item, _ in map_in_order(work, range(100)):
            results.append(item)
    assert results == list(range(bad))
    iterator = map_in_order(work, range(bad + 1, 100))
    for _ in range(5):
        next(iterator)
    iterator.close()
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


@pytest.mark.parametrize(("processors", "expected"), [(1, 1), (2, 2)])
def test_calling_thread_is_one_of_the_workers(monkeypatch: pytest.MonkeyPatch, processors: int, expected: int) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: processors)
    workers = set()

    def work(_item: int) -> None:
        workers.add(threading.current_thread())
        time.sleep(0.001)

    assert len(list(map_in_order(work, range(50), before=0))) == 50
    assert threading.current_thread() in workers
    assert len(workers) == expected


def test_error_in_calling_thread_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: 2)
    calling, failed, results = threading.current_thread(), [], []

    def work(item: int) -> int:
        if threading.current_thread() is calling:
            failed.append(item)
            raise ValueError(item)
        time.sleep(0.001)
        return item

    with pytest.raises(ValueError) as raised:
        for item, _ in map_in_order(work, range(50), before=0):
            results.append(item)
    assert results == list(range(len(results)))
    assert raised.value.args == (min(failed),) == (len(results),)


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_prefetch_keeps_order(monkeypatch: pytest.MonkeyPatch, processors: int, count: int) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: processors)
    takers = set()

    def items() -> Iterator[int]:
        for item in range(count):
            takers.add(threading.current_thread())
            yield item

    assert list(prefetch(items())) == list(range(count))
    assert (takers <= {threading.current_thread()}) == (processors == 1 or count <= threads.BEFORE_THREADS + 1)


def test_prefetch_raises_in_order_and_ends_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: 2)

    def items() -> Iterator[int]:
        yield from range(7)
        raise ValueError

    iterator = prefetch(items())
    assert [next(iterator) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError):
        next(iterator)
    iterator = prefetch(range(100))
    for _ in range(5):
        next(iterator)
    iterator.close()
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]
