"""Checks of a core, and their report."""

import copy

import torch
from torch import Tensor, nn

from kit.checks import require, require_int
from kit.report import Report

TOLERANCE = 1e-3  # of the largest feature; smaller differences are rounding
CUT = "no gradient reaches the images; leave out no_grad, detach(), numpy, and steps like rounding"
UNREGISTERED = (
    "self.{} is not registered with torch: it is not trained, saved, switched to eval mode or "
    "moved to a GPU with the rest; use nn.ModuleList or nn.ModuleDict for layers, nn.Parameter "
    "for weights, self.register_buffer for constants"
)


def check_core(
    core: nn.Module, image_size: tuple[int, int] = (36, 64), channels: int = 1
) -> Report:
    """Check that a core works in a `kit.Model`. Returns a `Report`, true if no problem was found.

    core: turns images (B, channels, H, W), and state (B, 5) if its attribute `takes_state` is true,
        into features (B, C', h, w). A copy is called on the CPU, in eval and in training mode.
    image_size: H and W. channels: 4 if the model has behaviour channels, else 1. Raises ValueError
        if either is not possible.

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
        return Report(core, ("a core must be an nn.Module object; make one, such as MyCore()",), "")
    name = type(core).__name__
    try:
        core = copy.deepcopy(core).cpu().eval()
    except Exception as error:
        problem = f"it cannot be copied, {error!r:.200}; detach() tensors that it keeps from a call"
        return Report(name, (problem,), "")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed every GPU too
        images = torch.randn(3, channels, *image_size, dtype=torch.float32)
        images[2] = 0  # a grey image
        state = torch.rand(3, getattr(core, "state_size", 5))
        inputs = (images, state) if getattr(core, "takes_state", False) else (images,)
        before = _unregistered(core)
        problems = list(_problems(core, inputs))
        after = _unregistered(core)  # what a call makes or replaces need not be registered
        names = {name for value, name in before.items() if value in after}
        problems += [UNREGISTERED.format(name) for name in sorted(names)]
        if problems:
            return Report(name, tuple(problems), "")
        features = _call(core, inputs)
    count = sum(p.numel() for p in core.parameters() if p.requires_grad)
    shapes = f"images {tuple(images.shape)} -> features {tuple(features.shape)}"
    summary = f"{shapes}, {count:,} parameters to train".replace("(3,", "(B,")  # for any batch size
    return Report(name, (), summary)


def _problems(core, inputs):
    """Yield a sentence for each problem, up to an exception or features that cannot be used."""
    try:
        yield from _eval_problems(core, inputs)
    except Exception as error:
        yield (
            f"it raises {error!r:.300} in {'training' if core.training else 'eval'} mode; for "
            f"images other than {tuple(inputs[0].shape)}, give check_core image_size and channels"
        )


def _eval_problems(core, inputs):
    """Yield the problems in eval mode, and, if the features can be used, in training mode."""
    images, *state = [values.clone() for values in inputs]
    features = core(images, *state)
    if not torch.equal(images, inputs[0]):
        yield (
            "it changes the images it is given; put no in-place step (+=, relu_, inplace=True) "
            "before the first layer that makes a new tensor"
        )
    unusable = _unusable(features, images)
    if unusable:
        yield unusable
        return
    features = features.clone()  # the next call may overwrite what this one returned
    again = _call(core, inputs)
    singles = [_call(core, inputs, slice(i, i + 1)) for i in range(3)]
    if not _close(features, again):
        yield (
            "two calls with the same images differ in eval mode; use randomness in training "
            "only, with nn.Dropout or dropout(x, training=self.training), and keep nothing from "
            "one call to the next"
        )
    elif not _close(features, torch.cat(singles)):
        yield (
            "an image by itself gives other features than in a batch in eval mode; do not "
            "squeeze() or average over images, and normalise by nn.BatchNorm2d"
        )
    penalty = torch.as_tensor(getattr(core, "regularizer", int)())  # int() is 0
    if penalty.numel() != 1 or not penalty.isfinite():
        given = penalty.item() if penalty.numel() == 1 else f"a tensor {tuple(penalty.shape)}"
        yield f"regularizer() gives {given}; return one finite number"
    yield from _training_problems(core, inputs, features.shape)


def _unusable(features, images):
    """The sentence about features that later checks cannot use, or None."""
    if not isinstance(features, Tensor):
        return f"it returns a {type(features).__name__}; return one tensor (B, channels, h, w)"
    if features.ndim != 4 or len(features) != 3:
        return (
            f"it turns images {tuple(images.shape)} into features {tuple(features.shape)}; they "
            "must be (3, channels, height, width): do not flatten, average or sum over images "
            "or pixels, and bring tokens (B, T, C) into rows and columns: tokens.mT.reshape(B, C, "
            "rows, columns)"
        )
    if features.numel() == 0:
        return f"its features {tuple(features.shape)} are empty; use fewer or smaller filters"
    if features.dtype != images.dtype or features.device != images.device:
        kind = f"{features.dtype} on {features.device}"
        return f"its features are {kind}, the images are not; return features.to(images)"
    count = (~features.isfinite()).sum()
    if count:
        return (
            f"{count:,} of {features.numel():,} features are not finite; look for a division by "
            "zero, a log or a root of what may be 0 or less, also for a grey image"
        )
    if _close(features, features[:1].expand_as(features)):
        return "features are the same for any image; compute them from the images"
    return None


def _training_problems(core, inputs, shape):
    """Yield the problems in training mode; shape: of the features in eval mode."""
    core.train()
    images, *state = [values.clone() for values in inputs]
    images.requires_grad_()
    with torch.enable_grad():
        features = core(images * 1, *state)  # * 1: in-place steps are refused on a leaf
    if features.shape != shape:
        yield f"in training mode its features are {tuple(features.shape)}; return {tuple(shape)}"
        return
    if not features.requires_grad:
        yield CUT
        return
    parameters = {name: p for name, p in core.named_parameters() if p.requires_grad}
    sources = [images, *parameters.values()]
    upstream = torch.randn_like(features)  # not ones: the plain sum may be constant
    gradients = torch.autograd.grad(features, sources, upstream, allow_unused=True)
    if gradients[0] is None or not gradients[0].any():
        yield CUT
    unused = [name for name, g in zip(parameters, gradients[1:], strict=True) if g is None]
    if unused:
        yield f"no gradient reaches {', '.join(unused[:9])}; use all in forward, or remove them"
    if not all(g is None or g.isfinite().all() for g in gradients):
        yield "some gradients are not finite; do not take roots of 0 (a grey image): add 1e-6 first"


def _unregistered(core):
    """Module or tensor that torch does not know -> name of the attribute that holds it."""
    registered, names = {*core.modules(), *core.parameters(), *core.buffers()}, {}
    for prefix, module in core.named_modules():
        for name, attribute in vars(module).items():
            for value in _contents(attribute):
                if value not in registered:
                    names[value] = f"{prefix}.{name}".lstrip(".")
    return names


def _contents(value):
    """Yield the tensors, and the modules with weights or buffers, in a value or its containers."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        for item in value:
            yield from _contents(item)
    elif isinstance(value, Tensor) or (isinstance(value, nn.Module) and value.state_dict()):
        yield value


def _call(core, inputs, images=slice(None)):
    """The features of some of the images, all by default."""
    return core(*[values[images].clone() for values in inputs])


def _close(features_a, features_b):
    tolerance = TOLERANCE * features_a.abs().max().item()
    same_shape = features_a.shape == features_b.shape
    return same_shape and torch.allclose(features_a, features_b, rtol=0, atol=tolerance)
