"""A mask of timesteps is applied along the wrong axis, or marks other timesteps than it should.

A `Softmax` layer applies the mask of its input to the classes, but `(batch, timesteps)` does not fit
`(batch, timesteps, classes)`. Keras builds such a model silently and raises an error when it runs. If the sizes happen
to agree, it masks classes instead of timesteps and changes valid results. The activation of a `Dense` layer ignores the
mask and gives the intended result.

A call may also move timesteps without their mask. An RNN with `go_backwards=True` and `return_sequences=True` returns
them in reverse order, while the mask that it passes on keeps the old order. Later layers then skip valid timesteps and
use padding. `Bidirectional` turns its backward outputs round.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.Dense(3)(x)
    model = keras.Model(tokens, keras.layers.Softmax()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(3, activation="softmax")(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import Failure, ModelEvidence
from maskcli.records.trace import Call
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import find_blames, find_output_widening_call, misaligns_mask, name_call

CODE = "MSK106"
SEVERITY = "error"
FIX = (
    'Compute the softmax without a mask: `Dense(n, activation="softmax")` instead of a Softmax layer, or '
    "`keras.ops.softmax(x)` in a layer with supports_masking = True."
)

AXIS_FIX = (
    "Let the mask broadcast over features: pass it as `mask=keras.ops.expand_dims(mask, -1)`, with "
    "`mask = {mask}`, or remove the axis of features from the scores first."
)
PARTS_FIX = (
    "Reduce the mask to one value per timestep: `layer(x, mask=keras.ops.any(mask, axis=-1))`, over all axes after the "
    "timesteps. `Masking` on frames and `Embedding` on words in sentences mask the parts of each timestep. For words, "
    "put the Embedding and the layer that reads a sentence into a model, and wrap that in `TimeDistributed`."
)

UNROLLED_FIX = "Leave out `unroll=True`. The loop over timesteps computes the same, and takes the mask."
FAULT_FIX = "Use another release of Keras, or another backend, as with `--backend tensorflow`."


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that fail because of a mask, or that a mask makes wrong at valid timesteps."""
    failure = model.failure
    if failure is not None:
        at_fault = f"This is a fault of {failure.at_fault}. " if failure.at_fault else ""
        yield make_finding(
            __name__,
            call=failure.call,
            type_=failure.type,
            message=f"{failure.call} ({failure.type}) fails with a mask of shape {failure.mask_shapes[0]} for an input "
            f"of shape {failure.input_shapes[0]}; without the mask it runs. {at_fault}Error from Keras: "
            f"{failure.error}",
            fix=_choose_fix(model, failure),
            mask_shape=list(failure.mask_shapes[0]),
            shape=list(failure.input_shapes[0]),
        )
    yield from map(_report_moved, _find_misaligning_calls(model))
    for misused in model.misused:
        call = model.call(misused.call)
        if call is not None:
            yield make_finding(
                __name__,
                call=call.call,
                type_=call.type,
                message=f"{name_call(call)} treats each timestep separately, but its mask changes results at valid "
                f"timesteps by up to {misused.change:.3g}: the mask is applied along the wrong axis.",
                fix=FIX,
                max_abs_change=misused.change,
            )


def _choose_fix(model: ModelEvidence, failure: Failure) -> str:
    if failure.at_fault is not None:
        return UNROLLED_FIX if failure.unrolled else FAULT_FIX
    mask_shape, shape = failure.mask_shapes[0], failure.input_shapes[0]
    if len(mask_shape) > 2:
        return PARTS_FIX
    # A softmax over one feature would be 1 everywhere: this one is over timesteps.
    return AXIS_FIX.format(mask=_name_mask(model)) if shape[-1] == 1 else FIX


def _name_mask(model: ModelEvidence) -> str:
    """Return code that computes the mask which arrived, in the names of the model as far as they are known."""
    lookup = next(iter(model.lookups), None)
    name, ids = ("embedding", "ids") if lookup is None else (lookup.call.rpartition("/")[2], lookup.input)
    return f"{name}.compute_mask({ids})"


def _find_misaligning_calls(model: ModelEvidence) -> Iterator[Call]:
    """Yield calls that move timesteps and not their mask, if that changes a result or a loss."""
    culprits = [cause.culprit for cause in find_blames(model) if cause.kind == "misaligned"]
    culprits.append(find_output_widening_call(model)[0])
    for call in dict.fromkeys(culprits):
        if call is not None and misaligns_mask(call):
            yield call


def _report_moved(call: Call) -> Finding:
    assert call.mask_out is not None and call.valid is not None  # noqa: S101 - a misaligned mask has both
    hidden, passed = int((call.valid & ~call.mask_out).sum()), int((call.mask_out & ~call.valid).sum())
    return make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} moves timesteps, but not their mask: the mask of its output hides "
        f"{format_count(hidden, 'valid timestep')} and marks {format_count(passed, 'padded timestep')} as valid.",
        fix="Turn the output round, so that it fits the mask again: `x = keras.ops.flip(x, axis=1)` in a layer with "
        "supports_masking = True, or use `keras.layers.Bidirectional`, which does so.",
        hidden=hidden,
        passed_as_valid=passed,
    )
