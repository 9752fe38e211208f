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

CORES = {core.__name__: core for core in (ConvCore, ViTCore)}  # built again from their settings
FORMAT = 2  # of the file; another one is refused


def save(model, path):
    """Write a model to a safetensors file, whole or not at all.

    The file carries its settings, image size, neurons, their ids and the units it was trained in.
    """
    if not isinstance(model, Model):
        raise ValueError(f"a file holds one Model, not {type(model).__name__}; save each of an "
                         "ensemble by itself, and kit.ensemble what kit.load_model reads")
    met = {f"data_statistics/{mouse}/{name}": torch.from_numpy(np.array(value))
           for mouse, values in model.data_statistics.items() for name, value in values.items()}
    weights = {f"model/{name}": value.contiguous().clone()
               for name, value in model.state_dict().items()}
    about = {"format": FORMAT, "config": asdict(model.config),
             "core": {"class": type(model.core).__name__,
                      "settings": getattr(model.core, "settings", None)},
             "description": model.description,
             "neurons": {mouse: len(readout.bias) for mouse, readout in model.readouts.items()}}
    with atomic_write(path) as part:
        part.write_bytes(to_bytes({**weights, **met}, {"kit": json.dumps(about)}))


def load_model(path, core=None):
    """Read a model that `save` wrote.

    core: a module of the same architecture, needed only where the model's core is not the kit's.
    Raises ValueError if the file is not such a model, or its core is another than given.
    """
    path = Path(path)
    if core is not None and not isinstance(core, nn.Module):
        raise ValueError(f"core={core!r} is not a module; build one, such as MyCore(), and give "
                         "that")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("kit", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; kit.save writes one") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as problem:
        raise ValueError(f"{path} is not a model that kit.save wrote ({problem})") from None
    if "format" not in about:
        raise ValueError(f"{path} is not a model that kit.save wrote: it does not say what it is")
    if about["format"] != FORMAT:
        raise ValueError(f"{path} has model format {about['format']}, this kit reads {FORMAT}; "
                         "read it with the version of the kit that wrote it")
    try:
        return _rebuilt(about, tensors, core, path).eval()
    except (KeyError, TypeError, AttributeError) as problem:  # a part is missing or malformed
        raise ValueError(f"{path} is damaged or was changed by hand ({problem}); save the model "
                         "again with kit.save") from None


def _rebuilt(about, tensors, core, path):
    """The model that a file describes, once its sizes are those of its tensors."""
    config = about["config"] | {"image_size": tuple(about["config"]["image_size"])}
    weights, statistics = {}, {}
    for name, value in tensors.items():
        kind, _, rest = name.partition("/")
        {"model": weights, "data_statistics": statistics}[kind][rest] = value
    neurons = {}
    for mouse, count in about["neurons"].items():
        there = len(weights.get(f"readouts.{mouse}.bias", ()))
        if there != count:  # said before memory is taken for them
            raise ValueError(f"the weights in {path} do not fit what it says: mouse {mouse} has "
                             f"{count} neurons, and there are weights of {there}")
        neurons[mouse] = np.zeros((count, 2))
    # on "meta" nothing takes memory yet: sizes in the settings may be wrong
    with torch.device("meta" if core is None else "cpu"):
        model = Model(core or _core(about["core"], path), neurons, ModelConfig(**config))
    try:
        model.load_state_dict(weights, assign=core is None)
    except RuntimeError as problem:
        raise ValueError(f"the weights in {path} do not fit the core {type(model.core).__name__}: "
                         f"{str(problem).splitlines()[-1].strip()}") from None
    for name, value in statistics.items():
        mouse, _, what = name.partition("/")
        model.data_statistics.setdefault(mouse, {})[what] = value.numpy()
    model.description = str(about.get("description", ""))
    return model


def _core(about, path):
    if about["class"] not in CORES:
        raise ValueError(f"the model in {path} has a core of class {about['class']}, which is not "
                         "the kit's; build one and give it: kit.load_model(path, core=...)")
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        return CORES[about["class"]](**about["settings"])
