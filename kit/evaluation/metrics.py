"""The scores of the SENSORIUM 2022 benchmark: arrays in, one number per neuron out.

Everything is computed in float64, as in the 2022 scoring code (Willeke et al., arXiv 2206.08666).
This file imports numpy alone, so the scoring program of a bundle carries it.
"""

import numpy as np

FEV_THRESHOLD = 0.15  # the mean FEVE leaves out neurons below it, as in 2022
EPSILON = 1e-8  # the 2022 code adds it to each standard deviation


def correlation(predictions: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """Pearson correlation of each neuron over trials.

    predictions, responses: (T, N). Returns (N,). A neuron that never varies scores 0, as in 2022.

    >>> responses = np.array([[1, 5], [2, 5], [3, 5]])
    >>> kit.metrics.correlation(2 * responses, responses).round(3)
    array([1., 0.])
    """
    predictions, responses = _as_pair(predictions, responses)
    p, r = center(predictions), center(responses)
    return (p * r).mean(0) / ((p.std(0) + EPSILON) * (r.std(0) + EPSILON))  # (N,)


def correlation_to_average(
    predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray
) -> np.ndarray:
    """Pearson correlation over images, after averaging predictions and responses over repeats.

    predictions, responses: (T, N); image_ids: (T,), the image that each trial showed.
    Returns (N,).
    """
    return correlation(*average_repeats(predictions, responses, image_ids))


def fev(responses: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
    """Fraction of each neuron's variance that the image explains: (total - noise) / total.

    responses: (T, N); image_ids: (T,). Returns (N,); 0 for a neuron that never varies. Total is
    the unbiased variance over all trials, noise the one over the repeats of an image, averaged
    over the images shown more than once.
    Raises ValueError if no image repeats.

    >>> kit.metrics.fev([[1], [1], [2], [2]], image_ids=[7, 7, 8, 8])  # no noise
    array([1.])
    """
    total, noise = variances(responses, image_ids)
    return divide(total - noise, total)


def feve(predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
    """Fraction of the explainable variance that the predictions explain.

    1 - (mean squared error - noise) / (total - noise), Cadena et al. 2019, with total and noise of
    `fev`. predictions, responses: (T, N) in the same units; image_ids: (T,). Returns (N,); NaN for
    a neuron that never varies. Rescaled or shifted predictions score differently, unlike in the
    correlations. Predictions that know more than the image can score above 1.
    Raises ValueError if no image repeats.

    >>> responses = np.array([[1], [1], [2], [2]])
    >>> kit.metrics.feve(responses, responses, image_ids=[7, 7, 8, 8])
    array([1.])
    """
    return explained_share(predictions, responses, *variances(responses, image_ids))


def explained_share(
    predictions: np.ndarray, responses: np.ndarray, total: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """`feve` for `variances` (N,) and (N,) that are known already."""
    predictions, responses = _as_pair(predictions, responses)
    error = ((predictions - responses) ** 2).mean(0)  # (N,)
    return 1 - divide(error - noise, total - noise, empty=np.nan)


def oracle(responses: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
    """Jackknife oracle: correlation of each trial with the mean of the other repeats of its image.

    responses: (T, N); image_ids: (T,). Returns (N,). Trials of images shown once are left out.
    Raises ValueError if no image repeats.
    """
    responses = np.asarray(responses, np.float64)
    image, count = index_images(image_ids, len(responses), repeats=True)
    repeated = (count > 1)[image, 0]  # (T,)
    others = (sum_by_image(responses, image)[image] - responses)[repeated]
    return correlation(others / (count[image] - 1)[repeated], responses[repeated])


def _as_pair(predictions, responses):
    predictions = np.asarray(predictions, np.float64)
    responses = np.asarray(responses, np.float64)
    if predictions.shape != responses.shape or predictions.ndim != 2 or not len(responses):
        raise ValueError(
            f"predictions {predictions.shape} and responses {responses.shape} must "
            "have the same shape (trials, neurons), with at least one trial"
        )
    return predictions, responses


def center(values: np.ndarray) -> np.ndarray:
    """Values (T, N) less their means. A constant neuron becomes exactly 0, however large it is."""
    values = values - values[0]
    return values - values.mean(0)


def average_repeats(
    predictions: np.ndarray, responses: np.ndarray, image_ids: np.ndarray
) -> list[np.ndarray]:
    """Predictions and responses (T, N), averaged over the trials of each image: (images, N)."""
    image, count = index_images(image_ids, len(responses))
    return [sum_by_image(values, image) / count for values in _as_pair(predictions, responses)]


def index_images(
    image_ids: np.ndarray, n_trials: int, repeats: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the image that each trial showed, (T,), and how often each is shown, (images, 1).

    Raises ValueError unless there is an id for each trial, or if none repeats though some must.
    """
    image_ids = np.asarray(image_ids)
    if image_ids.shape != (n_trials,):
        raise ValueError(
            f"image_ids has shape {image_ids.shape}; give one id for each of the {n_trials} trials"
        )
    _, image, count = np.unique(image_ids, return_inverse=True, return_counts=True)
    if repeats and len(count) == n_trials:
        raise ValueError(
            f"this score needs repeats: each of these {n_trials} images was shown once; only the "
            "test tiers have repeats"
        )
    return image, count[:, None]


def sum_by_image(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Sum of values (T, N) over the trials of each image, (images, N)."""
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    return np.add.reduceat(values[order], starts, axis=0)


def variances(responses: np.ndarray, image_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Total variance of each neuron over trials and the noise in it, as in `fev`: (N,) and (N,)."""
    responses = np.asarray(responses, np.float64)
    image, count = index_images(image_ids, len(responses), repeats=True)
    repeated = count[:, 0] > 1
    means = sum_by_image(responses, image) / count  # (images, N)
    squares = sum_by_image((responses - means[image]) ** 2, image)  # (images, N)
    noise = (squares[repeated] / (count[repeated] - 1)).mean(0)  # (N,)
    varies = (responses != responses[0]).any(0)  # rounding must not make a constant neuron vary
    return responses.var(0, ddof=1) * varies, noise * varies


def divide(
    numerator: np.ndarray, denominator: np.ndarray, empty: float | np.ndarray = 0.0
) -> np.ndarray:
    """Divide, with `empty` for a denominator of 0."""
    ratio = np.full(numerator.shape, empty)
    return np.divide(numerator, denominator, out=ratio, where=denominator != 0)
