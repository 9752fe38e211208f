"""What a core must keep to, and the report of a check."""

import random
from contextlib import contextmanager
from copy import copy

import numpy as np
import torch
from torch import nn

from kit.report import Report

NEAR = 1e-3  # of the largest feature: differences below are rounding


def check_core(core, image_size=(36, 64), channels=1):
    """Check that a core will do in a `kit.Model`. Returns a `Report`, true when all is well.

    core: an nn.Module, images (B, channels, H, W) -> features (B, C', h, w); where its attribute
    `takes_state` is true, called with a second argument (B, 5), behaviour and pupil centre.
    image_size: H and W. channels: 4 if the model has behaviour channels, else 1.
    Shows it three images, one of them grey, in eval and in training mode, and leaves it as it was.
    """
    if not isinstance(core, nn.Module):
        made = (f"the class itself; make one: {core.__name__}(...)" if isinstance(core, type) else
                f"a {type(core).__name__}; write a class that inherits from torch.nn.Module, with "
                "a method forward(self, images)")
        return Report(getattr(core, "__name__", type(core).__name__),
                      (f"a core must be an nn.Module, this is {made}",), "")
    sizes = (*image_size, channels)
    if len(sizes) != 3 or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise ValueError(f"image_size={image_size!r}, channels={channels!r} are no images; give "
                         "whole numbers, such as image_size=(36, 64), channels=1")
    name = type(core).__name__
    problems = tuple(_not_ready(core))
    if problems:
        return Report(name, problems, "")
    with _as_found(core):
        shapes, hidden = [], list(_hidden(core))
        problems = [*_faults(core, *_shown(core, image_size, channels), shapes)]
        problems += _unregistered(core, hidden)
    trained = sum(p.numel() for p in core.parameters() if p.requires_grad)
    return Report(name, tuple(problems), "".join(
        f"images (B, {channels}, {image_size[0]}, {image_size[1]}) -> features (B, "
        f"{', '.join(map(str, shape))}), {trained:,} parameters to train" for shape in shapes))


def _not_ready(core):
    """Sentences about a core that cannot be called yet."""
    tensors = [*core.parameters(), *core.buffers()]
    if any(isinstance(tensor, nn.parameter.UninitializedTensorMixin) for tensor in tensors):
        yield ("a lazy layer does not know its shape yet; call the core once, "
               "core(torch.zeros(1, 1, 36, 64)), or name the number of inputs")
        return
    places = sorted({str(tensor.device) for tensor in tensors})
    if len(places) > 1:
        yield (f"its parameters and buffers lie on {' and '.join(places)}; bring all to one "
               'device, for example core.to("cpu")')
    kinds = {p.dtype for p in core.parameters() if p.is_floating_point()} - {torch.float32}
    if kinds:
        yield (f"it has parameters of {' and '.join(sorted(map(str, kinds)))}, images are "
               "torch.float32; build it so, or call core.float()")


def _shown(core, image_size, channels):
    """Three images (3, channels, H, W), the last one grey, and states: [(3, 5)] or []."""
    device = next((t.device for t in [*core.parameters(), *core.buffers()]), "cpu")
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(3, channels, *image_size, generator=rng)
    images[2] = 0
    states = [torch.rand(3, 5, generator=rng)] * bool(getattr(core, "takes_state", False))
    return images.to(device), [state.to(device) for state in states]


def _faults(core, images, states, shapes):
    """Sentences about what a core does wrong; its features' shape is added to `shapes`."""
    core.eval()
    given = images.clone()
    try:
        with torch.no_grad():
            features = core(given, *states)
            wrong = list(_misshapen(features, images))
            if not wrong:
                features = features.clone()
                again = core(images.clone(), *states)
                alone = [core(images[i:i + 1].clone(), *(s[i:i + 1] for s in states))
                         for i in range(len(images))]
    except Exception as problem:
        yield _raised(problem, "in eval mode", images)
        return
    if not torch.equal(given, images):
        yield ("it changes the images it is given; put no in-place step (+=, relu_, inplace=True) "
               "before the first layer that makes a new tensor")
    yield from wrong
    if wrong:
        return
    shapes.append(tuple(features.shape[1:]))
    if bad := (~features.isfinite()).sum():
        yield (f"{bad:,} of {features.numel():,} features are not finite; look for a division by "
               "zero, a log or a root of what may be 0 or less, also for a grey image")
        return
    if not _near(features, again):
        yield ("two calls with the same images differ in eval mode; let chance act in training "
               "only, by nn.Dropout or dropout(x, training=self.training), and keep nothing from "
               "one call to the next")
    elif lost := [one for one in alone if getattr(one, "shape", ()) != (1, *features.shape[1:])]:
        yield (f"it turns one image alone into {tuple(getattr(lost[0], 'shape', ()))}, in a batch "
               f"into {tuple(features.shape[1:])}; keep four dimensions, also for one image "
               "(squeeze() loses one), and the same map for every image")
    elif not _near(features, torch.cat(alone)):
        yield ("an image's features depend on the other images of the batch in eval mode; use "
               "nn.BatchNorm2d, which then uses its running statistics, or normalise each image "
               "by itself; take no mean over the first dimension")
    if _near(features[:1], features[1:2]) and _near(features[:1], features[2:]):
        yield "features are the same for any image; compute them from the images"
        return
    yield from _gradients(core, images, states, features.shape)
    yield from _penalty(core)


def _misshapen(features, images):
    """Sentences about features that are no (B, C', h, w) like the images in type and place."""
    if not isinstance(features, torch.Tensor):
        size = f" of {len(features)}" if isinstance(features, tuple | list | dict) else ""
        yield (f"it returns a {type(features).__name__}{size}; return the feature map alone, one "
               "tensor (B, channels, height, width)")
        return
    shape, count = tuple(features.shape), len(images)
    if len(shape) != 4:
        remedy = ("bring tokens (B, T, C) into rows and columns: "
                  "tokens.mT.reshape(B, C, rows, columns)" if len(shape) == 3 else
                  "do not flatten, average or sum over the image's dimensions")
        yield (f"it turns images {tuple(images.shape)} into {len(shape)} dimensions {shape}; they "
               f"must be 4, (B, channels, height, width): {remedy}")
    elif shape[0] != count:
        yield (f"it turns {count} images into {shape[0]} feature maps, {shape}; the first "
               "dimension must stay that of the images")
    elif 0 in shape:
        yield f"its features {shape} are empty; use fewer or smaller filters without padding"
    if features.dtype != images.dtype:
        yield (f"its features are {features.dtype}, images are {images.dtype}; return "
               f"features.float()")
    if features.device != images.device:
        yield (f"its features lie on {features.device}, the images on {images.device}; let it "
               "compute where its images are")


def _gradients(core, images, states, shape):
    """Sentences about training mode: another shape, values or gradients that are missing."""
    core.train()
    leaf = images.clone().requires_grad_()
    named = {name: p for name, p in core.named_parameters() if p.requires_grad}
    try:
        with torch.enable_grad():
            features = core(leaf * 1, *states)  # lest an in-place step refuse a leaf
            if features.shape != shape or not features.isfinite().all():
                yield (f"in training mode its features are {tuple(features.shape)}"
                       f"{'' if features.isfinite().all() else ' with values not finite'}, in "
                       f"eval mode {tuple(shape)}; let both give the same kind of map")
                return
            if not features.requires_grad:
                yield ("no gradient comes back through it, so it cannot learn; leave out "
                       "torch.no_grad, .detach(), .data and numpy in forward")
                return
            weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
            loss = (features * weights.to(features)).sum()  # a plain sum may be constant
            to_images, *to_named = torch.autograd.grad(loss, [leaf, *named.values()],
                                                       allow_unused=True)
    except Exception as problem:
        yield _raised(problem, "in training mode", images)
        return
    if to_images is None or not to_images.any():
        yield ("no gradient reaches the images, though features depend on them; leave out "
               ".detach(), and steps without a slope: rounding, sign, comparisons, argmax")
    gradients = dict(zip(named, to_named, strict=True))
    if unused := [name for name, gradient in gradients.items() if gradient is None]:
        yield (f"no gradient reaches {_some(unused)}, which will never learn; use it in forward, "
               "remove it or set its requires_grad to False")
    if bad := [name for name, gradient in {"the images": to_images, **gradients}.items()
               if gradient is not None and not gradient.isfinite().all()]:
        yield (f"the gradient of {_some(bad)} is not finite; a root or division whose argument "
               "may be 0, as for a grey image, needs a small constant inside: (x + 1e-6).sqrt()")


def _penalty(core):
    """Sentences about a penalty that the loss cannot add."""
    if hasattr(core, "regularizer"):
        try:
            value = torch.as_tensor(core.regularizer())
            fine = value.numel() == 1 and value.isfinite().all()
        except Exception as problem:
            yield _raised(problem, "by regularizer()")
            return
        if not fine:
            yield (f"regularizer() gives {tuple(value.shape)}, it must give one finite number, which "
                   "training adds to the loss")


def _unregistered(core, hidden):
    """Sentences about what torch does not know of. hidden: what `_hidden` gave before any call."""
    kept = {id(thing) for _, thing in _hidden(core)}  # else it is made anew by every call
    remedies = {}
    for name, thing in hidden:
        if isinstance(thing, nn.Module):
            chance = any("Dropout" in type(part).__name__ for part in thing.modules())
            remedy = ("wrap the layers: nn.ModuleList or nn.ModuleDict"
                      if [*thing.parameters(), *thing.buffers()] or chance else "")
        elif thing.requires_grad:
            remedy = "make it an nn.Parameter, or several of them an nn.ParameterList"
        else:
            short = name.rpartition(".")[2]
            remedy = (f'write self.register_buffer("{short}", ...)' if id(thing) in kept else "")
        if remedy:
            remedies[name] = remedy
    for name, remedy in remedies.items():
        yield (f"torch does not know of what is in self.{name}: it is not trained, saved, switched "
               f"to eval mode or moved to a GPU with the rest; {remedy}")


def _hidden(core):
    """(name, thing) for every module and tensor in a plain attribute or container of a core."""
    known = {id(thing) for thing in [*core.modules(), *core.parameters(), *core.buffers()]}
    own = set(vars(nn.Module()))  # torch's attributes
    for prefix, part in core.named_modules():
        for name, value in vars(part).items():
            if name not in own:
                yield from ((f"{prefix}.{name}".lstrip("."), thing) for thing in _inside(value)
                            if id(thing) not in known)


def _inside(value):
    """Modules and tensors in a value: itself, or what its containers hold."""
    if isinstance(value, nn.Module | torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _inside(item)


@contextmanager
def _as_found(core):
    """Whatever a block does with a core: its attributes, values and gradients are then restored.

    So are the global random states of torch, numpy and Python.
    """
    hidden = [thing for _, thing in _hidden(core)]
    modules = [part for thing in [core, *hidden] if isinstance(thing, nn.Module)
               for part in thing.modules()]
    tensors = [thing for thing in hidden if isinstance(thing, torch.Tensor)]
    tensors += [t for part in modules for t in [*part.parameters(False), *part.buffers(False)]]
    values = [(tensor, tensor.detach().clone(), tensor.grad if tensor.is_leaf else None)
              for tensor in tensors]
    holders = [vars(part) for part in modules]  # refilled, not replaced: hooks point to them
    holders += [value for held in holders for value in held.values()
                if isinstance(value, dict | list | set)]
    contents = [(held, copy(held)) for held in holders]
    device = next((t.device for t in tensors if t.is_cuda), None)
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device else []):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            for held, before in contents:
                held.clear()
                held.extend(before) if isinstance(held, list) else held.update(before)
            with torch.no_grad():
                for tensor, value, gradient in values:
                    tensor.copy_(value)
                    if tensor.is_leaf:
                        tensor.grad = gradient


def _near(one, other):
    return (one.shape == getattr(other, "shape", None)
            and bool((one - other).abs().max() <= NEAR * one.abs().max()))


def _raised(problem, when, images=None):
    said = (str(problem).strip().splitlines() or [""])[0][:200]
    given = ("" if images is None else f", given images {tuple(images.shape)} or one of them; if "
             "it is made for others, say so: kit.check_core(core, image_size=…, channels=…)")
    return f"it raises {type(problem).__name__} {when}: {said or 'no message'}{given}"


def _some(names):
    """The first three names, and how many there are."""
    return ", ".join(names[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")
