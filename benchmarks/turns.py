"""What benchmarks share: ways that run in turn, each in a process of its own, and what is told of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Said = dict[str, Any]
"""What is said of one run: its ``seconds``, its ``bytes`` and whether it is ``right``; or else what is ``missing``."""


def memory(reset: bool = False) -> int:
    """Return the most bytes that this process held since the last reset; 0 where nobody tells."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0


def timed(work: Callable[[], T]) -> tuple[T, Said]:
    """Return what ``work`` returns, and the seconds it took and the bytes it added to what was held before."""
    before = memory(reset=True)
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return result, {"seconds": seconds, "bytes": memory() - before}


def said_by(command: Sequence[str]) -> Said:
    """Return what a process prints last, as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    said: Said = json.loads(done.stdout.splitlines()[-1])
    return said


def in_turn(names: Iterable[str], runs: int, once: Callable[[str], Said]) -> dict[str, list[Said]]:
    """Return what is said of each run of each way, A B C A B C ..., without those that lack a library."""
    seen: dict[str, list[Said]] = {name: [] for name in names}
    for _ in range(runs):
        for name in list(seen):
            said = once(name)
            if "missing" in said:
                print(f"{name}: left out, {said['missing']}", file=sys.stderr)
                del seen[name]
            elif not said["right"]:
                raise SystemExit(f"{name}: another result")
            else:
                seen[name].append(said)
    return seen


def median(runs: Sequence[Said], what: str = "seconds") -> float:
    """Return the median over runs."""
    return statistics.median(run[what] for run in runs)


def ratio(runs: Sequence[Said], others: Sequence[Said]) -> float:
    """Return the median of what seconds are to those of the other way in the same turn."""
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(runs, others, strict=True))


def print_head(*cells: str) -> None:
    """Print the head of a table in Markdown."""
    print_row(*cells)
    print_row(*["---"] * len(cells))


def print_row(*cells: str) -> None:
    """Print a row of a table in Markdown."""
    print(f"| {' | '.join(cells)} |", flush=True)
