"""Reductions: the ways in which libraries make one number of the same losses.

NumPy only, in float64. In a formula, ``loss × mask`` multiplies by 0 at timesteps that do not count, so that NaN there
stays NaN, as in Keras. ``loss[mask]`` leaves these timesteps out, as torch does. Sources:

- Keras 3: ``reduce_weighted_values`` and ``apply_mask`` in ``keras/src/losses/loss.py``.
- Keras 1.0 to 2.2: ``weighted_objective``, later ``weighted_masked_objective``, in ``keras/engine/training.py`` or
  ``training_utils.py``. Since 2.2.5 it adds a small epsilon to ``mean(mask)``, which is left out here.
- Keras 2.3 and tf.keras up to 2.10: ``compute_weighted_loss`` in ``keras/utils/losses_utils.py``, where the mask is a
  weight. Since 2.11 ``Loss.__call__`` divides as Keras 3 does; see the release notes of TensorFlow 2.12.
- torch: ``nll_loss``, where the weights are those of the classes of the targets.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import Reduction


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """The terms of the formulas; arrays have the shape ``(batch, timesteps)`` or ``(batch,)``.

    Attributes:
        loss: loss of each timestep, without weights.
        weight: weight of each timestep; ones if there are no weights.
        mask: True at timesteps that count.
        text: name of a weighted loss in a formula.
        selected: name of the weighted losses that count, in a formula.
        divisor: name of the sum of the weights, in a formula of Keras.
        selected_divisor: the same in a formula of torch.
    """

    loss: Floats
    weight: Floats
    mask: Bools
    text: str = "loss"
    selected: str = "(loss[mask])"
    divisor: str = "count(mask)"
    selected_divisor: str = "count(mask)"

    @property
    def weighted(self) -> bool:
        """Whether the losses have weights."""
        return self.text != "loss"


def compute_reductions(
    losses: Floats, mask: Bools, weights: Floats | None = None, *, cross_entropy: bool = False
) -> tuple[Reduction, ...]:
    """Reduce ``losses``, ``(batch, timesteps)`` or ``(batch,)``, in each of the ways.

    A value is None if its divisor is 0. Keras 3 reports 0 there, other libraries NaN.

    Args:
        losses: loss of each timestep, without weights.
        mask: True at timesteps that count, in the same shape.
        weights: sample weights, ``(batch, timesteps)``, or ``(batch,)`` for all timesteps of a sample.
        cross_entropy: whether the losses are cross-entropies in nats, so that perplexity is defined.
    """
    terms = _make_terms(losses, mask, weights)
    with np.errstate(all="ignore"):  # NaN and infinity are results here, as they are in the libraries.
        reductions = [*_reduce_as_keras(terms), *_reduce_as_older_keras(terms), *_reduce_as_torch(terms)]
        if losses.ndim > 1:
            reductions.append(_average_sample_means(terms))
        if cross_entropy:
            reductions += _reduce_per_token(terms)
    return tuple(reductions)


def _make_terms(losses: Floats, mask: Bools, weights: Floats | None) -> Terms:
    """Return the terms in float64, with the weights of samples repeated for their timesteps."""
    losses, mask = losses.astype(np.float64), mask.astype(bool)
    if weights is None:
        return Terms(losses, np.ones(losses.shape), mask)
    weight = np.asarray(weights, np.float64)
    weight = weight.reshape(weight.shape + (1,) * (losses.ndim - weight.ndim))
    return Terms(
        losses,
        np.broadcast_to(weight, losses.shape),
        mask,
        text="loss × weight",
        selected="((loss × weight)[mask])",
        divisor="sum(weight × mask)",
        selected_divisor="sum(weight[mask])",
    )


def _reduce_as_keras(terms: Terms) -> tuple[Reduction, ...]:
    """Return the reductions of Keras 3."""
    text, total, added = _sum_masked(terms)
    axes = "(batch, timesteps)" if terms.loss.ndim > 1 else "(batch,)"
    mean = _divide(total, terms.mask.sum())
    weighted_mean = _divide(total, (terms.weight * terms.mask).sum())
    source = "Keras 3, mean_with_sample_weight"
    return (
        Reduction("keras-3", mean, f"{added} / count(mask)", "Keras 3, sum_over_batch_size"),
        Reduction("sum", total, added, "Keras 3, sum"),
        Reduction("mean-with-sample-weight", weighted_mean, f"{added} / {terms.divisor}", source),
        Reduction("none", None, f"{text}, as {axes}", "Keras 3, none"),
    )


def _reduce_as_older_keras(terms: Terms) -> tuple[Reduction, ...]:
    """Return the reductions of Keras before 3.

    The first divides by the mask and by the weights. If both are zero at padding, it divides twice.
    """
    text, total, added = _sum_masked(terms)
    nonzero = np.count_nonzero(terms.weight) / max(terms.weight.size, 1)
    masked_mean = _divide(_divide(total, terms.mask.sum()), nonzero)
    formula = f"mean({text}) / mean(mask)"
    if terms.weighted:
        formula = "keras-3 / mean(weight ≠ 0)"
    mean, source = _divide(total, terms.loss.size), "Keras 2.3, tf.keras up to TensorFlow 2.10"
    return (
        Reduction("keras-2-masked-mean", masked_mean, formula, "Keras 1.0 to 2.2"),
        Reduction("all-timesteps", mean, f"{added} / count(all)", source),
    )


def _reduce_as_torch(terms: Terms) -> tuple[Reduction, ...]:
    """Return the reductions of torch, which removes timesteps whose target is ``ignore_index``."""
    loss, weight = terms.loss[terms.mask], terms.weight[terms.mask]
    total, text = float((loss * weight).sum()), f"sum{terms.selected}"
    source = "torch.nn.CrossEntropyLoss, ignore_index"
    return (
        Reduction(
            "torch-ignore-index-mean", _divide(total, weight.sum()), f"{text} / {terms.selected_divisor}", source
        ),
        Reduction("torch-ignore-index-sum", total, text, source),
    )


def _average_sample_means(terms: Terms) -> Reduction:
    """Return the mean over samples: a short sequence weighs as much as a long one."""
    counts = terms.mask.sum(axis=1)
    sums = np.where(terms.mask, terms.loss * terms.weight, 0).sum(axis=1)
    means = sums[counts > 0] / counts[counts > 0]
    formula = f"mean of samples' mean{terms.selected}"
    source = "sequences weigh equally, as in GRPO"
    return Reduction("mean-of-sample-means", _divide(float(means.sum()), means.size), formula, source)


def _reduce_per_token(terms: Terms) -> tuple[Reduction, ...]:
    """Return the figures of language models, over timesteps that count, without weights."""
    loss = terms.loss[terms.mask]
    mean = _divide(float(loss.sum()), loss.size)
    perplexity = None if mean is None else float(np.exp(mean))
    return (
        Reduction("perplexity", perplexity, "exp(mean(loss[mask]))", "language models"),
        Reduction("bits-per-token", _divide(mean, np.log(2)), "mean(loss[mask]) / ln 2", "language models"),
    )


def _sum_masked(terms: Terms) -> tuple[str, float, str]:
    """Sum the masked losses; return the text of one, the sum, and its text."""
    text = f"{terms.text} × mask"
    return text, float((terms.loss * (terms.weight * terms.mask)).sum()), f"sum({text})"


def _divide(above: float | None, below: float) -> float | None:
    """Return a quotient. Returns None if the dividend is None or the divisor is 0."""
    return None if above is None or below == 0 else float(above / below)
