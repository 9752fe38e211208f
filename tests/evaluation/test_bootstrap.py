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


def slow_score(kind, p, r, ids):
    function = SCORES[kind][1]
    return (function(p, r) if kind == "single" else function(p, r, ids)).mean()


@pytest.mark.parametrize("kind", SCORES)
def test_image_score_is_the_metric_and_its_pulls_leave_one_image_out(kind):
    r, ids, rates = session()
    p = predictions(rates, ids, 0.5, 1)
    found = SCORES[kind][0](p, r, ids)
    assert found.score == pytest.approx(slow_score(kind, p, r, ids), abs=1e-12)
    pulls = []
    for image in np.unique(ids):
        rest = ids != image
        without = slow_score(kind, p[rest], r[rest], ids[rest])
        pulls.append((len(np.unique(ids)) - 1) * (found.score - without))
    np.testing.assert_allclose(found.pulls, pulls, atol=1e-9)
    assert found.corrected == pytest.approx(found.score + np.mean(pulls))


def test_image_score_in_blocks_of_neurons(monkeypatch):
    r, ids, rates = session(neurons=11)
    whole = bootstrap.single_trial_score(rates, r, ids)
    monkeypatch.setattr(bootstrap, "BLOCK", 3)
    blocks = bootstrap.single_trial_score(rates, r, ids)
    np.testing.assert_allclose(blocks.pulls, whole.pulls, atol=1e-12)
    assert blocks.score == pytest.approx(whole.score)


@pytest.mark.parametrize("kind", SCORES)
def test_image_score_does_not_depend_on_the_order_of_trials_or_neurons(kind):
    r, ids, rates = session()
    rng = np.random.default_rng(5)
    trials, neurons = rng.permutation(len(r)), rng.permutation(r.shape[1])
    one = SCORES[kind][0](rates, r, ids)
    other = SCORES[kind][0](rates[trials][:, neurons], r[trials][:, neurons], ids[trials])
    np.testing.assert_allclose(other.pulls, one.pulls, atol=1e-9)


def test_image_score_of_silent_neurons_is_finite():
    r, ids, rates = session()
    r[:, 2], rates[:, 3] = 0, 1
    found = bootstrap.single_trial_score(rates, r, ids)
    assert np.isfinite(found.pulls).all()


@pytest.mark.parametrize("value", [5.6e25, 1e30, -3e25])
def test_image_score_of_huge_constants(value):
    r, ids, rates = session()
    rates[:, 3] = value
    found = bootstrap.single_trial_score(rates, r, ids)
    rates[:, 3] = 0
    expected = bootstrap.single_trial_score(rates, r, ids)
    assert found.score == pytest.approx(expected.score, abs=1e-12)
    np.testing.assert_allclose(found.pulls, expected.pulls, atol=1e-9)


def test_image_score_needs_three_images():
    with pytest.raises(ValueError, match="2 images are too few to say how sure a score is"):
        bootstrap.single_trial_score(np.zeros((4, 2)), np.zeros((4, 2)), [1, 1, 2, 2])


def slow_compare(one, other, resamples, seed):
    """One resample at a time: mean pulls over drawn images, divided by their standard error."""
    pulls = one.pulls - other.pulls
    pulls = pulls - pulls.mean()
    images = len(pulls)
    rng, ratios = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = pulls[rng.integers(images, size=images)]
        ratios.append(drawn.mean() / (drawn.std() / np.sqrt(images - 1)))
    error = pulls.std(ddof=1) / np.sqrt(images)
    reach = error * np.quantile(np.abs(ratios), 0.95)
    difference = one.score - other.score
    return (difference - reach, difference + reach), np.mean(
        np.abs(ratios) * error >= abs(difference)
    )


def test_compare_scores_agrees_with_a_slow_bootstrap():
    r, ids, rates = session(images=60, neurons=20)
    one, other = (
        bootstrap.single_trial_score(predictions(rates, ids, error, seed), r, ids)
        for seed, error in ((1, 0.5), (2, 0.56))
    )
    found = compare_scores(one, other)
    limits, p = slow_compare(one, other, 4000, seed=9)
    assert found.difference == one.score - other.score and found.images == 60
    width = found.interval[1] - found.interval[0]
    np.testing.assert_allclose(found.interval, limits, atol=0.04 * width)
    assert found.p == pytest.approx(p, abs=0.02)
    assert (found.p < 0.05) == (found.interval[0] > 0 or found.interval[1] < 0)


def test_compare_scores_is_paired_signed_and_reproducible():
    r, ids, rates = session(images=40, neurons=20)
    one = bootstrap.single_trial_score(predictions(rates, ids, 0.3, 1), r, ids)
    other = bootstrap.single_trial_score(predictions(rates, ids, 1.5, 2), r, ids)
    found, again = compare_scores(one, other), compare_scores(one, other)
    assert found == again != compare_scores(one, other, seed=1)
    back = compare_scores(other, one)
    assert back.difference == -found.difference and back.p == found.p
    assert found.difference > 0 and found.interval[0] > 0
    assert found.p == 1 / (bootstrap.RESAMPLES + 1)  # never 0
    same = compare_scores(one, one)
    assert (same.difference, same.interval, same.p) == (0, (0, 0), 1)


def test_interval_is_around_the_corrected_score():
    r, ids, rates = session(images=40, neurons=20)
    one = bootstrap.single_trial_score(rates, r, ids)
    low, high = interval(one)
    assert (low + high) / 2 == pytest.approx(one.corrected)
    spread = one.pulls.std(ddof=1) / np.sqrt(40)
    assert high - low == pytest.approx(2 * 2.02 * spread, rel=0.1)  # about Student's t


def entries(scores, errors, images=80, seed=0):
    """Scores whose pulls have given standard errors, independent of each other."""
    rng = np.random.default_rng(seed)
    pulls = rng.standard_normal((len(scores), images))
    pulls = (pulls - pulls.mean(1, keepdims=True)) / pulls.std(1, ddof=1, keepdims=True)
    return [ImageScore(score, row * error * images**0.5)
            for score, row, error in zip(scores, pulls, errors, strict=True)]  # fmt: skip


def test_rank_scores_groups_what_does_not_differ():
    found = rank_scores(entries([0.4, 0.399, 0.35, 0.349, 0.2], [0.002] * 5))
    assert found.tied.tolist() == [True, True, False, False, False]
    assert found.rank_interval.tolist() == [[1, 2], [1, 2], [3, 4], [3, 4], [5, 5]]
    assert (found.adjusted == found.adjusted.T).all() and (np.diag(found.adjusted) == 1).all()
    assert found.adjusted[0, 1] > 0.05 > found.adjusted[0, 2]


def test_rank_scores_order_of_entries_does_not_matter():
    ordered = entries([0.4, 0.39, 0.35, 0.2], [0.004] * 4)
    shuffle = [2, 0, 3, 1]
    one, other = rank_scores(ordered), rank_scores([ordered[i] for i in shuffle])
    np.testing.assert_allclose(other.adjusted, one.adjusted[np.ix_(shuffle, shuffle)], atol=0.01)
    assert other.tied.tolist() == one.tied[shuffle].tolist()


def test_rank_scores_of_pairs_is_stricter_than_one_pair():
    twelve = entries([0.4, 0.3925, *[0.4] * 10], [0.0025] * 12)
    pair = compare_scores(*twelve[:2])
    assert pair.p < 0.05 < rank_scores(twelve).adjusted[0, 1]


def test_rank_scores_step_down_by_hand():
    ratios = np.array([[1, 2, 0], [3, 1, 1], [0, 0, 2], [1, 1, 1]], np.float32)
    found = np.array([3, 2.5, 0.5])
    # largest of all: 2, 3, 2, 1; of the last two: 2, 1, 2, 1; of the last: 0, 1, 2, 1
    np.testing.assert_allclose(bootstrap._step_down(found, ratios), [2 / 5, 2 / 5, 4 / 5])


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
    found = rank_scores([*four, ImageScore(0.2 - 0.2 / len(pulls), pulls)])
    assert found.tied.tolist() == [True, False, False, False, False]
    assert found.rank_interval.tolist() == [[1, 1], [2, 2], [3, 3], [4, 5], [4, 5]]
    copied = compare_scores(four[3], ImageScore(0.2 - 0.2 / len(pulls), pulls))
    low, high = copied.interval
    assert low < 0 < high and high - low < 0.03


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("height", [1.2345, 1.2345e6, 1e30])
def test_image_score_where_one_image_is_all_of_a_neuron(kind, height):
    r, ids, rates = session()
    r[:, 2], rates = np.where(ids == ids[0], 1.0, 0.0), rates.copy()
    rates[:, 2] = np.where(ids == ids[0], height, 0.0)
    found = SCORES[kind][0](rates, r, ids)
    pulls = []
    for image in np.unique(ids):
        rest = ids != image
        without = slow_score(kind, rates[rest], r[rest], ids[rest])
        pulls.append((len(np.unique(ids)) - 1) * (found.score - without))
    np.testing.assert_allclose(found.pulls, pulls, atol=1e-5)


def test_scores_that_differ_by_the_metrics_epsilon_are_equal():
    r, ids, rates = session(images=40)
    one, other = (bootstrap.single_trial_score(scale * rates, r, ids) for scale in (1, 1000))
    assert one.score != other.score
    found = compare_scores(one, other)
    assert found.p == 1 and found.interval[0] <= 0 <= found.interval[1]
    assert rank_scores([one, other]).tied.all()
