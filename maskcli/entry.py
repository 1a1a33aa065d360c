"""The start of the ``maskcli`` process: signals are handled before anything that takes time is imported."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType

SIGNALS = {"SIGINT": 130, "SIGTERM": 143}
"""The signals that end the process, with their exit codes: 128 and the number of the signal."""
CLEANING = {
    "maskcli.corpus.engines.processes": "kill_workers",
    "maskcli.api.side_processes": "end_sides",
    "maskcli.sequences.writing": "remove_temporaries",
    "maskcli.render.progress": "restore_terminals",
}
"""Functions that clean up, by the module that they are in; a module that is not imported has nothing to clean."""


def main() -> None:
    """Run the command line, from the first moment without a traceback on Ctrl-C or SIGTERM."""
    for name in SIGNALS:
        number = getattr(signal, name)
        # A shell lets its background jobs ignore Ctrl-C, and nohup does so too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    gc.disable()  # Imports leave no garbage; ``GroupedCommand.invoke`` enables it again.
    from maskcli.cli import run_and_exit

    run_and_exit()


def leave(number: int, _frame: FrameType | None) -> None:
    """End the process at once: remove unfinished files, restore the terminal, and exit without a word."""
    # An exception could be swallowed by a library, or be printed where it cannot be raised, as in a destructor or
    # while the interpreter ends. Nothing here runs for the second time if another signal arrives.
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    for module, clean in CLEANING.items():
        getattr(sys.modules.get(module), clean, int)()
    os._exit(SIGNALS[signal.Signals(number).name])
