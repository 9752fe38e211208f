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
        problem = (
            "a core must be an nn.Module; write a class that inherits from torch.nn.Module and "
            "make one, such as MyCore()"
        )
        return Report(core, (problem,), "")
    name = type(core).__name__
    try:
        core = copy.deepcopy(core).eval()
    except Exception as error:
        problem = (
            f"it cannot be copied, {error!r:.200}; keep only modules, parameters, buffers and "
            "plain values in its attributes, and detach() a tensor that a call computed"
        )
        return Report(name, (problem,), "")
    devices = {p.device for p in core.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed every GPU too
        inputs = _inputs(core, channels, *image_size)
        unregistered = _unregistered(core)
        problems = [*_problems(core, inputs), *_registration_problems(core, unregistered)]
        summary = "" if problems else _summary(core, inputs)
    return Report(name, tuple(problems), summary)


def _inputs(core, channels, height, width):
    """Three images (3, C, H, W), and states (3, 5) if the core takes them."""
    images = torch.randn(3, channels, height, width, dtype=torch.float32)
    images[2] = 0  # a grey image
    inputs = [images]
    if getattr(core, "takes_state", False):
        inputs.append(torch.rand(3, 5))
    device = [*core.state_dict().values(), images][0].device
    return [values.to(device) for values in inputs]


def _call(core, inputs, images=slice(None)):
    """The features of some of the images, all by default."""
    return core(*[values[images].clone() for values in inputs])


def _summary(core, inputs):
    """The shapes and the number of parameters, for the report."""
    images, features = tuple(inputs[0].shape), tuple(_call(core, inputs).shape)
    count = sum(p.numel() for p in core.parameters() if p.requires_grad)
    text = f"images {images} -> features {features}, {count:,} parameters to train"
    return text.replace("(3,", "(B,")


def _problems(core, inputs):
    """Sentences about what goes wrong when the core is called."""
    try:
        copies = [values.clone() for values in inputs]
        features = core(*copies)
        if not torch.equal(copies[0], inputs[0]):
            yield (
                "it changes the images it is given; put no in-place step (+=, relu_, "
                "inplace=True) before the first layer that makes a new tensor"
            )
        unusable = [*_shape_problems(features, inputs[0])] or [*_value_problems(features)]
        yield from unusable
        if not unusable:
            features = features.clone()  # the next call may overwrite what this one returned
            yield from _consistency_problems(core, inputs, features)
            yield from _regularizer_problems(core)
            yield from _training_problems(core, inputs, features.shape)
    except Exception as error:
        mode = "training" if core.training else "eval"
        yield (
            f"it raises {error!r:.300} in {mode} mode; for other images than "
            f"{tuple(inputs[0].shape)}, call kit.check_core(core, image_size=…, channels=…)"
        )


# ---- in eval mode: each check yields sentences ----


def _shape_problems(features, images):
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
    for name in ("dtype", "device"):
        actual, expected = getattr(features, name), getattr(images, name)
        if actual != expected:
            yield f"its features are {actual}, images are {expected}; return features.to(images)"


def _value_problems(features):
    count = (~features.isfinite()).sum()
    if count:
        yield (
            f"{count:,} of {features.numel():,} features are not finite; look for a division by "
            "zero, a log or a root of what may be 0 or less, also for a grey image"
        )
    elif _close(features, features[:1].expand_as(features)):
        yield "features are the same for any image; compute them from the images"


def _consistency_problems(core, inputs, features):
    if not _close(features, _call(core, inputs)):
        yield (
            "two calls with the same images differ in eval mode; use randomness in training "
            "only, with nn.Dropout or dropout(x, training=self.training), and keep nothing from "
            "one call to the next"
        )
        return
    singles = [_call(core, inputs, slice(i, i + 1)) for i in range(3)]
    if not _close(features, torch.cat(singles)):
        yield (
            "an image by itself gives other features than in a batch in eval mode; keep all "
            "four dimensions (squeeze() loses one), take no mean over the first one, and "
            "normalise by nn.BatchNorm2d, which then uses its running statistics"
        )


def _regularizer_problems(core):
    penalty = torch.as_tensor(getattr(core, "regularizer", int)())  # int() is 0
    if penalty.numel() != 1 or not penalty.isfinite():
        yield (
            f"regularizer() gives a tensor {tuple(penalty.shape)}; return one finite number, "
            "which training adds to the loss"
        )


# ---- in training mode ----


def _training_problems(core, inputs, shape):
    core.train()
    images, *state = [values.clone() for values in inputs]
    images.requires_grad_()
    with torch.enable_grad():
        features = core(images * 1, *state)  # * 1: in-place steps are refused on a leaf
    if features.shape != shape:
        yield (
            f"in training mode its features are {tuple(features.shape)}, in eval mode "
            f"{tuple(shape)}; return the same shape in both"
        )
    elif not features.requires_grad:
        yield (
            "no gradient comes back through it, so it cannot learn; leave out torch.no_grad, "
            ".detach(), .data and numpy in forward"
        )
    else:
        yield from _gradient_problems(core, images, features)


def _gradient_problems(core, images, features):
    parameters = {name: p for name, p in core.named_parameters() if p.requires_grad}
    sources = [images, *parameters.values()]
    upstream = torch.randn_like(features)  # not ones: the plain sum may be constant
    gradients = torch.autograd.grad(features, sources, upstream, allow_unused=True)
    to_images, *to_parameters = gradients
    if to_images is None or not to_images.any():
        yield (
            "no gradient reaches the images, though features depend on them; leave out "
            ".detach(), and steps without a slope: rounding, sign, comparisons, argmax"
        )
    unused = [name for name, g in zip(parameters, to_parameters, strict=True) if g is None]
    if unused:
        yield (
            f"no gradient reaches {', '.join(unused[:3])} ({len(unused)} in all); use it in "
            "forward, remove it or set its requires_grad to False"
        )
    if not all(g is None or g.isfinite().all() for g in gradients):
        yield (
            "some gradients are not finite; a root of or a division by what may be 0, as for "
            "a grey image, needs a small constant inside: (x + 1e-6).sqrt()"
        )


# ---- modules and tensors that torch does not see ----


def _registration_problems(core, unregistered):
    """unregistered: value -> name, before the core was called; it may make others in every call."""
    kept = unregistered.keys() & _unregistered(core).keys()
    for name in sorted({unregistered[value] for value in kept}):
        yield (
            f"self.{name} is not registered with torch: it is not trained, saved, switched to "
            "eval mode or moved to a GPU with the rest; use nn.ModuleList or nn.ModuleDict for "
            "layers, nn.Parameter for weights, self.register_buffer for constants"
        )


def _unregistered(core):
    """Value -> name of the modules and tensors in plain attributes and their containers."""
    registered, names = {*core.modules(), *core.parameters(), *core.buffers()}, {}
    for prefix, module in core.named_modules():
        for name, attribute in vars(module).items():
            for value in _contents(attribute):
                if value not in registered:
                    names[value] = f"{prefix}.{name}".lstrip(".")
    return names


def _contents(value):
    """Tensors in a value and its containers, and modules with weights or buffers."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        for item in value:
            yield from _contents(item)
    elif isinstance(value, Tensor) or (isinstance(value, nn.Module) and value.state_dict()):
        yield value


# ---- helpers ----


def _close(features_a, features_b):
    tolerance = TOLERANCE * features_a.abs().max().item()
    same_shape = features_a.shape == features_b.shape
    return same_shape and torch.allclose(features_a, features_b, rtol=0, atol=tolerance)
