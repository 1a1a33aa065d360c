"""Merge the JSON documents of the parts of a profile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from maskcli.api.profile import make_report, read_part, read_settings
from maskcli.corpus.merging import merge_states
from maskcli.errors import InputError, UsageError
from maskcli.records.corpus import CorpusState
from maskcli.records.data import DataOrigin
from maskcli.records.profile import ProfileReport, SkippedBlock
from maskcli.records.requests import ProfileRequest
from maskcli.render.documents import read_profile_part
from maskcli.sequences.input_files import expand_files
from maskcli.sequences.sources import Source

FIX = "Name the JSON of every part once, each written by `maskcli profile FILES --part I/N -o partI.json`."


class _Part(NamedTuple):
    """A part, and the options of its counts."""

    name: str
    part: int
    parts: int
    options: dict[str, Any]
    state: CorpusState
    skipped: tuple[SkippedBlock, ...]
    origin: DataOrigin


def merge_profiles(paths: Sequence[str], **options: Any) -> ProfileReport:
    """Return the profile of the whole from the documents of its parts.

    Args:
        paths: of all parts, in any order; patterns and directories as for data.
        options: of ``ProfileRequest`` that do not change the counts. Those that do are taken from the parts.

    Raises:
        InputError: for documents that are not all parts of one profile.
        UsageError: for options that differ from those of the parts.
    """
    parts = sorted((_read_part(path) for path in expand_files(paths).paths), key=lambda part: part.part)
    if not parts:
        raise UsageError(where="FILE", expected="the JSON of the parts", received="none", fix=FIX)
    _check_parts(parts)
    first = parts[0]
    _check_options(first, options)
    values = {**options, **first.options}
    request = ProfileRequest(None, **values)
    skipped = tuple(block for part in parts for block in part.skipped)
    state = merge_states([part.state for part in parts])
    return make_report(request, read_settings(request), state, first.origin, skipped)


def _read_part(path: str) -> _Part:
    source = Source(path, "a part of a profile", FIX)
    try:
        document = json.loads(source.read())
        state, skipped, origin = read_profile_part(document)
        part, parts = read_part(str(document["part"]))
        options = {
            "value": int(document["padding_id"]["value"]),
            "input_dim": document["input_dim"],
            "by": document["by"],
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            where=source.name, expected="a part of a profile, as JSON", received=str(error)[:200], fix=FIX
        ) from None
    return _Part(source.name, part, parts, options, state, skipped, origin)


def _check_parts(parts: Sequence[_Part]) -> None:
    """Raise InputError unless these are all parts of one profile, sorted."""
    first = parts[0]
    for part in parts:
        if (part.parts, part.options, part.origin.files) != (first.parts, first.options, first.origin.files):
            raise InputError(
                where=part.name,
                expected=f"a part of the same data, with the same options, as {first.name}",
                received=f"part {part.part}/{part.parts} of {len(part.origin.files)} files, {_describe(part.options)}",
                fix=FIX,
            )
    numbers = [part.part for part in parts]
    if numbers != list(range(1, first.parts + 1)):
        raise InputError(
            where=first.name,
            expected=f"parts 1 to {first.parts}, each once",
            received=f"parts {', '.join(map(str, numbers))}",
            fix=FIX,
        )


def _describe(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


def _check_options(part: _Part, options: dict[str, Any]) -> None:
    for name in ("value", "input_dim"):
        requested = options.get(name)
        if requested not in (None, 0) and requested != part.options[name]:
            raise UsageError(
                where=f"--{name.replace('_', '-')} {requested}",
                expected=f"{part.options[name]}, as in the parts",
                received=str(requested),
                fix="Leave it out, or profile the parts again.",
            )
