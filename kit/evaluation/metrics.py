"""Scores of the SENSORIUM 2022 benchmark: numpy in, one number per neuron out.

Everything is computed in float64, as in the 2022 scoring code (Willeke et al., arXiv 2206.08666).
This file imports numpy and nothing of the kit, so that a scorer can carry it along by itself.
"""

import numpy as np

FEV_THRESHOLD = 0.15  # neurons below it are left out of the mean FEVE, as in 2022


def correlation(predictions, responses):
    """Pearson correlation of each neuron over trials.

    predictions, responses: (T, N). Returns (N,). A neuron that never varies scores 0, as in 2022.
    """
    predictions, responses = _pair(predictions, responses)
    p = predictions - predictions.mean(0)
    r = responses - responses.mean(0)
    eps = 1e-8  # added to each standard deviation by the 2022 code
    return (p * r).mean(0) / ((p.std(0) + eps) * (r.std(0) + eps))


def correlation_to_average(predictions, responses, image_ids):
    """Pearson correlation over images, after averaging predictions and responses over repeats.

    predictions, responses: (T, N); image_ids: (T,), which image each trial showed. Returns (N,).
    """
    predictions, responses = _pair(predictions, responses)
    groups = _Repeats(image_ids, len(responses))
    return correlation(groups.mean(predictions), groups.mean(responses))


def fev(responses, image_ids):
    """Fraction of each neuron's variance that the image explains: (total - noise) / total.

    responses: (T, N); image_ids: (T,). Returns (N,); 0 for a neuron that never varies. Total is the
    unbiased variance over trials; noise the mean over images of that over repeats.
    """
    total, noise = _variances(responses, image_ids)
    return _ratio(total - noise, total)


def feve(predictions, responses, image_ids):
    """Fraction of the explainable variance that the predictions explain.

    predictions, responses: (T, N) in the same units; image_ids: (T,). Returns (N,).
    1 - (mean squared error - noise) / (total - noise), Cadena et al. 2019. Unlike the correlations
    it changes when predictions are rescaled or shifted. Predictions that know more than the image
    can exceed 1. NaN for a neuron that never varies.
    """
    predictions, responses = _pair(predictions, responses)
    total, noise = _variances(responses, image_ids)
    error = ((predictions - responses) ** 2).mean(0)
    return 1 - _ratio(error - noise, total - noise, empty=np.nan)


def oracle(responses, image_ids):
    """Jackknife oracle: correlation of each trial with the mean of the other repeats of its image.

    responses: (T, N); image_ids: (T,). Returns (N,). Trials of images shown once are left out.
    """
    responses = np.asarray(responses, np.float64)
    groups = _Repeats(image_ids, len(responses))
    count = groups.count[groups.index][:, None]  # (T, 1)
    seen = groups.repeated("an oracle")[groups.index]
    others = (groups.sum(responses)[groups.index] - responses)[seen] / (count[seen] - 1)
    return correlation(others, responses[seen])


class _Repeats:
    """Which trials showed the same image: sums and means over the repeats of each image."""

    def __init__(self, image_ids, trials):
        image_ids = np.asarray(image_ids)
        if image_ids.shape != (trials,):
            raise ValueError(f"image_ids has shape {image_ids.shape}; it needs one entry for each "
                             f"of the {trials} trials")
        _, self.index, self.count = np.unique(image_ids, return_inverse=True, return_counts=True)
        self.order = np.argsort(self.index, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(self.count)[:-1]])

    def sum(self, values):
        return np.add.reduceat(values[self.order], self.starts, axis=0)  # (images, N)

    def mean(self, values):
        return self.sum(values) / self.count[:, None]

    def repeated(self, what):
        """True for images shown at least twice; an error where there is none."""
        if not (self.count > 1).any():
            raise ValueError(f"{what} needs repeats: each of these {len(self.count)} images was "
                             "shown once; repeats exist in the test tiers only")
        return self.count > 1


def _pair(predictions, responses):
    predictions, responses = np.asarray(predictions, np.float64), np.asarray(responses, np.float64)
    if predictions.shape != responses.shape or predictions.ndim != 2 or not len(responses):
        raise ValueError(f"predictions {predictions.shape} and responses {responses.shape} must "
                         "have the same shape (trials, neurons), with at least one trial")
    return predictions, responses


def _variances(responses, image_ids):
    responses = np.asarray(responses, np.float64)
    groups = _Repeats(image_ids, len(responses))
    seen = groups.repeated("the explainable variance")
    deviation = responses - groups.mean(responses)[groups.index]
    within = groups.sum(deviation**2)[seen] / (groups.count[seen, None] - 1)
    varies = (responses != responses[0]).any(0)  # rounding must not make a constant neuron vary
    return responses.var(0, ddof=1) * varies, within.mean(0) * varies


def _ratio(numerator, denominator, empty=0.0):
    ratio = np.full(numerator.shape, empty)
    return np.divide(numerator, denominator, out=ratio, where=denominator != 0)
