"""Where in the user's code a finding is, and the fingerprint that recognises it in a later check."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from maskcli.records.location import Location

if TYPE_CHECKING:
    from maskcli.records.check import Examination, Finding
    from maskcli.records.evidence import ModelEvidence

_SUBJECTS = ("input", "output", "name")
"""Names of evidence that distinguishes findings of one rule that are about no call."""
_COUNTER = re.compile(r"_\d+$")
_REPEATED = re.compile(r"#\d+$")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DIGITS = 16
"""Hexadecimal digits of a fingerprint."""


def identify(findings: Iterable[Finding], examination: Examination) -> Iterator[Finding]:
    """Yield findings with their locations and their fingerprints."""
    model = examination.model
    repeated: collections.Counter[str] = collections.Counter()
    for finding in findings:
        text = "\n".join((finding.code, _name_path(finding, model), finding.type or "", *_list_subjects(finding)))
        repeated[text] += 1
        digest = hashlib.sha256(f"{text}\n{repeated[text]}".encode()).hexdigest()
        location = None if model is None else _find_location(finding, model)
        yield dataclasses.replace(finding, location=location, fingerprint=digest[:_DIGITS])


def _find_location(finding: Finding, model: ModelEvidence) -> Location | None:
    """Return the line of the call at fault, or of a call that contains it; that of the model if the model is at fault.

    The data of a project has no lines.
    """
    if finding.call is None:
        return None if finding.code.startswith("MSK0") else model.location
    if model.failure is not None and finding.call == model.failure.call:
        return model.failed_at
    path = finding.call
    while path:
        call = model.call(path)
        if call is not None:
            return call.location
        path = path.rpartition("/")[0]
    return model.location  # Of a metric, which is not a call.


def _name_path(finding: Finding, model: ModelEvidence | None) -> str:
    """Return the path of a call without the numbers that Keras counts through a process."""
    if finding.call is None:
        return ""
    path, names = "", []
    for part in finding.call.split("/"):
        path = f"{path}/{part}" if path else part
        call = None if model is None else model.call(path)
        type_ = finding.type if path == finding.call else None
        names.append(_strip_counter(_REPEATED.sub("", part), call.type if call is not None else type_))
    return "/".join(names)


def _strip_counter(name: str, type_: str | None) -> str:
    """Return the name of a layer; ``dense_12`` of a Dense is ``dense``, the names that users choose stay."""
    automatic = _WORD.sub("_", type_ or "").lower()
    bare = _COUNTER.sub("", name)
    return bare if bare.replace("_", "") == automatic.replace("_", "") else name


def _list_subjects(finding: Finding) -> Iterator[str]:
    """Yield the input, the output or the metric that a finding is about, if it is about no call."""
    for name in _SUBJECTS:
        value = finding.evidence.get(name)
        if finding.call is None and isinstance(value, str):
            yield f"{name}={_COUNTER.sub('', value)}"
