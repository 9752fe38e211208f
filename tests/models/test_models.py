"""Cores, readouts, shifters and the model around them, on cases that can be worked out by hand."""

import copy

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import kit
from kit.data.recordings import Batch
from kit.models import cpu, layers
from kit.models.layers import ConvCore, GaussianReadout, Shifter
from kit.training.distributed import make_fabric
from kit.training.loop import poisson_loss

SIZE = (18, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def two(folder):
    arrays = tiny.arrays(2, neurons=10)
    paths = [tiny.write(folder, tiny.arrays(), "9-1-1"), tiny.write(folder, arrays, "9-2-2")]
    return kit.load(paths, SIZE, folder / "data")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def batch_of(n, size=SIZE, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(n, 1, *size, generator=rng),
        None,
        torch.rand(n, 3, generator=rng) + 1,
        torch.randn(n, 2, generator=rng),
    )


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# ---- the core ----


def test_shapes_of_the_2022_core():
    core = ConvCore().eval()
    assert core(torch.zeros(2, 1, 36, 64)).shape == (2, 64, 28, 56)
    assert ConvCore(5, in_channels=4, layers=1)(torch.zeros(2, 4, 9, 10)).shape == (2, 5, 1, 2)


def test_parameters_of_the_2022_models_counted_by_hand():
    first, norm = 64 * 9 * 9, 2 * 64
    separable = 64 * 64 + 64 * 7 * 7 + 64 * 64
    assert parameters(ConvCore()) == first + 3 * separable + 4 * norm == 39_680
    linear = ConvCore(layers=3, nonlinear=False)
    assert parameters(linear) == first + 2 * separable + 3 * norm == 28_224
    assert parameters(ConvCore(in_channels=4)) == 4 * first + 3 * separable + 4 * norm
    # a 2 x 2 factor, 64 features and a bias a neuron; 2 -> 30 -> 2 for all of them
    readout = GaussianReadout(np.random.default_rng(0).random((7, 3)), 64)
    assert parameters(readout) == 7 * (4 + 64 + 1) + (2 * 30 + 30) + (30 * 2 + 2)
    assert parameters(Shifter()) == (2 * 5 + 5) + (5 * 5 + 5) + (5 * 2 + 2)


def test_layers_of_the_two_cores():
    kinds = [type(m) for layer in ConvCore().layers for m in layer]
    assert kinds.count(nn.ELU) == 4
    assert kinds.count(nn.BatchNorm2d) == 4
    kinds = [type(m) for layer in ConvCore(layers=3, nonlinear=False).layers for m in layer]
    assert kinds.count(nn.ELU) == 0
    assert kinds.count(nn.BatchNorm2d) == 3
    convolutions = [m for m in ConvCore().modules() if isinstance(m, nn.Conv2d)]
    assert all(c.bias is None for c in convolutions)
    assert [c.kernel_size for c in convolutions[:4]] == [(9, 9), (1, 1), (7, 7), (1, 1)]
    assert {m.momentum for m in ConvCore().modules() if isinstance(m, nn.BatchNorm2d)} == {0.9}


def test_the_linear_core_is_linear():
    core = ConvCore(3, layers=3, nonlinear=False).eval()
    a, b, zero = torch.randn(1, 1, 20, 20), torch.randn(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)
    with torch.no_grad():
        close(
            core(2 * a + 3 * b) - core(zero),
            2 * (core(a) - core(zero)) + 3 * (core(b) - core(zero)),
        )


@pytest.mark.parametrize(
    "at, rough",
    [
        ((4, 4), 4**2 + 4),  # 4 in the middle, -1 on each side
        ((0, 0), 4**2 + 2),  # two sides lie outside
        ((0, 4), 4**2 + 3),
    ],
)
def test_the_penalty_of_a_single_point_by_hand(at, rough):
    core = ConvCore(1)
    core.layers[0][0].weight.data.zero_()[0, 0, at[0], at[1]] = 0.7
    assert core.regularizer().item() == pytest.approx(6.3831 * rough, rel=1e-5)  # of any height


def test_the_penalty_of_a_flat_filter_by_hand():
    """Within, the Laplacian of a constant is 0; along a side it is 1, in a corner 2."""
    core = ConvCore(2, in_channels=3)
    core.layers[0][0].weight.data.fill_(-0.3)
    assert core.regularizer().item() == pytest.approx(
        6.3831 * (4 * 7 * 1 + 4 * 2**2) / 81, rel=1e-5
    )


# ---- the readout ----


def placed(coordinates, channels=2, sigma=0.0):
    """A readout whose mean positions are the cortical places themselves."""
    readout = GaussianReadout(coordinates, channels)
    readout.position_mlp = nn.Identity()
    readout.sigma.data.fill_(sigma)
    return readout


def ramp(h, w):
    """Features whose first channel is x and second y, from -1 to 1. (1, 2, h, w)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.stack([x, y])[None]


CORNERS = np.array([[-1.0, -1.0], [1, -1], [1, 1], [-1, 1], [0.5, -0.3], [-0.5, 0.3]])


@pytest.mark.parametrize("h, w", [(28, 56), (3, 2), (2, 9)])
def test_a_ramp_gives_the_position_back(h, w):
    readout = placed(CORNERS).eval()
    x, y = torch.eye(2)
    for weights, expected in ((x, CORNERS[:, 0]), (y, CORNERS[:, 1])):
        readout.feature_weights.data[:] = weights
        close(readout(ramp(h, w))[0], torch.tensor(expected, dtype=torch.float32))


def test_a_shift_moves_every_position():
    readout = placed(CORNERS * 0.5).eval()
    readout.cortical_positions *= 0.5
    readout.feature_weights.data[:] = torch.tensor([1.0, 10.0])
    shift = torch.tensor([[0.1, -0.2], [0.0, 0.3]])
    seen = readout(ramp(28, 56).expand(2, -1, -1, -1), shift)
    close(seen - readout(ramp(28, 56)), torch.tensor([[0.1 - 2], [3]]).expand(2, 6))


def test_all_neurons_begin_near_the_centre():
    """Some maps begun askew trap a training: two of five seeds on the mouse "sample+"."""
    places = np.random.default_rng(0).uniform(0, 600, (50, 3))
    for seed in range(5):
        torch.manual_seed(seed)
        means = GaussianReadout(places, 4).means()
        assert 0 < means.abs().max() < 0.1


def test_positions_are_clamped_before_the_shift():
    readout = placed(CORNERS).eval()
    readout.cortical_positions *= (
        1.5  # 1.5 becomes 1, then moves to 0.8; the other order would give 1
    )
    readout.feature_weights.data[:] = torch.tensor([1.0, 0.0])
    seen = readout(ramp(28, 56), torch.tensor([[-0.2, 0.0]]))[0]
    close(seen[1:3], torch.tensor([0.8, 0.8]))
    assert readout.positions(3).abs().max() == 1


def test_cortical_places_are_centred_and_scaled_by_one_number():
    readout = GaussianReadout([[100, 10, 5], [300, 20, 5], [500, 60, 900]], 1)
    expected = [[-1, -0.1], [0, -0.05], [1, 0.15]]  # minus (300, 30), over 200
    close(readout.cortical_positions, torch.tensor(expected))
    assert torch.isfinite(GaussianReadout([[5, 5]], 1).means()).all()  # a single neuron


def test_positions_are_drawn_in_training_only():
    readout = placed([[-1, 0], [1, 0]])
    readout.cortical_positions *= 0.2
    factor = torch.tensor([[[0.10, 0.0], [0.05, 0.02]], [[0.0, 0.0], [0.0, 0.03]]])
    readout.sigma.data[:] = factor
    torch.manual_seed(0)
    drawn = readout.train().positions(20_000)  # (B, 2, 2)
    assert len(torch.unique(drawn[:, 0, 0])) > 19_000  # anew for every image
    close(drawn.mean(0), readout.means(), 2e-3)
    for neuron in range(2):
        covariance = torch.cov(drawn[:, neuron].T)
        close(covariance, factor[neuron] @ factor[neuron].T, 3e-4)
    still = readout.eval().positions(5)
    assert torch.equal(still, readout.means().expand(5, -1, -1))


def test_where_a_readout_starts():
    torch.manual_seed(0)
    readout = GaussianReadout(np.random.default_rng(0).random((500, 3)), 16)
    assert readout.sigma.min() < -0.09
    assert readout.sigma.max() > 0.09
    assert readout.sigma.abs().max() <= 0.1
    assert (readout.feature_weights == 1 / 16).all()
    assert readout.regularizer().item() == pytest.approx(
        0.0076 * 500, rel=1e-5
    )  # L1 of 16 / 16 each
    layers = [type(m) for m in readout.position_mlp]
    assert layers == [nn.Linear, nn.ELU, nn.Linear, nn.Tanh]


def test_start_from_mean_responses():
    readout = GaussianReadout(np.eye(3), 2)
    readout.init_bias_from_mean(torch.tensor([0.5, 1.0, 4.0]))
    close(nn.functional.elu(readout.bias.detach()) + 1, torch.tensor([0.5, 1.0, 4.0]))
    readout.init_bias_from_mean(torch.zeros(3))  # silent neurons
    assert torch.isfinite(readout.bias).all()


def test_the_readout_of_a_neuron_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    readout = placed(rng.uniform(-1, 1, (8, 2)), 5).eval()
    readout.feature_weights.data.uniform_(-1, 1)
    features = torch.randn(3, 5, 10, 12)
    one = copy.deepcopy(readout)
    one.cortical_positions = readout.cortical_positions[2:3]
    for name in ("feature_weights", "bias", "sigma"):
        setattr(one, name, nn.Parameter(getattr(readout, name)[2:3]))
    close(one(features), readout(features)[:, 2:3])


def test_the_shifter():
    shifter = Shifter()
    shift = shifter(torch.randn(50, 2) * 100)
    assert shift.shape == (50, 2)
    assert shift.abs().max() <= 1
    for layer in shifter.mlp[::2]:
        layer.weight.data.fill_(0.1)
        layer.bias.data.zero_()
    first = np.tanh(0.1 * (1 + 2))  # five equal units
    second = np.tanh(0.1 * 5 * first)
    expected = np.tanh(0.1 * 5 * second)
    close(shifter(torch.tensor([[1.0, 2.0]]))[0], torch.full((2,), expected, dtype=torch.float32))


# ---- the model ----


def test_baselines_follow_the_track(plus, plain):
    for baseline in (kit.cnn_baseline, kit.linear_baseline):
        model = baseline(plus, channels=2)
        assert model.config == kit.ModelConfig(True, True, SIZE)
        assert list(model.shifters) == ["7-1-1"]
        assert model.core.layers[0][0].in_channels == 4
        model = baseline(plain, channels=2)
        assert model.config == kit.ModelConfig(False, False, SIZE)
        assert len(model.shifters) == 0
        assert model.core.layers[0][0].in_channels == 1


@pytest.mark.parametrize("behavior, shifter", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_each_part_is_used_only_where_it_is_wanted(plus, behavior, shifter):
    model = kit.cnn_baseline(plus, 2, kit.ModelConfig(bool(behavior), bool(shifter), SIZE)).eval()
    batch = plus.mouse.first("train", 4)
    for part in model.shifters.values():
        part.mlp[-2].weight.data.mul_(20)  # a shift that can be felt
    with torch.no_grad():
        before = model(batch)
        moved = model(batch._replace(behavior=batch.behavior + 1))
        looked = model(batch._replace(pupil_center=batch.pupil_center + 1))
    assert before.shape == (4, 24)
    assert torch.equal(before, moved) == (not behavior)
    assert torch.equal(before, looked) == (not shifter)


def test_predictions_are_elu_plus_one(plain):
    model = kit.Model(nn.Conv2d(1, 2, 9), plain.neurons, kit.ModelConfig(image_size=SIZE)).eval()
    readout = model.readouts["8-1-1"]
    readout.feature_weights.data.zero_()
    readout.bias.data[:3] = torch.tensor([-1.0, 0.0, 2.5])
    seen = model(plain.mouse.first("train", 1))[0, :3]
    close(seen.detach(), torch.tensor([np.exp(-1), 1, 3.5], dtype=torch.float32))


def test_a_trial_does_not_depend_on_the_others_of_its_batch(plus):
    model = kit.cnn_baseline(plus, channels=3)
    together = kit.predict(model, plus, "test")
    rows = plus.mouse.rows("test")
    model.eval()
    with torch.no_grad():
        for i, row in enumerate(rows):
            alone = model(plus.mouse.batch([row]))[0].numpy()
            np.testing.assert_allclose(alone, together[i], atol=1e-5)
        mixed = model(plus.mouse.batch(rows[::-1])).numpy()
    np.testing.assert_allclose(mixed[::-1], together, atol=1e-5)


def test_the_order_of_mice_does_not_matter(two):
    turned = kit.Dataset([two["9-2-2"], two["9-1-1"]])
    model, other = kit.cnn_baseline(two, channels=2), kit.cnn_baseline(turned, channels=2)
    other.load_state_dict(model.state_dict())
    for mouse in two:
        one = kit.predict(model, two, "test", mouse)
        np.testing.assert_array_equal(one, kit.predict(other, turned, "test", mouse))
    one, again = kit.score(model, two, "test"), kit.score(other, turned, "test")
    assert one.single_trial == pytest.approx(again.single_trial, abs=1e-12)
    assert one.to_average == pytest.approx(again.to_average, abs=1e-12)
    assert len(one.per_neuron["single_trial"]) == 34


def test_the_same_seed_builds_the_same_model(plus):
    def weights(seed):
        model = kit.cnn_baseline(plus, 2, kit.ModelConfig(True, True, SIZE, seed))
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    torch.manual_seed(1)
    first = weights(7)
    torch.manual_seed(2)
    assert torch.equal(first, weights(7))
    assert not torch.equal(first, weights(8))


def test_building_and_predicting_leave_the_global_random_state_alone(plus):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = kit.cnn_baseline(plus, channels=2)
    kit.Model(nn.Identity(), plus.neurons, kit.ModelConfig(image_size=SIZE))
    kit.predict(model, plus, "validation")
    kit.score(model, plus, "validation")
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpys, np.random.get_state()[1])  # noqa: NPY002


def test_predicting_leaves_every_part_in_the_mode_it_was_in(plus):
    model = kit.cnn_baseline(plus, channels=2).train()
    model.core.eval()  # frozen, as when a core is carried to a new mouse
    before = {name: module.training for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    kit.predict(model, plus, "validation")
    kit.score(model, plus, "validation")
    assert {name: module.training for name, module in model.named_modules()} == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_building_leaves_every_part_of_a_core_in_the_mode_it_was_in(plus):
    core = nn.Sequential(nn.Conv2d(1, 3, 5), nn.BatchNorm2d(3), nn.Dropout())
    core[1].eval()
    kit.Model(core, plus.neurons, kit.ModelConfig(image_size=SIZE))
    assert [module.training for module in core] == [True, False, True]
    assert core[1].num_batches_tracked == 0


def test_predictions_are_plain_arrays_of_every_trial(plus):
    model = kit.cnn_baseline(plus, channels=2)
    predictions = kit.predict(model, plus, "train")
    assert isinstance(predictions, np.ndarray)
    assert predictions.dtype == np.float32
    assert predictions.shape == (40, 24)
    assert (predictions >= 0).all()
    np.testing.assert_array_equal(predictions, kit.predict(model, plus, "train", "7-1-1"))


def test_centers_by_hand(plain):
    """18 x 32 images, features 10 x 24: the last feature pixel lies 11.5 of 16 from the middle."""
    model = kit.cnn_baseline(plain, channels=2)
    readout = model.readouts["8-1-1"]
    readout.position_mlp = nn.Identity()
    readout.cortical_positions[:4] = torch.tensor([[1.0, 1], [-1, 0], [0, 0], [0.5, -1]])
    expected = [[11.5 / 16, 4.5 / 9], [-11.5 / 16, 0], [0, 0], [5.75 / 16, -4.5 / 9]]
    np.testing.assert_allclose(model.centers(plain.mouse)[:4], expected, atol=1e-6)


def test_centers_are_where_a_spot_of_light_is_seen(plain):
    """Light one pixel, read it through an averaging core: the place that answers is the centre."""
    core = nn.Conv2d(1, 1, 9, bias=False)
    core.weight.data.zero_()[0, 0, 4, 4] = 1  # features are the image without its margin
    model = kit.Model(core, plain.neurons, kit.ModelConfig(image_size=SIZE)).eval()
    readout = model.readouts["8-1-1"]
    readout.position_mlp = nn.Identity()
    y, x = torch.meshgrid(torch.arange(18), torch.arange(32), indexing="ij")
    for pixels, half, axis in ((x, 16, 0), (y, 9, 1)):
        image = (pixels + 0.5 - half)[None, None] / half  # x or y in half images
        seen = nn.functional.elu(torch.from_numpy(model.centers(plain.mouse)[:, axis]))
        close(model(Batch(image.float())).detach()[0] - 1, seen)


# ---- other cores ----


class Tiny(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 3, 5, stride=2)

    def forward(self, images):
        return self.conv(images).relu()


def test_a_core_of_ones_own(plus):
    model = kit.Model(Tiny(1), plus.neurons, kit.ModelConfig(shifter=True, image_size=SIZE))
    assert model.readouts["7-1-1"].feature_weights.shape == (24, 3)
    assert model.regularizer().item() == pytest.approx(0.0076 * 24, rel=1e-5)  # the readout's alone
    config = kit.TrainConfig(epochs=1, batch_size=16, device="cpu")
    assert np.isfinite(kit.train(model, plus, config).loss).all()
    model = kit.Model(Tiny(4), plus.neurons, kit.ModelConfig(True, image_size=SIZE))
    assert kit.predict(model, plus, "test").shape == (11, 24)


def test_a_core_that_gives_no_feature_map_is_refused(plus):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(18 * 32, 5))
    with pytest.raises(ValueError, match=r"\(1, 1, 18, 32\) into \(1, 5\); it must give"):
        kit.Model(flat, plus.neurons, kit.ModelConfig(image_size=SIZE))


def test_a_core_for_other_inputs_is_refused_in_words(plus):
    """Four channels are given where the core takes one."""
    with pytest.raises(ValueError, match=r"the core .*\(1, 4, 18, 32\)"):
        kit.Model(Tiny(1), plus.neurons, kit.ModelConfig(True, image_size=SIZE))
    with pytest.raises(ValueError, match=r"the core .*\(1, 1, 6, 6\)"):  # smaller than its filters
        kit.Model(ConvCore(2), plus.neurons, kit.ModelConfig(image_size=(6, 6)))


@pytest.mark.parametrize("channels", [0, -1])
def test_a_core_without_channels_is_refused(plus, channels):
    with pytest.raises(ValueError, match=f"channels.*{channels}|{channels}.*channels"):
        kit.cnn_baseline(plus, channels=channels)


# ---- refusals ----


def test_another_image_size_is_refused(plus, folder):
    model = kit.cnn_baseline(plus, channels=2)
    full = kit.load(folder / "static7-1-1-GrayImageNet-tiny.zip", folder=folder / "data")
    for call in (lambda: kit.predict(model, full, "test"), lambda: model.register_data(full)):
        with pytest.raises(ValueError, match=r"takes \(18, 32\) images, .*\(36, 64\); load them w"):
            call()


def test_another_number_of_neurons_is_refused(plus, folder, tmp_path):
    model = kit.cnn_baseline(plus, channels=2)
    path = tiny.write(tmp_path, tiny.arrays(neurons=10))
    other = kit.load(path, SIZE, tmp_path / "data")
    with pytest.raises(ValueError, match="has 24 neurons for mouse 7-1-1, the recording has 10"):
        kit.predict(model, other, "test")


def changed(tmp_path, change):
    """The tiny mouse again, with one thing changed."""
    arrays = tiny.arrays()
    change(arrays)
    return kit.load(tiny.write(tmp_path, arrays, withholds=["responses"]), SIZE, tmp_path / "data")


def other_ids(arrays):
    arrays["unit_ids"] = arrays["unit_ids"][::-1].copy()


def other_units(arrays):
    arrays["responses"] = arrays["responses"] * 2


def other_images(arrays):
    arrays["images"] = arrays["images"] // 2


@pytest.mark.parametrize(
    "change, name",
    [(other_ids, "unit_ids"), (other_units, "responses_std"), (other_images, "images_mean")],
)
def test_other_ids_or_units_than_it_was_trained_in_are_refused(plus, tmp_path, change, name):
    model = kit.cnn_baseline(plus, channels=2)
    model.register_data(plus)
    other = changed(tmp_path, change)
    values = plus.mouse.unit_ids if name == "unit_ids" else plus.mouse.statistics[name]
    theirs = other.mouse.unit_ids if name == "unit_ids" else other.mouse.statistics[name]
    with pytest.raises(ValueError, match=f"was trained with {name}.*the recording has") as caught:
        kit.predict(model, other, "test")
    for value in (values, theirs):
        assert f"[{value.ravel()[0]:.5g}" in str(caught.value)


@pytest.mark.parametrize(
    "taken, said",
    [
        ({"behavior_channels": True}, "takes behaviour"),
        ({"gain": True}, "takes behaviour"),
        ({"shifter": True}, "takes eye position"),
    ],
)
def test_withheld_behavior_is_refused(plain, plus, taken, said):
    """When the model is built, and when one that was built for another mouse meets data."""
    config = kit.ModelConfig(image_size=SIZE, **taken)
    said += ".* of mouse 8-1-1 is withheld: on the Sensorium track"
    with pytest.raises(ValueError, match=said):
        kit.cnn_baseline(plain, 2, config)
    core = ConvCore(2, 4 if config.behavior_channels else 1)
    model = kit.Model(core, plain.neurons, config)
    for use in (kit.train, lambda *given: kit.predict(*given, "test")):
        with pytest.raises(ValueError, match=said):
            use(model, plain)
    with pytest.raises(ValueError, match="in these trials is withheld"):
        model(plain.mouse.first("test", 2))


# ---- behaviour, four ways ----


def parts(config):
    """What a model of a mouse with 24 neurons has besides its core and readout."""
    model = kit.Model(ConvCore(2, 4 if config.behavior_channels else 1), {"m": PLACES}, config)
    named = {name.split(".")[0] for name, _ in model.named_parameters()}
    return named - {"core", "readouts"}


PLACES = np.random.default_rng(0).uniform(0, 600, (24, 3))


def test_each_part_is_on_or_off_alone():
    assert parts(kit.ModelConfig()) == set()
    assert parts(kit.ModelConfig(behavior_channels=True)) == set()
    assert parts(kit.ModelConfig(shifter=True)) == {"shifters"}
    assert parts(kit.ModelConfig(gain=True)) == {"gains"}
    assert parts(kit.ModelConfig(gain=True, minmax_behavior=True)) == {"gains"}
    with pytest.raises(ValueError, match="minmax_behavior=True has no effect"):
        parts(kit.ModelConfig(shifter=True, minmax_behavior=True))


def test_a_gain_begins_as_doing_nothing(plus):
    """And then scales: by elu(mlp) + 1, worked out here by hand for one neuron."""
    batch = plus.mouse.first("train", 5)
    config = {"image_size": SIZE}
    core = ConvCore(2)
    without = kit.Model(core, plus.neurons, kit.ModelConfig(**config)).eval()
    model = kit.Model(core, plus.neurons, kit.ModelConfig(gain=True, **config)).eval()
    model.readouts.load_state_dict(without.readouts.state_dict())
    torch.testing.assert_close(model(batch), without(batch), rtol=0, atol=0)
    first, _, last = model.gains[plus.mouse.mouse].mlp
    with torch.no_grad():
        first.weight.copy_(torch.eye(10, 3))
        first.bias.zero_()
        last.weight[7, 0], last.bias[7] = 2.0, -0.5
        scaled = model(batch) / without(batch)
    drive = 2 * np.tanh(batch.behavior[:, 0].numpy()) - 0.5
    expected = np.where(drive > 0, drive + 1, np.exp(np.minimum(drive, 0)))
    np.testing.assert_allclose(scaled[:, 7].detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(scaled[:, :7].detach(), 1, rtol=1e-5)


def test_unit_behavior_spans_the_train_tier(plus, tmp_path):
    """The model sees 0 to 1, whatever the other tiers hold, and keeps the range when saved."""
    config = kit.ModelConfig(image_size=SIZE, gain=True, minmax_behavior=True)
    model = kit.Model(ConvCore(2), plus.neurons, config)
    model.register_data(plus)
    scale = model.scalers[plus.mouse.mouse]
    train = torch.from_numpy(plus.mouse.behavior[plus.mouse.rows("train")])
    seen = scale(train)
    np.testing.assert_allclose(seen.min(0).values, 0, atol=1e-6)
    np.testing.assert_allclose(seen.max(0).values, 1, atol=1e-6)
    taken = []
    model.gains[plus.mouse.mouse].register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    model(plus.mouse.first("train", 4))
    torch.testing.assert_close(taken[0], seen[:4])
    kit.save(model, tmp_path / "m.safetensors")
    again = kit.load_model(tmp_path / "m.safetensors")
    torch.testing.assert_close(again.scalers[plus.mouse.mouse](train), seen, rtol=0, atol=0)
    constant = layers.MinMaxScaler()
    constant.fit(np.ones((5, 3), np.float32))
    assert (constant(torch.ones(2, 3)) == 0).all()


def test_a_core_may_take_the_state(plus):
    """One that says so is given behaviour and eye position, (B, 5), beside the images."""

    class Stateful(nn.Module):
        takes_state = True

        def __init__(self):
            super().__init__()
            self.conv, self.seen = nn.Conv2d(1, 3, 5), None

        def forward(self, images, state):
            self.seen = state
            return self.conv(images) + state.mean(1)[:, None, None, None]

    model = kit.Model(Stateful(), plus.neurons, kit.ModelConfig(image_size=SIZE)).eval()
    batch = plus.mouse.first("train", 4)
    assert model(batch).shape == (4, 24)
    torch.testing.assert_close(model.core.seen, torch.cat([batch.behavior, batch.pupil_center], 1))
    assert "behaviour and eye position" in repr(model)
    with pytest.raises(ValueError, match="takes behaviour, and that in these trials is withheld"):
        model(kit.Batch(batch.images))


def test_an_unknown_mouse_is_refused(plus, plain, two):
    model = kit.cnn_baseline(plus, channels=2)
    with pytest.raises(ValueError, match="no readout for mouse '8-1-1'; it knows 7-1-1"):
        kit.predict(model, plain, "test")
    model = kit.cnn_baseline(two, channels=2)
    with pytest.raises(ValueError, match="it knows 9-1-1, 9-2-2"):
        model(batch_of(2))
    with pytest.raises(ValueError, match="there are 2 mice here; choose one"):
        kit.predict(model, two, "test")


def test_withheld_responses_cannot_be_scored(plus):
    model = kit.cnn_baseline(plus, channels=2)
    with pytest.raises(ValueError, match="responses of tier 'test' of mouse 7-1-1 are withheld"):
        kit.score(model, plus, "test")


def test_a_batch_is_brought_to_where_the_model_is(plus):
    """After training on a GPU, model(batch) must not fail; the device "meta" stands in for one."""
    model = kit.cnn_baseline(plus, channels=2).to("meta")
    batch = plus.mouse.first("train", 5)
    predictions = model(batch, plus.mouse.mouse)
    assert predictions.device.type == "meta" and predictions.shape == (5, 24)
    assert batch.images.device.type == "cpu"


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_fast_readout_is_the_plain_one(monkeypatch, dtype, near, order):
    """Values and all gradients; some positions lie beyond the edge, some on it, some on pixels."""
    features = torch.randn(3, 32, 7, 9, dtype=dtype).to(memory_format=order).requires_grad_()
    grid = torch.rand(3, 1000, 2, dtype=dtype) * 2.6 - 1.3
    grid[0, :4] = torch.tensor([[-1, -1], [1, 1], [-1, 1], [0, 0]])
    grid[1, :, 0] = torch.randint(9, (1000,)) / 4 - 1
    grid.requires_grad_()
    weights = torch.randn(1000, 32, dtype=dtype, requires_grad=True)
    inputs, upstream = (features, grid, weights), torch.randn(3, 1000, dtype=dtype)
    plain = cpu.gaussian_readout_reference(*inputs)
    monkeypatch.setattr(cpu, "gaussian_readout_reference", None)
    fast = cpu.gaussian_readout(*inputs)
    torch.testing.assert_close(fast, plain, rtol=0, atol=near)
    for one, other in zip(torch.autograd.grad(fast, inputs, upstream),
                          torch.autograd.grad(plain, inputs, upstream), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=0, atol=near * other.abs().max().item())
    with torch.inference_mode():
        torch.testing.assert_close(cpu.gaussian_readout(*inputs), plain, rtol=0, atol=near)


def test_the_fast_readout_is_taken_where_it_pays(monkeypatch):
    taken = []
    monkeypatch.setattr(cpu, "gaussian_readout_reference", lambda *_: taken.append("plain"))
    monkeypatch.setattr(cpu._GaussianReadout, "apply", lambda *_: taken.append("fast"))
    for neurons, channels, size, dtype in ((1000, 32, 2, None), (999, 32, 2, None),
                                           (1000, 16, 2, None), (1000, 32, 1, None),
                                           (1000, 32, 2, torch.bfloat16)):  # fmt: skip
        features = torch.zeros(1, channels, size, size, dtype=dtype)
        cpu.gaussian_readout(features, torch.zeros(1, neurons, 2), torch.zeros(neurons, channels))
    assert taken == ["fast", "plain", "plain", "plain", "plain"]


@pytest.mark.parametrize("neurons", [20, 1000])  # for the plain and for the fast readout
def test_positions_are_drawn_and_read_in_float32_under_autocast(neurons):
    readout = GaussianReadout(np.random.default_rng(0).uniform(0, 600, (neurons, 2)), 32).train()
    shifter, eyes = Shifter(), torch.randn(3, 2)
    features = torch.randn(3, 32, 7, 9).bfloat16()
    readout.feature_weights.data.normal_()

    def draw(mixed):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return readout.positions(3), shifter(eyes), readout(features, shifter(eyes))

    for plain, mixed in zip(draw(False), draw(True), strict=True):
        assert mixed.dtype == torch.float32
        assert torch.equal(plain, mixed)


def test_positions_that_are_not_finite_give_predictions_that_are_not():
    """A training that fails then ends with its own sentence."""
    grid = torch.zeros(1, 1000, 2)
    grid[0, :2, 0] = torch.tensor([torch.nan, torch.inf])
    read = cpu.gaussian_readout(
        torch.ones(1, 32, 4, 4), grid.requires_grad_(), torch.ones(1000, 32)
    )
    assert read[0, :2].isnan().all() and read[0, 2:].isfinite().all()


def test_the_depthwise_convolution_is_that_of_torch():
    """Values, gradients, and gradients of gradients."""
    ours = layers.Depthwise(5).double()
    theirs = nn.Conv2d(5, 5, 7, padding=3, groups=5, bias=False).double()
    theirs.load_state_dict(ours.state_dict())
    features = torch.randn(3, 5, 8, 11, dtype=torch.double, requires_grad=True)
    upstream = torch.randn_like(features)
    results = []
    for conv in (ours, theirs):
        inputs = features, conv.weight
        output = conv(features)
        slopes = torch.autograd.grad(output, inputs, upstream, create_graph=True)
        further = torch.autograd.grad(sum(slope.pow(2).sum() for slope in slopes), inputs)
        results.append((output, *slopes, *further))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_fast_step_is_the_plain_step(monkeypatch):
    """Predictions and every gradient, as shares of their size, beside torch's own operations.

    With bfloat16 the core's; positions follow differences of features, which that rounds away.
    """
    neurons = {"mouse": np.random.default_rng(0).uniform(0, 600, (1000, 3))}
    model = kit.Model(ConvCore(32, 4), neurons, kit.ModelConfig(True, True)).train()
    batch = kit.Batch(torch.randn(8, 1, 36, 64), torch.rand(8, 1000), torch.rand(8, 3),
                      torch.randn(8, 2))  # fmt: skip

    def step(precision):
        torch.manual_seed(1)  # the same positions
        with make_fabric(model, "cpu", precision).autocast():
            predictions = model(batch)
        loss = poisson_loss(predictions.float(), batch.responses) + model.regularizer()
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        core = torch.cat(
            [slope.flatten() for slope in slopes[: len(list(model.core.parameters()))]]
        )
        return predictions, core, *slopes

    fast, half = step("32-true"), step("bf16-mixed")
    monkeypatch.setattr(layers, "gaussian_readout", cpu.gaussian_readout_reference)
    monkeypatch.setattr(layers.Depthwise, "forward", nn.Conv2d.forward)
    plain = step("32-true")
    for one, other in zip(fast, plain, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()
    for one, other in zip(half[:2], plain[:2], strict=True):
        assert 1e-4 * other.norm() < (one - other).norm() <= 2e-2 * other.norm()


@pytest.mark.parametrize("name", ["responses_std", "images_mean", "unit_ids"])
def test_one_neuron_of_other_units_is_another_recording(plus, name):
    model = kit.linear_baseline(plus, channels=2)
    model.register_data(plus)
    known = model.data_statistics[plus.mouse.mouse]
    value = known[name]
    known[name] = value * np.float32(1 + 1e-5) if name != "unit_ids" else value
    model.validate_data(plus)  # rounding
    known[name] = value + (np.arange(value.size).reshape(value.shape) == value.size - 1)
    with pytest.raises(ValueError, match=f"trained with {name}"):
        model.validate_data(plus)
