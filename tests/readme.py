"""Run the transcripts of the README and of the docs, compare them, or rewrite them: ``python -m tests.readme [PAGE]``."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import fork_server
from tests.conftest import ROOT, clean_environment
from tests.integrations import plugin

README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^(?P<fence>`{3,})console\n(?P<text>.*?)^(?P=fence)$", re.M | re.S)
"""A transcript; one that prints a block of code itself has a longer fence."""
DRAWN = re.compile(r"^<!-- \$ (.*) -->\n```mermaid\n(.*?)^```$", re.M | re.S)
"""A graph in a page, and the command that prints it."""
NUMBER = re.compile(r"-?\d+(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+)")
ROUNDING = 1e-5
"""Numbers below this are rounding errors, which differ between machines and versions."""
NOTHING = re.compile(r"results by 0(?![\d]|\.\d)")
"""A change of results that is rounding on other machines."""
RULE_COUNT = re.compile(r"\d+ rules checked")
"""The number of rules, which may differ: a new rule changes no page."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A command line after ``$ ``, and its output on the page."""

    command: str
    output: str


def steps(text: str) -> list[Step]:
    """Return the steps of all transcripts of a page."""
    return [Step(command, output) for command, output in DRAWN.findall(text)] + [
        Step(command, output)
        for block in find_transcripts(text)
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
    ]


def find_transcripts(text: str) -> list[str]:
    """Return the content of the transcripts of a page."""
    return [match["text"] for match in BLOCK.finditer(text)]


def run(command: str, program: list[str]) -> str:
    """Return the output of a shell command on both streams; ``program`` is the command line of maskcli.

    A real shell runs it in a temporary folder that has the sample data of the checkout.
    """
    with tempfile.TemporaryDirectory() as folder:
        shim = Path(folder) / "bin" / "maskcli"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
        shim.chmod(0o755)
        (Path(folder) / "python").symlink_to(sys.executable)
        # A copy: findings show lines of code by their path from the working directory, which a link would hide.
        shutil.copytree(
            ROOT / "sample_data", Path(folder) / "sample_data", ignore=shutil.ignore_patterns("__pycache__")
        )
        path = f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = clean_environment(PATH=path, PYTHONPATH=str(ROOT), **plugin.ENVIRONMENT)
        done = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=120,
        )
    return "".join(f"{line.rstrip()}\n" for line in (done.stdout + done.stderr).splitlines())


def alike(shown: str, printed: str) -> bool:
    """Return whether two outputs are equal up to the last digit of numbers, which may differ between machines.

    The number of rules may differ too.
    """
    shown, printed = (NOTHING.sub("results by 0.0", RULE_COUNT.sub("rules checked", text)) for text in (shown, printed))
    if NUMBER.sub("#", _squeezed(shown)) != NUMBER.sub("#", _squeezed(printed)):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(_is_close(a, b) for a, b in pairs)


def _is_close(shown: str, printed: str) -> bool:
    a, b = float(shown), float(printed)
    if 0 < max(abs(a), abs(b)) < ROUNDING:
        return True
    return abs(a - b) <= 1.5 * _last_digit(shown) + 1e-6 * abs(a)


def _squeezed(text: str) -> str:
    return re.sub(r" +", " ", text)


def _last_digit(number: str) -> float:
    mantissa, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def rewritten(text: str, program: list[str]) -> str:
    """Return a page with every transcript run again."""

    def block(match: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (.*)$", match["text"], re.M)
        text = "".join(f"$ {command}\n{run(command, program)}" for command in commands)
        longest = max(map(len, re.findall(r"^`{3,}", text, re.M)), default=2)
        fence = "`" * (longest + 1)
        return f"{fence}console\n{text}{fence}"

    def drawn(match: re.Match[str]) -> str:
        return f"<!-- $ {match[1]} -->\n```mermaid\n{run(match[1], program)}```"

    return DRAWN.sub(drawn, BLOCK.sub(block, text))


if __name__ == "__main__":
    with fork_server.start(clean_environment()) as program:
        for page in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
            page.write_text(rewritten(page.read_text(), program))
