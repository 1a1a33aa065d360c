"""The models of ``[tool.maskcli]`` as tests of pytest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskcli.api.project import FILE, ProjectCheck, read_config
from maskcli.errors import MaskcliError, UsageError

WITHOUT_NAME = "maskcli"
"""The name of the test of ``[tool.maskcli]`` itself."""


def find_project_file(start: Path) -> Path:
    """Return the nearest ``pyproject.toml`` with a model to check.

    Raises:
        pytest.UsageError: if there is none, or if it cannot be read.
    """
    try:
        config = read_config(start)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    path = config.defaults.path
    if path is None or not config.list_checks():
        raise pytest.UsageError(
            f"--maskcli: expected a model in [tool.maskcli], or in [tool.maskcli.models.NAME], of {path or FILE}; "
            "received none."
        )
    return path


class ProjectFile(pytest.File):
    """A ``pyproject.toml``, whose models are tests."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for each model."""
        for check in _list_checks(self.path):
            yield ModelItem.from_parent(self, name=_name_test(check))


class ModelItem(pytest.Item):
    """The check of a model of a project."""

    def __init__(self, **details: Any) -> None:
        """Mark the test, for ``-m maskcli``."""
        super().__init__(**details)
        self.add_marker("maskcli")

    def runtest(self) -> None:
        """Check the model; raise FindingsError, an AssertionError, for findings."""
        check = next(check for check in _list_checks(self.path) if _name_test(check) == self.name)
        with check.importing():
            run_project_check(check)

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,
    ) -> Any:
        """Return the findings, or the message of maskcli, without a traceback in which nothing is the user's."""
        if isinstance(excinfo.value, AssertionError | MaskcliError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return the file, and the name in the heading of a failure."""
        return self.path, None, f"maskcli {self.name}"


def _name_test(check: ProjectCheck) -> str:
    return check.name or WITHOUT_NAME


def _list_checks(path: Path) -> tuple[ProjectCheck, ...]:
    """Return the checks of a project file; none if its settings are those of a file in a folder above."""
    config = read_config(path.parent)
    return config.list_checks() if config.defaults.path == path else ()


def run_project_check(check: ProjectCheck) -> None:
    """Check a model as ``maskcli check`` does.

    Raises:
        FindingsError: for findings that fail the check.
        MaskcliError: for data or a model that cannot be used.
    """
    from maskcli.api.check import check as check_model

    settings = dict(check.settings)
    data, naming = _load_data(check, settings.pop("data", ()), settings.pop("field", None))
    if "value" in settings:
        settings["sets_value"] = True
    with naming:
        report = check_model(data, **settings, check_name=check.name)
    report.raise_for_findings()


def _load_data(
    check: ProjectCheck, paths: tuple[str, ...], field: str | None
) -> tuple[object, contextlib.AbstractContextManager[None]]:
    """Return the data of a check, and a context that adds the place in a file to errors that know only the row."""
    from maskcli.api.model_data import DataFile, names_builtin
    from maskcli.sequences.files import read_sequences
    from maskcli.sequences.input_files import expand_files
    from maskcli.sequences.sources import Source

    if not paths:
        raise UsageError(
            where=check.name_key("data"),
            expected="the path of the data to check the model on",
            received="none",
            fix='For example: data = "tests/sequences.jsonl".',
        )
    files = expand_files(paths)
    if len(files.paths) == 1 and not names_builtin(check.settings["model"]):
        return DataFile(files.paths[0], field=field, origin=files.origin), contextlib.nullcontext()
    loaded = read_sequences(tuple(map(Source, files.paths)), "auto", field)
    return loaded, loaded.naming()
