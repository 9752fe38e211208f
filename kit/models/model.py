"""The model: a core for all mice, and for each mouse a readout, a shifter and a gain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from kit.checks import brief, one_line, require, require_array, require_finite
from kit.data.batches import typical_behavior
from kit.data.layout import BEHAVIOR
from kit.data.recordings import Batch, Dataset, Recording, require_dataset
from kit.machine import limit_threads
from kit.models import layers
from kit.models.config import ModelConfig

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
FURTHER = "trained further since; what it was before:"


class Model(nn.Module):
    """Predicts responses: `model(batch, mouse)` -> (B, N), in units of each neuron's std.

        prediction = (elu(readout(core(images), shifter(eye))) + 1) * gain(behaviour)

    core: any module (B, C, H, W) -> (B, C', h, w); C is 4 with behaviour channels (1 and one for
        each column of `config.behavior_names`), else 1. If it has a true attribute `takes_state`,
        it also gets behaviour and eye position (B, 5). It may
        have a `regularizer()`, a scalar that the loss adds, and a `spacing` other than 1, the image
        pixels from one feature pixel to the next.
    neurons: mouse -> coordinates (N, 2 or 3) in micrometres, such as `data.neurons`. If they are
        the same for all neurons, the readout learns a free position for each.
    Raises ValueError if the core does not fit the config, or the neurons have no coordinates.

    >>> data = kit.load("sample+")
    >>> core = torch.nn.Conv2d(1, 8, kernel_size=9)
    >>> model = kit.Model(core, data.neurons, kit.ModelConfig(shifter=True))
    >>> model(data.mouse.first("test", 5)).shape
    torch.Size([5, 600])
    """

    readouts: Any  # an nn.ModuleDict: mouse -> GaussianReadout
    shifters: Any  # mouse -> Shifter; these and the next are empty unless the config has them
    gains: Any  # mouse -> Gain
    scalers: Any  # mouse -> MinMaxScaler

    @torch.inference_mode(False)
    def __init__(
        self, core: nn.Module, neurons: Mapping[str, np.ndarray], config: ModelConfig | None = None
    ) -> None:
        super().__init__()
        self.core = require("core", core, nn.Module)
        self._core_takes_state = getattr(core, "takes_state", False)
        self.config = config = require("config", config, ModelConfig | None) or ModelConfig()
        self.image_size = config.image_size  # height and width
        if not isinstance(neurons, Mapping) or not neurons:
            raise ValueError(f"neurons={brief(neurons)} names no mouse; give data.neurons")
        for mouse, places in neurons.items():
            name = f"neurons[{mouse!r}]"
            require_finite(name, require_array(name, places, ("N", 2), ("N", 3)))
        if config.minmax_behavior and "behavior" not in self.state_inputs:
            raise ValueError("minmax_behavior needs behavior_channels=True or gain=True as well")
        limit_threads()
        with torch.random.fork_rng(devices=[]):  # leaves the global random state alone
            torch.manual_seed(config.seed)
            self.feature_shape = self._try_core()  # (C', h, w)
            readouts = {}
            for mouse, places in neurons.items():
                readouts[mouse] = layers.GaussianReadout(places, self.feature_shape[0])
            shifters = {mouse: layers.Shifter() for mouse in neurons if config.shifter}
            columns = len(config.behavior_names)
            gains, scalers = {}, {}
            for mouse, places in neurons.items():
                if config.gain:
                    gains[mouse] = layers.Gain(len(places), columns)
                if config.minmax_behavior:
                    scalers[mouse] = layers.MinMaxScaler(columns)
        self.readouts = nn.ModuleDict(readouts).float()  # as batches, whatever torch's default is
        self.shifters = nn.ModuleDict(shifters).float()
        self.gains = nn.ModuleDict(gains).float()
        self.scalers = nn.ModuleDict(scalers).float()
        self.data_statistics = {}  # mouse -> unit_ids and statistics, see `register_data`
        self.description = ""  # origin and scores, lines for `repr`

    def _try_core(self) -> tuple[int, int, int]:
        """The shape of the core's features, found by showing it one grey image."""
        try:
            with layers.eval_mode(self.core), torch.no_grad():
                behavior = typical_behavior(self.config.behavior_names)
                features = self._features(Batch.typical(torch.zeros(1, *self.image_size), behavior))
            _, channels, h, w = features.shape
        except (AttributeError, RuntimeError, TypeError, ValueError) as problem:
            shape = (1, self.config.core_channels, *self.image_size)
            reason = str(problem).partition("\n")[0]
            raise ValueError(
                f"the core cannot take images {shape}: {reason}; see kit.check_core(core)"
            ) from problem
        return channels, h, w

    def __repr__(self) -> str:
        """Core, mice, inputs and origin, in a few lines."""
        (channels, h, w), (height, width) = self.feature_shape, self.image_size
        mice = [f"{mouse} ({count} neurons)" for mouse, count in self.neuron_counts.items()]
        label = getattr(self.core, "label", f"model with the core {type(self.core).__name__}")
        takes = "images alone"
        if self.state_inputs:
            inputs = " and ".join(self.state_inputs.values())
            takes = f"images, {inputs} (kit.Batch.typical gives images a usual state)"
            if "behavior" in self.state_inputs and self.config.behavior_names != BEHAVIOR:
                takes += f"; the behaviour is {self._columns()}"
        lines = [
            f"{label}: images {height} x {width} -> {channels} channels {h} x {w}",
            f"predicts mouse {', '.join(mice)}",
            f"takes {takes}",
        ]
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
    def neuron_counts(self) -> dict[str, int]:
        """Mouse -> number of its neurons."""
        return {mouse: len(readout.bias) for mouse, readout in self.readouts.items()}

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
        self._require_batch(batch)
        batch = batch.to(self.readouts[mouse].bias)  # training may have moved the model
        if self.config.minmax_behavior:
            batch = batch._replace(behavior=self.scalers[mouse](batch.behavior))
        features = self._features(batch)  # (B, C', h, w)
        self._require_features(features, (len(batch.images), *self.feature_shape))
        shift = self.shifters[mouse](batch.pupil_center) if self.config.shifter else None  # (B, 2)
        rates = elu(self.readouts[mouse](features, shift)) + 1  # (B, N), never negative
        if self.config.gain:
            rates = rates * self.gains[mouse](batch.behavior)
        return rates

    def _require_batch(self, batch):
        """Raise ValueError unless this is a batch of the model's inputs in their shapes."""
        if not isinstance(batch, Batch):
            kind = type(batch).__name__
            raise ValueError(f"a model takes a kit.Batch, not a {kind}; give {self._typical()}")
        self._require_inputs(batch, "in these trials")
        columns = len(self.config.behavior_names)
        shapes = {"images": (1, *self.image_size), "behavior": (columns,), "pupil_center": (2,)}
        for field in ("images", *self.state_inputs):
            values, shape = getattr(batch, field), (len(batch.images), *shapes[field])
            kind = getattr(values, "dtype", type(values).__name__)
            if kind not in FLOATS or values.shape != shape:
                names = f" of {self._columns()}" if field == "behavior" else ""
                remedy = self._typical() if names else f"kit.load(..., size={self.image_size})"
                raise ValueError(
                    f"{field} of a batch must be floats {shape}{names} for this model, these are "
                    f"{tuple(np.shape(values))} {kind}; use {remedy}"
                )

    def _columns(self):
        return one_line(", ".join(self.config.behavior_names))

    def _typical(self):
        """How to make a batch of images alone for this model."""
        official = self.config.behavior_names == BEHAVIOR
        return f"kit.Batch.typical(images{'' if official else ', model.typical_behavior()'})"

    def _require_features(self, features, shape):
        """Raise ValueError if features have another shape, or the core cannot learn from them."""
        if features.shape != shape:
            raise ValueError(
                f"the core turned {shape[0]} images into features {tuple(features.shape)}, not "
                f"{shape}; see kit.check_core(core)"
            )
        learns = any(value.requires_grad for value in self.core.parameters())
        if learns and self.training and torch.is_grad_enabled() and not features.requires_grad:
            raise ValueError(
                "no gradient reaches the core, so it cannot learn; leave out torch.no_grad, "
                ".detach() and numpy, or freeze it by core.requires_grad_(False)"
            )

    def _require_inputs(self, trials, owner):
        """Raise ValueError if a batch or recording lacks an input of the model."""
        for field, name in self.state_inputs.items():
            if getattr(trials, field) is None:
                raise ValueError(
                    f"this model takes {name}, and that {owner} is withheld: on the Sensorium "
                    "track models predict from the images alone; use a mouse of the Sensorium+ "
                    f"track, {self._typical()}, or a model with kit.ModelConfig()"
                )

    def _require_columns(self, recording):
        """Raise ValueError if a recording has other columns of behaviour than the model takes."""
        names = recording.behavior_names
        if "behavior" in self.state_inputs and names != self.config.behavior_names:
            raise ValueError(
                f"this model takes the behaviour {self._columns()}, and that of mouse "
                f"{recording.mouse} is {one_line(', '.join(names))}; build a model from these "
                "data, or write the recording with the columns that the model takes"
            )

    def _features(self, batch) -> Tensor:
        """The core's features of the images, with what it takes of the state: (B, C', h, w)."""
        images, behavior = batch.images, batch.behavior
        if self.config.behavior_channels:
            tiled = behavior[:, :, None, None].expand(-1, -1, *self.image_size)
            images = torch.cat([images, tiled], 1)  # (B, 1 + K, H, W)
        if self._core_takes_state:
            state = torch.cat([behavior, batch.pupil_center], 1)  # (B, K + 2)
            return self.core(images, state)
        return self.core(images)

    def regularizer(self, mouse: str | None = None) -> Tensor:
        """A scalar that the loss adds to keep the core smooth and the readout sparse."""
        penalty = torch.as_tensor(getattr(self.core, "regularizer", int)())  # int() is 0
        if penalty.numel() != 1:
            raise ValueError(f"regularizer() of the core must give one number, not {penalty}")
        return penalty + self.readouts[self.resolve_mouse(mouse)].regularizer()

    @torch.no_grad()
    def centers(self, recording: Recording) -> np.ndarray:
        """The mean position of each neuron over the train trials: (N, 2) x, y in half images."""
        mouse = self.resolve_mouse(require("recording", recording, Recording).mouse)
        grid = self.readouts[mouse].means()  # (N, 2) in [-1, 1]
        if self.config.shifter:
            self._require_inputs(recording, f"of mouse {mouse}")
            eye = np.asarray(recording.pupil_center)[recording.rows("train")]
            grid = grid + self.shifters[mouse](grid.new_tensor(eye)).mean(0)
        spacing = getattr(self.core, "spacing", 1)
        (_, h, w), (height, width) = self.feature_shape, self.image_size
        scale = grid.new_tensor([(w - 1) * spacing / width, (h - 1) * spacing / height])
        return (grid * scale).cpu().numpy()

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The id of a mouse that has a readout; None stands for the only mouse."""
        mice = list(self.readouts)
        if mouse is None and len(mice) == 1:
            return mice[0]
        if mouse is None or mouse not in mice:
            raise ValueError(
                f"this model has no readout for mouse {brief(repr(mouse))}; it knows "
                f"{', '.join(mice)}: load that one, or make a model of yours "
                "with kit.transfer(model, data)"
            )
        return mouse

    def image_statistics(self, mouse: str) -> tuple[float, float] | None:
        """Mean and std of the raw pixels of a mouse's recording; None if it is not known."""
        if mouse not in self.data_statistics:
            return None
        statistics = self.data_statistics[mouse]
        return float(statistics["images_mean"]), float(statistics["images_std"])

    def typical_behavior(self, mouse: str | None = None) -> dict[str, float]:
        """Name -> typical value, in its std, of each column of behaviour that the model takes.

        The official three have the values of `kit.Batch.typical`; any other has its mean over the
        recording of a mouse that the model was trained on, and 0 before that.
        """
        statistics = self.data_statistics.get(self.resolve_mouse(mouse), {})
        names, average = self.config.behavior_names, statistics.get("behavior_average")
        if average is not None and len(average) != len(names):  # images alone, of any recording
            average = None
        return typical_behavior(names, average)

    def register_data(self, data: Dataset) -> None:
        """Start from mean responses; store ids and statistics, which later data must match."""
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
            if recording.image_size != self.image_size:
                raise ValueError(
                    f"this model takes {self.image_size} images, the data are "
                    f"{recording.image_size}; load them with kit.load(..., size={self.image_size})"
                )
            readout = self.readouts[self.resolve_mouse(mouse)]
            self._require_inputs(recording, f"of mouse {mouse}")
            self._require_columns(recording)
            statistics = recording_statistics(recording)
            difference = different_statistic(self.data_statistics.get(mouse, {}), statistics)
            if not _same_neurons(readout.cortical_positions, recording.coordinates):
                difference = "its neurons, by number or place"
            if difference:
                raise ValueError(
                    f"this model was made for another recording of mouse {mouse}, different in "
                    f"{difference}; open that one, or build a new model from these data"
                )


def recording_statistics(recording: Recording) -> dict[str, np.ndarray]:
    """Name -> ids of the neurons, and the means and stds that standardised the recording."""
    return {"unit_ids": recording.unit_ids.copy(), **recording.statistics}


def different_statistic(statistics_a: dict, statistics_b: dict) -> str | None:
    """The first name in `statistics_a` with other ids or other units in `statistics_b`."""
    for name, values_a in statistics_a.items():
        values_b = statistics_b.get(name, np.nan)  # nan is equal to nothing
        tolerance = 0 if name == "unit_ids" else 1e-4
        same_shape = np.shape(values_a) == np.shape(values_b)
        if not same_shape or not np.allclose(values_a, values_b, rtol=tolerance):
            return name
    return None


def _same_neurons(positions, coordinates):
    """Whether positions (N, 2) and coordinates (N, 3) are as many, and of the same neurons.

    By correlation, as another program may have scaled them; neurons without places may be any.
    """
    both = [positions.float().cpu(), layers.cortical_positions(coordinates)]
    if both[0].shape != both[1].shape:
        return False
    places = torch.stack(both).flatten(1)  # (2, 2N)
    return not places.any(1).all() or not torch.corrcoef(places)[0, 1] < 0.9
