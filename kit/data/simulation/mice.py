"""The simulated mice, how one is made, and the truth behind it."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from kit.checks import suggest
from kit.data.layout import TIERS
from kit.data.official import write
from kit.data.simulation.cells import Cells, draw_cells, draw_responses, event_rates
from kit.data.simulation.stimuli import draw_session
from kit.data.zips import READ_ERRORS
from kit.files import atomic_write, data_folder, progress
from kit.machine import fastest_threads, limit_threads

VERSION = 2  # part of every file name: a changed simulator never opens an old file


@dataclass(frozen=True)
class Mouse:
    """The settings of one simulated mouse."""

    id: str
    seed: int
    withholds: tuple[str, ...] = ()  # some of "responses" (of the test tiers) and "behavior"
    neurons: int = 600
    train: int = 1600  # images shown once
    validation: int = 200  # images shown once
    test: int = 60  # images shown about ten times; as many again in final_test
    final_test: int = 60


MICE = {
    spec.id: spec
    for spec in (
        Mouse("99001-1-1", 1, withholds=("responses", "behavior")),  # like 26872-17-20
        Mouse("99002-1-1", 2, withholds=("responses",)),  # like 27204-5-13
        Mouse("99003-1-1", 3, final_test=0),  # like the open mice
        Mouse("99004-1-1", 4, final_test=0),
    )
}
NAMES = {
    "sample": ["99001-1-1"],
    "sample+": ["99002-1-1"],
    "sample-pretrain": ["99003-1-1", "99004-1-1"],
}


@dataclass(frozen=True, eq=False, repr=False)
class Truth:
    """Everything that a simulation knows and its recording does not hold. N neurons, T trials.

    Rows of (T, …) arrays are the recording's, in the order of its files.
    Positions are in half images from the centre of the image: x runs from -1 (left) to 1, y from
    -1 (top) to 1. Pixels are pixels of the 36 x 64 image.
    Angles are in radians, of the direction across the stripes: 0 is along x (upright stripes),
    pi / 2 is along y, downwards (level stripes).
    Responses and rates are in the recording's units: divided by each neuron's std.
    """

    cells: Cells  # the cells themselves: cells(batch) -> (B, N) rates
    centers: np.ndarray  # (N, 2) x, y of the receptive field while the eye is at its mean
    orientation: np.ndarray  # (N,) of the Gabor filter, in [0, pi)
    spatial_frequency: np.ndarray  # (N,) of the Gabor filter, cycles per pixel
    phase: np.ndarray  # (N,) of the even Gabor filter at the centre, in [0, 2 pi)
    envelope: np.ndarray  # (N, 2) std of the Gaussian along x and y, pixels
    surround: np.ndarray  # (N,) size of the normalising window, in envelopes
    is_complex: np.ndarray  # (N,) bool; the others are simple cells
    tuned_share: np.ndarray  # (N,) share of the mean rate that images drive
    gain_weights: np.ndarray  # (N, 2) log gain for one std of pupil size and of running speed
    order: np.ndarray  # (T,) when each trial was shown: 0 is the first
    gain: np.ndarray  # (T, N) factor of pupil and running on the rate
    eye_shift: np.ndarray  # (T, 2) how far all fields moved, same units as centers
    rates: np.ndarray  # (T, N) noiseless rate of every trial
    frozen_rates: np.ndarray  # (T, N) rates with a gain of 1 and the eye at its mean
    events: np.ndarray  # (T, N) number of calcium events behind every response
    responses: np.ndarray  # (T, N) every response, also the withheld ones

    def __repr__(self):
        return f"the truth behind {len(self.order)} trials: {self.cells!r}"


def fetch(mouse: str, folder: str | Path | None = None) -> Path:
    """Path of a sample mouse's zip, simulated on first use (some seconds) and then kept."""
    target = data_folder(folder) / "sample" / f"static{mouse}-GrayImageNet-simulated{VERSION}.zip"
    if not all(map(os.path.exists, (target, _truth_file(target)))):
        simulate(MICE[mouse], target)
    return target


def is_simulated(name: str | Path) -> bool:
    """Whether `name`, as `kit.load` takes it, stands for simulated mice."""
    return name in (*NAMES, *MICE)


def _truth_file(target):
    return target.with_name(target.stem + "-truth.npz")


def truth(name: str, folder: str | Path | None = None) -> Truth:
    """The truth behind a sample mouse.

    name: "sample", "sample+" or a simulated mouse's id. folder: the data folder; else KIT_DATA_DIR,
    else the user's cache. Raises ValueError for any other name, and if the file is damaged.

    >>> truth = kit.truth("sample+")
    >>> truth.orientation.shape  # radians
    (600,)
    >>> batch = kit.Batch.typical(np.zeros((2, 36, 64)))  # images of your own
    >>> truth.cells(batch).shape
    torch.Size([2, 600])
    """
    mice = NAMES.get(name, [name]) if is_simulated(name) else []
    if len(mice) != 1:
        names = [*NAMES, *MICE]
        raise ValueError(
            f"{name!r} is not one simulated mouse; {suggest(name, names)}the names are "
            f"{', '.join(names)}; give the id of one mouse for sample-pretrain"
        )
    file = _truth_file(fetch(mice[0], folder))
    try:
        with np.load(file) as saved:
            arrays = {field.name: saved[field.name] for field in fields(Truth)[1:]}
            return Truth(Cells(mice[0], saved["unit_ids"], saved), **arrays)
    except (*READ_ERRORS, KeyError):
        raise ValueError(
            f"{file} is damaged; delete that file, and it is simulated again"
        ) from None


# ---- how a mouse is made ----


def simulate(spec: Mouse, target: Path) -> None:
    """Simulate one mouse and write its recording and, before it, its truth.

    Everything is computed in the order of presentation. At the end the trials are shuffled, because
    the numbers of the official files do not say when an image was shown.
    """
    limit_threads()
    rng = np.random.default_rng(spec.seed)
    session = draw_session({tier: getattr(spec, tier) for tier in TIERS}, rng)
    cell_rng, response_rng, order_rng = rng.spawn(3)
    drawn = draw_cells(spec.neurons, cell_rng)
    with fastest_threads():
        cells, activity = _calibrate(spec.id, drawn, session)
    events, responses = draw_responses(activity["rates"], cells.event_rate.numpy(), response_rng)
    responses = (responses * drawn["scale"]).astype(np.float32)
    std = responses[session.public].std(0, dtype=np.float64)
    std[std == 0] = 1  # a neuron that never fired
    cells.response_unit = torch.from_numpy(drawn["scale"] / std)
    for name in ("rates", "frozen_rates"):
        activity[name] *= cells.response_unit.numpy()
    activity["responses"] = responses / std

    order = order_rng.permutation(len(responses))  # when the trial of each file was shown
    activity = {name: values[order].astype(np.float32) for name, values in activity.items()}
    with atomic_write(_truth_file(target)) as part:
        np.savez(
            part,
            unit_ids=drawn["unit_ids"],
            order=order,
            **cells.state_dict(),
            **activity,
            events=events[order],
        )
    recording = {name: values[order] for name, values in session.trials.items()} | {
        "images": session.pixels[session.image[order]],
        "responses": responses[order],
        "trial_idx": order,
        "unit_ids": drawn["unit_ids"],
        "cell_motor_coordinates": drawn["coordinates"],
    }
    public = session.public[order]
    if "responses" in spec.withholds:  # competition mice also hide the order of their trials
        recording["responses"][~public] = 0
        recording["trial_idx"] = np.array([order_rng.bytes(16).hex() for _ in order])
    if "behavior" in spec.withholds:
        recording["behavior"][:] = 0
        recording["pupil_center"][:] = 0
    write(target, recording, statistics_from=public)


def _calibrate(mouse, drawn, session):
    """The cells, measured on a session, and their activity in each trial: a dict of arrays (T, …).

    Rates have mean 1 until the responses, and so their units, are known.
    """
    public = session.public
    pixel_statistics = _pixel_statistics(session)
    mean, std = pixel_statistics
    images = (_downsample(session.pixels) - mean) / std  # (images, 1, 36, 64)
    behavior = session.trials["behavior"]
    behavior = behavior / behavior[public].std(0)
    eye = session.trials["pupil_center"]
    eye = torch.from_numpy((eye - eye[public].mean(0)) / eye[public].std(0))
    # the cells measure on themselves what is 1 here
    unmeasured = dict.fromkeys(["mean_drive", "mean_gain", "event_rate", "response_unit"], 1.0)
    parameters = drawn | unmeasured
    parameters["average_behavior"] = behavior[public].mean(0)
    parameters["pixel_statistics"] = pixel_statistics
    cells = Cells(mouse, drawn["unit_ids"], parameters)

    cells.mean_drive = _in_blocks(cells.drive, images).mean(0)
    gain = cells.gain(torch.from_numpy(behavior))
    cells.mean_gain = gain.mean(0)
    gain = gain / cells.mean_gain
    frozen_rates = _in_blocks(cells.relative_rates, images)
    cells.event_rate = event_rates(torch.from_numpy(drawn["fev"]), frozen_rates)
    rates = _in_blocks(cells.relative_rates, images[session.image], eye) * gain
    return cells, {
        "rates": rates.numpy(),
        "frozen_rates": frozen_rates[session.image].numpy(),
        "gain": gain.numpy(),
        "eye_shift": cells.shift(eye).numpy(),
    }


def _in_blocks(function, *tensors):
    """A function of (T, …) tensors, 256 rows at a time to save memory."""
    blocks = zip(*[values.split(256) for values in tensors], strict=True)
    return torch.cat(
        [function(*block) for block in progress(list(blocks), desc="responding", unit="block")]
    )


def _pixel_statistics(session):
    """Mean and std of all pixels of the public trials, as in the recording's statistics."""
    moments = np.array([(image.mean(), image.var()) for image in session.pixels])  # (images, 2)
    means, variances = moments[session.image[session.public]].T
    return np.array([means.mean(), np.sqrt(variances.mean() + means.var())])


def _downsample(pixels):
    """Images (T, 1, 144, 256) at the 36 x 64 pixels that `kit.load` gives, 0-255, float64.

    Bilinear interpolation by a quarter is the mean of the middle 2 x 2 of every 4 x 4 pixels.
    """
    middle = [pixels[..., y::4, x::4] for y in (1, 2) for x in (1, 2)]
    return torch.from_numpy(np.mean(middle, 0))  # (T, 1, 36, 64)
