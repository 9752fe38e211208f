"""The bootstrap over images, against a slow one that leaves out and resamples by hand."""

import numpy as np
import pytest

from kit import metrics
from kit.evaluation import bootstrap
from kit.evaluation.bootstrap import ImageScore, compare_scores, interval, rank_scores

SCORES = {
    "single": (bootstrap.single_trial_score, metrics.correlation),
    "average": (bootstrap.average_score, metrics.correlation_to_average),
}


def session(images=12, repeats=4, neurons=7, seed=0, noise=1.0):
    """Responses (T, N), image ids (T,) in a random order with uneven repeats, true rates (T, N)."""
    rng = np.random.default_rng(seed)
    count = rng.integers(2, repeats + 1, images)
    image = rng.permutation(np.repeat(np.arange(images), count))
    rates = rng.gamma(1, 1, (images, neurons))[image]
    return rates + noise * rng.standard_normal(rates.shape), 50 - 3 * image, rates


def predictions(rates, ids, error, seed):
    rng = np.random.default_rng(seed)
    _, image = np.unique(ids, return_inverse=True)
    return rates + error * rng.standard_normal((image.max() + 1, rates.shape[1]))[image]


def slow_scores(kind, p, r, ids):
    """The score, and each image's pull on it by leaving the image out."""

    def score(rows):
        function = SCORES[kind][1]
        arrays = (p[rows], r[rows]) if kind == "single" else (p[rows], r[rows], ids[rows])
        return function(*arrays).mean()

    images = np.unique(ids)
    whole = score(slice(None))
    return whole, [(len(images) - 1) * (whole - score(ids != image)) for image in images]


@pytest.mark.parametrize("kind", SCORES)
def test_image_score_is_the_metric_and_its_pulls_leave_one_image_out(kind):
    r, ids, rates = session()
    p = predictions(rates, ids, 0.5, 1)
    image_score = SCORES[kind][0](p, r, ids)
    score, pulls = slow_scores(kind, p, r, ids)
    assert image_score.score == pytest.approx(score, abs=1e-12)
    np.testing.assert_allclose(image_score.pulls, pulls, atol=1e-9)
    assert image_score.corrected == pytest.approx(score + np.mean(pulls))


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("height", [1.2345, 1.2345e6, 1e30])
def test_image_score_where_one_image_is_all_of_a_neuron(kind, height):
    r, ids, rates = session()
    r[:, 2] = ids == ids[0]
    rates[:, 2] = height * (ids == ids[0])
    _, pulls = slow_scores(kind, rates, r, ids)
    np.testing.assert_allclose(SCORES[kind][0](rates, r, ids).pulls, pulls, atol=1e-5)


@pytest.mark.parametrize("kind", SCORES)
def test_image_score_ignores_blocks_and_the_order_of_trials_and_neurons(kind, monkeypatch):
    r, ids, rates = session(neurons=11)
    rng = np.random.default_rng(5)
    trials, neurons = rng.permutation(len(r)), rng.permutation(r.shape[1])
    whole = SCORES[kind][0](rates, r, ids)
    monkeypatch.setattr(bootstrap, "BLOCK", 3)
    blocks = SCORES[kind][0](rates[trials][:, neurons], r[trials][:, neurons], ids[trials])
    np.testing.assert_allclose(blocks.pulls, whole.pulls, atol=1e-9)
    assert blocks.score == pytest.approx(whole.score)


@pytest.mark.parametrize("value", [1, 5.6e25, 1e30, -3e25])
def test_image_score_of_silent_neurons_and_constant_predictions(value):
    r, ids, rates = session()
    r[:, 2], rates[:, 3] = 0, value
    constant = bootstrap.single_trial_score(rates, r, ids)
    rates[:, 3] = 0
    expected = bootstrap.single_trial_score(rates, r, ids)
    assert np.isfinite(expected.pulls).all()
    assert constant.score == pytest.approx(expected.score, abs=1e-12)
    np.testing.assert_allclose(constant.pulls, expected.pulls, atol=1e-9)


def test_image_score_needs_three_images():
    with pytest.raises(ValueError, match="2 images are too few to say how sure a score is"):
        bootstrap.single_trial_score(np.zeros((4, 2)), np.zeros((4, 2)), [1, 1, 2, 2])


def slow_compare(a, b, resamples, seed):
    """One resample at a time: mean pulls over drawn images, divided by their standard error."""
    pulls = a.pulls - b.pulls
    pulls = pulls - pulls.mean()
    images = len(pulls)
    rng, ratios = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = pulls[rng.integers(images, size=images)]
        ratios.append(drawn.mean() / (drawn.std() / np.sqrt(images - 1)))
    sizes = np.abs(ratios) * pulls.std(ddof=1) / np.sqrt(images)
    difference, reach = a.score - b.score, np.quantile(sizes, 0.95)
    return (difference - reach, difference + reach), np.mean(sizes >= abs(difference))


def two_scores(images, errors):
    """The scores of two predictions with errors of these sizes."""
    r, ids, rates = session(images=images, neurons=20)
    return [
        bootstrap.single_trial_score(predictions(rates, ids, error, seed), r, ids)
        for seed, error in enumerate(errors, 1)
    ]


def test_compare_scores_agrees_with_a_slow_bootstrap():
    a, b = two_scores(60, (0.5, 0.56))
    fast = compare_scores(a, b)
    limits, p = slow_compare(a, b, 4000, seed=9)
    assert fast.difference == a.score - b.score and fast.images == 60
    width = fast.interval[1] - fast.interval[0]
    np.testing.assert_allclose(fast.interval, limits, atol=0.04 * width)
    assert fast.p == pytest.approx(p, abs=0.02)
    assert (fast.p < 0.05) == (fast.interval[0] > 0 or fast.interval[1] < 0)


def test_compare_scores_is_paired_signed_and_reproducible():
    a, b = two_scores(40, (0.3, 1.5))
    result, back, same = compare_scores(a, b), compare_scores(b, a), compare_scores(a, a)
    assert result == compare_scores(a, b) != compare_scores(a, b, seed=1)
    assert back.difference == -result.difference and back.p == result.p
    assert result.difference > 0 and result.interval[0] > 0
    assert result.p == 1 / (bootstrap.RESAMPLES + 1)  # never 0
    assert (same.difference, same.interval, same.p) == (0, (0, 0), 1)


def test_interval_is_around_the_corrected_score():
    image_score, _ = two_scores(40, (0, 1))
    low, high = interval(image_score)
    assert (low + high) / 2 == pytest.approx(image_score.corrected)
    spread = image_score.pulls.std(ddof=1) / np.sqrt(40)
    assert high - low == pytest.approx(2 * 2.02 * spread, rel=0.1)  # about Student's t


def entries(scores, errors, images=80, seed=0):
    """Scores with pulls of these standard errors, independent of each other."""
    rng = np.random.default_rng(seed)
    pulls = rng.standard_normal((len(scores), images))
    pulls = (pulls - pulls.mean(1, keepdims=True)) / pulls.std(1, ddof=1, keepdims=True)
    return [ImageScore(score, row * error * images**0.5)
            for score, row, error in zip(scores, pulls, errors, strict=True)]  # fmt: skip


def test_rank_scores_groups_what_does_not_differ():
    ranks = rank_scores(entries([0.4, 0.399, 0.35, 0.349, 0.2], [0.002] * 5))
    assert ranks.tied.tolist() == [True, True, False, False, False]
    assert ranks.rank_interval.tolist() == [[1, 2], [1, 2], [3, 4], [3, 4], [5, 5]]
    assert (ranks.adjusted == ranks.adjusted.T).all() and (np.diag(ranks.adjusted) == 1).all()
    assert ranks.adjusted[0, 1] > 0.05 > ranks.adjusted[0, 2]


def test_rank_scores_order_of_entries_does_not_matter():
    ordered = entries([0.4, 0.39, 0.35, 0.2], [0.004] * 4)
    shuffle = [2, 0, 3, 1]
    a, b = rank_scores(ordered), rank_scores([ordered[i] for i in shuffle])
    np.testing.assert_allclose(b.adjusted, a.adjusted[np.ix_(shuffle, shuffle)], atol=0.01)
    assert b.tied.tolist() == a.tied[shuffle].tolist()


def test_rank_scores_of_pairs_is_stricter_than_one_pair():
    twelve = entries([0.4, 0.3925, *[0.4] * 10], [0.0025] * 12)
    pair = compare_scores(*twelve[:2])
    assert pair.p < 0.05 < rank_scores(twelve).adjusted[0, 1]


def test_rank_scores_step_down_by_hand():
    ratios = np.array([[1, 2, 0], [3, 1, 1], [0, 0, 2], [1, 1, 1]], np.float32)
    observed = np.array([3, 2.5, 0.5])
    # largest of all: 2, 3, 2, 1; of the last two: 2, 1, 2, 1; of the last: 0, 1, 2, 1
    np.testing.assert_allclose(bootstrap._step_down(observed, ratios), [2 / 5, 2 / 5, 4 / 5])


def test_rank_scores_of_one_entry_and_of_copies():
    (only,) = entries([0.4], [0.01])
    assert rank_scores([only]).rank_interval.tolist() == [[1, 1]]
    copies = rank_scores([only, only])
    assert copies.tied.all() and copies.rank_interval.tolist() == [[1, 2], [1, 2]]


def test_rank_scores_is_not_spoiled_by_a_near_copy():
    """A copy of the last entry that differs from it in one image changes nothing for the others."""
    four = entries([0.4, 0.38, 0.36, 0.2], [0.003] * 4)
    pulls = four[3].pulls.copy()
    pulls[7] += 0.2
    ranks = rank_scores([*four, ImageScore(0.2 - 0.2 / len(pulls), pulls)])
    assert ranks.tied.tolist() == [True, False, False, False, False]
    assert ranks.rank_interval.tolist() == [[1, 1], [2, 2], [3, 3], [4, 5], [4, 5]]
    copied = compare_scores(four[3], ImageScore(0.2 - 0.2 / len(pulls), pulls))
    low, high = copied.interval
    assert low < 0 < high and high - low < 0.03


def test_scores_that_differ_by_the_metrics_epsilon_are_equal():
    r, ids, rates = session(images=40)
    a, b = (bootstrap.single_trial_score(scale * rates, r, ids) for scale in (1, 1000))
    assert a.score != b.score
    result = compare_scores(a, b)
    assert result.p == 1 and result.interval[0] <= 0 <= result.interval[1]
    assert rank_scores([a, b]).tied.all()
