"""``[tool.maskcli]`` of a ``pyproject.toml``: the settings of a project's checks."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maskcli.errors import UsageError
from maskcli.models.builtin import BUILTIN
from maskcli.records.options import FAIL_ON

FILE = "pyproject.toml"
MODELS = "models"
"""The key of the tables ``[tool.maskcli.models.NAME]``."""
MODEL_ARGUMENTS = frozenset(["model", "model_args", "weights", "custom_objects", "loss", "baseline", "ignore_calls"])
"""Settings that belong to the model of the same table."""
DATA_ARGUMENTS = frozenset(["data", "field", "targets", "targets_field", "value"])
"""Settings that belong to the data of the same table."""
_NAME = re.compile(r"[\w-]+")
_SCRIPT = re.compile(r"(.+\.py)(:.+)?", re.DOTALL)
_GENERATED_TARGETS = "shift"


@dataclasses.dataclass(frozen=True)
class ProjectCheck:
    """The settings of one check in a project file.

    Attributes:
        name: of the table ``[tool.maskcli.models.NAME]``; None for ``[tool.maskcli]`` itself.
        settings: by the argument of ``maskcli.check`` that they set, such as ``fail_on``; only those of the file. Paths
            start at the working directory, or are absolute outside of it. ``data`` is a tuple of paths.
        path: the project file; None if there is none.
    """

    name: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Let ``package.module:function`` be imported from the folder of the project file."""
        folder = None if self.path is None else str(self.path.parent)
        if folder is None or folder in sys.path:
            yield
            return
        sys.path.append(folder)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)

    def name_key(self, argument: str) -> str:
        """Return the file and the key that set an argument, for messages."""
        table = "tool.maskcli" if self.name is None else f"tool.maskcli.{MODELS}.{self.name}"
        return f"{self.path}, {table}.{argument.replace('_', '-')}"


@dataclasses.dataclass(frozen=True)
class ProjectConfig:
    """The checks of a project.

    Attributes:
        defaults: ``[tool.maskcli]`` itself.
        models: the tables ``[tool.maskcli.models.NAME]``, which have the settings of ``defaults`` that they do not set.
    """

    defaults: ProjectCheck = ProjectCheck()
    models: tuple[ProjectCheck, ...] = ()

    def list_checks(self) -> tuple[ProjectCheck, ...]:
        """Return the checks that name a model; empty for a project that only selects rules."""
        if self.models:
            return self.models
        return (self.defaults,) if "model" in self.defaults.settings else ()

    def find(self, name: object) -> ProjectCheck | None:
        """Return the table of a name; None if there is none."""
        return next((check for check in self.models if check.name == name), None)


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
            return _read_tables(tool["maskcli"], path)
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


def _read_tables(table: object, path: Path) -> ProjectConfig:
    if not isinstance(table, dict):
        raise _make_error(path, "", "a table", repr(table))
    tables = table.get(MODELS, {})
    if not isinstance(tables, dict):
        raise _make_error(path, MODELS, "a table for each model", repr(tables))
    defaults = _read_table({key: value for key, value in table.items() if key != MODELS}, path, "", (*KEYS, MODELS))
    models = []
    for name, settings in tables.items():
        _check_name(name, path)
        if not isinstance(settings, dict):
            raise _make_error(path, f"{MODELS}.{name}", "a table", repr(settings))
        own = _read_table(settings, path, f"{MODELS}.{name}.", tuple(KEYS))
        if "model" not in {**defaults, **own}:
            raise _make_error(path, f"{MODELS}.{name}", "a key model", "none")
        models.append(ProjectCheck(name, {**defaults, **own}, path))
    return ProjectConfig(ProjectCheck(None, defaults, path), tuple(models))


def _check_name(name: str, path: Path) -> None:
    if not _NAME.fullmatch(name) or name in BUILTIN:
        expected = "a name of letters, digits, - and _, other than that of a built-in model"
        raise _make_error(path, MODELS, expected, repr(name))


def _read_table(table: dict[str, Any], path: Path, prefix: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a table by argument."""
    settings = {}
    for key, value in table.items():
        if key not in KEYS:
            raise _make_error(path, prefix + key, f"one of the keys {', '.join(keys)}", repr(key))
        expected, accepts, convert = KEYS[key]
        if not accepts(value):
            raise _make_error(path, prefix + key, expected, repr(value))
        settings[key.replace("-", "_")] = convert(value, path.parent)
    return settings


def _make_error(path: Path, key: str, expected: str, received: str) -> UsageError:
    return UsageError(
        where=f"{path}, tool.maskcli{'.' if key else ''}{key}",
        expected=expected,
        received=received,
        fix='For example: select = ["MSK0"], ignore = ["MSK006"], fail-on = "warning".',
    )


# The types of the keys.


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_text_or_texts(value: object) -> bool:
    return _is_text(value) or (_is_texts(value) and bool(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _is_severity(value: object) -> bool:
    return isinstance(value, str) and value in FAIL_ON


def _keep(value: Any, _folder: Path) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _locate(value: str, folder: Path) -> str:
    """Return a path of a project file as a path from the working directory, if it is in there."""
    path, here = folder / value, Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _locate_data(value: str | list[str], folder: Path) -> tuple[str, ...]:
    return tuple(_locate(path, folder) for path in ([value] if isinstance(value, str) else value))


def _locate_targets(value: str, folder: Path) -> str:
    return value if value == _GENERATED_TARGETS else _locate(value, folder)


def _locate_model(value: str, folder: Path) -> str:
    """Return a model with the path of its file or script; names of built-in models and modules are no paths."""
    script = _SCRIPT.fullmatch(value)
    if script is not None:
        return _locate(script[1], folder) + (script[2] or "")
    return value if value in BUILTIN or ":" in value else _locate(value, folder)


def _locate_objects(value: str | list[str], folder: Path) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    return tuple(_locate(name, folder) if name.endswith(".py") else name for name in names)


KeyType = tuple[str, Callable[[object], bool], Callable[[Any, Path], Any]]

_TEXTS: KeyType = ("a list of strings", _is_texts, _keep)
_TEXT: KeyType = ("a string", _is_text, _keep)
_SWITCH: KeyType = ("true or false", _is_switch, _keep)
_PATH: KeyType = ("the path of a file", _is_text, _locate)
KEYS: dict[str, KeyType] = {
    "select": _TEXTS,
    "ignore": _TEXTS,
    "fail-on": (" or ".join(map(repr, FAIL_ON)), _is_severity, _keep),
    "ignore-calls": _TEXTS,
    "model": ("the name or the path of a model", _is_text, _locate_model),
    "model-args": ("a table", _is_table, _keep),
    "weights": _PATH,
    "custom-objects": ("a string, or a list of strings", _is_text_or_texts, _locate_objects),
    "seed": ("an integer from 0 to 4294967295", _is_seed, _keep),
    "data": ("a path, or a list of paths", _is_text_or_texts, _locate_data),
    "field": _TEXT,
    "targets": ("the path of a file, or 'shift'", _is_text, _locate_targets),
    "targets-field": ("a string, or a list of strings", _is_text_or_texts, _keep),
    "value": ("a number", _is_number, _keep),
    "loss": _TEXT,
    "causal": _SWITCH,
    "quick": _SWITCH,
    "baseline": _PATH,
    "fail-on-stale": _SWITCH,
}
"""By key, the description of its values, a test of a value, and the function that makes the argument of it."""
