"""The model: a core for all mice, and for each mouse a readout, a shifter and a gain."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from kit.checks import brief
from kit.data.recordings import Batch, Dataset, Recording, require_dataset
from kit.machine import limit_threads
from kit.models.comparing import (
    recording_statistics,
    require_same_places,
    require_same_statistics,
)
from kit.models.config import ModelConfig, require_config
from kit.models.layers import (
    Gain,
    GaussianReadout,
    MinMaxScaler,
    PerMouse,
    Shifter,
    cortical_positions,
    eval_mode,
    require_neurons,
)

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
FURTHER = "trained further since; what it was before:"


class Predictor(Protocol):
    """All that the laboratory, the widgets and the scores need of a model.

    `Model`, `Ensemble` and the simulated `Cells` have all of it.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""

    @property
    def state_inputs(self) -> Mapping[str, str]:
        """Field of a batch -> its name, for all that predictions depend on besides the images."""

    def __call__(self, batch: Batch, mouse: str | None = None) -> Tensor:
        """The responses (B, N) of a mouse."""

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The id of a mouse that it predicts; None stands for the only one."""

    def image_statistics(self, mouse: str) -> tuple[float, float] | None:
        """Mean and std of the raw pixels of a mouse's recording; None if it is not known."""


class Model(nn.Module):
    """Predicts responses: `model(batch, mouse)` -> (B, N), in units of each neuron's std.

        prediction = (elu(readout(core(images), shifter(eye))) + 1) * gain(behaviour)

    core: any module (B, C, H, W) -> (B, C', h, w); C is 4 with behaviour channels, else 1. If it
        has a true attribute `takes_state`, it is called with the state (B, 5) as well: behaviour,
        then eye position. Its `spacing`, 1 by default, is how many image pixels lie between two
        feature pixels. The loss adds its `regularizer()`, a scalar, if there is one.
    neurons: mouse -> coordinates (N, 2 or 3) in micrometres, such as `data.neurons`.
    Raises ValueError if the core does not fit the config, or the neurons have no coordinates.

    >>> data = kit.load("sample+")
    >>> core = torch.nn.Conv2d(1, 8, kernel_size=9)
    >>> model = kit.Model(core, data.neurons, kit.ModelConfig(shifter=True))
    >>> model(data.mouse.first("test", 5)).shape
    torch.Size([5, 600])
    """

    @torch.inference_mode(False)
    def __init__(
        self, core: nn.Module, neurons: Mapping[str, np.ndarray], config: ModelConfig | None = None
    ) -> None:
        super().__init__()
        if not isinstance(core, nn.Module):
            given = f"the class {core.__name__}" if isinstance(core, type) else brief(core)
            raise ValueError(f"a core is a module, not {given}; build one first, such as MyCore()")
        require_neurons(neurons)
        limit_threads()
        self.config = config = require_config(config) or ModelConfig()
        self.core, self._core_takes_state = core, getattr(core, "takes_state", False)
        if config.minmax_behavior and "behavior" not in self.state_inputs:
            raise ValueError(
                "minmax_behavior=True has no effect on a model that does not take "
                "behaviour; add behavior_channels=True or gain=True, or leave it out"
            )
        with torch.random.fork_rng(devices=[]):  # leaves the global random state alone
            torch.manual_seed(config.seed)
            self.feature_shape = self._try_core()  # (C', h, w)
            channels = self.feature_shape[0]
            self.readouts = PerMouse[GaussianReadout](
                {
                    mouse: GaussianReadout(coordinates, channels)
                    for mouse, coordinates in neurons.items()
                }
            )
            self.shifters = PerMouse[Shifter](
                {mouse: Shifter() for mouse in neurons if config.shifter}
            )
            self.gains = PerMouse[Gain](
                {
                    mouse: Gain(len(coordinates))
                    for mouse, coordinates in neurons.items()
                    if config.gain
                }
            )
            self.scalers = PerMouse[MinMaxScaler](
                {mouse: MinMaxScaler() for mouse in neurons if config.minmax_behavior}
            )
        for parts in (self.readouts, self.shifters, self.gains, self.scalers):
            parts.float()  # as batches, whatever torch's default is
        self.data_statistics = {}  # mouse -> unit_ids and statistics, see `register_data`
        self.description = ""  # origin and scores, lines for `repr`

    def _try_core(self) -> tuple[int, int, int]:
        """The shape of the core's features, found by showing it one grey image."""
        grey = Batch.typical(torch.zeros(1, *self.image_size))
        shape = (1, self.config.core_channels, *self.image_size)
        try:
            with eval_mode(self.core), torch.no_grad():
                features = self._features(grey)
        except (RuntimeError, ValueError, TypeError) as problem:
            reason = str(problem).partition("\n")[0]
            raise ValueError(f"the core cannot take images {shape}: {reason}") from problem
        found = tuple(getattr(features, "shape", ()))
        kind = getattr(features, "dtype", type(features).__name__)
        if len(found) != 4 or found[0] != 1 or 0 in found or kind not in FLOATS:
            raise ValueError(
                f"the core turned images {shape} into {found or ''} {kind}; it must "
                "give one tensor (1, channels, height, width) of floats"
            )
        return found[1:]

    def __repr__(self) -> str:
        """Core, mice, inputs and origin, in a few lines."""
        (channels, h, w), (height, width) = self.feature_shape, self.image_size
        mice = [f"{mouse} ({len(part.bias)} neurons)" for mouse, part in self.readouts.items()]
        inputs = " and ".join(self.state_inputs.values())
        label = getattr(self.core, "label", f"model with the core {type(self.core).__name__}")
        lines = [
            f"{label}: images {height} x {width} -> {channels} channels {h} x {w}",
            f"predicts mouse {', '.join(mice)}",
            "takes images alone",
        ]
        if inputs:
            lines[2] = f"takes images, {inputs} (kit.Batch.typical gives images a usual state)"
        if self.data_statistics:
            lines.append(f"trained on the recording of mouse {', '.join(self.data_statistics)}")
        elif not self.description:
            lines.append("not trained yet")
        return "\n".join(lines + self.description.splitlines())

    def train(self, mode: bool = True) -> "Model":
        """Set the mode of all parts. A frozen core, without a parameter to learn, stays in eval."""
        super().train(mode)
        learns = [value.requires_grad for value in self.core.parameters()]
        if learns and not any(learns):
            self.core.eval()  # its batch norm keeps the statistics that it was trained with
        return self

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return tuple(self.config.image_size)

    @property
    def state_inputs(self) -> dict[str, str]:
        """Field of a batch -> its name, for all that predictions depend on besides the images."""
        config, inputs = self.config, {}
        if config.behavior_channels or config.gain or self._core_takes_state:
            inputs["behavior"] = "behaviour"
        if config.shifter or self._core_takes_state:
            inputs["pupil_center"] = "eye position"
        return inputs

    def forward(self, batch: Batch, mouse: str | None = None) -> Tensor:
        mouse = self.resolve_mouse(mouse)
        batch = self._prepare(batch, mouse)
        features = self._features(batch)  # (B, C', h, w)
        expected = (len(batch.images), *self.feature_shape)
        if features.shape != expected:
            raise ValueError(
                f"the core turned {expected[0]} images into features "
                f"{tuple(features.shape)}, and one image into "
                f"{(1, *self.feature_shape)}; it must give {expected} in training and "
                "eval mode, see kit.check_core(core)"
            )
        if self.training and torch.is_grad_enabled() and not features.requires_grad:
            self._require_frozen_core()
        shift = self.shifters[mouse](batch.pupil_center) if self.config.shifter else None  # (B, 2)
        rates = elu(self.readouts[mouse](features, shift)) + 1  # (B, N), never negative
        if self.config.gain:
            rates = rates * self.gains[mouse](batch.behavior)
        return rates

    def _prepare(self, batch: Batch, mouse: str) -> Batch:
        """The batch on the model's device, its behaviour scaled as the config says."""
        self._require_batch(batch)
        batch = batch.to(self.readouts[mouse].bias)  # training may have moved the model
        if self.config.minmax_behavior:
            batch = batch._replace(behavior=self.scalers[mouse](batch.behavior))
        return batch

    def _require_batch(self, batch: object) -> None:
        """Raise ValueError unless this is a batch of the model's inputs in their shapes."""
        if not isinstance(batch, Batch):
            raise ValueError(
                f"a model takes a kit.Batch, not a {type(batch).__name__}; give "
                "kit.Batch.typical(images), or a recording's batch"
            )
        self._require_inputs(batch, "in these trials")
        shapes = {"images": (1, *self.image_size), "behavior": (3,), "pupil_center": (2,)}
        for field in ("images", *self.state_inputs):
            value, shape = getattr(batch, field), (len(batch.images), *shapes[field])
            if getattr(value, "dtype", None) not in FLOATS or value.shape != shape:
                found = f"{tuple(np.shape(value))} {getattr(value, 'dtype', type(value).__name__)}"
                raise ValueError(
                    f"the {field} of a batch must be a tensor of floats {shape} for "
                    f"this model, these are {found}; load data with "
                    f"kit.load(..., size={self.image_size}), or resize your images "
                    "and give kit.Batch.typical(images)"
                )

    def _require_frozen_core(self) -> None:
        """Raise ValueError if the core has parameters to learn, for features without a gradient."""
        if any(value.requires_grad for value in self.core.parameters()):
            raise ValueError(
                "no gradient reaches the core, so only the readouts would learn; "
                "leave out torch.no_grad, .detach() and numpy in its forward, see "
                "kit.check_core(core), or freeze it by core.requires_grad_(False)"
            )

    def _require_inputs(self, given: Batch | Recording, owner: str) -> None:
        """Raise ValueError if a batch or recording lacks an input of the model."""
        for field, name in self.state_inputs.items():
            if getattr(given, field) is None:
                raise ValueError(
                    f"this model takes {name}, and that {owner} is withheld: on the "
                    "Sensorium track models predict from the images alone; use a "
                    "mouse of the Sensorium+ track, kit.Batch.typical(images), or a "
                    "model with kit.ModelConfig()"
                )

    def _features(self, batch: Batch) -> Tensor:
        """The core's features of the images, with what it takes of the state: (B, C', h, w)."""
        images, behavior, eye = batch.images, batch.behavior, batch.pupil_center
        if self.config.behavior_channels and behavior is not None:
            tiled = behavior[:, :, None, None].expand(-1, -1, *images.shape[-2:])
            images = torch.cat([images, tiled], 1)  # (B, 4, H, W)
        if self._core_takes_state and behavior is not None and eye is not None:
            return self.core(images, torch.cat([behavior, eye], 1))  # state (B, 5)
        return self.core(images)

    def regularizer(self, mouse: str | None = None) -> Tensor:
        """A scalar that the loss adds to keep the core smooth and the readout sparse."""
        core = getattr(self.core, "regularizer", int)()  # int() is 0
        if not isinstance(core, Tensor | np.number | float | int) or np.prod(np.shape(core)) != 1:
            raise ValueError(
                f"the core's regularizer() gives {brief(core)}; it must give one "
                "number, which the loss adds, see kit.check_core(core)"
            )
        return core + self.readouts[self.resolve_mouse(mouse)].regularizer()

    @torch.no_grad()
    def centers(self, recording: Recording) -> np.ndarray:
        """The mean position of each neuron over the train trials: (N, 2) x, y in half images."""
        if not isinstance(recording, Recording):
            raise ValueError(f"{brief(repr(recording))} is not a Recording; give data.mouse")
        mouse = self.resolve_mouse(recording.mouse)
        grid = self.readouts[mouse].means()  # (N, 2) in [-1, 1]
        if self.config.shifter:
            self._require_inputs(recording, f"of mouse {mouse}")
            eye = torch.from_numpy(np.asarray(recording.pupil_center)[recording.rows("train")])
            grid = grid + self.shifters[mouse](eye.to(grid.device)).mean(0)
        spacing = getattr(self.core, "spacing", 1)
        (_, h, w), (height, width) = self.feature_shape, self.image_size
        scale = grid.new_tensor([(w - 1) * spacing / width, (h - 1) * spacing / height])
        return (grid * scale).cpu().numpy()

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The id of a mouse that has a readout; None stands for the only mouse."""
        if mouse is None and len(self.readouts) == 1:
            return next(iter(self.readouts))
        if not isinstance(mouse, str) or mouse not in self.readouts:
            raise ValueError(
                f"this model has no readout for mouse {brief(repr(mouse))}; it knows "
                f"{', '.join(self.readouts)}: load that one, or make a model of yours "
                "with kit.transfer(model, data)"
            )
        return mouse

    def image_statistics(self, mouse: str) -> tuple[float, float] | None:
        """Mean and std of the raw pixels of a mouse's recording; None if it is not known."""
        known = self.data_statistics.get(mouse, {})
        if "images_mean" not in known:
            return None
        return float(known["images_mean"]), float(known["images_std"])

    def register_data(self, data: Dataset) -> None:
        """Store ids and statistics of the recordings to train on; start from mean responses.

        `kit.train` calls it. From then on other neurons or units of these mice are refused.
        """
        self.validate_data(data)
        if self.description and not self.description.startswith(FURTHER):
            self.description = f"{FURTHER}\n{self.description}"
        for mouse, recording in data.items():
            if mouse in self.data_statistics:
                continue
            rows, readout = recording.rows("train"), self.readouts[mouse]
            if not readout.bias.any():  # else it was trained elsewhere, as published models
                readout.init_bias_from_mean(torch.from_numpy(recording.responses[rows].mean(0)))
            if self.config.minmax_behavior:
                self.scalers[mouse].fit(recording.behavior[rows])
            self.data_statistics[mouse] = recording_statistics(recording)

    def validate_data(self, data: Dataset) -> None:
        """Raise ValueError if data do not fit the model: track, size, mice, neurons, units."""
        for mouse, recording in require_dataset(data).items():
            size = tuple(recording.image_size)
            if size != self.image_size:
                raise ValueError(
                    f"this model takes {self.image_size} images, the data are {size}; "
                    f"load them with kit.load(..., size={self.image_size})"
                )
            neurons = len(self.readouts[self.resolve_mouse(mouse)].bias)
            self._require_inputs(recording, f"of mouse {mouse}")
            if neurons != len(recording.unit_ids):
                raise ValueError(
                    f"this model has {neurons} neurons for mouse {mouse}, the "
                    f"recording has {len(recording.unit_ids)}; build the model from "
                    "data.neurons"
                )
            places = self.readouts[mouse].cortical_positions.cpu()
            require_same_places(mouse, places, cortical_positions(recording.coordinates))
            require_same_statistics(mouse, self.data_statistics.get(mouse, {}), recording)
