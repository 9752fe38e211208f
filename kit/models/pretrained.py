"""Trained models: those published in 2022, and the shipped ones of the sample mice."""

import re
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch

from kit.data import catalog
from kit.files import file_sha256
from kit.models.checkpoints import _core, load_model
from kit.models.model import Model, ModelConfig
from kit.report import suggest

SHIPPED = Path(__file__).parent.parent / "weights"  # models of the sample mice, by benchmarks/weights.py
SOURCE = "https://github.com/sinzlab/sensorium"
NAMES = (  # of tensors: a pattern of ours, what 2022 calls it
    (r"core\.layers\.0\.0\.", "core.features.layer0.conv."),
    (r"core\.layers\.0\.1\.", "core.features.layer0.norm."),
    (r"core\.layers\.(\d+)\.0\.", r"core.features.layer\1.ds_conv.in_depth_conv."),
    (r"core\.layers\.(\d+)\.1\.", r"core.features.layer\1.ds_conv.spatial_conv."),
    (r"core\.layers\.(\d+)\.2\.", r"core.features.layer\1.ds_conv.out_depth_conv."),
    (r"core\.layers\.(\d+)\.3\.", r"core.features.layer\1.norm."),
    (r"readouts\.([^.]+)\.feature_weights", r"readout.\1._features"),
    (r"readouts\.([^.]+)\.cortical_positions", r"readout.\1.source_grid"),
    (r"readouts\.([^.]+)\.position_mlp", r"readout.\1.mu_transform"),
    (r"readouts\.", "readout."),
    (r"shifters\.", "shifter."),
)
CONSTANT = "core._input_weights_regularizer.laplace.filter"  # of the penalty; ours is in the code


def pretrained(name, path=None, folder=None):
    """A trained model of one mouse, ready to predict; no recording is needed. Returns a `Model`.

    name: "sensorium-cnn", "sensorium-ln", "sensorium+-cnn", "sensorium+-ln", the baselines that
        Willeke et al. (2022) published of real mice; or "sample-cnn", "sample-ln", "sample+-cnn",
        "sample+-ln", the kit's own of the sample mice, which come with it, as does an ablation of
        what eyes and behaviour buy: "sample+-shifter-gain-1" and its like, see kit/weights.
    path: a published model's file if you have it; else it is downloaded once, 2.4 MB.
    folder: the data folder to download into; else KIT_DATA_DIR, else the user's cache.
    Images of your own: `model(kit.Batch.typical(images))` -> (B, N), in units of each neuron's std.
    Raises ValueError for an unknown name or a file that is not the published one, FileNotFoundError
    if there is none at `path`, ConnectionError if it cannot be downloaded.
    """
    shipped = {file.stem: file for file in sorted(SHIPPED.rglob("*.safetensors"))}
    name = str(name)
    if name in shipped and path is None:
        return load_model(shipped[name])
    if name in shipped:
        raise ValueError(f"{name} comes with the kit; leave path out, or open a model that "
                         "kit.save wrote with kit.load_model(path)")
    if name not in catalog.WEIGHTS:
        known = [*catalog.WEIGHTS, *shipped]
        main = [each for each in known if not each[-1].isdigit()]
        raise ValueError(f"there is no trained model {name[:200]!r}; {suggest(name, known)}"
                         f"names are {', '.join(main)}, and those of an ablation in kit/weights")
    path = catalog.fetch_weights(name, folder) if path is None else Path(path)
    return _published(catalog.WEIGHTS[name], _tensors(name, path), path)


def _tensors(name, path):
    """The tensors of a published file, by their names of 2022. Nothing in it is executed."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; leave path out and "
                                f"kit.pretrained({name!r}) downloads it")
    found, expected = file_sha256(path), catalog.WEIGHTS[name].sha256
    if found != expected:
        raise ValueError(f"{path} is not the published file of {name}: its SHA-256 is {found}, "
                         f"expected {expected}; remove it, and kit.pretrained({name!r}) downloads "
                         "the right one")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        if all(isinstance(key, str) and isinstance(value, torch.Tensor)
               for key, value in tensors.items()):
            return tensors
    except (UnpicklingError, RuntimeError, EOFError, OSError, AttributeError):
        pass  # cut off, no pickle, one with code in it, or something else than a dict
    raise ValueError(f"{path} holds something else than named tensors, so it was not opened; "
                     f"remove it, and kit.pretrained({name!r}) downloads the right one")


def _published(entry, tensors, path):
    """A published baseline as a `Model`."""
    mice = {name.split(".")[1] for name in tensors if name.startswith("readout.")}
    if mice != {entry.mouse}:
        raise ValueError(f"{path} has a readout for mouse {', '.join(sorted(mice)) or 'none'}, "
                         f"expected {entry.mouse}; it is no model of the {entry.track} track")
    plus, linear = entry.track == "Sensorium+", entry.kind == "LN"
    core = _core({"class": "ConvCore", "settings": {
        "channels": 64, "in_channels": 4 if plus else 1, "layers": 3 if linear else 4,
        "nonlinear": not linear}}, path)
    neurons = tensors.get(f"readout.{entry.mouse}.bias", torch.empty(0)).numel() or 1
    model = Model(core, {entry.mouse: np.zeros((neurons, 2))}, ModelConfig(plus, plus))
    views = _as_2022(model)
    _refuse_others(views, tensors, path)
    for name, view in views.items():
        view.copy_(tensors[name])
    model.description = "\n".join([
        f"baseline of the {entry.track} track, trained in 2022 on the recording {entry.mouse}",
        "published single-trial / to average / FEVE: " + (
            ", ".join(_scores("live", entry.live) + _scores("final", entry.final)) or "none known"),
        f"Willeke et al., arXiv 2206.08666; weights: MIT licence, {SOURCE}"])
    return model.eval()


def _as_2022(model):
    """A model's tensors by the names and in the shapes of 2022, as views to be written to."""
    views = {}
    for name, value in model.state_dict().items():
        for ours, theirs in NAMES:
            name = re.sub(f"^{ours}", theirs, name)
        if name.endswith("._features"):
            value = value.T[None, :, None]  # (N, C) -> (1, C, 1, N)
        elif name.endswith(".sigma"):
            value = value[None]  # (N, 2, 2) -> (1, N, 2, 2)
        views[name] = value
    return views


def _refuse_others(views, tensors, path):
    """Raise ValueError where a published file lacks a tensor, has another or one misshapen."""
    missing = sorted(views.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - views.keys() - {CONSTANT})
    shapes = [f"{name} of shape {tuple(tensors[name].shape)}, expected {tuple(view.shape)}"
              for name, view in views.items()
              if name in tensors and tensors[name].shape != view.shape]
    for what, names in (("lacks", missing), ("has the unknown", unknown), ("has", shapes)):
        if names:
            more = f" and {len(names) - 1} more such" if len(names) > 1 else ""
            raise ValueError(f"{path} {what} {names[0]}{more}; it is no baseline of 2022")


def _scores(tier, values):
    """The published scores on a test set, in few words: a list of one, or of none."""
    numbers = " / ".join(f"{value:.3f}"[1:] if value else "–" for value in values)
    return [f"{tier} {numbers}"] if any(values) else []
