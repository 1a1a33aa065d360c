"""``[tool.maskcli]`` of a ``pyproject.toml``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maskcli.commands.options import is_set
from maskcli.errors import UsageError
from maskcli.records.options import FAIL_ON, FailOn

if TYPE_CHECKING:
    from pathlib import Path

FILE = "pyproject.toml"
KEYS = ("select", "ignore", "fail-on")


@dataclasses.dataclass(frozen=True)
class ProjectConfig:
    """The settings of a project for its checks; missing settings are empty, or None.

    Attributes:
        select: codes, prefixes or names of the rules to check.
        ignore: codes, prefixes or names of the rules to leave out.
        fail_on: the lowest severity that fails a check.
        path: the file with the settings; None if there is none.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn | None = None
    path: Path | None = None


def merge_rule_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the rules and ``fail_on`` of the command line, or else of the project.

    Raises:
        UsageError: for rules that do not exist, with the option or the file that names them.
    """
    from pathlib import Path

    from maskcli.rules.selection import select_rules

    config = read_config(Path())
    rules = {"select": _split(arguments["select"]), "ignore": _split(arguments["ignore"])}
    merged: dict[str, Any] = {"select": rules["select"] or config.select, "ignore": rules["ignore"] or config.ignore}
    for name, selectors in merged.items():
        try:
            select_rules(selectors, ())
        except UsageError as error:
            raise error.at(f"--{name}" if rules[name] else f"{config.path}, tool.maskcli.{name}") from None
    if config.fail_on is not None and "fail_on" in arguments and not is_set("fail_on"):
        merged["fail_on"] = config.fail_on
    return {**arguments, **merged}


def _split(selectors: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for selector in selectors for part in selector.split(","))


def read_config(start: Path) -> ProjectConfig:
    """Read the nearest ``pyproject.toml`` with a ``[tool.maskcli]``, in ``start`` or a folder above it.

    Raises:
        UsageError: for a file that cannot be read, an unknown key, or a value of another type.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        path = folder / FILE
        tool = _read_toml(path).get("tool")
        if isinstance(tool, dict) and "maskcli" in tool:
            return _read_table(tool["maskcli"], path)
    return ProjectConfig()


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():  # A pipe of that name would wait for a writer.
        return {}
    import tomllib  # Loaded here, because most folders have no such file.

    try:
        return tomllib.loads(path.read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        raise _make_error(path, "", "a file that can be read", error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:  # Not TOML, not UTF-8, or nested too deep.
        raise _make_error(path, "", "TOML", str(error)) from None


def _read_table(table: object, path: Path) -> ProjectConfig:
    if not isinstance(table, dict):
        raise _make_error(path, "", "a table", repr(table))
    for key in table:
        if key not in KEYS:
            raise _make_error(path, key, f"one of the keys {', '.join(KEYS)}", repr(key))
    fail_on = table.get("fail-on")
    if fail_on is not None and fail_on not in FAIL_ON:
        raise _make_error(path, "fail-on", " or ".join(map(repr, FAIL_ON)), repr(fail_on))
    return ProjectConfig(_read_strings(table, "select", path), _read_strings(table, "ignore", path), fail_on, path)


def _read_strings(table: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _make_error(path, key, "a list of strings", repr(values))
    return tuple(values)


def _make_error(path: Path, key: str, expected: str, received: str) -> UsageError:
    return UsageError(
        where=f"{path}, tool.maskcli{'.' if key else ''}{key}",
        expected=expected,
        received=received,
        fix='For example: select = ["MSK0"], ignore = ["MSK006"], fail-on = "warning".',
    )
