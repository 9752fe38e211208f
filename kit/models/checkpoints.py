"""Models on disk."""

import copy
import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from kit.checks import one_line, require, require_path
from kit.files import atomic_write
from kit.models.config import ModelConfig
from kit.models.cores.normalization import NormalizationCore
from kit.models.cores.vit import ViTCore
from kit.models.layers import ConvCore
from kit.models.model import Model

CORES = {
    core.__name__: core for core in (ConvCore, NormalizationCore, ViTCore)
}  # those that can be built from their settings
FORMAT = 2  # of the file; files of another format are refused


def save(model: Model, path: str | Path) -> None:
    """Write a model to a safetensors file.

    The file has the weights and settings, and the neuron ids and statistics of each recording. It
    appears whole or not at all. Raises ValueError if `model` is not a `kit.Model` of finite
    numbers, OSError if the file cannot be written.

    >>> model = kit.cnn_baseline(kit.load("sample+"), channels=4)
    >>> kit.save(model, "runs/mine.safetensors")
    >>> kit.load_model("runs/mine.safetensors").config == model.config
    True
    """
    require("model", model, Model)
    path = require_path("path", path)
    _require_finite(model.state_dict())
    header, tensors = file_content(model)
    with atomic_write(path) as part:
        part.write_bytes(to_bytes(tensors, {"kit": json.dumps(header)}))


def file_content(model: Model) -> tuple[dict, dict]:
    """Header, with the SHA-256 of header and tensors, and tensors of a model's file."""
    own = type(model.core) not in CORES.values()  # your class, which only you can build again
    settings = None if own else model.core.settings
    header = {
        "format": FORMAT,
        "config": asdict(model.config),
        "core": {"class": type(model.core).__name__, "settings": settings},
        "description": model.description,
        "neurons": model.neuron_counts,
    }
    tensors = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not own:
            value = value.float()  # as `load_model` builds it, whatever .double() or .half() did
        tensors[f"model/{name}"] = value.cpu().contiguous().clone()
    for mouse, statistics in model.data_statistics.items():
        for name, value in statistics.items():
            tensors[f"data_statistics/{mouse}/{name}"] = torch.tensor(value)
    return header | {"sha256": _digest(header, tensors)}, tensors


def _digest(header, tensors):
    """SHA-256 of all that a file holds."""
    digest = sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _require_finite(weights):
    for name, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has values that are not finite; train it at a lower rate")


@torch.inference_mode(False)
def load_model(path: str | Path, core: nn.Module | None = None) -> Model:
    """Read a model that `save` wrote. Returns it in eval mode.

    core: a module of the same architecture, needed only if the model's core is your own class. It
        gets the weights of the file, and stays as it is if they do not fit.
    Raises OSError if there is no such file, ValueError if it is not such a model, is damaged or
    does not fit `core`.

    >>> data = kit.load("sample+")
    >>> kit.save(kit.Model(torch.nn.Conv2d(1, 4, 9), data.neurons), "own.safetensors")
    >>> model = kit.load_model("own.safetensors", core=torch.nn.Conv2d(1, 4, 9))
    """
    require("core", core, nn.Module | None)
    path = require_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give one that kit.save wrote")
    content = path.read_bytes()  # not mapped: a file that is may change underneath
    weights, statistics = {}, {}
    try:
        header, tensors = _parse(content)
        for name, value in sorted(tensors.items()):  # the file has any order
            if name.startswith("model/"):
                weights[name.removeprefix("model/")] = value
            else:
                _, mouse, key = name.split("/")
                statistics.setdefault(mouse, {})[key] = value.numpy()
        model = build_model(header, weights, core)
    except Exception as error:  # the file may hold anything
        reason = one_line(" ".join(str(error).split()), 300)
        raise ValueError(f"{path} cannot be read as a model: {reason}") from None
    model.data_statistics = statistics
    return model


def _parse(content):
    """Header and tensors of a file's bytes."""
    length = int.from_bytes(content[:8], "little")  # of the JSON with which the format begins
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["kit"])
    if header["format"] != FORMAT:
        raise ValueError(
            f"it has format {header['format']}, not {FORMAT}; use the kit that wrote it"
        )
    tensors = from_bytes(content)
    if "sha256" in header and header.pop("sha256") != _digest(header, tensors):
        raise ValueError("its content has changed since kit.save wrote it; copy it again")
    return header, tensors


def build_model(header: dict, weights: dict, core: nn.Module | None = None) -> Model:
    """The model of a header as `save` writes it and of weights by name. Returns it in eval mode."""
    _require_finite(weights)
    counts = {mouse: len(weights[f"readouts.{mouse}.bias"]) for mouse in header["neurons"]}
    neurons = {}
    for mouse, count in counts.items():  # any places: those in the weights replace them
        free = f"readouts.{mouse}.free_positions" in weights
        neurons[mouse] = np.zeros((count, 2)) + (0 if free else np.arange(count)[:, None])
    name, settings = header["core"]["class"], header["core"]["settings"]
    config = ModelConfig(**header["config"])
    if core is not None:
        model = Model(core, neurons, config)
        copy.deepcopy(model).load_state_dict(weights)  # raises before it changes the caller's core
    elif settings is None:
        raise ValueError(f"its core is your class {name}; give one: kit.load_model(path, core=...)")
    else:
        with torch.device("meta"):  # the settings of a damaged file may ask for any size
            model = Model(CORES[name](**settings).float(), neurons, config)
    model.description = header["description"]
    model.load_state_dict(weights, assign=core is None)
    return model.eval()
