"""Records to the JSON documents of the contract."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from maskcli.evidence import BuiltinModel, Call, Inspection, LossReport, ModelSettings, Remark, SourceResult, Unmasked
from maskcli.records import PaddedBatch


def dumps(document: dict[str, Any]) -> bytes:
    """Return a document as strict JSON in UTF-8, a top-level field a line."""
    fields = (
        f"{json.dumps(key)}: {json.dumps(strict(value), allow_nan=False, ensure_ascii=False)}"
        for key, value in document.items()
    )
    return ("{" + ",\n ".join(fields) + "}\n").encode()


def strict(value: Any) -> Any:
    """Return ``value`` in JSON's own types; NaN and the infinities become strings, which JSON has no numbers for."""
    if isinstance(value, np.ndarray):
        finite = value.dtype.kind != "f" or bool(np.isfinite(value).all())
        return value.tolist() if finite else strict(value.tolist())
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, dict):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def pad_document(batch: PaddedBatch) -> dict[str, Any]:
    """Return ``maskcli/pad/1``."""
    return {"schema": "maskcli/pad/1", **_batch(batch), "tokens": batch.tokens, "mask": batch.mask}


def inspect_document(inspection: Inspection) -> dict[str, Any]:
    """Return ``maskcli/inspect/1``."""
    row, outputs = inspection.embedding, inspection.outputs
    return {
        "schema": "maskcli/inspect/1",
        "model": _model(inspection.model),
        "versions": inspection.versions,
        "batch": {**_batch(inspection.batch), "tokens": inspection.batch.tokens, "valid": inspection.valid},
        "mask": inspection.mask,
        "embedding": {
            "layer": row.layer,
            "padding_id": row.padding_id,
            "padding_vector": row.padding_vector,
            "set_to_zero": row.set_to_zero,
        },
        "trace": [_call(call) for call in inspection.trace],
        "outputs": {
            "call": outputs.call,
            "shape": list(outputs.values.shape),
            "values": outputs.values,
            "mask": outputs.mask,
            "repeats_previous": outputs.repeats_previous,
        },
        "output_mask": outputs.mask,
        "unmasked": _unmasked(inspection.unmasked),
        "mask_sources": [_source(result) for result in inspection.mask_sources],
        "mask_sources_agree": inspection.mask_sources_agree,
        "remarks": _remarks(inspection.remarks),
    }


def loss_document(report: LossReport) -> dict[str, Any]:
    """Return ``maskcli/loss/1``."""
    return {
        "schema": "maskcli/loss/1",
        "model": _model(report.model),
        "versions": report.versions,
        "loss": report.loss,
        "targets": report.targets,
        "masked": report.masked,
        "unmasked": report.unmasked,
        "unmasked_model": report.unmasked_model,
        "keras_evaluate": report.keras_evaluate,
        "valid_timesteps": report.valid_timesteps,
        "total_timesteps": report.total_timesteps,
        "per_timestep": report.per_timestep,
        "mask": report.mask,
        "per_sample": report.per_sample,
        "exact": report.masked,
        "batch_sizes": [{"batch_size": report.batch_size, "keras_evaluate": report.keras_evaluate}],
        "reductions": [{"name": r.name, "value": r.value, "formula": r.formula} for r in report.reductions],
        "remarks": _remarks(report.remarks),
        "batch": {**_batch(report.batch), "tokens": report.batch.tokens, "valid": report.valid},
    }


def models_document(models: tuple[BuiltinModel, ...]) -> dict[str, Any]:
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


def _model(settings: ModelSettings) -> dict[str, Any]:
    return {
        "name": settings.name,
        "source": "built-in",
        "mask_source": settings.mask_source,
        "input_dim": settings.input_dim,
        "embedding_dim": settings.embedding_dim,
        "units": settings.units,
        "return_sequences": settings.return_sequences,
        "logits": settings.logits,
        "zero_output_for_mask": settings.zero_output_for_mask,
        "padding_id": settings.padding_id,
        "seed": settings.seed,
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
