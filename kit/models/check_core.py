"""Checks of a core, and their report."""

import copy

import torch
from torch import Tensor, nn

from kit.checks import require, require_int
from kit.report import Report

TOLERANCE = 1e-3  # of the largest feature; smaller differences are rounding


def check_core(
    core: nn.Module, image_size: tuple[int, int] = (36, 64), channels: int = 1
) -> Report:
    """Check that a core works in a `kit.Model`. Returns a `Report`, true if no problem was found.

    core: images (B, channels, H, W) -> features (B, C', h, w). If its attribute `takes_state` is
        true, it gets a second argument (B, 5), behaviour and pupil centre.
    image_size: H and W. channels: 4 if the model has behaviour channels, else 1.
    Calls a copy of the core with three images, in eval mode and in training mode; the core itself
    stays as it is. Raises ValueError if `image_size` or `channels` is not possible.

    >>> core = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 9), torch.nn.ELU())
    >>> kit.check_core(core)
    OK: Sequential: images (B, 1, 36, 64) -> features (B, 8, 28, 56), 656 parameters to train
    >>> kit.check_core(torch.nn.Flatten())
    NOT OK: Flatten:
      - it turns images (3, 1, 36, 64) into features (3, 2304); ...
    """
    image_size = require("image_size", image_size, tuple[int, int], (1, 1024))
    require_int("channels", channels, 1, 1024)
    if not isinstance(core, nn.Module):
        return Report(
            core,
            (
                "a core must be an nn.Module; write a class that inherits from "
                "torch.nn.Module and make one, such as MyCore()",
            ),
            "",
        )
    name = type(core).__name__
    try:
        core = copy.deepcopy(core).eval()
    except Exception as error:
        return Report(
            name,
            (
                f"it cannot be copied, {error!r:.200}; keep only modules, parameters, "
                "buffers and plain values in its attributes, and detach() a tensor "
                "that a call computed",
            ),
            "",
        )
    devices = {p.device for p in core.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed every GPU too
        probe = _Probe(core, channels, *image_size)
        unregistered = list(_unregistered(core))
        problems = [*_problems(probe), *_registration_problems(core, unregistered)]
    return Report(name, tuple(problems), "" if problems else probe.summary())


class _Probe:
    """A core, and three images to call it with."""

    def __init__(self, core, channels, height, width):
        images = torch.randn(3, channels, height, width, dtype=torch.float32)
        images[2] = 0  # a grey image
        device = [*core.state_dict().values(), images][0].device
        self.core = core
        self.images = images.to(device)  # (3, C, H, W)
        self.features = torch.empty(0)  # (3, C', h, w), once it was called
        self.inputs = [self.images]
        if getattr(core, "takes_state", False):
            self.inputs.append(torch.rand(3, 5).to(device))

    def run(self, rows):
        """Features of some of the images, a slice."""
        return self.core(*[value[rows].clone() for value in self.inputs])

    def summary(self):
        """The shapes and the number of parameters, for the report."""
        images = ", ".join(map(str, self.images.shape[1:]))
        features = ", ".join(map(str, self.features.shape[1:]))
        count = sum(p.numel() for p in self.core.parameters() if p.requires_grad)
        return f"images (B, {images}) -> features (B, {features}), {count:,} parameters to train"


def _problems(probe):
    """Sentences about what goes wrong when the core is called."""
    try:
        yield from _input_problems(probe)
        probe.features = probe.run(slice(3))
        unusable = list(_shape_problems(probe)) or list(_value_problems(probe))
        yield from unusable
        if not unusable:
            yield from _consistency_problems(probe)
            yield from _regularizer_problems(probe)
            yield from _training_problems(probe)
    except Exception as error:
        mode = "training" if probe.core.training else "eval"
        yield (
            f"it raises {error!r:.300} in {mode} mode; for other images than "
            f"{tuple(probe.images.shape)}, call kit.check_core(core, image_size=…, channels=…)"
        )


# ---- in eval mode: each check yields sentences ----


def _input_problems(probe):
    inputs = [value.clone() for value in probe.inputs]
    probe.core(*inputs)
    if not torch.equal(inputs[0], probe.images):
        yield (
            "it changes the images it is given; put no in-place step (+=, relu_, inplace=True) "
            "before the first layer that makes a new tensor"
        )


def _shape_problems(probe):
    features, images = probe.features, probe.images
    if not isinstance(features, Tensor):
        yield (
            f"it returns a {type(features).__name__}; return the feature map alone, one tensor "
            "(B, channels, height, width)"
        )
        return
    if features.ndim != 4 or len(features) != 3:
        yield (
            f"it turns images {tuple(images.shape)} into features {tuple(features.shape)}; they "
            "must be (3, channels, height, width): do not flatten, average or sum over images "
            "or pixels, and bring tokens (B, T, C) into rows and columns: "
            "tokens.mT.reshape(B, C, rows, columns)"
        )
    elif features.numel() == 0:
        yield (
            f"its features {tuple(features.shape)} are empty; use fewer or smaller filters "
            "without padding"
        )
    for found, expected in ((features.dtype, images.dtype), (features.device, images.device)):
        if found != expected:
            yield f"its features are {found}, images are {expected}; return features.to(images)"


def _value_problems(probe):
    features = probe.features
    count = (~features.isfinite()).sum()
    if count:
        yield (
            f"{count:,} of {features.numel():,} features are not finite; look for a division by "
            "zero, a log or a root of what may be 0 or less, also for a grey image"
        )
    elif _close(features, features[:1].expand_as(features)):
        yield "features are the same for any image; compute them from the images"


def _consistency_problems(probe):
    features = probe.features.clone()  # the next call may overwrite what the first returned
    if not _close(features, probe.run(slice(3))):
        yield (
            "two calls with the same images differ in eval mode; use randomness in training "
            "only, with nn.Dropout or dropout(x, training=self.training), and keep nothing from "
            "one call to the next"
        )
        return
    singles = [probe.run(slice(i, i + 1)) for i in range(3)]
    if not _close(features, torch.cat(singles)):
        yield (
            "an image by itself gives other features than in a batch in eval mode; keep all "
            "four dimensions (squeeze() loses one), take no mean over the first one, and "
            "normalise by nn.BatchNorm2d, which then uses its running statistics"
        )


def _regularizer_problems(probe):
    if hasattr(probe.core, "regularizer"):
        value = torch.as_tensor(probe.core.regularizer())
        if value.numel() != 1 or not value.isfinite():
            yield (
                f"regularizer() gives a tensor {tuple(value.shape)}; return one finite number, "
                "which training adds to the loss"
            )


# ---- in training mode ----


def _training_problems(probe):
    core = probe.core.train()
    core.zero_grad()
    images, *state = [value.clone() for value in probe.inputs]
    images.requires_grad_()
    images.grad = torch.zeros_like(images)
    with torch.enable_grad():
        features = core(images * 1, *state)  # * 1: in-place steps are refused on a leaf
    if features.shape != probe.features.shape:
        yield (
            f"in training mode its features are {tuple(features.shape)}, in eval mode "
            f"{tuple(probe.features.shape)}; return the same shape in both"
        )
    elif not features.requires_grad:
        yield (
            "no gradient comes back through it, so it cannot learn; leave out torch.no_grad, "
            ".detach(), .data and numpy in forward"
        )
    else:
        features.backward(torch.randn_like(features))  # weights: a plain sum may be constant
        yield from _gradient_problems(core, images)


def _gradient_problems(core, images):
    if not images.grad.any():
        yield (
            "no gradient reaches the images, though features depend on them; leave out "
            ".detach(), and steps without a slope: rounding, sign, comparisons, argmax"
        )
    parameters = {name: p for name, p in core.named_parameters() if p.requires_grad}
    unused = [name for name, p in parameters.items() if p.grad is None]
    if unused:
        yield (
            f"no gradient reaches {', '.join(unused[:3])} ({len(unused)} in all); use it in "
            "forward, remove it or set its requires_grad to False"
        )
    norm = nn.utils.clip_grad_norm_([images, *parameters.values()], 1)
    if not norm.isfinite():
        yield (
            "some gradients are not finite; a root of or a division by what may be 0, as for "
            "a grey image, needs a small constant inside: (x + 1e-6).sqrt()"
        )


# ---- modules and tensors that torch does not see ----


def _registration_problems(core, unregistered):
    """unregistered: (name, value) before the core was called."""
    kept = {id(value) for _, value in _unregistered(core)}
    names = [name for name, value in unregistered if id(value) in kept]  # else made by every call
    for name in dict.fromkeys(names):
        yield (
            f"self.{name} is not registered with torch: it is not trained, saved, switched to "
            "eval mode or moved to a GPU with the rest; use nn.ModuleList or nn.ModuleDict for "
            "layers, nn.Parameter for weights, self.register_buffer for constants"
        )


def _unregistered(core):
    """(name, value) of the modules and tensors in plain attributes and their containers."""
    registered = [*core.modules(), *core.parameters(), *core.buffers()]
    known = set(map(id, registered))
    for prefix, module in core.named_modules():
        for name, attribute in vars(module).items():
            for value in _contents(attribute):
                if id(value) not in known:
                    yield f"{prefix}.{name}".lstrip("."), value


def _contents(value):
    """Tensors in a value and its containers, and modules that training or eval mode changes."""
    if isinstance(value, nn.Module):
        dropout = any("Dropout" in type(part).__name__ for part in value.modules())
        if dropout or value.state_dict():
            yield value
    elif isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _contents(list(value.values()))
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _contents(item)


# ---- helpers ----


def _close(one, other):
    tolerance = TOLERANCE * one.abs().max().item()
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=tolerance)
