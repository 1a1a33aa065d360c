"""A process that keeps TensorFlow and the tests loaded, and tries one mutant after another by exchanging code.

Loading takes longer than most tests. A mutant may leave something behind, in a cache for example, so its death only
counts if the same test passes without it. Where the worker cannot know, for example because no function has changed, the
mutant is tried again in a fork of its own.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import multiprocessing
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tests.mutation.mutants import Mutant, mutate

Outcome = str | None
"""``killed`` or ``survived``; None if the worker cannot know."""


PATIENCE = 20
"""Seconds that may pass in a second of processor time: on a busy machine, a test that is slow does not hang."""


def limit_processor_time(seconds: float) -> None:
    """End this process after so many further seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1, most))


def name_module(path: str) -> str:
    """Return the name of the module at a path from the root of the repository."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class Worker:
    """The process; it starts again after a mutant that hangs, ends it, or changes more than itself."""

    def __init__(self, root: Path) -> None:
        """Start no process yet: the first mutant does."""
        self.root = root
        self.process: Any = None
        self.connection: Any = None

    def try_mutant(self, mutant: Mutant, tests: Sequence[str], seconds: float) -> Outcome:
        """Return whether the tests notice a mutant, in some seconds of processor time."""
        if self.process is None:
            self._start()
        self.connection.send((mutant, list(tests), seconds))
        try:
            outcome: Outcome = self.connection.recv() if self.connection.poll(PATIENCE * seconds) else "hang"
        except EOFError:
            outcome = None
        if outcome not in ("killed", "survived"):
            self.stop()
            return None
        return outcome

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(self.root, other), daemon=True)
        self.process.start()
        other.close()


def serve(root: Path, connection: Any) -> None:
    """Answer mutants until the connection ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while True:
        mutant, tests, seconds = connection.recv()
        limit_processor_time(seconds)
        connection.send(_judge(root, mutant, tests))


class _Notes:
    """A plugin of pytest that notes the first test that fails."""

    failed: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a test that fails."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def _run(tests: Sequence[str]) -> tuple[int | None, str | None]:
    import pytest

    notes = _Notes()
    code = pytest.main([*tests, "-x", "-q", "-n", "0", "-p", "no:cacheprovider"], plugins=[notes])
    return int(code), notes.failed


def _judge(root: Path, mutant: Mutant, tests: Sequence[str]) -> Outcome:
    """Return whether tests notice a mutant; None if no function differs, or a test fails without the mutant, too."""
    _import_all()
    path = root / mutant.path
    with exchange_code(name_module(mutant.path), str(path), mutate(path.read_text(), mutant.number)) as changed:
        code, failed = _run(tests) if changed else (None, None)
    if code == 0:
        return "survived"
    if failed is None:
        return None
    return "killed" if _run([failed])[0] == 0 else None


@functools.cache
def _import_all() -> None:
    """Import all modules, so that their functions exist before one of them is exchanged."""
    import importlib
    import pkgutil

    import maskcli

    for module in pkgutil.walk_packages(maskcli.__path__, "maskcli."):
        if not module.name.endswith("__main__") and ".integrations" not in module.name:
            importlib.import_module(module.name)


@contextlib.contextmanager
def exchange_code(name: str, path: str, source: str) -> Iterator[int]:
    """Let the functions of an imported module run other code; yield the number of functions that differ."""
    codes = {code.co_qualname: code for code in _list_codes(compile(source, path, "exec", dont_inherit=True))}
    changed = []
    for function in _list_functions(vars(sys.modules[name]).values(), path):
        code = codes.get(function.__qualname__)
        if code is not None and code != function.__code__:
            changed.append((function, function.__code__))
            function.__code__ = code
    try:
        yield len(changed)
    finally:
        for function, code in changed:
            function.__code__ = code


def _list_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of functions and methods, without functions inside of these."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            if not constant.co_flags & inspect.CO_OPTIMIZED:  # The body of a class.
                yield from _list_codes(constant)


def _list_functions(values: Any, path: str) -> Iterator[FunctionType]:
    """Yield the functions that were defined in the file at ``path``."""
    for value in list(values):
        if isinstance(value, type):
            if value.__module__ and getattr(sys.modules.get(value.__module__), "__file__", None) == path:
                yield from _list_functions(vars(value).values(), path)
            continue
        accessors = [getattr(value, name, None) for name in ("fget", "func", "__func__")]
        for function in [value, *accessors]:
            function = inspect.unwrap(function) if callable(function) else function
            if isinstance(function, FunctionType) and function.__code__.co_filename == path:
                yield function
