"""``[tool.maskcli]`` of a ``pyproject.toml``."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from maskcli.errors import UsageError
from maskcli.records.options import FAIL_ON, FailOn

FILE = "pyproject.toml"
KEYS = ("select", "ignore", "fail-on")


@dataclasses.dataclass(frozen=True)
class ProjectConfig:
    """What a project says of its checks; what it leaves out is empty, or None.

    Attributes:
        select: codes, prefixes or names of the rules that judge.
        ignore: of those that do not.
        fail_on: the severity from which on a check fails.
        path: the file that says so; None when there is none.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn | None = None
    path: Path | None = None


def rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--select`` and ``--ignore``, which say what rules judge."""
    select = click.option(
        "--select",
        metavar="RULES",
        multiple=True,
        help="Rules to judge by: codes, beginnings of codes or names, with commas.  [default: all]",
    )
    ignore = click.option("--ignore", metavar="RULES", multiple=True, help="Rules to leave out, as for --select.")
    return select(ignore(command))


def merge_rule_options(select: Sequence[str], ignore: Sequence[str], fail_on: FailOn | None = None) -> dict[str, Any]:
    """Return what judges and what fails: the command line, or else the configuration.

    Raises:
        UsageError: for rules that do not exist, with who named them.
    """
    from maskcli.rules.selection import select_rules

    config, asked = read_config(Path()), {"select": _split(select), "ignore": _split(ignore)}
    judges = {"select": asked["select"] or config.select, "ignore": asked["ignore"] or config.ignore}
    for name, selectors in judges.items():
        try:
            select_rules(selectors, ())
        except UsageError as error:
            raise error.at(f"--{name}" if asked[name] else f"{config.path}, tool.maskcli.{name}") from None
    return {**judges, "fail_on": fail_on or config.fail_on or "warning"}


def _split(selectors: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for selector in selectors for part in selector.split(","))


def read_config(start: Path) -> ProjectConfig:
    """Return what the nearest ``pyproject.toml`` with a ``[tool.maskcli]`` says, in ``start`` or a folder above it.

    Raises:
        UsageError: for a file that cannot be read, an unknown key, or a value of another type.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        path = folder / FILE
        tool = _document(path).get("tool")
        if isinstance(tool, dict) and "maskcli" in tool:
            return _config(tool["maskcli"], path)
    return ProjectConfig()


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        raise _error(path, "", "a file that can be read", error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:  # No TOML, no UTF-8, or nested past all reason.
        raise _error(path, "", "TOML", str(error)) from None


def _config(table: object, path: Path) -> ProjectConfig:
    if not isinstance(table, dict):
        raise _error(path, "", "a table", repr(table))
    for key in table:
        if key not in KEYS:
            raise _error(path, key, f"one of the keys {', '.join(KEYS)}", repr(key))
    fail_on = table.get("fail-on")
    if fail_on is not None and fail_on not in FAIL_ON:
        raise _error(path, "fail-on", " or ".join(map(repr, FAIL_ON)), repr(fail_on))
    return ProjectConfig(_strings(table, "select", path), _strings(table, "ignore", path), fail_on, path)


def _strings(table: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _error(path, key, "a list of strings", repr(values))
    return tuple(values)


def _error(path: Path, key: str, expected: str, received: str) -> UsageError:
    return UsageError(
        where=f"{path}, tool.maskcli{'.' if key else ''}{key}",
        expected=expected,
        received=received,
        fix='For example: select = ["MSK0"], ignore = ["MSK006"], fail-on = "warning".',
    )
