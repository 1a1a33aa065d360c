"""Tiny text models of KerasHub with random weights, faults to put into them, and the truth about them without maskcli.

Importing keras_hub registers its classes for the rest of a process, so this is imported only by processes of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops
from keras_hub import models

IDS = 50
ROWS = 5
LENGTHS = (3, 8, 5, 8, 6)
DECODER_LENGTHS = (6, 2, 4, 7, 3)
SMALL = {"vocabulary_size": IDS, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
HEADS = {**SMALL, "num_heads": 2}
LONG = {**HEADS, "max_sequence_length": 16}
GROUPED = {**SMALL, "num_query_heads": 2, "num_key_value_heads": 1}
ROUTED = {"num_experts": 2, "top_k": 1}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
BOTH_SIDES = {
    "vocabulary_size": IDS,
    **{f"{side}_hidden_dim": 16 for side in ("encoder", "decoder")},
    **{f"{side}_intermediate_dim": 32 for side in ("encoder", "decoder")},
    **{f"{side}_num_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_num_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_num_key_value_heads": 1 for side in ("encoder", "decoder")},
    **{f"{side}_head_dim": 8 for side in ("encoder", "decoder")},
    **{f"{side}_layer_types": ["full_attention", "full_attention"] for side in ("encoder", "decoder")},
    "cross_attention_hidden_size": 16,
    "sliding_window": 16,
}
BACKBONES: dict[str, dict[str, Any]] = {
    "Albert": {**LONG, "embedding_dim": 8},
    "Bart": LONG,
    "Bert": LONG,
    "Bloom": HEADS,
    "DebertaV3": {**LONG, "bucket_size": 8},
    "DistilBert": LONG,
    "ESM": HEADS,
    "EdRec": {
        "vocab_size": IDS,
        "num_layers_enc": 2,
        "num_layers_dec": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "num_heads": 2,
    },
    "Electra": {
        "vocab_size": IDS,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 16,
        "embedding_dim": 8,
        "intermediate_dim": 32,
        "max_sequence_length": 16,
    },
    "FNet": {**SMALL, "max_sequence_length": 16},
    "Falcon": {**SMALL, "num_attention_heads": 2},
    "GPT2": LONG,
    "GPTNeoX": {**HEADS, "hidden_dim": 32},
    "Gemma": {**GROUPED, "head_dim": 8},
    "Gemma3": {**GROUPED, "head_dim": 8, "image_size": 16},
    "Gemma3n": {
        "text_vocab_size": IDS,
        "text_hidden_size": 16,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_size": [32, 32],
        "hidden_activation": "gelu_approximate",
        "layer_types": ["full_attention", "full_attention"],
        "sliding_window": 16,
        "rope_theta": 10000.0,
        "max_position_embeddings": 16,
        "vocab_size_per_layer_input": IDS,
        "hidden_size_per_layer_input": 2,
        "altup_num_inputs": 2,
        "laurel_rank": 1,
    },
    "Gemma4": {**GROUPED, "head_dim": 8, "image_size": 16},
    "GptOss": {**GROUPED, **ROUTED},
    "Llama": GROUPED,
    "Llama3": GROUPED,
    "Mistral": GROUPED,
    "Mixtral": {**GROUPED, **ROUTED},
    "OPT": LONG,
    "Phi3": GROUPED,
    "Qwen": GROUPED,
    "Qwen3": {**GROUPED, "head_dim": 8},
    "Qwen3Moe": {**GROUPED, **ROUTED, "moe_intermediate_dim": 8},
    "Qwen3_5": {**GROUPED, "head_dim": 8, **LINEAR},
    "Qwen3_5Moe": {
        **{name: value for name, value in GROUPED.items() if name != "intermediate_dim"},
        **LINEAR,
        **ROUTED,
        "head_dim": 8,
        "moe_intermediate_dim": 8,
        "shared_expert_intermediate_size": 8,
    },
    "QwenMoe": {**GROUPED, **ROUTED, "moe_intermediate_dim": 8, "shared_expert_intermediate_dim": 8},
    "RWKV7": {
        "vocabulary_size": IDS,
        "num_layers": 2,
        "hidden_size": 16,
        "head_size": 8,
        "intermediate_dim": 32,
        "gate_lora": 4,
        "mv_lora": 4,
        "aaa_lora": 4,
        "decay_lora": 4,
    },
    "Roberta": LONG,
    "RoformerV2": {**HEADS, "head_size": 8},
    "SmolLM3": {
        **SMALL,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_layer_enabled_list": [True, True],
        "layer_types": ["full_attention", "full_attention"],
        "mlp_bias": False,
        "layer_norm_epsilon": 1e-6,
        "max_position_embeddings": 16,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
    },
    "T5": HEADS,
    "T5Gemma": BOTH_SIDES,
    "T5Gemma2": BOTH_SIDES,
    "XLMRoberta": LONG,
    "XLNet": HEADS,
}
"""The settings of each text backbone; the class is ``keras_hub.models.{name}Backbone``."""

TASKS = ("TextClassifier", "ProteinClassifier", "MaskedLM", "MaskedPLM", "CausalLM", "Seq2SeqLM", "TextEmbedder")
Mutation = Literal["cut", "inverted", "turned", "acausal"]
MUTATIONS: tuple[Mutation, ...] = ("cut", "inverted", "turned", "acausal")
MASKS = (
    "attention_mask",
    "mask",
    "padding_mask",
    "decoder_padding_mask",
    "attn_mask_content",
    "decoder_attention_mask",
)


def list_names() -> Iterator[str]:
    """Yield the names of all backbones, and of their tasks: ``Bert``, ``BertTextClassifier``."""
    for name in BACKBONES:
        yield name
        yield from (f"{name}{task}" for task in TASKS if hasattr(models, f"{name}{task}"))


def build(name: str) -> Any:
    """Return a new model with weights that are random, biases included."""
    keras.utils.set_random_seed(0)
    stem = max((stem for stem in BACKBONES if name.startswith(stem)), key=len)
    backbone = getattr(models, f"{stem}Backbone")(**BACKBONES[stem])
    model = backbone
    if name != stem:
        task = getattr(models, name)
        options = {"num_classes": 3} if name.endswith("Classifier") else {}
        if "preprocessor" in inspect.signature(task.__init__).parameters:
            options["preprocessor"] = None
        model = task(backbone=backbone, **options)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * rng.standard_normal(variable.shape))
    return model


def make_data(model: Any) -> dict[str, Any]:
    """Return arrays as people have them: ids with zeros at the end, and no masks."""
    rng = np.random.default_rng(2)
    data: dict[str, Any] = {}
    for name in _list_inputs(model):
        lengths = DECODER_LENGTHS if name.startswith("decoder") else LENGTHS
        shape = (ROWS, max(lengths))
        if name.endswith("token_ids"):
            data[name] = np.where(_validity(lengths), rng.integers(3, IDS, shape), 0).astype("int32")
        elif name == "segment_ids":
            data[name] = np.zeros(shape, "int32")
        elif name == "position_ids":
            data[name] = np.tile(np.arange(shape[1], dtype="int32"), (ROWS, 1))
        elif name == "mask_positions":
            data[name] = np.array([[1, length - 1] for length in LENGTHS], "int32")
    return data


def _list_inputs(model: Any) -> list[str]:
    return list(model.input) if isinstance(model.input, dict) else [tensor.name for tensor in model.inputs]


def _validity(lengths: tuple[int, ...]) -> np.ndarray:
    return np.arange(max(lengths)) < np.array(lengths)[:, None]


def complete(model: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with the masks that the model takes, made of the padding, and text without pictures."""
    full = dict(data)
    for name in _list_inputs(model):
        if name.endswith("padding_mask"):
            ids = data[name.replace("padding_mask", "token_ids")]
            full[name] = (ids != 0).astype("int32")
    return full


def predict(model: Any, data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the outputs in inference mode, by name."""
    values = [data[name] for name in _list_inputs(model)]
    inputs = data if isinstance(model.input, dict) else values if isinstance(model.input, list) else values[0]
    outputs = model(keras.tree.map_structure(ops.convert_to_tensor, inputs), training=False)
    outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
    return {name: np.asarray(ops.cast(output, "float32")) for name, output in outputs.items()}


@dataclasses.dataclass(frozen=True)
class Truth:
    """The effect of padding and of later timesteps on the results, measured without maskcli.

    Attributes:
        padding: the largest change of a valid result if other ids are at padding, or if a row comes alone.
        future: the largest change of a result if a later id changes; 0 for results without timesteps.
        scale: the largest result.
    """

    padding: float
    future: float
    scale: float

    @property
    def leaks(self) -> bool:
        """Whether padding changes a result by more than rounding."""
        return self.padding > 1e-4 * self.scale

    @property
    def looks_ahead(self) -> bool:
        """Whether a later timestep changes an earlier result by more than rounding."""
        return self.future > 1e-4 * self.scale


def measure(model: Any, data: dict[str, Any]) -> Truth:
    """Return the truth about a model."""
    full = complete(model, data)
    base = predict(model, full)
    scale = max(float(np.abs(values).max()) for values in base.values())
    rng = np.random.default_rng(3)
    other = dict(full)
    for name, ids in full.items():
        if name.endswith("token_ids"):
            other[name] = np.where(ids == 0, rng.integers(3, IDS, ids.shape), ids).astype(ids.dtype)
    padding = _largest_valid_change(base, predict(model, other), data)
    for row in range(ROWS):
        alone = {name: values[row : row + 1, : _find_length(name, row, values)] for name, values in full.items()}
        before = {name: values[row : row + 1] for name, values in base.items()}
        padding = max(padding, _largest_valid_change(before, predict(model, alone), data, row))
    return Truth(padding, _measure_future(model, full, base), scale)


def _find_length(name: str, row: int, values: np.ndarray) -> int:
    if name == "mask_positions":
        return values.shape[1]
    return (DECODER_LENGTHS if name.startswith("decoder") else LENGTHS)[row]


def _largest_valid_change(
    base: dict[str, np.ndarray], changed: dict[str, np.ndarray], data: dict[str, Any], row: int | None = None
) -> float:
    largest = 0.0
    for name, values in base.items():
        if values.ndim != 3 or "mask_positions" in data:
            largest = max(largest, float(np.abs(values - changed[name]).max()))
            continue
        lengths = DECODER_LENGTHS if _is_of_decoder(name, values) else LENGTHS
        for at, length in enumerate(lengths if row is None else lengths[row : row + 1]):
            difference = values[at, :length] - changed[name][at, :length]
            largest = max(largest, float(np.abs(difference).max()))
    return largest


def _is_of_decoder(name: str, values: np.ndarray) -> bool:
    return values.shape[1] == max(DECODER_LENGTHS) and not name.startswith("encoder")


def _measure_future(model: Any, full: dict[str, Any], base: dict[str, np.ndarray]) -> float:
    name = next((name for name in ("decoder_token_ids", "token_ids") if name in full), None)
    if name is None or "mask_positions" in full:
        return 0.0
    ids = full[name]
    last = (DECODER_LENGTHS if name.startswith("decoder") else LENGTHS)[0] - 1
    changed = {**full, name: ids.copy()}
    changed[name][0, last] = 3 + (ids[0, last] - 2) % (IDS - 3)
    after = predict(model, changed)
    differences = [
        np.abs(values[0, :last] - after[output][0, :last]).max()
        for output, values in base.items()
        if values.ndim == 3 and values.shape[1] == ids.shape[1] and not output.startswith("encoder")
    ]
    return float(max(differences, default=0.0))


def list_masked_layers(model: Any) -> list[tuple[Any, str]]:
    """Return the layers to which a mask comes in a run, each with the argument, outer layers before inner ones."""
    found: dict[int, tuple[Any, str]] = {}
    layers = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]

    def note(layer: Any, argument: str, mask: Any) -> Any:
        found.setdefault(id(layer), (layer, argument))
        return mask

    with_masks = [layer for layer in layers if _list_mask_arguments(layer) and type(layer).__name__ != "Softmax"]
    for layer in with_masks:
        patch(layer, lambda argument, mask, layer=layer: note(layer, argument, mask))
    data = complete(model, make_data(model))
    predict(model, data)
    for layer in with_masks:
        restore(layer)
    return list(found.values())


def _list_mask_arguments(layer: Any) -> list[str]:
    names = inspect.signature(type(layer).call).parameters
    return [name for name in MASKS if name in names]


def patch(layer: Any, change: Callable[[str, Any], Any]) -> None:
    """Let a layer receive other masks: ``change`` returns a replacement of each mask that comes to it."""
    original = type(layer).call
    signature = inspect.signature(original)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(layer, *args, **kwargs)
        for name in _list_mask_arguments(layer):
            if bound.arguments.get(name) is not None and hasattr(bound.arguments[name], "shape"):
                bound.arguments[name] = change(name, bound.arguments[name])
        return original(*bound.args, **bound.kwargs)

    layer.call = call


def restore(layer: Any) -> None:
    """Let a layer receive its own masks again."""
    del layer.call


def mutate(layer: Any, argument: str, mutation: Mutation) -> None:
    """Put a fault into one layer of a model: its mask is cut, inverted, turned, or no longer causal."""

    def change(name: str, mask: Any) -> Any:
        return _change_mask(mask, mutation) if name == argument else mask

    patch(layer, change)


def _change_mask(mask: Any, mutation: Mutation) -> Any:
    if mutation == "cut":
        return None
    is_open = ops.cast(mask, "bool")
    if mutation == "inverted":
        return ops.cast(ops.logical_not(is_open), mask.dtype)
    if mutation == "turned":
        return ops.swapaxes(mask, -1, -2) if len(mask.shape) > 2 else mask
    if len(mask.shape) < 3:
        return mask
    # A key that no query may attend to is padding; a causal mask leaves the first key open to all.
    return ops.cast(ops.broadcast_to(ops.any(is_open, axis=-2, keepdims=True), ops.shape(mask)), mask.dtype)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict of maskcli on a model, next to the truth.

    Attributes:
        name: of the model.
        mutation: the fault that was put into it; None for the model as it is.
        layer: the path of the layer with this fault.
        leaks: whether padding changes a result, in truth.
        looks_ahead: whether a later timestep changes an earlier result, in truth.
        verdict: ``leaks``, ``clean`` or ``unproven``; None if the model was not judged.
        sees_ahead: whether maskcli found that a later timestep changes an earlier result.
        errors: the findings of severity error: code and call.
    """

    name: str
    mutation: str | None
    layer: str | None
    leaks: bool
    looks_ahead: bool
    verdict: str | None
    sees_ahead: bool
    errors: list[tuple[str, str | None]]

    @property
    def is_right(self) -> bool:
        """Whether the verdict is right, with an error for a leak and none without."""
        return self.verdict == ("leaks" if self.leaks else "clean") and bool(self.errors) is self.leaks

    @property
    def is_found(self) -> bool:
        """Whether maskcli found the fault that was put in."""
        return (self.leaks and self.verdict == "leaks") or (self.looks_ahead and self.sees_ahead)

    @property
    def is_blamed(self) -> bool:
        """Whether a finding names the layer with the fault, a call inside it or the layer around it."""
        layer = (self.layer or "").split("/")
        return any(
            _overlap(layer, [part.partition("#")[0] for part in call.split("/")]) for _, call in self.errors if call
        )


def _overlap(layer: list[str], call: list[str]) -> bool:
    """Return whether one path leads to the other; that of a layer may lack the models around it."""
    start = call.index(layer[0]) if layer[0] in call else 0
    return all(a == b for a, b in zip(layer, call[start:], strict=False))


def judge(
    name: str, model: Any = None, mutation: str | None = None, layer: Any = None, causal: bool = False
) -> Verdict:
    """Return the verdict of maskcli on a model, by default the model of that name as it is."""
    import maskcli

    model = build(name) if model is None else model
    data = make_data(model)
    truth = measure(model, data)
    report = maskcli.check(data, model=model, causal=causal)
    evidence = report.examination.model
    assert evidence is not None
    errors = [(finding.code, finding.call) for finding in report.findings if finding.severity == "error"]
    return Verdict(
        name=name,
        mutation=mutation,
        layer=None if layer is None else layer.path,
        leaks=truth.leaks,
        looks_ahead=truth.looks_ahead,
        verdict=None if evidence.leak is None else evidence.leak.verdict,
        sees_ahead=any(effect.looks_ahead for effect in evidence.future),
        errors=errors,
    )


def judge_mutants(name: str, last: bool = False) -> Iterator[Verdict]:
    """Yield the verdicts on a model with each fault that changes its results, in each layer that receives a mask.

    Args:
        name: of the model.
        last: only in the later half of the layers.
    """
    model = build(name)
    original = measure(model, make_data(model))
    count = len(list_masked_layers(model))
    for position in range(count // 2 if last else 0, count):
        for mutation in MUTATIONS:
            mutant = build(name)
            layer, argument = list_masked_layers(mutant)[position]
            mutate(layer, argument, mutation)
            try:
                truth = measure(mutant, make_data(mutant))
            except Exception:  # noqa: S112 - some layers do not run without their mask
                continue
            if (truth.leaks and not original.leaks) or (truth.looks_ahead and not original.looks_ahead):
                yield judge(name, mutant, mutation, layer, causal=truth.looks_ahead and not original.looks_ahead)
