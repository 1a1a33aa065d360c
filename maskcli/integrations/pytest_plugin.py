"""The plugin of pytest: assertions as fixtures, a marker of tests that return a model, and ``--maskcli``.

Every run of pytest imports this module where maskcli is installed, so it imports no other library, and no module of
maskcli before a test uses it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from maskcli.integrations.project_models import ProjectFile

MARKER = (
    "maskcli(data, **options): the test returns a model, or a model with its data, which maskcli.check judges with "
    "these options"
)
Assertion = Callable[..., None]
NAMES = frozenset(
    ["MaskCheck", "assert_causal", "assert_mask_reaches", "assert_masked_loss", "assert_padding_invariant"]
)
"""Fixtures, and functions in the code of a test, that report findings."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--maskcli``."""
    parser.getgroup("maskcli").addoption(
        "--maskcli",
        action="store_true",
        help="Also check the models of [tool.maskcli] and [tool.maskcli.models.NAME] in pyproject.toml.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, also for ``--strict-markers``; with ``--maskcli``, let pytest collect the project file."""
    config.addinivalue_line("markers", MARKER)
    if not config.getoption("maskcli"):
        return
    from maskcli.integrations.project_models import find_project_file

    path = find_project_file(config.rootpath)
    arguments = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    if not any(path.is_relative_to(argument.resolve()) for argument in arguments):
        config.args.append(str(path))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ProjectFile | None:
    """Collect the models of a ``pyproject.toml``."""
    if file_path.name != "pyproject.toml" or not parent.config.getoption("maskcli"):
        return None
    from maskcli.integrations.project_models import ProjectFile

    return ProjectFile.from_parent(parent, path=file_path)


@pytest.fixture(scope="session", name="assert_causal")
def _provide_assert_causal() -> Assertion:
    """Provide maskcli.assert_causal(model, data): no later timestep changes an earlier output."""
    return _get_assertion("assert_causal")


@pytest.fixture(scope="session", name="assert_mask_reaches")
def _provide_assert_mask_reaches() -> Assertion:
    """Provide maskcli.assert_mask_reaches(model, data, call): the mask reaches a call."""
    return _get_assertion("assert_mask_reaches")


@pytest.fixture(scope="session", name="assert_masked_loss")
def _provide_assert_masked_loss() -> Assertion:
    """Provide maskcli.assert_masked_loss(model, data, targets): the loss counts no padding."""
    return _get_assertion("assert_masked_loss")


@pytest.fixture(scope="session", name="assert_padding_invariant")
def _provide_assert_padding_invariant() -> Assertion:
    """Provide maskcli.assert_padding_invariant(model, data): padding changes no result."""
    return _get_assertion("assert_padding_invariant")


def _get_assertion(name: str) -> Assertion:
    from maskcli.api import assertions

    assertion: Assertion = getattr(assertions, name)
    return assertion


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record the lines that build models, for a test that uses maskcli, and for its fixtures."""
    if not _uses_maskcli(item):
        return (yield)
    from maskcli.models.build_sites import record_build_sites
    from maskcli.models.runtime import load_keras

    load_keras()
    with record_build_sites():
        return (yield)


def _uses_maskcli(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker("maskcli") is not None or not NAMES.isdisjoint(item.fixturenames):
        return True
    code = getattr(item.function, "__code__", None)
    return code is not None and not NAMES.isdisjoint(code.co_names)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Check the model that a marked test returns."""
    marks = list(pyfuncitem.iter_markers("maskcli"))
    if not marks:
        return (yield)
    function = pyfuncitem.obj

    @functools.wraps(function)
    def run_and_check(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        _check_returned(function(*args, **kwargs), marks)

    pyfuncitem.obj = run_and_check
    try:
        return (yield)
    finally:
        pyfuncitem.obj = function


def _check_returned(returned: object, marks: list[pytest.Mark]) -> None:
    """Fail the test if the returned model has findings; marks are sorted from the nearest to the outermost."""
    __tracebackhide__ = True
    from maskcli.api.check import check
    from maskcli.errors import MaskcliError
    from maskcli.records.check import FindingsError

    options: dict[str, Any] = {}
    for mark in reversed(marks):
        options |= {**dict(zip(("data",), mark.args, strict=False)), **mark.kwargs}
    model, *data = returned if isinstance(returned, tuple) else (returned,)
    if data:
        options["data"] = data[0] if len(data) == 1 else tuple(data)
    if model is None:
        pytest.fail("A test that is marked with maskcli returns its model, or (model, data).", pytrace=False)
    if "data" not in options:
        pytest.fail(
            "The marker maskcli needs data: @pytest.mark.maskcli(data=...), or a test that returns (model, data).",
            pytrace=False,
        )
    try:
        check(model=model, **options).raise_for_findings()
    except (MaskcliError, FindingsError) as error:
        message = str(error)
    else:
        return
    # Without the traceback, in which nothing is the user's: the finding names the call. In the handler, pytest would
    # also show the error that is being handled.
    pytest.fail(message, pytrace=False)
