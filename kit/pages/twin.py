"""A model as one self-contained HTML page that computes its predictions in the browser.

The page needs neither Python nor a network: it opens from a disk, and on a phone. Python computes
what does not change (positions in the image, batch norm), `twin.html` the rest in JavaScript.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from kit.checks import one_line
from kit.data.layout import BEHAVIOR
from kit.models.layers import ConvCore
from kit.models.model import Model
from kit.pages.html import write_html


def write_page(
    path: str | Path,
    model: Model,
    mouse: str,
    controls: Sequence[Any],
    state: dict[str, float],
    screen: dict[str, Any],
) -> Path:
    """Write a model of the baselines' architecture as a page. Returns the path.

    controls: a `kit.lab.controls.Control` for each slider; state: name -> value of the typical
    state; screen: "pixels", the mean and std of pixels, and "top", the response at which the
    colours end.
    """
    sizes = {"size": model.image_size, "shape": model.feature_shape}
    values = {
        "twin": {**parameters(model, mouse), **screen, **sizes, "state": state},
        "mouse": mouse,
        "controls": controls,
        "description": repr(model).splitlines(),
    }
    return write_html(path, Path(__file__).with_name("twin.html"), values, {"plain": one_line})


def parameters(model: Model, mouse: str) -> dict[str, object]:
    """The numbers from which the page predicts, name -> arrays. `None` stands for a missing part.

    filters (C, 9, 9), behavior: first layer, bias (C,) and weight (C, 3) for each behaviour.
    layers: of each later layer mix_in (C, C), spatial (C, 7, 7), mix_out (C, C) and bias (C,).
    positions (N, 2), feature_weights (N, C), bias (N,): the readout.
    shifter, gain: their linear layers. cortex (N, 2): x and y in cortex, from -1 to 1.
    """
    config = model.config
    readout = model.readouts[mouse]
    filters, behavior = _first_layer(model, mouse)
    core = cast(ConvCore, model.core)
    gain = None
    if config.gain:
        hidden, out = _linear_layers(model.gains[mouse].mlp)
        gain = [_of_state(model, mouse, hidden), out]
    return {
        "filters": filters,
        "behavior": behavior,
        "nonlinear": core.settings["nonlinear"],
        "layers": [_later_layer(layer) for layer in core.layers[1:]],
        "positions": _array(readout.means()).clip(-1, 1),
        "feature_weights": _array(readout.feature_weights),
        "bias": _array(readout.bias),
        "shifter": _linear_layers(model.shifters[mouse].mlp) if config.shifter else None,
        "gain": gain,
        "cortex": _within_square(_array(readout.cortical_positions)),
    }


def _array(tensor: Tensor):
    return tensor.detach().cpu().double().numpy()


def _fold(convolution, norm):
    """Weight (C', C, k, k) and bias (C',) of a convolution and the batch norm that follows."""
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)  # (C',)
    weight = _array(convolution.weight) * scale[:, None, None, None]
    return weight, _array(norm.bias) - _array(norm.running_mean) * scale


def _first_layer(model, mouse):
    """The filters for the image (C, 9, 9), and how behaviour sets the biases: bias, weight.

    Behaviour is the same in all pixels, and nothing is padded: of its filters only sums matter.
    """
    weight, bias = _fold(*model.core.layers[0][:2])
    columns = len(model.config.behavior_names)
    behavior = {"weight": np.zeros((len(bias), columns)), "bias": bias}
    if model.config.behavior_channels:
        behavior["weight"] = weight[:, 1:].sum((2, 3))
    return weight[:, 0], _of_state(model, mouse, behavior)


def _later_layer(layer):
    mix_in, spatial, mix_out, norm = layer[:4]
    weight, bias = _fold(mix_out, norm)
    return {
        "mix_in": _array(mix_in.weight)[:, :, 0, 0],
        "spatial": _array(spatial.weight)[:, 0],
        "mix_out": weight[:, :, 0, 0],
        "bias": bias,
    }


def _linear_layers(mlp):
    return [
        {"weight": _array(part.weight), "bias": _array(part.bias)}
        for part in mlp
        if isinstance(part, nn.Linear)
    ]


def _of_state(model, mouse, linear):
    """A linear layer of the scaled behaviour (…, K) as one of the page's state, the official three.

    Columns of other names have their typical value, which becomes part of the bias.
    """
    linear = _of_raw_behavior(model, mouse, linear)
    names = model.config.behavior_names
    if names == BEHAVIOR:
        return linear
    weight = np.zeros((len(linear["bias"]), len(BEHAVIOR)))
    bias = linear["bias"]
    for i, (name, value) in enumerate(model.typical_behavior(mouse).items()):
        if name in BEHAVIOR:
            weight[:, BEHAVIOR.index(name)] = linear["weight"][:, i]
        else:
            bias = bias + value * linear["weight"][:, i]
    return {"weight": weight, "bias": bias}


def _of_raw_behavior(model, mouse, linear):
    """A linear layer of the scaled behaviour (minmax_behavior) as one of behaviour itself."""
    if not model.config.minmax_behavior:
        return linear
    scaler = model.scalers[mouse]
    weight = linear["weight"] / _array(scaler.span)
    return {"weight": weight, "bias": linear["bias"] - weight @ _array(scaler.low)}


def _within_square(positions):
    """Positions (N, 2), centred and at one scale for x and y, from -1 to 1."""
    low, high = positions.min(0), positions.max(0)
    return (positions - (low + high) / 2) / max((high - low).max() / 2, 1e-6)
