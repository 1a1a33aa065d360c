"""What a .keras or .h5 file says of its model, read before Keras reads it, and what to say of one that is none."""

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

SUFFIXES = (".keras", ".h5", ".hdf5")
"""How the names of files end that Keras loads."""
TRACEBACK = "--traceback shows where."
"""The advice where only the place of an error tells more."""
_LARGE = 64 * 2**20
"""Bytes below which no size is suspicious."""
_MOST_EXPANSION = 100
"""Bytes in memory for a byte in the file, at most, as in Keras 3.15; weights hardly compress."""
_A_MODEL = "a Keras model in a .keras or .h5 file"


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a file says of its model: the configuration of the layers, that of compile(), and who wrote it.

    ``path`` is absolute, lest Keras takes a name for an address such as hf://. ``vocabularies`` counts the vocabulary
    files in the archive.
    """

    path: str
    config: Any
    compiled: Any
    keras_version: str
    vocabularies: int = 0

    @property
    def by_keras_2(self) -> bool:
        """Whether an older Keras wrote it, of whose layers Keras 3 has not all."""
        return self.keras_version.startswith(("1.", "2."))


def read_saved(spec: str) -> Saved:
    """Return what the file says of its model; nothing of it is made."""
    path = Path(spec)
    try:
        if path.is_dir():
            raise _directory(spec, path)
        if not path.is_file():
            what = "something that is not a regular file" if path.exists() else "no such file"
            raise unreadable(spec, what, "Check the name and the directory it is in.")
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise unreadable(spec, error.strerror or summarize_error(error), "Check that the file may be read.") from error
    if not start:
        raise unreadable(spec, "an empty file", "Save the model again; the disk may have been full.")
    _check_suffix(spec, path, start)
    return _read_zip(spec, path) if path.name.endswith(".keras") else _read_hdf5(spec, path)


def _check_suffix(spec: str, path: Path, start: bytes) -> None:
    """Raise ModelError where the file's name and its first bytes disagree on what it is; Keras goes by the name."""
    is_zip, is_hdf5 = start.startswith(b"PK"), start == b"\x89HDF\r\n\x1a\n"
    suffix = ".keras" if is_zip else ".h5" if is_hdf5 else ""
    if path.name.endswith((".keras",) if is_zip else (".h5", ".hdf5")) and suffix:
        return
    if suffix:
        raise unreadable(
            spec,
            f"{'a zip' if is_zip else 'an HDF5'} file by another name",
            f"Keras goes by the name: if it is a model, let the name end in {suffix}.",
        )
    what = "a .keras file is a zip" if path.name.endswith(".keras") else "an .h5 file is HDF5"
    named = path.name.endswith(SUFFIXES)
    raise unreadable(
        spec,
        f"a file of another kind or cut off at its start: {what}" if named else "a file of another kind",
        "Save the model again with model.save('model.keras').",
    )


def _directory(spec: str, path: Path) -> ModelError:
    if (path / "saved_model.pb").exists():
        return unreadable(
            spec,
            "a TensorFlow SavedModel directory, which Keras 3 cannot load as a model",
            "Save it with model.save('model.keras') in the Keras or TensorFlow version that wrote it.",
        )
    if (path / "config.json").exists():
        return unreadable(
            spec,
            "a directory that holds what a .keras file does, unzipped",
            f"Zip it: cd {shlex.quote(display(spec))} && python -m zipfile -c ../zipped.keras *",
        )
    return unreadable(spec, "a directory", "Name the file in it.")


def _read_zip(spec: str, path: Path) -> Saved:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            _check_members(spec, archive)
            if "config.json" not in members:
                raise unreadable(spec, "a zip file without config.json", "Save it with model.save('model.keras').")
            config = _parsed(spec, archive.read("config.json"))
            about = _parsed(spec, archive.read("metadata.json")) if "metadata.json" in members else {}
    except ModelError:
        raise
    except Exception as error:  # A damaged zip raises a dozen kinds.
        raise damaged(spec, error) from error
    return Saved(
        str(path.absolute()),
        {key: value for key, value in config.items() if key != "compile_config"},
        config.get("compile_config"),
        printable(str(about.get("keras_version", ""))),
        sum(re.fullmatch(r"assets/(.*/)?vocabulary\.txt", name) is not None for name in members),
    )


def _check_members(spec: str, archive: zipfile.ZipFile) -> None:
    for member in archive.infolist():
        if ".." in re.split(r"[/\\]", member.filename) or member.filename.startswith("/"):
            raise foreign_bytes(spec, f"the member {member.filename}, which is a path out of the file")
        check_size(spec, member.filename, member.file_size, member.compress_size)
    # Members can share their bytes, or claim more than there are.
    unpacked = sum(member.file_size for member in archive.infolist())
    check_size(spec, "the archive", unpacked, Path(str(archive.filename)).stat().st_size)


def check_size(spec: str, place: str, in_memory: int, stored: int) -> None:
    """Raise ModelError for a part of a file that needs a hundred times its bytes in memory."""
    if in_memory > _LARGE and in_memory > _MOST_EXPANSION * max(stored, 1):
        raise foreign_bytes(spec, f"{place}, which holds {stored:,} bytes and needs {in_memory:,} in memory")


def rewrite_config(saved: Saved, target: Path) -> str:
    """Write a copy of a .keras file with the configuration of ``saved``, and return its path."""
    config = saved.config | ({} if saved.compiled is None else {"compile_config": saved.compiled})
    with zipfile.ZipFile(saved.path) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in dict.fromkeys(archive.namelist()):
            if name == "config.json":
                copy.writestr(name, json.dumps(config))
            else:
                with archive.open(name) as source, copy.open(name, "w", force_zip64=True) as out:
                    shutil.copyfileobj(source, out)
    return str(target)


def _read_hdf5(spec: str, path: Path) -> Saved:
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(path, "r") as file:
            config, compiled, version = (
                _text(file.attrs.get(name)) for name in ("model_config", "training_config", "keras_version")
            )
    except Exception as error:
        raise damaged(spec, error) from error
    if config is None:
        raise unreadable(
            spec,
            "an HDF5 file without a model: weights alone, as model.save_weights() writes them",
            "Save the whole model with model.save('model.keras'), or name a function that builds it and loads them: "
            "--model package.module:function.",
        )
    return Saved(
        str(path.absolute()),
        _parsed(spec, config),
        _parsed(spec, compiled) if compiled else None,
        printable(version or ""),
    )


def _text(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)


def _parsed(spec: str, text: str | bytes) -> dict[str, Any]:
    try:
        config = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise unreadable(
            spec, f"a configuration that is not JSON ({summarize_error(error)})", "Save the model again."
        ) from error
    if not isinstance(config, dict):
        raise unreadable(spec, "a configuration that is not a JSON object", "Save the model again.")
    return config


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; Keras's reader of HDF5 acts on those that a second of the same key hides."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key twice")
    return members


# What errors say.


def foreign_bytes(spec: str, received: str) -> ModelError:
    """Return the ModelError of a file that leads to other bytes than its own."""
    return ModelError(
        where=display(spec),
        expected="weights that are stored in the model's own file",
        received=printable(received),
        fix="Save the model again with model.save('model.keras'), on the machine that has the weights.",
    )


def damaged(spec: str, error: Exception) -> ModelError:
    """Return the ModelError of a file that is broken."""
    return unreadable(spec, f"a file that is damaged or cut off ({summarize_error(error)})", "Copy or save it again.")


def unreadable(spec: str, received: str, fix: str) -> ModelError:
    """Return the ModelError of a file that cannot be had as a model."""
    return ModelError(where=display(spec), expected=_A_MODEL, received=printable(received), fix=fix)


def reason(error: BaseException) -> str:
    """Return what was raised, on one line and without the configurations that Keras quotes."""
    cause = str(error).rpartition("Exception encountered:")[2][:LONGEST_ERROR]
    text = re.split(r"[^.]*Full object config:|(?:Received:)?\s*config=\{", cause)[0] or cause
    return printable(f"{type(error).__name__}: {summarize_error(Exception(text))}").rstrip(".")


def display(spec: str) -> str:
    """Return a spec of which every character can be printed."""
    return os.fsencode(spec).decode("utf-8", "replace")


def printable(text: str) -> str:
    """Return what a file says on one line that no terminal obeys."""
    text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return text if len(text) <= 600 else f"{text[:600]} …"
