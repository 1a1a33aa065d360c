"""Files that claim, or unpack to, more than they should are refused with the numbers, before memory is taken."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maskcli.errors import InputError, UsageError
from maskcli.sequences.bounds import check_memory, format_size, get_memory_bound, parse_size, set_memory_bound
from tests.conftest import Output, clean_environment


@pytest.fixture(autouse=True)
def reset_bound() -> Iterator[None]:
    yield
    set_memory_bound(None)


@pytest.mark.parametrize(
    ("text", "size"), [("1M", 2**20), ("500m", 500 * 2**20), ("4G", 2**32), ("2 GiB", 2**31), ("3000000", 3_000_000)]
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "1K", "-1G", "4X", "1e9", "G"])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="expected a size of at least 1M"):
        parse_size(text)


def test_format_size() -> None:
    assert [format_size(size) for size in (5, 2048, 3 * 2**29, 2**40)] == ["5 bytes", "2 KiB", "1.5 GiB", "1 TiB"]


def test_bound_is_exact() -> None:
    set_memory_bound(2**20)
    check_memory(2**20, "a batch")
    with pytest.raises(InputError, match="received 1 MiB for a batch"):
        check_memory(2**20 + 1, "a batch")
    set_memory_bound(None)
    assert get_memory_bound() > 2**26


def make_header(rows: int, columns: int) -> bytes:
    header = io.BytesIO()
    description = {"descr": "<i4", "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def write_bomb(path: Path) -> None:
    """Write a file that unpacks to, or is padded to, 64 MiB or more."""
    zeros = b"1 2 3 4 5 6 7 8\n" * 2**16
    match path.name:
        case "claim.npy":
            path.write_bytes(make_header(2**20, 100))
        case "claim.npz":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("tokens.npy", make_header(2**20, 100))
        case "unpacks.npz":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("tokens.npy", make_header(2**20, 16) + bytes(2**26))
        case "row.txt.gz":
            path.write_bytes(gzip.compress(zeros.replace(b"\n", b" ") * 64))
        case "lines.txt.gz":
            path.write_bytes(gzip.compress(zeros * 64))
        case "object.json.gz":
            path.write_bytes(gzip.compress(b'{"a": [[1]' + b", [1, 2]" * 2**22 + b"]}"))
        case "rows.jsonl":
            path.write_text("[" + "1," * 2**16 + "1]\n" + "[1]\n" * 1000)


@pytest.mark.parametrize(
    "name", ["claim.npy", "claim.npz", "unpacks.npz", "row.txt.gz", "lines.txt.gz", "object.json.gz", "rows.jsonl"]
)
def test_bomb_is_refused_in_bounded_memory(name: str, tmp_path: Path) -> None:
    write_bomb(tmp_path / name)
    # The limit of the process is that of an interpreter with NumPy, and 48 MiB more.
    program = (
        "import resource, sys, numpy, maskcli.cli, maskcli.sequences.files, maskcli.commands.pad\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**26, -1))\n"
        "sys.exit(maskcli.cli.run(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, "pad", str(tmp_path / name), "--max-memory", "16M"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert "iB" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "bug" not in done.stderr
    assert "memory: expected enough of it" not in done.stderr


def test_bound_lets_ordinary_files_through(call: Callable[..., Output], tmp_path: Path) -> None:
    rows = np.arange(1, 200_001, dtype=np.int32).reshape(-1, 10)
    np.save(tmp_path / "a.npy", rows)
    np.savez_compressed(tmp_path / "a.npz", tokens=rows)
    np.save(tmp_path / "f.npy", np.asfortranarray(rows))
    for name in ("a.npy", "a.npz", "f.npy"):
        output = call("pad", tmp_path / name, "--max-memory", "8M", "--output", tmp_path / "out.npy", "--quiet")
        assert output.exit_status == 0, output.stderr
        assert (np.load(tmp_path / "out.npy") == rows).all()
