"""Small models, and trainings that are interrupted, killed or run in two processes.

trainer.py FOLDER all: all in which several processes are compared with one
trainer.py FOLDER train OUT [CHECKPOINT DIE]: train; at step DIE the last process kills itself
"""

import atexit
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
import tiny
import torch

import kit
import kit.training.loop

RANK, PROCESSES = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
SCRIPT = Path(__file__)
SMALL = ("8-1-1", "9-1-1")


def build(data, channels=4, seed=42):
    config = kit.ModelConfig(image_size=tuple(data.image_size), seed=seed)
    return kit.linear_baseline(data, channels, config)


def quick(**changes):
    return kit.TrainConfig(**{"epochs": 3, "batch_size": 16, "device": "cpu"} | changes)


def same_state(state_a, state_b):
    same_names = state_a.keys() == state_b.keys()
    return same_names and all(torch.equal(state_a[name], state_b[name]) for name in state_a)


def same_weights(model_a, model_b):
    return same_state(model_a.state_dict(), model_b.state_dict())


def write(folder):
    """A mouse that can be learned well, and two small ones."""
    tiny.write(folder, tiny.arrays(neurons=100, tiers={"train": 800, "validation": 150}))
    tiny.write(folder, mouse=SMALL[0])
    tiny.write(folder, tiny.arrays(3, neurons=10, tiers={"train": 1, "validation": 12}), SMALL[1])


def load(folder, *mice):
    paths = [folder / f"static{mouse}-GrayImageNet-tiny.zip" for mouse in mice]
    return kit.load(paths, size=(18, 32), folder=folder / "data")


def train(folder, out, checkpoint=None, die=None):
    """Two mice, in batches that cannot be halved; one mouse has a single image."""
    data = load(folder, *SMALL)
    model = kit.cnn_baseline(data, channels=4)
    config = kit.TrainConfig(epochs=6, batch_size=13, device="cpu")
    with dying_at(int(die or 0) if RANK == PROCESSES - 1 else 0):
        log = kit.train(model, data, config, checkpoint)
    finish(folder, out, {"weights": model.state_dict(), "history": vars(log)})


def learn(folder):
    data = load(folder, "7-1-1")
    model = kit.linear_baseline(data, channels=16)
    log = kit.train(model, data, kit.TrainConfig(epochs=10, batch_size=16, device="cpu"))
    finish(folder, "learned", {"weights": model.state_dict(), "history": vars(log)})


def gradients(folder, mice):
    """The gradients of a step for 1, 2, 5 and 16 images of every mouse, without randomness."""
    data, steps = load(folder, *mice), {}
    model = kit.cnn_baseline(data, channels=4)
    fabric = kit.training.distributed.make_fabric(model, "cpu", "32-true")
    run = kit.training.loop.Trainer(model, data, kit.TrainConfig(), fabric)
    for part in model.train().modules():
        part.training = not isinstance(part, torch.nn.BatchNorm2d)
    for mouse in data:
        for images in (1, 2, 5, 16):
            run.optimizer.zero_grad()
            batch = data[mouse].first("validation", images)
            still = mock.patch("torch.randn_like", torch.zeros_like)  # the readouts' sampling
            with still, kit.training.distributed.seeded_by_rank(1, fabric):
                loss, mean_loss = run.loss(mouse, batch)
                fabric.backward(loss)
                loss = fabric.all_reduce(mean_loss, reduce_op="sum")
            grads = {name: value.grad.clone() for name, value in model.named_parameters()
                     if value.grad is not None}  # fmt: skip
            steps[mouse, images] = grads | {"loss": loss}
    finish(folder, f"gradients-{len(mice)}", steps)


def finish(folder, out, outcome):
    torch.save(outcome, folder / f"{out}-{RANK}-of-{PROCESSES}.pt")


def outcome(folder, out, rank=0, processes=1):
    return torch.load(folder / f"{out}-{rank}-of-{processes}.pt", weights_only=True)


def interrupted_at(epoch):
    """A validation that is interrupted by Ctrl-C in an epoch, counted from 1."""
    calls, validation = [], kit.training.loop.validation_correlation

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == epoch:
            raise KeyboardInterrupt
        return validation(*arguments)

    return mock.patch("kit.training.loop.validation_correlation", interrupted)


def dying_at(step):
    """A loss that kills its process at a step without a message; 0 is never."""
    calls, loss = [], kit.training.loop.poisson_loss

    def deadly(*arguments):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(*arguments)

    return mock.patch("kit.training.loop.poisson_loss", deadly)


def count_threads(folder):
    """How many threads of the connection to other processes run; none are seen but on Linux."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # a thread that ended between the two lines
            names.append(path.read_text())
    finish(folder, "threads", {"gloo": sum("gloo" in name for name in names)})


def everything(folder):
    atexit.register(count_threads, folder)  # registered first, called last
    gradients(folder, SMALL[:1])
    gradients(folder, SMALL)
    train(folder, "small")
    learn(folder)
    with pytest.raises(ValueError, match="is not a checkpoint that"):
        train(folder, "refused", SCRIPT)  # in every process; none waits for another


if __name__ == "__main__":
    {"train": train, "all": everything}[sys.argv[2]](Path(sys.argv[1]), *sys.argv[3:])
