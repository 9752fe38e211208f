"""A model as one self-contained HTML page that computes its predictions in the browser.

The page needs neither Python nor a network: it opens from a disk, and on a phone. Python computes
what does not change (positions in the image, batch norm), `twin.html` the rest in JavaScript.
"""

from pathlib import Path

import numpy as np
from torch import Tensor, nn

from kit.lab.controls import controls
from kit.lab.experiment import State, resolve, responses, screen_of
from kit.models.layers import ConvCore
from kit.models.model import Model
from kit.pages import write_html
from kit.report import one_line


def page(model: nn.Module, path: str | Path, mouse: str | None = None) -> Path:
    """Write a model as one HTML page to play with: gratings and states in, responses out.

    model: a `kit.Model` with the core of the baselines. The page holds its weights (about 150 kB,
    3 MB for a published model). mouse: which one to show; None stands for the only one. Returns
    the path. Raises ValueError for another model or an unknown mouse, and OSError, with what to do,
    if the path cannot be written.

    >>> twin = kit.pretrained("sample+-cnn")
    >>> kit.lab.page(twin, "twin.html").name  # open it in a browser
    'twin.html'
    """
    _require_baseline(model)
    mouse, state = resolve(model, mouse), vars(State())
    shown = controls(model, mouse)
    screen = screen_of(model, mouse)
    twin = parameters(model, mouse) | {
        "size": model.image_size, "shape": model.feature_shape, "state": state,
        "pixels": screen.pixel_statistics, "top": colour_top(model, mouse)}
    values = {
        "twin": twin, "mouse": mouse, "neurons": len(twin["bias"]),
        "stimulus": [control for control in shown if control.name not in state],
        "animal": [control for control in shown if control.name in state],
        "description": repr(model).splitlines()}
    return write_html(path, Path(__file__).with_name("twin.html"), values, {"plain": one_line})


def _require_baseline(model):
    """Raise ValueError unless the page's script can compute this model."""
    given = type(model).__name__
    if isinstance(model, Model):
        given += f" with the core {type(model.core).__name__}"
    if type(model) is not Model or type(model.core) is not ConvCore:  # nor what may differ from it
        raise ValueError(f"a page cannot compute this {given}; give a kit.Model with a "
                         "kit.layers.ConvCore, such as kit.pretrained(\"sample+-cnn\"), and of an "
                         "ensemble one of its members")


def colour_top(model: nn.Module, mouse: str) -> float:
    """The response at which the colours end: 1 in 200 responses to twelve gratings is higher.

    Raises ValueError if the model's predictions are not finite.
    """
    angles, frequencies = np.meshgrid(np.arange(4) * np.pi / 4, [0.04, 0.08, 0.16])
    images = screen_of(model, mouse).grating(angles.ravel(), frequencies.ravel())
    shown = responses(model, images, mouse)  # (12, N)
    if not np.isfinite(shown).all():
        raise ValueError("some predictions of this model are not finite numbers; train it again, "
                         "at a lower rate")
    return max(0.5, float(np.ceil(2 * np.percentile(shown, 99.5)) / 2))


def parameters(model: Model, mouse: str) -> dict[str, object]:
    """The numbers from which the page predicts, name -> arrays. `None` stands for a missing part.

    filters (C, 9, 9), behavior: first layer, bias (C,) and weight (C, 3) for each behaviour.
    layers: of each later layer mix_in (C, C), spatial (C, 7, 7), mix_out (C, C) and bias (C,).
    positions (N, 2), feature_weights (N, C), bias (N,): the readout.
    shifter, gain: their linear layers. cortex (N, 2): x and y in cortex, from -1 to 1.
    """
    config, readout = model.config, model.readouts[mouse]
    filters, behavior = _first_layer(model, mouse)
    gain = None
    if config.gain:
        hidden, out = _linear_layers(model.gains[mouse].mlp)
        gain = [_of_raw_behavior(model, mouse, hidden), out]
    return {
        "filters": filters, "behavior": behavior, "nonlinear": model.core.settings["nonlinear"],
        "layers": [_later_layer(layer) for layer in model.core.layers[1:]],
        "positions": _array(readout.means()).clip(-1, 1),
        "feature_weights": _array(readout.feature_weights), "bias": _array(readout.bias),
        "shifter": _linear_layers(model.shifters[mouse].mlp) if config.shifter else None,
        "gain": gain, "cortex": _within_square(_array(readout.cortical_positions))}


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
    behavior = {"weight": np.zeros((len(bias), 3)), "bias": bias}
    if model.config.behavior_channels:
        behavior["weight"] = weight[:, 1:].sum((2, 3))
    return weight[:, 0], _of_raw_behavior(model, mouse, behavior)


def _later_layer(layer):
    mix_in, spatial, mix_out, norm = layer[:4]
    weight, bias = _fold(mix_out, norm)
    return {"mix_in": _array(mix_in.weight)[:, :, 0, 0], "spatial": _array(spatial.weight)[:, 0],
            "mix_out": weight[:, :, 0, 0], "bias": bias}


def _linear_layers(mlp):
    return [{"weight": _array(part.weight), "bias": _array(part.bias)}
            for part in mlp if isinstance(part, nn.Linear)]


def _of_raw_behavior(model, mouse, linear):
    """A linear layer of the scaled behaviour (minmax_behavior) as one of behaviour itself."""
    if not model.config.minmax_behavior:
        return linear
    scaler = model.scalers[mouse]
    weight = linear["weight"] / _array(scaler.span)
    return {"weight": weight, "bias": linear["bias"] - weight @ _array(scaler.low)}


def _within_square(places):
    """Places (N, 2), centred and at one scale for x and y, from -1 to 1."""
    low, high = places.min(0), places.max(0)
    return (places - (low + high) / 2) / max((high - low).max() / 2, 1e-6)
