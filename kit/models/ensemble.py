"""Several models as one."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kit.checks import brief
from kit.data.recordings import Batch, Dataset
from kit.models.model import Model, different_statistic


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
    members = list(models) if isinstance(models, Iterable) else []
    if not members or not all(isinstance(member, Model) for member in members):
        raise ValueError(
            f"an ensemble needs a list of models as of kit.train_many, not {brief(repr(models))}"
        )
    for i, member in enumerate(members):
        if not _same_recordings(members[0], member):
            raise ValueError(
                f"models 0 and {i} differ in image size, mice, neurons or the recordings they were "
                "trained on; print both, and leave one out"
            )
    return Ensemble(members)


def _same_recordings(model_a, model_b):
    for mouse, statistics in model_a.data_statistics.items():
        if different_statistic(statistics, model_b.data_statistics.get(mouse, statistics)):
            return False
    models = model_a, model_b
    takers = [model for model in models if "behavior" in model.state_inputs]
    if len({model.config.behavior_names for model in takers}) > 1:
        return False
    same_size = model_a.image_size == model_b.image_size
    return same_size and model_a.neuron_counts == model_b.neuron_counts


class Ensemble(nn.Module):
    """The mean of several models' predictions: called as a `Model`, (batch, mouse) -> (B, N)."""

    models: Any  # an nn.ModuleList of Models

    def __init__(self, models: list[Model]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.image_size = models[0].image_size  # height and width
        self.state_inputs = {}  # field of a batch -> its name, for all that some member takes
        for model in models:
            self.state_inputs |= model.state_inputs

    def forward(self, batch: Batch, mouse: str | None = None) -> Tensor:
        predictions = [model(batch, mouse) for model in self.models]
        device = predictions[0].device
        predictions = torch.stack([values.to(device) for values in predictions])  # (models, B, N)
        return predictions.sort(0).values.mean(0)  # sorted: the order of models changes no digit

    def validate_data(self, data: Dataset) -> None:
        """Raise ValueError if data do not fit a model: image size, mice, neurons, units."""
        for model in self.models:
            model.validate_data(data)

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The id of a mouse that has a readout; None stands for the only mouse."""
        return self.models[0].resolve_mouse(mouse)

    def image_statistics(self, mouse: str) -> tuple[float, float] | None:
        """Mean and std of the raw pixels of a mouse's recording; None if it is not known."""
        return self.models[0].image_statistics(mouse)

    def typical_behavior(self, mouse: str | None = None) -> dict[str, float]:
        """Name -> typical value of each column of behaviour that some member takes."""
        takers = [model for model in self.models if "behavior" in model.state_inputs]
        return (takers or list(self.models))[0].typical_behavior(mouse)

    def __repr__(self) -> str:
        """Number of models, then each kind of model with its number."""
        lines = [f"the mean of {len(self.models)}:"]
        for kind, count in Counter(map(repr, self.models)).items():
            lines.append(f"{count} x {kind}")
        return "\n".join(lines)
