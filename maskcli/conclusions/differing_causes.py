"""The reason why two sides differ, from measurements; a reason that they do not show is not given.

Each function looks for one cause. What it names as a trait of Keras is measured on the sides at hand, so that it falls
silent where another release of Keras behaves differently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from maskcli.conclusions.pairing import Pair
from maskcli.records.arrays import Bools
from maskcli.records.comparison import Cause, SideDifference
from maskcli.records.sides import ModelSide, SideCall, SideError
from maskcli.records.wording import choose_form, format_count

TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
EXPLICIT_MASK = "Not tried: pass the mask in the call, `{name}(..., mask=mask)`, which holds on every backend."
BY_IDENTITY = "and Keras keeps the masks of JAX arrays by their identity"
NO_UNROLL = "Not tried: leave `unroll=True` out."


@dataclasses.dataclass(frozen=True, eq=False)
class SidePair:
    """Two sides and their names."""

    first_name: str
    first: ModelSide
    other_name: str
    other: ModelSide

    @property
    def sides(self) -> tuple[tuple[str, ModelSide], tuple[str, ModelSide]]:
        """Both sides, each after its name in a sentence."""
        return (name_side(self.first_name), self.first), (name_side(self.other_name), self.other)


def name_side(name: str) -> str:
    """Return the name of a side in a sentence: ``JAX``, or the name of a model."""
    return TITLES.get(name, name)


def find_cause(pair: SidePair, difference: SideDifference, calls: Sequence[Pair]) -> Cause | None:
    """Return the reason for the first call that differs; None if no measurement shows it."""
    of_sides = _OF_MODELS if pair.first.backend == pair.other.backend else _OF_BACKENDS
    causes = (find(pair, difference, calls) for find in (*_OF_ERRORS, *of_sides, _find_compiled))
    return next((cause for cause in causes if cause is not None), None)


# Errors.


def _find_tensorflow_code(pair: SidePair, _difference: SideDifference, _calls: Sequence[Pair]) -> Cause | None:
    """A model whose code calls TensorFlow only runs there."""
    for name, side in pair.sides:
        for error in side.errors:
            is_missing = error.type == "ModuleNotFoundError" and "tensorflow" in error.message
            if side.backend != "tensorflow" and (error.of_tensorflow or is_missing):
                text = f"The code of the model calls TensorFlow itself, and so runs only there. {_tell(name, error)}"
                return Cause("tensorflow-code", text, "Not tried: use `keras.ops` in place of functions of TensorFlow.")
    return None


def _find_error(pair: SidePair, _difference: SideDifference, _calls: Sequence[Pair]) -> Cause | None:
    """Only one side raises."""
    steps = [[error.step for error in side.errors] for _, side in pair.sides]
    if steps[0] == steps[1]:
        return None
    for name, side in pair.sides:
        for error in side.errors:
            text = _tell(name, error) + _name_rematerialized(pair)
            return Cause("raises", text, f"Use a backend that runs it: not {name}.")
    return None


def _name_rematerialized(pair: SidePair) -> str:
    """Return a sentence about the calls in a ``RematScope``; empty if there are none."""
    calls = [call.call for _, side in pair.sides for call in side.calls if call.settings.get("rematerialized")]
    names = " and ".join(f"`{name}`" for name in dict.fromkeys(calls))
    return f" It is about {names}, made in a `keras.RematScope`." if names else ""


def _tell(name: str, error: SideError) -> str:
    """Return the error in the words of the library that raised it."""
    step = {"load": "The model cannot be loaded", "evaluate": "`evaluate` raises an error"}.get(error.step)
    place = f"`{error.call}` raises an error" if error.call is not None else "The model raises an error"
    return f"{step or place} on {name}: {error.type}: {error.message.rstrip('.')}."


# Masks and results of the first call that differs.


def _find_pair(difference: SideDifference, calls: Sequence[Pair]) -> tuple[SideCall, SideCall] | None:
    if difference.first_call is None:
        return None
    path = difference.first_call.call
    return next(
        ((first, other) for first, other in calls if first is not None and other is not None and first.call == path),
        None,
    )


def _arrange(pair: SidePair, both: tuple[SideCall, SideCall]) -> Iterator[tuple[str, SideCall, str, SideCall]]:
    """Yield both orders of the sides: a name and its call, and those of the other side."""
    first, other = name_side(pair.first_name), name_side(pair.other_name)
    yield first, both[0], other, both[1]
    yield other, both[1], first, both[0]


def _find_kept_mask(pair: SidePair, difference: SideDifference, calls: Sequence[Pair]) -> Cause | None:
    """A tensor that an operation returns unchanged keeps its mask where that is the same object."""
    both = _find_pair(difference, calls)
    if both is None or difference.first_call is None or difference.first_call.differs != "mask":
        return None
    for holder, call, lacking, bare in _arrange(pair, both):
        if holder != TITLES["jax"]:
            continue
        maker = _find_unchanged(call, bare)
        if call.mask_in is not None and bare.mask_in is None and maker is not None:
            text = (
                f"`{call.call}` receives the mask on JAX, and none on {lacking}. On JAX the code before it returns the "
                f"result of `{maker}` itself, {BY_IDENTITY}. On {lacking} it returns a new tensor, without the mask."
            )
            fix = EXPLICIT_MASK.format(name=call.call.rpartition("/")[2])
            return Cause("kept-by-identity", _add_empty_rows(pair, text), fix)
        if call.mask_out is not None and bare.mask_out is None and call.returns_input and not bare.returns_input:
            text = (
                f"`{call.call}` keeps the mask on JAX, and loses it on {lacking}. On JAX it returns its input itself, "
                f"{BY_IDENTITY}. On {lacking} it returns a new tensor, without the mask."
            )
            return Cause("kept-by-identity", _add_empty_rows(pair, text), _pass_on(calls, call))
    return None


def _find_unchanged(call: SideCall, other: SideCall) -> str | None:
    """Return the call whose result arrives itself on one side, and as another tensor on the other; None otherwise."""
    makers = zip(call.input_makers, other.input_makers, strict=False)
    return next((maker for maker, none in makers if maker is not None and none is None), None)


def _pass_on(calls: Sequence[Pair], call: SideCall) -> str:
    """Return the advice to pass the mask to the next call that receives it on one side only."""
    paths = [first.call if first is not None else "" for first, _ in calls]
    later = calls[paths.index(call.call) + 1 :] if call.call in paths else ()
    for first, other in later:
        if first is not None and other is not None and (first.mask_in is None) != (other.mask_in is None):
            return EXPLICIT_MASK.format(name=first.call.rpartition("/")[2])
    return EXPLICIT_MASK.format(name="layer")


def _add_empty_rows(pair: SidePair, text: str) -> str:
    """Return a text with the effect on rows without a valid timestep, if there is any."""
    breaking = [(name, side.not_finite) for name, side in pair.sides if side.not_finite is not None]
    if len(breaking) != 1:
        return text
    return f"{text} Rows without a valid timestep are not finite on {breaking[0][0]}, from `{breaking[0][1]}` on."


def _find_ignored_zeros(pair: SidePair, difference: SideDifference, calls: Sequence[Pair]) -> Cause | None:
    """``zero_output_for_mask`` without effect on one side."""
    both = _find_pair(difference, calls)
    if both is None or not both[0].settings.get("zero_output_for_mask"):
        return None
    for ignoring, call, zeroing, zeros in _arrange(pair, both):
        if _are_zero_where_masked(call) is False and _are_zero_where_masked(zeros):
            unrolled = " with `unroll=True`" if call.settings.get("unroll") else ""
            text = (
                f"`{call.call}` ignores `zero_output_for_mask` on {ignoring}{unrolled}: its results at masked "
                f"timesteps are not zero, as they are on {zeroing}."
            )
            return Cause("ignored-zero-output", text, NO_UNROLL if unrolled else "Not tried: mask the results.")
    return None


def _are_zero_where_masked(call: SideCall) -> bool | None:
    """Return whether the first result is zero at all masked timesteps; None if there are none."""
    masked = _select_result(call, None if call.mask_in is None else ~call.mask_in)
    return None if masked is None else not masked.any()


def _select_result(call: SideCall, places: Bools | None) -> np.ndarray | None:
    """Return ``(n, features)``, the first result of a call at some timesteps; None if there are none."""
    if places is None or not call.results or not places.any():
        return None
    values = call.results[0].values
    return values[places] if values.ndim == 3 and values.shape[:2] == places.shape else None


def _find_reversed_mask(pair: SidePair, difference: SideDifference, calls: Sequence[Pair]) -> Cause | None:
    """A backward layer whose results are zero at valid timesteps on one side."""
    both = _find_pair(difference, calls)
    if both is None or not both[0].settings.get("unroll"):
        return None
    for zeroing, call, right, others in _arrange(pair, both):
        values, expected = _select_result(call, call.mask_in), _select_result(others, others.mask_in)
        if values is None or expected is None or values.shape != expected.shape:
            continue
        count = int(((values == 0) & (expected != 0)).any(axis=1).sum())
        if count:
            text = (
                f"`{call.call}` returns zeros at {format_count(count, 'valid timestep')} on {zeroing}, and "
                f"numbers on {right}: with `unroll=True`, Keras applies the mask, in the order of the input, "
                "to results in reverse order."
            )
            return Cause("reversed-mask", text, NO_UNROLL)
    return None


def _find_not_finite(pair: SidePair, difference: SideDifference, calls: Sequence[Pair]) -> Cause | None:
    """NaN in rows without a valid timestep on one side only."""
    del difference, calls
    breaking = [(name, side.not_finite) for name, side in pair.sides if side.not_finite is not None]
    if len(breaking) != 1:
        return None
    name, call = breaking[0]
    text = f"`{call}` makes NaN or infinity of rows without a valid timestep on {name}."
    return Cause("not-finite", text, "Not tried: leave out rows without a valid timestep.")


# Compiled functions, and two models.


def _find_compiled(pair: SidePair, difference: SideDifference, _calls: Sequence[Pair]) -> Cause | None:
    """A compiled function that fails, or computes something else, on one side only."""
    if "compiled" not in difference.parts or set(difference.parts) - {"compiled", "errors", "losses"}:
        return None
    for name, side in pair.sides:
        if side.compiled is not None:
            text = f"The model computes something else on {name} when it is compiled, as `predict` and `fit` do."
            return Cause("compiled-differs", text, "Not tried: pass masks in the calls.")
    for name, side in pair.sides:
        if side.compiled_fails:
            text = f"On {name} {side.compiled_why}.{_name_rematerialized(pair)}"
            return Cause("does-not-compile", text, "Not tried: compile the model with `run_eagerly=True`.")
    return None


def _find_calls(pair: SidePair, difference: SideDifference, _calls: Sequence[Pair]) -> Cause | None:
    """A call that only one of two models has."""
    for name, paths in ((pair.first_name, difference.only_in_first), (pair.other_name, difference.only_in_other)):
        if paths and difference.first_call is not None and difference.first_call.differs == "missing":
            text = f"`{paths[0]}` is only in {name_side(name)}."
            return Cause("other-calls", text, "Compare the layers of both models.")
    return None


def _find_weights(pair: SidePair, difference: SideDifference, _calls: Sequence[Pair]) -> Cause | None:
    """Weights that differ between two models, where their masks do not."""
    if not difference.weights or "masks" in difference.parts:
        return None
    weight = difference.weights[0]
    count = len(difference.weights)
    subject = f"{format_count(count, 'weight')} {choose_form(count, 'differs', 'differ')}"
    text = f"{subject} between {pair.first_name} and {pair.other_name}, first `{weight.weight}`."
    return Cause("other-weights", text, "Load the same weights, or compare only the code: --copy-weights.")


_Find = Callable[[SidePair, SideDifference, Sequence[Pair]], Cause | None]
_OF_ERRORS: tuple[_Find, ...] = (_find_tensorflow_code, _find_error)
_OF_BACKENDS: tuple[_Find, ...] = (_find_kept_mask, _find_reversed_mask, _find_ignored_zeros, _find_not_finite)
_OF_MODELS: tuple[_Find, ...] = (_find_calls, _find_weights)
