"""From a batch to predictions.

In: the coordinates of the neurons, and a `Batch`. Out: a `Model`, which predicts the response of
every neuron to every image, (B, N). A model is a core shared by all mice, and for each mouse a
readout and, if its config says so, a shifter and a gain.
"""

from kit.models import layers
from kit.models.baselines import cnn_baseline, linear_baseline, vit_baseline
from kit.models.check_core import check_core
from kit.models.checkpoints import load_model, save
from kit.models.ensemble import Ensemble, ensemble
from kit.models.model import Model, ModelConfig
from kit.models.pretrained import pretrained
from kit.models.vit import ViTConfig, ViTCore

__all__ = [
    "Ensemble", "Model", "ModelConfig", "ViTConfig", "ViTCore", "check_core", "cnn_baseline",
    "ensemble", "layers", "linear_baseline", "load_model", "pretrained", "save", "vit_baseline",
]
