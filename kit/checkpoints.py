"""Models and trainings on disk, with all that is needed to refuse a mismatch; trained models."""

import io
import json
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pooch
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from kit import catalog
from kit.files import whole
from kit.layers import ConvCore
from kit.model import Model, ModelConfig
from kit.vit import ViTCore

CORES = {core.__name__: core for core in (ConvCore, ViTCore)}  # built again from their settings
FORMAT = 1  # of the file; a newer one is refused
MAGIC = b"kit.train checkpoint 1\n"  # how a checkpoint begins; then its SHA-256, then its content
SHIPPED = Path(__file__).parent / "weights"  # models of the sample mice, by benchmarks/weights.py
SOURCE = "https://github.com/sinzlab/sensorium"


def save(model, path):
    """Write a model to a safetensors file, whole or not at all.

    The file carries its settings, image size, neurons, their ids and the units it was trained in.
    """
    if not isinstance(model, Model):
        raise ValueError(f"a file holds one Model, not {type(model).__name__}; save each of an "
                         "ensemble by itself, and kit.ensemble what kit.load_model reads")
    met = {f"trained_on/{mouse}/{name}": torch.from_numpy(np.array(value))
           for mouse, values in model.trained_on.items() for name, value in values.items()}
    weights = {f"model/{name}": value.contiguous().clone()
               for name, value in model.state_dict().items()}
    about = {"format": FORMAT, "config": asdict(model.config),
             "core": {"class": type(model.core).__name__,
                      "settings": getattr(model.core, "settings", None)},
             "text": model.about,
             "neurons": {mouse: len(readout.bias) for mouse, readout in model.readouts.items()}}
    with whole(path) as part:
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
        {"model": weights, "trained_on": statistics}[kind][rest] = value
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
        model.trained_on.setdefault(mouse, {})[what] = value.numpy()
    model.about = str(about.get("text", ""))
    return model


def _core(about, path):
    if about["class"] not in CORES:
        raise ValueError(f"the model in {path} has a core of class {about['class']}, which is not "
                         "the kit's; build one and give it: kit.load_model(path, core=...)")
    with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
        return CORES[about["class"]](**about["settings"])


# ---- the state of a training, to go on from ----

def write_state(path, state):
    content = io.BytesIO()
    torch.save(state, content)
    digest = sha256(content.getbuffer()).hexdigest().encode()
    with whole(path) as part, part.open("wb") as file:
        file.writelines([MAGIC, digest, content.getbuffer()])


def read_state(path):
    try:
        with open(path, "rb") as file:
            magic = file.read(len(MAGIC))
            digest, content = (file.read(64), file.read()) if magic == MAGIC else (b"", b"")
        if magic != MAGIC:
            raise ValueError(f"{path} is not a checkpoint that kit.train wrote; name another file")
        if sha256(content).hexdigest().encode() != digest:
            raise ValueError(f"the checkpoint {path} is damaged; delete it to start anew")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError as problem:
        raise type(problem)(f"{path} cannot be read as a checkpoint: {problem.strerror.lower()}; "
                            "name another file") from None
    except (UnpicklingError, RuntimeError, EOFError) as problem:
        raise ValueError(f"the checkpoint {path} holds more than numbers and is not opened "
                         f"({str(problem).splitlines()[0]}); delete it to start anew") from None


# ---- trained models: the published ones of 2022, and those of the sample mice ----

NAMES = (  # of tensors: a pattern of ours, what 2022 calls it
    (r"core\.layers\.0\.0\.", "core.features.layer0.conv."),
    (r"core\.layers\.0\.1\.", "core.features.layer0.norm."),
    (r"core\.layers\.(\d+)\.0\.", r"core.features.layer\1.ds_conv.in_depth_conv."),
    (r"core\.layers\.(\d+)\.1\.", r"core.features.layer\1.ds_conv.spatial_conv."),
    (r"core\.layers\.(\d+)\.2\.", r"core.features.layer\1.ds_conv.out_depth_conv."),
    (r"core\.layers\.(\d+)\.3\.", r"core.features.layer\1.norm."),
    (r"readouts\.([^.]+)\.features", r"readout.\1._features"),
    (r"readouts\.([^.]+)\.cortex", r"readout.\1.source_grid"),
    (r"readouts\.([^.]+)\.retinotopy", r"readout.\1.mu_transform"),
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
        raise ValueError(f"there is no trained model {name[:200]!r}; {catalog.meant(name, known)}"
                         f"names are {', '.join(main)}, and those of an ablation in kit/weights")
    path = catalog.fetch_weights(name, folder) if path is None else Path(path)
    return _published(catalog.WEIGHTS[name], _tensors(name, path), path)


def _tensors(name, path):
    """The tensors of a published file, by their names of 2022. Nothing in it is executed."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; leave path out and "
                                f"kit.pretrained({name!r}) downloads it")
    found, expected = pooch.file_hash(path), catalog.WEIGHTS[name].sha256
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
    model.about = "\n".join([
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
