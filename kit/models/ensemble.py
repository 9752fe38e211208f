"""Several models as one."""

from collections import Counter
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from kit.data.recordings import Batch, Dataset
from kit.models.comparing import different_statistic
from kit.models.model import Model


def ensemble(models: Iterable[Model]) -> "Ensemble":
    """Combine models into one that predicts the mean of their predictions.

    models: trained models of the same mice, such as `kit.train_many` returns; they are not copied.
    `kit.predict`, `kit.score` and `kit.submit` take the result as they take a model. Raises
    ValueError if the models differ in mice, neurons, units or image size.

    >>> models = [kit.pretrained("sample-cnn"), kit.pretrained("sample-ln")]
    >>> both = kit.ensemble(models)
    >>> kit.predict(both, kit.load("sample"), "validation").shape
    (200, 600)
    """
    if not isinstance(models, Iterable):
        raise ValueError(
            f"an ensemble needs a list of models, not one {type(models).__name__}; "
            "give [model, ...], or what kit.train_many returned"
        )
    members = list(models)
    if not members:
        raise ValueError(
            "an ensemble needs one or more models, not an empty list; give, for "
            "example, what kit.train_many returned"
        )
    for member in members:
        if not isinstance(member, Model):
            raise ValueError(
                f"an ensemble is made of models, not of {type(member).__name__}; give "
                "a list of what kit.train_many or kit.load_model returned"
            )
        _require_same_task(members[0], member)
    return Ensemble(members)


class Ensemble(nn.Module):
    """The mean of several models' predictions: called as a `Model`, (batch, mouse) -> (B, N)."""

    def __init__(self, members: list[Model]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def models(self) -> list[Model]:
        """The members."""
        return cast(list[Model], list(self.members))

    def forward(self, batch: Batch, mouse: str | None = None) -> Tensor:
        predictions = [member(batch, mouse) for member in self.models]
        device = predictions[0].device
        predictions = torch.stack([values.to(device) for values in predictions])  # (members, B, N)
        return predictions.sort(0).values.mean(0)  # sorted: the order of members changes no digit

    def validate_data(self, data: Dataset) -> None:
        """Raise ValueError if data do not fit a member: image size, mice, neurons, units."""
        for member in self.models:
            member.validate_data(data)

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The id of a mouse that has a readout; None stands for the only mouse."""
        return self.models[0].resolve_mouse(mouse)

    def image_statistics(self, mouse: str) -> tuple[float, float] | None:
        """Mean and std of the raw pixels of a mouse's recording; None if it is not known."""
        return self.models[0].image_statistics(mouse)

    @property
    def state_inputs(self) -> dict[str, str]:
        """Field of a batch -> its name, for all that some member takes besides the images."""
        return {
            field: name for member in self.models for field, name in member.state_inputs.items()
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.models[0].image_size

    def __repr__(self) -> str:
        """Number of members, then each kind of member with its number."""
        lines = [f"the mean of {_count(len(self.members))}"]
        for kind, count in Counter(map(repr, self.members)).items():
            lines.append(f"{_count(count)}: {kind}")
        return "\n".join(lines)


def _count(n: int) -> str:
    return "1 model" if n == 1 else f"{n} models"


def _require_same_task(first: Model, other: Model) -> None:
    """Raise ValueError if two models differ in image size, mice, neurons or units."""
    one = f"{first.image_size} images of mouse {_mice(first)}"
    two = f"{other.image_size} images of mouse {_mice(other)}"
    if one != two:
        raise ValueError(
            "the members of an ensemble predict the same neurons from images of one "
            f"size, and one takes {one}, another {two}; leave one out"
        )
    for mouse in first.data_statistics.keys() & other.data_statistics.keys():
        name = different_statistic(first.data_statistics[mouse], other.data_statistics[mouse])
        if name:
            raise ValueError(
                "the members of an ensemble predict the same neurons in the same "
                f"units, and two were trained with different {name} of mouse {mouse}; "
                "train both on one recording"
            )


def _mice(model: Model) -> str:
    counts = [f"{mouse} ({len(part.bias)} neurons)" for mouse, part in model.readouts.items()]
    return ", ".join(sorted(counts))
