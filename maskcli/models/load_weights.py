"""Load a file of weights into a model, and explain how the two differ where they do not fit."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskcli.errors import ModelError, summarize_error
from maskcli.models.files import make_displayable
from maskcli.models.weights import check_weights

SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")
"""Suffixes of the files from which Keras loads weights."""
OPTION = "--weights"
_EXPECTED = "a file of weights, as model.save_weights('m.weights.h5') writes it"
_SAVE = "Save them with model.save_weights('m.weights.h5')."
_MAX_DIFFERENCES = 3
"""Maximum number of differences in a message."""
Shapes = dict[str, tuple[int, ...]]
"""The shape of each array in a file, by its path."""


def read_weights_file(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file of weights, all of which are in this file; Keras is not imported.

    Raises:
        ModelError: for a file that is missing, damaged, of another kind, or refers to other files.
    """
    spec = os.fspath(path)
    where, file = f"{OPTION} {make_displayable(spec)}", Path(spec)

    def make_error(received: str, fix: str) -> ModelError:
        return ModelError(where=where, expected=_EXPECTED, received=received, fix=fix)

    if spec.endswith((".index", ".ckpt", ".data-00000-of-00001")) or Path(f"{spec}.index").exists():
        raise make_error(
            "a TensorFlow checkpoint, which Keras 3 cannot load",
            "Load it in the version of Keras that wrote it, and call model.save_weights('m.weights.h5') there.",
        )
    if spec.endswith(".json"):
        raise make_error("the index of weights in several files", f"Save them in one file: {_SAVE[10:]}")
    if file.is_dir():
        raise make_error("a directory", "Name the file of weights in it.")
    try:
        with file.open("rb") as opened:
            start = opened.read(8)
    except OSError as error:
        raise make_error(error.strerror or summarize_error(error), "Check the name of the file.") from error
    is_zip = start.startswith(b"PK")
    if not spec.endswith(SUFFIXES) or not (is_zip or start == b"\x89HDF\r\n\x1a\n"):
        raise make_error("a file that is not HDF5, or whose name does not end in .weights.h5", _SAVE)
    if is_zip != spec.endswith(".keras"):
        kind = "a zip file, as .keras files are" if is_zip else "an HDF5 file"
        raise make_error(f"{kind}, with another suffix", f"Keras infers the format from the name. {_SAVE}")
    check_weights(where, str(file.absolute()))
    return str(file.absolute())


def load_weights(model: Any, path: str, name: str) -> None:
    """Load a file of ``read_weights_file`` into a model that has its variables.

    Raises:
        ModelError: for weights of another model, with the first arrays that differ.
    """
    problem: BaseException | None = None
    try:
        model.load_weights(path)
    except Exception as error:
        problem = error
    differences = _compare_arrays(model, path)
    if problem is None and not differences:
        return
    received = f"weights of another model: {differences}" if differences else summarize_error(problem or ValueError())
    raise ModelError(
        where=f"{OPTION} {make_displayable(name)}",
        expected=f"the weights of {model.name}, a {type(model).__name__} of {model.count_params():,} parameters",
        received=received,
        fix="Build the model with the arguments it was trained with (--model-arg NAME=VALUE), or name another file.",
    ) from problem


def _compare_arrays(model: Any, path: str) -> str:
    """Describe how the arrays of a model and of a file differ; empty if the file has all and no others.

    Keras ignores arrays that the model has no variables for. Files in the layout of Keras 2 are not compared.
    """
    if not path.endswith((".weights.h5", ".keras")):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        own = str(Path(folder) / "model.weights.h5")
        model.save_weights(own)
        expected = _list_arrays(own)
    stored = _list_arrays(path)
    texts = [
        f"{place} has the shape {stored[place]}, and {shape} in the model"
        for place, shape in expected.items()
        if place in stored and stored[place] != shape
    ]
    missing = [place for place in expected if place not in stored]
    extra = [place for place in stored if place not in expected]
    if missing and extra and not texts and len(missing) == len(extra):
        return ""  # Other names for the same arrays, as earlier releases of Keras wrote them.
    texts += [f"the file lacks {place} {expected[place]}" for place in missing]
    texts += [f"the model lacks {place} {stored[place]}" for place in extra]
    hidden = len(texts) - _MAX_DIFFERENCES
    more = f"; {hidden} more arrays differ" if hidden > 0 else ""
    return "; ".join(texts[:_MAX_DIFFERENCES]) + more


def _list_arrays(path: str) -> Shapes:
    """Return the arrays of the layers in a file of Keras 3, without those of its optimizer and metrics."""
    import h5py  # type: ignore[import-untyped]

    shapes: Shapes = {}

    def add(place: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not place.startswith(("optimizer/", "metrics/")):
            shapes[place] = tuple(item.shape)

    with _open_arrays(path) as source, h5py.File(source, "r") as file:
        file.visititems(add)
    return shapes


@contextlib.contextmanager
def _open_arrays(path: str) -> Iterator[Any]:
    if not path.endswith(".keras"):
        yield path
        return
    with zipfile.ZipFile(path) as archive:
        yield io.BytesIO(archive.read("model.weights.h5"))
