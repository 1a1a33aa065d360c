"""The truth about a case: plain Keras in 64-bit numbers, with other padding and other content.

Where a fault hides all keys from a query, 32-bit numbers lose its scores next to -1e9, and 64-bit numbers do not: the
truth of these models is that of 32-bit numbers, and nothing is known if 64-bit numbers change although these do not.

The oracle compares outputs at valid timesteps, and pooled outputs, before and after a variation:

- content: other values at padding, where that changes no mask. Vectors of padding ids change through the row of the
  padding id in the Embedding, and the features of padding through the data. Features under a Masking layer stay,
  because other values would be data.
- count: more padding on each axis, less padding on all rows, and every row without the others, without padding.
- rows: other content in the other rows, and every row without the others with the same padding.
- future: other content at later timesteps.

Some results have no agreed truth, and the verdict is ``cannot-know`` if only these change: windows that cover valid
timesteps and padding; steps of two timesteps, which take other timesteps after another number of pre-padded ones; the
padding of a model whose rows mix; and results with other tokens than those of the case. Pre-padding shifts the vectors of a position embedding. That is no leak: the
oracle shifts the positions back.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from maskcli.backends.choice import get_backend
from tests.differential import models
from tests.differential.models import Case, Label, Variant

Array = Any

CLEAN = {"float64": 1e-9, "float32": 1e-5}
"""The largest change that is rounding, relative to the largest result; 64-bit numbers round at 1e-16."""
LEAKS = {"float64": 1e-5, "float32": 1e-3}
"""The smallest change that is no rounding, of 32-bit numbers either."""
COPIES = 2
"""Copies of a row that runs without the others: Keras on TensorFlow adds ``(1, timesteps, 1)`` along the wrong axis."""
VISIBLE = 1e-6
"""The smallest scale of results: smaller changes of an output of zeros count less."""
DRAWS = 4
"""Other tokens, and other noisy weights, that must be clean, too."""
SHARE = 1e-7
"""The smallest scale of a feature, relative to the largest feature of its output."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth about a case.

    Attributes:
        verdict: ``leaks``, ``clean`` or ``cannot-know``.
        kind: the variation with the largest change, ``content`` or ``count``, or the reason why nothing is known; empty
            if clean.
        change: the largest change, relative to the largest result.
        noisy: whether only noisy weights show the leak.
        rows_mix: whether another row changes a row; None if that is not known.
        future: whether a later timestep changes an earlier output; None if that is not known.
        tried: by kind, the number of variations that ran.
    """

    verdict: str
    kind: str
    change: float
    noisy: bool
    rows_mix: bool | None
    future: bool | None
    tried: dict[str, int]


@dataclasses.dataclass
class _Changes:
    """The largest changes of one kind: of results that surely count, and of all that may count."""

    surely: float = 0.0
    perhaps: float = 0.0
    tried: int = 0

    def add(self, surely: float, perhaps: float, aligned: bool = True) -> None:
        self.tried += 1
        self.perhaps = max(self.perhaps, surely, perhaps)
        if aligned:
            self.surely = max(self.surely, surely)


Key = tuple[int, str, Label | None, int]
"""A row, an output, the timesteps it belongs to, and how many equal ones come before."""


class Bench:
    """A case as a model that runs on variants of its data."""

    def __init__(self, case: Case, weights: list[Array], dtype: str | None = None) -> None:
        self.case, self.weights = case, weights
        self.dtype = dtype or ("float32" if hides_all_keys(case) else "float64")
        self.sizes = models.measure_sizes(case)
        self.model = self._build(self.sizes)
        self.resized = {tuple(self.sizes.values()): self.model}
        self.cannot_run = False

    def _build(self, sizes: dict[str, int]) -> Any:
        model = models.build(self.case, sizes, self.dtype)
        model.set_weights(self.weights)
        return model

    def fit(self, sizes: dict[str, int]) -> Any:
        """Return a model for this number of timesteps; raises ValueError if its weights have other shapes."""
        sizes = self.sizes | sizes
        key = tuple(sizes.values())
        if key not in self.resized:
            self.resized[key] = self._build(sizes) if self.case.fixed else self.model
        return self.resized[key]

    def run(self, variant: Variant) -> dict[Key, Array]:
        """Return the results that may count, by row, output and timestep."""
        case = self.case
        sizes = case.padded_lengths | variant.sizes
        changed = variant.sizes or variant.words != models.WORDS
        model = self.fit(sizes | ({"W": variant.words} if "W" in self.sizes else {})) if changed else self.model
        move_positions(model, case.padded_lengths["T"] - sizes["T"] if case.side == "pre" else 0)
        arrays = models.assemble(case, variant)
        for source in case.sources:
            if source.dtype == "float":
                arrays[source.name] = arrays[source.name].astype(self.dtype)
        outputs = model(models.take_inputs(case, arrays), training=False)
        rows = variant.rows if variant.rows is not None else tuple(range(len(case.lengths["T"])))
        return dict(self._label(self._by_name(outputs), rows, sizes))

    def _by_name(self, outputs: Any) -> dict[str, Array]:
        values = outputs.values() if isinstance(outputs, dict) else outputs
        if len(self.case.outputs) == 1:
            values = [outputs]
        return {name: keras.ops.convert_to_numpy(value) for name, value in zip(self.case.outputs, values, strict=True)}

    def _label(
        self, outputs: dict[str, Array], rows: tuple[int, ...], sizes: dict[str, int]
    ) -> Iterator[tuple[Key, Array]]:
        for place, row in enumerate(rows):
            of_row = {axis: lengths[row] for axis, lengths in self.case.lengths.items()}
            for name, labels in models.timelines(self.case, of_row, sizes).items():
                value = outputs[name][place]
                if labels is None:
                    yield (row, name, None, 0), value
                    continue
                if len(labels) != len(value):
                    raise AssertionError(f"seed {self.case.seed}: {len(labels)} labels of {len(value)} timesteps")
                counts: Counter[Label] = Counter()
                for label, result in zip(labels, value, strict=True):
                    if label.is_valid(of_row["T"], surely=False):
                        yield (row, name, label, counts[label]), result
                    counts[label] += 1


def hides_all_keys(case: Case) -> bool:
    """Return whether an attention may hide all keys from a query: its mask is inverted, or laid along queries."""
    return re.search(r'inverted|logical_not|"queries"|expand_dims\(\w+_mask, 2\)', models.make_source(case)) is not None


def move_positions(model: Any, offset: int) -> None:
    """Shift the positions of all position embeddings."""
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Positions":
            layer.offset = offset


class Comparison:
    """Compares results with those of the case as it is."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.base = bench.run(Variant())
        self.scales = {key[1]: self._measure_scale(key[1]) for key in self.base}

    def _measure_scale(self, output: str) -> Array:
        """Return the largest absolute result of each feature of an output, but not less than a share of all."""
        values = np.stack([np.abs(value) for key, value in self.base.items() if key[1] == output])
        largest = np.max(values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1), axis=0)
        return np.maximum(largest, SHARE * np.max(largest))

    @property
    def finite(self) -> bool:
        """Whether all results that count are numbers."""
        return all(np.all(np.isfinite(scale)) for scale in self.scales.values())

    def compare(self, changes: _Changes, variant: Variant, aligned: bool = True, **choice: Any) -> None:
        """Run a variant, if the model can, and add its changes."""
        try:
            results = self.bench.run(variant)
            surely, perhaps = self.measure(results, **choice)
        except AssertionError:
            raise
        except Exception:  # The model rejects this variant for any reason, or returns results of another shape.
            self.bench.cannot_run = True
            return
        if not aligned and self._lacks_results(results, **choice):
            perhaps = math.inf
        changes.add(surely, perhaps, aligned)

    def _lacks_results(self, results: dict[Key, Array], row: int | None = None) -> bool:
        """Return whether windows over valid timesteps cover others in a variant, so that nothing can be compared."""
        lengths = self.bench.case.lengths["T"]
        return any(
            key[2] is not None and key[2].is_valid(lengths[key[0]], surely=True)
            for key in self.base.keys() - results.keys()
            if row in (None, key[0])
        )

    def measure(
        self, results: dict[Key, Array], row: int | None = None, before: int | None = None
    ) -> tuple[float, float]:
        """Return the largest change of results that surely count, and of those that may.

        Args:
            row: the only row to compare.
            before: compare only timesteps before this one.
        """
        surely = perhaps = 0.0
        shorter = {self._cut(key): result for key, result in results.items()}
        for key, base in self.base.items():
            label = key[2]
            if row not in (None, key[0]) or (before is not None and (label is None or label.last >= before)):
                continue
            # A window over valid timesteps and padding may cover less or more padding in the variant.
            result = results[key] if key in results else shorter.get(self._cut(key))
            if result is None:
                continue
            change = self._change(base, result, self.scales[key[1]])
            perhaps = max(perhaps, change)
            if label is None or label.is_valid(self.bench.case.lengths["T"][key[0]], surely=True):
                surely = max(surely, change)
        return surely, perhaps

    def _cut(self, key: Key) -> Key:
        """Return the key with only the valid timesteps of its window."""
        row, name, label, count = key
        if label is None or label.kind != "data":
            return key
        last = min(label.last, self.bench.case.lengths["T"][row] - 1)
        return row, name, Label(max(label.first, 0), last), count

    @staticmethod
    def _change(before: Array, after: Array, scale: Array) -> float:
        difference = np.abs(np.asarray(after, float) - np.asarray(before, float))
        if not np.all(np.isfinite(difference)):
            return math.inf
        return float(np.max(difference / np.maximum(scale, VISIBLE)))


def _vary_content(comparison: Comparison) -> _Changes:
    """Change the vectors of padding."""
    changes = _Changes()
    case, model = comparison.bench.case, comparison.bench.model
    by_weights = any(source.kind in ("ids", "words") for source in case.sources)
    by_data = any(source.kind == "features" and not source.content_makes_mask for source in case.sources)
    for seed in (1, 2):
        weights = model.get_weights()
        if by_weights:
            model.set_weights(change_padding_vectors(model, seed))
        if by_weights or by_data:
            comparison.compare(changes, Variant(fill=seed))
        model.set_weights(weights)
    return changes


def change_padding_vectors(model: Any, seed: int) -> list[Array]:
    """Return the weights with other vectors of id 0 in the Embeddings of ids, which have 16 vectors."""
    rng = np.random.default_rng(seed)
    weights = []
    for variable in model.weights:
        value = np.array(variable)
        if variable.path.endswith("embeddings") and len(value) == 16:
            value[0] = rng.standard_normal(value.shape[1]) * (0.5 + np.max(np.abs(value)))
        weights.append(value)
    return weights


def _vary_count(comparison: Comparison) -> _Changes:
    """Add padding, and take padding away."""
    changes = _Changes()
    case = comparison.bench.case
    strides = math.prod(2 for step in case.steps if "stride" in step.traits)
    for more in (strides, 2 * strides, 1):
        for axis, size in case.padded_lengths.items():
            comparison.compare(changes, Variant(sizes={axis: size + more}), _is_aligned(case, strides, more))
    if any(source.kind == "words" for source in case.sources):
        comparison.compare(changes, Variant(words=models.WORDS + 2))
    for row in range(len(case.lengths["T"])):
        _run_row(comparison, changes, row, strides)
    return changes


def _run_row(comparison: Comparison, changes: _Changes, row: int, strides: int) -> None:
    """Run one row without padding, and with as much of it as steps of several timesteps need."""
    case = comparison.bench.case
    bare = {axis: lengths[row] for axis, lengths in case.lengths.items()}
    aligned = {axis: size + (case.padded_lengths[axis] - size) % strides for axis, size in bare.items()}
    for sizes in [bare] if bare == aligned else [bare, aligned]:
        missing = case.padded_lengths["T"] - sizes["T"]
        variant = Variant(rows=(row,) * COPIES, sizes=sizes)
        comparison.compare(changes, variant, _is_aligned(case, strides, missing), row=row)


def _is_aligned(case: Case, strides: int, moved: int) -> bool:
    """Return whether windows of several timesteps cover the same timesteps after a shift."""
    kinds = {step.move[0] for step in case.steps}
    shifts = case.side == "pre" or "reverse" in kinds
    positions = any("positions" in step.traits for step in case.steps)
    if positions and shifts and kinds & {"strides", "every", "repeat", "reverse"}:
        return False
    return not (strides > 1 and moved % strides)


def _vary_rows(comparison: Comparison) -> _Changes:
    """Change the other rows."""
    changes = _Changes()
    for row in range(min(3, len(comparison.bench.case.lengths["T"]))):
        comparison.compare(changes, Variant(renew=0, keep=row), row=row)
        comparison.compare(changes, Variant(rows=(row,) * COPIES), row=row)
    return changes


def _vary_future(comparison: Comparison) -> _Changes:
    """Change later timesteps, where timesteps of outputs are those of the data."""
    changes = _Changes()
    case = comparison.bench.case
    moves = {step.move[0] for step in case.steps}
    if moves - {"same", "pool"} or hides_all_keys(case):
        return changes
    longest = max(case.lengths["T"])
    for start in sorted({1, longest // 2, longest - 1} - {0}):
        comparison.compare(changes, Variant(renew=start), before=start)
    return changes


def _judge(changes: _Changes, dtype: str) -> bool | None:
    """Return whether results change; None if that is not known."""
    if changes.surely > LEAKS[dtype]:
        return True
    return False if changes.perhaps < CLEAN[dtype] and changes.tried else None


def _judge_weights(case: Case, weights: list[Array]) -> Truth:
    bench = Bench(case, weights)
    comparison = Comparison(bench)
    if not comparison.finite:
        return Truth("cannot-know", "not finite", math.inf, False, None, None, {})
    rows_mix = _judge(_vary_rows(comparison), bench.dtype)
    bench.cannot_run = False
    content, count = _vary_content(comparison), _vary_count(comparison)
    future = _judge(_vary_future(comparison), bench.dtype) if any(key[2] for key in comparison.base) else None
    if rows_mix is not False:  # A row without the others then differs for another reason.
        count.perhaps, count.surely = max(count.perhaps, count.surely), 0.0
    kind, largest = max((("content", content), ("count", count)), key=lambda item: (item[1].surely, item[1].perhaps))
    tried = {"content": content.tried, "count": count.tried}
    verdict = "cannot-know"
    if largest.surely > LEAKS[bench.dtype]:
        verdict = "leaks"
    elif max(content.perhaps, count.perhaps) < CLEAN[bench.dtype]:
        all_ran = count.tried > 0 and not bench.cannot_run
        kind, verdict = ("", "clean") if all_ran else ("count not tried", "cannot-know")
    return Truth(verdict, kind, max(content.surely, count.surely), False, rows_mix, future, tried)


def find_truth(case: Case, model: Any) -> Truth:
    """Return the truth about a case and its model: at its weights and, if it is fresh, at noisy ones."""
    with get_backend().allow_float64():
        return _find_truth(case, model)


def _find_truth(case: Case, model: Any) -> Truth:
    weights = model.get_weights()
    truth = _judge_weights(case, weights)
    if not case.trained:
        weights = models.disturb(model, case.seed + 1)
        noisy = _judge_weights(case, weights)
        rows_mix, future = truth.rows_mix or noisy.rows_mix, truth.future or noisy.future
        if noisy.verdict == "leaks" and truth.verdict != "leaks":
            truth = dataclasses.replace(noisy, noisy=True)
        elif noisy.verdict == "cannot-know" and truth.verdict == "clean":
            truth = noisy
        truth = dataclasses.replace(truth, rows_mix=rows_mix, future=future)
    if truth.verdict == "clean" and _leaks_otherwise(case, model, weights):
        truth = dataclasses.replace(truth, verdict="cannot-know", kind="other data or weights")
    if truth.verdict == "clean" and hides_all_keys(case) and _changes(Comparison(Bench(case, weights, "float64"))):
        truth = dataclasses.replace(truth, verdict="cannot-know", kind="only 64-bit numbers")
    return truth


def _changes(comparison: Comparison) -> bool:
    """Return whether results are not finite, or change with other content or another amount of padding."""
    changes = (_vary_content(comparison), _vary_count(comparison))
    return not comparison.finite or max(change.perhaps for change in changes) > CLEAN[comparison.bench.dtype]


def _cut_lengths(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return at most two timesteps for all rows but the longest: a maximum shows zeros mostly in short rows."""
    longest = sizes.index(max(sizes))
    return tuple(size if row == longest else min(size, 2) for row, size in enumerate(sizes))


def _leaks_otherwise(case: Case, model: Any, weights: list[Array]) -> bool:
    """Return whether other tokens, lengths or weights leak: a maximum hides zeros if all results are positive."""
    for draw in range(DRAWS):
        lengths = {axis: _cut_lengths(sizes) for axis, sizes in case.lengths.items()} if draw % 2 else case.lengths
        other = dataclasses.replace(case, seed=case.seed + 1_000_003 * (1 + draw), lengths=lengths)
        noisy = weights if case.trained or not draw else models.disturb(model, case.seed + 2 + draw)
        if _changes(Comparison(Bench(other, noisy))):
            return True
    return False


def clear() -> None:
    """Forget the names and graphs of earlier models."""
    keras.backend.clear_session()
