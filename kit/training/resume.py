"""The state of a training on disk, to go on from."""

import io
import os
from dataclasses import asdict
from hashlib import sha256
from pickle import UnpicklingError

import numpy as np
import torch

from kit.files import atomic_write

MAGIC = b"kit.train checkpoint 1\n"  # how a checkpoint begins; then its SHA-256, then its content


def write_state(path, state):
    content = io.BytesIO()
    torch.save(state, content)
    digest = sha256(content.getbuffer()).hexdigest().encode()
    with atomic_write(path) as part, part.open("wb") as file:
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


def identity(model, data, config):
    """What must be the same for a training to go on: a dict of names and values, plain words."""
    about = {**asdict(config), "mice": ", ".join(data), "model": model.config,
             "core": f"{type(model.core).__name__} {getattr(model.core, 'settings', '')}"}
    for mouse, recording in data.items():
        digest = sha256()
        for _, value in [("", recording.unit_ids), *sorted(recording.statistics.items())]:
            digest.update(np.ascontiguousarray(value))
        about[f"neurons of {mouse}"] = (f"{len(recording.unit_ids)} (ids and units "
                                        f"{digest.hexdigest()[:8]})")
        about[f"images of {mouse}"] = len(recording.rows("train"))
    about |= {f"shape of {name}": tuple(value.shape) for name, value in model.state_dict().items()}
    return {name: str(value) for name, value in about.items()}


def _place(fabric):
    """Where a training runs: random numbers depend on it."""
    return {"processes": str(fabric.world_size), "device": fabric.device.type}


def _kept(path, now, fabric):
    """What `Trainer.keep` wrote to `path`, None if nothing yet.

    Raises ValueError if it is no checkpoint, damaged, or of another training.
    """
    if path is None or not os.path.lexists(path):
        return None
    kept = read_state(path)
    then = kept["identity"]
    if not kept["history"]["stopped"]:
        then, now = then | kept["place"], now | _place(fabric)
    for name in {**now, **then}:
        if then.get(name) != now.get(name):
            raise ValueError(f"the checkpoint {path} is of a training with {name}="
                             f"{then.get(name)}, this one has {name}={now.get(name)}; go on with "
                             "the same, or name another file")
    return kept
