"""A long run: ``python -m tests.differential --models 1000 --seed 0``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def read_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--models", type=int, default=1000, help="number of random models (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--output", type=Path, help="file for one line of JSON per model")
    parser.add_argument("--minimise", action="store_true", help="minimise each disagreement")
    parser.add_argument("--case", type=Path, help="file with a case as JSON, instead of seeds")
    parser.add_argument("--again", type=Path, help="an earlier --output: ask maskcli again, and keep the truth")
    parser.add_argument("--show", action="store_true", help="print every model, not only disagreements")
    return parser.parse_args()


def describe(outcome: Any) -> Iterator[str]:
    """Yield the facts to count: the verdicts, disagreements, and whether a leak has a repair."""
    truth, answer = outcome.truth, outcome.answer
    yield f"truth {truth.verdict}, answer {answer.verdict}"
    yield from outcome.kinds
    if truth.verdict == answer.verdict == "leaks":
        yield f"leak with{'' if answer.repairs else 'out'} a repair"


def limit_threads() -> None:
    """Let TensorFlow use one thread, because the models are tiny."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> int:
    """Run the models and return the exit code: 1 if maskcli is wrong about any."""
    arguments = read_arguments()
    warnings.simplefilter("ignore")
    from tests.differential import compare, models

    limit_threads()

    if arguments.case:
        print(compare.judge(models.from_json(arguments.case.read_text())).describe())
        return 0
    if arguments.again:
        tasks = [(compare.judge_again, line) for line in arguments.again.read_text().splitlines()]
    else:
        tasks = [(compare.judge_seed, seed) for seed in range(arguments.seed, arguments.seed + arguments.models)]
    counts: Counter[str] = Counter()
    wrong = 0
    with arguments.output.open("w") if arguments.output else contextlib.nullcontext() as output:
        for judge, task in tasks:
            try:
                outcome = judge(task)
                if outcome.kinds and arguments.minimise:
                    outcome = compare.minimise(outcome)
            except RuntimeError:
                traceback.print_exc()
                counts["oracle failed"] += 1
                continue
            counts.update(describe(outcome))
            wrong += bool(outcome.kinds)
            if outcome.kinds or arguments.show:
                print(outcome.describe(), flush=True)
            if output:
                output.write(outcome.to_json() + "\n")
                output.flush()
    print(json.dumps(dict(counts.most_common()), indent=1))
    print(f"{len(tasks) - wrong} of {len(tasks)} right")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
