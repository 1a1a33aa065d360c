"""Another row of the batch changes a result.

In inference mode, the result of a row depends on that row only. A model that mixes rows gives other results in other
batches: a metric depends on the order of the data, and a service answers one request with the data of another. Typical
causes are a softmax or a mean over axis 0, a reshape that exchanges batch and timesteps, statistics of the batch in
inference mode, and a `(batch, timesteps)` mask passed as `attention_mask`, whose rows attention takes for queries. The
probe puts other rows of the data in the place of half of the rows, and compares the results of the other half.

Bad::

    import keras
    import numpy as np

    class Attend(keras.layers.Layer):
        def build(self, shape):
            self.score = keras.layers.Dense(1)
            self.score.build(shape)

        def call(self, inputs):
            weights = keras.ops.softmax(self.score(inputs), axis=0)
            return inputs * weights

    series = keras.Input((4, 2))
    model = keras.Model(series, keras.layers.LSTM(3)(Attend()(series)))
    arrays = {"series": np.random.default_rng(0).standard_normal((3, 4, 2))}

Good::

    import keras
    import numpy as np

    class Attend(keras.layers.Layer):
        def build(self, shape):
            self.score = keras.layers.Dense(1)
            self.score.build(shape)

        def call(self, inputs):
            weights = keras.ops.softmax(self.score(inputs), axis=1)
            return inputs * weights

    series = keras.Input((4, 2))
    model = keras.Model(series, keras.layers.LSTM(3)(Attend()(series)))
    arrays = {"series": np.random.default_rng(0).standard_normal((3, 4, 2))}
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import MixedRows, ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.base import locate, make_finding
from maskcli.rules.blame import find_attention_fault, name_call, name_output

CODE = "MSK116"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the call at which rows of the batch mix."""
    mixed = model.mixed_rows
    if mixed is None:
        return
    call = model.call(mixed.first_call)
    if call is not None and find_attention_fault(model, call) is not None:
        return  # MSK118 reports the mask that mixes them.
    if call is not None and call.call in {misused.call for misused in model.misused}:
        return  # MSK106 does: the rows of the mask are taken for timesteps.
    yield make_finding(
        __name__,
        **locate(call, model),
        message=f"{_describe_call(model, mixed, call)}: with other rows in the batch, "
        f"{_describe_place(model, mixed)} changes by {mixed.max_abs_change:.3g}.",
        fix=_suggest_fix(call),
        max_abs_change=mixed.max_abs_change,
        tolerance=mixed.tolerance,
        sample=mixed.sample,
        timestep=mixed.timestep,
        output=mixed.output,
    )


def _describe_call(model: ModelEvidence, mixed: MixedRows, call: Call | None) -> str:
    subject = mixed.first_call or f"{model.name} ({model.type})"
    if call is not None:
        subject = name_call(call)
    return f"{subject} mixes the rows of a batch"


def _describe_place(model: ModelEvidence, mixed: MixedRows) -> str:
    """Return the result that changes most: ``sample 1, timestep 2 of output tags``."""
    place = f"sample {mixed.sample}"
    if mixed.timestep is not None:
        place += f", timestep {mixed.timestep}"
    return place if len(model.outputs) < 2 else f"{place} of {name_output(model, mixed.output)}"


def _suggest_fix(call: Call | None) -> str:
    """Return advice for a kind of call; a mask in place of pairs, statistics of a batch, or any other."""
    if call is not None and _has_padding_mask_for_pairs(call):
        return (
            "Not tried: pass one row of keys for all queries, `attention_mask=mask[:, None, :]`. A mask "
            "`(batch, timesteps)` without that axis is taken for `(queries, keys)`."
        )
    if call is not None and call.type.endswith("Normalization"):
        return "Not tried: call the layer without `training=True`, so that it uses its moving statistics."
    return (
        "Not tried: leave axis 0, the batch, out of every sum, mean, softmax and reshape: `axis=1` are timesteps, "
        "`axis=-1` features, and `(-1, *shape[1:])` keeps rows apart."
    )


def _has_padding_mask_for_pairs(call: Call) -> bool:
    masks = call.mask_arguments.get("attention_mask", ())
    return any(mask is not None and mask.ndim == 2 for mask in masks)
