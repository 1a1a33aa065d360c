"""Records to the JSON documents of the contract."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from maskcli.records import ModelInput, PaddedBatch

if TYPE_CHECKING:
    from maskcli.evidence import (
        BuiltinModel,
        Call,
        EmbeddingRow,
        Inspection,
        LossReport,
        ModelAbout,
        ModelSettings,
        Outputs,
        Remark,
        SourceResult,
        Unmasked,
    )

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
        f"{json.dumps(key)}: {json.dumps(strict(value), allow_nan=False, ensure_ascii=False)}"
        for key, value in document.items()
    )
    return ("{" + ",\n ".join(fields) + "}\n").encode()


def strict(value: Any) -> Any:
    """Return ``value`` in JSON's own types; NaN and the infinities become strings, which JSON has no numbers for."""
    if isinstance(value, np.ndarray):
        finite = value.dtype.kind not in "fV" or bool(np.isfinite(value).all())  # bfloat16 is a V to NumPy.
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
    first, *others = inspection.outputs
    return {
        "schema": "maskcli/inspect/1",
        "model": _about(inspection.model),
        "versions": inspection.versions,
        "batch": _inspected_batch(inspection),
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


def _inspected_batch(inspection: Inspection) -> dict[str, Any] | None:
    """Return the timesteps that went in; how they were padded is null where maskcli did not do that."""
    given, batch = inspection.primary, inspection.batch
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


def _model(settings: ModelSettings) -> dict[str, Any]:
    return {"name": settings.name, "source": "built-in", **_settings(settings)}


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


def _output(output: Outputs) -> dict[str, Any]:
    return {
        "call": output.call,
        "shape": list(output.values.shape),
        "values": output.values,
        "mask": output.mask,
        "repeats_previous": output.repeats_previous,
        "name": output.name,
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
