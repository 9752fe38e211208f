"""The parts of the models, held against the library that the 2022 models were built with.

`make test` runs these with neuralpredictors 0.3.0 in an environment of its own, build/peer.
"""

import collections
import collections.abc
import sys
import types

import numpy as np
import pytest
import torch

import kit
from kit.models.layers import ConvCore, GaussianReadout, Shifter


@pytest.fixture(autouse=True)
def library_of_2022(monkeypatch):
    """neuralpredictors needs a few names of its time, and random numbers of ours."""
    for name in ("Iterable", "Mapping", "Sequence"):
        monkeypatch.setattr(collections, name, getattr(collections.abc, name), raising=False)
    if "torchvision" not in sys.modules:
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    torch.manual_seed(0)


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:The averaged value")
@pytest.mark.parametrize("layers, nonlinear, channels", [(4, True, 1), (3, False, 1), (4, True, 4)])
def test_conv_core_equals_2022(layers, nonlinear, channels):
    from neuralpredictors.layers.cores import Stacked2dCore

    theirs = Stacked2dCore(
        channels, 8, 9, 7, layers=layers, gamma_input=6.3831, bias=False, momentum=0.9,
        pad_input=False, hidden_padding=3, laplace_padding=None, stack=-1, depth_separable=True,
        input_regularizer="LaplaceL2norm", use_avg_reg=False, linear=not nonlinear,
    )  # fmt: skip
    ours = ConvCore(8, channels, layers, nonlinear)
    weights = theirs.features.state_dict().values()  # in the same order
    ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
    images = torch.randn(5, channels, 36, 64)
    for mode in (True, False):  # first in training, so that the running statistics move
        close(ours.train(mode)(images), theirs.train(mode)(images))
    close(ours.regularizer(), theirs.regularizer())


@pytest.mark.filterwarnings("ignore:Readout is NOT initialized")
@pytest.mark.parametrize("shifted", [False, True])
def test_gaussian_readout_equals_2022(shifted):
    from neuralpredictors.layers.readouts import FullGaussian2d

    coordinates = np.random.default_rng(0).uniform(0, 616, (12, 3))
    theirs = FullGaussian2d(
        (8, 28, 56), 12, bias=True, init_mu_range=0.3, init_sigma=0.1, gauss_type="full",
        grid_mean_predictor={"hidden_layers": 1, "hidden_features": 30, "final_tanh": True},
        source_grid=coordinates[:, :2], feature_reg_weight=0.0076,
    )  # fmt: skip
    theirs._features.data.normal_()
    theirs.bias.data.normal_()
    ours = GaussianReadout(coordinates, 8)
    close(ours.cortical_positions, theirs.source_grid)
    ours.position_mlp.load_state_dict(theirs.mu_transform.state_dict())
    ours.feature_weights.data[:] = theirs._features.data[0, :, 0].T
    ours.bias.data[:] = theirs.bias.data
    ours.sigma.data[:] = theirs.sigma.data[0]
    ours, theirs = ours.double(), theirs.double()
    features = torch.randn(5, 8, 28, 56, dtype=torch.float64)
    shift = torch.randn(5, 2, dtype=torch.float64) * 0.1 if shifted else None
    close(ours.eval()(features, shift), theirs.eval()(features, shift=shift))
    close(ours.regularizer(), theirs.regularizer())
    torch.manual_seed(0)
    expected = theirs.train()(features, shift=shift)  # the same draws in training
    torch.manual_seed(0)
    close(ours.train()(features, shift), expected)


def test_shifter_equals_2022():
    from neuralpredictors.layers.shifters import MLPShifter

    theirs = MLPShifter(["mouse"], 2, 5, 3)["mouse"]
    ours = Shifter()
    ours.load_state_dict(theirs.state_dict())
    eyes = torch.randn(7, 2)
    close(ours(eyes), theirs(eyes))


@pytest.mark.filterwarnings("ignore")  # of a library of another time
@pytest.mark.parametrize("name", ["lab.zip", "lab"])
def test_write_recording_opens_equal_in_2022(tmp_path, name):
    from neuralpredictors.data.datasets import FileTreeDataset
    from neuralpredictors.data.transforms import NeuroNormalizer, ToTensor

    rng = np.random.default_rng(0)
    arrays = kit.RecordingArrays(
        rng.integers(0, 256, (40, 20, 30)),
        rng.gamma(1, size=(40, 9)),
        behavior={"running": rng.uniform(0, 9, 40)},
        pupil_center=rng.normal([160, 118], 7, (40, 2)),
        coordinates=rng.uniform(0, 600, (9, 3)),
    )
    path = kit.write_recording(tmp_path / name, arrays).path
    mouse = kit.load(path, size=(20, 30), folder=tmp_path / "data").mouse
    kinds = ("images", "responses", "behavior", "pupil_center")
    theirs = FileTreeDataset(str(path), *kinds)
    theirs.transforms.extend([ToTensor(False), NeuroNormalizer(theirs, exclude=[])])
    assert len(theirs) == 40
    assert list(theirs.trial_info.tiers) == mouse.tiers.tolist()
    assert list(theirs.neurons.unit_ids) == mouse.unit_ids.tolist()
    for row in range(40):
        for kind in kinds:
            ours = torch.from_numpy(getattr(mouse, kind)[row].copy())
            close(getattr(theirs[row], kind).float(), ours)
