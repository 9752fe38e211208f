"""Trained models: the published ones of 2022, and the kit's own for the sample mice."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import NoneType

import torch

from kit.checks import require, require_path, suggest
from kit.data.sources import catalog
from kit.models.checkpoints import build_model, load_model
from kit.models.model import Model

SHIPPED = Path(__file__).parent.parent / "weights"  # written by benchmarks/weights.py
SOURCE = "https://github.com/sinzlab/sensorium"
RENAMED = {  # parts of the tensor names of 2022, replaced in this order
    "core.features.layer0.conv.": "core.layers.0.0.",
    "core.features.layer0.norm.": "core.layers.0.1.",
    "core.features.layer": "core.layers.",
    ".ds_conv.in_depth_conv.": ".0.",
    ".ds_conv.spatial_conv.": ".1.",
    ".ds_conv.out_depth_conv.": ".2.",
    ".norm.": ".3.",
    "readout.": "readouts.",
    "._features": ".feature_weights",
    ".source_grid": ".cortical_positions",
    ".mu_transform.": ".position_mlp.",
    "shifter.": "shifters.",
}
LAPLACE = "core._input_weights_regularizer.laplace.filter"  # a constant, which ConvCore has in code


@torch.inference_mode(False)
def pretrained(
    name: str, path: str | Path | None = None, folder: str | Path | None = None
) -> Model:
    """A trained model, ready to predict without a recording. Returns a `Model` in eval mode.

    name: "sensorium-cnn", "sensorium-ln", "sensorium+-cnn" or "sensorium+-ln" for the baselines of
        Willeke et al. (2022), each trained on one real mouse; "sample-cnn", "sample-ln",
        "sample+-cnn", "sample+-ln", "sample-pretrain-cnn" or another of kit/weights/README.md for
        models of the sample mice, which come with the kit.
    path: the file of a published model, if you have it; else it is downloaded once, 2.4 MB.
    folder: the data folder to download into; else KIT_DATA_DIR, else the user's cache.
    Raises ValueError if there is no such name or the file is not the published one,
    FileNotFoundError if there is no file at `path`, ConnectionError if the download fails.

    >>> model = kit.pretrained("sample+-cnn")
    >>> images = torch.zeros(8, 1, 36, 64)
    >>> model(kit.Batch.typical(images)).shape  # (B, N), in units of each neuron's std
    torch.Size([8, 600])
    """
    name = str(name)
    shipped = {file.stem: file for file in SHIPPED.rglob("*.safetensors")}
    if name in shipped:
        require("path", path, NoneType)  # it comes with the kit
        return load_model(shipped[name])
    if name not in catalog.WEIGHTS:
        raise ValueError(
            f"there is no trained model {name!r}; {suggest(name, [*catalog.WEIGHTS, *shipped])}"
            f"names are {', '.join(catalog.WEIGHTS)}, and those in kit/weights/README.md"
        )
    if path is None:
        path = catalog.fetch_weights(name, folder)
    content = require_path("path", path).read_bytes()  # once: what is hashed is what is opened
    if sha256(content).hexdigest() != catalog.WEIGHTS[name].sha256:
        raise ValueError(
            f"{path} is not the published file of {name}, by its SHA-256; remove it, and "
            "kit.pretrained downloads the right one"
        )
    tensors = torch.load(BytesIO(content), map_location="cpu", weights_only=True)  # runs no code
    return _from_2022(tensors, catalog.WEIGHTS[name])


def _from_2022(published, entry):
    """A model from the tensors of 2022, name -> tensor."""
    weights = {}
    for name, value in published.items():
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        if name.endswith(".feature_weights"):
            value = value.squeeze((0, 2)).mT.contiguous()  # (1, C, 1, N) -> (N, C)
        elif name.endswith(".sigma"):
            value = value[0]  # (1, N, 2, 2) -> (N, 2, 2)
        weights[name] = value
    del weights[LAPLACE]
    plus = entry.track == "Sensorium+"
    settings = {"in_channels": 4 if plus else 1}
    if entry.kind == "LN":
        settings |= {"layers": 3, "nonlinear": False}
    header = {
        "config": {"behavior_channels": plus, "shifter": plus},
        "core": {"class": "ConvCore", "settings": settings},
        "neurons": [entry.mouse],
        "description": _description(entry),
    }
    return build_model(header, weights)


def _description(entry):
    """Three lines: the origin of a published model, its scores, its licence."""
    scores = []
    for tier, values in (("live", entry.live), ("final", entry.final)):
        numbers = [f"{value:.3f}" if value else "–" for value in values]
        if any(values):  # some are not known
            scores.append(f"{tier} {' / '.join(numbers)}")
    return (
        f"baseline of the {entry.track} track, trained in 2022 on the recording {entry.mouse}\n"
        f"published single-trial / to average / FEVE: {', '.join(scores) or 'none known'}\n"
        f"Willeke et al., arXiv 2206.08666; weights: MIT licence, {SOURCE}"
    )
