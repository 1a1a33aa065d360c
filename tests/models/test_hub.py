"""KerasHub's models load where the user asks for them, and never because a file names them.

All of this runs in other processes: importing keras_hub registers its classes for the rest of a process.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clean_environment

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="keras_hub is not installed: pip install -e '.[hub]'"
)
TEXT = {"vocabulary_size": 20, "num_layers": 1, "hidden_dim": 4, "intermediate_dim": 8}
LONG = {"max_sequence_length": 8, "num_heads": 2}
GROUPED = {"num_query_heads": 2, "num_key_value_heads": 1}
RESIDUAL = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64],
    "stackwise_num_blocks": [1],
    "stackwise_num_strides": [1],
    "block_type": "basic_block",
    "image_shape": [16, 16, 3],
}
BACKBONES: dict[str, dict[str, Any]] = {
    "AlbertBackbone": {**TEXT, **LONG, "embedding_dim": 4},
    "BartBackbone": {**TEXT, **LONG},
    "BertBackbone": {**TEXT, **LONG},
    "DebertaV3Backbone": {**TEXT, **LONG, "bucket_size": 4},
    "FNetBackbone": {**TEXT, "max_sequence_length": 8},
    "GPT2Backbone": {**TEXT, **LONG},
    "GemmaBackbone": {**TEXT, **GROUPED, "head_dim": 2},
    "LlamaBackbone": {**TEXT, **GROUPED},
    "ResNetBackbone": RESIDUAL,
    "RobertaBackbone": {**TEXT, **LONG},
    "T5Backbone": {**TEXT, "num_heads": 2},
    "ViTBackbone": {
        "image_shape": [16, 16, 3],
        "patch_size": 8,
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 4,
        "mlp_dim": 8,
    },
}
WRITE = """
import json, sys
import keras, keras_hub

models = keras_hub.models
backbones = {name: getattr(models, name)(**settings) for name, settings in json.loads(sys.argv[1]).items()}
for name, backbone in backbones.items():
    backbone.save(f"{name}.keras")

tokenizer = models.BertTokenizer(vocabulary=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"])
preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8)
bert = backbones["BertBackbone"]
models.BertTextClassifier(backbone=bert, num_classes=2, preprocessor=preprocessor).save("BertTextClassifier.keras")
models.GPT2CausalLM(backbone=backbones["GPT2Backbone"]).save("GPT2CausalLM.keras")

tokens = keras.Input((None,), dtype="int32")
embedded = keras_hub.layers.TokenAndPositionEmbedding(20, 8, 4, mask_zero=True)(tokens)
outputs = keras.layers.Dense(1)(keras_hub.layers.TransformerEncoder(8, 2)(embedded))
for suffix in (".keras", ".h5"):
    keras.Model(tokens, outputs).save(f"Functional{suffix}")
"""
LOAD = """
import json, pathlib, sys
from maskcli.errors import ModelError
from maskcli.models.load import load

results = {}
for path in sorted(pathlib.Path().iterdir()):
    try:
        model = load(str(path), sys.argv[1:])
        results[path.name] = type(model.keras_model).__name__
        assert model.notes == ()
    except ModelError as error:
        results[path.name] = f"{error.received} {error.fix}"
print(json.dumps([results, "keras_hub" in sys.modules]))
"""


def python(program: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=clean_environment(), cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of saved models, each named as its class."""
    folder = tmp_path_factory.mktemp("hub")
    python(WRITE, folder, json.dumps(BACKBONES))
    assert len(list(folder.iterdir())) == len(BACKBONES) + 4
    return folder


def test_hub_models_load_with_option(folder: Path) -> None:
    results, _ = json.loads(python(LOAD, folder, "keras_hub"))
    assert results == {path.name: path.stem for path in folder.iterdir()}


def test_hub_is_not_imported_without_option(folder: Path) -> None:
    results, is_imported = json.loads(python(LOAD, folder))
    assert results.keys() == {path.name for path in folder.iterdir()}
    assert [text for text in results.values() if not text.endswith("--custom-objects keras_hub.")] == []
    assert not is_imported


@pytest.mark.parametrize(
    "name", ["Functional.keras", "Functional.h5", "GPT2CausalLM.keras", "BertTextClassifier.keras"]
)
def test_inspect_shows_hub_model(name: str, folder: Path, tmp_path: Path) -> None:
    fields = {"token_ids": [1, 2, 3], "padding_mask": [1, 1, 1]}
    if name.startswith("Bert"):
        fields["segment_ids"] = [0, 0, 0]
    data = tmp_path / "data.jsonl"
    data.write_text("[1, 2, 3]\n" if name.startswith("Functional") else f"{json.dumps(fields)}\n")
    program = "import sys; from maskcli.cli import run_and_exit; run_and_exit()"
    output = python(
        program, tmp_path, "inspect", str(data), "--model", str(folder / name), "--custom-objects=keras_hub"
    )
    assert "TransformerEncoder" in output or "TransformerDecoder" in output


# Models by name, without a file


BUILD_ALL = """
import sys
import keras
from maskcli.models.hub import _list_text_models, find_hub_model
from keras_hub import models

names = [model.name for model in _list_text_models(models)]
assert len(names) > 80, names
backbones = [name for name in names if find_hub_model(f"kerashub:{name}").task is None]
# One task of each kind is enough: they differ in their heads, not in their backbones.
tasks = {name.rpartition("_")[2]: name for name in names if name not in backbones}
for name in [*backbones[::6], *list(tasks.values())[::2]]:
    if name == "gemma4_assistant_causal_lm":  # It needs the model that it assists.
        continue
    model = find_hub_model(f"kerashub:{name}").build(100, 5, {}, 0)
    assert model.count_params() < 500_000, name
    keras.backend.clear_session()
"""
VERDICTS = """
import json, sys
import maskcli

names = {"bert": {}, "BertMaskedLM": {}, "bart_seq2seq_lm": {}, "gpt2-causal-lm": {"num_layers": 1}, "distil_bert": {}}
for name, settings in names.items():
    report = maskcli.check([[1, 2, 999], [4]], model=f"kerashub:{name}", model_args=settings)
    again = maskcli.inspect([[1, 2, 999], [4]], model=f"kerashub:{name}", model_args=settings)
    first = maskcli.inspect([[1, 2, 999], [4]], model=f"kerashub:{name}", model_args=settings)
    assert (again.outputs[0].values == first.outputs[0].values).all()
    dims = {lookup.input_dim for lookup in report.examination.model.lookups if lookup.input.endswith("token_ids")}
    filled = {entry.name: entry.validity.filled_with for entry in report.inputs if entry.validity.filled_with}
    print(json.dumps([name, report.leak.verdict, max(dims), filled, report.model.source]))
for name in ("bertt", "resnet", ""):
    try:
        maskcli.check([[1]], model=f"kerashub:{name}")
    except ValueError as error:
        print(json.dumps(str(error)))
"""


def test_hub_models_build_by_name(tmp_path: Path) -> None:
    """Sizes follow from signatures, so that models which this code does not know build as well."""
    python(BUILD_ALL, tmp_path)


def test_hub_models_by_name_are_judged(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in python(VERDICTS, tmp_path).splitlines()]
    mask = {"padding_mask": "mask"}
    both = {"encoder_padding_mask": "mask", "decoder_padding_mask": "mask", "decoder_token_ids": "copy"}
    assert lines[:5] == [
        ["bert", "clean", 1000, {"segment_ids": "zeros", **mask}, "kerashub"],
        ["BertMaskedLM", "clean", 1000, {"segment_ids": "zeros", **mask, "mask_positions": "zeros"}, "kerashub"],
        ["bart_seq2seq_lm", "clean", 1000, both, "kerashub"],
        ["gpt2-causal-lm", "clean", 1000, mask, "kerashub"],
        ["distil_bert", "clean", 1000, mask, "kerashub"],
    ]
    assert "Did you mean bert" in lines[5]
    assert "resnet, which takes more than ids" in lines[6]
    assert "Its backbones are albert, bart, bert" in lines[7]
