"""Learning curves: the fit by hand, and the whole on a recording of a few neurons."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

import kit
from kit.lab.reports.planning import (
    PARTS,
    _median_curve,
    _power_law,
    _property_curves,
    _score_curve,
)

COUNTS = np.array([100, 200, 400, 800])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planning")
    arrays = tiny.arrays(tiers={"train": 64, "validation": 12})
    return kit.load(tiny.write(folder, arrays), folder=folder)


def build(data, seed):
    """A model that has learned each neuron's mean, no more."""
    return kit.cnn_baseline(data, channels=2, config=replace(kit.ModelConfig.of(data), seed=seed))


def test_power_law_is_continued():
    values = np.array([0.4 - 2 * COUNTS**-0.5, 0.5 - 30 * COUNTS**-1.0])
    expected = [0.4 - 2 * 1600**-0.5, 0.5 - 30 / 1600]
    assert _power_law(COUNTS, values, np.ones(4)) == pytest.approx(expected, abs=2e-3)


def test_power_law_of_a_falling_curve_stays():
    values = np.array([[0.4, 0.3, 0.2, 0.1]])
    assert _power_law(COUNTS, values, np.ones(4)) == pytest.approx([0.1])


def test_score_curve_interval_widens_with_the_scatter():
    curves = []
    for scatter in (0.001, 0.01):
        means = 0.4 - 2 * COUNTS**-0.5
        curves.append(_score_curve(COUNTS, [[m - scatter, m + scatter] for m in means]))
    narrow, wide = (np.diff(each.intervals, axis=0)[0] for each in curves)
    assert (wide > 5 * narrow).all()
    assert curves[0].counts[-1] == 1600 and not curves[0].measured[-1]
    low, high = curves[1].intervals[:, -1]
    assert low < 0.4 - 2 * 1600**-0.5 < high


def test_median_curve_halves_with_four_times_the_images():
    rng = np.random.default_rng(0)
    scatter = rng.gamma(4, 1, (1, 300)) / np.sqrt(COUNTS)[:, None]
    curve = _median_curve("degrees", COUNTS, scatter)
    assert curve.counts.tolist() == [100, 200, 400, 800, 1600, 3200]
    assert curve.values[-1] == pytest.approx(curve.values[-3] / 2, rel=1e-3)
    assert (curve.intervals[0] < curve.values).all() and (curve.values < curve.intervals[1]).all()


def test_property_curves_count_neurons_that_are_tuned():
    twins = [kit.pretrained(f"sample+-shifter-gain-{seed}") for seed in (1, 2)]
    orientation, frequency = _property_curves(COUNTS[:2], [twins, twins[::-1]])
    tunings = [kit.lab.orientation_tuning(each) for each in twins]
    turned = kit.lab.indices.orientation_difference(*(each.preferred for each in tunings))
    tuned = np.mean([each.selectivity for each in tunings], 0) >= 0.2
    assert orientation.values == pytest.approx(np.degrees(np.median(turned[tuned])))
    assert 0 < frequency.values[0] < 1  # octaves
    assert orientation.intervals[:, 0] == pytest.approx(orientation.values[0], abs=2)


def test_data_needed_calls_build_with_every_part(data):
    calls = []

    def counting(part, seed):
        calls.append((len(part.mouse.rows("train")), len(part.mouse.unit_ids), seed))
        return build(part, seed)

    plan = kit.lab.data_needed(data, counting)
    by_images = [(64 // share, 24, i) for share, count in PARTS.items() for i in range(count)]
    assert calls == [*by_images, (64, 6, 0), (64, 6, 1), (64, 12, 0), (64, 12, 1)]
    assert plan.score.counts.tolist() == [16, 32, 64, 128]
    assert plan.spatial_frequency.counts.tolist() == [16, 32, 64, 128]
    assert plan.orientation is None  # an untrained model has none
    assert plan.neurons.counts.tolist() == [6, 12, 24]
    assert plan.repeats.counts.tolist() == [1, 2]  # the fewest repeats of an image are three
    for line in ("over train images", "octaves", "     128 ", "expected", "no neuron of gOSI"):
        assert line in str(plan)


def test_data_needed_of_parts_sees_other_images(data):
    seen = []

    def remember(part, seed):
        seen.append(part.mouse.rows("train"))
        return build(part, seed)

    kit.lab.data_needed(data, remember)
    quarters = np.concatenate(seen[: PARTS[4]])
    assert sorted(quarters) == sorted(data.mouse.rows("train"))


def test_data_needed_without_repeats(data):
    mouse = data.mouse
    rows = np.isin(mouse.tiers, ["test", "final_test"])
    responses = np.where(rows[:, None], np.nan, mouse.responses).astype(np.float32)
    withheld = kit.Dataset([replace(mouse, responses=responses)])
    plan = kit.lab.data_needed(withheld, build)
    assert plan.repeats is None and "repeats: their responses are withheld" in str(plan)


def test_data_needed_refuses_too_few_images(data):
    with pytest.raises(ValueError, match=r"train images.*40.*64"):
        kit.lab.data_needed(data.subset(40), build)


def test_data_needed_refuses_what_builds_no_model(data):
    with pytest.raises(ValueError, match="a model is needed, not a NoneType"):
        kit.lab.data_needed(data, lambda part, seed: None)


def test_data_needed_stops_at_the_first_model_that_tells_nothing(data):
    seeds = []

    def alike(part, seed):
        seeds.append(seed)
        return build(part, 0)

    with pytest.raises(ValueError, match="two models predict the same; let build train each"):
        kit.lab.data_needed(data, alike)
    assert seeds == [0, 1]

    def broken(part, seed):
        seeds.append(seed)
        model = build(part, seed)
        next(model.core.parameters()).data.fill_(np.nan)
        return model

    with pytest.raises(ValueError, match="are not finite; train it again"):
        kit.lab.data_needed(data, broken)
    assert len(seeds) == 3
    with pytest.raises(ValueError, match="build=5 is no function"):
        kit.lab.data_needed(data, 5)
    mouse = replace(data.mouse, tiers=np.where(data.mouse.tiers == "validation", "unused", "train"))
    with pytest.raises(ValueError, match="has no tier 'validation'"):
        kit.lab.data_needed(kit.Dataset([mouse]), broken)
    assert len(seeds) == 3


def test_data_needed_of_two_repeated_images_has_no_curve_of_repeats(data):
    mouse = data.mouse  # its final test set has two images
    tiers = np.where(mouse.tiers == "test", "unused", mouse.tiers)
    assert kit.lab.data_needed(kit.Dataset([replace(mouse, tiers=tiers)]), build).repeats is None
