"""The baselines: those of 2022, a transformer, and the strongest that two cores train."""

from dataclasses import replace

import torch

from kit.checks import require
from kit.data.recordings import Dataset, require_dataset
from kit.models.config import ModelConfig
from kit.models.cores.normalization import NormalizationCore
from kit.models.cores.vit import ViTConfig, ViTCore
from kit.models.layers import ConvCore
from kit.models.model import Model

DROPOUT = 0.2  # of the strong one's features: a wider core without it is no better


def cnn_baseline(data: Dataset, channels: int = 64, config: ModelConfig | None = None) -> Model:
    """The convolutional baseline of 2022 (Willeke et al.) for these recordings, untrained.

    channels: of the core; 64 is the published number, 16 suits a laptop. config: by default
    behaviour channels and shifter if behaviour is known (the Sensorium+ track). Raises ValueError
    if config and data do not fit.

    >>> data = kit.load("sample+")
    >>> model = kit.cnn_baseline(data, channels=4)
    >>> model.config.shifter
    True
    >>> kit.predict(model, data, "validation").shape
    (200, 600)
    """
    config = _config(data, config)
    return _build(data, config, ConvCore, channels, config.core_channels)


def linear_baseline(data: Dataset, channels: int = 64, config: ModelConfig | None = None) -> Model:
    """The linear-nonlinear (LN) baseline of 2022: as `cnn_baseline`, 3 layers without ELU."""
    config = _config(data, config)
    return _build(data, config, ConvCore, channels, config.core_channels, 3, False)


def vit_baseline(
    data: Dataset,
    vit: ViTConfig | None = None,
    config: ModelConfig | None = None,
    takes_state: bool | None = None,
) -> Model:
    """A model with a vision transformer as its core, after V1T (Li et al. 2023), untrained.

    vit: `ViTConfig.published()` needs a GPU. config: by default a shifter if eye position is known.
    takes_state: whether blocks take behaviour and eye position; by default if both are known. If
    behaviour alone is, it becomes input channels. Train it with `TrainConfig(lr=3e-3)`. Raises
    ValueError if config and data do not fit.

    >>> data = kit.load("sample+")
    >>> model = kit.vit_baseline(data, kit.ViTConfig(dim=16, depth=1))
    >>> model.feature_shape  # channels, rows and columns of patches
    (16, 6, 13)
    """
    usual = _config(data, None)
    channels = False
    if takes_state is None:
        takes_state = usual.behavior_channels and usual.shifter
        channels = usual.behavior_channels and not takes_state
    config = _config(data, replace(usual, behavior_channels=channels) if config is None else config)
    state = (takes_state, len(config.behavior_names) + 2)
    vit = require("vit", vit, ViTConfig | None)
    return _build(data, config, ViTCore, vit, config.image_size, config.core_channels, *state)


def strong_baseline(data: Dataset, channels: int = 64, config: ModelConfig | None = None) -> Model:
    """The best model that is trained once, in twice the time of a CNN's 40 epochs; untrained here.

    Its core divides by contrast and has two convolutional layers more, all with dropout
    (`NormalizationCore`). It is untried on real mice: there, train all of them first, then
    `kit.transfer` to the one you submit.
    channels: of the core's filters. config: by default a shifter if eye position is known, a gain
    of behaviour scaled to 0-1 if behaviour is. Train it with `TrainConfig.strong()`. Raises
    ValueError if config and data do not fit.

    >>> data = kit.load("sample+")
    >>> model = kit.strong_baseline(data, channels=4)
    >>> model.config.gain, model.feature_shape
    (True, (12, 24, 52))
    """
    usual = _config(data, None)
    behavior = usual.behavior_channels
    strong = replace(usual, behavior_channels=False, gain=behavior, minmax_behavior=behavior)
    config = _config(data, strong if config is None else config)
    return _build(data, config, NormalizationCore, channels, config.core_channels, 2, DROPOUT)


def _config(data, config):
    """The config itself, or the baseline for these data."""
    return require("config", config, ModelConfig | None) or ModelConfig.of(require_dataset(data))


@torch.inference_mode(False)
def _build(data, config, core_class, *settings) -> Model:
    """A model; the config's seed fixes all its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        core = core_class(*settings).float()
    model = Model(core, data.neurons, config)
    model.validate_data(data)
    return model
