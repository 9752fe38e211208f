"""What more data would buy: the learning curves of a recording."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import inf

import numpy as np

from kit.checks import brief, require_int
from kit.data.recordings import Dataset, require_dataset
from kit.evaluation import metrics
from kit.evaluation.bootstrap import LEVEL, average_score, interval
from kit.evaluation.scores import predict
from kit.evaluation.spread import student_t
from kit.files import progress
from kit.lab import indices
from kit.lab.experiment import Subject
from kit.lab.tuning import FullField
from kit.models.model import Model

PARTS = {4: 4, 2: 2, 1: 2}  # four models of a quarter of the images each, and so on
RESAMPLES = 2000
POWERS = np.geomspace(0.1, 1, 30)  # c of a curve a - b n^-c; no error falls faster than 1 / n


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """One measure at rising amounts of data; the last amounts may be extrapolated."""

    measure: str
    counts: np.ndarray  # (K,) images, neurons or repeats
    values: np.ndarray  # (K,)
    intervals: np.ndarray  # (2, K) lower and upper ends, 95 %
    measured: np.ndarray  # (K,) bool; False: expected, from the curve through the others

    def __str__(self) -> str:
        lines = [self.measure]
        rows = zip(self.counts, self.values, *self.intervals, self.measured, strict=True)
        for count, value, low, high, measured in rows:
            note = "" if measured else "  expected"
            lines.append(f"{count:8} {value:7.3f} ({low:.3f} to {high:.3f}){note}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class DataNeeded:
    """The learning curves of a recording; prints as a list."""

    score: LearningCurve  # over train images
    orientation: LearningCurve | None  # over train images, degrees; None if no neuron has one
    spatial_frequency: LearningCurve  # over train images, octaves
    neurons: LearningCurve  # the score over the neurons that a model is trained on
    repeats: LearningCurve | None  # the score to average over repeats; None if withheld or few

    def __str__(self) -> str:
        end = "What is expected holds for this model and images of this kind, if the curve goes on."
        lines = [
            self.score,
            self.orientation or "orientation: no neuron of gOSI >= 0.2",
            self.spatial_frequency,
            self.neurons,
            self.repeats or "repeats: their responses are withheld, or there are none",
            end,
        ]
        return "\n".join(map(str, lines))

    __repr__ = __str__


def data_needed(data: Dataset, build: Callable[[Dataset, int], Model]) -> DataNeeded:
    """Learning curves over images, neurons and repeats, to plan the next experiment.

    build: a function of a Dataset and a seed that returns a model trained on it. It is called 12
    times, on parts of the images and of the neurons; small parts need more epochs, as below.
    Models of one amount see different images: the scatter of their validation scores gives the
    intervals, and from the curve a - b n^-c follows the score at twice the images. How far two of
    them differ in preferred orientation (gOSI from .2 on) and frequency, median over neurons, says
    how well these are determined. Repeats need a test tier with known responses.
    Raises ValueError for several mice, fewer than 64 train images or 16 neurons.

    >>> config = kit.ModelConfig(shifter=True, gain=True, minmax_behavior=True)
    >>> def build(data, seed):
    ...     model = kit.cnn_baseline(data, channels=16, config=config)
    ...     epochs = 16_000 // len(data.mouse.rows("train"))  # ten for 1,600 images
    ...     kit.train(model, data, kit.TrainConfig(epochs=epochs, seed=seed))
    ...     return model
    >>> plan = kit.lab.data_needed(kit.load("sample+"), build)  # doctest: +SKIP
    """
    mouse = require_dataset(data).mouse
    images = require_int("train images", len(mouse.rows("train")), 64)
    neurons = require_int("neurons", len(mouse.unit_ids), 16)
    mouse.require_tiers("validation")
    if not callable(build):
        raise ValueError(f"build={brief(build)} is no function; give one that trains a model")
    jobs = [(True, share, i) for share, count in PARTS.items() for i in range(count)]
    jobs += [(False, share, i) for share in (4, 2) for i in range(2)]
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(mouse.rows("train")), rng.permutation(neurons)
    models, scores = {share: [] for share in PARTS}, {share: [] for share in PARTS}
    by_neurons = {}
    for of_images, share, i in progress(jobs, desc="learning curves", unit="model"):
        if of_images:
            part = Dataset([mouse.with_train(rows[i % share :: share])])
            models[share].append(build(part, i))
            found = _scores(models[share][-1], part)
            if any(np.array_equal(found, other) for other in scores[share]):
                raise ValueError(
                    "two models predict the same; let build train each on the Dataset given, with "
                    "the seed given"
                )
            scores[share].append(found)
        else:
            chosen = np.sort(columns[i::share])
            part = Dataset([mouse.with_neurons(chosen)])
            by_neurons.setdefault(share, []).append((chosen, _scores(build(part, i), part)))
    counts = np.array([images // share for share in PARTS])
    return DataNeeded(
        _score_curve(counts, [[each.mean() for each in scores[share]] for share in PARTS]),
        *_property_curves(counts[:-1], [models[share] for share in PARTS if share > 1]),
        _neuron_curve(neurons, by_neurons, np.mean(scores[1], 0)),
        _repeats_curve(mouse, models[1][0], data),
    )


def _scores(model, data):
    """Single-trial correlation of every neuron on the validation tier: (N,)."""
    mouse = data.mouse
    responses = mouse.responses[mouse.rows("validation")]
    found = metrics.correlation(predict(model, data, "validation"), responses)
    if not np.isfinite(found).all():
        raise ValueError(
            "a model's predictions, or the responses of tier 'validation', are not finite; train "
            "it again, or give responses that are known"
        )
    return found


def _score_curve(counts, scores):
    """The curve of scores: K lists of a few models' scores. Expected: at twice the images."""
    values, models = np.array([np.mean(each) for each in scores]), np.array(list(map(len, scores)))
    errors, freedom = _errors(scores)
    noise = np.random.default_rng(0).standard_t(freedom, (RESAMPLES, len(counts)))
    doubled = _power_law(counts, np.vstack([values, values + noise * errors]), models)
    reach = student_t(freedom, LEVEL) * errors
    ends = np.quantile(doubled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return LearningCurve(
        "single-trial correlation (validation), over train images",
        np.append(counts, 2 * counts[-1]),
        np.append(values, doubled[0]),
        np.column_stack([[values - reach, values + reach], ends]),
        np.append(np.full(len(counts), True), False),
    )


def _errors(groups):
    """Standard errors (K,) of the means of K groups whose scatter is alike, and its freedom."""
    freedom = sum(len(each) - 1 for each in groups)
    variance = sum(np.var(each) * len(each) for each in groups) / freedom
    return np.sqrt([variance / len(each) for each in groups]), freedom


def _power_law(counts, values, weights):
    """What a - b n^-c through values (D, K), the best c for each row, is at twice the last n."""
    best, expected = np.full(len(values), inf), values[:, -1].copy()
    for power in POWERS:
        curve = -((counts / counts[-1]) ** -power)
        design = np.column_stack([np.ones(len(counts)), curve]) * np.sqrt(weights)[:, None]
        a, b = np.linalg.pinv(design) @ (values * np.sqrt(weights)).T  # (D,) each
        loss = (weights * (a[:, None] + b[:, None] * curve - values) ** 2).sum(1)
        better = (loss < best) & (b >= 0)  # a curve that rises
        best[better] = loss[better]
        expected[better] = (a - b * 2.0**-power)[better]
    return expected


def _property_curves(counts, models):
    """Curves of the differences in orientation and frequency between models of other images."""
    angles, octaves = [], []  # K of (N,)
    for group in models:
        fields = [FullField(Subject(model), None) for model in group]
        orientations = [each.orientation_tuning() for each in fields]
        frequencies = [np.log2(each.frequency_tuning().preferred) for each in fields]
        pairs = list(combinations(range(len(group)), 2))
        turned = [
            indices.orientation_difference(orientations[i].preferred, orientations[j].preferred)
            for i, j in pairs
        ]
        angles.append(np.degrees(np.mean(turned, 0)))
        octaves.append(np.mean([abs(frequencies[i] - frequencies[j]) for i, j in pairs], 0))
    selective = np.mean([each.selectivity for each in orientations], 0) >= indices.SELECTIVE
    words = "between twins of other images, over train images"
    frequency = _median_curve(f"spatial frequency, octaves {words}", counts, np.array(octaves))
    if not selective.any():
        return None, frequency
    orientation = np.array(angles)[:, selective]
    return _median_curve(f"orientation, degrees {words}", counts, orientation), frequency


def _median_curve(measure, counts, differences):
    """The median over neurons of differences (K, N), and its power law at two and four times."""
    count = differences.shape[1]
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    medians = np.array([np.median(each[drawn], 1) for each in differences]).T  # (D, K)
    medians = np.vstack([np.median(differences, 1), medians])
    slopes, heights = np.polyfit(np.log(counts), np.log(medians + metrics.EPSILON).T, 1)
    further = counts[-1] * np.array([2, 4])
    expected = np.exp(heights[:, None] + np.minimum(slopes, 0)[:, None] * np.log(further))
    values = np.hstack([medians, expected])
    return LearningCurve(
        measure,
        np.append(counts, further),
        values[0],
        np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], 0),
        np.append(np.full(len(counts), True), [False, False]),
    )


def _neuron_curve(neurons, by_neurons, whole):
    """The score over neurons: the same neurons in models of fewer and in those of all."""
    gaps = [[(scores - whole[chosen]).mean() for chosen, scores in by_neurons[k]] for k in (4, 2)]
    errors, freedom = _errors(gaps)
    values = whole.mean() + np.array([*map(np.mean, gaps), 0])
    reach = student_t(freedom, LEVEL) * np.append(errors, 0)
    return LearningCurve(
        "single-trial correlation (validation) of the same neurons, over neurons trained together",
        np.array([neurons // 4, neurons // 2, neurons]),
        values,
        np.array([values - reach, values + reach]),
        np.full(3, True),
    )


def _images(mouse, tier):
    return len(np.unique(mouse.image_ids[mouse.rows(tier)]))


def _repeats_curve(mouse, model, data):
    """The score of a model to the average of one, two, four … repeats; None if withheld."""
    tiers = [tier for tier in ("test", "final_test") if (mouse.tiers == tier).any()]
    tiers = [tier for tier in tiers if not mouse.withheld(tier) and _images(mouse, tier) > 2]
    if not tiers:
        return None
    rows = mouse.rows(tiers[0])
    responses, ids = mouse.responses[rows], mouse.image_ids[rows]
    predictions = predict(model, data, tiers[0])
    image, shown = np.unique(ids, return_inverse=True, return_counts=True)[1:]
    nth = np.empty(len(ids), int)  # 0 for the first trial of an image, 1 for the second, …
    for k in range(len(shown)):
        nth[image == k] = np.arange(shown[k])
    counts = 2 ** np.arange(int(np.log2(shown.min())) + 1)
    scored = [
        average_score(*(each[nth < count] for each in (predictions, responses, ids)))
        for count in counts
    ]
    return LearningCurve(
        f"correlation to average ({tiers[0]}), over repeats",
        counts,
        np.array([each.score for each in scored]),
        np.array([interval(each) for each in scored]).T,
        np.full(len(counts), True),
    )
