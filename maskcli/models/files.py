"""Read the configuration of a model file without making any of its objects, and build the errors of such files."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

from maskcli.errors import LONGEST_ERROR, ModelError, summarize_error
from maskcli.sequences.bounds import OPTION, format_size, get_memory_bound
from maskcli.sequences.files import SUFFIXES as DATA_SUFFIXES
from maskcli.sequences.files import get_suffix

SUFFIXES = (".keras", ".h5", ".hdf5")
"""Suffixes of the files that Keras loads."""
TRACEBACK = "--traceback shows where the error was raised."
"""The fix for an error whose message gives no better advice."""
NAME_FUNCTION = (
    "Or name the function that builds it, and its weights: --model train.py:function --weights m.weights.h5."
)
"""A fix that works for every model whose code is there."""
_LARGE = 64 * 2**20
"""Bytes; smaller sizes are never refused."""
_MAX_EXPANSION = 100
"""Maximum bytes in memory per byte in the file, as in Keras 3.15; weights are hardly compressible."""
_TEXT_COPIES = 3
"""Copies of a configuration's text while it is parsed."""
_BYTES_PER_VALUE = 100
"""Memory of a value of a configuration, such as an empty list, which is the most for its characters."""
_MAX_MESSAGE = 600
"""Maximum characters of a text from a file in a message."""
_EXPECTED = "a Keras model in a .keras or .h5 file"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SAVE_AGAIN = "Save the model again."


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The content of a model file that is readable without Keras.

    Attributes:
        path: absolute; Keras could take a relative one for an address, such as hf://.
        config: the configuration of the layers.
        compile_config: the configuration of ``compile()``; None without one.
        keras_version: the release of Keras that wrote the file; empty if unknown.
        n_vocabularies: the number of vocabulary files in the archive.
    """

    path: str
    config: Any
    compile_config: Any
    keras_version: str
    n_vocabularies: int = 0

    @property
    def is_by_keras_2(self) -> bool:
        """Whether Keras 1 or 2 wrote the file; Keras 3 lacks some of their layers."""
        return self.keras_version.startswith(("1.", "2."))


def read_model_file(spec: str) -> ModelFile:
    """Read the configuration of a model file.

    Raises:
        ModelError: for a file that is missing, unreadable, damaged or not a model.
    """
    path = Path(spec)
    try:
        if path.is_dir():
            raise _make_directory_error(spec, path)
        if not path.is_file():
            received = "something that is not a regular file" if path.exists() else "a path that does not exist"
            raise make_unreadable_error(spec, received, "Check the name and the directory of the file.")
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        message = error.strerror or summarize_error(error)
        raise make_unreadable_error(spec, message, "Check that you may read the file.") from error
    if get_suffix(path) in DATA_SUFFIXES:
        raise make_unreadable_error(
            spec,
            "a file of data",
            f"Name it without --model, and the model with it: maskcli check {make_displayable(spec)} --model SPEC.",
        )
    if not start:
        raise make_unreadable_error(spec, "an empty file", "Save the model again; the disk may have been full.")
    _check_suffix(spec, path, start)
    return _read_zip(spec, path) if path.name.endswith(".keras") else _read_hdf5(spec, path)


def _check_suffix(spec: str, path: Path, start: bytes) -> None:
    """Raise ModelError if the name of a file does not match its first bytes: Keras decides by the name."""
    suffixes: tuple[str, ...]
    if start.startswith(b"PK"):
        kind, suffixes = "a zip file", (".keras",)
    elif start == _HDF5_SIGNATURE:
        kind, suffixes = "an HDF5 file", (".h5", ".hdf5")
    else:
        raise _make_kind_error(spec, path)
    if not path.name.endswith(suffixes):
        raise make_unreadable_error(
            spec,
            f"{kind} whose name does not end in {suffixes[0]}",
            f"Keras infers the format from the name. If the file is a model, its name must end in {suffixes[0]}.",
        )


def _make_kind_error(spec: str, path: Path) -> ModelError:
    """Return the ModelError for a file that is neither zip nor HDF5."""
    if path.name.endswith(".keras"):
        received = "a file that is not a zip file, or is cut off at its start"
    elif path.name.endswith(SUFFIXES):
        received = "a file that is not HDF5, or is cut off at its start"
    else:
        received = "a file that is neither zip nor HDF5"
    return make_unreadable_error(spec, received, "Save the model again with model.save('model.keras').")


def _make_directory_error(spec: str, path: Path) -> ModelError:
    if (path / "saved_model.pb").exists():
        return make_unreadable_error(
            spec,
            "a TensorFlow SavedModel directory, which Keras 3 cannot load as a model: it has a program, but no layers",
            "Save the model itself: model.save('model.keras') instead of model.export() or, before Keras 3, in the "
            f"version that wrote it. {NAME_FUNCTION}",
        )
    if (path / "config.json").exists():
        return make_unreadable_error(
            spec,
            "a directory with the unzipped content of a .keras file",
            f"Zip it: cd {shlex.quote(make_displayable(spec))} && python -m zipfile -c ../zipped.keras *",
        )
    return make_unreadable_error(spec, "a directory", "Name the model file in this directory.")


def _read_zip(spec: str, path: Path) -> ModelFile:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            _check_members(spec, archive)
            if "config.json" not in members:
                raise make_unreadable_error(
                    spec, "a zip file without config.json", "Save the model with model.save('model.keras')."
                )
            config = _parse_config(spec, archive.read("config.json"))
            metadata = _parse_config(spec, archive.read("metadata.json")) if "metadata.json" in members else {}
    except ModelError:
        raise
    except Exception as error:  # Damaged zip files raise a dozen kinds of exceptions.
        raise make_damaged_error(spec, error) from error
    vocabularies = [name for name in members if re.fullmatch(r"assets/(.*/)?vocabulary\.txt", name)]
    return ModelFile(
        str(path.absolute()),
        {key: value for key, value in config.items() if key != "compile_config"},
        config.get("compile_config"),
        sanitize_text(str(metadata.get("keras_version", ""))),
        len(vocabularies),
    )


def _check_members(spec: str, archive: zipfile.ZipFile) -> None:
    for member in archive.infolist():
        if ".." in re.split(r"[/\\]", member.filename) or member.filename.startswith("/"):
            raise make_foreign_bytes_error(spec, f"the member {member.filename}, whose path leads out of the file")
        check_size(spec, member.filename, member.file_size, member.compress_size)
    # Members can overlap in the file, or declare more bytes than the file has. Each could pass the check for itself.
    unpacked = sum(member.file_size for member in archive.infolist())
    check_size(spec, "the archive", unpacked, Path(str(archive.filename)).stat().st_size)


def check_size(spec: str, place: str, in_memory: int, stored: int) -> None:
    """Raise ModelError for a part of a file that needs far more bytes in memory than in the file."""
    if in_memory > _LARGE and in_memory > _MAX_EXPANSION * max(stored, 1):
        raise make_foreign_bytes_error(spec, f"{place}, which has {stored:,} bytes and needs {in_memory:,} in memory")


def rewrite_config(file: ModelFile, target: Path) -> str:
    """Copy a .keras file with the configurations of ``file``, and return the path of the copy."""
    config = dict(file.config)
    if file.compile_config is not None:
        config["compile_config"] = file.compile_config
    with zipfile.ZipFile(file.path) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in dict.fromkeys(archive.namelist()):
            if name == "config.json":
                copy.writestr(name, json.dumps(config))
            else:
                with archive.open(name) as source, copy.open(name, "w", force_zip64=True) as out:
                    shutil.copyfileobj(source, out)
    return str(target)


def _read_hdf5(spec: str, path: Path) -> ModelFile:
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(path, "r") as file:
            config, compile_config, version = (
                _decode(file.attrs.get(name)) for name in ("model_config", "training_config", "keras_version")
            )
    except Exception as error:
        raise make_damaged_error(spec, error) from error
    if config is None:
        raise make_unreadable_error(
            spec,
            "an HDF5 file without a model: only weights, as model.save_weights() writes them",
            f"Save the whole model with model.save('model.keras'). {NAME_FUNCTION}",
        )
    return ModelFile(
        str(path.absolute()),
        _parse_config(spec, config),
        _parse_config(spec, compile_config) if compile_config else None,
        sanitize_text(version or ""),
    )


def _decode(attribute: Any) -> str | None:
    if isinstance(attribute, bytes):
        return attribute.decode("utf-8", "replace")
    return None if attribute is None else str(attribute)


def _parse_config(spec: str, text: str | bytes) -> dict[str, Any]:
    _check_config_size(spec, text)
    try:
        config = json.loads(text, object_pairs_hook=_make_object)
    except (ValueError, RecursionError) as error:
        received = f"a configuration that is not JSON ({summarize_error(error)})"
        raise make_unreadable_error(spec, received, _SAVE_AGAIN) from error
    if not isinstance(config, dict):
        raise make_unreadable_error(spec, "a configuration that is not a JSON object", _SAVE_AGAIN)
    return config


def _check_config_size(spec: str, text: str | bytes) -> None:
    """Raise ModelError for a configuration that needs more memory than the bound when it is parsed."""
    marks: tuple[Any, ...] = (b",", b"[", b"{", b":") if isinstance(text, bytes) else (",", "[", "{", ":")
    size = len(text) * _TEXT_COPIES + sum(map(text.count, marks)) * _BYTES_PER_VALUE
    if size > get_memory_bound():
        raise make_unreadable_error(
            spec,
            f"a configuration of {len(text):,} characters, which needs {format_size(size)} of memory, "
            f"of {format_size(get_memory_bound())} for one model",
            f"Save the model again, or raise the bound with {OPTION}.",
        )


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raises ValueError if a key occurs twice.

    A dict keeps only the last value of a key. Keras's reader of HDF5 also acts on the earlier values, which the checks
    of maskcli would not see.
    """
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key twice")
    return members


# Errors and texts from files


def make_foreign_bytes_error(spec: str, received: str) -> ModelError:
    """Return the ModelError for a file whose content is not all in the file."""
    return ModelError(
        where=make_displayable(spec),
        expected="weights that are stored in the model's own file",
        received=sanitize_text(received),
        fix="Save the model again with model.save('model.keras'), on the machine that has the weights.",
    )


def make_damaged_error(spec: str, error: Exception) -> ModelError:
    """Return the ModelError for a damaged file."""
    received = f"a file that is damaged or cut off ({summarize_error(error)})"
    return make_unreadable_error(spec, received, "Copy the file again, or save the model again.")


def make_unreadable_error(spec: str, received: str, fix: str) -> ModelError:
    """Return the ModelError for a file that cannot be loaded as a model."""
    return ModelError(where=make_displayable(spec), expected=_EXPECTED, received=sanitize_text(received), fix=fix)


def explain_error(error: BaseException) -> str:
    """Return the type and message of an exception on one line, without the configurations that Keras quotes."""
    cause = str(error).rpartition("Exception encountered:")[2][:LONGEST_ERROR]
    text = re.split(r"[^.]*Full object config:|(?:Received:)?\s*config=\{", cause)[0] or cause
    return sanitize_text(f"{type(error).__name__}: {summarize_error(Exception(text))}").rstrip(".")


def make_displayable(spec: str) -> str:
    """Replace the bytes of a path that are not UTF-8."""
    return os.fsencode(spec).decode("utf-8", "replace")


def sanitize_text(text: str) -> str:
    """Replace control characters in a text from a file, so that it cannot control the terminal, and shorten it."""
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]} …"
