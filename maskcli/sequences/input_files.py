"""The files that a command reads: FILE arguments, standard input, or the built-in sample."""

from __future__ import annotations

import dataclasses
import itertools
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from maskcli.errors import InputError, UsageError
from maskcli.records.data import DataOrigin
from maskcli.sequences.files import SUFFIXES, get_suffix
from maskcli.sequences.formats.shards.manifests import MANIFEST, has_manifest
from maskcli.sequences.remote import is_url, list_urls
from maskcli.sequences.sources import READING, STDIN, display_name, explain_os_error

PACKAGE = Path(__file__).parents[1]
SAMPLE = "sample.txt"
ABOUT_DATASET = ("dataset_info.json", "dataset_dict.json", "state.json")
"""Files of a folder that ``save_to_disk`` of Hugging Face wrote, next to those with the rows."""


@dataclasses.dataclass(frozen=True)
class InputFiles:
    """The files of a command, in the order in which they are read.

    Attributes:
        paths: ``-`` is standard input.
        sample: whether they are the built-in sample.
        skipped: files of directories whose suffix is not that of a format.
    """

    paths: tuple[str, ...]
    sample: bool = False
    skipped: tuple[str, ...] = ()

    @property
    def origin(self) -> DataOrigin:
        """The names of the files, for results."""
        skipped = tuple(map(display_name, self.skipped))
        if self.sample:
            return DataOrigin(sample=True, skipped=skipped)
        return DataOrigin(tuple(path if path == STDIN else display_name(path) for path in self.paths), skipped=skipped)


def get_sample() -> InputFiles:
    """Return the sample: inside the installed package, or next to it in a checkout."""
    inside = PACKAGE / "sample_data" / SAMPLE
    return InputFiles((str(inside if inside.exists() else PACKAGE.parent / "sample_data" / SAMPLE),), sample=True)


def has_piped_input() -> bool:
    """Return whether standard input is a pipe or a redirected file.

    A terminal, the null device and a closed stream are not: no data comes from them.
    """
    if sys.stdin is None or sys.stdin.closed:
        return False
    try:
        descriptor = sys.stdin.fileno()
        if os.isatty(descriptor):  # On Windows, the null device counts as a terminal.
            return False
        status = os.fstat(descriptor)
    except OSError:  # Another program has put a file of its own there, without a descriptor.
        return True
    # The container of a CI job may have no null device.
    is_null = stat.S_ISCHR(status.st_mode) and Path(os.devnull).exists()
    return not (is_null and status.st_rdev == Path(os.devnull).stat().st_rdev)


def expand_files(paths: Sequence[str]) -> InputFiles:
    """Return paths with patterns and directories replaced by their files, in name order.

    A path is a pattern if it has ``*``, ``?`` or ``[`` and is not itself the name of a file. A directory stands for
    the files directly in it that have the suffix of a format.

    Raises:
        InputError: for a pattern or a directory without such files.
        UsageError: for an empty path.
    """
    files: list[str] = []
    skipped: list[str] = []
    for path in paths:
        files += _expand_path(path, skipped)
    return InputFiles(tuple(files), skipped=tuple(skipped))


def _expand_path(path: str, skipped: list[str]) -> list[str]:
    """Return the files of a path, and add files of a directory that are not read to ``skipped``."""
    if not path:
        # To Python the empty path is the current folder; to a script it is a variable without a value.
        raise UsageError(
            where="FILE",
            expected="the name of a file",
            received="an empty text",
            fix="Check the variable that should hold the name.",
        )
    if path == STDIN or "\x00" in path:
        return [path]
    try:
        if is_url(path):
            files, others = list_urls(path, lambda name: get_suffix(Path(name)) in SUFFIXES)
            skipped += others
            expected = f"files that end in {', '.join(SUFFIXES)} at this address"
        elif Path(path).is_dir():
            files = _list_directory(Path(path), skipped)
            expected = f"a directory with files that end in {', '.join(SUFFIXES)}"
        elif any(sign in path for sign in "*?[") and not Path(path).exists():
            files = sorted(str(file) for file in _match_pattern(path) if file.is_file())
            expected = "files that match this pattern"
        else:
            return [path]
    except OSError as error:
        raise InputError(
            where=display_name(path), expected="a file or a directory", received=explain_os_error(error), fix=READING
        ) from None
    if not files:
        raise InputError(where=path, expected=expected, received="none", fix=READING)
    return files


def _list_directory(folder: Path, skipped: list[str]) -> list[str]:
    """Return the manifest of shards, or the files of formats, in name order; hidden files are not mentioned."""
    if has_manifest(folder):
        return [str(folder / MANIFEST)]
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    foreign = [file for file in files if get_suffix(file) not in SUFFIXES or file.name in ABOUT_DATASET]
    skipped += map(str, foreign)
    return [str(file) for file in files if file not in foreign]


def _match_pattern(pattern: str) -> Iterator[Path]:
    """Yield the paths that match a pattern; ``**`` matches any folders, but follows no links to them."""
    # Links may lead in a circle. The number of ways through two such links doubles with each step.
    anchor, *parts = Path(pattern).parts
    if not Path(pattern).is_absolute():
        anchor, parts = "", [anchor, *parts]
    parts = [part if part == "**" else part.replace("**", "*") for part in parts]
    if parts[-1] == "**":
        parts.append("*")
    fixed = list(itertools.takewhile(lambda part: not any(sign in part for sign in "*?["), parts))
    root = Path(anchor, *fixed)
    for path in root.glob("/".join(parts[len(fixed) :])):
        # As in a shell, only a pattern that starts with a dot matches hidden names.
        hidden = sum(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden <= sum(part.startswith(".") for part in parts[len(fixed) :]):
            yield path
