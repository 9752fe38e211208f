"""Checkpoints: the state of a training on disk, to continue from."""

import io
import os
import zipfile
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from kit.checks import require_path, system_words
from kit.data.recordings import Dataset
from kit.files import atomic_write
from kit.models.comparing import shapes
from kit.models.model import Model
from kit.training.config import History, TrainConfig
from kit.training.distributed import rng_modules

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FORMAT = "kit.train checkpoint 3"


class Checkpoint:
    """The file with the state of one training. `path` may be None: nothing is read or written.

    Make it before the training changes the model: it remembers the first weights.
    """

    def __init__(
        self,
        path: str | Path | None,
        model: Model,
        data: Dataset,
        config: TrainConfig,
        fabric: "Fabric",
    ) -> None:
        self.path = None if path is None else require_path("checkpoint", path)
        self.model, self.config, self.fabric = model, config, fabric
        if self.path is None:
            return
        self.identity = identity(model, data, config)
        # must be the same to continue, not to read the weights of a finished training
        self.start = {
            "first weights": weights_digest(model.state_dict()),
            "processes": str(fabric.world_size),
            "device": fabric.device.type,
        }

    def write(self, state: dict) -> None:
        """Write the state of a training, as a whole or not at all."""
        with atomic_write(cast(Path, self.path)) as part:
            torch.save(
                {"format": FORMAT, "identity": self.identity, "start": self.start, **state}, part
            )

    def read(self) -> dict | None:
        """The state that `write` saved, or None if there is no file yet. Changes nothing.

        Raises ValueError if the file is not a checkpoint, is damaged or does not fit this training.
        """
        if self.path is None or not os.path.lexists(self.path):
            return None
        saved = read_state(self.path)
        try:
            self._require_same_training(saved)
            misfits = self._misfits(saved)
        except (AttributeError, KeyError, TypeError) as error:
            misfits = [f"a part is missing or malformed, {error}"]
        if misfits:
            raise ValueError(
                f"the checkpoint {self.path} does not fit this training "
                f"({', '.join(misfits)}); delete it to start again"
            )
        self.start = saved["start"]
        return saved

    def _require_same_training(self, saved):
        then, now = saved["identity"], self.identity
        if not saved["history"]["stopped"]:
            then, now = then | saved["start"], now | self.start
            if now["first weights"] == weights_digest(saved["best"]):  # after Ctrl-C
                now["first weights"] = then["first weights"]
        for name in now | then:
            if then.get(name) != now.get(name):
                raise ValueError(
                    f"the checkpoint {self.path} is of a training with {name}="
                    f"{then.get(name)}, this one has {name}={now.get(name)}; build "
                    "the model and train it as before, or name another file"
                )

    def _misfits(self, saved):
        """The names of the parts of a saved state that do not fit the model and the settings."""
        history, weights = History(**saved["history"]), shapes(self.model.state_dict())
        fits = {
            "history": _is_consistent(history),
            "weights": shapes(saved["model"]) == shapes(saved["best"]) == weights,
        }
        if not history.stopped:
            random = {
                module.__name__: module.get_rng_state().expand(self.fabric.world_size, -1)
                for module in rng_modules(self.fabric)
            }
            fits["epochs"] = len(history.loss) < self.config.epochs
            threads = saved.get("threads", 1)  # earlier versions did not choose
            fits["threads"] = type(threads) is int and threads >= 1
            fits["optimizer"] = _optimizer_fits(saved, self.model)
            fits["random states"] = shapes(saved["random"]) == shapes(random)
        return [name for name, fit in fits.items() if not fit]


def _is_consistent(history):
    """Whether all lists have one finite number per epoch, and the best epoch is the best."""
    lists = [history.loss, history.correlation, history.lr, history.seconds]
    best = int(np.argmax(history.correlation)) if history.correlation else None
    same_length = len({len(values) for values in lists}) == 1
    return same_length and bool(np.isfinite(lists).all()) and history.best_epoch == best


def _optimizer_fits(saved, model):
    """Whether Adam's state belongs to the model's parameters after the epochs of the history."""
    averages = saved["optimizer"]["state"]  # by the index of the parameter
    parameters = dict(model.named_parameters())
    groups = [group["params"] for group in saved["optimizer"]["param_groups"]]
    if groups != [list(range(len(parameters)))]:
        return False
    if not saved["history"]["loss"]:
        return not averages
    for index, (name, value) in enumerate(parameters.items()):
        if index not in averages:  # only parameters that never had a gradient lack a state
            if value.requires_grad and not torch.equal(saved["model"][name], value.cpu()):
                return False
        elif {averages[index][part].shape for part in ("exp_avg", "exp_avg_sq")} != {value.shape}:
            return False
    return True


def read_state(path: str | Path) -> dict:
    """The state in a checkpoint. Raises ValueError or OSError if there is none."""
    try:
        content = io.BytesIO(Path(path).read_bytes())
    except OSError as problem:
        raise type(problem)(
            f"{path} cannot be read as a checkpoint: {system_words(problem)}; name another file"
        ) from None
    if not content.getvalue().startswith(b"PK") or not zipfile.is_zipfile(content):
        raise ValueError(
            f"{path} is not a checkpoint that kit.train wrote, or not a whole one; "
            "name another file, or delete this one to start again"
        )
    try:
        with zipfile.ZipFile(content) as archive:
            intact = archive.testzip() is None
        content.seek(0)
        state = torch.load(content, map_location="cpu", weights_only=True) if intact else None
    except UnpicklingError as problem:
        raise ValueError(
            f"the checkpoint {path} holds more than numbers and is not opened "
            f"({str(problem).splitlines()[0]}); delete it to start again"
        ) from None
    except (RuntimeError, EOFError, zipfile.BadZipFile):
        state = None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"the checkpoint {path} is damaged, or is not one; delete it to start again"
        )
    return state


def identity(model: Model, data: Dataset, config: TrainConfig) -> dict[str, str]:
    """All that decides the result of a training, as names and values in plain words."""
    parts = {
        **asdict(config),
        "mice": ", ".join(data),
        "model": model.config,
        "core": f"{type(model.core).__name__} {getattr(model.core, 'settings', '')}",
    }
    for mouse, recording in data.items():
        digest = sha256()
        digest.update(recording.unit_ids.tobytes())
        for _, value in sorted(recording.statistics.items()):
            digest.update(np.asarray(value).tobytes())
        parts[f"neurons of {mouse}"] = (
            f"{len(recording.unit_ids)} (ids and units {digest.hexdigest()[:8]})"
        )
        parts[f"images of {mouse}"] = len(recording.rows("train"))
    for name, value in model.state_dict().items():
        parts[f"shape of {name}"] = tuple(value.shape)
    parts["frozen parameters"] = sum(not value.requires_grad for value in model.parameters())
    return {name: str(value) for name, value in parts.items()}


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """A hash that tells weights apart, of rounded means: last digits differ between processors."""
    means = [f"{value.double().mean():z.4f}" for value in state.values()]
    return sha256(" ".join(means).encode()).hexdigest()[:8]
