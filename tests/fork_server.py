"""A server that imports Keras once and forks for each command, and its client, which behaves like ``python -m maskcli``.

Importing TensorFlow takes seconds, and a fork takes milliseconds. The client passes its arguments, folder, environment
and open streams to the server, waits for the command, and ends as the command ended: with its exit code, or by its signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STREAMS = (0, 1, 2)
READ_AT_IMPORT = ("CUDA_", "KERAS_", "OMP_", "OPENBLAS_", "PYTHONHASHSEED", "PYTHONWARNINGS", "TF_")
"""Variables that libraries read once, when they are imported: a command that differs in one gets a process of its own."""
Settings = dict[str, str]


@contextlib.contextmanager
def start(environment: Settings) -> Iterator[list[str]]:
    """Start a server with an environment; yield the command line of its client."""
    import subprocess
    import tempfile

    if sys.platform != "linux":  # Elsewhere a process with these libraries cannot be forked safely.
        yield [sys.executable, "-m", "maskcli"]
        return
    with tempfile.TemporaryDirectory(prefix="forks-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/socket"
        listener.bind(path)
        listener.listen()  # Clients wait in this queue until the server has imported everything.
        Path(folder, "settings").write_text(json.dumps(_settings_at_import(environment)))
        process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C ends the tests, and the end of its stdin then ends the server.
        )
        listener.close()
        assert process.stdin is not None
        try:
            yield [sys.executable, "-IS", __file__, "run", folder]
        finally:
            process.stdin.close()
            process.wait()


def _settings_at_import(environment: Mapping[str, str]) -> Settings:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


# The client. It imports little, since it starts for each command.


def run(folder: str, arguments: list[str]) -> int:
    """Run one command through the server, and return its exit code."""
    if _settings_at_import(os.environ) != json.loads(Path(folder, "settings").read_text()):
        os.execv(sys.executable, [sys.executable, "-m", "maskcli", *arguments])  # noqa: S606
    streams = [stream for stream in STREAMS if _is_open(stream)]  # Before the socket takes the number of a closed one.
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ), "streams": streams}
    message = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{folder}/socket")
        socket.send_fds(connection, [len(message).to_bytes(4, "big")], streams)
        connection.sendall(message)
        answer = connection.recv(4, socket.MSG_WAITALL)
    if not answer:
        raise SystemExit("the fork server ended before the command did")
    status = int.from_bytes(answer, "big", signed=True)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _is_open(stream: int) -> bool:
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True


# The server. Only the process of a command leaves ``serve``; the server itself ends inside.


def import_everything() -> None:
    """Import Keras and all modules of maskcli, without running an operation of TensorFlow."""
    import gc
    import importlib
    import pkgutil

    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # Otherwise NumPy starts threads when it is imported.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # Some messages of TensorFlow ignore its log level.
    sys.modules["pandas"] = None  # type: ignore[assignment] # Keras imports it if it is there, and it starts a thread.
    try:
        import keras  # noqa: F401
    finally:
        del sys.modules["pandas"]
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
    import maskcli

    for module in pkgutil.walk_packages(maskcli.__path__, "maskcli."):
        # No command needs the plugin of pytest and the callback, whose import starts to record lines of code.
        if not module.name.endswith("__main__") and ".integrations" not in module.name:
            importlib.import_module(module.name)
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, f"a process of {len(threads)} threads cannot be forked safely"
    gc.freeze()  # So that the collector of a child copies no page of these objects.


class Server:
    """The listening socket, and the connection of each running command by its process id."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.connections: dict[int, socket.socket] = {}
        self.ended, self.wakeup = socket.socketpair()
        self.ended.setblocking(False)
        self.wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup.fileno())
        self.selector = selectors.DefaultSelector()
        for source in (sys.stdin.fileno(), self.listener, self.ended):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any]:
        """Fork for each request; return the request, in the process that was forked for it."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    request = self._fork(self.listener.accept()[0])
                    if request is not None:
                        return request
                elif key.fileobj is self.ended:
                    self.ended.recv(4096)
                    self._report_ends()
                elif key.fileobj in self.connections.values():  # The client is gone: a time limit, or a signal.
                    self._kill(key.fileobj)
                elif key.fd == sys.stdin.fileno():  # Its end: the tests are over, or were killed.
                    self._kill(*self.connections.values())
                    os._exit(0)

    def _fork(self, connection: socket.socket) -> dict[str, Any] | None:
        header, received, _, _ = socket.recv_fds(connection, 4, len(STREAMS))
        message = connection.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
        pid = os.fork()
        if pid:
            self.connections[pid] = connection
            self.selector.register(connection, selectors.EVENT_READ)
            _close(received)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for held in (self.listener, self.ended, self.wakeup, connection, *self.connections.values()):
            held.close()
        request: dict[str, Any] = json.loads(message)  # A message cut short fails here, in no process but this one.
        passed = dict(zip(request["streams"], received, strict=True))
        for stream in STREAMS:
            if stream in passed:
                os.dup2(passed[stream], stream)
            else:
                os.close(stream)
        _close(received)
        return request

    def _report_ends(self) -> None:
        while self.connections:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            connection = self.connections.pop(pid)
            self.selector.unregister(connection)
            with contextlib.suppress(ConnectionError), connection:
                connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))

    def _kill(self, *connections: Any) -> None:
        for pid, connection in self.connections.items():
            if connection in connections:
                os.kill(pid, signal.SIGKILL)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def become_maskcli(request: dict[str, Any], path: list[str]) -> None:
    """Be ``python -m maskcli`` from here on: its arguments, folder, environment, module path and streams."""
    import runpy

    import numpy as np

    environment: Settings = request["environment"]
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(environment)
    python_path = environment.get("PYTHONPATH", "")
    sys.path[:] = [request["folder"], *filter(None, python_path.split(os.pathsep)), *path]
    _open_streams(request["streams"], environment)
    np.random.seed()  # Otherwise all commands would draw the same numbers.
    sys.argv = ["maskcli", *request["arguments"]]
    runpy.run_module("maskcli", run_name="__main__", alter_sys=True)


def _open_streams(streams: list[int], environment: Settings) -> None:
    """Open ``sys.stdin``, ``stdout`` and ``stderr`` as Python does when it starts; None where one is closed."""
    import io
    import locale

    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    unbuffered = bool(environment.get("PYTHONUNBUFFERED"))
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None
        if descriptor in streams:
            buffering = 0 if descriptor and unbuffered else -1
            buffer: Any = open(descriptor, "wb" if descriptor else "rb", buffering, closefd=False)  # noqa: SIM115
            raw = getattr(buffer, "raw", buffer)
            raw.name = f"<{name}>"
            stream = io.TextIOWrapper(
                buffer,
                encoding=encoding or locale.getencoding(),
                errors="backslashreplace" if name == "stderr" else errors or "strict",
                newline="\n",
                line_buffering=not unbuffered and (name == "stderr" or raw.isatty()),
                write_through=unbuffered,
            )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main() -> None:
    """Serve on the socket that was passed, or run a command through a server."""
    action, where, *arguments = sys.argv[1:]
    if action == "run":
        sys.exit(run(where, arguments))
    python_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [folder for folder in sys.path[1:] if folder not in python_path]
    del sys.path[0]  # The folder of this file, which no command sees.
    import_everything()
    become_maskcli(Server(socket.socket(fileno=int(where))).serve(), path)


if __name__ == "__main__":
    main()
