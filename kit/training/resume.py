"""Checkpoints: the state of a training on disk, to continue from."""

import io
import os
import zipfile
from contextlib import suppress
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
from kit.models.model import Model
from kit.training.config import TrainConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FORMAT = "kit.train checkpoint 3"
# what a file must hold to be a checkpoint
PARTS = {"identity", "start", "history", "best", "model", "optimizer", "scaler", "random", "drops"}


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
        self.path = None
        if path is None:
            return
        self.path = require_path("checkpoint", path)
        self.identity = identity(model, data, config)
        # must be the same to continue a training, but not to read the weights of a finished one
        self.start = {
            "first weights": weights_digest(model.state_dict()),
            "processes": str(fabric.world_size),
            "device": fabric.device.type,
        }

    def write(self, state: dict) -> None:
        """Write the state of a training, as a whole or not at all."""
        header = {"format": FORMAT, "identity": self.identity, "start": self.start}
        with atomic_write(cast(Path, self.path)) as part:
            torch.save(header | state, part)

    def read(self) -> dict | None:
        """The state that `write` saved, or None if there is no file yet. Changes nothing.

        Raises ValueError if the file is not a checkpoint, is damaged or does not fit this training.
        """
        if self.path is None or not os.path.lexists(self.path):
            return None
        saved = read_state(self.path)
        then = saved["identity"]
        now = self.identity
        if not saved["history"]["stopped"]:
            then = then | saved["start"]
            now = now | self.start
            if now["first weights"] == weights_digest(saved["best"]):  # those that Ctrl-C left
                now["first weights"] = then["first weights"]
        for name in now | then:
            if then.get(name) != now.get(name):
                raise ValueError(
                    f"the checkpoint {self.path} is of a training with {name}={then.get(name)}, "
                    f"this one has {name}={now.get(name)}; train as before, or name another file"
                )
        self.start = saved["start"]
        return saved


def read_state(path: str | Path) -> dict:
    """The state in a checkpoint. Raises OSError if the file cannot be read, else ValueError."""
    try:
        content = io.BytesIO(Path(path).read_bytes())
    except OSError as problem:
        raise type(problem)(
            f"{path} cannot be read as a checkpoint: {system_words(problem)}; name another file"
        ) from None
    state = None
    with suppress(RuntimeError, EOFError, zipfile.BadZipFile, UnpicklingError):
        with zipfile.ZipFile(content) as archive:
            intact = archive.testzip() is None
        content.seek(0)
        if intact:
            state = torch.load(content, map_location="cpu", weights_only=True)  # runs no code
    if not isinstance(state, dict) or state.get("format") != FORMAT or not state.keys() >= PARTS:
        raise ValueError(
            f"{path} is damaged, or is not a checkpoint that this version of kit.train wrote; "
            "name another file, or delete it to start again"
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
        digest = sha256(recording.unit_ids.tobytes())
        for _, value in sorted(recording.statistics.items()):
            digest.update(np.asarray(value).tobytes())
        # units: the means and stds by which the values were standardised
        ids_and_units = digest.hexdigest()[:8]
        parts[f"neurons of {mouse}"] = f"{len(recording.unit_ids)} (ids and units {ids_and_units})"
        parts[f"images of {mouse}"] = len(recording.rows("train"))
    for name, value in model.state_dict().items():
        parts[f"shape of {name}"] = tuple(value.shape)
    parts["frozen parameters"] = sum(not value.requires_grad for value in model.parameters())
    return {name: str(value) for name, value in parts.items()}


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """A hash of the mean of each tensor, rounded: the last digits differ between processors."""
    means = [f"{value.double().mean():z.4f}" for value in state.values()]  # z: no -0.0000
    return sha256(" ".join(means).encode()).hexdigest()[:8]
