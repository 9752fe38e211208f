"""Models on disk: weights with everything that is needed to refuse a mismatch."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from kit.files import whole
from kit.layers import ConvCore
from kit.model import Model, ModelConfig

FORMAT = 1  # of the file; a newer one is refused


def save(model, path):
    """Write a model to a safetensors file, whole or not at all.

    The file carries its settings, image size, neurons, their ids and the units it was trained in.
    """
    met = {f"trained_on/{mouse}/{name}": torch.from_numpy(np.array(value))
           for mouse, values in model.trained_on.items() for name, value in values.items()}
    weights = {f"model/{name}": value.contiguous().clone()
               for name, value in model.state_dict().items()}
    about = {"format": FORMAT, "config": asdict(model.config),
             "core": {"class": type(model.core).__name__,
                      "settings": getattr(model.core, "settings", None)},
             "neurons": {mouse: len(readout.bias) for mouse, readout in model.readouts.items()}}
    with whole(path) as part:
        part.write_bytes(to_bytes({**weights, **met}, {"kit": json.dumps(about)}))


def load_model(path, core=None):
    """Read a model that `save` wrote.

    core: a module of the same architecture, needed only where the model's core is not the kit's.
    Raises ValueError if the file is not such a model, or its core is another than given.
    """
    path = Path(path)
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
    core = core or _core(about["core"], path)
    config = about["config"] | {"image_size": tuple(about["config"]["image_size"])}
    neurons = {mouse: np.zeros((count, 2)) for mouse, count in about["neurons"].items()}
    model = Model(core, neurons, ModelConfig(**config))
    try:
        model.load_state_dict({name.removeprefix("model/"): value
                               for name, value in tensors.items() if name.startswith("model/")})
    except RuntimeError as problem:
        raise ValueError(f"the weights in {path} do not fit the core {type(core).__name__}: "
                         f"{str(problem).splitlines()[-1].strip()}") from None
    for name, value in tensors.items():
        if name.startswith("trained_on/"):
            _, mouse, what = name.split("/")
            model.trained_on.setdefault(mouse, {})[what] = value.numpy()
    return model.eval()


def _core(about, path):
    if about["class"] != ConvCore.__name__:
        raise ValueError(f"the model in {path} has a core of class {about['class']}, which is not "
                         "the kit's; build one and give it: kit.load_model(path, core=...)")
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        return ConvCore(**about["settings"])
