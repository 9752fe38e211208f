"""A model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import elu

from kit.data.recordings import Dataset, require_dataset
from kit.doctor import limit_threads
from kit.models.layers import ConvCore, Gain, GaussianReadout, MinMaxScaler, Shifter, eval_mode
from kit.models.vit import ViTCore

FURTHER = "trained further since; what it was before:"


@dataclass(frozen=True)
class ModelConfig:
    """Which parts a model has besides its core and readouts."""

    behavior_channels: bool = False  # pupil, its change and running as three extra input images
    shifter: bool = False            # eye position moves all readout positions
    image_size: tuple = (36, 64)     # height and width the model is made for
    seed: int = 42                   # fixes the first weights of all but the core
    gain: bool = False               # behaviour scales each neuron's prediction
    minmax_behavior: bool = False      # the model sees behaviour scaled to 0-1, by its range in train

    @classmethod
    def of(cls, data, **changes):
        """Of the track's baseline: behaviour channels and shifter where `data` have what they take.

        changes: any field, to try one thing at a time.
        """
        recordings = list(require_dataset(data).values())
        behavior = all(recording.behavior is not None for recording in recordings)
        eye = all(recording.pupil_center is not None for recording in recordings)
        return cls(**{"behavior_channels": behavior, "shifter": eye,
                      "image_size": tuple(data.image_size)} | changes)


class Model(nn.Module):
    """Predicts responses: `model(batch, mouse)` -> (B, N), in units of each neuron's std.

    core: any module (B, C, H, W) -> (B, C', h, w); C is 4 with behaviour channels, else 1. One with
        a true attribute `takes_state` is called with the state too, (B, 5): behaviour, then eye.
    neurons: mouse -> coordinates (N, 2 or 3) in micrometres, such as `data.neurons`.
    """

    def __init__(self, core, neurons, config=None):
        super().__init__()
        if not isinstance(core, nn.Module):
            what = f"the class {core.__name__}" if isinstance(core, type) else repr(core)[:80]
            raise ValueError(f"a core is a module, not {what}; build one first, such as MyCore()")
        if not isinstance(neurons, Mapping) or isinstance(neurons, Dataset):
            raise ValueError(f"neurons are a mapping from mouse to coordinates, not a "
                             f"{type(neurons).__name__}; give data.neurons")
        limit_threads()
        self.config = model_config(config) or ModelConfig()
        self.core = core
        with torch.random.fork_rng(devices=[]):  # leaves the global random state alone
            torch.manual_seed(self.config.seed)
            self.feature_shape = self._try_core()  # (C', h, w)
            self.readouts = nn.ModuleDict({mouse: GaussianReadout(place, self.feature_shape[0])
                                           for mouse, place in neurons.items()})
            self.shifters = nn.ModuleDict({mouse: Shifter() for mouse in neurons}
                                          if self.config.shifter else {})
            self.gains = nn.ModuleDict({mouse: Gain(len(place)) for mouse, place in neurons.items()}
                                       if self.config.gain else {})
            self.scalers = nn.ModuleDict({mouse: MinMaxScaler() for mouse in neurons}
                                        if self.config.minmax_behavior else {})
        self.data_statistics = {}  # mouse -> unit_ids and statistics of its recording, see `register_data`
        self.description = ""       # where it comes from and how it scores, lines for its print

    def _try_core(self):
        """The shape of the core's features, found by showing it one grey image."""
        grey = torch.zeros(1, _channels(self.config), *self.config.image_size)
        if self.config.minmax_behavior and not self.takes_behavior:
            raise ValueError("minmax_behavior=True has no effect on a model that does not take "
                             "behaviour; add behavior_channels=True or gain=True, or leave it out")
        try:
            with eval_mode(self.core), torch.no_grad():
                features = self._features(grey, torch.zeros(1, 5))
        except (RuntimeError, ValueError) as problem:
            raise ValueError(f"the core cannot take images {tuple(grey.shape)}: "
                             f"{str(problem).splitlines()[0]}") from problem
        shape = tuple(getattr(features, "shape", ()))
        if len(shape) != 4 or shape[0] != 1:
            raise ValueError(f"the core turned images {tuple(grey.shape)} into "
                             f"{shape or type(features).__name__}; it must give one tensor "
                             "(1, channels, height, width)")
        return tuple(features.shape[1:])

    def __repr__(self):
        """What it is, whom it predicts, what it takes and where it comes from, in a few lines."""
        (channels, h, w), (height, width) = self.feature_shape, self.image_size
        mice = ", ".join(f"{mouse} ({len(readout.bias)} neurons)"
                         for mouse, readout in self.readouts.items())
        extras = [what for what, taken in (("behaviour", self.takes_behavior),
                                           ("eye position", self.takes_eye)) if taken]
        met = [f"trained on the recording of mouse {', '.join(self.data_statistics)}"]
        return "\n".join([
            f"{_kind(self.core)}: images {height} x {width} -> {channels} channels {h} x {w}",
            f"predicts mouse {mice}",
            f"takes images, {' and '.join(extras)} (kit.Batch.typical gives images a usual state)"
            if extras else "takes images alone",
            *(met if self.data_statistics else [] if self.description else ["not trained yet"]),
            *self.description.splitlines()])

    def train(self, mode=True):
        """As of any module, but a frozen core, none of whose parameters learns, stays in eval."""
        super().train(mode)
        learns = [value.requires_grad for value in self.core.parameters()]
        if learns and not any(learns):
            self.core.eval()  # its batch norm goes on with the statistics it was trained with
        return self

    @property
    def takes_behavior(self):
        """Whether predictions depend on pupil size, its change and running."""
        return self.config.behavior_channels or self.config.gain or self._core_takes_state

    @property
    def takes_eye(self):
        """Whether predictions depend on eye position."""
        return self.config.shifter or self._core_takes_state

    @property
    def _core_takes_state(self):
        return getattr(self.core, "takes_state", False)

    def forward(self, batch, mouse=None):
        mouse = self.resolve_mouse(mouse)
        batch = self._prepare(batch, mouse)
        features = self._features(*self._inputs(batch))  # (B, C', h, w)
        shift = self.shifters[mouse](batch.pupil_center) if self.config.shifter else None  # (B, 2)
        rates = elu(self.readouts[mouse](features, shift)) + 1  # (B, N), never negative
        return rates * self.gains[mouse](batch.behavior) if self.config.gain else rates

    def _prepare(self, batch, mouse):
        """The batch on the model's device, with all that it takes, behaviour in its units."""
        self._refuse_withheld(batch, "in these trials")
        batch = batch.to(next(self.parameters()).device)  # training may have moved the model
        if self.config.minmax_behavior:
            return batch._replace(behavior=self.scalers[mouse](batch.behavior))
        return batch

    def _refuse_withheld(self, given, whose):
        """Raise ValueError where a batch or recording lacks what the model takes."""
        for what, taken, value in (("behaviour", self.takes_behavior, given.behavior),
                                   ("eye position", self.takes_eye, given.pupil_center)):
            if taken and value is None:
                raise ValueError(f"this model takes {what}, and that {whose} is withheld: on the "
                                 "Sensorium track models predict from the images alone; use a "
                                 "mouse of the Sensorium+ track, kit.Batch.typical(images), or a "
                                 "model with kit.ModelConfig()")

    def _inputs(self, batch):
        """What the core sees: images, with behaviour tiled behind them or not, and the state."""
        images, state = batch.images, None
        if self._core_takes_state:
            state = torch.cat([batch.behavior, batch.pupil_center], 1)  # (B, 5)
        if self.config.behavior_channels:
            tiled = batch.behavior[:, :, None, None].expand(-1, -1, *images.shape[-2:])
            images = torch.cat([images, tiled], 1)  # (B, 4, H, W)
        return images, state

    def _features(self, images, state):
        return self.core(images, state) if self._core_takes_state else self.core(images)

    def regularizer(self, mouse=None):
        """What the loss adds to keep the core smooth and the readout sparse, a scalar."""
        core = self.core.regularizer() if hasattr(self.core, "regularizer") else 0
        return core + self.readouts[self.resolve_mouse(mouse)].regularizer()

    @torch.no_grad()
    def centers(self, recording):
        """Where each neuron looks while the eye is at its mean: (N, 2) x, y in half images.

        For cores whose features are `core.spacing` image pixels apart, one if it does not say.
        """
        grid = self.readouts[self.resolve_mouse(recording.mouse)].means()  # (N, 2) in [-1, 1]
        if self.config.shifter:
            self._refuse_withheld(recording, f"of mouse {recording.mouse}")
            eye = torch.from_numpy(recording.pupil_center[recording.rows("train")])
            grid = grid + self.shifters[recording.mouse](eye.to(grid.device)).mean(0)
        h, w = ((n - 1) * getattr(self.core, "spacing", 1) for n in self.feature_shape[1:])
        height, width = self.image_size
        return (grid * grid.new_tensor([w / width, h / height])).cpu().numpy()

    @property
    def image_size(self):
        """Height and width of the images the model takes."""
        return tuple(self.config.image_size)

    def resolve_mouse(self, mouse=None):
        """The mouse's id if the model has a readout for it; None stands for the only mouse."""
        if mouse is None and len(self.readouts) == 1:
            return next(iter(self.readouts))
        if mouse not in self.readouts:
            raise ValueError(f"this model has no readout for mouse {mouse!r}; "
                             f"it knows {', '.join(self.readouts)}")
        return mouse

    def register_data(self, data):
        """Get to know the recordings to train on: their neurons, units and mean responses.

        Called by `train`. Later meetings with other neurons or units are refused.
        """
        self.validate_data(data)
        if self.description and not self.description.startswith(FURTHER):
            self.description = f"{FURTHER}\n{self.description}"
        for mouse, recording in require_dataset(data).items():
            if mouse not in self.data_statistics:
                readout = self.readouts[mouse]
                if not readout.bias.any():  # else it was trained elsewhere, as published models
                    mean = recording.responses[recording.rows("train")].mean(0)
                    readout.init_bias_from_mean(torch.from_numpy(mean))
                if self.config.minmax_behavior:
                    self.scalers[mouse].fit(recording.behavior[recording.rows("train")])
                self.data_statistics[mouse] = {"unit_ids": recording.unit_ids.copy(),
                                          **recording.statistics}

    def validate_data(self, data):
        """Raise ValueError where data do not fit the model: track, size, mice, neurons, units."""
        for mouse, recording in require_dataset(data).items():
            if tuple(recording.image_size) != self.image_size:
                raise ValueError(f"this model takes {self.image_size} images, the data are "
                                 f"{tuple(recording.image_size)}; load them with "
                                 f"kit.load(..., size={self.image_size})")
            ours, theirs = len(self.readouts[self.resolve_mouse(mouse)].bias), len(recording.unit_ids)
            self._refuse_withheld(recording, f"of mouse {mouse}")
            if ours != theirs:
                raise ValueError(f"this model has {ours} neurons for mouse {mouse}, the recording "
                                 f"has {theirs}; build the model from data.neurons")
            for name, value in self.data_statistics.get(mouse, {}).items():
                other = recording.unit_ids if name == "unit_ids" else recording.statistics.get(name)
                if not same_statistics(name, value, other):
                    raise ValueError(f"this model was trained with {name} {_brief(value)} of mouse "
                                     f"{mouse}, the recording has {_brief(other)}; open the "
                                     "recording it was trained on, or train a new model")


def model_config(config):
    """`config` itself if it is a `ModelConfig` or None; else a ValueError."""
    if not isinstance(config, ModelConfig | None):
        raise ValueError(f"config={str(config)[:80]!r} is not a ModelConfig; give "
                         "kit.ModelConfig(...), and a TrainConfig to kit.train")
    return config


def _channels(config):
    """How many images the core is given: behaviour may come as three more."""
    return 4 if config.behavior_channels else 1


def _kind(core):
    """A core in few words."""
    if isinstance(core, ViTCore):
        told = ", told of behaviour and eye position" * core.takes_state
        return f"vision transformer (ViT) of {len(core.blocks)} blocks{told}"
    if not isinstance(core, ConvCore):
        return f"model with the core {type(core).__name__}"
    kind = "CNN" if core.settings["nonlinear"] else "linear-nonlinear (LN) model"
    return f"{kind} of {core.settings['layers']} convolutional layers"


def same_statistics(name, value, other):
    """Whether unit ids or statistics, arrays or None, are of the same neurons in the same units."""
    if other is None or value.shape != other.shape:
        return False
    return np.allclose(value, other, rtol=0 if name == "unit_ids" else 1e-4)


def _brief(value):
    """An array in few words, for an error message."""
    if value is None:
        return "none"
    start = ", ".join(f"{v:.5g}" for v in value.ravel()[:3])
    return f"[{start}, …] ({value.size})" if value.size > 3 else f"[{start}]"
