"""The releases of Keras that maskcli knows."""

from __future__ import annotations

import re

from maskcli.errors import ModelError

LOWEST = (3, 12, 4)
"""The oldest release that the tests run with; pyproject.toml has the same one."""
NEWEST = (3, 15)
"""The newest minor release that the tests ran with."""


def check_keras_version(version: str) -> None:
    """Raise ModelError for a release of Keras that is too old."""
    if _parse(version) < LOWEST:
        lowest = ".".join(map(str, LOWEST))
        raise ModelError(
            where="the version of Keras",
            expected=f"Keras {lowest} or later",
            received=f"Keras {version}",
            fix=f"Upgrade it: pip install 'keras>={lowest}'.",
        )


def note_newer_version(version: str) -> tuple[str, ...]:
    """Return a note on a release of Keras that is newer than those that maskcli was tested with; else nothing."""
    if _parse(version)[:2] <= NEWEST:
        return ()
    newest = ".".join(map(str, NEWEST))
    return (
        f"Keras {version} is newer than {newest}, the newest release that this version of maskcli was tested with.",
    )


def list_version_notes() -> tuple[str, ...]:
    """Return the notes on the release of Keras in this process."""
    import keras

    return note_newer_version(keras.__version__)


def _parse(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: ``3.15.0rc1`` is one of 3.15.0."""
    numbers = [int(digits) for part in version.split(".")[:3] if (digits := re.match(r"\d*", part)[0])]  # type: ignore[index]
    return (*numbers, 0, 0, 0)[:3]
