"""Models on disk."""

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from kit.checks import brief, require_path
from kit.files import atomic_write
from kit.models.comparing import shapes
from kit.models.config import ModelConfig
from kit.models.layers import ConvCore
from kit.models.model import Model
from kit.models.vit import ViTCore

CORES = {"ConvCore": ConvCore, "ViTCore": ViTCore}  # those that can be built from their settings
FORMAT = 2  # of the file; files of another format are refused


def save(model: Model, path: str | Path) -> None:
    """Write a model to a safetensors file.

    The file has the weights, the settings and the image size, and of each mouse's recording the
    neuron ids and the statistics that its units come from. It appears whole or not at all.
    Raises ValueError if `model` is not a `kit.Model` of finite numbers, OSError if the file cannot
    be written.

    >>> model = kit.cnn_baseline(kit.load("sample+"), channels=4)
    >>> kit.save(model, "runs/mine.safetensors")
    >>> kit.load_model("runs/mine.safetensors").config == model.config
    True
    """
    if not isinstance(model, Model):
        raise ValueError(
            f"a file holds one Model, not {type(model).__name__}; save each model of "
            "an ensemble to its own file"
        )
    path, name = require_path("path", path), type(model.core).__name__
    own = CORES.get(name) is not type(model.core)  # your class, which only you can build again
    header = {
        "format": FORMAT,
        "config": asdict(model.config),
        "core": {"class": name, "settings": None if own else model.core.settings},
        "description": model.description,
        "neurons": {mouse: len(readout.bias) for mouse, readout in model.readouts.items()},
    }
    tensors = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not (own and name.startswith("core.")):
            value = value.float()  # as `load_model` builds it, whatever .double() or .half() did
        tensors[f"model/{name}"] = value.detach().cpu().contiguous().clone()
    _require_finite(tensors)
    for mouse, statistics in model.data_statistics.items():
        for name, value in statistics.items():
            tensors[f"data_statistics/{mouse}/{name}"] = torch.from_numpy(np.array(value))
    header["sha256"] = _digest(header, tensors)
    with atomic_write(path) as part:
        part.write_bytes(to_bytes(tensors, {"kit": json.dumps(header)}))


def _digest(header, tensors):
    """SHA-256 of all that a file holds."""
    digest = sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _require_finite(tensors):
    """Raise ValueError if a tensor, name -> tensor, has a value that is not a finite number."""
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(
                f"the model is not usable: {name.removeprefix('model/')} has values "
                "that are not finite numbers; build it again and train it at a lower "
                "rate"
            )


@torch.inference_mode(False)
def load_model(path: str | Path, core: nn.Module | None = None) -> Model:
    """Read a model that `save` wrote. Returns it in eval mode.

    core: a module of the same architecture, needed only if the model's core is your own class.
    The file is read once: what happens to it afterwards does not change the model.
    Raises FileNotFoundError if there is no file, ValueError if it is not such a model, is damaged
    or does not fit `core`.

    >>> data = kit.load("sample+")
    >>> kit.save(kit.Model(torch.nn.Conv2d(1, 4, 9), data.neurons), "own.safetensors")
    >>> model = kit.load_model("own.safetensors", core=torch.nn.Conv2d(1, 4, 9))
    """
    if core is not None and not isinstance(core, nn.Module):
        raise ValueError(f"core={brief(core)} is not a module; give an instance, such as MyCore()")
    path = require_path("path", path)
    header, tensors = _read(path)
    if header["format"] != FORMAT:
        raise ValueError(
            f"{path} has model format {header['format']}, this kit reads {FORMAT}; "
            "train the model again, or read it with the version that wrote it"
        )
    try:
        return build_model(header, tensors, core)
    except (KeyError, TypeError, AttributeError) as error:  # a part is missing or malformed
        raise ValueError(
            f"{path} is damaged or was changed by hand ({error}); save the model "
            "again with kit.save"
        ) from None


def _read(path):
    """Header and tensors of a file, in memory: a file that is mapped may change underneath."""
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")  # of the JSON with which the format begins
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["kit"])
        if "format" not in header:
            raise ValueError("it names no format")
        tensors = from_bytes(content)
        checksum = header.pop("sha256", None)  # older files have none
        intact = checksum is None or checksum == _digest(header, tensors)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; kit.save writes one") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a model that kit.save wrote ({error})") from None
    if not intact:
        raise ValueError(
            f"{path} is damaged: its content has changed since kit.save wrote it; "
            "copy it again, or save the model again"
        )
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
    found, expected = shapes(groups["model"]), shapes(model.state_dict())
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"the weights do not fit the core {type(model.core).__name__}: {name} "
                f"is {found.get(name, 'missing')} in the file, and "
                f"{expected.get(name, 'missing')} in the model"
            )
    _require_finite(groups["model"])
    model.load_state_dict(groups["model"], assign=core is None)
    for name, value in sorted(groups["data_statistics"].items()):  # the file has any order
        mouse, _, key = name.partition("/")
        model.data_statistics.setdefault(mouse, {})[key] = value.numpy()
    model.description = header["description"]
    return model.eval()


def _empty_model(header, neurons, core):
    """A model with the given core, or with one that takes no memory before its weights."""
    name, settings = header["core"]["class"], header["core"]["settings"]
    if core is None and (name not in CORES or settings is None):
        raise ValueError(
            f"the model has a core of class {name}, which is not one of the kit; "
            "build one and give it: kit.load_model(path, core=...)"
        )
    try:
        config = ModelConfig(**header["config"])
        if core is None:
            with torch.device("meta"):  # the settings of a damaged file may ask for any size
                return Model(CORES[name](**settings).float(), neurons, config)
    except ValueError as problem:  # of the file, not of a caller
        raise TypeError(problem) from None
    return Model(core, neurons, config)
