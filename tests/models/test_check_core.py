"""The check of a core: one bad core for each fault, and each fault named in words."""

import random
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, dropout

import kit
from kit.models.layers import ConvCore

SIZE = (12, 16)


class Core(nn.Module):
    """A good core, from which the bad ones differ in one thing."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images):
        return self.after(self.norm(self.conv(self.before(images))).tanh())

    def before(self, images):
        return images

    def after(self, features):
        return features


def bad(name, **changes):
    """A core of this name with other methods."""
    return type(name, (Core,), changes)()


def init(change):
    """An __init__ that does something after that of `Core`."""

    def made(self):
        Core.__init__(self)
        change(self)

    return made


def raises(images):
    raise KeyError("retina")


class Forgetful(Core):
    """Counts its calls."""

    calls = 0

    def after(self, features):
        self.calls += 1
        return features + self.calls


class Hybrid(Core):
    """Another map in training than in eval mode."""

    def after(self, features):
        return features[:, :, 1:] if self.training else features


class Penalised(Core):
    def regularizer(self):
        return self.conv.weight.abs()


FAULTS = {
    "a class": (Core, "must be an nn.Module, this is the class itself; make one: Core"),
    "a function": (raises, "must be an nn.Module, this is a function"),
    "none": (None, "must be an nn.Module, this is a NoneType"),
    "a lazy layer": (nn.LazyConv2d(3, 3), "does not know its shape yet; call the core once"),
    "double precision": (Core().double(), r"parameters of torch.float64.*core.float\(\)"),
    "two devices": (bad("Two", __init__=init(lambda core: core.norm.to("meta"))),
                    "lie on cpu and meta; bring all to one"),
    "an exception": (bad("Raising", before=lambda self, images: raises(images)),
                     r"raises KeyError in eval mode: 'retina', given images \(3, 1, 12, 16\)"),
    "other channels": (nn.Conv2d(4, 2, 3), "raises RuntimeError .*kit.check_core.*channels=…"),
    "a fixed batch": (bad("Three", after=lambda self, f: f.reshape(3, 4, 8, 12)),
                      "raises RuntimeError in eval mode"),
    "an exception in training": (
        bad("Late", after=lambda self, f: raises(f) if self.training else f),
        "raises KeyError in training mode"),
    "two tensors": (bad("Pair", after=lambda self, f: (f, f)), "returns a tuple of 2; return the"),
    "nothing": (bad("Silent", after=lambda self, f: None), "returns a NoneType; return the"),
    "numpy": (bad("Array", after=lambda self, f: f.detach().numpy()), "returns a ndarray"),
    "tokens": (bad("Tokens", after=lambda self, f: f.flatten(2).mT),
               r"into 3 dimensions \(3, 96, 4\).*tokens.mT.reshape"),
    "flat features": (bad("Flat", after=lambda self, f: f.mean((2, 3))),
                      r"into 2 dimensions \(3, 4\); they must be 4.*do not flatten"),
    "a batch too small": (bad("Lost", after=lambda self, f: f[:1]),
                          r"3 images into 1 feature maps, \(1, 4, 8, 12\)"),
    "empty maps": (bad("Empty", after=lambda self, f: f[:, :, :0]), "are empty; use fewer"),
    "half precision": (bad("Half", after=lambda self, f: f.half()),
                       r"features are torch.float16, images are torch.float32; return .*float\(\)"),
    "whole numbers": (bad("Whole", after=lambda self, f: (9 * f).long()), "are torch.int64"),
    "another device": (bad("Away", after=lambda self, f: f.to("meta")),
                       "lie on meta, the images on cpu"),
    "not finite": (bad("Root", after=lambda self, f: (f - 0.1).sqrt()),
                   "features are not finite; look for a division by zero"),
    "not finite for grey": (
        bad("Contrast", before=lambda self, images: images / images.std((1, 2, 3), keepdim=True)),
        "384 of 1,152 features are not finite.*grey image"),
    "chance in eval mode": (bad("Chance", after=lambda self, f: dropout(f)),
                            "two calls with the same images differ in eval mode"),
    "a memory": (Forgetful(), "keep nothing from one call to the next"),
    "batch statistics": (bad("Batch", after=lambda self, f: f - f.mean(0)),
                         "depend on the other images of the batch in eval mode; use nn.BatchNorm"),
    "batch norm by hand": (
        bad("Norm", after=lambda self, f: batch_norm(f, None, None, training=True)),
        "depend on the other images"),
    "the order of images": (bad("Order", after=lambda self, f: f.cumsum(0)),
                            "depend on the other images"),
    "a dimension lost": (bad("Squeezed", after=lambda self, f: f.squeeze()),
                         r"one image alone into \(4, 8, 12\), in a batch into \(4, 8, 12\); keep"),
    "changed images": (bad("Adding", before=lambda self, images: images.add_(1)),
                       "changes the images it is given; put no in-place step"),
    "an in-place ReLU": (nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 2, 3)),
                         "changes the images it is given"),
    "a constant": (bad("Constant", after=lambda self, f: 0 * f + self.conv.bias[:, None, None]),
                   "features are the same for any image"),
    "no gradient": (bad("Frozen", forward=torch.no_grad()(Core.forward)),
                    "no gradient comes back through it, so it cannot learn"),
    "no gradient to the images": (bad("Cut", before=lambda self, images: images.detach()),
                                  "no gradient reaches the images"),
    "steps without a slope": (bad("Steps", before=lambda self, images: (5 * images).round()),
                              "no gradient reaches the images.*rounding"),
    "no gradient to a layer": (
        bad("Detached", forward=lambda self, x:
            self.norm(self.conv(x).detach() + x[:, :, 2:-2, 2:-2])),
        "no gradient reaches conv.weight, conv.bias, which will never learn"),
    "a layer that is not used": (
        bad("Unused", __init__=init(lambda core: setattr(core, "spare", nn.Linear(2, 2)))),
        "no gradient reaches spare.weight, spare.bias"),
    "infinite gradients": (
        bad("Slope", before=lambda self, images: images.abs().sqrt()),
        r"gradient of the images.* is not finite.*grey image"),
    "another shape in training": (Hybrid(), r"in training mode its features are \(3, 4, 7, 12\)"),
    "a regularizer that is no number": (Penalised(), r"regularizer\(\) gives \(4, 1, 5, 5\)"),
    "a list of layers": (
        bad("Listed", __init__=init(lambda core: setattr(core, "more", [nn.Conv2d(4, 4, 1)])),
            after=lambda self, f: self.more[0](f)),
        "torch does not know of what is in self.more.*nn.ModuleList"),
    "a parameter that is none": (
        bad("Plain", __init__=init(lambda core: setattr(core, "scale", torch.ones(1)
                                                        .requires_grad_())),
            after=lambda self, f: f * self.scale),
        "what is in self.scale.*nn.Parameter"),
    "a constant that is no buffer": (
        bad("Kernel", __init__=init(lambda core: setattr(core, "kernel", torch.ones(1))),
            after=lambda self, f: f * self.kernel),
        r'what is in self.kernel.*self.register_buffer\("kernel", ...\)'),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told(fault):
    core, said = FAULTS[fault]
    report = kit.check_core(core, SIZE)
    assert not report
    (problem,) = report.problems  # this and nothing else
    assert re.search(said, problem), problem
    assert str(report).startswith("NOT OK: ")
    assert f"  - {problem}" in str(report)
    assert "\n" not in problem


def test_several_faults_are_all_told():
    core = bad("Careless", before=lambda self, images: images.mul_(2),
               after=lambda self, f: dropout(f) - f.mean(0),
               __init__=init(lambda core: setattr(core, "more", [nn.Conv2d(1, 1, 1)])))  # fmt: skip
    report = kit.check_core(core, SIZE)
    assert len(report.problems) == 3
    for said in ("in place", "two calls", "self.more"):
        assert said in str(report).replace("in-place", "in place")


@pytest.mark.parametrize("core, channels", [
    (Core(), 1), (nn.Conv2d(1, 3, 5), 1), (nn.Identity(), 1), (nn.Conv2d(4, 3, 5, stride=2), 4),
    (ConvCore(3), 1), (ConvCore(3, 4, layers=3, nonlinear=False), 4), (nn.AvgPool2d(3), 1),
    (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.ELU(inplace=True)), 1),
    (kit.models.vit.ViTCore(image_size=SIZE, config=kit.ViTConfig(4, 2, 8)), 1),
    (kit.models.vit.ViTCore(kit.ViTConfig.published(patch=4, stride=2), SIZE, takes_state=True), 1),
    (nn.Sequential(nn.Conv2d(1, 4, 3).requires_grad_(False), nn.ReLU(), nn.Conv2d(4, 2, 1)), 1),
])  # fmt: skip
def test_good_cores_pass(core, channels):
    report = kit.check_core(core, SIZE, channels)
    assert report, report
    assert report.problems == ()
    images, shape = torch.zeros(2, channels, *SIZE), ""
    if not getattr(core, "takes_state", False):
        shape = f"(B, {', '.join(map(str, core(images).shape[1:]))})"
    assert f"(B, {channels}, 12, 16) -> features {shape}" in str(report)
    assert str(report).startswith(f"OK: {type(core).__name__}: images ")


def test_a_core_may_keep_what_it_saw():
    """Made anew by every call, so nothing that would have to move with the core."""
    core = bad("Keeps", after=lambda self, f: setattr(self, "last", f.detach()) or f)
    core(torch.zeros(1, 1, *SIZE))
    assert kit.check_core(core, SIZE)


def test_a_state_is_given_where_it_is_taken():
    class Told(Core):
        takes_state = True

        def forward(self, images, state):
            assert state.shape == (len(images), 5)
            return super().forward(images) + state.sum(1)[:, None, None, None]

    assert kit.check_core(Told(), SIZE)
    Told.takes_state = False
    assert "it raises TypeError in eval mode: " in str(kit.check_core(Told(), SIZE))


@pytest.mark.parametrize("core", [Core(), *(core for core, _ in FAULTS.values()
                                            if isinstance(core, Core)), Forgetful()])  # fmt: skip
def test_the_core_is_left_as_it_was(core):
    core.train()
    core.conv.eval()
    core.conv.weight.grad = torch.ones_like(core.conv.weight)
    handle = core.register_forward_hook(lambda module, _, features: features)
    hooks = core._forward_hooks
    values = {name: value.clone() for name, value in core.state_dict().items()}
    attributes = dict(vars(core))
    random.seed(3), np.random.seed(3), torch.manual_seed(3)  # noqa: NPY002
    expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    random.seed(3), np.random.seed(3), torch.manual_seed(3)  # noqa: NPY002
    kit.check_core(core, SIZE)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002
    assert core.training
    assert core.norm.training
    assert not core.conv.training
    assert (core.conv.weight.grad == 1).all()
    assert core.conv.bias.grad is None
    assert vars(core) == attributes
    for name, value in core.state_dict().items():
        if value.device.type != "meta":  # which holds no values
            assert torch.equal(value, values[name])
    assert core._forward_hooks is hooks
    handle.remove()
    assert not core._forward_hooks


def test_hidden_layers_and_mischief_are_undone():
    class Mischief(Core):
        def __init__(self):
            super().__init__()
            self.more, self.seen = [nn.BatchNorm2d(4)], []

        def forward(self, images):
            torch.manual_seed(1)
            self.seen.append(images)
            self.extra = nn.Linear(1, 1)
            self.conv.weight.data += 1
            self.norm = nn.Identity()
            return self.more[0](super().forward(images))

    core = Mischief()
    weight, norm = core.conv.weight.clone(), core.norm
    assert not kit.check_core(core, SIZE)
    assert torch.equal(core.conv.weight, weight)
    assert core.norm is norm
    assert core.more[0].num_batches_tracked == 0
    assert core.seen == []
    assert not hasattr(core, "extra")


def test_what_passes_works_in_a_model():
    data = {"1": np.random.default_rng(0).random((5, 3))}
    core = Core()
    assert kit.check_core(core, SIZE)
    model = kit.Model(core, data, kit.ModelConfig(image_size=SIZE))
    assert model(kit.Batch(torch.zeros(2, 1, *SIZE))).shape == (2, 5)


@pytest.mark.parametrize("size, channels", [((0, 4), 1), ((4.5, 4), 1), ((4,), 1), ((4, 4), 0)])
def test_what_are_no_images(size, channels):
    with pytest.raises(ValueError, match=r"image_size=.*channels=.* are no images; give whole"):
        kit.check_core(Core(), size, channels)
