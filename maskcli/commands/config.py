"""Merge the settings of ``pyproject.toml`` with the command line, which comes first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maskcli.commands.options import is_set
from maskcli.errors import UsageError

if TYPE_CHECKING:
    from maskcli.api.project import ProjectCheck
    from maskcli.commands.source import SourceOptions

SELECTIONS = ("select", "ignore")


def read_project() -> tuple[ProjectCheck, tuple[ProjectCheck, ...]]:
    """Return ``[tool.maskcli]`` of the working directory, and its models.

    Raises:
        UsageError: for a file that cannot be read, an unknown key, or a value of another type.
    """
    from pathlib import Path

    from maskcli.api.project import read_config

    config = read_config(Path())
    return config.defaults, config.models


def merge_rule_options(arguments: Mapping[str, Any], check: ProjectCheck | None = None) -> dict[str, Any]:
    """Return arguments with the rules and ``fail_on`` of the command line, or else of the project.

    Args:
        arguments: of the command line.
        check: the settings of the project; None reads ``[tool.maskcli]``.

    Raises:
        UsageError: for rules that do not exist, with the option or the file that names them.
    """
    from maskcli.rules.selection import select_rules

    check = read_project()[0] if check is None else check
    merged = dict(arguments)
    for name in SELECTIONS:
        selectors = _split(arguments[name])
        where = f"--{name}" if selectors else check.name_key(name)
        merged[name] = selectors or check.settings.get(name, ())
        try:
            select_rules(merged[name], ())
        except UsageError as error:
            raise error.at(where) from None
    if "fail_on" in arguments and not is_set("fail_on") and not is_set("exit_zero"):
        merged["fail_on"] = check.settings.get("fail_on", arguments["fail_on"])
    return merged


def _split(selectors: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for selector in selectors for part in selector.split(","))


def merge_check_options(
    arguments: Mapping[str, Any], source: SourceOptions, check: ProjectCheck, without: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], SourceOptions]:
    """Return the arguments and the data of ``maskcli check``, from the command line or else from the project.

    The keys that go with the model of a table are left out if the command line names another model, and those that go
    with its data if the command line names other data.

    Args:
        arguments: of the command line.
        source: the data of the command line.
        check: the settings of the project.
        without: the arguments that the project may not set.

    Raises:
        UsageError: for rules that do not exist, with the option or the file that names them.
    """
    from maskcli.api.project import DATA_ARGUMENTS, MODEL_ARGUMENTS

    settings = check.settings
    if "model" in settings and is_set("model") and check.name != arguments["model"]:
        without = without | MODEL_ARGUMENTS
    if "data" in settings and (source.files or source.sample):
        without = without | DATA_ARGUMENTS
    kept = {name: value for name, value in settings.items() if name not in without}
    data: dict[str, Any] = {name: kept.pop(name) for name in ("data", "field", "value") if name in kept}
    merged = merge_rule_options(arguments, check)
    named = check.name is not None and check.name == arguments["model"]
    unset = {name: value for name, value in kept.items() if not is_set(name) or (name == "model" and named)}
    settled = ("fail_on", *SELECTIONS)
    merged |= {name: value for name, value in unset.items() if name in arguments and name not in settled}
    _check_ignored_calls(unset.get("ignore_calls", ()), check)
    return merged, _merge_data(source, {**data, "model": merged["model"]})


def _check_ignored_calls(texts: Sequence[str], check: ProjectCheck) -> None:
    """Raise UsageError with the key of the project for ignored calls of another form."""
    if not texts:
        return
    from maskcli.api.acceptance import read_call_selectors

    try:
        read_call_selectors(texts)
    except UsageError as error:
        error.where = error.where.replace("--ignore-call", check.name_key("ignore_calls"))
        raise


def _merge_data(source: SourceOptions, data: Mapping[str, Any]) -> SourceOptions:
    changes: dict[str, Any] = {"model": data["model"]}
    if "data" in data and not source.files and not source.sample:
        changes["files"] = data["data"]
    if "field" in data and source.field is None:
        changes["field"] = data["field"]
    if "value" in data and "value" not in source.padding:
        changes["padding"] = {**source.padding, "value": data["value"]}
    return dataclasses.replace(source, **changes)
