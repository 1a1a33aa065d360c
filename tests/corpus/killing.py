"""Pad a file into shards in child processes that are killed at random moments, until one of them ends.

    python -m tests.corpus.killing SOURCE DIRECTORY SETTINGS SEED SECONDS

prints the number of children that were killed. ``SECONDS`` is the duration of a whole run; the children live longer and
longer, so that the work ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from maskcli.corpus import shards
from maskcli.records.manifest import ShardSettings
from maskcli.sequences.sources import Source

SHORTEST, GROWTH = 0.3, 1.1
"""The longest life of the first child, as a share of a whole run, and how much longer each further child may live."""


def pad_once(source: str, folder: str, settings: ShardSettings) -> None:
    shards.pad_to_shards([Source(source)], Path(folder), settings)


def main(source: str, folder: str, settings: str, seed: str, seconds: str) -> None:
    rng, longest, killed = random.Random(int(seed)), SHORTEST * float(seconds), 0
    chosen = ShardSettings(**json.loads(settings))
    while True:
        child = os.fork()
        if not child:
            pad_once(source, folder, chosen)
            os._exit(0)
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        killed, longest = killed + 1, longest * GROWTH
    print(killed)


if __name__ == "__main__":
    main(*sys.argv[1:])
