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
