"""Shared by the benchmarks: run alternatives in turn, measure them, and print tables.

A B A B ... instead of A A B B: if the machine slows down, it slows down all alternatives.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")
MIB = 2**20
Measurement = dict[str, Any]
"""One run: its ``seconds``, its ``bytes``, and whether its result is ``right``; or the ``missing`` library."""


def read_peak(reset: bool = False) -> int:
    """Return the peak memory of this process in bytes, since the last reset; 0 on systems other than Linux."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0


def measure(work: Callable[[], T]) -> tuple[T, Measurement]:
    """Return the result of ``work``, its seconds, and the bytes that it added to the memory of this process."""
    before = read_peak(reset=True)
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return result, {"seconds": seconds, "bytes": read_peak() - before}


def run_process(
    command: Sequence[str],
    *,
    stdout: IO[str] | int = subprocess.DEVNULL,
    stderr: IO[str] | int = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, Measurement]:
    """Run a process; return its exit code, its seconds, those of its processors, and its peak memory in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=stdout, stderr=stderr, cwd=cwd, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    work = usage.ru_utime + usage.ru_stime
    return process.returncode, {"seconds": seconds, "cpu": work, "bytes": usage.ru_maxrss * unit}


def run_family(
    command: Sequence[str], *, cwd: Path | None = None, log: IO[str] | int = subprocess.DEVNULL
) -> tuple[int, Measurement]:
    """Run a process that starts others; return its exit code and its measurement.

    ``cpu`` are the seconds of the processors of all processes, ``bytes`` is the peak memory of the largest process, and
    ``all_bytes`` that of all at the same time. Processes are looked at twenty times a second. Systems other than Linux
    show only the first process, and the time of those that it waited for.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=cwd)
    rounds: list[int] = []
    peaks: dict[int, int] = {}
    work: dict[int, float] = {}
    ended = threading.Event()
    watch = threading.Thread(target=_watch_family, args=(process.pid, rounds, peaks, work, ended))
    watch.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    ended.set()
    watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    peaks[process.pid] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode, {
        "seconds": seconds,
        # The usage lacks processes that were killed with their parents; the watch lacks those that lived a moment.
        "cpu": max(usage.ru_utime + usage.ru_stime, sum(work.values())),
        "bytes": max(peaks.values()),
        "all_bytes": max([peaks[process.pid], *rounds]),
    }


def _watch_family(
    root: int, rounds: list[int], peaks: dict[int, int], work: dict[int, float], ended: threading.Event
) -> None:
    """Write the peak memory and the seconds of a process and all that it starts, by their numbers, until it ends.

    ``rounds`` receives the sum of the peaks of the processes that live at the same time.
    """
    while not ended.wait(0.05):
        family = [root]
        for pid in family:
            folder = Path(f"/proc/{pid}")
            # A process may end at any moment.
            with contextlib.suppress(OSError, IndexError, ValueError):
                peaks[pid] = 1024 * int((folder / "status").read_text().split("VmHWM:")[1].split()[0])
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                work[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                for thread in (folder / "task").iterdir():
                    family += map(int, (thread / "children").read_text().split())
        rounds.append(sum(peaks.get(pid, 0) for pid in family))


def run_command(command: Sequence[str], env: Mapping[str, str] | None = None) -> Measurement:
    """Run a process that must succeed; return its seconds and its peak memory in bytes."""
    code, measurement = run_process(command, env=env)
    if code:
        raise SystemExit(f"{command} failed: exit code {code}")
    return measurement


def run_on_terminal(command: Sequence[str], env: Mapping[str, str] | None = None) -> Measurement:
    """Run a process that must succeed, with a terminal as its standard output; return the measurement."""
    master, slave = os.openpty()
    with os.fdopen(master, "rb", buffering=0) as screen:
        reader = threading.Thread(target=_read_all, args=(screen,))
        reader.start()
        code, measurement = run_process(command, stdout=slave, env=env)
        os.close(slave)
        reader.join()
    if code:
        raise SystemExit(f"{command} failed: exit code {code}")
    return measurement


def _read_all(screen: IO[bytes]) -> None:
    """Read the output of a process, which waits for a reader; Linux reports the end of a terminal as an error."""
    with contextlib.suppress(OSError):
        while screen.read(2**16):
            pass


def read_measurement(command: Sequence[str]) -> Measurement:
    """Run a process and return the JSON on its last line."""
    process = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{process.stderr}")
    measurement: Measurement = json.loads(process.stdout.splitlines()[-1])
    return measurement


def run_in_turn(
    names: Iterable[str], runs: int, run_once: Callable[[str], Measurement]
) -> dict[str, list[Measurement]]:
    """Return the measurements of each alternative, without those that lack a library."""
    measurements: dict[str, list[Measurement]] = {name: [] for name in names}
    for _ in range(runs):
        for name in list(measurements):
            measurement = run_once(name)
            if "missing" in measurement:
                print(f"{name}: skipped, {measurement['missing']}", file=sys.stderr)
                del measurements[name]
            elif not measurement["right"]:
                raise SystemExit(f"{name}: wrong result")
            else:
                measurements[name].append(measurement)
    return measurements


def run_pairs(
    first: Callable[[], Measurement], second: Callable[[], Measurement], runs: int
) -> tuple[list[Measurement], list[Measurement]]:
    """Return the measurements of two alternatives that run in turn."""
    pairs = [(first(), second()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def compute_median(runs: Sequence[Measurement], key: str = "seconds") -> float:
    """Return the median over runs."""
    return statistics.median(run[key] for run in runs)


def compute_ratio(runs: Sequence[Measurement], base_runs: Sequence[Measurement], key: str = "seconds") -> float:
    """Return the median of the ratios, each taken within one turn."""
    return statistics.median(run[key] / base_run[key] for run, base_run in zip(runs, base_runs, strict=True))


def print_header(*cells: str) -> None:
    """Print the header of a Markdown table."""
    print_row(*cells)
    print_row(*["---"] * len(cells))


def print_row(*cells: str) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)
