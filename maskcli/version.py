"""The version of maskcli."""

__version__ = "0.1.0"
