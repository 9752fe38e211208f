"""How sure a score is, and whether two differ: a bootstrap over images of the test set.

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

from kit.evaluation.metrics import center, index_images, sum_by_image

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
    """The single-trial correlation with each image's pull. (T, N), (T, N), (T,)."""
    image, count = index_images(image_ids, len(responses))
    return _image_score(predictions, responses, image, count[:, 0])


def average_score(
    predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray
) -> ImageScore:
    """The correlation to average with each image's pull. (T, N), (T, N), (T,)."""
    image, count = index_images(image_ids, len(responses))
    averages = [
        sum_by_image(np.asarray(values, np.float64), image) / count
        for values in (predictions, responses)
    ]  # (images, N)
    return _image_score(*averages, np.arange(len(count)), np.ones(len(count)))


IMAGE_SCORES = {"to_average": average_score, "single_trial": single_trial_score}


def _image_score(predictions, responses, image, trials):
    """The mean correlation over T trials or averages, (T, N), and each image's pull on it.

    image: (T,) index of the image that each showed; trials: (images,) how many showed it.
    """
    if len(trials) < 3:
        raise ValueError(
            f"{len(trials)} images are too few to say how sure a score is; give the "
            "trials of three or more"
        )
    order = np.argsort(image, kind="stable")
    total, without, neurons = 0.0, np.zeros(len(trials)), predictions.shape[1]
    for start in range(0, neurons, BLOCK):
        block = slice(start, start + BLOCK)
        p, r = (
            center(np.asarray(values[order, block], np.float64))
            for values in (predictions, responses)
        )
        every, left = _leave_one_out(p, r, image[order], trials)
        total += every.sum()
        without += left.sum(1)
    score = total / neurons
    return ImageScore(float(score), (len(trials) - 1) * (score - without / neurons))


def _leave_one_out(p, r, image, trials):
    """Correlations (n,) of centred p and r (T, n), and (images, n) without each image.

    image: (T,) rising; trials: (images,).
    """
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    by_image = [np.add.reduceat(values, starts) for values in (p, r, p * p, r * r, p * r)]
    sums = [values.sum(0) for values in by_image]
    rest = [whole - part for whole, part in zip(sums, by_image, strict=True)]
    n, n_left = trials.sum(), trials.sum() - trials[:, None]
    left = _correlations(n_left, *rest)  # (images, n)
    unstable = np.zeros(left.shape, bool)
    for first, square in ((0, 2), (1, 3)):
        variance = rest[square] / n_left - (rest[first] / n_left) ** 2
        unstable |= variance < SMALL * sums[square] / n
    _recompute(left, unstable, p, r, image)
    return _correlations(n, *sums), left


def _recompute(left, unstable, p, r, image):
    """Compute correlations without an image again, in two passes, where that image is nearly all.

    What is left of a neuron's variance is then a difference of two large numbers, mostly rounding.
    left: (images, n) correlations, changed in place where unstable (images, n) is true.
    """
    for k in np.flatnonzero(unstable.any(1)):
        neurons, rows = np.flatnonzero(unstable[k]), image != k
        x, y = (center(values[np.ix_(rows, neurons)]) for values in (p, r))
        scale = (x.std(0) + 1e-8) * (y.std(0) + 1e-8)
        left[k, neurons] = (x * y).mean(0) / scale


def _correlations(n, p, r, pp, rr, pr):
    """Pearson correlations from sums over n trials, with the 1e-8 of the 2022 code."""
    p, r = p / n, r / n
    std_p = np.sqrt(np.maximum(pp / n - p * p, 0)) + 1e-8
    std_r = np.sqrt(np.maximum(rr / n - r * r, 0)) + 1e-8
    return (pr / n - p * r) / (std_p * std_r)


def interval(one: ImageScore, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a score over other images, around the corrected score."""
    error, ratios = _studentised(one.pulls[:, None], resamples, seed)
    reach = float(error[0] * np.quantile(np.abs(ratios[:, 0]), LEVEL))
    return one.corrected - reach, one.corrected + reach


def compare_scores(
    one: ImageScore, other: ImageScore, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compare two scores of the same images: paired, because both are resampled alike."""
    difference = one.score - other.score
    error, ratios = _studentised((one.pulls - other.pulls)[:, None], resamples, seed)
    ratios = np.abs(ratios[:, 0])
    reach = float(error[0] * np.quantile(ratios, LEVEL))
    as_large = (ratios * error[0] >= abs(difference)).sum()
    if abs(difference) < EQUAL_WITHIN:
        reach, as_large = max(reach, abs(difference)), resamples
    return Difference(
        difference,
        (difference - reach, difference + reach),
        float((as_large + 1) / (resamples + 1)),
        len(one.pulls),
    )


def _studentised(pulls, resamples, seed):
    """Standard errors (K,) of mean pulls (images, K), and resampled means over their own error.

    Returns (K,) and (resamples, K), float32. A column of zeros has an error and ratios of 0. A
    resample's error counts as at least half of the real one: where two entries differ in a few
    images alone, a resample without these would have none, and its ratio would be infinite.
    """
    images = len(pulls)
    centred = pulls - pulls.mean(0)
    error = centred.std(0, ddof=1) / np.sqrt(images)
    rng = np.random.default_rng(seed)
    ratios = np.empty((resamples, pulls.shape[1]), np.float32)
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), rows) / images
        means = weights @ centred
        variances = np.maximum(weights @ centred**2 - means**2, 0) / (images - 1)
        errors = np.maximum(np.sqrt(variances), error / 2)
        ratios[start : start + rows] = np.divide(
            means, errors, out=np.zeros_like(means), where=errors > 0
        )
    return error, ratios


# ---- many entries ----


@dataclass(frozen=True, eq=False)
class Ranks:
    """How K entries compare, all pairs at once, at a family-wise error of 5 %."""

    adjusted: np.ndarray  # (K, K) p of each pair, adjusted for all pairs; 1 on the diagonal
    tied: np.ndarray  # (K,) bool: not significantly worse than the best
    rank_interval: np.ndarray  # (K, 2) 1 + number significantly better, K - number worse


def rank_scores(entries: list[ImageScore], resamples: int = RESAMPLES, seed: int = 0) -> Ranks:
    """Compare every entry with every other (Romano and Wolf, Econometrica 2005, step-down).

    The critical value is a quantile of the largest ratio over all pairs that are not yet rejected,
    in the same resample, so entries with similar errors cost little.
    """
    scores = np.array([entry.score for entry in entries])
    pulls = np.stack([entry.pulls for entry in entries], 1)  # (images, K)
    first, second = np.triu_indices(len(entries), 1)
    error, ratios = _studentised(pulls[:, first] - pulls[:, second], resamples, seed)
    apart = np.abs(scores[first] - scores[second])
    found = _ratio(np.where(apart < EQUAL_WITHIN, 0, apart), error)  # (pairs,)
    ratios = np.abs(ratios, out=ratios)
    p = np.ones((len(entries), len(entries)))
    p[first, second] = p[second, first] = _step_down(found, ratios)
    best = int(scores.argmax())
    better = (p < 1 - LEVEL) & (scores[:, None] > scores)  # (K, K): the row is better
    intervals = np.stack([1 + better.sum(0), len(entries) - better.sum(1)], 1)
    return Ranks(p, p[best] >= 1 - LEVEL, intervals)


def _step_down(found, ratios):
    """Adjusted p (pairs,) of ratios found, from resampled ones (resamples, pairs)."""
    order = np.argsort(-found)
    adjusted, highest = np.ones(len(found)), np.zeros(len(ratios), np.float32)
    for pair in order[::-1]:  # from the smallest: the largest of those that are left
        np.maximum(highest, ratios[:, pair], out=highest)
        adjusted[pair] = ((highest >= found[pair]).sum() + 1) / (len(ratios) + 1)
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return adjusted


def _ratio(above, below):
    """Divide; 0 / 0 is 0, and a difference without any error is infinite."""
    sure = np.where(above > 0, np.inf, 0.0)
    return np.divide(above, below, out=sure, where=below > 0)
