"""The simulated cells: their filters, their rate for any image, and their noisy responses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from kit.data.recordings import Batch, Dataset

IMAGE_SIZE = (36, 64)  # height and width of the images that the cells see, in pixels
GREY = 127.5  # the pixel value that the cells see as 0; black is -1, white is 1
SEMI_SATURATION = 0.01  # local variance of the image at which a rate is half of its limit
FEV_BETA = (5.6, 16.0)  # FEV over cells is Beta, mean .26, before event rates are capped
EVENT_SHAPE = 0.5  # of the Gamma distribution of one calcium event's size; `_gamma_sums` needs .5
MAX_EVENTS = 96  # in one trial: twice the highest rate of a sample mouse
# shift of every field for one standard deviation of eye position, in half images
EYE_TO_SHIFT = torch.tensor([[0.035, 0.004], [-0.004, 0.030]], dtype=torch.float64)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Each entry of values (n, …) as one row of norm 1."""
    rows = values.reshape(len(values), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def draw_cells(neurons: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw each cell's position, field, tuning, gain and noise. A dict of arrays (N, …)."""
    position = rng.uniform(0, 616, (neurons, 2))  # micrometres
    depth = 200 + 5 * rng.integers(0, 10, neurons)
    # retinotopy: an affine map, rotated by about 90 degrees, and a modest scatter of single cells
    retinotopy = np.array([[0.03, -0.20], [0.20, 0.02]])
    scatter = 0.03 * rng.standard_normal((neurons, 2))
    centers = (position - 308) / 308 @ retinotopy + [0.05, -0.04] + scatter
    # long, as mice see low frequencies: .04 cycles per degree, if a pixel of 36 x 64 is 2 degrees
    wavelength = 13 * 2 ** rng.normal(0, 0.65, neurons).clip(-1.4, 1.4)  # pixels
    size = (wavelength / 13) ** 0.5 * np.exp(0.12 * rng.standard_normal(neurons))
    return {
        "coordinates": np.column_stack([position, depth]),
        "centers": centers,
        "spatial_frequency": 1 / wavelength,
        "unit_ids": np.sort(rng.choice(12 * neurons, neurons, replace=False)),
        "envelope": size[:, None] * [5.0, 3.0],
        "orientation": rng.uniform(0, np.pi, neurons),
        "phase": rng.uniform(0, 2 * np.pi, neurons),
        "is_complex": rng.random(neurons) < 0.35,  # an assumption: most cells are simple
        "tuned_share": rng.beta(4, 1.2, neurons),  # some cells are weakly tuned
        "gain_weights": np.column_stack(
            [
                rng.normal(0.135, 0.06, neurons),  # pupil size: x 1.5 from -1.5 to 1.5 std
                rng.normal(0.182, 0.08, neurons),
            ]
        ),  # running speed: + 20 % for one std
        "fev": rng.beta(*FEV_BETA, neurons),  # the fraction of variance that images explain
        "scale": np.exp(0.8 * rng.standard_normal(neurons)),  # mean response, in raw units
        "surround": rng.uniform(1.3, 2.7, neurons),
    }


class Cells(nn.Module):
    """The cells of a simulated mouse, called like a model: `cells(batch, mouse)` -> (B, N) rates.

    Rates are noiseless, in the recording's units: mean responses divided by each neuron's std.
    batch: images (B, 1, 36, 64), z-scored like the recording's; behavior (B, 3) and pupil_center
    (B, 2) as in a `Batch`. Without them the gain is 1 and the eye at its mean position.
    Differentiable. Computed in float64 and returned in the type of the images.
    Raises ValueError for images of another shape or of integers, and for another mouse.

    A cell is a Gabor filter, simple (half-squared) or complex (energy of two filters), divided by
    the contrast around it (Heeger, Visual Neuroscience 1992). Mean luminance has no effect.
    """

    PARAMETERS = (
        # drawn for each cell
        "centers",
        "orientation",
        "spatial_frequency",
        "phase",
        "envelope",
        "surround",
        "is_complex",
        "tuned_share",
        "gain_weights",
        # measured on the simulated trials
        "mean_drive",  # (N,) over all images of the recording, eye at its mean
        "mean_gain",  # (N,) over all trials, before division by it
        "event_rate",  # (N,) mean number of calcium events at the mean rate
        "response_unit",  # (N,) a relative rate of 1 in the recording's units
        "average_behavior",  # (3,) in std units
        "pixel_statistics",  # (2,) mean and std of the recording's pixels, 0-255
    )
    image_size = IMAGE_SIZE
    state_inputs: ClassVar = {"behavior": "behaviour", "pupil_center": "eye position"}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Tensor: ...

    def __init__(self, mouse: str, unit_ids: np.ndarray, parameters: Mapping[str, np.ndarray]):
        super().__init__()
        self.mouse = mouse
        self.unit_ids = unit_ids
        for name in self.PARAMETERS:
            self.register_buffer(name, torch.tensor(parameters[name]))
        self._register_filters()

    def _register_filters(self):
        """Make each cell's two Gabor filters, and its window for contrast: (36 * 64, N) buffers."""
        height, width = IMAGE_SIZE
        size = torch.tensor([width, height])
        pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(1)  # x, y
        offset = (pixels - (size - 1) / 2)[:, None] - size / 2 * self.centers  # (36 * 64, N, 2)
        direction = torch.stack([torch.cos(self.orientation), torch.sin(self.orientation)], 1)
        wave = 2 * np.pi * self.spatial_frequency * (direction * offset).sum(2) + self.phase
        squared_distance = ((offset / self.envelope) ** 2).sum(2)
        envelope = torch.exp(-squared_distance / 2)
        envelope = envelope / envelope.sum(0)
        pool = torch.exp(-squared_distance / 2 / self.surround**2)
        self.register_buffer("pool", pool / pool.sum(0), persistent=False)
        # a quadrature pair: "even" has the cell's own phase, "odd" is a quarter of a cycle off
        for name, carrier in (("even", torch.cos(wave)), ("odd", torch.sin(wave))):
            gabor = envelope * carrier
            gabor = gabor - envelope * gabor.sum(0)  # sums to 0: blind to mean luminance
            self.register_buffer(name, gabor, persistent=False)

    def forward(self, batch: Batch, mouse: str | None = None) -> Tensor:
        self.resolve_mouse(mouse)
        images = batch.images
        if images.shape[1:] != (1, *IMAGE_SIZE) or not images.is_floating_point():
            raise ValueError(
                f"images {tuple(images.shape)} of {images.dtype} are not z-scored images "
                "(B, 1, 36, 64), which the simulated cells see; open the recording with "
                "kit.load(..., size=(36, 64)), z-score pixels with its images_mean and images_std"
            )
        inputs = batch.to(self.even)  # of the filters' device and type, float64
        rates = self.relative_rates(inputs.images, inputs.pupil_center)
        if inputs.behavior is not None:
            rates = rates * self.gain(inputs.behavior)
        return (rates * self.response_unit).to(images.dtype)  # (B, N)

    def relative_rates(self, images: Tensor, pupil_center: Tensor | None = None) -> Tensor:
        """Rates (B, N) before gain, of mean 1 over the recording's images."""
        drive = self.drive(images, pupil_center) / self.mean_drive
        return self.tuned_share * drive + (1 - self.tuned_share)

    def drive(self, images: Tensor, pupil_center: Tensor | None = None) -> Tensor:
        """Output of the filters for images (B, 1, 36, 64), float64: (B, N), never negative."""
        mean, std = self.pixel_statistics
        seen = (images * std + mean) / GREY - 1
        if pupil_center is not None:
            seen = _shift_images(seen, self.shift(pupil_center))
        seen = seen.flatten(1)  # (B, 36 * 64)
        even, odd = seen @ self.even, seen @ self.odd  # (B, N)
        contrast = (seen**2 @ self.pool - (seen @ self.pool) ** 2).clamp(min=0)  # local variance
        driven = torch.where(self.is_complex, even**2 + odd**2, 2 * even.clamp(min=0) ** 2)
        return driven / (SEMI_SATURATION + contrast)

    def shift(self, pupil_center: Tensor) -> Tensor:
        """Shift (B, 2) of all fields for eye positions (B, 2), z-scored: x, y in half images."""
        return pupil_center @ EYE_TO_SHIFT.to(pupil_center)

    def gain(self, behavior: Tensor) -> Tensor:
        """Factor (B, N) of behaviour (B, 3) on each rate, of mean 1 over the recording."""
        state = (behavior - self.average_behavior)[:, [0, 2]]  # pupil size and running speed
        return torch.exp(state @ self.gain_weights.T) / self.mean_gain

    def filters(self) -> tuple[np.ndarray, np.ndarray]:
        """The even and the odd Gabor filter of every cell, (N, 36, 64) arrays.

        A simple cell uses only the even one.
        """
        even, odd = (each.T.reshape(-1, *IMAGE_SIZE) for each in (self.even, self.odd))
        return even.cpu().numpy(), odd.cpu().numpy()

    def matching_filters(self, images: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """The true filters of chosen neurons at the phase most like their images, of norm 1.

        images: (n, 1, 36, 64) or (n, 36, 64), one a neuron; neurons: (n,) indices. A simple cell
        has one phase, a complex cell responds to all of them. Returns (n, 36, 64).
        """
        even, odd = (unit_rows(filters[neurons]) for filters in self.filters())
        odd = unit_rows(odd - (odd * even).sum(1, keepdims=True) * even)  # at a right angle to even
        rows = unit_rows(images - images.mean((-2, -1), keepdims=True))
        with_even, with_odd = (rows * even).sum(1), (rows * odd).sum(1)
        is_complex = self.is_complex.cpu().numpy()[neurons]
        angle = np.where(is_complex, np.arctan2(with_odd, with_even), 0)[:, None]
        return (np.cos(angle) * even + np.sin(angle) * odd).reshape(-1, *IMAGE_SIZE)

    def image_statistics(self, mouse: str) -> tuple[float, float]:
        """Mean and std of the raw pixels of the recording."""
        mean, std = self.pixel_statistics.tolist()
        return mean, std

    def resolve_mouse(self, mouse: str | None = None) -> str:
        """The mouse's id; raises ValueError for another mouse."""
        if mouse not in (None, self.mouse):
            raise ValueError(
                f"these are the cells of mouse {self.mouse!r}, not of {mouse!r}; "
                f"use kit.truth({mouse!r}).cells"
            )
        return self.mouse

    def validate_data(self, data: Dataset) -> None:
        """Raise ValueError if data hold other neurons than these cells."""
        for mouse, recording in data.items():
            if not np.array_equal(recording.unit_ids, self.unit_ids):
                raise ValueError(
                    f"the recording of mouse {mouse} has other neurons than these cells of mouse "
                    f"{self.mouse}; open the cells' own, kit.load({self.mouse!r})"
                )

    def __repr__(self):
        return (
            f"the {len(self.unit_ids)} simulated cells of mouse {self.mouse}, "
            f"{int(self.is_complex.sum())} of them complex"
        )


def _shift_images(images, shift):
    """Images (B, 1, H, W) as seen by fields that moved by shift (B, 2); grey outside.

    shift: x, y in half images. The images move the other way, by bicubic interpolation.
    """
    y, x = ((torch.arange(n).to(shift) + 0.5) / n * 2 - 1 for n in images.shape[-2:])
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H, W, 2)
    return grid_sample(images, grid + shift[:, None, None], mode="bicubic", align_corners=False)


def event_rates(fev: Tensor, rates: Tensor) -> Tensor:
    """Mean number of events per trial (N,) that gives each cell its FEV.

    The variance of the noise is (1 + 1 / EVENT_SHAPE) / events. fev: (N,) in (0, 1);
    rates: (T, N) of mean 1. A cell that the image drives strongly has few events; none has more
    than 1.2, since most trials are silent, so some cells have a lower FEV.
    """
    noise = 1 + 1 / EVENT_SHAPE
    return (noise * fev / (1 - fev) / rates.var(0, correction=0)).clamp(max=1.2)


def draw_responses(
    rates: np.ndarray, event_rate: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy responses to rates of mean 1: a Poisson number of calcium events, each Gamma-sized.

    rates: (T, N) in the order of presentation; event_rate: (N,) mean number of events at rate 1.
    Returns the number of events and the responses, both (T, N). Every response has its own row of
    uniform numbers: a rate that differs in its last digit changes at most that one response.
    Raises ValueError if a count reaches MAX_EVENTS.
    """
    events = []
    responses = []
    for means in np.split(rates * event_rate, range(128, len(rates), 128)):
        # for each response: one for the count, two for a single event, one for each pair of them
        uniforms = rng.random((*means.shape, 3 + MAX_EVENTS // 2))
        counts = _poisson_counts(means, uniforms[..., 0])
        events.append(counts.astype(np.uint8))
        responses.append(_gamma_sums(counts, uniforms[..., 1:]))
    return np.concatenate(events), np.concatenate(responses) / (EVENT_SHAPE * event_rate)


def _poisson_counts(means, uniforms):
    """The Poisson count at which the distribution function first exceeds each uniform number.

    means, uniforms: arrays of one shape. Returns integers of that shape.
    """
    probability = np.exp(-means)  # of the count k
    below = probability.copy()  # of a count up to k
    counts = np.zeros(means.shape, int)
    for k in range(1, MAX_EVENTS + 1):
        more = uniforms >= below
        if not more.any():
            return counts
        counts += more
        probability *= means / k
        below += probability
    raise ValueError(
        f"a rate of {means.max():.0f} events per trial gives {MAX_EVENTS} or more; raise MAX_EVENTS"
    )


def _gamma_sums(counts, uniforms):
    """Sums of `counts` Gamma variables of shape 1/2 and scale 1. uniforms: (…, 2 + pairs).

    Two of them add up to an exponential variable, -ln u; a single one is -ln u cos^2(2 pi v)
    (Devroye, Non-Uniform Random Variate Generation, 1986).
    """
    pairs, single = np.divmod(counts, 2)
    used = np.arange(uniforms.shape[-1] - 2) < pairs[..., None]
    # 1 - u in place of u, which may be 0; most trials have few events, so most logs are left out
    logs = np.log1p(-uniforms[..., 2:], out=np.zeros(used.shape), where=used)
    u, v = uniforms[..., 0], uniforms[..., 1]
    unpaired = -np.log1p(-u) * np.cos(2 * np.pi * v) ** 2
    return single * unpaired - logs.sum(-1)
