"""The model around core and readouts, and what it refuses."""

import copy

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import kit
from kit.models.layers import ConvCore

SIZE = (18, 32)
PLACES = np.random.default_rng(0).uniform(0, 600, (24, 3))


@pytest.fixture(scope="module")
def two(folder):
    arrays = tiny.arrays(2, neurons=10)
    paths = [tiny.write(folder, tiny.arrays(), "9-1-1"), tiny.write(folder, arrays, "9-2-2")]
    return kit.load(paths, SIZE, folder / "data")


@pytest.fixture
def cnn(plus):
    return kit.cnn_baseline(plus, channels=2)


@pytest.mark.parametrize("behavior", [False, True])
@pytest.mark.parametrize("shifter", [False, True])
def test_forward_uses_the_parts_of_its_config(plus, behavior, shifter):
    model = kit.cnn_baseline(plus, 2, kit.ModelConfig(behavior, shifter, SIZE)).eval()
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


def test_model_refuses_a_setting_without_effect():
    with pytest.raises(ValueError, match="minmax_behavior needs behavior_channels=True or gain"):
        kit.Model(ConvCore(2), {"m": PLACES}, kit.ModelConfig(shifter=True, minmax_behavior=True))


def test_forward_is_elu_plus_one(plain):
    model = kit.Model(nn.Conv2d(1, 2, 9), plain.neurons, kit.ModelConfig(image_size=SIZE)).eval()
    readout = model.readouts["8-1-1"]
    readout.feature_weights.data.zero_()
    readout.bias.data[:3] = torch.tensor([-1.0, 0.0, 2.5])
    predictions = model(plain.mouse.first("train", 1))[0, :3].detach()
    np.testing.assert_allclose(predictions, [np.exp(-1), 1, 3.5], rtol=1e-5)


def test_forward_gain(plus):
    """A new gain changes nothing; then elu(mlp) + 1, here by hand for one neuron."""
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


def test_minmax_behavior_spans_the_train_tier(plus, tmp_path):
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


def test_forward_gives_the_core_the_state(plus):
    """A core with `takes_state` gets behaviour and eye position (B, 5) beside the images."""

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


def test_forward_trials_independent(plus):
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


def test_model_order_of_mice(two):
    turned = kit.Dataset([two["9-2-2"], two["9-1-1"]])
    model_a, model_b = kit.cnn_baseline(two, channels=2), kit.cnn_baseline(turned, channels=2)
    model_b.load_state_dict(model_a.state_dict())
    for mouse in two:
        predictions = kit.predict(model_a, two, "test", mouse)
        np.testing.assert_array_equal(predictions, kit.predict(model_b, turned, "test", mouse))
    scores_a, scores_b = kit.score(model_a, two, "test"), kit.score(model_b, turned, "test")
    assert scores_a.single_trial == pytest.approx(scores_b.single_trial, abs=1e-12)
    assert scores_a.to_average == pytest.approx(scores_b.to_average, abs=1e-12)
    assert len(scores_a.per_neuron["single_trial"]) == 34


def test_model_leaves_global_random_state(plus):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = kit.cnn_baseline(plus, channels=2)
    kit.Model(nn.Identity(), plus.neurons, kit.ModelConfig(image_size=SIZE))
    kit.predict(model, plus, "validation")
    kit.score(model, plus, "validation")
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpys, np.random.get_state()[1])  # noqa: NPY002


def test_predict_leaves_model_unchanged(cnn, plus):
    model = cnn.train()
    model.core.eval()  # frozen, as when a core is transferred to a new mouse
    before = {name: module.training for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    kit.predict(model, plus, "validation")
    kit.score(model, plus, "validation")
    assert {name: module.training for name, module in model.named_modules()} == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_model_leaves_core_unchanged(plus):
    core = nn.Sequential(nn.Conv2d(1, 3, 5), nn.BatchNorm2d(3), nn.Dropout())
    core[1].eval()
    kit.Model(core, plus.neurons, kit.ModelConfig(image_size=SIZE))
    assert [module.training for module in core] == [True, False, True]
    assert core[1].num_batches_tracked == 0


def test_centers_by_hand(plain):
    """18 x 32 images, features 10 x 24: the last feature pixel lies 11.5 of 16 from the middle."""
    model = kit.cnn_baseline(plain, channels=2)
    readout = model.readouts["8-1-1"]
    readout.position_mlp = nn.Identity()
    readout.cortical_positions[:2] = torch.tensor([[1.0, 1], [0.5, -1]])
    expected = [[11.5 / 16, 4.5 / 9], [5.75 / 16, -4.5 / 9]]
    np.testing.assert_allclose(model.centers(plain.mouse)[:2], expected, atol=1e-6)


def test_centers_of_a_spot_of_light(plain):
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
        predictions = model(kit.Batch(image.float())).detach()[0]
        torch.testing.assert_close(predictions - 1, seen, rtol=1e-5, atol=1e-5)


def test_forward_moves_batch_to_device(cnn, plus):
    """After training on a GPU, model(batch) must not fail; the device "meta" stands in for one."""
    batch = plus.mouse.first("train", 5)
    predictions = cnn.to("meta")(batch, plus.mouse.mouse)
    assert predictions.device.type == "meta" and predictions.shape == (5, 24)
    assert batch.images.device.type == "cpu"


class Tiny(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 3, 5, stride=2)

    def forward(self, images):
        return self.conv(images).relu()


def test_model_own_core(plus):
    model = kit.Model(Tiny(1), plus.neurons, kit.ModelConfig(shifter=True, image_size=SIZE))
    assert model.readouts["7-1-1"].feature_weights.shape == (24, 3)
    assert model.regularizer().item() == pytest.approx(0.0076 * 24, rel=1e-5)  # the readout's alone
    config = kit.TrainConfig(epochs=1, batch_size=16, device="cpu")
    assert np.isfinite(kit.train(model, plus, config).loss).all()
    model = kit.Model(Tiny(4), plus.neurons, kit.ModelConfig(True, image_size=SIZE))
    assert kit.predict(model, plus, "test").shape == (11, 24)


@pytest.mark.parametrize("core, config, message", [
    (nn.Sequential(nn.Flatten(), nn.Linear(18 * 32, 5)), {},
     r"\(1, 1, 18, 32\): not enough values to unpack .*; see kit.check_core"),
    (nn.Bilinear(64, 64, 3), {"behavior_channels": True}, r"\(1, 4, 18, 32\): "),
    (Tiny(1), {"behavior_channels": True}, r"\(1, 4, 18, 32\): .*channels"),  # it takes one
    (ConvCore(2), {"image_size": (6, 6)}, r"\(1, 1, 6, 6\): "),  # smaller than its filters
], ids=["no map", "other arguments", "other channels", "small images"])  # fmt: skip
def test_model_refuses_cores(plus, core, config, message):
    config = kit.ModelConfig(**{"image_size": SIZE} | config)
    with pytest.raises(ValueError, match=f"the core cannot take images {message}"):
        kit.Model(core, plus.neurons, config)


def test_validate_data_image_size(cnn, folder):
    full = kit.load(folder / "static7-1-1-GrayImageNet-tiny.zip", folder=folder / "data")
    with pytest.raises(ValueError, match=r"takes \(18, 32\) images, .*\(36, 64\); load them w"):
        kit.predict(cnn, full, "test")


def test_validate_data_number_of_neurons(cnn, tmp_path):
    path = tiny.write(tmp_path, tiny.arrays(neurons=10))
    other = kit.load(path, SIZE, tmp_path / "data")
    with pytest.raises(
        ValueError, match="another recording of mouse 7-1-1, different in its neurons, by"
    ):
        kit.predict(cnn, other, "test")


@pytest.mark.parametrize("name", ["unit_ids", "responses_std", "images_mean"])
def test_validate_data_statistics(cnn, plus, name):
    """One neuron of other units makes another recording; a difference by rounding does not."""
    cnn.register_data(plus)
    statistics = cnn.data_statistics["7-1-1"]
    value = statistics[name]
    if name != "unit_ids":
        statistics[name] = value * np.float32(1 + 1e-5)
    cnn.validate_data(plus)
    statistics[name] = value.copy()
    statistics[name].flat[-1] += 1
    with pytest.raises(
        ValueError, match=f"another recording of mouse 7-1-1, different in {name}; open"
    ):
        kit.predict(cnn, plus, "test")


@pytest.mark.parametrize(
    "taken, said",
    [
        ({"behavior_channels": True}, "takes behaviour"),
        ({"gain": True}, "takes behaviour"),
        ({"shifter": True}, "takes eye position"),
    ],
)
def test_validate_data_withheld_behavior(plain, plus, taken, said):
    """Refused when the baseline is built, and when a model of one's own is used."""
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


def test_resolve_mouse_unknown(cnn, plain, two):
    with pytest.raises(ValueError, match="no readout for mouse '8-1-1'; it knows 7-1-1"):
        kit.predict(cnn, plain, "test")
    model = kit.cnn_baseline(two, channels=2)
    with pytest.raises(ValueError, match="it knows 9-1-1, 9-2-2"):
        model(kit.Batch.typical(np.zeros((2, *SIZE), np.float32)))
    with pytest.raises(ValueError, match="there are 2 mice here; choose one"):
        kit.predict(model, two, "test")


# ---- what a model is given ----


@pytest.mark.parametrize("change, message", [
    (lambda batch: batch.images, r"takes a kit.Batch, not a Tensor; give kit.Batch.typical"),
    (lambda batch: batch._replace(images=torch.zeros(4, 1, 144, 256)),
     r"images of a batch must be floats \(4, 1, 18, 32\) for this model, these are "
     r"\(4, 1, 144, 256\) torch.float32; use kit.load"),
    (lambda batch: batch._replace(images=batch.images.mT), r"\(4, 1, 32, 18\)"),
    (lambda batch: batch._replace(images=batch.images.to(torch.uint8)), "torch.uint8"),
    (lambda batch: batch._replace(images=batch.images.numpy()), "images"),
    (lambda batch: batch._replace(behavior=batch.behavior[:1]), r"behavior .* \(1, 3\)"),
    (lambda batch: batch._replace(pupil_center=batch.pupil_center[:, :1]), r"pupil.* \(4, 1\)"),
], ids=["tensor", "larger", "turned", "integers", "array", "one state", "one eye"])  # fmt: skip
def test_model_refuses_what_is_not_its_batch(plus, change, message):
    model = kit.Model(nn.Conv2d(4, 2, 5), plus.neurons, kit.ModelConfig(True, True, SIZE))
    with pytest.raises(ValueError, match=message):
        model(change(plus.mouse.first("train", 4)))


def test_model_takes_images_of_float64(plain):
    model = kit.cnn_baseline(plain, channels=2).eval()
    batch = plain.mouse.first("train", 4)
    assert torch.equal(model(batch._replace(images=batch.images.double())), model(batch))


@pytest.mark.parametrize("neurons, message", [
    ({}, "give data.neurons"),
    ({"m": PLACES[0]}, r"neurons\['m'\] must be numbers \(N, 2\) or \(N, 3\), these are \(3,\)"),
    ({"m": PLACES * np.nan}, "are not finite numbers"),
    ({"m": None}, "these are NoneType"),
], ids=["none", "one", "nan", "nothing"])  # fmt: skip
def test_model_refuses_neurons(neurons, message):
    with pytest.raises(ValueError, match=message):
        kit.Model(ConvCore(2), neurons)


class Odd(nn.Conv2d):
    """`change` is made to the features in training mode, `penalty` is added to the loss."""

    change, penalty = staticmethod(lambda features: features), 0.0

    def forward(self, images):
        features = super().forward(images)
        return self.change(features) if self.training else features

    def regularizer(self):
        return self.penalty


@pytest.mark.parametrize("change", [
    lambda features: features.mean(0, keepdim=True), lambda features: features[:, :1],
])  # fmt: skip
def test_forward_refuses_features_of_another_shape_in_training(plus, change):
    core = Odd(1, 2, 3)
    core.change = change
    model = kit.Model(core, plus.neurons, kit.ModelConfig(image_size=SIZE))
    with pytest.raises(ValueError, match=r"core turned 4 images into .*not \(4, 2, 16, 30\); see"):
        model.train()(plus.mouse.first("train", 4))


def test_regularizer_refuses_what_is_not_one_number(plus):
    core = Odd(1, 2, 3)
    core.penalty = torch.ones(2)
    model = kit.Model(core, plus.neurons, kit.ModelConfig(image_size=SIZE))
    with pytest.raises(
        ValueError, match=r"regularizer\(\) of the core must give one number, not tensor"
    ):
        model.regularizer()
    for core.penalty in (1, 1.0, np.float32(1), torch.ones(()), torch.ones(1)):
        assert model.regularizer() >= 1


def test_score_withheld_responses(cnn, plus):
    with pytest.raises(ValueError, match="'test' of mouse 7-1-1 are withheld"):
        kit.score(cnn, plus, "test")


def test_score_in_half_precision(cnn, plus):
    scores = kit.score(cnn.bfloat16(), plus, "validation")
    assert np.isfinite(scores.single_trial)


def test_validate_data_refuses_the_neurons_of_another_mouse(folder):
    """Two mice with as many neurons, their coordinates swapped."""
    paths = [tiny.write(folder, tiny.arrays(seed), f"6-{seed}-1") for seed in (1, 2)]
    data = kit.load(paths, SIZE, folder / "data")
    swapped = dict(zip(data, reversed(data.neurons.values()), strict=True))
    model = kit.Model(ConvCore(2), swapped, kit.ModelConfig(image_size=SIZE))
    with pytest.raises(
        ValueError,
        match="recording of mouse 6-1-1, different in its neurons, by number or place; open",
    ):
        kit.train(model, data)
    kit.Model(ConvCore(2), data.neurons, model.config).validate_data(data)
    scaled = {mouse: places / 1000 for mouse, places in data.neurons.items()}
    kit.Model(ConvCore(2), scaled, model.config).validate_data(data)


@pytest.mark.parametrize("setting", [
    {"shifter": "no"}, {"gain": "False"}, {"gain": 1}, {"behavior_channels": None},
    {"seed": 1.0}, {"seed": -1}, {"image_size": (36,)}, {"image_size": (0, 64)}, {"image_size": 36},
], ids=str)  # fmt: skip
def test_model_config_refuses(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}=.* is not possible; give "):
        kit.ModelConfig(**setting)


def test_model_config_of_numpy_numbers():
    config = kit.ModelConfig(np.True_, image_size=np.array([18, 32]), seed=np.int64(1))
    assert config == kit.ModelConfig(True, image_size=(18, 32), seed=1)
    assert type(config.behavior_channels) is bool and type(config.seed) is int
