"""maskcli's verdicts on tiny text models of KerasHub, as they are and with faults put into their masks.

The truth is measured without maskcli. All of this runs in other processes: importing keras_hub registers its classes
for the rest of a process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clean_environment

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="keras_hub is not installed: pip install -e '.[hub]'"
)
in_all = pytest.mark.skipif("MASKCLI_HUB" not in os.environ, reason="half an hour: set MASKCLI_HUB=1")
ROOT = Path(__file__).parents[2]
FEW = ("BertTextClassifier", "FNet", "GPT2", "T5")
"""Models that are judged in every run: each kind of mask, and a fault that KerasHub has."""
FEW_MUTATED = ("Bert", "Llama")
BACKBONES = (
    *("Albert", "Bart", "Bloom", "DebertaV3", "DistilBert", "EdRec", "Electra", "FNet", "Falcon", "GPT2", "GPTNeoX"),
    *("Gemma", "Gemma3", "Gemma3n", "Gemma4", "GptOss", "Llama3", "Mistral", "Mixtral", "OPT", "Phi3", "Qwen", "Qwen3"),
    *("Qwen3Moe", "Qwen3_5", "Qwen3_5Moe", "QwenMoe", "RWKV7", "Roberta", "RoformerV2", "SmolLM3", "T5", "T5Gemma"),
    *("T5Gemma2", "XLMRoberta", "XLNet"),
)
RUN = """
import dataclasses, json, logging, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from tests.models import hub_zoo

names, how = json.loads(sys.argv[1]), sys.argv[2]
verdicts = []
for name in names:
    verdicts += [hub_zoo.judge(name)] if how == "as it is" else hub_zoo.judge_mutants(name, last=how == "mutated last")
marks = ("is_right", "is_found", "is_blamed")
print(json.dumps([{**dataclasses.asdict(x), **{mark: getattr(x, mark) for mark in marks}} for x in verdicts]))
"""
LIST = "import json; from tests.models import hub_zoo; print(json.dumps([*hub_zoo.BACKBONES, *hub_zoo.list_names()]))"


def run(program: str, *arguments: str) -> Any:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def judge(names: tuple[str, ...], how: str = "as it is") -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = run(RUN, json.dumps(names), how)
    return verdicts


def test_models_as_they_are() -> None:
    verdicts = judge(FEW)
    assert [verdict["name"] for verdict in verdicts] == list(FEW)
    assert [verdict for verdict in verdicts if not verdict["is_right"]] == []
    assert {verdict["name"] for verdict in verdicts if verdict["leaks"]} == {"FNet"}


def test_mutants_are_found_and_blamed() -> None:
    verdicts = judge(FEW_MUTATED, "mutated last")
    assert {verdict["mutation"] for verdict in verdicts} == {"cut", "inverted", "turned", "acausal"}
    assert [verdict for verdict in verdicts if not verdict["is_found"]] == []
    assert [verdict for verdict in verdicts if not verdict["is_blamed"]] == []


@in_all
def test_all_models_as_they_are() -> None:
    names = run(LIST)
    assert set(names) >= set(BACKBONES)
    wrong = [verdict for verdict in judge(tuple(names)) if not verdict["is_right"]]
    assert wrong == []


@in_all
@pytest.mark.parametrize("name", BACKBONES)
def test_all_mutants(name: str) -> None:
    verdicts = judge((name,), "mutated")
    assert [verdict for verdict in verdicts if not verdict["is_found"]] == []
    assert [verdict for verdict in verdicts if not verdict["is_blamed"]] == []
