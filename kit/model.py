"""A model of a mouse: a core shared by all mice, a readout and a shifter for each.

`cnn_baseline` and `linear_baseline` are the two baselines of 2022; `vit_baseline` is a transformer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import elu

from kit.layers import ConvCore, GaussianReadout, Shifter, evaluating
from kit.recordings import dataset
from kit.vit import ViTConfig, ViTCore

FURTHER = "trained further since; what it was before:"


@dataclass(frozen=True)
class ModelConfig:
    """Which parts a model has besides its core and readouts."""

    behavior_channels: bool = False  # pupil, its change and running as three extra input images
    shifter: bool = False            # eye position moves all readout positions
    image_size: tuple = (36, 64)     # height and width the model is made for
    seed: int = 42                   # fixes the first weights of readouts and shifters


class Model(nn.Module):
    """Predicts responses: `model(batch, mouse)` -> (B, N), in units of each neuron's std.

    core: any module (B, C, H, W) -> (B, C', h, w); C is 4 with behaviour channels, else 1.
    neurons: mouse -> coordinates (N, 2 or 3) in micrometres, such as `data.neurons`.
    """

    def __init__(self, core, neurons, config=None):
        super().__init__()
        self.config = config or ModelConfig()
        self.core = core
        with torch.random.fork_rng(devices=[]):  # leaves the global random state alone
            torch.manual_seed(self.config.seed)
            self.feature_shape = self._try_core()  # (C', h, w)
            self.readouts = nn.ModuleDict({mouse: GaussianReadout(place, self.feature_shape[0])
                                           for mouse, place in neurons.items()})
            self.shifters = nn.ModuleDict({mouse: Shifter() for mouse in neurons}
                                          if self.config.shifter else {})
        self.trained_on = {}  # mouse -> unit_ids and statistics of its recording, see `meet`
        self.about = ""       # where it comes from and how it scores, lines for its print

    def _try_core(self):
        """The shape of the core's features, found by showing it one grey image."""
        inputs = 4 if self.config.behavior_channels else 1
        grey = torch.zeros(1, inputs, *self.config.image_size)
        try:
            with evaluating(self.core), torch.no_grad():
                state = [torch.zeros(1, 5)] * getattr(self.core, "takes_state", False)
                features = self.core(grey, *state)
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
        extras = [what for what, taken in (("behaviour", self.config.behavior_channels),
                                           ("eye position", self.config.shifter)) if taken]
        met = [f"trained on the recording of mouse {', '.join(self.trained_on)}"]
        return "\n".join([
            f"{_kind(self.core)}: images {height} x {width} -> {channels} channels {h} x {w}",
            f"predicts mouse {mice}",
            f"takes images, {' and '.join(extras)} (kit.Batch.typical gives images a usual state)"
            if extras else "takes images alone",
            *(met if self.trained_on else [] if self.about else ["not trained yet"]),
            *self.about.splitlines()])

    def forward(self, batch, mouse=None):
        mouse = self.known(mouse)
        batch = batch.to(next(self.parameters()).device)  # training may have moved the model
        features = self._features(batch)  # (B, C', h, w)
        shift = self._shift(batch.pupil_center, mouse)  # (B, 2) or None
        return elu(self.readouts[mouse](features, shift)) + 1  # (B, N), never negative

    def _features(self, batch):
        if not getattr(self.core, "takes_state", False):
            return self.core(self._inputs(batch))
        if batch.behavior is None or batch.pupil_center is None:
            raise ValueError("this model's core takes behaviour and eye position, which are "
                             "withheld in these trials; use a recording with behaviour or "
                             "kit.Batch.typical(images)")
        state = torch.cat([batch.behavior, batch.pupil_center], 1)  # (B, 5)
        return self.core(self._inputs(batch), state)

    def _inputs(self, batch):
        """Images, with behaviour tiled behind them if the model wants it."""
        if not self.config.behavior_channels:
            return batch.images  # (B, 1, H, W)
        if batch.behavior is None:
            raise ValueError("this model takes behaviour, which is withheld in these trials; use "
                             "a recording with behaviour, kit.Batch.typical(images) or "
                             "ModelConfig(behavior_channels=False)")
        tiled = batch.behavior[:, :, None, None].expand(-1, -1, *batch.images.shape[-2:])
        return torch.cat([batch.images, tiled], 1)  # (B, 4, H, W)

    def _shift(self, pupil_center, mouse):
        if not self.config.shifter:
            return None
        if pupil_center is None:
            raise ValueError("this model takes eye position, which is withheld in these trials; "
                             "use a recording with behaviour, kit.Batch.typical(images) or "
                             "ModelConfig(shifter=False)")
        return self.shifters[mouse](pupil_center)

    def penalty(self, mouse=None):
        """What the loss adds to keep the core smooth and the readout sparse, a scalar."""
        core = self.core.penalty() if hasattr(self.core, "penalty") else 0
        return core + self.readouts[self.known(mouse)].penalty()

    @torch.no_grad()
    def centers(self, recording):
        """Where each neuron looks while the eye is at its mean: (N, 2) x, y in half images.

        For cores whose features are `core.spacing` image pixels apart, one if it does not say.
        """
        grid = self.readouts[self.known(recording.mouse)].means()  # (N, 2) in [-1, 1]
        if self.config.shifter:
            eye = None if recording.pupil_center is None else torch.from_numpy(
                recording.pupil_center[recording.rows("train")]).to(grid.device)
            grid = grid + self._shift(eye, recording.mouse).mean(0)
        h, w = ((n - 1) * getattr(self.core, "spacing", 1) for n in self.feature_shape[1:])
        return (grid * grid.new_tensor([w / self.image_size[1],
                                        h / self.image_size[0]])).cpu().numpy()

    @property
    def image_size(self):
        """Height and width of the images the model takes."""
        return tuple(self.config.image_size)

    def known(self, mouse=None):
        """The mouse's id if the model has a readout for it; None stands for the only mouse."""
        if mouse is None and len(self.readouts) == 1:
            return next(iter(self.readouts))
        if mouse not in self.readouts:
            raise ValueError(f"this model has no readout for mouse {mouse!r}; "
                             f"it knows {', '.join(self.readouts)}")
        return mouse

    def meet(self, data):
        """Get to know the recordings to train on: their neurons, units and mean responses.

        Called by `train`. Later meetings with other neurons or units are refused.
        """
        self.check(data)
        if self.about and not self.about.startswith(FURTHER):
            self.about = f"{FURTHER}\n{self.about}"
        for mouse, recording in dataset(data).items():
            if mouse not in self.trained_on:
                readout = self.readouts[mouse]
                if not readout.bias.any():  # else it was trained elsewhere, as published models
                    mean = recording.responses[recording.rows("train")].mean(0)
                    readout.start_from(torch.from_numpy(mean))
                self.trained_on[mouse] = {"unit_ids": recording.unit_ids.copy(),
                                          **recording.statistics}

    def check(self, data):
        """Raise ValueError where data do not fit the model: image size, mice, neurons, units."""
        for mouse, recording in dataset(data).items():
            if tuple(recording.image_size) != self.image_size:
                raise ValueError(f"this model takes {self.image_size} images, the data are "
                                 f"{tuple(recording.image_size)}; load them with "
                                 f"kit.load(..., size={self.image_size})")
            ours, theirs = len(self.readouts[self.known(mouse)].bias), len(recording.unit_ids)
            if ours != theirs:
                raise ValueError(f"this model has {ours} neurons for mouse {mouse}, the recording "
                                 f"has {theirs}; build the model from data.neurons")
            for name, value in self.trained_on.get(mouse, {}).items():
                other = recording.unit_ids if name == "unit_ids" else recording.statistics.get(name)
                # simulated on another machine, statistics differ in their last digits
                if (other is None or value.shape != other.shape
                        or not np.allclose(value, other, rtol=0 if name == "unit_ids" else 1e-4)):
                    raise ValueError(f"this model was trained with {name} {_brief(value)} of mouse "
                                     f"{mouse}, the recording has {_brief(other)}; open the "
                                     "recording it was trained on, or train a new model")


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
    data, known = dataset(data), _known(data)
    config = config or ModelConfig(shifter=known, image_size=tuple(data.image_size))
    return _seeded(data, config, lambda: ViTCore(
        vit, config.image_size, _channels(config), known if takes_state is None else takes_state))


def _baseline(data, config, **core):
    if not isinstance(core["channels"], int) or core["channels"] < 1:
        raise ValueError(f"channels={core['channels']!r} is not a width; give a whole number from "
                         "1 up, such as 16")
    data = dataset(data)
    config = config or ModelConfig(_known(data), _known(data), tuple(data.image_size))
    return _seeded(data, config, lambda: ConvCore(in_channels=_channels(config), **core))


def _known(data):
    """Whether behaviour and eye position of all these mice are known."""
    return all(recording.behavior is not None for recording in data.values())


def _channels(config):
    """How many channels a core is given."""
    return 4 if config.behavior_channels else 1


def _seeded(data, config, build):
    """A model of these mice, its core built by a function, with first weights by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        core = build()
    return Model(core, data.neurons, config)


def _kind(core):
    """A core in few words."""
    if isinstance(core, ViTCore):
        told = ", told of behaviour and eye position" * core.takes_state
        return f"vision transformer (ViT) of {len(core.blocks)} blocks{told}"
    if not isinstance(core, ConvCore):
        return f"model with the core {type(core).__name__}"
    kind = "CNN" if core.settings["nonlinear"] else "linear-nonlinear (LN) model"
    return f"{kind} of {core.settings['layers']} convolutional layers"


def _brief(value):
    """An array in few words, for an error message."""
    if value is None:
        return "none"
    start = ", ".join(f"{v:.5g}" for v in value.ravel()[:3])
    return f"[{start}, …] ({value.size})" if value.size > 3 else f"[{start}]"
