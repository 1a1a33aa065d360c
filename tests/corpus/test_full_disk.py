"""A disk that is full: a clean message, nothing half written, and a run that continues when there is room."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Output
from tests.corpus.test_shards import ALL_FORMATS, read_folder

pytestmark = pytest.mark.quick


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def write_corpus(folder: Path) -> None:
    (folder / "a.txt").write_text("".join(f"{' '.join(map(str, range(1, 1 + i % 90)))}\n" for i in range(4000)))


@pytest.mark.parametrize("form", ALL_FORMATS)
def test_shards_on_a_full_disk_are_continued(
    call: Callable[..., Output], tmp_path: Path, disk: Path, form: str
) -> None:
    write_corpus(tmp_path)
    command = ["pad", "a.txt", "--shards", "20", "--format", form, "--dtype", "int64", "--output"]
    filler = disk / "filler"
    filler.write_bytes(b"x" * (2**20 - 100_000 if form in ("npz", "parquet") else 500_000))
    done = call(*command, disk / "train")
    assert (done, done.exit_status) == ("", 3)
    assert "expected a path that can be written to; received No space left on device." in done.stderr
    assert "free space" in done.stderr
    names = {path.name for path in (disk / "train").iterdir()}
    assert [name for name in names if name.endswith(".part")] == []
    # Room is made, and the same command continues.
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    assert call(*command, disk / "train").exit_status == 0
    assert call(*command, tmp_path / "whole" / "train").exit_status == 0
    assert read_folder(disk / "train") == read_folder(tmp_path / "whole" / "train")


def test_finished_shards_stay_on_a_full_disk(call: Callable[..., Output], tmp_path: Path, disk: Path) -> None:
    write_corpus(tmp_path)
    command = ["pad", "a.txt", "--shards", "40", "--processes", "2", "--output", disk / "train"]
    assert call(*command).exit_status == 3
    before = {path: path.stat().st_mtime_ns for path in (disk / "train").iterdir()}
    listed = [
        file["name"]
        for shard in json.loads((disk / "train" / "manifest.json").read_text())["shards"]
        for file in shard["files"]
    ]
    assert len(listed) > 10
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    assert call(*command).exit_status == 0
    assert all((disk / "train" / name).stat().st_mtime_ns == before[disk / "train" / name] for name in listed)


def test_profile_on_a_full_disk_writes_nothing(call: Callable[..., Output], tmp_path: Path, disk: Path) -> None:
    write_corpus(tmp_path)
    (disk / "filler").write_bytes(b"x" * (2**20 - 4096))
    done = call("profile", "a.txt", "-o", disk / "profile.json")
    assert (done, done.exit_status) == ("", 3)
    assert "received No space left on device" in done.stderr
    assert [path.name for path in disk.iterdir()] == ["filler"]
