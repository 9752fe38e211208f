"""How often the intervals hold the true value, and how often a ranking is wrong, in simulations.

Images and responses are those of the mouse sample+, drawn anew each time: 100 images shown ten
times, calcium-like noise, behaviour frozen. Entries are the shipped models. The truth is their
score over all images of the mouse, on many repeats. Takes about ten minutes.
"""

import argparse
from functools import cache

import numpy as np
import torch

import kit
from kit.data.simulation.cells import draw_responses
from kit.evaluation import bootstrap

REPEATS = 10
SCORES = {
    "single-trial": bootstrap.single_trial_score,
    "to average": bootstrap.average_score,
}


class World:
    """The images of a mouse, the rates of its cells, and responses drawn from them."""

    def __init__(self, neurons, seed):
        recording, cells = kit.load("sample+").mouse, kit.truth("sample+").cells
        _, first = np.unique(recording.image_ids, return_index=True)
        self.images = recording.images[first]
        self.chosen = np.arange(0, 600, 600 // neurons)
        blocks = torch.from_numpy(self.images).double().split(256)
        rates = np.concatenate([cells.relative_rates(block).numpy() for block in blocks])
        self.rates, self.events = rates[:, self.chosen], cells.event_rate.numpy()[self.chosen]
        self.rng = np.random.default_rng(seed)

    @cache  # noqa: B019 (there are two worlds)
    def predictions(self, name):
        return kit.lab.responses(kit.pretrained(name), self.images)[:, self.chosen]

    def responses(self, shown):
        return draw_responses(self.rates[shown], self.events, self.rng)[1]

    def true_scores(self, names):
        """Name -> the scores over all images: mean of six sessions of ten repeats."""
        shown = np.tile(np.arange(len(self.images)), REPEATS)
        sums = {name: np.zeros(2) for name in names}
        for _ in range(6):
            responses = self.responses(shown)
            for name in names:
                p = self.predictions(name)[shown]
                single = kit.metrics.correlation(p, responses).mean()
                average = kit.metrics.correlation_to_average(p, responses, shown).mean()
                sums[name] += np.array([single, average]) / 6
        return sums

    def session(self, images):
        """Which images are shown, in which trial, and the responses."""
        pick = self.rng.choice(len(self.images), images, replace=False)
        shown = np.repeat(pick, REPEATS)
        return pick, shown, self.responses(shown)


def coverage(world, simulations, images, one, other):
    """Print how often the intervals hold the true difference, and the true score of the first."""
    true = world.true_scores([one, other])
    hits = {name: [] for name in SCORES}
    for seed in range(simulations):
        _, shown, responses = world.session(images)
        for i, (name, score) in enumerate(SCORES.items()):
            a, b = (
                score(world.predictions(each)[shown], responses, shown) for each in (one, other)
            )
            low, high = bootstrap.compare_scores(a, b, 2000, seed).interval
            alone_low, alone_high = bootstrap.interval(a, 2000, seed)
            difference = true[one][i] - true[other][i]
            hits[name].append((low <= difference <= high, alone_low <= true[one][i] <= alone_high))
    for name, values in hits.items():
        pair, alone = np.mean(values, 0)
        print(f"{images} images, {name}, {one} - {other}: difference {pair:.1%}, one {alone:.1%}")


def family(world, simulations, images, entries=12):
    """Print how often equal entries are not all tied. Their errors are shared by neurons."""
    base, count = world.predictions("sample+-cnn"), len(world.chosen)
    loadings = world.rng.standard_normal((4, count)) / 4
    for name, score in SCORES.items():
        wrong = 0
        for seed in range(simulations):
            pick, shown, responses = world.session(images)
            trials = np.repeat(np.arange(images), REPEATS)
            scored = []
            for _ in range(entries):
                error = world.rng.standard_normal((images, 4)) @ loadings
                error += 0.2 * world.rng.standard_normal((images, count))
                p = (base[pick] + base.std(0) * error)[trials]
                scored.append(score(p, responses, shown))
            wrong += not bootstrap.rank_scores(scored, 2000, seed).tied.all()
        share = wrong / simulations
        upper = share + 1.96 * np.sqrt(share * (1 - share) / simulations)
        print(
            f"{images} images, {name}, {entries} equal entries: one left out of the tied group in "
            f"{share:.1%} of simulations (95 % upper bound {upper:.1%})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 60])
    options = parser.parse_args()
    world = World(options.neurons, seed=0)
    for images in options.images:
        family(world, options.simulations, images)
        for pair in (("cnn", "shifter-gain-1"), ("shifter-gain-1", "shifter-gain-2")):
            coverage(world, options.simulations, images, *(f"sample+-{name}" for name in pair))


if __name__ == "__main__":
    main()
