"""Records to the JSON documents of the contract."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from maskcli.records.inputs import ModelInput, find_primary
from maskcli.records.sequences import PaddedBatch

if TYPE_CHECKING:
    from maskcli.records.loss import LossOutput, LossReport
    from maskcli.records.model import BuiltinModel, ModelAbout, ModelSettings
    from maskcli.records.remark import Remark
    from maskcli.records.trace import Call, Edge, EmbeddingRow, Inspection, OutputValues, SourceResult, Unmasked

SETTINGS = (
    "mask_source",
    "input_dim",
    "embedding_dim",
    "units",
    "return_sequences",
    "logits",
    "zero_output_for_mask",
    "padding_id",
    "seed",
)
"""What is said of a built-in model, in this order."""


def dumps(document: dict[str, Any]) -> bytes:
    """Return a document as strict JSON in UTF-8, a top-level field a line."""
    fields = (
        f"{json.dumps(key)}: {json.dumps(make_strict(value), allow_nan=False, ensure_ascii=False)}"
        for key, value in document.items()
    )
    return ("{" + ",\n ".join(fields) + "}\n").encode()


def make_strict(value: Any) -> Any:
    """Return ``value`` in JSON's own types; NaN and the infinities become strings, which JSON has no numbers for."""
    if isinstance(value, np.ndarray):
        finite = value.dtype.kind not in "fV" or bool(np.isfinite(value).all())  # bfloat16 is a V to NumPy.
        return value.tolist() if finite else make_strict(value.tolist())
    if isinstance(value, np.generic):
        return make_strict(value.item())
    if isinstance(value, dict):
        return {key: make_strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [make_strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def make_pad_document(batch: PaddedBatch) -> dict[str, Any]:
    """Return ``maskcli/pad/1``."""
    return {"schema": "maskcli/pad/1", **_batch(batch), "tokens": batch.tokens, "mask": batch.mask}


def make_inspect_document(inspection: Inspection) -> dict[str, Any]:
    """Return ``maskcli/inspect/1``."""
    first, *others = inspection.outputs
    return {
        "schema": "maskcli/inspect/1",
        "model": _about(inspection.model),
        "versions": inspection.versions,
        "batch": _padded(inspection.inputs, inspection.batch),
        "inputs": [_input(given) for given in inspection.inputs],
        "mask": inspection.mask,
        "embedding": _embedding(inspection.embedding),
        "trace": [_call(call) for call in inspection.trace],
        "outputs": _output(first),
        "more_outputs": [_output(output) for output in others],
        "output_mask": first.mask,
        "unmasked": _unmasked(inspection.unmasked),
        "mask_sources": [_source(result) for result in inspection.mask_sources],
        "mask_sources_agree": inspection.mask_sources_agree,
        "remarks": _remarks(inspection.remarks),
        "edges": [_edge(edge) for edge in inspection.edges],
    }


def make_loss_document(report: LossReport) -> dict[str, Any]:
    """Return ``maskcli/loss/1``; what is said of an output stands at the top level for the first one."""
    first, *others = report.outputs
    return {
        "schema": "maskcli/loss/1",
        "model": _about(report.model),
        "versions": report.versions,
        **_loss(first),
        "keras_evaluate": report.keras_evaluate,
        "regularization": report.regularization,
        "batch_size": report.batch_size,
        "batch_sizes": [dataclasses.asdict(size) for size in report.batch_sizes],
        "gradient_rows": report.gradient_rows,
        "metrics": [dataclasses.asdict(metric) for metric in report.metrics],
        "more_outputs": [_loss(output) for output in others],
        "remarks": _remarks(report.remarks),
        "inputs": [_input(given) for given in report.inputs],
        "batch": _padded(report.inputs, report.batch),
    }


def make_models_document(models: tuple[BuiltinModel, ...]) -> dict[str, Any]:
    """Return ``maskcli/models/1``."""
    return {
        "schema": "maskcli/models/1",
        "models": [{"name": model.name, "layers": model.layers, "about": model.about} for model in models],
    }


def _batch(batch: PaddedBatch) -> dict[str, Any]:
    layout = batch.layout
    return {
        "shape": list(batch.tokens.shape),
        "padding": layout.padding,
        "truncating": layout.truncating,
        "maxlen": layout.maxlen,
        "value": layout.value,
        "dtype": layout.dtype,
        "lengths": batch.lengths,
        "truncated_tokens": batch.truncated_tokens,
    }


def _padded(inputs: tuple[ModelInput, ...], batch: PaddedBatch | None) -> dict[str, Any] | None:
    """Return the timesteps that went in; how they were padded is null where maskcli did not do that."""
    given = find_primary(inputs)
    if given is None or given.valid is None:
        return None
    tokens = given.values if given.kind == "ids" else None
    if batch is not None and batch.tokens.shape == given.values.shape:
        return {**_batch(batch), "tokens": tokens, "valid": given.valid}
    unknown = dict.fromkeys(("padding", "truncating", "maxlen", "value", "dtype"))
    return {
        "shape": list(given.valid.shape),
        **unknown,
        "lengths": given.lengths,
        "truncated_tokens": None,
        "tokens": tokens,
        "valid": given.valid,
    }


def _input(given: ModelInput) -> dict[str, Any]:
    return {
        "name": given.name,
        "kind": given.kind,
        "shape": list(given.values.shape),
        "dtype": str(given.values.dtype),
        "padded_timesteps": None if given.valid is None else int((~given.valid).sum()),
    }


def _about(about: ModelAbout) -> dict[str, Any]:
    return {
        "name": about.name,
        "source": about.source,
        "type": about.type,
        "notes": list(about.notes),
        **_settings(about.settings),
    }


def _settings(settings: ModelSettings | None) -> dict[str, Any]:
    """Return the settings of a built-in model; of any other all are null."""
    return {name: None if settings is None else getattr(settings, name) for name in SETTINGS}


def _embedding(row: EmbeddingRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "layer": row.layer,
        "padding_id": row.padding_id,
        "padding_vector": row.padding_vector,
        "set_to_zero": row.set_to_zero,
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "call": call.call,
        "index": call.index,
        "type": call.type,
        "effect": call.effect,
        "mask_in": call.mask_in,
        "mask_out": call.mask_out,
        "given": call.given,
        "computes_mask": call.computes_mask,
        "warning": call.warning,
        "masks_in": call.masks_in,
        "masks_out": call.masks_out,
        "mask_arguments": call.mask_arguments,
        "shapes_in": call.shapes_in,
        "shapes_out": call.shapes_out,
        "code": call.code,
        "contains": call.contains,
        "lost_at": call.lost_at,
        "lost_after": call.lost_after,
        "takes_off": call.takes_off,
        "valid": call.valid,
    }


def _edge(edge: Edge) -> dict[str, Any]:
    """Return what flows from where to where; the mask itself stands with the call that takes it."""
    return {
        "source": edge.source,
        "from_input": edge.from_input,
        "target": edge.target,
        "to_output": edge.to_output,
        "carries_mask": edge.mask is not None,
        "lost": edge.lost,
        "argument": edge.argument,
    }


def _output(output: OutputValues) -> dict[str, Any]:
    return {
        "call": output.call,
        "shape": list(output.shape),
        "values": output.values,
        "mask": output.mask,
        "repeats_previous": output.repeats_previous,
        "name": output.name,
    }


def _loss(output: LossOutput) -> dict[str, Any]:
    """Return what is said of one output, what matters most first and the arrays behind."""
    counted, losses = output.counted, output.per_timestep
    return {
        "output": output.name,
        "loss": output.loss,
        "loss_weight": output.loss_weight,
        "targets": output.targets,
        "shape": list(output.shape),
        "dtype": output.dtype,
        "masked": output.masked,
        "exact": output.exact,
        "unmasked": output.unmasked,
        "unmasked_model": output.unmasked_model,
        "weighted_mean": output.weighted_mean,
        "reported": output.reported,
        "padding_share": output.padding_share,
        "valid_timesteps": None if counted is None else int(counted.sum()),
        "total_timesteps": None if losses is None else losses.size,
        "not_finite": output.not_finite,
        "lost_at": output.lost_at,
        "by_length": [dataclasses.asdict(group) for group in output.by_length],
        "contributors": [dataclasses.asdict(one) for one in output.contributors],
        "reductions": [dataclasses.asdict(reduction) for reduction in output.reductions],
        "per_sample": output.per_sample,
        "per_timestep": losses,
        "mask": output.mask,
        "valid": output.valid,
        "ignored": output.ignored,
        "weights": output.weights,
    }


def _unmasked(unmasked: Unmasked | None) -> dict[str, Any] | None:
    if unmasked is None:
        return None
    return {
        "values": unmasked.values,
        "change": unmasked.change,
        "max_abs_change_valid": unmasked.max_abs_change_valid,
        "max_abs_change_padding": unmasked.max_abs_change_padding,
    }


def _source(result: SourceResult) -> dict[str, Any]:
    return {
        "mask_source": result.mask_source,
        "mask": result.mask,
        "values": result.values,
        "differing_timesteps": result.differing_timesteps,
        "max_abs_difference": result.max_abs_difference,
    }


def _remarks(remarks: tuple[Remark, ...]) -> list[dict[str, str]]:
    return [{"kind": remark.kind, "text": remark.text} for remark in remarks]
