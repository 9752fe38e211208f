"""Predictions and scores of a trained model, or of several as one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from kit import metrics
from kit.layers import evaluating
from kit.model import Model, agree
from kit.recordings import Dataset, dataset


@dataclass(frozen=True)
class Scores:
    """The three scores of the benchmark, their ceiling, and every neuron's own.

    A score that cannot be computed is None; its reason stands in the print.
    """

    single_trial: float | None  # correlation over single trials, mean over neurons
    to_average: float | None    # correlation over images, after averaging over repeats
    feve: float | None          # share of explainable variance explained, neurons with FEV >= .15
    ceiling: float | None       # single-trial correlation of the best stimulus-only model
    per_neuron: dict = field(repr=False)  # name -> (N,) array, in the order of "unit_ids"
    n_left_out: int = 0         # neurons left out of feve, FEV < .15
    reason: str = "needs repeats"

    def __str__(self):
        rows = [("single-trial correlation", self.single_trial),
                ("correlation to average", self.to_average), ("FEVE", self.feve),
                ("ceiling of the single-trial correlation", self.ceiling)]
        lines = [f"{name:<40} " + (f"{value:6.3f}" if value is not None else f"     - "
                                   f"({self.reason})") for name, value in rows]
        if self.feve is not None:
            lines[2] += f"  ({self.n_left_out} of {len(self.per_neuron['fev'])} neurons left out, "
            lines[2] += f"FEV < {metrics.FEV_THRESHOLD})"
        return "\n".join(lines)

    __repr__ = __str__


def scores(predictions, responses, image_ids, unit_ids):
    """All scores of predictions (T, N) for responses (T, N), as a `Scores`.

    image_ids: (T,); unit_ids: (N,). Without repeats there is a single-trial score and nothing else.
    """
    per_neuron = {"unit_ids": np.asarray(unit_ids),
                  "single_trial": metrics.correlation(predictions, responses)}
    if len(np.unique(image_ids)) < len(image_ids):
        per_neuron |= {
            "to_average": metrics.correlation_to_average(predictions, responses, image_ids),
            "fev": metrics.fev(responses, image_ids),
            "feve": metrics.feve(predictions, responses, image_ids),
            "oracle": metrics.oracle(responses, image_ids)}
    return _summary(per_neuron)


def _summary(per_neuron):
    """Means over neurons."""
    single = float(per_neuron["single_trial"].mean())
    if "fev" not in per_neuron:
        return Scores(single, None, None, None, per_neuron)
    kept = per_neuron["fev"] >= metrics.FEV_THRESHOLD
    return Scores(
        single_trial=single, to_average=float(per_neuron["to_average"].mean()),
        feve=float(per_neuron["feve"][kept].mean()) if kept.any() else None,
        # a model that knew each image's mean response would reach sqrt(FEV) on single trials
        ceiling=float(np.sqrt(per_neuron["fev"].clip(min=0)).mean()),
        per_neuron=per_neuron, n_left_out=int((~kept).sum()),
        reason="needs a neuron with FEV >= .15")


def predict(model, data, tier, mouse=None):
    """Predicted responses for every trial of a tier. Returns (T, N) float32, in the data's units.

    data: a `Dataset`; mouse: which of its mice, by default the only one.
    """
    recording = dataset(data).mouse if mouse is None else dataset(data)[mouse]
    if not (isinstance(model, nn.Module) and hasattr(model, "check")):
        raise ValueError(f"a model is needed, not a {type(model).__name__}; build one with "
                         "kit.cnn_baseline(data), or open one with kit.load_model(path)")
    model.check(Dataset([recording]))
    with evaluating(model), torch.inference_mode():
        blocks = [model(batch, recording.mouse).float().cpu().numpy()
                  for batch in recording.batches(tier, 64)]  # more leave the cache
    return np.concatenate(blocks)


def score(model, data, tier):
    """Scores of a model on a tier of all mice in `data`, as a `Scores`.

    Neurons of several mice are pooled. Raises ValueError for a tier whose responses are withheld.
    """
    results = []
    for mouse, recording in dataset(data).items():
        rows = recording.rows(tier)
        if recording.withheld(tier):
            raise ValueError(f"the responses of tier {tier!r} of mouse {mouse} are withheld: write "
                             "a submission with kit.submit, or score \"validation\"")
        predictions = predict(model, data, tier, mouse)
        results.append(scores(predictions, recording.responses[rows], recording.image_ids[rows],
                              recording.unit_ids))
    names = set.intersection(*(set(result.per_neuron) for result in results))
    return _summary({name: np.concatenate([result.per_neuron[name] for result in results])
                     for name in results[0].per_neuron if name in names})


# ---- several models as one ----

def ensemble(models):
    """Several models as one that predicts the mean of what they predict. Returns an `Ensemble`.

    models: trained models of the same mice, such as `kit.train_many` returns; they are not copied.
    `kit.predict`, `kit.score` and `kit.submit` take it as they take a model. Raises ValueError
    where members differ in mice, neurons, their units or image size.
    """
    if not isinstance(models, Iterable):
        raise ValueError(f"an ensemble needs a list of models, not one {type(models).__name__}; "
                         "give [model, ...], or what kit.train_many returned")
    members = list(models)
    if not members:
        raise ValueError("an ensemble of no models predicts nothing; give one or more, such as "
                         "kit.ensemble(kit.train_many(configs, data))")
    for member in members:
        if not isinstance(member, Model):
            raise ValueError(f"an ensemble is made of models, not of {type(member).__name__}; give "
                             "a list of what kit.train_many or kit.load_model returned")
        _refuse_other(members[0], member)
    return Ensemble(members)


class Ensemble(nn.Module):
    """The mean of several models' predictions: called as a `Model`, (batch, mouse) -> (B, N)."""

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch, mouse=None):
        found = [member(batch, mouse) for member in self.members]
        found = torch.stack([values.to(found[0].device) for values in found])  # (members, B, N)
        return found.sort(0).values.mean(0)  # in order of size: the last digit depends on the order

    def check(self, data):
        """Raise ValueError where data do not fit a member: image size, mice, neurons, units."""
        for member in self.members:
            member.check(data)

    def known(self, mouse=None):
        """The mouse's id if there is a readout for it; None stands for the only mouse."""
        return self.members[0].known(mouse)

    @property
    def image_size(self):
        """Height and width of the images it takes."""
        return self.members[0].image_size

    def __repr__(self):
        """How many members, and what they are, in a few lines for each kind."""
        kinds = Counter(map(repr, self.members)).items()
        return "\n".join([f"the mean of {_count(len(self.members), 'model')}",
                          *(f"{_count(count, 'model')}: {kind}" for kind, count in kinds)])


def _count(n, noun):
    return f"{n} {noun}{'s' * (n != 1)}"


def _refuse_other(first, other):
    """Raise ValueError where two models cannot be of one ensemble."""
    mice = [{mouse: len(readout.bias) for mouse, readout in model.readouts.items()}
            for model in (first, other)]
    for what, one, two in (("images of", first.image_size, other.image_size),
                           ("mice and numbers of neurons", *map(_listed, mice))):
        if one != two:
            raise ValueError(f"the members of an ensemble predict the same neurons from the same "
                             f"images, and one has {what} {one}, another {two}; leave one out")
    for mouse in first.trained_on.keys() & other.trained_on.keys():
        one, two = first.trained_on[mouse], other.trained_on[mouse]
        for name in one:
            if not agree(name, one[name], two.get(name)):
                raise ValueError(f"the members of an ensemble predict the same neurons in the same "
                                 f"units, and two were trained with other {name} of mouse {mouse}; "
                                 "train both on one recording")


def _listed(mice):
    return ", ".join(f"{mouse} ({count})" for mouse, count in sorted(mice.items()))
