"""The parts of the 2022 models, on cases that can be worked out by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from kit.models.layers import BatchNorm, ConvCore, GaussianReadout, MinMaxScaler, Shifter


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_conv_core_shapes():
    core = ConvCore().eval()
    assert core(torch.zeros(2, 1, 36, 64)).shape == (2, 64, 28, 56)
    assert {m.momentum for m in core.modules() if isinstance(m, nn.BatchNorm2d)} == {0.9}
    assert ConvCore(5, in_channels=4, layers=1)(torch.zeros(2, 4, 9, 10)).shape == (2, 5, 1, 2)


def test_conv_core_linear():
    core = ConvCore(3, layers=3, nonlinear=False).eval()
    a, b = torch.randn(2, 1, 1, 20, 20)
    zero = core(torch.zeros(1, 1, 20, 20))
    close(core(2 * a + 3 * b) - zero, 2 * (core(a) - zero) + 3 * (core(b) - zero))


def test_batch_norm_is_that_of_torch_in_one_order_of_memory():
    images = torch.randn(4, 6, 5, 7, requires_grad=True)
    ours, theirs = BatchNorm(6), nn.BatchNorm2d(6, momentum=0.9)
    weights = torch.randn(4, 12, 5, 7)[:, :6]  # so the gradient is a slice, in another order
    seen, results = [], []
    for norm in (ours, theirs):
        output = norm(images)
        output.register_hook(lambda gradient: seen.append(gradient.stride()))
        gradients = torch.autograd.grad((output * weights).sum(), (images, *norm.parameters()))
        results.append([output, *gradients])
    for one, other in zip(*results, strict=True):
        close(one, other)
    assert seen[0][1] == 1 != seen[1][1]  # the channels of a pixel lie beside each other
    close(ours.running_var, theirs.running_var)


def test_parameters_by_hand():
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


@pytest.mark.parametrize(
    "at, rough",
    [
        ((4, 4), 4**2 + 4),  # 4 in the middle, -1 on each side
        ((0, 0), 4**2 + 2),  # two sides lie outside
        ((0, 4), 4**2 + 3),
    ],
)
def test_conv_core_regularizer_of_a_point(at, rough):
    core = ConvCore(1)
    core.layers[0][0].weight.data.zero_()[0, 0, at[0], at[1]] = 0.7
    assert core.regularizer().item() == pytest.approx(6.3831 * rough, rel=1e-5)  # of any height


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
def test_gaussian_readout_of_a_ramp(h, w):
    readout = placed(CORNERS).eval()
    x, y = torch.eye(2)
    for weights, expected in ((x, CORNERS[:, 0]), (y, CORNERS[:, 1])):
        readout.feature_weights.data[:] = weights
        close(readout(ramp(h, w))[0], torch.tensor(expected, dtype=torch.float32))


def test_gaussian_readout_shift():
    readout = placed(CORNERS).eval()
    readout.cortical_positions *= 0.5
    readout.feature_weights.data[:] = torch.tensor([1.0, 10.0])
    features, shift = ramp(28, 56).expand(2, -1, -1, -1), torch.tensor([[0.1, -0.2], [0.0, 0.3]])
    moved = readout(features, shift) - readout(features)
    close(moved, torch.tensor([[0.1 - 2], [3]]).expand(2, 6))


def test_gaussian_readout_clamps_before_shift():
    readout = placed(CORNERS).eval()
    readout.cortical_positions *= 1.5  # becomes 1, then 0.8; the other order would give 1
    readout.feature_weights.data[:] = torch.tensor([1.0, 0.0])
    seen = readout(ramp(28, 56), torch.tensor([[-0.2, 0.0]]))[0]
    close(seen[1:3], torch.tensor([0.8, 0.8]))
    assert readout.positions(3).abs().max() == 1


def test_gaussian_readout_starts_near_the_centre():
    """Far from the centre, two of five seeds never learned the map of the mouse "sample+"."""
    places = np.random.default_rng(0).uniform(0, 600, (50, 3))
    for seed in range(5):
        torch.manual_seed(seed)
        means = GaussianReadout(places, 4).means()
        assert 0 < means.abs().max() < 0.1


def test_gaussian_readout_scales_coordinates():
    readout = GaussianReadout([[100, 10, 5], [300, 20, 5], [500, 60, 900]], 1)
    expected = [[-1, -0.1], [0, -0.05], [1, 0.15]]  # minus (300, 30), over 200
    close(readout.cortical_positions, torch.tensor(expected))
    assert torch.isfinite(GaussianReadout([[5, 5]], 1).means()).all()  # a single neuron


def test_positions_random_in_training_only():
    readout = placed([[-1, 0], [1, 0]])
    readout.cortical_positions *= 0.2
    factor = torch.tensor([[[0.10, 0.0], [0.05, 0.02]], [[0.0, 0.0], [0.0, 0.03]]])
    readout.sigma.data[:] = factor
    torch.manual_seed(0)
    drawn = readout.train().positions(20_000)  # (B, 2, 2)
    assert len(torch.unique(drawn[:, 0, 0])) > 19_000  # new ones for every image
    close(drawn.mean(0), readout.means(), 2e-3)
    for neuron in range(2):
        covariance = torch.cov(drawn[:, neuron].T)
        close(covariance, factor[neuron] @ factor[neuron].T, 3e-4)
    still = readout.eval().positions(5)
    assert torch.equal(still, readout.means().expand(5, -1, -1))


def test_gaussian_readout_initial_weights():
    torch.manual_seed(0)
    readout = GaussianReadout(np.random.default_rng(0).random((500, 3)), 16)
    assert readout.sigma.min() < -0.09
    assert readout.sigma.max() > 0.09
    assert readout.sigma.abs().max() <= 0.1
    assert (readout.feature_weights == 1 / 16).all()
    assert readout.regularizer().item() == pytest.approx(0.0076 * 500, rel=1e-5)  # 16 / 16 each
    layers = [type(m) for m in readout.position_mlp]
    assert layers == [nn.Linear, nn.ELU, nn.Linear, nn.Tanh]


def test_init_bias_from_mean():
    readout = GaussianReadout(np.eye(3), 2)
    readout.init_bias_from_mean(torch.tensor([0.5, 1.0, 4.0]))
    close(nn.functional.elu(readout.bias.detach()) + 1, torch.tensor([0.5, 1.0, 4.0]))
    readout.init_bias_from_mean(torch.zeros(3))  # silent neurons
    assert torch.isfinite(readout.bias).all()


def test_gaussian_readout_neurons_independent():
    rng = np.random.default_rng(0)
    readout = placed(rng.uniform(-1, 1, (8, 2)), 5).eval()
    readout.feature_weights.data.uniform_(-1, 1)
    features = torch.randn(3, 5, 10, 12)
    one = copy.deepcopy(readout)
    one.cortical_positions = readout.cortical_positions[2:3]
    for name in ("feature_weights", "bias", "sigma"):
        setattr(one, name, nn.Parameter(getattr(readout, name)[2:3]))
    close(one(features), readout(features)[:, 2:3])


@pytest.mark.parametrize("neurons", [20, 1000])  # for the plain and for the fast readout
def test_gaussian_readout_float32_under_autocast(neurons):
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


def test_shifter_by_hand():
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


def test_min_max_scaler_constant_values():
    scaler = MinMaxScaler()
    scaler.fit(np.ones((5, 3), np.float32))
    assert (scaler(torch.ones(2, 3)) == 0).all()


# ---- neurons without places ----


@pytest.mark.parametrize("places", [np.zeros((5, 3)), np.full((5, 2), 7.0)])
def test_gaussian_readout_of_one_place_learns_free_positions(places):
    readout = GaussianReadout(places, 3)
    assert dict(readout.named_parameters()).keys() == {
        "free_positions", "sigma", "feature_weights", "bias"}  # fmt: skip
    assert torch.equal(readout.means(), torch.zeros(5, 2))  # from the centre
    readout.free_positions.data[2] = torch.tensor([0.5, -3])
    close(readout.means()[2], torch.tanh(torch.tensor([0.5, -3])))


def test_gaussian_readout_of_places_has_no_free_positions():
    """One neuron alone has a place, and its network finds any position for it."""
    for places in (np.eye(2), np.zeros((1, 2)), np.array([[1.0, 2, 3]])):
        names = dict(GaussianReadout(places, 3).named_parameters())
        assert "free_positions" not in names and "position_mlp.0.weight" in names


def test_gaussian_readout_finds_free_positions():
    """Three neurons whose responses are one feature, at a place of each; features are smooth."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(400, 1, 5, 5, generator=generator)
    features = nn.functional.interpolate(coarse, (17, 17), mode="bilinear", align_corners=True)
    places = torch.tensor([[0.5, 0.25], [-0.5, 0.5], [0.0, -0.6]])
    grid = places.expand(400, 1, 3, 2)
    responses = nn.functional.grid_sample(features, grid, align_corners=True)[:, 0, 0]
    readout = GaussianReadout(np.zeros((3, 3)), 1)
    optimizer = torch.optim.Adam(readout.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        (readout(features) - responses).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(readout.means().detach(), places, rtol=0, atol=0.1)
