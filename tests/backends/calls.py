"""A process that calls functions of modules in this folder by name; see ``worker``, whose questions it answers, too."""

from __future__ import annotations

import importlib
from typing import Any

from tests.backends.worker import QUESTIONS, main


def call(module: str, function: str, *arguments: Any) -> Any:
    """Return the result of a function."""
    return getattr(importlib.import_module(f"tests.backends.{module}"), function)(*arguments)


if __name__ == "__main__":
    QUESTIONS["call"] = call
    main()
