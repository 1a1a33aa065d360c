"""The user's own model: from a file, from a function that builds it, or handed over in Python."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from maskcli.errors import ModelError, UsageError
from maskcli.models.builtin import BUILTIN
from maskcli.models.custom_objects import CustomObjects, custom_objects_from, custom_objects_of
from maskcli.models.factories import FACTORY, built, described, how_to_get_a_model
from maskcli.models.files import SUFFIXES, TRACEBACK, Saved, display, read_saved, reason, rewrite_config, unreadable
from maskcli.models.guard import (
    NamedObject,
    outdated_error,
    refuse_code,
    refuse_vocabulary_paths,
    short_names,
    uncompilable,
    unknown_error,
    unknown_objects,
    vocabulary_settings,
)
from maskcli.models.runtime import load_keras, quiet_stdout
from maskcli.models.weights import check_weights


@dataclasses.dataclass(frozen=True, eq=False)
class UserModel:
    """A Keras model that maskcli did not build; ``name`` is what the user called it, ``notes`` what was left out."""

    keras_model: Any
    name: str
    source: Literal["file", "factory", "object"]
    notes: tuple[str, ...] = ()


def kind_of(spec: str) -> Literal["built-in", "file", "factory"]:
    """Return what ``--model`` names; nothing is imported or read.

    Raises UsageError for what is none of the three.
    """
    if spec in BUILTIN:
        return "built-in"
    if spec.endswith(SUFFIXES) or (spec and _exists(spec)):
        return "file"
    if FACTORY.fullmatch(spec):
        return "factory"
    near = difflib.get_close_matches(spec, BUILTIN, n=1)
    raise UsageError(
        where="--model",
        expected=f"a built-in model ({', '.join(BUILTIN)}), a .keras or .h5 file, or package.module:function",
        received=repr(display(spec)),
        fix=f"Did you mean {near[0]}?" if near else "`maskcli models` lists the built-in models.",
    )


def load(spec: str, custom_objects: Sequence[str] = (), unsafe: bool = False) -> UserModel:
    """Return the model of a file or of ``package.module:function``.

    ``custom_objects`` are ``package.module`` or ``package.module:Name``; ``unsafe`` lets code in the file run. Raises
    UsageError for a spec that cannot be meant, ModelError for a model that cannot be had.
    """
    kind = kind_of(spec)
    if kind == "built-in":
        raise ValueError(f"{spec} is built in: maskcli.models.build makes it.")
    saved = read_saved(spec) if kind == "file" else None
    if saved is not None:
        check_weights(spec, saved.path)
    load_keras()
    with quiet_stdout(), _no_warnings():
        custom = custom_objects_from(custom_objects)
        if saved is None:
            return UserModel(built(spec, dict(custom.defined)), spec, "factory")
        with custom.only_these_registered():
            return _loaded(spec, saved, custom, unsafe)


def given(model: object) -> UserModel:
    """Return a keras.Model handed over in Python; anything else raises ModelError."""
    keras = load_keras()
    if isinstance(model, keras.Model):
        return UserModel(model, model.name, "object")
    raise ModelError(
        where="model",
        expected="a keras.Model",
        received=f"the class {model.__name__}" if isinstance(model, type) else described(model),
        fix=how_to_get_a_model(model),
    )


def saved_and_loaded(model: Any) -> Any:
    """Return what becomes of ``model`` when it is saved and loaded again; whatever Keras raises goes through.

    The file is one that Keras wrote a moment ago, of a model whose code runs here anyway.
    """
    import keras

    with tempfile.TemporaryDirectory() as folder, _no_warnings(), quiet_stdout():
        path = Path(folder) / "model.keras"
        model.save(path)
        return keras.models.load_model(path, custom_objects=custom_objects_of(model), compile=False, safe_mode=False)


def _loaded(spec: str, saved: Saved, custom: CustomObjects, unsafe: bool) -> UserModel:
    """Load a file, and compile the model where that can be restored."""
    import keras

    unknown = unknown_objects(saved.config, custom.names, unsafe=unsafe)
    if not unsafe:
        refuse_code(spec, saved, custom.names)
    if unknown:
        raise unknown_error(spec, saved, unknown)
    options: dict[str, Any] = {"custom_objects": {**short_names(saved), **custom.defined}, "safe_mode": not unsafe}
    why = uncompilable(saved.compiled, custom.names, unsafe=unsafe)
    with _vocabulary_inside(spec, saved, unsafe) as path:
        if not why:
            try:
                return UserModel(keras.models.load_model(path, **options), display(spec), "file")
            except Exception as error:  # Loading without compile() shows whose fault it is.
                why = reason(error)
        try:
            model = keras.models.load_model(path, compile=False, **options)
        except (Exception, SystemExit) as error:
            raise _not_loaded(spec, saved, custom, error) from error
    note = f"The compiled loss and metrics of {display(spec)} could not be restored and are left out: {why}."
    return UserModel(model, display(spec), "file", (note,))


@contextlib.contextmanager
def _vocabulary_inside(spec: str, saved: Saved, unsafe: bool) -> Iterator[str]:
    """Yield the path to load the model from, where no lookup layer reads its vocabulary from another file.

    Before 3.12, Keras stored a vocabulary in the archive and left the path that it came from in the configuration.
    Such a path is taken out, in a copy of the file.
    """
    settings = [] if unsafe else vocabulary_settings([saved.config, saved.compiled])
    if not settings:
        yield saved.path
        return
    if len(settings) > saved.vocabularies:
        refuse_vocabulary_paths(spec, [entry["vocabulary"] for entry in settings])
    for entry in settings:
        entry["vocabulary"] = None
    with tempfile.TemporaryDirectory() as folder:
        yield rewrite_config(saved, Path(folder) / "model.keras")


def _not_loaded(spec: str, saved: Saved, custom: CustomObjects, error: BaseException) -> ModelError:
    """Return the error for whatever Keras raised while it loaded the file."""
    unknown: list[NamedObject] = unknown_objects(saved.config, custom.names)
    if blamed := [named for named in unknown if named.name in str(error)]:
        return unknown_error(spec, saved, blamed)
    if saved.by_keras_2:
        return outdated_error(spec, saved, reason(error))
    return unreadable(spec, reason(error), TRACEBACK)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep Python's warnings, and those that Keras logs through absl, from whoever asked for the model."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _exists(spec: str) -> bool:
    try:
        return Path(spec).exists()
    except (OSError, ValueError):
        return False
