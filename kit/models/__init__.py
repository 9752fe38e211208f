"""From a batch to predictions.

In: the coordinates of the neurons, and a `Batch`. Out: a `Model`, which predicts the response of
every neuron to every image, (B, N).
"""

from kit.models import layers
from kit.models.baselines import (
    cnn_baseline,
    linear_baseline,
    strong_baseline,
    vit_baseline,
)
from kit.models.checkpoints import load_model, save
from kit.models.config import ModelConfig
from kit.models.cores.vit import ViTConfig, ViTCore
from kit.models.ensemble import Ensemble
from kit.models.model import Model

__all__ = [
    "Ensemble",
    "Model",
    "ModelConfig",
    "ViTConfig",
    "ViTCore",
    "cnn_baseline",
    "layers",
    "linear_baseline",
    "load_model",
    "save",
    "strong_baseline",
    "vit_baseline",
]
