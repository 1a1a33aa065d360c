"""What each way to reduce makes of the same losses; NumPy alone, in float64.

In a formula ``loss × mask`` multiplies by 0 what does not count, so that NaN there stays NaN, as Keras has it;
``loss[mask]`` leaves it out, as torch does. Sources:

- Keras 3: ``reduce_weighted_values`` and ``apply_mask`` in ``keras/src/losses/loss.py``.
- Keras 1.0 to 2.2: ``weighted_objective``, later ``weighted_masked_objective``, in ``keras/engine/training.py`` or
  ``training_utils.py``. From 2.2.5 on it adds a small epsilon to ``mean(mask)``, which is left out here.
- Keras 2.3 and tf.keras up to 2.10: ``compute_weighted_loss`` in ``keras/utils/losses_utils.py``, where the mask is a
  weight. Since 2.11 ``Loss.__call__`` divides as Keras 3 does, of which the notes of TensorFlow 2.12 tell.
- torch: ``nll_loss``, where the weights are those of the classes of the targets.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from maskcli.records.arrays import Bools, Floats
from maskcli.records.loss import Reduction


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """What formulas are made of; arrays have the shape ``(batch, timesteps)`` or ``(batch,)``.

    Attributes:
        loss: each timestep's own loss, without weights.
        weight: the weight of each; ones where none are given.
        counted: what the mask lets count.
        text: how a formula names a weighted loss.
        weighted: whether weights are given.
    """

    loss: Floats
    weight: Floats
    counted: Bools
    text: str
    weighted: bool


def compute_reductions(
    losses: Floats, counted: Bools, weights: Floats | None = None, *, cross_entropy: bool = False
) -> tuple[Reduction, ...]:
    """Return what each way to reduce makes of ``losses``, ``(batch, timesteps)`` or ``(batch,)``.

    A value is None where there is nothing to divide by, for which Keras 3 has 0, and others NaN.

    Args:
        losses: each timestep's own loss, without weights.
        counted: in the same shape, what the mask lets count.
        weights: sample weights, ``(batch, timesteps)``, or ``(batch,)`` for all timesteps of a sample.
        cross_entropy: whether the losses are cross-entropies in nats, of which perplexity is made.
    """
    terms = _terms(losses, counted, weights)
    with np.errstate(all="ignore"):  # NaN and infinity come through, as they do in what is compared.
        found = (*_keras(terms), *_older_keras(terms), *_torch(terms))
        if losses.ndim > 1:
            found += (_mean_of_sample_means(terms),)
        return found + (_per_token(terms) if cross_entropy else ())


def _terms(losses: Floats, counted: Bools, weights: Floats | None) -> Terms:
    """Return the terms in float64, with the weights of samples spread over their timesteps."""
    given = np.ones(1) if weights is None else np.asarray(weights, np.float64)
    spread = given.reshape(given.shape + (1,) * (losses.ndim - given.ndim))
    text = "loss" if weights is None else "loss × weight"
    weight = np.broadcast_to(spread, losses.shape)
    return Terms(losses.astype(np.float64), weight, counted.astype(bool), text, weights is not None)


def _keras(terms: Terms) -> tuple[Reduction, ...]:
    """Return the reductions of Keras 3."""
    text, total, added = _times_mask(terms)
    axes = "(batch, timesteps)" if terms.loss.ndim > 1 else "(batch,)"
    mean = _ratio(total, terms.counted.sum())
    weighted_mean = _ratio(total, (terms.weight * terms.counted).sum())
    divisor = "sum(weight × mask)" if terms.weighted else "count(mask)"
    source = "Keras 3, mean_with_sample_weight"
    return (
        Reduction("keras-3", mean, f"{added} / count(mask)", "Keras 3, sum_over_batch_size"),
        Reduction("sum", total, added, "Keras 3, sum"),
        Reduction("mean-with-sample-weight", weighted_mean, f"{added} / {divisor}", source),
        Reduction("none", None, f"{text}, as {axes}", "Keras 3, none"),
    )


def _older_keras(terms: Terms) -> tuple[Reduction, ...]:
    """Return the reductions of Keras before 3.

    The first divides by the mask and by the weights: where both are zero at padding it divides twice.
    """
    text, total, added = _times_mask(terms)
    nonzero = np.count_nonzero(terms.weight) / max(terms.weight.size, 1)
    masked_mean = _ratio(_ratio(total, terms.counted.sum()), nonzero)
    formula = "keras-3 / mean(weight ≠ 0)" if terms.weighted else f"mean({text}) / mean(mask)"
    mean, source = _ratio(total, terms.loss.size), "Keras 2.3, tf.keras up to TensorFlow 2.10"
    return (
        Reduction("keras-2-masked-mean", masked_mean, formula, "Keras 1.0 to 2.2"),
        Reduction("all-timesteps", mean, f"{added} / count(all)", source),
    )


def _torch(terms: Terms) -> tuple[Reduction, ...]:
    """Return the reductions of torch, to which a target of ``ignore_index`` is not there at all."""
    loss, weight = terms.loss[terms.counted], terms.weight[terms.counted]
    total, text = float((loss * weight).sum()), _left_out(terms)
    divisor = "sum(weight[mask])" if terms.weighted else "count(mask)"
    source = "torch.nn.CrossEntropyLoss, ignore_index"
    return (
        Reduction("torch-ignore-index-mean", _ratio(total, weight.sum()), f"sum{text} / {divisor}", source),
        Reduction("torch-ignore-index-sum", total, f"sum{text}", source),
    )


def _mean_of_sample_means(terms: Terms) -> Reduction:
    """Return the mean over samples, in which a short sequence says as much as a long one."""
    counts = terms.counted.sum(axis=1)
    sums = np.where(terms.counted, terms.loss * terms.weight, 0).sum(axis=1)
    means = sums[counts > 0] / counts[counts > 0]
    formula = f"mean of samples' mean{_left_out(terms)}"
    source = "every sequence alike, as in GRPO"
    return Reduction("mean-of-sample-means", _ratio(float(means.sum()), means.size), formula, source)


def _per_token(terms: Terms) -> tuple[Reduction, ...]:
    """Return what language models report: of each timestep that counts, without weights."""
    loss = terms.loss[terms.counted]
    mean = _ratio(float(loss.sum()), loss.size)
    perplexity = None if mean is None else float(np.exp(mean))
    return (
        Reduction("perplexity", perplexity, "exp(mean(loss[mask]))", "language models"),
        Reduction("bits-per-token", _ratio(mean, np.log(2)), "mean(loss[mask]) / ln 2", "language models"),
    )


def _times_mask(terms: Terms) -> tuple[str, float, str]:
    """Return the text of each masked loss, their sum, and the text of that."""
    text = f"{terms.text} × mask"
    return text, float((terms.loss * (terms.weight * terms.counted)).sum()), f"sum({text})"


def _left_out(terms: Terms) -> str:
    """Return the text of the losses that count."""
    return f"(({terms.text})[mask])" if terms.weighted else "(loss[mask])"


def _ratio(above: float | None, below: float) -> float | None:
    """Return a quotient; None of nothing, or where there is nothing to divide by."""
    return None if above is None or below == 0 else float(above / below)
