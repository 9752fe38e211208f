"""The simulated mice: their files, their truth, and statistics like those of real mice."""

import dataclasses
import hashlib
import io
import json
import re
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import kit
from kit import metrics
from kit.data import simulation
from kit.data.simulation import cells, mice

TINY = mice.Mouse("99999-1-1", 9, neurons=12, train=24, validation=6, test=4, final_test=3)
TESTED = ("test", "final_test")
FINGERPRINTS = Path(__file__).parents[1] / "fixtures" / "simulation.json"


@pytest.fixture(params=["sample+", "sample"], scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def mouse(name):
    return kit.load(name).mouse


@pytest.fixture(scope="module")
def truth(name):
    return kit.truth(name)


@pytest.fixture(scope="module")
def simulated():
    """The folder of each tiny mouse that was simulated already."""
    return {}


@pytest.fixture
def simulate(monkeypatch, tmp_path_factory, simulated):
    """The path of a tiny mouse with some things changed, simulated once for all tests."""

    def build(copy=0, **changes):
        spec = dataclasses.replace(TINY, **changes)
        monkeypatch.setattr(mice, "MICE", {spec.id: spec})
        key = spec, copy
        if key not in simulated:
            simulated[key] = tmp_path_factory.mktemp("mouse")
        return mice.fetch(spec.id, simulated[key])

    return build


def truth_of(path):
    return kit.truth("99999-1-1", path.parents[1])


def members(path):
    """Short name -> array of every member of a zip."""
    with zipfile.ZipFile(path) as archive:
        return {
            name.removeprefix(f"{path.stem}/").removesuffix(".npy"): np.load(
                io.BytesIO(archive.read(name)), allow_pickle=False
            )
            for name in archive.namelist()
        }


def trials_of(arrays, kind):
    """One kind of data of all trials, in the order of the files: (T, …)."""
    trials = range(len(arrays["meta/trials/tiers"]))
    return np.stack([arrays[f"data/{kind}/{trial}"] for trial in trials])


# ---- the file ----


def test_simulate_same_bytes_each_time_and_leaves_global_random_states(simulate):
    files = sorted(simulate().parent.iterdir())
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = sorted(simulate(copy=1).parent.iterdir())
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert len(files) == 2  # the recording and its truth
    for file, copy in zip(files, again, strict=True):
        assert file.name == copy.name and file.read_bytes() == copy.read_bytes()


def test_simulate_another_seed(simulate):
    first, second = members(simulate()), members(simulate(seed=10))
    for name in ("data/images/0", "meta/neurons/unit_ids"):
        assert not np.array_equal(first[name], second[name])


def test_simulate_more_neurons_same_stimuli(simulate):
    few, many = members(simulate()), members(simulate(neurons=20))
    for name in few:
        if "responses" not in name and "neurons" not in name:
            np.testing.assert_array_equal(few[name], many[name], err_msg=name)


def test_simulate_writes_official_layout(simulate):
    path = simulate()
    assert path.name.startswith("static99999-1-1-GrayImageNet-")
    arrays = members(path)
    trials = range(len(arrays["meta/trials/tiers"]))
    kinds = {"images": (1, 144, 256), "responses": (12,), "behavior": (3,), "pupil_center": (2,)}
    statistics = ("mean", "std", "median", "min", "max")
    expected = {f"data/{kind}/{trial}" for kind in kinds for trial in trials}
    expected |= {f"meta/statistics/{kind}/all/{name}" for kind in kinds for name in statistics}
    expected |= {"meta/neurons/unit_ids", "meta/neurons/cell_motor_coordinates"}
    expected |= {f"meta/trials/{n}" for n in ("tiers", "trial_idx", "frame_image_id")}
    assert set(arrays) == expected
    for kind, shape in kinds.items():
        assert trials_of(arrays, kind).shape == (len(trials), *shape)
        mean = arrays[f"meta/statistics/{kind}/all/mean"]
        assert mean.shape == (() if kind == "images" else shape)
    images = trials_of(arrays, "images")
    assert images.min() >= 0 and 200 < images.max() <= 255
    assert trials_of(arrays, "responses").min() >= 0


def test_write_statistics_of_public_trials(simulate):
    arrays = members(simulate(withholds=("responses",)))
    public = ~np.isin(arrays["meta/trials/tiers"], TESTED)
    for kind in ("images", "responses", "behavior", "pupil_center"):
        values = trials_of(arrays, kind)[public].astype(float)
        axis = None if kind == "images" else 0
        for name in ("mean", "std", "median", "min", "max"):
            expected = getattr(np, name)(values, axis=axis)
            statistic = arrays[f"meta/statistics/{kind}/all/{name}"]
            np.testing.assert_allclose(statistic, expected, rtol=1e-4, atol=1e-4)


def test_draw_trials_counts_and_repeats(simulate):
    arrays = members(simulate(test=12))
    tiers, images = arrays["meta/trials/tiers"], arrays["meta/trials/frame_image_id"]
    repeats = {
        tier: np.unique(images[tiers == tier], return_counts=True)[1] for tier in np.unique(tiers)
    }
    counts = {tier: len(values) for tier, values in repeats.items()}
    assert counts == {"train": 24, "validation": 6, "test": 12, "final_test": 3}
    assert len(np.unique(images)) == 45  # no image in two tiers
    assert (repeats["train"] == 1).all() and (repeats["validation"] == 1).all()
    assert repeats["test"].min() >= 7 and repeats["test"].max() == 10
    assert 9.5 < repeats["test"].mean() < 10  # about ten, a few are missing
    assert len(set(tiers[:40])) > 1  # in random order
    # repeats of an image show the same image
    pixels = trials_of(arrays, "images")[images == images[tiers == "test"][0]]
    assert (pixels == pixels[0]).all()


def test_draw_cells_unit_ids_and_coordinates(simulate):
    arrays = members(simulate(neurons=200))
    ids, coordinates = (
        arrays[f"meta/neurons/{name}"] for name in ("unit_ids", "cell_motor_coordinates")
    )
    assert len(np.unique(ids)) == 200
    assert np.ptp(ids) > 250  # not contiguous
    assert coordinates.shape == (200, 3)
    assert coordinates[:, :2].min() >= 0 and coordinates[:, :2].max() <= 616
    assert np.diff(np.unique(coordinates[:, 2])).tolist() == [5] * 9


@pytest.mark.parametrize("withholds", [(), ("responses",), ("responses", "behavior")])
def test_simulate_withholds(simulate, withholds):
    path = simulate(withholds=withholds)
    arrays = members(path)
    tested = np.isin(arrays["meta/trials/tiers"], TESTED)
    responses = trials_of(arrays, "responses")
    assert responses[~tested].any()
    assert responses[tested].any() == ("responses" not in withholds)
    for kind in ("behavior", "pupil_center"):
        assert trials_of(arrays, kind).any() == ("behavior" not in withholds)
    trial_ids = arrays["meta/trials/trial_idx"]
    assert len(np.unique(trial_ids)) == len(tested)
    truth = truth_of(path)
    assert sorted(truth.order) == list(range(len(tested)))
    if withholds:
        assert all(re.fullmatch("[0-9a-f]{32}", trial) for trial in trial_ids)
        guesses = {
            hashlib.md5(f"{before}{trial}".encode()).hexdigest()
            for trial in range(len(tested))
            for before in ("", "99999-1-1/", "99999-1-1", "/")
        }
        assert not guesses & set(trial_ids)
    else:
        np.testing.assert_array_equal(trial_ids, truth.order)
    std = arrays["meta/statistics/responses/all/std"]
    open_ = ~tested if withholds else slice(None)
    np.testing.assert_allclose(truth.responses[open_] * std, responses[open_], rtol=1e-5)
    assert truth.responses[tested].any()


def test_truth_does_not_depend_on_withheld(simulate):
    public = truth_of(simulate())
    hidden = truth_of(simulate(withholds=("responses", "behavior")))
    for field in dataclasses.fields(public)[1:]:
        np.testing.assert_array_equal(getattr(public, field.name), getattr(hidden, field.name))
    for name, values in public.cells.state_dict().items():
        np.testing.assert_array_equal(values, getattr(hidden.cells, name))


def test_fetch_simulates_once_and_again_what_was_deleted(simulate, monkeypatch):
    path = simulate()
    (truth,) = path.parent.glob("*-truth.npz")
    content = truth.read_bytes()
    truth.unlink()
    assert truth_of(path).centers.shape == (12, 2)
    assert truth.read_bytes() == content
    monkeypatch.setattr(mice, "simulate", None)  # cannot be called
    assert simulate() == path


def test_simulate_interrupted(simulate, simulated, monkeypatch):
    monkeypatch.setattr(mice, "write", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        simulate(copy="interrupted")
    assert not list(simulated[TINY, "interrupted"].rglob("*.zip"))


# ---- the truth ----


def test_truth_fits_recording(mouse, truth):
    trials, neurons = mouse.responses.shape
    arrays = {field.name: getattr(truth, field.name) for field in dataclasses.fields(truth)[1:]}
    per_neuron = ("orientation", "spatial_frequency", "phase", "surround", "is_complex",
                  "tuned_share")  # fmt: skip
    per_trial = ("gain", "rates", "frozen_rates", "events", "responses")
    assert {name: values.shape for name, values in arrays.items()} == {
        **{name: (neurons,) for name in per_neuron},
        **{name: (neurons, 2) for name in ("centers", "envelope", "gain_weights")},
        **{name: (trials, neurons) for name in per_trial},
        "order": (trials,),
        "eye_shift": (trials, 2),
    }
    assert truth.is_complex.dtype == bool
    assert truth.orientation.min() >= 0 and truth.orientation.max() < np.pi
    assert (truth.gain > 0).all() and (truth.rates >= 0).all()
    np.testing.assert_allclose(truth.gain.mean(0), 1, atol=1e-4)
    public = np.isin(mouse.tiers, ["train", "validation"])
    expected = mouse.responses[public]
    np.testing.assert_allclose(truth.responses[public], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(truth.events > 0, truth.responses > 0)
    # rates are in the units of the responses
    ratio = truth.rates.mean(0) / truth.responses.mean(0)
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    # with a still eye, an image always drives a cell alike
    rows = mouse.rows("test")
    frozen_rates = truth.frozen_rates[rows[mouse.image_ids[rows] == mouse.image_ids[rows[0]]]]
    assert (frozen_rates == frozen_rates[0]).all()
    words = (
        r"the truth behind \d+ trials: the 600 simulated cells of mouse \S+, \d+ of them complex"
    )
    assert re.fullmatch(words, repr(truth))


def test_truth_by_name_or_id(tmp_path):
    np.testing.assert_array_equal(kit.truth("sample+").centers, kit.truth("99002-1-1").centers)
    assert all(map(simulation.is_simulated, ("sample", "sample+", "sample-pretrain", "99003-1-1")))
    others = ("sensorium+", "27204-5-13", tmp_path / "static99003-1-1-GrayImageNet-mine.zip")
    assert not any(map(simulation.is_simulated, others))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sample-pretrain", "is not one simulated mouse; .*give the id of one mouse"),
        ("sensorium+", "is not one simulated mouse; .*the names are sample, sample+"),
        ("Sample", "is not one simulated mouse; did you mean 'sample'"),
    ],
)
def test_truth_refuses_other_names(name, sentence):
    with pytest.raises(ValueError, match=re.escape(repr(name)) + " " + sentence):
        kit.truth(name)


def test_truth_damaged_file(simulate, tmp_path):
    folder = shutil.copytree(simulate().parent, tmp_path / "sample")
    (file,) = folder.glob("*-truth.npz")
    np.savez(file, order=np.arange(3))  # of another version, say
    with pytest.raises(ValueError, match="is damaged; delete that file, and it is simulated again"):
        truth_of(file)


# ---- the same mice on every processor ----


def fingerprint(mouse):
    """Arrays that must not depend on the machine: counts to the bit, values to 1e-6."""
    truth = kit.truth(mouse)
    path = simulation.fetch(mouse)
    with zipfile.ZipFile(path) as archive:
        files = [archive.read(f"{path.stem}/data/images/{i}.npy") for i in range(50)]
    images = np.stack([np.load(io.BytesIO(file)) for file in files])
    rows, columns = np.arange(7, len(truth.order), 331), np.arange(3, 600, 97)
    values = [getattr(truth, name)[rows][:, columns] for name in ("rates", "gain", "responses")]
    return {
        "events": hashlib.sha256(truth.events.tobytes()).hexdigest(),
        "order": hashlib.sha256(truth.order.astype("<i8").tobytes()).hexdigest(),
        "images": hashlib.sha256(images.tobytes()).hexdigest(),
        "values": [float(f"{value:.8g}") for value in np.concatenate(values).ravel()],
    }


@pytest.mark.parametrize("mouse", list(simulation.MICE))
def test_mice_are_the_same_on_every_machine(mouse):
    """The file was made on another machine, by python tests/data/test_simulation.py."""
    expected, measured = json.loads(FINGERPRINTS.read_text())[mouse], fingerprint(mouse)
    np.testing.assert_allclose(measured.pop("values"), expected.pop("values"), rtol=1e-6)
    assert measured == expected


@pytest.fixture(scope="module")
def rates():
    """Rates of mean 1 like those of a sample mouse, and mean numbers of events."""
    rng = np.random.default_rng(0)
    return rng.gamma(0.4, 2.5, (1500, 200)), rng.uniform(0.2, 1.2, 200)


@pytest.mark.parametrize("seed", range(2))
def test_draw_responses_rounding_changes_few(rates, seed):
    rates, event_rate = rates
    noise = 1 + 1e-4 * np.random.default_rng(seed).standard_normal(rates.shape)
    events, responses = cells.draw_responses(rates, event_rate, np.random.default_rng(7))
    events_b, responses_b = cells.draw_responses(
        rates * noise, event_rate, np.random.default_rng(7)
    )
    changed = events != events_b
    assert 0 < changed.mean() < 2e-4
    np.testing.assert_array_equal(responses[~changed], responses_b[~changed])  # to the bit
    _, fewer = cells.draw_responses(rates[:200], event_rate, np.random.default_rng(7))
    np.testing.assert_array_equal(fewer, responses[:200])
    assert np.abs(events.astype(int) - events_b).max() == 1


def test_poisson_counts_by_hand():
    """Of mean 1: no event has probability .3679, at most one .7358, at most two .9197."""
    uniforms = np.array([0, 0.367, 0.369, 0.735, 0.737, 0.919, 0.921])
    counts = cells._poisson_counts(np.ones(7), uniforms)
    assert counts.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert cells._poisson_counts(np.zeros(3), np.array([0, 0.5, 1 - 2**-53])).tolist() == [0, 0, 0]


def test_gamma_sums_by_hand():
    uniforms = 1 - np.exp(-np.array([[2.0, 0, 3, 5]]))  # -ln(1 - u) is 2, …, 3, 5
    uniforms[0, 1] = 1 / 6  # cos^2 of 60 degrees is 1/4
    sums = [cells._gamma_sums(np.array([count]), uniforms)[0] for count in range(6)]
    np.testing.assert_allclose(sums, [0, 0.5, 3, 3.5, 8, 8.5], atol=1e-12)


@pytest.mark.parametrize("mean", [0.1, 0.7, 3.0, 20.0, 44.0])
def test_draw_responses_distribution(mean):
    """A compound of Poisson and Gamma: mean m and variance 3 m of the event's size."""
    trials = 100_000
    events, responses = cells.draw_responses(
        np.full((trials, 1), mean), np.ones(1), np.random.default_rng(1)
    )
    assert events.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / trials))
    assert events.var() == pytest.approx(mean, rel=0.05)
    assert responses.mean() == pytest.approx(mean, abs=4 * np.sqrt(3 * mean / trials))
    assert responses.var() == pytest.approx(3 * mean, rel=0.05)
    rng = np.random.default_rng(2)
    theirs = rng.standard_gamma(0.5 * rng.poisson(mean, trials)) / 0.5
    grid = np.quantile(theirs[theirs > 0], np.linspace(0.01, 0.99, 50))
    ours, theirs = ((values.ravel() < grid[:, None]).mean(1) for values in (responses, theirs))
    assert np.abs(ours - theirs).max() < 0.01  # Kolmogorov and Smirnov's distance


def test_poisson_counts_refuses_more_than_cap(truth):
    with pytest.raises(ValueError, match="96 or more; raise MAX_EVENTS"):
        cells._poisson_counts(np.array([200.0]), np.array([0.5]))
    # and the sample mice stay far below
    assert truth.events.max() < 0.75 * cells.MAX_EVENTS


# ---- rates of the cells ----


def test_cells_give_stored_rates(mouse, truth):
    batch = mouse.first("test", 100)
    rows = mouse.rows("test")[:100]
    rates = truth.cells(batch, mouse.mouse)
    assert rates.shape == (100, 600) and rates.dtype == torch.float32
    # where behaviour is withheld, the batch has none and the cells are in their average state
    stored = truth.frozen_rates if mouse.behavior is None else truth.rates
    np.testing.assert_allclose(rates, stored[rows], rtol=1e-3, atol=1e-5)
    still = truth.cells(kit.Batch(batch.images))
    np.testing.assert_allclose(still, truth.frozen_rates[rows], rtol=1e-3, atol=1e-5)


def test_cells_follow_running_and_eye():
    cells = kit.truth("sample+").cells
    batch = kit.Batch.typical(kit.load("sample+").mouse.first("train", 4).images)
    usual = cells(batch)
    state = batch.behavior.clone()
    state[:, 2] += 1  # one std more running
    weights = torch.from_numpy(kit.truth("sample+").gain_weights).float()
    torch.testing.assert_close(
        cells(batch._replace(behavior=state)), usual * weights[:, 1].exp(), rtol=1e-4, atol=1e-6
    )
    # an eye that moved by s sees what the still eye sees of an image moved by -s
    shift = torch.tensor([[2 / 32, 0.0]]).expand(4, 2)  # two pixels to the right
    seen = simulation.cells._shift_images(batch.images, shift)
    torch.testing.assert_close(seen[..., :-2], batch.images[..., 2:], rtol=0, atol=1e-4)


def test_cells_are_differentiable():
    cells = kit.truth("sample+").cells
    batch = kit.load("sample+").mouse.first("train", 2)
    values = [batch.images, batch.behavior, batch.pupil_center]
    inputs = [value.double().requires_grad_() for value in values]

    def rate(images, behavior, eye):
        return cells(kit.Batch(images, None, behavior, eye))[:, 5].sum()

    slopes = torch.autograd.grad(rate(*inputs), inputs)
    for i, value in enumerate(inputs):
        step = torch.randn(value.shape, dtype=torch.double, generator=torch.manual_seed(i)) * 1e-5
        below, above = ([*inputs[:i], value + sign * step, *inputs[i + 1 :]] for sign in (-1, 1))
        expected = (slopes[i] * step).sum().item()
        change = (rate(*above) - rate(*below)).item() / 2
        assert change == pytest.approx(expected, rel=1e-3)


def test_cells_filters_match_truth(truth):
    """Drawn again with numpy alone, from the truth's own fields, as its docstring defines them."""
    y, x = np.mgrid[:36, :64]
    even, odd = truth.cells.filters()
    for i in (0, 77, 311):
        dx = x - 31.5 - 32 * truth.centers[i, 0]
        dy = y - 17.5 - 18 * truth.centers[i, 1]
        angle = truth.orientation[i]
        across = np.cos(angle) * dx + np.sin(angle) * dy
        wave = 2 * np.pi * truth.spatial_frequency[i] * across + truth.phase[i]
        width, height = truth.envelope[i]
        envelope = np.exp(-((dx / width) ** 2) / 2 - (dy / height) ** 2 / 2)
        envelope /= envelope.sum()
        for gabor, carrier in ((even[i], np.cos(wave)), (odd[i], np.sin(wave))):
            expected = envelope * carrier - envelope * (envelope * carrier).sum()
            np.testing.assert_allclose(gabor, expected, atol=1e-12)


def test_cells_score_like_a_model():
    """No model can score better than the true rates."""
    data, truth = kit.load("sample+"), kit.truth("sample+")
    rates, responses = (
        values[data.mouse.rows("validation")] for values in (truth.rates, truth.responses)
    )
    score = kit.score(truth.cells, data, "validation").single_trial
    assert score == pytest.approx(metrics.correlation(rates, responses).mean(), abs=1e-5)


def test_cells_refuse_other_images_and_mice():
    cells = kit.truth("sample+").cells
    images = torch.zeros(2, 1, 36, 64)
    for wrong in (torch.zeros(2, 1, 18, 32), images.to(torch.uint8)):
        with pytest.raises(
            ValueError, match=r"of torch.* are not z-scored images \(B, 1, 36, 64\)"
        ):
            cells(kit.Batch(wrong))
    with pytest.raises(ValueError, match="cells of mouse '99002-1-1', not of '99001-1-1'"):
        cells(kit.Batch(images), "99001-1-1")
    with pytest.raises(
        ValueError, match="99001-1-1 has other neurons than these cells of mouse 99"
    ):
        kit.score(cells, kit.load("sample"), "validation")


# ---- like real mice ----


def test_mice_sizes_and_withheld_tiers(name, mouse):
    counts = Counter(mouse.tiers.tolist())
    assert counts["train"] == 1600 and counts["validation"] == 200
    assert not mouse.withheld("validation")
    for tier in TESTED:
        assert 560 < counts[tier] <= 600 and mouse.withheld(tier)
    assert mouse.responses.shape[1] == 600
    assert (mouse.behavior is None) == (mouse.pupil_center is None) == (name == "sample")


def test_paint_images_statistics():
    path, mouse = simulation.fetch("99002-1-1"), kit.load("sample+").mouse
    with zipfile.ZipFile(path) as archive:
        names = [f"{path.stem}/data/images/{row}.npy" for row in mouse.rows("train")[:300]]
        images = [np.load(io.BytesIO(archive.read(name)))[0] for name in names]
    images = np.array(images, float)
    assert images.mean() == pytest.approx(113.5, abs=5)
    assert images.std() == pytest.approx(64.6, abs=4)
    contrast = images.std((1, 2))
    assert contrast.mean() == pytest.approx(52, abs=3)
    assert contrast.std() == pytest.approx(16, abs=3)
    assert len(np.unique(images.mean((1, 2)))) > 290  # not one image many times
    window = np.hanning(144)[:, None] * np.hanning(256)
    centred = images - images.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(144)[:, None], np.fft.fftfreq(256))
    band = (frequency > 0.02) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-2.5, abs=0.2)


def test_draw_responses_sparse(truth):
    responses = truth.responses
    assert 0.25 < (responses > 0).mean() < 0.5
    for threshold in (0.01, 0.1):  # not merely full of tiny values
        assert 0.2 < (responses > threshold).mean() < 0.5
    assert 10 < np.median(responses.max(0)) < 23
    shapes = [
        active.mean() ** 2 / active.var()
        for active in (r[r > 0] for r in responses.T)
        if len(active) > 100
    ]
    assert 0.4 < np.median(shapes) < 0.8  # Gamma-like


def test_ceiling_of_rates(mouse, truth):
    rows = np.flatnonzero(np.isin(mouse.tiers, TESTED))
    responses, images = truth.responses[rows], mouse.image_ids[rows]
    assert 0.45 < metrics.correlation(truth.rates[rows], responses).mean() < 0.55
    average = metrics.correlation_to_average(truth.rates[rows], responses, images).mean()
    assert 0.80 < average < 0.87
    fev = metrics.fev(responses, images)
    assert 0.14 < fev.mean() < 0.21
    # a model that knows only the image reaches the ceiling taken from repeats, and not more
    ceiling = np.sqrt(fev.clip(0)).mean()
    stimulus_only = metrics.correlation(truth.frozen_rates[rows], responses).mean()
    assert stimulus_only == pytest.approx(ceiling, abs=0.02)


def test_draw_cells_tuning(truth):
    low, high = np.percentile(truth.spatial_frequency, [2, 98])
    assert np.log2(high / low) >= 2  # octaves
    assert 0.5 / high >= 2  # no stripes that 36 x 64 pixels cannot hold
    assert 0.25 < truth.is_complex.mean() < 0.5
    counts, _ = np.histogram(truth.orientation, 6, (0, np.pi))
    assert counts.min() > 60  # of 100: all orientations


def test_draw_cells_retinotopy(mouse, truth):
    position = mouse.coordinates[:, :2] - mouse.coordinates[:, :2].mean(0)
    position = np.c_[position / np.abs(position).max(), np.ones(len(position))]
    affine = np.linalg.lstsq(position, truth.centers, rcond=None)[0]
    rest = truth.centers - position @ affine
    explained = 1 - rest.var(0) / truth.centers.var(0)
    assert (explained > 0.8).all() and (explained < 0.99).all()  # with a modest scatter
    slopes = np.linalg.svd(affine[:2])[1]
    assert (slopes > 0.15).all() and (slopes < 0.25).all()
    assert np.abs(affine[0, 1]) > 3 * np.abs(affine[0, 0])  # turned by about 90 degrees
    assert np.abs(truth.centers).max() < 0.6  # all fields within the image


def test_draw_behavior_and_gain():
    mouse, truth = kit.load("sample+").mouse, kit.truth("sample+")
    pupil, change, running = mouse.behavior.T
    assert pupil.mean() == pytest.approx(4, abs=0.3)  # in its std
    in_time = pupil[truth.order.argsort()]
    assert np.corrcoef(in_time[1:], in_time[:-1])[0, 1] > 0.9  # slow
    assert abs(np.corrcoef(pupil[1:], pupil[:-1])[0, 1]) < 0.1  # and files are in another order
    assert abs(change.mean()) < 0.1
    assert (running < 0.1).mean() > 0.4  # mostly still
    assert (running > 1).mean() > 0.1
    # the log of the gain is linear in pupil and running
    z = np.c_[pupil - pupil.mean(), running - running.mean(), np.ones(len(pupil))]
    z[:, :2] /= z[:, :2].std(0)
    weights = np.linalg.lstsq(z, np.log(truth.gain), rcond=None)[0]  # (3, N)
    from_small_to_large = np.exp(3 * weights[0].mean())  # -1.5 to 1.5 std
    assert from_small_to_large == pytest.approx(1.5, abs=0.1)
    assert np.exp(weights[1].mean()) == pytest.approx(1.2, abs=0.05)
    assert weights[0].std() > 0.03  # cells differ
    # and the recorded eye position tells where the fields went
    for eye, shift in zip(mouse.pupil_center.T, truth.eye_shift.T, strict=True):
        assert np.corrcoef(eye, shift)[0, 1] > 0.95
        assert 0.025 < shift.std() < 0.04 and abs(shift.mean()) < 3e-3


@pytest.mark.slow
def test_load_open_mice():
    data = kit.load("sample-pretrain")
    assert list(data) == ["99003-1-1", "99004-1-1"]
    for mouse in data.values():
        assert set(mouse.tiers) == {"train", "validation", "test"}
        assert not mouse.withheld("test")
        assert mouse.behavior is not None
    first, second = data.values()
    assert not np.array_equal(first.images[0], second.images[0])
    assert not np.array_equal(first.coordinates, second.coordinates)


if __name__ == "__main__":  # after a change of the simulator, for comparison elsewhere
    fingerprints = {mouse: fingerprint(mouse) for mouse in simulation.MICE}
    FINGERPRINTS.write_text(json.dumps(fingerprints, indent=1) + "\n")


def test_matching_filters_turn_the_phase_of_complex_cells_alone():
    truth = kit.truth("sample+")
    chosen = np.array([np.flatnonzero(truth.is_complex)[0], np.flatnonzero(~truth.is_complex)[0]])
    even, odd = (filters[chosen] for filters in truth.cells.filters())
    matching = truth.cells.matching_filters(even - odd, chosen)
    np.testing.assert_allclose((matching**2).sum((1, 2)), 1, atol=1e-6)
    unit = [
        cells.unit_rows(each[None])[0].reshape(even[0].shape)
        for each in (even[0] - odd[0], even[1])
    ]
    assert (matching[0] * unit[0]).sum() > 0.999
    np.testing.assert_allclose(matching[1], unit[1], atol=1e-6)
    flipped = truth.cells.matching_filters(-even[:, None], chosen)
    np.testing.assert_allclose(flipped, [-even[0] / np.linalg.norm(even[0]), unit[1]], atol=1e-6)
