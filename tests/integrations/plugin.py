"""Load the plugin of pytest in a checkout that was installed before the plugin existed."""

from __future__ import annotations

from importlib.metadata import entry_points

MODULE = "maskcli.integrations.pytest_plugin"
IS_INSTALLED = any(entry.value == MODULE for entry in entry_points(group="pytest11"))
ARGUMENTS = () if IS_INSTALLED else ("-p", MODULE)
"""Of pytest."""
ENVIRONMENT = {} if IS_INSTALLED else {"PYTEST_PLUGINS": MODULE}
