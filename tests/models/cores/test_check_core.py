"""The checks of a core: one wrong core for each problem."""

import re
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

import kit
from kit.models.cores.vit import ViTCore
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


PROBLEMS = {
    "a class": (Core, "must be an nn.Module.*make one"),
    "a lock": (bad("Locked", __init__=init(lambda core: setattr(core, "lock", threading.Lock()))),
               "cannot be copied, TypeError"),
    "a computed tensor": (
        bad("Kept", __init__=init(lambda core: setattr(core, "w", core.conv.weight * 1))),
        r"cannot be copied, RuntimeError.*detach\(\)"),
    "double precision": (Core().double(), "raises RuntimeError.* in eval mode"),
    "an exception": (bad("Raising", before=lambda self, images: raises(images)),
                     r"raises KeyError\('retina'\) in eval mode; .* \(3, 1, 12, 16\)"),
    "other channels": (nn.Conv2d(4, 2, 3), "raises RuntimeError.*give check_core image_size"),
    "a fixed batch": (bad("Three", after=lambda self, f: f.reshape(3, 4, 8, 12)),
                      "raises RuntimeError.* in eval mode"),
    "an exception in training": (
        bad("Late", after=lambda self, f: raises(f) if self.training else f),
        "raises KeyError.* in training mode"),
    "two tensors": (bad("Pair", after=lambda self, f: (f, f)), "returns a tuple; return one"),
    "tokens": (bad("Tokens", after=lambda self, f: f.flatten(2).mT),
               r"into features \(3, 96, 4\); .*tokens.mT.reshape"),
    "flat features": (bad("Flat", after=lambda self, f: f.mean((2, 3))),
                      r"into features \(3, 4\); .*do not flatten"),
    "empty maps": (bad("Empty", after=lambda self, f: f[:, :, :0]), "are empty; use fewer"),
    "half precision": (bad("Half", after=lambda self, f: f.half()),
                       "features are torch.float16 on cpu, the images are not; return"),
    "another device": (bad("Away", after=lambda self, f: f.to("meta")),
                       "features are torch.float32 on meta, the images are not"),
    "not finite": (bad("Root", after=lambda self, f: (f - 0.1).sqrt()),
                   "features are not finite; look for a division by zero"),
    "not finite for grey": (
        bad("Contrast", before=lambda self, images: images / images.std((1, 2, 3), keepdim=True)),
        "384 of 1,152 features are not finite.*grey image"),
    "chance in eval mode": (bad("Chance", after=lambda self, f: dropout(f)),
                            "two calls with the same images differ in eval mode"),
    "a memory": (Forgetful(), "keep nothing from one call to the next"),
    "batch statistics": (bad("Batch", after=lambda self, f: f - f.mean(0)),
                         "by itself gives other features than in a batch.*nn.BatchNorm"),
    "a dimension lost": (bad("Squeezed", after=lambda self, f: f.squeeze()),
                         r"by itself gives other features.*squeeze\(\)"),
    "changed images": (bad("Adding", before=lambda self, images: images.add_(1)),
                       "changes the images it is given; put no in-place step"),
    "a constant": (bad("Constant", after=lambda self, f: 0 * f + self.conv.bias[:, None, None]),
                   "features are the same for any image"),
    "no gradient": (bad("Frozen", forward=torch.no_grad()(Core.forward)),
                    "no gradient reaches the images; leave out no_grad"),
    "no gradient to the images": (bad("Cut", before=lambda self, images: images.detach()),
                                  "no gradient reaches the images"),
    "steps without a slope": (bad("Steps", before=lambda self, images: (5 * images).round()),
                              "no gradient reaches the images.*rounding"),
    "a layer that is not used": (
        bad("Unused", __init__=init(lambda core: setattr(core, "spare", nn.Linear(2, 2)))),
        "no gradient reaches spare.weight, spare.bias"),
    "infinite gradients": (
        bad("Slope", before=lambda self, images: images.abs().sqrt()),
        "gradients are not finite.*grey image"),
    "another shape in training": (Hybrid(), r"in training mode its features are \(3, 4, 7, 12\)"),
    "a regularizer that is not a number": (Penalised(), r"regularizer\(\) gives .*\(4, 1, 5, 5\)"),
    "a list of layers": (
        bad("Listed", __init__=init(lambda core: setattr(core, "more", [nn.Conv2d(4, 4, 1)])),
            after=lambda self, f: self.more[0](f)),
        "self.more is not registered with torch: .*nn.ModuleList"),
    "a parameter that is a plain tensor": (
        bad("Plain", __init__=init(lambda core: setattr(core, "scale", torch.ones(1)
                                                        .requires_grad_())),
            after=lambda self, f: f * self.scale),
        "self.scale is not registered.*nn.Parameter"),
    "a constant that is not a buffer": (
        bad("Kernel", __init__=init(lambda core: setattr(core, "kernel", torch.ones(1))),
            after=lambda self, f: f * self.kernel),
        "self.kernel is not registered.*self.register_buffer"),
}  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS)
def test_check_core_problem(problem):
    core, expected = PROBLEMS[problem]
    report = kit.check_core(core, SIZE)
    assert not report
    (sentence,) = report.problems  # this and nothing else
    assert re.search(expected, sentence), sentence
    assert str(report).startswith("NOT OK: ")
    assert f"  - {sentence}" in str(report)
    assert "\n" not in sentence


def test_check_core_several_problems():
    core = bad("Careless", before=lambda self, images: images.mul_(2),
               after=lambda self, f: dropout(f) - f.mean(0),
               __init__=init(lambda core: setattr(core, "more", [nn.Conv2d(1, 1, 1)])))  # fmt: skip
    problems = kit.check_core(core, SIZE).problems
    assert len(problems) == 3
    for expected in ("in-place", "two calls", "self.more"):
        assert expected in str(problems)


@pytest.mark.parametrize("core, channels", [
    (Core(), 1), (nn.Conv2d(1, 3, 5), 1), (nn.Identity(), 1), (nn.Conv2d(4, 3, 5, stride=2), 4),
    (ConvCore(3), 1), (ConvCore(3, 4, layers=3, nonlinear=False), 4), (nn.AvgPool2d(3), 1),
    (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.ELU(inplace=True)), 1),
    (ViTCore(image_size=SIZE, config=kit.ViTConfig(4, 2, 8)), 1),
    (ViTCore(kit.ViTConfig.published(patch=4, stride=2), SIZE, takes_state=True), 1),
    (nn.Sequential(nn.Conv2d(1, 4, 3).requires_grad_(False), nn.ReLU(), nn.Conv2d(4, 2, 1)), 1),
])  # fmt: skip
def test_check_core_good_core(core, channels):
    report = kit.check_core(core, SIZE, channels)
    assert report, report
    assert report.problems == ()
    images, shape = torch.zeros(2, channels, *SIZE), ""
    if not getattr(core, "takes_state", False):
        shape = f"(B, {', '.join(map(str, core(images).shape[1:]))})"
    assert f"(B, {channels}, 12, 16) -> features {shape}" in str(report)
    assert str(report).startswith(f"OK: {type(core).__name__}: images ")


def test_check_core_lazy_core_works_in_a_model():
    core = nn.LazyConv2d(3, 5)
    assert kit.check_core(core, SIZE)
    assert core.has_uninitialized_params()
    model = kit.Model(core, {"1": np.eye(2)}, kit.ModelConfig(image_size=SIZE))
    assert model(kit.Batch(torch.zeros(2, 1, *SIZE))).shape == (2, 2)


def test_check_core_may_keep_a_tensor_of_the_last_call():
    core = bad("Keeps", after=lambda self, f: setattr(self, "last", f.detach()) or f)
    core(torch.zeros(1, 1, *SIZE))
    assert kit.check_core(core, SIZE)


def test_check_core_takes_state():
    class WithState(Core):
        takes_state = True

        def forward(self, images, state):
            assert state.shape == (len(images), 5)
            return super().forward(images) + state.sum(1)[:, None, None, None]

    assert kit.check_core(WithState(), SIZE)
    WithState.takes_state = False
    assert "it raises TypeError" in str(kit.check_core(WithState(), SIZE))


@pytest.mark.parametrize("core", [core for core, _ in PROBLEMS.values() if isinstance(core, Core)])
def test_check_core_leaves_the_core_as_it_was(core):
    core.train()
    core.conv.eval()
    core.conv.weight.grad = torch.ones_like(core.conv.weight)
    values = {name: value.clone() for name, value in core.state_dict().items()}
    attributes = dict(vars(core))
    random_state = torch.get_rng_state()
    kit.check_core(core, SIZE)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert core.training and core.norm.training and not core.conv.training
    assert (core.conv.weight.grad == 1).all()
    assert core.conv.bias.grad is None
    assert vars(core) == attributes
    for name, value in core.state_dict().items():
        if value.device.type != "meta":  # which holds no values
            assert torch.equal(value, values[name])


def test_check_core_undoes_what_a_core_does_to_itself():
    class Changing(Core):
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

    core = Changing()
    weight, norm = core.conv.weight.clone(), core.norm
    random_state = torch.get_rng_state()
    assert not kit.check_core(core, SIZE)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(core.conv.weight, weight)
    assert core.norm is norm
    assert core.more[0].num_batches_tracked == 0
    assert core.seen == []
    assert not hasattr(core, "extra")


@pytest.mark.parametrize("size, channels", [((0, 4), 1), ((4.5, 4), 1), ((4,), 1), ((4, 4), 0)])
def test_check_core_impossible_size(size, channels):
    with pytest.raises(ValueError, match=r"(image_size|channels)=.* is not possible; give"):
        kit.check_core(Core(), size, channels)
