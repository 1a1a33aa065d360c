"""A mask of timesteps is applied along the wrong axis.

A `Softmax` layer applies the mask of its input to the classes, but `(batch, timesteps)` does not fit
`(batch, timesteps, classes)`. Keras builds such a model silently and raises an error when it runs. If the sizes happen
to agree, it masks classes instead of timesteps and changes valid results. The activation of a `Dense` layer ignores the
mask and gives the intended result.

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
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import compute_largest_change, find_wrong_mask, moves_timesteps, name_call

CODE = "MSK106"
SEVERITY = "error"
FIX = (
    'Compute the softmax without a mask: `Dense(n, activation="softmax")` instead of a Softmax layer, or '
    "`keras.ops.softmax(x)` in a layer with supports_masking = True."
)
FIX_ORDER = (
    "Put the timesteps back in order before the next layer and pass it the mask, "
    "`layer(keras.ops.flip(x, axis=1), mask=mask)`: `go_backwards=True` returns the last timestep first."
)


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that fail because of a mask, or that a mask makes wrong at valid timesteps."""
    failure = model.failure
    if failure is not None:
        yield make_finding(
            __name__,
            call=failure.call,
            type_=failure.type,
            message=f"{failure.call} ({failure.type}) fails with a mask of shape {failure.mask_shapes[0]} for an input "
            f"of shape {failure.input_shapes[0]}; without the mask it runs. Error from Keras: {failure.error}",
            fix=FIX,
            mask_shape=list(failure.mask_shapes[0]),
            shape=list(failure.input_shapes[0]),
        )
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
    call = find_wrong_mask(model)
    if call is not None and call.mask_out is not None and call.valid is not None and moves_timesteps(call):
        passed = int((call.mask_out & ~call.valid).sum())
        yield make_finding(
            __name__,
            call=call.call,
            type_=call.type,
            message=f"{name_call(call)} returns its timesteps in another order than its mask, which marks "
            f"{pluralize(passed, 'padded timestep')} as valid.",
            fix=FIX_ORDER,
            passed_as_valid=passed,
            max_abs_change=compute_largest_change(model, None),
        )
