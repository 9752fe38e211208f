"""Models that cannot be trained, and why the numbers of a training are not finite."""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor

from kit.data.recordings import Batch, Dataset
from kit.models.model import Model


def nonfinite_reason(
    model: Model,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[str, Batch]],
    lr: float,
) -> str:
    """Why a training from these weights, which are finite, ended in numbers that are not finite.

    loss: predictions and responses (B, N) -> a scalar. batches: pairs of a mouse and its batch.
    lr: the learning rate, which is to blame if the model itself is not.
    """
    for mouse, batch in batches:
        part = nonfinite_part(model.train(), loss, mouse, batch)
        if part:
            return (
                f"because the core's {part} not finite; look for a division by zero, a log or a "
                "root of what may be 0 or less: kit.check_core(core) helps"
            )
    return (
        f"most likely because the learning rate lr={lr} is too high; build the model again "
        f"and try lr={lr / 3:.1g}"
    )


def nonfinite_part(
    model: Model, loss: Callable[[Tensor, Tensor], Tensor], mouse: str, batch: Batch
) -> str | None:
    """The part of the core that is not finite for a batch, with its verb, or None."""
    core = model.core
    features = []
    with core.register_forward_hook(lambda core, images, output: features.append(output)):
        predictions = model(batch, mouse)
    responses = cast(Tensor, batch.responses).to(predictions.device)
    total = loss(predictions, responses) + model.regularizer(mouse)
    weights = [weight for weight in core.parameters() if weight.requires_grad]
    gradients = ()
    if weights and total.isfinite():
        gradients = torch.autograd.grad(total, weights, materialize_grads=True)
    numbers = {
        "features are": features,
        "regularizer is": [getattr(core, "regularizer", int)()],
        "gradients are": gradients,
    }
    for part, values in numbers.items():
        if not all(torch.as_tensor(value).isfinite().all() for value in values):
            return part
    return None


def require_model(model: object) -> None:
    """Raise ValueError unless this is a `Model` with something to learn."""
    if not isinstance(model, Model):
        kind = type(model).__name__
        raise ValueError(f"a Model is needed to train, not {kind}; build one with kit.cnn_baseline")
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ValueError("all parameters of this model are frozen; call model.requires_grad_(True)")


def require_trainable(model: Model, data: Dataset) -> None:
    """Raise ValueError unless a model can learn from these recordings."""
    require_model(model)
    model.validate_data(data)
    for recording in data.values():
        recording.require_tiers("train", "validation")
