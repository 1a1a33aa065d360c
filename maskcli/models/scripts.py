"""Import modules and scripts of the user, in a way that they can run their own code but start no training."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import traceback
import types
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from maskcli.errors import ModelError, summarize_error
from maskcli.models.files import TRACEBACK, explain_error, make_displayable
from maskcli.models.runtime import load_keras

_GUARD = (
    'Put the code that trains, parses arguments or asks for input under `if __name__ == "__main__":`; '
    "it then runs with `python {name}`, and not when maskcli imports the file."
)
_SCRIPTS: dict[Path, tuple[tuple[int, int], types.ModuleType]] = {}
"""The scripts that this process has run, each with the time and size of its file."""


class ErrorBuilder:
    """Build the errors of one spec, which share their place and the expected value."""

    def __init__(self, where: str, expected: str) -> None:
        """Store both parts."""
        self.where: str = make_displayable(where)
        self.expected = expected

    def build(self, received: str, fix: str) -> ModelError:
        """Return a ModelError."""
        return ModelError(where=self.where, expected=self.expected, received=received, fix=fix)


class _StartedWork(BaseException):
    """Code that an import must not start; no ``except Exception`` of a script catches it."""


def import_user_module(name: str, errors: ErrorBuilder) -> types.ModuleType:
    """Import a module from the working directory or the environment; this runs its code.

    Raises:
        ModelError: if the module, or a module that it imports, is missing, fails or starts to train a model.
    """
    with _explain_failures(name, f"-m {name}", errors), allow_user_imports(), _forbid_work():
        return importlib.import_module(name)


def import_script(path: Path, errors: ErrorBuilder) -> types.ModuleType:
    """Run a script as a module, which may import its neighbours; raises as ``import_user_module``.

    A script is run again after its file has changed. In a package it is imported under its name in the package.
    """
    check_script(path, errors)
    name, path = make_displayable(str(path)), path.resolve()
    with _explain_failures(name, name, errors), allow_user_imports(path), _forbid_work():
        return _import_path(path)


def check_script(path: Path, errors: ErrorBuilder) -> None:
    """Raise ModelError for a script that does not exist."""
    if path.is_file():
        return
    kind = "a directory" if path.is_dir() else "a path that does not exist"
    raise errors.build(
        f"{make_displayable(str(path))}, which is {kind}", "Name a Python file, as a path from the working directory."
    )


def check_module(name: str, errors: ErrorBuilder) -> None:
    """Raise ModelError if the module, or the package that contains it, does not exist; it is not imported."""
    outermost = name.partition(".")[0]
    with allow_user_imports(), contextlib.suppress(ValueError):  # A module that a program made has no spec.
        if outermost not in sys.modules and importlib.util.find_spec(outermost) is None:
            raise _make_missing_error(name, ModuleNotFoundError(name=outermost), errors)


@contextlib.contextmanager
def allow_user_imports(script: Path | None = None) -> Iterator[None]:
    """Let code import from the working directory, and from the folder of a script, as ``python script.py`` does.

    The code also sees a command line without arguments: those of maskcli are not for it.
    """
    folders = [""] if script is None else [str(script.parent), str(_find_package_root(script)), ""]
    arguments, sys.argv = sys.argv, [str(script or "")]
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.argv = arguments
        for folder in folders:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def _import_path(path: Path) -> types.ModuleType:
    """Return the module of a file, which is not run twice: each of its classes exists once."""
    status = path.stat()
    version = (status.st_mtime_ns, status.st_size)
    if path in _SCRIPTS and _SCRIPTS[path][0] == version:
        return _SCRIPTS[path][1]
    for module in list(sys.modules.values()):  # An ordinary import of it, by its name or from another module.
        if path not in _SCRIPTS and _is_file_of(module, path):
            return module
    root = _find_package_root(path)
    if root != path.parent:  # Its relative imports need the package.
        return importlib.import_module(".".join((*path.parent.relative_to(root).parts, path.stem)))
    module = _run_file(path)
    _SCRIPTS[path] = (version, module)
    return module


def _run_file(path: Path) -> types.ModuleType:
    name = path.stem
    is_taken = name in sys.modules and not _is_file_of(sys.modules[name], path)
    if is_taken or name in sys.stdlib_module_names or not name.isidentifier():
        name = f"script_{zlib.crc32(str(path).encode()):08x}"
    # Without the loader's cache of byte code, which does not notice two changes within a second.
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = types.ModuleType(name)
    module.__file__, module.__loader__ = str(path), loader
    module.__spec__ = importlib.util.spec_from_loader(name, loader, origin=str(path))
    before = sys.modules.get(name)
    sys.modules[name] = module  # Dataclasses and pickles look their module up.
    try:
        exec(loader.source_to_code(path.read_bytes(), str(path)), vars(module))  # noqa: S102 - the user names the file
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def _is_file_of(module: types.ModuleType, path: Path) -> bool:
    file = vars(module).get("__file__") if isinstance(module, types.ModuleType) else None
    return isinstance(file, str) and Path(file).name == path.name and Path(file).resolve() == path


def _find_package_root(path: Path) -> Path:
    """Return the folder above the outermost package that contains a file."""
    folder = path.resolve().parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder = folder.parent
    return folder


# Code that must not run during an import.


@contextlib.contextmanager
def _forbid_work() -> Iterator[None]:
    """Stop an import that trains a model or asks for input."""
    keras = load_keras()
    with contextlib.ExitStack() as stack:
        for owner, name, activity in (
            (keras.Model, "fit", "trains a model (Model.fit)"),
            (keras.Model, "train_on_batch", "trains a model (Model.train_on_batch)"),
            (keras.Optimizer, "apply", "trains a model (Optimizer.apply)"),
        ):
            stack.enter_context(_replace(owner, name, _make_refusal(activity, getattr(owner, name))))
        stack.enter_context(_replace(builtins, "input", _make_refusal("asks for input", input)))
        yield


def _make_refusal(activity: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that stops this thread; others, which may train a model meanwhile, run the original."""
    thread = threading.get_ident()

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            raise _StartedWork(activity)
        return original(*args, **kwargs)

    return refuse


@contextlib.contextmanager
def _replace(owner: Any, name: str, value: object) -> Iterator[None]:
    """Set an attribute, which may be inherited, for a while."""
    is_own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


# The errors of an import.


@contextlib.contextmanager
def _explain_failures(name: str, program: str, errors: ErrorBuilder) -> Iterator[None]:
    """Turn every exception of an import into a ModelError.

    Args:
        name: of the module or script, for messages.
        program: the arguments with which Python runs it.
        errors: build the errors.
    """
    guard = _GUARD.format(name=program)
    try:
        yield
    except ModelError:
        raise
    except _StartedWork as work:
        place = _find_place(traceback.extract_tb(work.__traceback__)[:-1])
        raise errors.build(f"{name}, which {work} when it is imported{place}", guard) from work
    except ModuleNotFoundError as error:
        raise _make_missing_error(name, error, errors) from error
    except SystemExit as error:
        frames = traceback.extract_tb(error.__traceback__)
        is_parser = any(Path(frame.filename).name == "argparse.py" for frame in frames)
        activity = "parses its command line" if is_parser else "ends the program"
        place = _find_place([frame for frame in frames if Path(frame.filename).name != "argparse.py"])
        received = f"{name}, which {activity} when it is imported ({explain_error(error)}){place}"
        raise errors.build(received, guard) from error
    except Exception as error:
        received = f"{name}, which cannot be imported: {explain_error(error)}"
        if not isinstance(error, SyntaxError) and Path(name).suffix == ".py":
            # The work of a script, such as reading its data, often fails where only its model is needed.
            frames = traceback.extract_tb(error.__traceback__)
            place = _find_place([frame for frame in frames if Path(frame.filename).name == Path(name).name])
            raise errors.build(f"{received}{place}", f"{guard} {TRACEBACK}") from error
        raise errors.build(received, TRACEBACK) from error


def _find_place(frames: Sequence[traceback.FrameSummary]) -> str:
    """Return ``, at train.py:14``, the last line that ran; empty if nothing is known."""
    return f", at {make_displayable(Path(frames[-1].filename).name)}:{frames[-1].lineno}" if frames else ""


def _make_missing_error(name: str, error: ModuleNotFoundError, errors: ErrorBuilder) -> ModelError:
    missing = error.name or ""
    if not name.endswith(".py") and f"{name}.".startswith(f"{missing}."):
        # The module itself is missing, or a package that contains it.
        return errors.build(
            f"no module named {missing}",
            "Run maskcli in the directory with the module or package, install it, or name its file: train.py:function.",
        )
    return errors.build(
        f"{name}, which cannot be imported because {missing or summarize_error(error)} is missing",
        f"Install {missing.partition('.')[0] or 'it'} into the environment of maskcli, or correct the import.",
    )
