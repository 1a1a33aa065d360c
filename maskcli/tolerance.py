"""Every threshold of maskcli, with its purpose and its reason.

A threshold decides whether two numbers count as equal. Limits of effort (rows to probe, batches to try) are not
thresholds; they are next to the code that they limit. Nothing here imports another module, so that all may import this.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Threshold(NamedTuple):
    """A number that decides, its purpose, and the reason for its size."""

    value: float
    purpose: str
    reason: str


# Probes: does padding change a result?

PROBE_MARGIN = Threshold(
    8.0,
    "Standard deviations of a rounding error up to which a change counts as rounding.",
    "A normal error exceeds 8 of them about once in 10^15 numbers, so that no output is too large to be judged.",
)
MONTE_CARLO_MARGIN = Threshold(
    4.0,
    "How many times the change made by one random rounding still counts as rounding.",
    "One run is one sample: the largest of many random errors varies from run to run, by less than this factor.",
)
DOUBTFUL = Threshold(
    0.25,
    "Part of the tolerance from which a change is looked at again in float64, where rounding is far smaller.",
    "Both margins allow several times the usual error; a small leak, as after a normalization, may hide in the rest.",
)
SMALL_LEAK = Threshold(
    16.0,
    "Multiple of the tolerance up to which a leak must also be one in float64.",
    "A maximum over padded timesteps scales numbers before they cancel: these round another way, by a few ulp.",
)
LEAST_LEAK = Threshold(
    4.0,
    "Units in the last place of a result from which a change in float64 is a leak, where float32 may only round.",
    "A softmax by hand that adds 1e-7 to its sum follows the scores of padding by one unit or two.",
)
REPAIR_CHANGE = Threshold(
    1e-5,
    "Relative change of the results of rows without padding that a repair may cause.",
    "A repair computes the same numbers, perhaps summed in another order; a change of the model is far larger.",
)
CONTENT_EFFECT = Threshold(
    1e-2,
    "Part of a feature's largest result from which other content at valid timesteps counts as moving a result.",
    "Other ids or vectors move most results by as much as they are large; less is no effect that a repair must keep.",
)
KEPT_EFFECT = Threshold(
    1e-3,
    "Part of the effect of valid timesteps on a result that a repair must leave.",
    "A repair leaves padding out, which makes the effect larger; timesteps that are hidden have no effect at all.",
)
CLOSED_SCORE = Threshold(
    1e3,
    "How far below 0 the score of a query and a key is from which an attention mask counts as closing the pair.",
    "exp(-1e3) is 0 in every dtype, next to scores near 0; masks subtract 1e4 (BERT) to 1e38, also infinity.",
)

SAME_SCALE = Threshold(
    16.0,
    "How many times as large as a feature another one may be and still count for its tolerance.",
    "Features of one tensor may have units of their own, 1 and 10^6; a sum over features of like size rounds alike.",
)
UNCERTAIN = Threshold(
    1e-3,
    "Part of a feature's largest result from which its measured rounding error hides leaks.",
    "A leak may change a result by less than 1 %; float32 allows about 10^-6 of results that do not cancel.",
)
LEAST_SCALE = Threshold(
    1e-3,
    "Part of the largest feature of an output that a feature counts for, at least, when its rounding error is judged.",
    "A feature that is zero but for the rounding of numbers as large as the others would always be uncertain.",
)
ZERO_IN_FLOAT64 = Threshold(
    1e-12,
    "Largest result in float64 that is zero but for rounding, so that no leak is hidden in it.",
    "Float64 rounds numbers near 1 by 1e-16; features and weights are far larger than 1e-12.",
)
HALF_RESULT = Threshold(
    0.02,
    "Part of the largest result from which a tolerance is too large for a probe to prove that nothing changes.",
    "A leak often changes a result by a few percent; float32 allows about 10^-4, and bfloat16 more than the result.",
)
WEIGHT_NOISE = Threshold(
    0.1,
    "Standard deviation of the noise that is added to weights, as a part of their root mean square.",
    "A few steps of training move weights as far; far less would hide a leak in rounding, far more saturates states.",
)
ZERO_NOISE = Threshold(
    0.5,
    "Standard deviation of the noise that is added to weights that are all zero, as biases are before training.",
    "A bias must be about as large as the numbers it is added to, or a maximum over both does not show it.",
)
ZEROS = Threshold(
    1e-3,
    "Part of the numbers of a weight that are zero, from which these may hide a leak.",
    "About one random float32 in 10^7 is zero by chance; pruning leaves far more zeros than this.",
)

# Losses: are two ways to compute a loss equal?

LOSS_AGREEMENT = Threshold(
    1e-5,
    "Relative difference up to which a loss computed by hand agrees with Keras's, apart from the rounding of sums.",
    "The float32 logarithms and exponentials in a loss are off by a few units in the last place, 1e-7 each.",
)
LOSS_SUM_STEP = Threshold(
    2.0**-22,
    "Relative rounding of a float32 sum, for each square root of the numbers that are summed.",
    "Two units in the last place of float32 (2^-23), one for each of the two sums; rounding errors add up as sqrt(n).",
)
COMPARED_LOSS = Threshold(
    1e-4,
    "Relative difference up to which the losses of two backends, or of two models, are equal.",
    "Predictions that round differently, by 1e-6, move a cross-entropy by up to 1e-5; other masks move it by percents.",
)
SAME_MEAN = Threshold(
    1e-6,
    "Relative difference up to which two means of the same float32 losses are equal.",
    "About eight units in the last place of float32; differences in the batching of losses start at 1e-4.",
)
SAME_IN_FLOAT64 = Threshold(
    1e-9,
    "Relative difference up to which two sums of the same numbers in float64 are equal.",
    "Float64 rounds at 2e-16; sums of a hundred million numbers stay far below this.",
)
BATCH_SIZE_SPREAD = Threshold(
    1e-4,
    "Relative difference from which the reported loss is said to depend on the batch size.",
    "Rounding stays below SAME_MEAN; smaller differences than this would not mislead a comparison of models.",
)
BATCH_SIZE_HARM = Threshold(
    1e-2,
    "Relative difference from the exact loss from which a batch size is said to distort the loss.",
    "A choice: comparisons of models often turn on a few percent, and seldom on less than one.",
)
PROBABILITY_SUM = Threshold(
    1e-2,
    "How far from 1 the sum of predictions may be for them to count as probabilities.",
    "A softmax in float16 over thousands of classes is off by a few thousandths; logits miss 1 by far more.",
)

# Metrics: does a metric look at the mask?

METRIC_EQUAL = Threshold(
    1e-6,
    "Difference up to which a metric with a mask equals the same metric on all timesteps; relative from 1 upwards.",
    "Keras accumulates metrics in float32; the same numbers in the same order differ by a few units in the last place.",
)
METRIC_DIFFERENT = Threshold(
    1e-5,
    "Difference from which two values of a metric are different; relative from 1 upwards in the rule, always in loss.",
    "Ten times METRIC_EQUAL, so that no pair of values is both equal and different.",
)

# Data: do the ends of rows look like padding?

UNMARKED_DISTANCE = Threshold(
    0.05,
    "Part of the range of a series that the value at the ends of its rows is away from all others, to look padded.",
    "Series that settle at a limit come near it before; -1, -999 and 1e20 are chosen to be far from measurements.",
)

# Views: is a number worth showing?

SHOWN_CHANGE = Threshold(
    1e-6,
    "Part of the largest output up to which a change without the mask is described as rounding.",
    "A few units in the last place of float32, after the sums of a layer.",
)
LEVEL_ABOUT_ZERO = Threshold(
    0.02,
    "Part of the largest value up to which a heat map draws a cell as about zero.",
    "A choice: the lowest of the four levels starts here, and what is smaller would only add noise to the picture.",
)

# Numbers in tables: with how many decimals are they readable?

FIXED_FROM = Threshold(
    1e-4,
    "Smallest largest number of a column for which the column has fixed decimals.",
    "Below it, three significant digits need more than seven characters; 1.2e-05 is as short and easier to read.",
)
FIXED_BELOW = Threshold(
    1e6,
    "Number from which a column has exponents instead of fixed decimals.",
    "Longer integers are hard to compare without thousands separators.",
)
SAME_DECIMALS = Threshold(
    1000.0,
    "How many times larger than the smallest number the largest may be in a column with common decimals.",
    "With three significant digits of the largest number, a smaller one would be printed as zero.",
)
PRECISE_FROM = Threshold(
    1e-3,
    "Smallest number that is printed with six decimals.",
    "It then has at least four significant digits.",
)
PRECISE_BELOW = Threshold(
    1e7,
    "Number from which six decimals become an exponent.",
    "Together with six decimals, it would be longer than float32 is precise.",
)
PERCENT_FROM = Threshold(
    5e-4,
    "Smallest part of 1 that is printed as a percentage; a smaller one is printed as <0.1 %.",
    "It rounds to 0.1 %, the smallest percentage with one decimal.",
)
ROUNDED_LOOK_AHEAD = Threshold(
    1e-8,
    "Change of an earlier output by a user's own code that may be rounding, although the model computes in float64.",
    "A Fourier transform of numbers below 1 stays in float32, and rounds by some 1e-9.",
)
PERCENT_DECIMAL_BELOW = Threshold(
    0.0995,
    "Part of 1 from which a percentage has no decimal.",
    "It rounds to 10 %: two digits, like 9.9 %.",
)


# Units in the last place, and the errors that they add up to.

ULP: Mapping[str, float] = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""By dtype, the distance from 1 to the next number: 52, 23, 10 and 7 bits follow the leading one (IEEE 754)."""


def one_ulp(dtype: str) -> float:
    """Return the relative unit in the last place; 0 for dtypes that do not round."""
    return ULP.get(dtype, 0.0)


def bound_sum_error(ulp: float, terms: int, calls: int = 1) -> float:
    """Return the largest relative error that rounding explains after ``calls`` sums of ``terms`` numbers.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 2.8.
    """
    # A sum of n rounded numbers makes n independent errors of one unit each. Their variances add up, so the error of
    # the sum grows as sqrt(n), not as n. The errors of k calls in a row are independent, too: another sqrt(k).
    deviation = ulp * math.sqrt(terms * calls)
    return PROBE_MARGIN.value * deviation


@dataclasses.dataclass(frozen=True, eq=False)
class Tolerance:
    """How far rounding may move the results of each call of a run.

    Attributes:
        relative: by the index of a call, as a part of its largest number.
        floor: by the index of a call, an absolute change that is always allowed; 0 where it is missing.
        by_feature: by the index of a call and the position of its result, such a change for each feature.
    """

    relative: Mapping[int, float]
    floor: Mapping[int, float] = dataclasses.field(default_factory=dict)
    by_feature: Mapping[tuple[int, int], Sequence[float]] = dataclasses.field(default_factory=dict)

    def at(self, index: int) -> tuple[float, float]:
        """Return both for one call; the model itself has index 0."""
        return self.relative[index], self.floor.get(index, 0.0)

    def of(self, index: int, position: int) -> tuple[float, float | Sequence[float]]:
        """Return both for one result of a call, with a floor for each feature if there is one."""
        return self.relative[index], self.by_feature.get((index, position), self.floor.get(index, 0.0))

    def widen(self, factor: float) -> Tolerance:
        """Return the same limits, times a factor."""
        return Tolerance(
            {index: limit * factor for index, limit in self.relative.items()},
            {index: limit * factor for index, limit in self.floor.items()},
            {place: [limit * factor for limit in limits] for place, limits in self.by_feature.items()},
        )
