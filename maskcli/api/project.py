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
        kind = KEYS[key]
        if not kind.accepts(value):
            raise _make_error(path, prefix + key, kind.expected, repr(value))
        settings[key.replace("-", "_")] = kind.convert(value, path.parent)
    return settings


def _make_error(path: Path, key: str, expected: str, received: str) -> UsageError:
    """Return the error of a key, or of the whole file for an empty key."""
    name = f"tool.maskcli.{key}" if key else "tool.maskcli"
    return UsageError(where=f"{path}, {name}", expected=expected, received=received, fix=_suggest(key))


def _suggest(key: str) -> str:
    """Return the remedy for a wrong value of a key, or for a key that does not exist."""
    name = key.rpartition(".")[2]
    if not key:
        return "Correct the file."
    if name in KEYS:
        return f"For example: {name} = {KEYS[name].example}."
    if key.startswith(MODELS) and key.count(".") < 2:
        return 'For example: a table [tool.maskcli.models.tagger] with model = "src/tagger.py:build".'
    import difflib  # Loaded here, because most files have no such error.

    similar = difflib.get_close_matches(name, KEYS, 1)
    hint = "The keys are options of `maskcli check`; its --help describes them."
    return f"Did you mean {similar[0]}? {hint}" if similar else hint


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


@dataclasses.dataclass(frozen=True)
class KeyType:
    """The values of a key.

    Attributes:
        expected: describes them.
        example: one of them, in TOML.
        accepts: tests a value.
        convert: makes the argument of a value and of the folder of the project file.
    """

    expected: str
    example: str
    accepts: Callable[[object], bool]
    convert: Callable[[Any, Path], Any] = _keep


def _make_switch() -> KeyType:
    return KeyType("true or false", "true", _is_switch)


KEYS: dict[str, KeyType] = {
    "select": KeyType("a list of strings", '["MSK0", "MSK1"]', _is_texts),
    "ignore": KeyType("a list of strings", '["MSK006"]', _is_texts),
    "fail-on": KeyType(" or ".join(map(repr, FAIL_ON)), '"warning"', _is_severity),
    "ignore-calls": KeyType("a list of strings", '["encoder/conv: MSK101  # the reason"]', _is_texts),
    "model": KeyType("the name or the path of a model", '"src/train.py:build_model"', _is_text, _locate_model),
    "model-args": KeyType("a table", "{ units = 8 }", _is_table),
    "weights": KeyType("the path of a file", '"model.weights.h5"', _is_text, _locate),
    "custom-objects": KeyType("a string, or a list of strings", '"src/layers.py"', _is_text_or_texts, _locate_objects),
    "seed": KeyType("an integer from 0 to 4294967295", "0", _is_seed),
    "data": KeyType("a path, or a list of paths", '"tests/data/sample.jsonl"', _is_text_or_texts, _locate_data),
    "field": KeyType("a string", '"tokens"', _is_text),
    "targets": KeyType("the path of a file, or 'shift'", '"tests/data/targets.txt"', _is_text, _locate_targets),
    "targets-field": KeyType("a string, or a list of strings", '"labels"', _is_text_or_texts),
    "value": KeyType("a number", "0", _is_number),
    "loss": KeyType("a string", '"mse"', _is_text),
    "causal": _make_switch(),
    "quick": _make_switch(),
    "baseline": KeyType("the path of a file", '"maskcli-baseline.json"', _is_text, _locate),
    "fail-on-stale": _make_switch(),
}
"""The type of each key."""
