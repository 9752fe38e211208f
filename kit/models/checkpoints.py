"""Models on disk."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from kit.files import atomic_write
from kit.models.layers import ConvCore
from kit.models.model import Model, ModelConfig
from kit.models.vit import ViTCore

CORES = {"ConvCore": ConvCore, "ViTCore": ViTCore}  # those that can be built from their settings
FORMAT = 2  # of the file; files of another format are refused


def save(model: Model, path: str | Path) -> None:
    """Write a model to a safetensors file.

    The file has the weights, the settings and the image size, and of each mouse's recording the
    neuron ids and the statistics that its units come from. It appears whole or not at all.
    Raises ValueError if `model` is not a `kit.Model`, OSError if the file cannot be written.

    >>> model = kit.cnn_baseline(kit.load("sample+"), channels=4)
    >>> kit.save(model, "runs/mine.safetensors")
    >>> kit.load_model("runs/mine.safetensors").config == model.config
    True
    """
    if not isinstance(model, Model):
        raise ValueError(f"a file holds one Model, not {type(model).__name__}; save each model of "
                         "an ensemble to its own file")
    header = {
        "format": FORMAT,
        "config": asdict(model.config),
        "core": {
            "class": type(model.core).__name__,
            "settings": getattr(model.core, "settings", None),
        },
        "description": model.description,
        "neurons": {mouse: len(readout.bias) for mouse, readout in model.readouts.items()},
    }
    tensors = {}
    for name, value in model.state_dict().items():
        tensors[f"model/{name}"] = value.contiguous().clone()
    for mouse, statistics in model.data_statistics.items():
        for name, value in statistics.items():
            tensors[f"data_statistics/{mouse}/{name}"] = torch.from_numpy(np.array(value))
    with atomic_write(path) as part:
        part.write_bytes(to_bytes(tensors, {"kit": json.dumps(header)}))


def load_model(path: str | Path, core: nn.Module | None = None) -> Model:
    """Read a model that `save` wrote. Returns it in eval mode.

    core: a module of the same architecture, needed only if the model's core is your own class.
    Raises FileNotFoundError if there is no file, ValueError if it is not such a model or does not
    fit `core`.

    >>> data = kit.load("sample+")
    >>> kit.save(kit.Model(torch.nn.Conv2d(1, 4, 9), data.neurons), "own.safetensors")
    >>> model = kit.load_model("own.safetensors", core=torch.nn.Conv2d(1, 4, 9))
    """
    if core is not None and not isinstance(core, nn.Module):
        raise ValueError(f"core={core!r} is not a module; give an instance, such as MyCore()")
    header, tensors = _read(path)
    if header["format"] != FORMAT:
        raise ValueError(f"{path} has model format {header['format']}, this kit reads {FORMAT}; "
                         "train the model again, or read it with the version that wrote it")
    try:
        return build_model(header, tensors, core)
    except (KeyError, TypeError, AttributeError) as error:  # a part is missing or malformed
        raise ValueError(f"{path} is damaged or was changed by hand ({error}); save the model "
                         "again with kit.save") from None


def _read(path):
    """Header and tensors of a file."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["kit"])
            header["format"]  # every model has one
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; kit.save writes one") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a model that kit.save wrote ({error})") from None
    return header, tensors


def build_model(header: dict, tensors: dict, core: nn.Module | None = None) -> Model:
    """The model of a header and tensors as `save` writes them. Returns it in eval mode."""
    groups = {"model": {}, "data_statistics": {}}
    for name, value in tensors.items():
        group, _, key = name.partition("/")
        groups[group][key] = value
    neurons = {}
    for mouse in header["neurons"]:
        bias = groups["model"][f"readouts.{mouse}.bias"]
        neurons[mouse] = np.zeros((len(bias), 2))
    model = _empty_model(header, neurons, core)
    try:
        model.load_state_dict(groups["model"], assign=core is None)
    except RuntimeError as error:
        name = type(model.core).__name__
        reason = str(error).splitlines()[-1].strip()  # the lines before say only that it failed
        raise ValueError(f"the weights do not fit the core {name}: {reason}") from None
    for name, value in groups["data_statistics"].items():
        mouse, _, key = name.partition("/")
        model.data_statistics.setdefault(mouse, {})[key] = value.numpy()
    model.description = header["description"]
    return model.eval()


def _empty_model(header, neurons, core):
    """A model with the given core, or one whose weights take no memory until they are loaded."""
    fields = dict(header["config"])
    fields["image_size"] = tuple(fields["image_size"])
    config = ModelConfig(**fields)
    if core is not None:
        return Model(core, neurons, config)
    name = header["core"]["class"]
    settings = header["core"]["settings"]
    if name not in CORES:
        raise ValueError(f"the model has a core of class {name}, which is not one of the kit; "
                         "build one and give it: kit.load_model(path, core=...)")
    with torch.device("meta"):  # the settings of a damaged file may ask for any size
        return Model(CORES[name](**settings), neurons, config)
