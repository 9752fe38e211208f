"""The uncertainty of a score, and of a difference of two: a bootstrap over the test images.

Repeats of an image stay together, and all entries are resampled alike. What is resampled is the
pull of each image on a score, by leaving it out (the jackknife). In 1,000 simulations with the
responses of sample+ the 95 % interval of a difference held the true one in 95 to 97 % of cases, and
a single score's did in 94 to 96; benchmarks/coverage.py counts. Percentiles of resampled
correlations did in 92 % and in 63 to 81 %. Each resample is divided by its own standard error
(Efron and Tibshirani, An Introduction to the Bootstrap, chapter 12).

The intervals are about other images, for the same mouse and neurons. They know nothing of another
training: two seeds of one model differ too. FEVE has no interval: it is a mean over the neurons
above a threshold, with denominators that resampled images bring near zero.

This file imports numpy and the metrics, so the scoring program of a bundle carries it.
"""

from dataclasses import dataclass

import numpy as np

from kit.evaluation.metrics import (
    EPSILON,
    average_repeats,
    center,
    correlation,
    divide,
    index_images,
)

RESAMPLES = 10_000
LEVEL = 0.95
EQUAL_WITHIN = 1e-6  # of scores: the 1e-8 in a correlation moves them by less
SMALL = 1e-4  # share of a neuron's variance below which one image counts as nearly all of it
BLOCK = 500  # neurons, or resamples, at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class ImageScore:
    """A mean correlation over neurons, and how much each image pulls it up or down."""

    score: float
    pulls: np.ndarray  # (images,) (images - 1) times the score less the score without that image

    @property
    def corrected(self) -> float:
        """The score without its bias, by the jackknife (Quenouille 1956)."""
        return self.score + float(self.pulls.mean())


@dataclass(frozen=True)
class Difference:
    """Whether one score is higher than another: interval and p-value of the difference."""

    difference: float  # the first less the second
    interval: tuple[float, float]  # 95 %, over other images
    p: float  # of a difference this large if the true one is 0; never 0
    images: int


def single_trial_score(
    predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray
) -> ImageScore:
    """The single-trial correlation with each image's pull. (T, N), (T, N), (T,).

    Raises ValueError for fewer than three images.
    """
    image, count = index_images(image_ids, len(responses))
    if len(count) < 3:
        raise ValueError(
            f"{len(count)} images are too few to say how sure a score is; give the trials of "
            "three or more"
        )
    order = np.argsort(image, kind="stable")
    neurons = predictions.shape[1]
    sums = np.zeros(1 + len(count))
    for start in range(0, neurons, BLOCK):
        block = slice(start, start + BLOCK)
        p, r = (
            center(np.asarray(values[order, block], np.float64))
            for values in (predictions, responses)
        )
        sums += _leave_one_out(p, r, image[order]).sum(1)
    scores = sums / neurons  # of all trials, then without each image
    return ImageScore(float(scores[0]), (len(count) - 1) * (scores[0] - scores[1:]))


def average_score(
    predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray
) -> ImageScore:
    """The correlation to average with each image's pull. (T, N), (T, N), (T,)."""
    averages = average_repeats(predictions, responses, image_ids)  # (images, N)
    return single_trial_score(*averages, np.arange(len(averages[0])))


IMAGE_SCORES = {"to_average": average_score, "single_trial": single_trial_score}


def _leave_one_out(p, r, image):
    """Correlations (1 + images, n) of centred p and r (T, n): of all trials, without each image.

    image: (T,) rising. Where an image is nearly all of a neuron, the variance without it is a
    difference of two large numbers, mostly rounding, and the correlation is computed again.
    """
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    by_image = np.add.reduceat([p, r, p * p, r * r, p * r], starts, axis=1)  # (5, images, n)
    total = by_image.sum(1, keepdims=True)
    trials = len(image) - np.diff(starts, append=len(image))
    trials = np.append(len(image), trials)[:, None]  # (1 + images, 1)
    means = np.concatenate([total, total - by_image], axis=1) / trials
    mean_p, mean_r, mean_pp, mean_rr, mean_pr = means  # (1 + images, n)
    variances = np.maximum([mean_pp - mean_p**2, mean_rr - mean_r**2], 0)
    std_p, std_r = np.sqrt(variances) + EPSILON
    correlations = (mean_pr - mean_p * mean_r) / (std_p * std_r)
    unstable_p, unstable_r = variances < SMALL * variances[:, :1]
    unstable = unstable_p | unstable_r  # (1 + images, n)
    for k in np.flatnonzero(unstable.any(1)):
        rest = np.ix_(image != k - 1, unstable[k])
        correlations[k, unstable[k]] = correlation(p[rest], r[rest])
    return correlations


def interval(
    image_score: ImageScore, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a score over other images, around the corrected score."""
    error, ratios = _studentised(image_score.pulls[:, None], resamples, seed)
    reach = float(error[0] * np.quantile(ratios, LEVEL))
    return image_score.corrected - reach, image_score.corrected + reach


def compare_scores(
    first: ImageScore, second: ImageScore, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compare two scores of the same images: paired, because both are resampled alike."""
    difference = first.score - second.score
    error, ratios = _studentised((first.pulls - second.pulls)[:, None], resamples, seed)
    reach = float(error[0] * np.quantile(ratios, LEVEL))
    as_large = (ratios * error >= abs(difference)).sum()
    if abs(difference) < EQUAL_WITHIN:
        reach = max(reach, abs(difference))
        as_large = resamples
    return Difference(
        difference,
        (difference - reach, difference + reach),
        float((as_large + 1) / (resamples + 1)),
        len(first.pulls),
    )


def _studentised(pulls, resamples, seed):
    """Standard errors (K,) of mean pulls (images, K), and sizes of resampled means over their own.

    Returns (K,) and (resamples, K), float32. A column of zeros has an error and ratios of 0. A
    resample's error counts as at least half of the real one: where two entries differ in a few
    images alone, a resample without these would have none, and its ratio would be infinite.
    """
    images, columns = pulls.shape
    centred = pulls - pulls.mean(0)
    error = centred.std(0, ddof=1) / np.sqrt(images)
    rng = np.random.default_rng(seed)
    ratios = np.empty((resamples, columns), np.float32)
    for block in np.split(ratios, range(BLOCK, resamples, BLOCK)):  # views of some rows
        weights = rng.multinomial(images, np.full(images, 1 / images), len(block)) / images
        means = weights @ centred
        variances = np.maximum(weights @ centred**2 - means**2, 0) / (images - 1)
        block[:] = np.abs(divide(means, np.maximum(np.sqrt(variances), error / 2)))
    return error, ratios


# ---- many entries ----


@dataclass(frozen=True, eq=False)
class Ranks:
    """K entries compared, all pairs at once, at a family-wise error of 5 %."""

    adjusted: np.ndarray  # (K, K) p of each pair, adjusted for all pairs; 1 on the diagonal
    tied: np.ndarray  # (K,) bool: in competition, and not significantly worse than the best
    rank_interval: np.ndarray  # (K, 2) 1 + number significantly better, K - number worse


def rank_scores(
    entries: list[ImageScore],
    resamples: int = RESAMPLES,
    seed: int = 0,
    competing: np.ndarray | None = None,
) -> Ranks:
    """Compare every entry with every other (Romano and Wolf, Econometrica 2005, step-down).

    competing: (K,) bool, None for all; entries out of competition take no rank from the others, and
    their own interval is the one that they would have if they alone joined. The critical value is a
    quantile of the largest ratio over all pairs that are not yet rejected, in the same resample, so
    entries with similar errors cost little.
    """
    count = len(entries)
    scores = np.array([entry.score for entry in entries])
    pulls = np.stack([entry.pulls for entry in entries], 1)  # (images, K)
    first, second = np.triu_indices(count, 1)
    error, ratios = _studentised(pulls[:, first] - pulls[:, second], resamples, seed)
    differences = np.abs(scores[first] - scores[second])  # (pairs,)
    differences[differences < EQUAL_WITHIN] = 0
    observed = divide(differences, error, empty=np.where(differences > 0, np.inf, 0.0))
    p = np.ones((count, count))
    p[first, second] = p[second, first] = _step_down(observed, ratios)
    better = (p < 1 - LEVEL) & (scores[:, None] > scores)  # (K, K): the row is better
    rivals = np.ones(count, bool) if competing is None else competing
    others = rivals.sum() - rivals  # (K,) entries in competition but this one
    intervals = np.stack([1 + better[rivals].sum(0), 1 + others - better[:, rivals].sum(1)], 1)
    best = np.where(rivals, scores, -np.inf).argmax()
    return Ranks(p, rivals & (p[best] >= 1 - LEVEL), intervals)


def _step_down(observed, ratios):
    """Adjusted p (pairs,) of observed ratios, from resampled ones (resamples, pairs)."""
    order = np.argsort(-observed)
    adjusted = np.empty(len(observed))
    highest = np.zeros(len(ratios), np.float32)
    for pair in order[::-1]:  # from the smallest: the largest of those that are left
        np.maximum(highest, ratios[:, pair], out=highest)
        adjusted[pair] = ((highest >= observed[pair]).sum() + 1) / (len(ratios) + 1)
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return adjusted
