"""The three baselines."""

from dataclasses import replace

import torch

from kit.data.recordings import require_dataset
from kit.models.layers import ConvCore
from kit.models.model import Model, ModelConfig, _channels, model_config
from kit.models.vit import ViTConfig, ViTCore

MAX_CHANNELS = 1024  # of a core: sixteen times the published width


def cnn_baseline(data, channels=64, config=None):
    """The convolutional baseline of 2022 for these recordings, untrained.

    data: a `Dataset`. channels: width of the core; 64 is the published one, 16 suits a laptop.
    config: a `ModelConfig`; by default behaviour channels and shifter where behaviour is known
    (the Sensorium+ track), neither where it is withheld (the Sensorium track).
    """
    return _baseline(data, config, channels=channels, layers=4, nonlinear=True)


def linear_baseline(data, channels=64, config=None):
    """The linear-nonlinear (LN) baseline of 2022: as `cnn_baseline`, 3 layers without ELU."""
    return _baseline(data, config, channels=channels, layers=3, nonlinear=False)


def vit_baseline(data, vit=None, config=None, takes_state=None):
    """A model whose core is a vision transformer, after V1T (Li et al. 2023), untrained.

    data: a `Dataset`. vit: a `ViTConfig`; the default suits a laptop, `ViTConfig.published()` is
    the published one and needs a GPU. config: a `ModelConfig`; by default a shifter where eye
    position is known. takes_state: whether behaviour and eye position go into every block; by
    default where they are known. Train it at a lower rate than a CNN: `TrainConfig(lr=3e-3)`.
    """
    if not isinstance(vit, ViTConfig | None):
        raise ValueError(f"vit={str(vit)[:80]!r} is no ViTConfig; give kit.ViTConfig(...), and a "
                         "ModelConfig as config=")
    usual = ModelConfig.of(data)
    config = model_config(config) or replace(usual, behavior_channels=False)
    if takes_state is None:
        takes_state = usual.behavior_channels and usual.shifter
    return _seeded(data, config, lambda: ViTCore(vit, config.image_size, _channels(config),
                                                 takes_state))


def _baseline(data, config, **core):
    if not isinstance(core["channels"], int) or not 1 <= core["channels"] <= MAX_CHANNELS:
        raise ValueError(f"channels={core['channels']!r} is not a width; give a whole number from "
                         f"1 to {MAX_CHANNELS}, such as 16")
    config = model_config(config) or ModelConfig.of(data)
    return _seeded(data, config, lambda: ConvCore(in_channels=_channels(config), **core))


def _seeded(data, config, build):
    """A model whose core `build` makes with weights that the config's seed fixes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        core = build()
    model = Model(core, require_dataset(data).neurons, config)
    model.validate_data(data)
    return model
