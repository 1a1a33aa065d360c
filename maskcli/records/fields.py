"""Types of record fields, named by the values that they may hold.

To Python these are plain types. The JSON Schemas know the limits: ``maskcli.render.schemas`` looks them up by these
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Count = int
"""0 or more."""
Positive = int
"""1 or more."""
NonEmpty = str
"""At least one character."""

Severity = Literal["error", "warning", "info"]
"""``error``: results are wrong; ``warning``: they may be, or will be with other data; ``info`` never fails a check."""
RuleCode = str
"""``MSK`` and three digits."""
RuleCodes = tuple[str, ...]
"""Different rule codes."""
RuleName = str
"""Lower-case words joined by hyphens."""
ProbeName = str
"""``replace``, ``alone``, ``columns``, ``gradient``, ``rows``, ``segments``, ``future`` or ``compiled``."""
RepairKind = str
"""Lower-case words joined by hyphens."""
Effect = str
"""``creates``, ``passes``, ``changes``, ``uses``, ``drops`` or ``none``."""
ComparedSource = str
"""``embedding``, ``masking`` or ``explicit``: a mask source that ``--mask-source all`` compares."""
SourceOption = str
"""A value of ``--mask-source``: a compared source, ``none`` or ``all``."""

BackendName = Literal["tensorflow", "jax", "torch"]
"""A backend of Keras that models run on."""
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
Versions = dict[str, str | None]
"""Of keras, its backend and numpy; that of tensorflow is null if the model did not run on it."""
CheckVersions = dict[str, str | None]
"""Of keras, its backend and numpy; empty if no model ran."""
ReportVersions = dict[str, str | None]
"""Of maskcli, python, keras, its backend and numpy; that of tensorflow is null if the model did not run on it."""


def find_backend(versions: Mapping[str, str | None]) -> BackendName | None:
    """Return the backend among the versions of packages; None if there is none."""
    return next((name for name in BACKENDS if versions.get(name) is not None), None)


Shape = tuple[int, ...]
"""The length of each axis, at least one axis."""
BatchShape = tuple[int, int]
"""``(batch, timesteps)``, both at least 1."""
