"""Output files are written atomically, and stay as private as the files that they replace."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from maskcli.cli import run
from maskcli.sequences.writing import replacing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")


@pytest.fixture(params=[0o022, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("private", [0o600, 0o400, 0o640])
@pytest.mark.usefixtures("umask")
def test_replacing_never_opens_a_private_file(private: int, tmp_path: Path) -> None:
    target = tmp_path / "ids.npy"
    target.write_bytes(b"before")
    target.chmod(private)
    with replacing(str(target)) as out:
        (temporary,) = set(tmp_path.iterdir()) - {target}
        assert mode(temporary) == 0o600
        out.write(b"after")
        out.flush()
        assert mode(temporary) == 0o600
    assert target.read_bytes() == b"after"
    assert mode(target) == private


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to any group")
@pytest.mark.parametrize("may_change_group", [True, False])
def test_replacing_opens_no_file_to_another_group(
    may_change_group: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "ids.npy"
    target.touch()
    os.chown(target, -1, 54321)
    target.chmod(0o640)
    if not may_change_group:

        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "chown", refuse)
    with replacing(str(target)) as out:
        out.write(b"x")
    group = target.stat().st_gid
    assert (group, mode(target)) == ((54321, 0o640) if may_change_group else (os.getegid(), 0o600))


def test_new_file_has_the_usual_mode(umask: int, tmp_path: Path) -> None:
    with replacing(str(tmp_path / "new")) as out:
        out.write(b"x")
    assert mode(tmp_path / "new") == 0o666 & ~umask


@pytest.mark.usefixtures("umask")
def test_private_target_of_a_link_stays_private(tmp_path: Path) -> None:
    target, link = tmp_path / "secret", tmp_path / "link"
    target.touch(0o600)
    link.symlink_to(target)
    with replacing(str(link)) as out:
        assert all(mode(file) == 0o600 for file in tmp_path.iterdir())
        out.write(b"x")
    assert (link.is_symlink(), mode(target), target.read_bytes()) == (True, 0o600, b"x")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl", ".csv", ".json", ".md", ".svg"])
@pytest.mark.usefixtures("umask")
def test_pad_never_opens_a_private_file(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record the permissions of every file that the command creates, temporary files included."""
    permissions_of_files = []
    real = os.open

    def record_open(path: object, flags: int, permissions: int = 0o777, **options: object) -> int:
        if flags & os.O_CREAT:
            permissions_of_files.append(permissions)
        return real(path, flags, permissions, **options)  # type: ignore[arg-type]

    data, target, mask = tmp_path / "ids.txt", tmp_path / f"out{suffix}", tmp_path / "mask.npy"
    data.write_text("1 2 3\n4\n")
    for private in (target, mask):
        private.touch(0o600)
    both = suffix in (".npy", ".jsonl", ".csv")
    monkeypatch.setattr(os, "open", record_open)
    assert run(["pad", str(data), "--output", str(target), *(["--mask-output", str(mask)] if both else [])]) == 0
    monkeypatch.undo()
    assert len(permissions_of_files) >= 1 + both
    assert all(permissions & 0o077 == 0 for permissions in permissions_of_files)
    assert mode(target) == mode(mask) == 0o600
    if suffix == ".npy":
        assert np.load(target).tolist() == [[1, 2, 3], [4, 0, 0]]
