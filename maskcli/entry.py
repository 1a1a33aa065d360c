"""The start of the ``maskcli`` process: signals are handled before anything that takes time is imported."""

from __future__ import annotations

import _thread
import gc
import os
import select
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
GRACE = 1.0
"""Seconds after a signal in which the main thread may end the process, before the watching thread does."""
_leaving = _thread.allocate_lock()
"""Held by the thread that ends the process; never released."""
_masks = _thread._local()
"""The signals that a thread had blocked before it forked."""


def main() -> None:
    """Run the command line, from the first moment without a traceback on Ctrl-C or SIGTERM."""
    for name in SIGNALS:
        number = getattr(signal, name)
        # A shell lets its background jobs ignore Ctrl-C, and nohup does so too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    if os.name == "posix":
        watch_signals()
    gc.disable()  # Imports leave no garbage; ``GroupedCommand.invoke`` enables it again.
    from maskcli.cli import run_and_exit

    run_and_exit()


def leave(number: int, _frame: FrameType | None) -> None:
    """End the process at once: remove unfinished files, restore the terminal, and exit without a word."""
    # An exception could be swallowed by a library, or be printed where it cannot be raised, as in a destructor or
    # while the interpreter ends. Nothing here runs for the second time if another signal arrives.
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _clean_and_exit(number)


def watch_signals() -> None:
    """Start a thread that ends the process if the main thread does not: it may be in a long call of TensorFlow.

    Python runs the handler of a signal between two of its own instructions, thus after the call, but it writes the
    number of the signal into a pipe at once.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_forget_signals)
    _thread.start_new_thread(_leave_after_signal, (reading,))


def _hold_signals() -> None:
    """Let signals wait during a fork: the new process would write into the pipe of its parent until it forgets it."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, name) for name in SIGNALS])


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _forget_signals() -> None:
    """Let a fork of this process, of a library for example, end as any process: the files are those of its parent."""
    signal.set_wakeup_fd(-1)
    for name, action in (("SIGINT", signal.default_int_handler), ("SIGTERM", signal.SIG_DFL)):
        if signal.getsignal(getattr(signal, name)) is leave:
            signal.signal(getattr(signal, name), action)
    _release_signals()


def _leave_after_signal(reading: int) -> None:
    """Wait for a signal that ends the process, and then for a second one, or for the time of the main thread."""
    numbers = [getattr(signal, name) for name in SIGNALS]
    number = 0
    # A script may have a handler of its own; and once ``leave`` runs, signals are ignored.
    while number not in numbers or signal.getsignal(number) is not leave:
        number = os.read(reading, 1)[0]
    select.select([reading], [], [], GRACE)
    _clean_and_exit(number)


def _clean_and_exit(number: int) -> None:
    """Clean up and exit; a second thread that calls this waits for the first one."""
    _leaving.acquire()
    try:
        for module, clean in CLEANING.items():
            getattr(sys.modules.get(module), clean, int)()
    finally:
        os._exit(SIGNALS[signal.Signals(number).name])
