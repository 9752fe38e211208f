"""How sure a score is, and whether two differ: a bootstrap over images of the test set.

Repeats of an image stay together, and all entries are resampled alike. What is resampled is the
pull of each image on a score, by leaving it out (the jackknife). In 1,000 simulations with the
responses of sample+ the 95 % interval of a difference held the true one in 95 to 97 % of cases, and
that of a single score in 94 to 96; benchmarks/coverage.py counts. Percentiles of resampled
correlations did in 92 % and in 63 to 81 %. Each resample is divided by its own standard error
(Efron and Tibshirani, An Introduction to the Bootstrap, chapter 12).

The intervals are about other images, for the same mouse and neurons. They know nothing of another
training: two seeds of one model differ too. FEVE has no interval: it is a mean over the neurons
above a threshold, with denominators that resampled images bring near zero.

This file imports numpy and nothing of the kit, so a scorer can use a copy of it.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
SAME = 1e-6  # scores closer than this are equal: the 1e-8 in a correlation moves them by less
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

    difference: float              # the first less the second
    interval: tuple[float, float]  # 95 %, over other images
    p: float                       # of a difference this large if the true one is 0; never 0
    images: int


def single_trial_score(predictions: np.ndarray, responses: np.ndarray,
                       image_ids: np.ndarray) -> ImageScore:
    """The single-trial correlation with each image's pull. (T, N), (T, N), (T,)."""
    return _image_score(predictions, responses, image_ids, averaged=False)


def average_score(predictions: np.ndarray, responses: np.ndarray,
                  image_ids: np.ndarray) -> ImageScore:
    """The correlation to average with each image's pull. (T, N), (T, N), (T,)."""
    return _image_score(predictions, responses, image_ids, averaged=True)


IMAGE_SCORES = {"to_average": average_score, "single_trial": single_trial_score}


def _image_score(predictions, responses, image_ids, averaged):
    _, image, count = np.unique(image_ids, return_inverse=True, return_counts=True)
    if len(count) < 3:
        raise ValueError(f"{len(count)} images are too few to say how sure a score is; give the "
                         "trials of three or more")
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    total, without, neurons = 0.0, np.zeros(len(count)), predictions.shape[1]
    for start in range(0, neurons, BLOCK):
        block = slice(start, start + BLOCK)
        p = np.asarray(predictions[order, block], np.float64)
        r = np.asarray(responses[order, block], np.float64)
        trials = count
        if averaged:
            p, r = (np.add.reduceat(values, starts) / count[:, None] for values in (p, r))
            trials = np.ones(len(count))
        p, r = _center(p), _center(r)
        parts = [p, r, p * p, r * r, p * r]
        if not averaged:
            parts = [np.add.reduceat(values, starts) for values in parts]  # (images, n)
        sums = [values.sum(0) for values in parts]
        total += _correlations(trials.sum(), *sums).sum()
        rest = [whole - part for whole, part in zip(sums, parts, strict=True)]
        trials_left = trials.sum() - trials[:, None]
        left = _correlations(trials_left, *rest)  # (images, n)
        lost = np.zeros(left.shape, bool)
        for first, square in ((0, 2), (1, 3)):
            variance = rest[square] / trials_left - (rest[first] / trials_left) ** 2
            lost |= variance < SMALL * sums[square] / trials.sum()
        _mend(left, lost, p, r, np.arange(len(count)) if averaged else image[order])
        without += left.sum(1)
    score = total / neurons
    return ImageScore(float(score), (len(count) - 1) * (score - without / neurons))


def _center(values):
    """Values (T, n) less their means. A constant neuron becomes exactly 0, however large it is."""
    values = values - values[0]
    return values - values.mean(0)


def _mend(left, lost, p, r, image):
    """Compute correlations without an image again, in two passes, where that image is nearly all.

    What is left of a neuron's variance is then a difference of two large numbers, mostly rounding.
    left: (images, n) correlations, changed in place where lost (images, n) is true.
    """
    for k in np.flatnonzero(lost.any(1)):
        neurons, rows = np.flatnonzero(lost[k]), image != k
        x, y = (_center(values[np.ix_(rows, neurons)]) for values in (p, r))
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


def compare_scores(one: ImageScore, other: ImageScore, resamples: int = RESAMPLES,
                   seed: int = 0) -> Difference:
    """Compare two scores of the same images: paired, because both are resampled alike."""
    difference = one.score - other.score
    error, ratios = _studentised((one.pulls - other.pulls)[:, None], resamples, seed)
    ratios = np.abs(ratios[:, 0])
    reach = float(error[0] * np.quantile(ratios, LEVEL))
    as_large = (ratios * error[0] >= abs(difference)).sum()
    if abs(difference) < SAME:
        reach, as_large = max(reach, abs(difference)), resamples
    return Difference(difference, (difference - reach, difference + reach),
                      float((as_large + 1) / (resamples + 1)), len(one.pulls))


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
        ratios[start:start + rows] = np.divide(means, errors, out=np.zeros_like(means),
                                               where=errors > 0)
    return error, ratios


# ---- many entries ----


@dataclass(frozen=True, eq=False)
class Ranks:
    """How K entries compare, all pairs at once, at a family-wise error of 5 %."""

    adjusted: np.ndarray      # (K, K) p of each pair, adjusted for all pairs; 1 on the diagonal
    holm: np.ndarray          # (K,) p of the difference to the best, adjusted by Holm's method
    tied: np.ndarray          # (K,) bool: not significantly worse than the best
    rank_interval: np.ndarray  # (K, 2) 1 + number significantly better, K - number worse


def rank_scores(entries: list[ImageScore], resamples: int = RESAMPLES, seed: int = 0) -> Ranks:
    """Compare every entry with every other (Romano and Wolf, Econometrica 2005, step-down).

    The critical value is a quantile of the largest ratio over all pairs that are not yet rejected,
    in the same resample, so entries whose errors are alike cost little.
    """
    scores = np.array([entry.score for entry in entries])
    pulls = np.stack([entry.pulls for entry in entries], 1)  # (images, K)
    first, second = np.triu_indices(len(entries), 1)
    error, ratios = _studentised(pulls[:, first] - pulls[:, second], resamples, seed)
    apart = np.abs(scores[first] - scores[second])
    found = _ratio(np.where(apart < SAME, 0, apart), error)  # (pairs,)
    ratios = np.abs(ratios, out=ratios)
    raw = ((ratios >= found).sum(0) + 1) / (resamples + 1)
    p = np.ones((len(entries), len(entries)))
    p[first, second] = p[second, first] = _step_down(found, ratios)
    best = int(scores.argmax())
    with_best = (first == best) | (second == best)  # in order of the other entry
    better = (p < 1 - LEVEL) & (scores[:, None] > scores)  # (K, K): the row is better
    intervals = np.stack([1 + better.sum(0), len(entries) - better.sum(1)], 1)
    return Ranks(p, _holm(raw[with_best], best), p[best] >= 1 - LEVEL, intervals)


def _step_down(found, ratios):
    """Adjusted p (pairs,) of ratios found, from resampled ones (resamples, pairs)."""
    order = np.argsort(-found)
    adjusted, highest = np.ones(len(found)), np.zeros(len(ratios), np.float32)
    for pair in order[::-1]:  # from the smallest: the largest of those that are left
        np.maximum(highest, ratios[:, pair], out=highest)
        adjusted[pair] = ((highest >= found[pair]).sum() + 1) / (len(ratios) + 1)
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return adjusted


def _holm(p, best):
    """Holm's adjustment of p (K - 1,), with 1 put in at the place of the best: (K,)."""
    order, count = np.argsort(p), len(p)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (count - np.arange(count))), 1)
    return np.insert(adjusted, best, 1.0)


def _ratio(above, below):
    """above / below; 0 for 0 / 0, and infinite for a difference without any error."""
    sure = np.where(above > 0, np.inf, 0.0)
    return np.divide(above, below, out=sure, where=below > 0)
