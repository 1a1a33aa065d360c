"""Give maskcli one input, and compare its answer with the naive reader."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import random
import signal
import traceback
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from maskcli.errors import MaskcliError
from maskcli.records.layout import Layout
from maskcli.sequences import blocks
from maskcli.sequences.files import read_sequences
from maskcli.sequences.formats import blockwise, json_array
from maskcli.sequences.padding import pad_ragged
from tests.fuzz import generate, naive

SECONDS = 10
"""The time after which an input counts as a hang."""
SUFFIXES = {"text": "txt"}
TEXTS = ("json", "jsonl", "text", "csv")


class Hang(BaseException):
    """An input took longer than it may; no handler of errors catches it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The answer to one input.

    Attributes:
        kind: ``equal``, ``refused``, ``not compared``, or a fault: ``traceback``, ``hang``, ``wrong value``.
        message: of a fault.
    """

    kind: str
    message: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether maskcli is at fault."""
        return self.kind in ("traceback", "hang", "wrong value")


@dataclasses.dataclass(frozen=True)
class Input:
    """One file, and how it is read.

    Attributes:
        entry: the format.
        data: the content.
        block: the bytes that are read at once.
        layout: of the batch.
    """

    entry: str
    data: bytes
    block: int
    layout: Layout


def draw_input(seed: int, index: int) -> Input:
    """Return an input; it depends on nothing but the numbers."""
    rng = random.Random(f"{seed}/{index}")
    entry = rng.choices(list(generate.SHARES), list(generate.SHARES.values()))[0]
    data = generate.WRITERS[entry](generate.draw_rows(rng), rng)
    if rng.random() < 0.95:
        data = generate.damage(data, entry, rng)
    layout = Layout(
        padding=rng.choice(["pre", "post"]),
        truncating=rng.choice(["pre", "post"]),
        maxlen=rng.choice([None, None, 1, 5]),
        value=rng.choice([0, 0, -1, 7]),
        dtype="int64",
    )
    return Input(entry, data, rng.choice([16, 64, 256, 2**18]), layout)


@contextlib.contextmanager
def limit_time(seconds: float = SECONDS) -> Iterator[None]:
    """Raise ``Hang`` in code that takes longer than it may."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def small_blocks(size: int) -> Iterator[None]:
    """Read small files with the fast readers, in blocks of this size."""
    before = blocks.BLOCK, json_array.BLOCK, blockwise.SMALL
    blocks.BLOCK, json_array.BLOCK, blockwise.SMALL = size, size, 0
    try:
        yield
    finally:
        blocks.BLOCK, json_array.BLOCK, blockwise.SMALL = before


def judge(case: Input, folder: Path) -> Outcome:
    """Read an input with maskcli, pad it, and compare both with the naive way."""
    path = folder / f"input.{SUFFIXES.get(case.entry, case.entry)}"
    path.unlink(missing_ok=True)  # ext4 writes a file to the disk at once if it is truncated to be written again.
    path.write_bytes(case.data)
    needs_field = case.entry in ("csv", "npz", "arrow", "parquet") or has_records(case)
    try:
        with limit_time(), small_blocks(case.block), warnings.catch_warnings(action="error"):
            ragged = read_sequences([str(path)], case.entry, naive.FIELD if needs_field else None).ragged
            tokens = pad_ragged(ragged, case.layout).tokens.tolist()
    except MaskcliError as error:
        return Outcome("refused", str(error))
    except Hang:
        return Outcome("hang", f"more than {SECONDS} s")
    except Exception:
        return Outcome("traceback", traceback.format_exc())
    return compare(case, [ragged[index].tolist() for index in range(len(ragged))], tokens)


def compare(case: Input, rows: naive.Rows, tokens: naive.Rows) -> Outcome:
    """Compare sequences and their batch with those of the naive reader."""
    expected = naive.read_naively(unpack(case.data), case.entry)
    if expected is None:
        return Outcome("not compared")
    if rows != expected:
        return Outcome("wrong value", f"maskcli {json.dumps(rows)[:500]}\nnaive   {json.dumps(expected)[:500]}")
    layout = case.layout
    batch = naive.pad_naively(expected, layout.padding, layout.truncating, layout.maxlen, layout.value)
    if tokens != batch:
        return Outcome("wrong value", f"maskcli {json.dumps(tokens)[:500]}\nnaive   {json.dumps(batch)[:500]}")
    return Outcome("equal")


def has_records(case: Input) -> bool:
    """Return whether the first value of a JSON file is an object."""
    if case.entry not in ("json", "jsonl"):
        return False
    text = unpack(case.data).removeprefix(b"\xef\xbb\xbf").lstrip()
    return text[:1] == b"{" or text.removeprefix(b"[").lstrip()[:1] == b"{"


def unpack(data: bytes) -> bytes:
    """Return data without its compression."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data
