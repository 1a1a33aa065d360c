"""``python -m maskcli``."""

from maskcli.cli import main

main()
