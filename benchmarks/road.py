"""The road to a score: the recipe of 2022 to its stop, and this kit's recipe to the same score.

A simulated mouse of 1,000 neurons, 1,000 images to train on, the CNN with behaviour and eye
position, 64 channels. The recipe of 2022 runs with the library of that year (neuralpredictors
0.3.0: its core, readout, shifter, loader and early stopping), this kit's is kit.TrainConfig().
Prints every epoch's seconds since the start and validation score, then how long both took to the
score at which the recipe of 2022 stopped. Takes an hour; the logs of two runs are road.log and
road_means.log.

With 1,000 images an epoch has eight steps of 128, and the patience of the recipe of 2022 ends on
the plateau where all these trainings begin. --means gives it a help that it did not have and
this kit has, biases that start at each neuron's mean response; it stops there all the same.

    python benchmarks/road.py --threads 1 --means | tee benchmarks/road_means.log
"""

import argparse
import logging
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from bench import BATCH, kit_model, names_of_2022, peer_forward, peer_opened, peer_parts

import kit

MOUSE = kit.data.simulation.Mouse(
    "99101-1-1", seed=11, neurons=1000, train=1000, validation=200, test=10, final_test=0
)


def line(who, epoch, seconds, score, lr):
    print(f"{who:8}{epoch:6}{seconds:10.1f}{score:10.4f}{lr:10.5f}", flush=True)


def kits(data):
    """Seconds since the start and score of every epoch of this kit's recipe, both (epochs,)."""
    torch.manual_seed(0)
    model = kit_model("CNN with behaviour", data.mouse.coordinates, data.mouse.mouse)
    started = time.perf_counter()
    history = kit.train(model, data)
    whole = time.perf_counter() - started
    seconds = np.cumsum(history.seconds) + whole - sum(history.seconds)
    for epoch, entry in enumerate(zip(seconds, history.correlation, history.lr, strict=True)):
        line("kit", epoch + 1, *entry)
    return seconds, np.array(history.correlation)


def loader(folder, tier):
    """Batches of a tier as the library of 2022 gives them."""
    data = peer_opened(folder)
    rows = np.flatnonzero(np.load(folder / "meta" / "trials" / "tiers.npy") == tier)
    if tier == "train":
        sampler = torch.utils.data.SubsetRandomSampler(rows)
        return torch.utils.data.DataLoader(data, BATCH, sampler=sampler)
    return torch.utils.data.DataLoader(torch.utils.data.Subset(data, rows), BATCH)


def theirs(folder, data, means):
    """The same of the recipe of 2022."""
    names_of_2022()
    from neuralpredictors.training import early_stopping

    logging.disable()
    torch.manual_seed(0)
    parts = peer_parts("CNN with behaviour", data.mouse.coordinates)
    if means:
        start = kit.Model(kit.layers.ConvCore(1), data.neurons)
        start.register_data(data)
        parts[1].bias.data.copy_(start.readouts[data.mouse.mouse].bias)
    train, validation = (loader(folder, tier) for tier in ("train", "validation"))
    images = len(train.dataset)  # of all tiers, as in 2022
    optimizer = torch.optim.Adam(parts.parameters(), 0.009)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", 0.3, patience=5, threshold=1e-6, threshold_mode="abs", min_lr=1e-4
    )
    seconds, scores = [], []

    def score(parts):
        with torch.no_grad():
            predictions, responses = zip(
                *((peer_forward(parts, *inputs), responses)
                  for inputs, responses in map(fields, validation)), strict=True)  # fmt: skip
        return kit.metrics.correlation(*(torch.cat(p).numpy() for p in (predictions, responses))
                                       ).mean()  # fmt: skip

    def fields(batch):
        return (batch.images, batch.behavior, batch.pupil_center), batch.responses

    def enter(epoch, value):
        seconds.append(time.perf_counter() - started)
        scores.append(value)
        line("2022", epoch, seconds[-1], value, optimizer.param_groups[0]["lr"])

    started = time.perf_counter()
    for epoch, value in early_stopping(
        parts, score, interval=1, patience=5, max_iter=200, tolerance=1e-6, scheduler=scheduler,
        lr_decay_steps=4,
    ):  # fmt: skip
        enter(epoch - 1, value)  # of the epoch before
        parts.train()
        for batch in train:
            inputs, responses = fields(batch)
            predictions = peer_forward(parts, *inputs)
            loss = (predictions - responses * torch.log(predictions + 1e-8)).sum()
            loss = loss * np.sqrt(images / len(responses))
            (loss + parts[0].regularizer() + parts[1].regularizer("sum")).backward()
            optimizer.step()
            optimizer.zero_grad()
    enter("stop", score(parts.eval()))
    return np.array(seconds), np.array(scores)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--means", action="store_true", help="help the recipe of 2022")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':8}{'epoch':>6}{'seconds':>10}{'score':>10}{'rate':>10}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"static{MOUSE.id}-GrayImageNet-road.zip"
        kit.data.simulation.mice.simulate(MOUSE, path)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        data = kit.load(path, folder=folder)
        first = kits(data)
        seconds, scores = theirs(path.with_suffix(""), data, options.means)
        runs = [first, kits(data)]  # before and after, should the machine have changed
    helped = ", biases at the mean responses" * options.means
    print(f"recipe of 2022{helped}: stops at {scores[-1]:.4f} after {seconds[-1]:.0f} s")
    for ours, reached in runs:
        there = reached >= scores[-1]
        if there.any():
            soon = ours[there.argmax()]
            print(f"kit.TrainConfig(): is there after {soon:.0f} s, {seconds[-1] / soon:.1f} times "
                  f"sooner; ends at {reached.max():.4f} after {ours[-1]:.0f} s")  # fmt: skip
        else:
            print(f"kit.TrainConfig(): does not get there, ends at {reached.max():.4f}")


if __name__ == "__main__":
    main()
