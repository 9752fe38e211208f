"""Several models as one."""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from kit.models.model import Model, same_statistics


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

    def validate_data(self, data):
        """Raise ValueError where data do not fit a member: image size, mice, neurons, units."""
        for member in self.members:
            member.validate_data(data)

    def resolve_mouse(self, mouse=None):
        """The mouse's id if there is a readout for it; None stands for the only mouse."""
        return self.members[0].resolve_mouse(mouse)

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
    for mouse in first.data_statistics.keys() & other.data_statistics.keys():
        one, two = first.data_statistics[mouse], other.data_statistics[mouse]
        for name in one:
            if not same_statistics(name, one[name], two.get(name)):
                raise ValueError(f"the members of an ensemble predict the same neurons in the same "
                                 f"units, and two were trained with other {name} of mouse {mouse}; "
                                 "train both on one recording")


def _listed(mice):
    return ", ".join(f"{mouse} ({count})" for mouse, count in sorted(mice.items()))
