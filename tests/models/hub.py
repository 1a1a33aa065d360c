"""Verdicts on all text models of KerasHub: ``python -m tests.models.hub --output verdicts.jsonl``.

Models are judged as they are and with each fault in each layer that receives a mask, a model in a process of its own,
forked from one that has imported the libraries. A second run with the same output judges only the models that are
missing there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MARKS = ("is_right", "is_found", "is_blamed")
HOW = ("as it is", "mutated", "mutated last")


def read_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.models.hub", description=__doc__)
    parser.add_argument("names", nargs="*", help="models such as Bert or BertTextClassifier (default: all)")
    parser.add_argument("--how", choices=HOW, action="append", help="default: as it is, and mutated")
    parser.add_argument("--output", type=Path, help="file for one line of JSON per model")
    parser.add_argument("--again", action="store_true", help="judge again the models in --output with a wrong verdict")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time (default 1)")
    return parser.parse_args()


def judge(task: tuple[str, str]) -> dict[str, Any]:
    """Return the verdicts on a model, each as JSON, and the seconds that they took; or an error."""
    import tensorflow as tf

    from tests.models import hub_zoo

    name, how = task
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    tf.config.threading.set_intra_op_parallelism_threads(1)  # The models are tiny.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    started = time.perf_counter()
    verdicts: Iterable[hub_zoo.Verdict]
    try:
        verdicts = [hub_zoo.judge(name)] if how == "as it is" else hub_zoo.judge_mutants(name, how == "mutated last")
        lines = [{**dataclasses.asdict(x), **{mark: getattr(x, mark) for mark in MARKS}} for x in verdicts]
    except Exception:
        return {"model": name, "how": how, "verdicts": [], "error": traceback.format_exc()[-2000:]}
    return {"model": name, "how": how, "verdicts": lines, "seconds": round(time.perf_counter() - started, 1)}


def describe(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the figures: of the models as they are, and of the mutants."""
    verdicts = [(record["how"] != "as it is", verdict) for record in records for verdict in record["verdicts"]]
    plain = [verdict for is_mutant, verdict in verdicts if not is_mutant]
    mutants = [verdict for is_mutant, verdict in verdicts if is_mutant]
    false_errors = [verdict for verdict in plain if not verdict["leaks"] and verdict["errors"]]
    silent = [verdict for verdict in plain if verdict["leaks"] and verdict["verdict"] == "clean"]
    passed = [verdict for verdict in mutants if not verdict["is_found"] and verdict["verdict"] == "clean"]
    yield f"{len(plain)} models as they are: {sum(verdict['is_right'] for verdict in plain)} right"
    yield f"  {len(false_errors)} false errors, {len(silent)} silent passes"
    yield f"{len(mutants)} mutants: {sum(verdict['is_found'] for verdict in mutants)} found, {len(passed)} silent passes"
    yield f"  {sum(verdict['is_blamed'] for verdict in mutants)} blamed at the mutated call"
    yield f"{sum('error' in record for record in records)} models that could not be judged"


def is_missed(verdict: dict[str, Any], how: str) -> bool:
    """Return whether maskcli was wrong."""
    return not (verdict["is_right"] if how == "as it is" else verdict["is_found"] and verdict["is_blamed"])


def main() -> int:
    """Judge the models and return the exit code: 1 if maskcli is wrong about any."""
    import maskcli.cli  # noqa: F401 - imported before the fork
    from tests.models import hub_zoo

    arguments = read_arguments()
    records = read_records(arguments)
    present = {(record["model"], record["how"]) for record in records}
    names = arguments.names or list(hub_zoo.list_names())
    tasks = [(name, how) for how in arguments.how or HOW[:2] for name in names if (name, how) not in present]
    # A process for each model returns the memory that Keras keeps.
    with multiprocessing.get_context("fork").Pool(arguments.jobs, maxtasksperchild=1) as pool:
        for record in pool.imap_unordered(judge, tasks):
            records.append(record)
            print(f"{record['model']}, {record['how']}: {len(record['verdicts'])} verdicts, {record.get('seconds')} s")
            sys.stdout.flush()
            if arguments.output:
                with arguments.output.open("a") as output:
                    output.write(json.dumps(record) + "\n")
    misses = 0
    for record in records:
        for verdict in [{"error": record["error"]}] if "error" in record else record["verdicts"]:
            if "error" in verdict or is_missed(verdict, record["how"]):
                misses += 1
                print(f"WRONG {record['model']}: {json.dumps(verdict)}")
    print("\n".join(describe(records)))
    return int(misses > 0)


def read_records(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the records of an earlier run; with --again without those that are wrong."""
    if not arguments.output or not arguments.output.exists():
        return []
    records = [json.loads(line) for line in arguments.output.read_text().splitlines()]
    if not arguments.again:
        return records
    right = [
        record
        for record in records
        if "error" not in record and not any(is_missed(verdict, record["how"]) for verdict in record["verdicts"])
    ]
    arguments.output.write_text("".join(json.dumps(record) + "\n" for record in right))
    return right


if __name__ == "__main__":
    sys.exit(main())
